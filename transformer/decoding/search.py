"""Greedy and beam search over any step function, independent of the model.

Shape letters: B sentences, K hypotheses of a sentence, R rows (hypotheses of all sentences, those of a sentence
adjacent), T target positions, V vocabulary, C candidates (of a row: the next ids considered; of a sentence: the best
candidates of its rows).

The score of a hypothesis is its log-probability divided by ((5 + n) / 6) ** alpha (Wu et al. 2016, section 7), where n
is its number of tokens. Both include eos.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
        self, last_R: Tensor, live_R: Tensor, forced: Mapping[int, int], banned: Sequence[int], count: int
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and ids (R, C) of at most `count` best next ids, best first.

        The result for rows that are not live is undefined. `forced` maps a row to the only id it may take.
        """
        ...

    def select(self, rows_R: Tensor, sentences_B: Tensor | None) -> None:
        """Continue with these rows and these sentences (None: all sentences)."""
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
    prefixes: Sequence[Sequence[int]] | None = None
    """Ids that each translation must begin with."""
    alpha: float = 0.6
    nbest: int = 1
    """Number of hypotheses to return for each sentence."""
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
    finished, and the best `beams` that do not end stay live. So a single beam is greedy search. A sentence is done when
    it has `beams` finished hypotheses, or when no live hypothesis can still be among the best.
    """
    beam = _Beam(len(task.limits), beams, task)
    state = state if isinstance(state, SelectingState) else _SelectFromLogits(state)
    for position in range(max(task.limits, default=0)):
        task.check()
        kept_B = beam.advance(*beam.continuations(state, position), position)
        if kept_B is not None and not len(kept_B):
            break
        beam.keep(kept_B)
        state.select(beam.rows_R, kept_B)
    failed = [Hypothesis((), -math.inf, -math.inf)]  # the result if a model's logits are not finite
    return [sorted(finished, key=lambda h: -h.score)[: task.nbest] or failed for finished in beam.finished]


class _SelectFromLogits:
    """Selects the best next ids from the logits of a state."""

    def __init__(self, state: State) -> None:
        self.step, self.select = state.step, state.select

    def top_candidates(
        self, last_R: Tensor, live_R: Tensor, forced: Mapping[int, int], banned: Sequence[int], count: int
    ) -> tuple[Tensor, Tensor]:
        logits_RV = self.step(last_R)
        norm_R1 = log_sum_exp(logits_RV)
        constrain(logits_RV, forced, banned)
        top_RC, id_RC = largest_logits(logits_RV, min(count, logits_RV.shape[1]))
        return top_RC - norm_R1, id_RC


@dataclass
class _Beam:
    """The live hypotheses of unfinished sentences, and the finished hypotheses of all sentences."""

    sentences: int
    beams: int
    task: SearchTask
    finished: list[list[Hypothesis]] = field(init=False)

    def __post_init__(self) -> None:
        device = self.task.device
        size = (self.sentences, self.beams)
        self.finished = [[] for _ in range(self.sentences)]
        self.unfinished = list(range(self.sentences))  # indices of the unfinished sentences
        self.log_prob_BK = torch.full(size, -math.inf, device=device)
        self.log_prob_BK[:, 0] = 0.0
        self.ids_BKT = torch.zeros((*size, 0), dtype=torch.long, device=device)
        self.parent_BK = torch.arange(self.beams, device=device).repeat(self.sentences, 1)
        self.last_R = torch.full((self.sentences * self.beams,), self.task.start_id, device=device)
        self.rows_R = torch.arange(self.sentences * self.beams, device=device)

    def continuations(self, state: SelectingState, position: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return log-probabilities, parents and ids (B, C) of the best continuations of each sentence, best first.

        There are 2 K of them. At most K end, one for each hypothesis, so K can always stay live.
        """
        sentences, beams = len(self.unfinished), self.beams
        forced = forced_ids(position, [i for i in self.unfinished for _ in range(beams)], self.task)
        live_R = self.log_prob_BK.view(-1) > -math.inf
        log_prob_RC, id_RC = state.top_candidates(self.last_R, live_R, forced, self.task.banned, beams + 1)
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
            log_prob = float(log_prob_BC[b, c])
            ids = tuple(self.ids_BKT[b, parent_BC[b, c]].tolist())
            score = length_normalized(log_prob, position + 1, self.task.alpha)
            self.finished[self.unfinished[b]].append(Hypothesis(ids, log_prob, score))
        self.log_prob_BK, index_BK = log_prob_BC.masked_fill(ends_BC, -math.inf).topk(self.beams, dim=-1)
        self.parent_BK = parent_BC.gather(1, index_BK)
        past_BKT = self.ids_BKT.gather(1, self.parent_BK[:, :, None].expand(-1, -1, position))
        self.ids_BKT = torch.cat((past_BKT, id_BC.gather(1, index_BK)[:, :, None]), dim=2)
        best_live = self.log_prob_BK.amax(1).tolist()
        kept = [b for b, best in enumerate(best_live) if not self._is_done(self.unfinished[b], best)]
        if len(kept) == len(self.unfinished):
            return None
        return torch.tensor(kept, dtype=torch.long, device=log_prob_BC.device)

    def _is_done(self, sentence: int, best_live: float) -> bool:
        """Return whether no live hypothesis can still be among the best. `best_live` is their best log-probability."""
        finished, task = self.finished[sentence], self.task
        if best_live == -math.inf or len(finished) >= self.beams:
            return True
        if len(finished) < task.nbest:
            return False
        # An upper bound: no further id raises the log-probability, and the length penalty is largest at the limit.
        most_possible = length_normalized(best_live, task.limits[sentence], task.alpha)
        return sorted((h.score for h in finished), reverse=True)[task.nbest - 1] >= most_possible

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


def forced_ids(position: int, sentence_of_row: Sequence[int], task: SearchTask) -> dict[int, int]:
    """Map rows to the only id that they may take: eos at the sentence's limit, or the next id of a prefix."""
    if task.prefixes is None and position < min(task.limits, default=0) - 1:
        return {}
    forced = {}
    for row, sentence in enumerate(sentence_of_row):
        prefix = task.prefixes[sentence] if task.prefixes is not None else ()
        if position == task.limits[sentence] - 1:
            forced[row] = task.eos
        elif position < len(prefix):
            forced[row] = prefix[position]
    return forced


def constrain(logits_RV: Tensor, forced: Mapping[int, int], banned: Sequence[int]) -> None:
    """Set the logits of banned ids to minus infinity, and in a row with a forced id, all others."""
    rows = torch.tensor(list(forced), dtype=torch.long, device=logits_RV.device)
    ids = torch.tensor(list(forced.values()), dtype=torch.long, device=logits_RV.device)
    forced_logits = logits_RV[rows, ids]  # read before the ban: a prefix may contain banned ids
    logits_RV[:, list(banned)] = -math.inf
    if forced:
        logits_RV[rows] = -math.inf
        logits_RV[rows, ids] = forced_logits
