"""Greedy and beam search and sampling over any step function; nothing here knows the model.

Shape letters: B sentences, K hypotheses of each, N = B * K rows (a sentence's hypotheses side by side),
V vocabulary, P prefix positions. A hypothesis's score is its log-probability, eos included, over
((5 + n) / 6) ** alpha (Wu et al. 2016, section 7), n being its tokens with eos.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


class State(Protocol):
    """What the search asks of a model: the next logits, and to go on with other hypotheses."""

    def step(self, last_N: Tensor) -> Tensor:
        """Return logits (N, V) after each hypothesis's last id; they may be changed."""
        ...

    def select(self, rows_N: Tensor, sentences_B: Tensor | None) -> None:
        """Go on with these rows, and of the sentences with these (None: all)."""
        ...


@runtime_checkable
class SelectingState(Protocol):
    """A state that finds the best continuations itself, without handing out logits."""

    def best(
        self, last_N: Tensor, live_N: Tensor, forced: Mapping[int, int], banned: Sequence[int], count: int
    ) -> tuple[Tensor, Tensor]:
        """Return log-probability and id (N, at most `count`) of the best next ids, best first.

        Rows that are not live may hold anything. `forced` has the rows that have no choice, with their id.
        """
        ...

    def select(self, rows_N: Tensor, sentences_B: Tensor | None) -> None:
        """Go on with these rows, and of the sentences with these (None: all)."""
        ...


@dataclass(frozen=True)
class Hypothesis:
    """A finished translation."""

    ids: tuple[int, ...]
    """Target ids without eos."""
    log_prob: float
    """Natural logarithm of the probability of the ids and eos."""
    score: float
    """What hypotheses are ranked by."""


@dataclass(frozen=True, kw_only=True)
class SearchTask:
    """What to search for, for each of B sentences."""

    start: int
    """The id that the decoder reads first."""
    eos: int
    banned: tuple[int, ...]
    """Ids that are never chosen; their probability still counts."""
    limits: Sequence[int]
    """Most ids of a translation, eos included."""
    prefixes: Sequence[Sequence[int]] | None = None
    """Ids that each translation begins with."""
    alpha: float = 0.6
    best: int = 1
    """Hypotheses to return."""
    device: torch.device = torch.device("cpu")
    """Where the logits are."""


def length_penalty(tokens: int, alpha: float) -> float:
    """Return ((5 + n) / 6) ** alpha."""
    return float(((5 + tokens) / 6) ** alpha)


def length_normalized(log_prob: float, tokens: int, alpha: float) -> float:
    """Return the score of a translation of `tokens` ids, eos included."""
    return log_prob / length_penalty(tokens, alpha)


def beam_search(state: State | SelectingState, beams: int, task: SearchTask) -> list[list[Hypothesis]]:
    """Return the `task.best` best hypotheses found for each sentence, best first.

    At each position the best continuations are ranked: those among the first `beams` that end are finished, and the
    best `beams` that do not end live on, so that one beam is greedy search. A sentence is done when it has `beams`
    finished hypotheses, or when no live one can still be among the best.
    """
    beam = _Beam(len(task.limits), beams, task)
    state = state if isinstance(state, SelectingState) else _SelectFromLogits(state)
    for position in range(max(task.limits, default=0)):
        candidates = beam.extend(state, position)
        kept = beam.close(*candidates, position)
        if kept is not None and not len(kept):
            break
        beam.keep(kept)
        state.select(beam.rows_N, kept)
    nothing = [Hypothesis((), -math.inf, -math.inf)]  # of a model whose numbers are not finite
    return [sorted(found, key=lambda h: -h.score)[: task.best] or nothing for found in beam.finished]


class _SelectFromLogits:
    """Chooses from the logits of a state."""

    def __init__(self, state: State) -> None:
        self.step, self.select = state.step, state.select

    def best(
        self, last_N: Tensor, _: Tensor, forced: Mapping[int, int], banned: Sequence[int], count: int
    ) -> tuple[Tensor, Tensor]:
        logits_NV = self.step(last_N)
        norm_N1 = log_sum_exp(logits_NV)
        constrain(logits_NV, forced, banned)
        top_NC, id_NC = top(logits_NV, min(count, logits_NV.shape[1]))
        return top_NC - norm_N1, id_NC


