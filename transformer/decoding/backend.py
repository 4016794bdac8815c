"""Runs the network for the translator: the interface, and its implementation in torch.

Shape letters: B sentences, S source positions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch

from transformer.decoding import transfer
from transformer.decoding.fast import FastDecoder, FastDecodingError
from transformer.model.cast_copy import CastCopy
from transformer.model.network import Transformer
from transformer.system.memory import is_out_of_memory

Found = TypeVar("Found")
log = logging.getLogger(__name__)


class Backend(Protocol):
    """Runs the network: torch or the 8-bit kernels."""

    precision: str
    """The precision, by its name in the configuration."""

    def decode(self, source_BS: torch.Tensor, beams: int, positions: int, search: Callable[[Any], Found]) -> Found:
        """Encode the sources, and return what `search` returns for the state to decode `beams` hypotheses of each.

        The state is a `search.State` or a `search.SelectingState` for at most this many target positions. `search` may
        be called again with another state.
        """
        ...


class TorchBackend:
    """Runs a model in torch, in one precision; on a GPU the fast way, unless `fast` is false or the GPU fails at it."""

    def __init__(self, model: Transformer, dtype: torch.dtype, device: torch.device | None = None, fast: bool = False):
        self.model, self.dtype = model, dtype
        self.precision = str(dtype).removeprefix("torch.")
        self.device = device or torch.device("cpu")
        gpu = transfer.on_gpu(self.device)
        self._cast = CastCopy(model, dtype) if gpu and dtype != torch.float32 else None
        self.fast = FastDecoder(self.ready(), self.device) if gpu and fast else None
        """Decodes the fast way, as long as that works."""

    def decode(self, source_BS: torch.Tensor, beams: int, positions: int, search: Callable[[Any], Found]) -> Found:
        """Do what `Backend.decode` says, the fast way. If that fails, all is decoded the plain way from then on."""
        model, fast = self.ready(), self.fast
        if fast is not None:
            try:
                if (state := fast.start(source_BS, beams, positions)) is not None:
                    with state:
                        return search(state)
            except FastDecodingError as error:
                self.fast = None
                log.warning("decoding goes on without captured steps, with the same results: %s", error)
            except (RuntimeError, MemoryError) as error:
                if is_out_of_memory(error):
                    fast.release()  # a smaller batch may need this memory
                raise
        return search(model.start(source_BS, beams))

    def ready(self) -> Transformer:
        """Return the model, which may be shared, set to this precision and without dropout."""
        if self.model.training:
            self.model.eval()
        self.model.compute_dtype = self.dtype
        return self.model if self._cast is None else self._cast.current()
