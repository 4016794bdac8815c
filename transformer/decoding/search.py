"""Greedy and beam search over any step function, independent of the model.

Shape letters: B sentences, K hypotheses of a sentence, R rows (hypotheses of all sentences, those of a sentence
adjacent), T target positions, V vocabulary, C candidates (of a row: the next ids considered; of a sentence: the best
candidates of its rows).

The score of a hypothesis is its log-probability divided by ((5 + n) / 6) ** alpha (Wu et al. 2016, section 7), where n
is its number of tokens. Both include eos.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


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
        self, last_R: Tensor, live_R: Tensor, allowed: Mapping[int, Sequence[int]], banned: Sequence[int], count: int
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and ids (R, C) of at most `count` best next ids, best first.

        The result for rows that are not live is undefined. `allowed` maps a row to the only ids it may take.
        """
        ...

    def select(self, rows_R: Tensor, sentences_B: Tensor | None) -> None:
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
    state = state if isinstance(state, SelectingState) else _SelectFromLogits(state)
    for position in range(max(task.limits, default=0)):
        kept_B = beam.advance(*beam.continuations(state), position)
        if kept_B is not None and not len(kept_B):
            break
        beam.keep(kept_B)
        state.select(beam.rows_R, kept_B)
    failed = [Hypothesis((), -math.inf, -math.inf)]  # the result if a model's logits are not finite
    return [sorted(best.values(), key=lambda h: -h.score) or failed for best in beam.best]


class _SelectFromLogits:
    """Selects the best next ids from the logits of a state."""

    def __init__(self, state: State) -> None:
        self.step, self.select = state.step, state.select

    def top_candidates(
        self, last_R: Tensor, live_R: Tensor, allowed: Mapping[int, Sequence[int]], banned: Sequence[int], count: int
    ) -> tuple[Tensor, Tensor]:
        logits_RV = self.step(last_R)
        norm_R1 = log_sum_exp(logits_RV)
        constrain(logits_RV, allowed, banned)
        top_RC, id_RC = largest_logits(logits_RV, min(count, logits_RV.shape[1]))
        return top_RC - norm_R1, id_RC


