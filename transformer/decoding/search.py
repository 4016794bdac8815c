"""Greedy and beam search over any step function, independent of the model.

The hypotheses are NumPy arrays, whatever the device of the model: on arrays of this size NumPy takes a third of the
time of torch, and the candidates must come to the CPU anyway, as Python collects the finished translations.

Shape letters: B sentences, K hypotheses of a sentence, R rows (hypotheses of all sentences, those of a sentence
adjacent), T target positions, V vocabulary, C candidates (of a row: the next ids considered; of a sentence: the best
candidates of its rows).

The score of a hypothesis is its log-probability divided by ((5 + n) / 6) ** alpha (Wu et al. 2016, section 7), where n
is its number of tokens. Both include eos.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transformer.decoding import transfer

Ints = NDArray[Any]
Floats = NDArray[np.float32]


class State(Protocol):
    """The interface between search and model."""

    def step(self, last_R: Tensor) -> Tensor:
        """Return the logits (R, V) of the next id of each hypothesis. The caller may modify them."""
        ...

    def select(self, rows_R: Tensor, sentences_B: Tensor | None) -> None:
        """Continue with these rows and these sentences (None: all sentences)."""
        ...


@runtime_checkable
class SelectingState(Protocol):
    """A state that selects the best next ids itself, so that all logits need not exist at once."""

    def top_candidates(
        self, last_R: Ints, live_R: NDArray[np.bool], allowed: Mapping[int, Sequence[int]], banned: Ints, count: int
    ) -> tuple[Floats, Ints]:
        """Return log-probabilities and ids (R, C) of at most `count` best next ids, best first.

        The result for rows that are not live is undefined. `allowed` maps a row to the only ids it may take. The
        arrays may be overwritten by the next call.
        """
        ...

    def select(self, rows_R: Ints, sentences_B: Ints | None) -> None:
        """Continue with these rows and these sentences (None: all sentences)."""
        ...


class Prefix(Protocol):
    """A forced beginning of a translation."""

    @property
    def longest(self) -> int:
        """Most ids that the beginning takes."""
        ...

    def allowed(self, ids: Sequence[int]) -> Sequence[int]:
        """Return the ids that may follow these, or none if all may, since the beginning is complete."""
        ...


@dataclass(frozen=True)
class Hypothesis:
    """A finished translation."""

    ids: tuple[int, ...]
    """Target ids without eos."""
    log_prob: float
    """Natural logarithm of the probability of the ids and eos."""
    score: float
    """Length-normalized log-probability, by which hypotheses are ranked."""


@dataclass(frozen=True, kw_only=True)
class SearchTask:
    """The parameters of a search or of sampling, for B sentences."""

    start_id: int
    """The decoder's start token."""
    eos: int
    banned: tuple[int, ...]
    """Ids that are never chosen. They still count in the softmax."""
    limits: Sequence[int]
    """Maximum length of each translation, including eos."""
    prefixes: Sequence[Prefix | None] | None = None
    """What each translation must begin with."""
    alpha: float = 0.6
    nbest: int = 1
    """Most hypotheses to return for each sentence."""
    read: Callable[[tuple[int, ...]], Hashable] = tuple
    """Returns what the ids of a hypothesis are read as. Of those that are read as the same, the best is returned."""
    device: torch.device = torch.device("cpu")
    """The device of the logits."""
    check: Callable[[], None] = lambda: None
    """Called at each position; it may raise an exception to end the search."""


def length_penalty(tokens: int, alpha: float) -> float:
    """Return ((5 + n) / 6) ** alpha."""
    return float(((5 + tokens) / 6) ** alpha)


def length_normalized(log_prob: float, tokens: int, alpha: float) -> float:
    """Return the score of a translation of `tokens` ids, including eos."""
    return log_prob / length_penalty(tokens, alpha)


def beam_search(state: State | SelectingState, beams: int, task: SearchTask) -> list[list[Hypothesis]]:
    """Return the `task.nbest` best hypotheses of each sentence, best first.

    At each position the continuations of all hypotheses are ranked. Those among the first `beams` that end are
    finished, and the best `beams` that do not end stay live. A live hypothesis that can no longer be among the best is
    dropped; a sentence is done when none is left. So the result is the same as that of a search that always goes on to
    the limit. A single beam is greedy search, which ends with its first finished hypothesis.
    """
    beam = _Beam(len(task.limits), beams, task)
    state = state if isinstance(state, SelectingState) else _SelectFromLogits(state, task.device)
    for position in range(max(task.limits, default=0)):
        task.check()
        rows_R, kept_B = beam.advance(*beam.continuations(state), position)
        if not len(rows_R):
            break
        state.select(rows_R, kept_B)
    failed = [Hypothesis((), -math.inf, -math.inf)]  # the result if a model's logits are not finite
    return [sorted(best.values(), key=lambda h: -h.score) or failed for best in beam.best]