@dataclass
class _Beam:
    """The live hypotheses of the sentences not yet done, and the finished ones of all."""

    sentences: int
    beams: int
    task: SearchTask
    finished: list[list[Hypothesis]] = field(init=False)

    def __post_init__(self) -> None:
        device = self.task.device
        size = (self.sentences, self.beams)
        self.finished = [[] for _ in range(self.sentences)]
        self.alive = list(range(self.sentences))
        self.score_BK = torch.full(size, -math.inf, device=device)
        self.score_BK[:, 0] = 0.0
        self.ids_BKT = torch.zeros((*size, 0), dtype=torch.long, device=device)
        self.parent_BK = torch.arange(self.beams, device=device).repeat(self.sentences, 1)
        self.last_N = torch.full((self.sentences * self.beams,), self.task.start, device=device)
        self.rows_N = torch.arange(self.sentences * self.beams, device=device)

    def extend(self, state: SelectingState, position: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return log-probability, parent and id (B, 2K) of the best continuations, best first: K of them do not end."""
        b, k = len(self.alive), self.beams
        forced = forced_ids(position, [i for i in self.alive for _ in range(k)], self.task)
        live_N = self.score_BK.view(-1) > -math.inf
        log_prob_NC, id_NC = state.best(self.last_N, live_N, forced, self.task.banned, k + 1)
        width = id_NC.shape[1]
        total_BX = (self.score_BK.view(-1, 1) + log_prob_NC).view(b, k * width)
        total_BC, flat_BC = total_BX.topk(min(2 * k, k * width), dim=-1)
        return total_BC, flat_BC // width, id_NC.view(b, k * width).gather(1, flat_BC)

    def close(self, total_BC: Tensor, parent_BC: Tensor, id_BC: Tensor, position: int) -> Tensor | None:
        """Take the continuations over, finished ones aside; return the sentences that go on, None for all."""
        ends_BC = id_BC == self.task.eos
        for b, k in (ends_BC & (total_BC > -math.inf))[:, : self.beams].nonzero().tolist():
            log_prob = float(total_BC[b, k])
            ids = tuple(self.ids_BKT[b, parent_BC[b, k]].tolist())
            found = Hypothesis(ids, log_prob, length_normalized(log_prob, position + 1, self.task.alpha))
            self.finished[self.alive[b]].append(found)
        self.score_BK, chosen_BK = total_BC.masked_fill(ends_BC, -math.inf).topk(self.beams, dim=-1)
        self.parent_BK = parent_BC.gather(1, chosen_BK)
        past_BKT = self.ids_BKT.gather(1, self.parent_BK[:, :, None].expand(-1, -1, position))
        self.ids_BKT = torch.cat((past_BKT, id_BC.gather(1, chosen_BK)[:, :, None]), dim=2)
        live = [b for b, best in enumerate(self.score_BK.amax(1).tolist()) if not self._is_done(self.alive[b], best)]
        if len(live) == len(self.alive):
            return None
        return torch.tensor(live, dtype=torch.long, device=total_BC.device)

    def _is_done(self, sentence: int, best_live: float) -> bool:
        """Whether no live hypothesis, the best having log-probability `best_live`, can still win."""
        found, task = self.finished[sentence], self.task
        if best_live == -math.inf or len(found) >= self.beams:
            return True
        if len(found) < task.best:
            return False
        at_best = length_normalized(
            best_live, task.limits[sentence], task.alpha
        )  # longer costs probability, never gives
        return sorted((h.score for h in found), reverse=True)[task.best - 1] >= at_best

    def keep(self, kept_B: Tensor | None) -> None:
        """Drop the sentences that are done, and say which rows the next step continues."""
        rows_BK = torch.arange(len(self.alive), device=self.parent_BK.device)[:, None] * self.beams + self.parent_BK
        if kept_B is not None:
            self.alive = [self.alive[b] for b in kept_B.tolist()]
            rows_BK, self.score_BK, self.ids_BKT = (
                rows_BK[kept_B],
                self.score_BK[kept_B],
                self.ids_BKT[kept_B],
            )
        self.rows_N = rows_BK.flatten()
        self.last_N = self.ids_BKT[:, :, -1].flatten()


def log_sum_exp(logits_NV: Tensor) -> Tensor:
    """Return (N, 1): float32, summed in float32 whatever the logits are."""
    peak_N1 = logits_NV.amax(-1, keepdim=True)
    return (logits_NV - peak_N1).exp_().sum(-1, keepdim=True, dtype=torch.float32).log_() + peak_N1


def top(logits_NV: Tensor, count: int, group: int = 64) -> tuple[Tensor, Tensor]:
    """Return the `count` largest logits of each row, largest first, and their ids.

    They stand in the `count` groups of neighbours whose maxima are largest; finding those is one fast pass over memory,
    where sorting whole rows is slow.
    """
    rows, size = logits_NV.shape
    groups = size // group
    if logits_NV.is_cuda or groups <= 2 * count:
        return logits_NV.topk(count, dim=-1)
    body_NGJ = logits_NV[:, : groups * group].unflatten(1, (groups, group))
    best_NC = body_NGJ.amax(-1).topk(count, dim=-1).indices
    found_NX = body_NGJ.gather(1, best_NC[:, :, None].expand(-1, -1, group)).flatten(1)
    ids_NX = (best_NC[:, :, None] * group + torch.arange(group)).flatten(1)
    if groups * group < size:
        found_NX = torch.cat((found_NX, logits_NV[:, groups * group :]), dim=1)
        ids_NX = torch.cat((ids_NX, torch.arange(groups * group, size).expand(rows, -1)), dim=1)
    top_NC, place_NC = found_NX.topk(count, dim=-1)
    return top_NC, ids_NX.gather(1, place_NC)


def forced_ids(position: int, sentence_N: Sequence[int], task: SearchTask) -> dict[int, int]:
    """Return the rows that have no choice, with their id: eos at a sentence's limit, a prefix where there is one."""
    if task.prefixes is None and position < min(task.limits, default=0) - 1:
        return {}
    forced = {}
    for row, sentence in enumerate(sentence_N):
        prefix = task.prefixes[sentence] if task.prefixes is not None else ()
        if position == task.limits[sentence] - 1:
            forced[row] = task.eos
        elif position < len(prefix):
            forced[row] = prefix[position]
    return forced


def constrain(logits_NV: Tensor, forced: Mapping[int, int], banned: Sequence[int]) -> None:
    """Put what may not be chosen to minus infinity: banned ids, and all others in a row where one is forced."""
    rows = torch.tensor(list(forced), dtype=torch.long, device=logits_NV.device)
    ids = torch.tensor(list(forced.values()), dtype=torch.long, device=logits_NV.device)
    chosen = logits_NV[rows, ids]  # before the ban: a prefix may hold what is banned
    logits_NV[:, list(banned)] = -math.inf
    if forced:
        logits_NV[rows] = -math.inf
        logits_NV[rows, ids] = chosen
