"""The fast path on GPUs: batches of constant shape, whose tensors stay in place, computed in the fastest way.

Shape letters: R rows, L positions of a row, J dropouts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transformer.config import TrainConfig
from transformer.data.packing import PackedBatch
from transformer.model.network import Transformer
from transformer.model.packed_rows import PackedRows
from transformer.training.flat_weights import FlatWeights
from transformer.training.ways import ROUNDING, Choice, Way

WORTH_COMPILING = 500
"""Updates of a run below which compiling would take longer than it saves. Not measured."""
WORTH_MEASURING = 5000
"""Updates of a run below which one kind of attention is compiled, not two to choose from. Not measured."""
MOST_SHAPES = 64
"""Most shapes that a region is compiled for: two kinds of attention for each length of a row."""
log = logging.getLogger(__name__)


class FastPath:
    """Adds the gradients of packed batches to the buffer of `FlatWeights`."""

    def __init__(
        self,
        model: Transformer,
        weights: FlatWeights,
        dtype: torch.dtype,
        smoothing: float,
        compiles: Callable[..., Any] | None,
        measures: bool = True,
    ) -> None:
        """`compiles` compiles a function; without it nothing is compiled. `measures` compiles fused attention too."""
        self.device = weights.weights.device
        self.weights, self.dtype, self.smoothing = weights, dtype, smoothing
        self.parameters = list(weights.parameters.values())
        self.plain = PackedRows(model)
        measures = measures and model.cfg.attention_dropout == 0  # a fused kernel has masks of its own
        kinds = (False, True) if measures else (False,)
        self.compiled = [] if compiles is None else [PackedRows(model, compiles, fused) for fused in kinds]
        self.fused: dict[int, bool] = {}
        """Whether attention uses a fused kernel, by the length of a row: measured once, then kept with checkpoints."""
        self.pool: Any = None
        self.block: Tensor | None = None
        """The planes of the batch at hand, of the same size for each batch."""
        self.seeds_J = torch.zeros(self.plain.dropouts, dtype=torch.int32, device=self.device)
        self.share = torch.zeros((), device=self.device)
        """One over the target tokens of the update."""
        self.nll = torch.zeros((), device=self.device)
        """Negative log-likelihood of the update so far, summed over tokens, in nats."""
        self._ways: dict[int, Way] = {}  # by the length of a row
        self._first = True

    def start(self, tokens: int) -> None:
        """Begin an update of so many target tokens, in all processes."""
        self.share.fill_(1 / tokens)
        self._first = True

    def add(self, batch: PackedBatch, seed: int) -> None:
        """Add the gradient of a batch, and its nll. The first batch of an update replaces those of the last update."""
        shape = (batch.block.shape[1], batch.block.shape[2])
        seeds = np.random.SeedSequence(seed).generate_state(len(self.seeds_J), np.uint32).view(np.int32)
        if self.block is None:
            self.block = torch.zeros(batch.block.numel(), dtype=torch.int32, device=self.device)
        self._load(self.block.view(7, *shape), batch.block)
        self._load(self.seeds_J, torch.from_numpy(seeds))
        way = self._ways.get(shape[1])
        if way is None:
            way, proven = Choice(self, shape, self.plain, self.compiled).make()
            if proven:
                self._ways[shape[1]] = way
        way(self._first)
        self._first = False

    def _load(self, into: Tensor, values: Tensor) -> None:
        into.copy_(values.pin_memory() if into.is_cuda else values, non_blocking=True)

    def compute(self, network: PackedRows, shape: tuple[int, int], first: bool, rows: slice) -> None:
        """Compute loss and gradient of these rows of the batch at hand. Add them to those so far unless `first`."""
        assert self.block is not None
        loss = network.loss(self.block.view(7, *shape)[:, rows], self.seeds_J, self.smoothing, rows.start)
        gradients = torch.autograd.grad(loss.smoothed * self.share, self.parameters)
        if first:
            torch._foreach_copy_(self.weights.gradient_views, list(gradients))
            self.nll.copy_(loss.nll)
        else:
            torch._foreach_add_(self.weights.gradient_views, list(gradients))
            self.nll.add_(loss.nll)

    def results(self) -> list[Tensor]:
        """Return copies of the gradient and of the nll."""
        return [self.weights.gradients.clone(), self.nll.clone()]

    def put_back(self, results: list[Tensor]) -> None:
        """Replace the gradient and the nll."""
        self.weights.gradients.copy_(results[0])
        self.nll.copy_(results[1])


def make_fast_path(model: Transformer, weights: FlatWeights, cfg: TrainConfig, dtype: torch.dtype) -> FastPath | None:
    """Return the fast path of a training, or None where only the plain one is used."""
    if cfg.fast == "off" or not weights.weights.is_cuda or dtype not in ROUNDING:
        return None
    if cfg.guided_alignment:
        log.info("train.guided_alignment: batches are computed the plain way, not in packed rows")
        return None
    compiles = compiled if cfg.max_steps >= WORTH_COMPILING else None
    return FastPath(model, weights, dtype, cfg.label_smoothing, compiles, cfg.max_steps >= WORTH_MEASURING)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of tensors as one compiled region for each shape, with kernels that are not chosen by timing.

    Kernels of other sizes round differently, so a run that is resumed must get the same ones.
    """
    from torch._inductor import config as inductor  # takes a while

    torch._dynamo.config.recompile_limit = MOST_SHAPES
    options: dict[str, Any] | None = {"deterministic": True} if hasattr(inductor, "deterministic") else None
    return torch.compile(function, fullgraph=True, dynamic=False, options=options)
