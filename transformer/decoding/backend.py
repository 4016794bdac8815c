"""Runs the network for the translator: the interface, and its implementation in torch.

Shape letters: B sentences, S source positions.
"""

from __future__ import annotations

from typing import Protocol

import torch

from transformer.decoding import search
from transformer.model.decoder_state import DecoderState
from transformer.model.network import Transformer


class Backend(Protocol):
    """Runs the network: torch or the 8-bit kernels."""

    precision: str
    """The precision, by its name in the configuration."""

    def start(self, source_BS: torch.Tensor, beams: int) -> search.State | search.SelectingState:
        """Encode the sources and return the state from which `beams` hypotheses each are decoded."""
        ...


class TorchBackend:
    """Runs a model in torch, in one precision."""

    def __init__(self, model: Transformer, dtype: torch.dtype) -> None:
        self.model, self.dtype = model, dtype
        self.precision = str(dtype).removeprefix("torch.")

    def start(self, source_BS: torch.Tensor, beams: int) -> DecoderState:
        """Encode the sources and return the state from which `beams` hypotheses each are decoded."""
        return self.ready().start(source_BS, beams)

    def ready(self) -> Transformer:
        """Return the model, which may be shared, set to this precision and without dropout."""
        if self.model.training:
            self.model.eval()
        self.model.compute_dtype = self.dtype
        return self.model
