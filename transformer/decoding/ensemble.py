"""Ensembles: several models with one vocabulary translate together, by the mean of their probabilities.

Shape letters: R rows (hypotheses of all sentences), V vocabulary, B sentences, S source positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from transformer.decoding.backend import TorchBackend
from transformer.decoding.search import State

Found = TypeVar("Found")


def mean_log_probs(logits: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean probability (..., V) by the logits (..., V) of each model, in float32.

    A single model's logits are returned as they are: a search divides by their sum itself.
    """
    if len(logits) == 1:
        return logits[0]
    each = torch.stack([one.float().log_softmax(-1) for one in logits])
    return each.logsumexp(0) - math.log(len(logits))


class EnsembleState:
    """The states of several models in one search."""

    def __init__(self, states: Sequence[State], starts: Sequence[int]) -> None:
        """Take the state and the decoder's start token of each model."""
        self.states, self.starts, self.begun = states, starts, False

    def step(self, last_R: Tensor) -> Tensor:
        """Return the logarithm of the mean probability (R, V) of the next id of each hypothesis."""
        first = [None] * len(self.states) if self.begun else self.starts
        self.begun = True
        return mean_log_probs(
            [
                state.step(last_R if start is None else torch.full_like(last_R, start))
                for state, start in zip(self.states, first, strict=True)
            ]
        )

    def select(self, rows_R: Tensor, sentences_B: Tensor | None) -> None:
        """Continue with these rows and these sentences (None: all sentences)."""
        for state in self.states:
            state.select(rows_R, sentences_B)


class EnsembleBackend:
    """Runs several models in torch as one. On a GPU too it is the plain way: steps are not captured."""

    def __init__(self, backends: Sequence[TorchBackend]) -> None:
        self.backends = backends
        self.precision = backends[0].precision

    def decode(self, source_BS: Tensor, beams: int, positions: int, search: Callable[[Any], Found]) -> Found:
        """Do what `Backend.decode` says, with the states of all models as one."""
        models = [backend.ready() for backend in self.backends]
        starts = [model.start_id for model in models]
        return search(EnsembleState([model.start(source_BS, beams) for model in models], starts))
