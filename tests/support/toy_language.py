"""A language of a few words, to test search and sampling without a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from transformer.decoding import search

VOCAB, START, EOS = 5, 0, 1


class Language:
    """A step function whose distribution depends on the sentence and all ids so far."""

    def __init__(self, sentences: Sequence[int], beams: int, sharpness: float = 2.0) -> None:
        self.sharpness = sharpness
        self.history: list[tuple[int, tuple[int, ...]]] = [(s, ()) for s in sentences for _ in range(beams)]

    def step(self, last_R: Tensor) -> Tensor:
        self.history = [(s, (*past, int(i))) for (s, past), i in zip(self.history, last_R, strict=True)]
        return torch.stack([logits(*h, self.sharpness) for h in self.history])

    def select(self, rows_R: Tensor, sentences_B: Tensor | None) -> None:
        self.history = [self.history[i] for i in rows_R.tolist()]


class IdPrefix(tuple[int, ...]):
    """A forced beginning of these ids."""

    @property
    def longest(self) -> int:
        return len(self)

    def allowed(self, ids: Sequence[int]) -> Sequence[int]:
        return self[len(ids) : len(ids) + 1]


def logits(sentence: int, past: tuple[int, ...], sharpness: float = 2.0) -> Tensor:
    """Return random logits; the larger `sharpness`, the more peaked is the distribution."""
    seed = hash((sentence, past)) % 2**31
    return torch.randn(VOCAB, generator=torch.Generator().manual_seed(seed)) * sharpness


def log_prob(sentence: int, ids: tuple[int, ...]) -> float:
    total = 0.0
    past: tuple[int, ...] = (START,)
    for i in (*ids, EOS):
        total += float(logits(sentence, past).log_softmax(0)[i])
        past = (*past, i)
    return total


def task(limits: Sequence[int], **changes: Any) -> search.SearchTask:
    return search.SearchTask(**{"start_id": START, "eos": EOS, "banned": (START,), "limits": limits, **changes})


def searched(sentences: Sequence[int], beams: int, **changes: Any) -> list[list[search.Hypothesis]]:
    limits, sharpness = changes.pop("limits", [4] * len(sentences)), changes.pop("sharpness", 2.0)
    return search.beam_search(Language(sentences, beams, sharpness), beams, task(limits, **changes))