@dataclass
class _Beam:
    """The live hypotheses of unfinished sentences, and the best finished hypotheses of all sentences."""

    sentences: int
    beams: int
    task: SearchTask
    best: list[dict[Hashable, Hypothesis]] = field(init=False)
    """The `task.nbest` best hypotheses of each sentence by what they are read as."""

    def __post_init__(self) -> None:
        device = self.task.device
        size = (self.sentences, self.beams)
        self.best = [{} for _ in range(self.sentences)]
        self.least = [-math.inf] * self.sentences  # the log-probability that a live hypothesis must exceed
        self.unfinished = list(range(self.sentences))  # indices of the unfinished sentences
        self.log_prob_BK = torch.full(size, -math.inf, device=device)
        self.log_prob_BK[:, 0] = 0.0
        self.ids_BKT = torch.zeros((*size, 0), dtype=torch.long, device=device)
        self.parent_BK = torch.arange(self.beams, device=device).repeat(self.sentences, 1)
        self.last_R = torch.full((self.sentences * self.beams,), self.task.start_id, device=device)
        self.rows_R = torch.arange(self.sentences * self.beams, device=device)

    def continuations(self, state: SelectingState) -> tuple[Tensor, Tensor, Tensor]:
        """Return log-probabilities, parents and ids (B, C) of the best continuations of each sentence, best first.

        There are 2 K of them. At most K end, one for each hypothesis, so K can always stay live.
        """
        sentences, beams = len(self.unfinished), self.beams
        sentence_of_row = [i for i in self.unfinished for _ in range(beams)]
        allowed = allowed_ids(sentence_of_row, self.ids_BKT.flatten(0, 1), self.task)
        live_R = self.log_prob_BK.view(-1) > -math.inf
        log_prob_RC, id_RC = state.top_candidates(self.last_R, live_R, allowed, self.task.banned, beams + 1)
        per_row = id_RC.shape[1]
        all_BC = (self.log_prob_BK.view(-1, 1) + log_prob_RC).view(sentences, beams * per_row)
        log_prob_BC, index_BC = all_BC.topk(min(2 * beams, beams * per_row), dim=-1)
        return log_prob_BC, index_BC // per_row, id_RC.view(sentences, beams * per_row).gather(1, index_BC)

    def advance(self, log_prob_BC: Tensor, parent_BC: Tensor, id_BC: Tensor, position: int) -> Tensor | None:
        """Store the finished continuations and make the best others the new hypotheses.

        Returns the sentences that are not done, or None if none is done.
        """
        ends_BC = id_BC == self.task.eos
        for b, c in (ends_BC & (log_prob_BC > -math.inf))[:, : self.beams].nonzero().tolist():
            ids = tuple(self.ids_BKT[b, parent_BC[b, c]].tolist())
            self._finish(self.unfinished[b], ids, float(log_prob_BC[b, c]))
        self.log_prob_BK, index_BK = log_prob_BC.masked_fill(ends_BC, -math.inf).topk(self.beams, dim=-1)
        self.parent_BK = parent_BC.gather(1, index_BK)
        past_BKT = self.ids_BKT.gather(1, self.parent_BK[:, :, None].expand(-1, -1, position))
        self.ids_BKT = torch.cat((past_BKT, id_BC.gather(1, index_BK)[:, :, None]), dim=2)
        least_B1 = torch.tensor([[self.least[sentence]] for sentence in self.unfinished], device=log_prob_BC.device)
        self.log_prob_BK.masked_fill_(self.log_prob_BK <= least_B1, -math.inf)
        live_B = (self.log_prob_BK > -math.inf).any(1)
        return None if bool(live_B.all()) else live_B.nonzero()[:, 0]

    def _finish(self, sentence: int, ids: tuple[int, ...], log_prob: float) -> None:
        """Store a finished hypothesis if it is among the best."""
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
            self.least[sentence] = math.inf if self.beams == 1 else self._least(sentence)

    def _least(self, sentence: int) -> float:
        """Return the log-probability that a live hypothesis must exceed to become one of the best.

        No further id raises its log-probability, and the length penalty is largest at the limit. As this bound is the
        same for all hypotheses of a sentence, those above it rank before those below, at this position and at all later
        ones. So dropping the latter changes nothing about the former.
        """
        worst = min(each.score for each in self.best[sentence].values())
        return worst * length_penalty(self.task.limits[sentence], self.task.alpha)

    def keep(self, kept_B: Tensor | None) -> None:
        """Drop the sentences that are done, and set the rows that the next step continues."""
        first_B1 = torch.arange(len(self.unfinished), device=self.parent_BK.device)[:, None] * self.beams
        rows_BK = first_B1 + self.parent_BK
        if kept_B is not None:
            self.unfinished = [self.unfinished[b] for b in kept_B.tolist()]
            rows_BK, self.log_prob_BK, self.ids_BKT = rows_BK[kept_B], self.log_prob_BK[kept_B], self.ids_BKT[kept_B]
        self.rows_R = rows_BK.flatten()
        self.last_R = self.ids_BKT[:, :, -1].flatten()


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
    if logits_RV.is_cuda or groups <= 2 * count:
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


def allowed_ids(sentence_of_row: Sequence[int], ids_RT: Tensor, task: SearchTask) -> dict[int, Sequence[int]]:
    """Map rows to the only ids that may follow theirs: eos at the sentence's limit, or what continues a prefix."""
    position = ids_RT.shape[1]
    prefixes = [None if prefix is None or prefix.longest <= position else prefix for prefix in task.prefixes or ()]
    begun = any(prefixes)
    if not begun and position < min(task.limits, default=0) - 1:
        return {}
    allowed: dict[int, Sequence[int]] = {}
    history = ids_RT.tolist() if begun else []
    for row, sentence in enumerate(sentence_of_row):
        prefix = prefixes[sentence] if begun else None
        if position == task.limits[sentence] - 1:
            allowed[row] = (task.eos,)
        elif prefix is not None and (ids := prefix.allowed(history[row])):
            allowed[row] = ids
    return allowed


def constrain(logits_RV: Tensor, allowed: Mapping[int, Sequence[int]], banned: Sequence[int]) -> None:
    """Set the logits of banned ids to minus infinity, and in a row with allowed ids, all others."""
    rows = torch.tensor([row for row, ids in allowed.items() for _ in ids], dtype=torch.long, device=logits_RV.device)
    ids = torch.tensor([i for ids in allowed.values() for i in ids], dtype=torch.long, device=logits_RV.device)
    kept_logits = logits_RV[rows, ids]  # read before the ban: a prefix may contain banned ids
    logits_RV[:, list(banned)] = -math.inf
    if allowed:
        logits_RV[rows] = -math.inf
        logits_RV[rows, ids] = kept_logits
