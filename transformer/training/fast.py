"""The fast path on GPUs: batches of constant shape, compiled and captured, once each has been seen to be right.

A way of computing is not trusted because it should work. The first batch of each shape is computed in every way that
is to be used and in the plain one, with the same dropout. A way that raises, or whose loss or gradient differs by more
than rounding, is not used, and the log says why.

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
from transformer.model.loss import slices
from transformer.model.network import Transformer
from transformer.model.packed_rows import PackedRows
from transformer.system.memory import is_out_of_memory, release_cached_memory
from transformer.training.flat_weights import FlatWeights

WORTH_COMPILING = 500
"""Updates of a run below which compiling would take longer than it saves. Not measured."""
ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 2e-3}
AS_EXACT = 1.5
"""A way is right if its gradient and loss are as near to those in float32 as those of the plain way: up to AS_EXACT
times as far, and the ROUNDING of the precision more, both relative to the norm. The fast path knows no other
precision: float16 needs a scaled loss, whose scale changes."""

Way = Callable[[bool], None]
"""Computes the batch at hand, and adds its gradient to that so far unless it is the first batch of an update."""

log = logging.getLogger(__name__)


class WrongResultError(Exception):
    """A way of computing has another result than the plain one."""


class FastPath:
    """Adds the gradients of packed batches to the buffer of `FlatWeights`. All tensors that it reads stay in place."""

    def __init__(
        self,
        model: Transformer,
        weights: FlatWeights,
        dtype: torch.dtype,
        smoothing: float,
        compiles: Callable[..., Any] | None,
    ) -> None:
        """`compiles` compiles a function. Without it nothing is compiled."""
        device = weights.weights.device
        self.weights, self.dtype, self.smoothing = weights, dtype, smoothing
        self.parameters = list(weights.parameters.values())
        self.plain = PackedRows(model)
        self.compiled = None if compiles is None else PackedRows(model, compiles)
        self.block: Tensor | None = None
        """The planes of the batch at hand, of the same size for each batch."""
        self.seeds_J = torch.zeros(self.plain.dropouts, dtype=torch.int32, device=device)
        self.share = torch.zeros((), device=device)
        """One over the target tokens of the update."""
        self.nll = torch.zeros((), device=device)
        """Negative log-likelihood of the update so far, summed over tokens, in nats."""
        self._ways: dict[int, Way] = {}  # by the length of a row
        self._pool: Any = None

    def start(self, tokens: int) -> None:
        """Begin an update of so many target tokens, in all processes."""
        self.share.fill_(1 / tokens)
        self._first = True

    def add(self, batch: PackedBatch, seed: int) -> None:
        """Add the gradient of a batch, and its nll. The first batch of an update replaces those of the last update."""
        shape = (batch.block.shape[1], batch.block.shape[2])
        seeds = np.random.SeedSequence(seed).generate_state(len(self.seeds_J), np.uint32).view(np.int32)
        if self.block is None:
            self.block = torch.zeros(batch.block.numel(), dtype=torch.int32, device=self.nll.device)
        self._load(self.block.view(7, *shape), batch.block)
        self._load(self.seeds_J, torch.from_numpy(seeds))
        if shape[1] not in self._ways:
            self._ways[shape[1]] = self._choose(shape)
        self._ways[shape[1]](self._first)
        self._first = False

    def _load(self, into: Tensor, values: Tensor) -> None:
        into.copy_(values.pin_memory() if into.is_cuda else values, non_blocking=True)

    # ---- ways of computing ------------------------------------------------------------------------------------

    def _choose(self, shape: tuple[int, int]) -> Way:
        """Return the fastest way to compute batches of this shape that is right for the batch at hand."""
        before = self._results()
        plain, exact = self._plain_way(shape)
        self._run(plain)
        allowed = [AS_EXACT * each + ROUNDING[self.dtype] for each in _distances(self._results(), exact)]
        way, names = plain, ["plain"]
        for name, make in (("compiled", self._compile), ("captured", self._capture)):
            faster = make(shape, way)
            if faster is not None and self._is_right(name, faster, exact, allowed):
                way = faster
                names.append(name)
        self.weights.gradients.copy_(before[0])
        self.nll.copy_(before[1])
        log.info("batches of %d rows of %d tokens: %s", *shape, ", ".join(names[1:] or names))
        return way

    def _results(self) -> list[Tensor]:
        return [self.weights.gradients.clone(), self.nll.clone()]

    def _plain_way(self, shape: tuple[int, int]) -> tuple[Way, list[Tensor]]:
        """Compute the batch at hand with torch's own kernels in float32, in as many parts as memory requires.

        Returns how to do that in the training precision, and the results.
        """
        height, model = shape[0], self.plain.model
        while True:
            way = self._in_parts(shape, height)
            try:
                model.compute_dtype = torch.float32
                self._run(way)
                return way, self._results()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or height == 1:
                    raise
            finally:
                model.compute_dtype = self.dtype
            release_cached_memory(self.nll.device)
            height = (height + 1) // 2
            log.warning("out of memory: batches are computed %d rows at a time", height)

    def _in_parts(self, shape: tuple[int, int], height: int) -> Way:
        parts = list(slices(shape[0], height))

        def way(first: bool) -> None:
            for rows in parts:
                self._compute(self.plain, shape, first and rows.start == 0, rows)

        return way

    def _compile(self, shape: tuple[int, int], _slower: Way) -> Way | None:
        if (compiled := self.compiled) is None:
            return None
        return lambda first: self._compute(compiled, shape, first)

    def _capture(self, _shape: tuple[int, int], slower: Way) -> Way | None:
        """Return a way that replays the kernels of a slower one, which still computes further batches of an update."""
        if not self.nll.is_cuda:
            return None
        graph: torch.cuda.CUDAGraph | None = None

        def replay(first: bool) -> None:
            nonlocal graph
            if not first:
                slower(False)
                return
            if graph is None:
                graph = self._record(slower)
            graph.replay()

        return replay

    def _record(self, slower: Way) -> torch.cuda.CUDAGraph:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # what is allocated or chosen once must not be captured
            slower(True)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):  # others read and pin batches
            slower(True)
        self._pool = graph.pool()
        return graph

    def _is_right(self, name: str, way: Way, exact: list[Tensor], allowed: list[float]) -> bool:
        """Return whether a way has the right gradient and loss. Logs what is wrong otherwise."""
        try:
            self._run(way)
            for what, found, most in zip(
                ("gradient", "loss"), _distances(self._results(), exact), allowed, strict=True
            ):
                if not found <= most:
                    raise WrongResultError(
                        f"its {what} is {found:.1e} of the norm from float32, not at most {most:.1e}"
                    )
        except Exception as error:  # whatever a compiler, a driver or a kernel may raise
            log.warning("the fast path is not %s: %s", name, _first_line(error))
            release_cached_memory(self.nll.device)
            return False
        return True

    def _run(self, way: Way) -> None:
        way(True)
        if self.nll.is_cuda:
            torch.cuda.synchronize()  # errors of kernels are raised here

    def _compute(self, network: PackedRows, shape: tuple[int, int], first: bool, rows: slice = slice(0, None)) -> None:
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


def _distances(found: list[Tensor], exact: list[Tensor]) -> list[float]:
    """Return how far the results are from the exact ones, relative to the norms of those."""
    return [float((one - other).norm() / other.norm()) for one, other in zip(found, exact, strict=True)]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}{': ' + lines[0] if lines else ''}"


def make_fast_path(model: Transformer, weights: FlatWeights, cfg: TrainConfig, dtype: torch.dtype) -> FastPath | None:
    """Return the fast path of a training, or None where only the plain one is used."""
    if cfg.fast == "off" or not weights.weights.is_cuda or dtype not in ROUNDING:
        return None
    compiles = compiled if cfg.max_steps >= WORTH_COMPILING else None
    return FastPath(model, weights, dtype, cfg.label_smoothing, compiles)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of tensors as one compiled region for each shape."""
    return torch.compile(function, fullgraph=True, dynamic=False)