class _SelectFromLogits:
    """Selects the best next ids from the logits of a state."""

    def __init__(self, state: State, device: torch.device) -> None:
        self.state, self.device = state, device
        self.banned: Tensor | None = None

    def top_candidates(
        self, last_R: Ints, live_R: NDArray[np.bool], allowed: Mapping[int, Sequence[int]], banned: Ints, count: int
    ) -> tuple[Floats, Ints]:
        if self.banned is None:
            self.banned = transfer.upload(banned.astype(np.int64), self.device)
        return best_candidates(self.state.step(transfer.upload(last_R, self.device)), allowed, self.banned, count)

    def select(self, rows_R: Ints, sentences_B: Ints | None) -> None:
        select_rows(self.state, rows_R, sentences_B, self.device)


def select_rows(state: State, rows_R: Ints, sentences_B: Ints | None, device: torch.device) -> None:
    """Continue a state with these rows and these sentences (None: all sentences)."""
    state.select(transfer.upload(rows_R, device), None if sentences_B is None else transfer.upload(sentences_B, device))


class _Beam:
    """The live hypotheses of unfinished sentences, and the best finished hypotheses of all sentences."""

    def __init__(self, sentences: int, beams: int, task: SearchTask) -> None:
        self.beams, self.task, self.banned = beams, task, np.array(task.banned, np.int32)
        self.best: list[dict[Hashable, Hypothesis]] = [{} for _ in range(sentences)]
        """The `task.nbest` best hypotheses of each sentence by what they are read as."""
        self.least_B = np.full(sentences, -np.inf, np.float32)
        """The log-probability that a live hypothesis of each sentence must exceed."""
        self.unfinished = np.arange(sentences)
        self.log_prob_R = np.full(sentences * beams, -np.inf, np.float32)
        self.log_prob_R[::beams] = 0.0
        self.ids_RT = np.zeros((sentences * beams, 0), np.int64)
        self.last_R = np.full(sentences * beams, task.start_id)

    def continuations(self, state: SelectingState) -> tuple[Floats, Ints, Ints]:
        """Return log-probabilities, rows and ids (B, C) of the best continuations of each sentence, best first.

        There are 2 K of them. At most K end, one for each hypothesis, so K can always stay live.
        """
        sentences, beams = len(self.unfinished), self.beams
        allowed = allowed_ids(self.unfinished.repeat(beams), self.ids_RT, self.task)
        live_R = self.log_prob_R > -np.inf
        log_prob_RC, id_RC = state.top_candidates(self.last_R, live_R, allowed, self.banned, beams + 1)
        per_row = id_RC.shape[1]
        all_BC = (self.log_prob_R[:, None] + log_prob_RC).reshape(sentences, beams * per_row)
        best_BC = np.argsort(-all_BC, axis=1, kind="stable")[:, : 2 * beams]
        best_BC += np.arange(0, all_BC.size, beams * per_row)[:, None]
        return all_BC.ravel()[best_BC], best_BC // per_row, id_RC.ravel()[best_BC]

    def advance(self, log_prob_BC: Floats, row_BC: Ints, id_BC: Ints, position: int) -> tuple[Ints, Ints | None]:
        """Store the finished continuations and make the best others the new hypotheses.

        Returns the rows that they continue, and the sentences that are not done, or None if none is done.
        """
        ends_BC = id_BC == self.task.eos
        for b, c in np.argwhere((ends_BC & (log_prob_BC > -np.inf))[:, : self.beams]).tolist():
            ids = tuple(self.ids_RT[row_BC[b, c]].tolist())
            self._finish(int(self.unfinished[b]), ids, float(log_prob_BC[b, c]))
        log_prob_BC[ends_BC | (log_prob_BC <= self.least_B[self.unfinished, None])] = -np.inf
        live_B, kept_B = (log_prob_BC > -np.inf).any(1), None
        if not live_B.all():
            kept_B = np.flatnonzero(live_B)
            log_prob_BC, row_BC, id_BC = log_prob_BC[kept_B], row_BC[kept_B], id_BC[kept_B]
            self.unfinished = self.unfinished[kept_B]
        live_BK = np.argsort(log_prob_BC == -np.inf, axis=1, kind="stable")[:, : self.beams]
        live_BK += np.arange(0, log_prob_BC.size, log_prob_BC.shape[1] or 1)[:, None]
        live_R = live_BK.ravel()
        rows_R, self.last_R = row_BC.ravel()[live_R], id_BC.ravel()[live_R].astype(np.int64)
        self.log_prob_R = log_prob_BC.ravel()[live_R]
        self.ids_RT = np.concatenate((self.ids_RT[rows_R], self.last_R[:, None]), axis=1)
        return rows_R, kept_B

    def _finish(self, sentence: int, ids: tuple[int, ...], log_prob: float) -> None:
        """Store a finished hypothesis if it is among the best.

        The log-probability that live hypotheses must exceed follows from the worst of the best: no further id raises
        theirs, and the length penalty is largest at the limit. As this bound is the same for all hypotheses of a
        sentence, those above it rank before those below, at this position and at all later ones. So dropping the latter
        changes nothing about the former.
        """
        best, task = self.best[sentence], self.task
        score = length_normalized(log_prob, len(ids) + 1, task.alpha)
        if len(best) == task.nbest and score <= min(each.score for each in best.values()):
            return
        text = task.read(ids)
        if text not in best or best[text].score < score:
            best[text] = Hypothesis(ids, log_prob, score)
        if len(best) > task.nbest:
            del best[min(best, key=lambda each: best[each].score)]
        if len(best) == task.nbest:
            worst = min(each.score for each in best.values())
            bound = worst * length_penalty(task.limits[sentence], task.alpha)
            self.least_B[sentence] = math.inf if self.beams == 1 else bound


def best_candidates(
    logits_RV: Tensor, allowed: Mapping[int, Sequence[int]], banned: Tensor, count: int
) -> tuple[Floats, Ints]:
    """Return log-probabilities and ids (R, C) of at most `count` best next ids, best first. Overwrites the logits."""
    norm_R1 = log_sum_exp(logits_RV)
    constrain(logits_RV, allowed, banned)
    top_RC, id_RC = largest_logits(logits_RV, min(count, logits_RV.shape[1]))
    log_prob_RC = top_RC - norm_R1
    if not transfer.on_gpu(logits_RV.device):
        return log_prob_RC.numpy(), id_RC.numpy()
    both = transfer.fetch(torch.cat((log_prob_RC, id_RC.int().view(torch.float32)), dim=1))  # one copy, and one wait
    return both[:, : id_RC.shape[1]], both[:, id_RC.shape[1] :].view(np.int32)


def log_sum_exp(logits_RV: Tensor) -> Tensor:
    """Return the log-sum-exp of each row (R, 1), computed in float32 whatever the dtype of the logits."""
    peak_R1 = logits_RV.amax(-1, keepdim=True)
    return (logits_RV - peak_R1).exp_().sum(-1, keepdim=True, dtype=torch.float32).log_() + peak_R1


def largest_logits(logits_RV: Tensor, count: int, group_size: int = 64) -> tuple[Tensor, Tensor]:
    """Return the `count` largest logits of each row (R, C), in decreasing order, and their ids.

    They are in the `count` groups of neighboring ids with the largest maxima. Finding those groups is one fast pass
    over memory, while sorting whole rows is slow. Together with the shared KV cache and two workers, it raised beam 5
    from 254 to 311 sentences/s (docs/benchmarks.md). The size of a group was not measured.
    """
    rows, vocabulary = logits_RV.shape
    groups = vocabulary // group_size
    if transfer.on_gpu(logits_RV.device) or groups <= 2 * count:
        return logits_RV.topk(count, dim=-1)
    grouped = logits_RV[:, : groups * group_size].unflatten(1, (groups, group_size))
    group_RC = grouped.amax(-1).topk(count, dim=-1).indices
    shortlist = grouped.gather(1, group_RC[:, :, None].expand(-1, -1, group_size)).flatten(1)
    shortlist_ids = (group_RC[:, :, None] * group_size + torch.arange(group_size)).flatten(1)
    if groups * group_size < vocabulary:  # the last ids do not fill a group
        shortlist = torch.cat((shortlist, logits_RV[:, groups * group_size :]), dim=1)
        last_ids = torch.arange(groups * group_size, vocabulary).expand(rows, -1)
        shortlist_ids = torch.cat((shortlist_ids, last_ids), dim=1)
    top_RC, index_RC = shortlist.topk(count, dim=-1)
    return top_RC, shortlist_ids.gather(1, index_RC)


def allowed_ids(sentence_of_row: Ints, ids_RT: Ints, task: SearchTask) -> dict[int, Sequence[int]]:
    """Map rows to the only ids that may follow theirs: eos at the sentence's limit, or what continues a prefix."""
    position = ids_RT.shape[1]
    prefixes = [None if prefix is None or prefix.longest <= position else prefix for prefix in task.prefixes or ()]
    begun = any(prefixes)
    if not begun and position < min(task.limits, default=0) - 1:
        return {}
    at_limit = np.flatnonzero(np.array(task.limits)[sentence_of_row] == position + 1).tolist()
    allowed: dict[int, Sequence[int]] = dict.fromkeys(at_limit, (task.eos,))
    if begun:
        history = ids_RT.tolist()
        for row, sentence in enumerate(sentence_of_row.tolist()):
            prefix = prefixes[sentence]
            if row not in allowed and prefix is not None and (ids := prefix.allowed(history[row])):
                allowed[row] = ids
    return allowed


def constrain(logits_RV: Tensor, allowed: Mapping[int, Sequence[int]], banned: Tensor) -> None:
    """Set the logits of banned ids to minus infinity, and in a row with allowed ids, all others."""
    if not allowed:
        logits_RV.index_fill_(1, banned, -math.inf)
        return
    device = logits_RV.device
    row = transfer.upload(np.array([row for row, ids in allowed.items() for _ in ids], np.int64), device)
    ids = transfer.upload(np.array([i for ids in allowed.values() for i in ids], np.int64), device)
    kept_logits = logits_RV[row, ids]  # read before the ban: a prefix may contain banned ids
    logits_RV.index_fill_(1, banned, -math.inf)
    logits_RV.index_fill_(0, row, -math.inf)
    logits_RV[row, ids] = kept_logits
