"""Ways to compute a packed batch on a GPU: plain, compiled, captured. The fastest that proves right is chosen.

A way of computing is not trusted because it should work. The first batch of each shape is computed in every way that
is to be used and in the plain one, with the same dropout. A way that raises, or whose loss or gradient is farther from
float32 than rounding explains, or whose gradient has other bits each time, is not used, and the log says why.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from transformer.model.loss import slices
from transformer.model.packed_rows import PackedRows
from transformer.system.memory import is_out_of_memory, release_cached_memory

ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 2e-3}
AS_EXACT = 1.5
"""A way is right if its gradient and loss are as near to those in float32 as those of the plain way: up to AS_EXACT
times as far, and the ROUNDING of the precision more, both relative to the norm. The fast path knows no other
precision: float16 needs a scaled loss, whose scale changes."""
TRIES = 3
"""Number of times that a way is timed, and that it must have the same bits."""
Way = Callable[[bool], None]
"""Computes the batch at hand, and adds its gradient to that so far unless it is the first batch of an update."""

log = logging.getLogger(__name__)


class WrongResultError(Exception):
    """A way of computing has another result than the plain one."""


class Computing(Protocol):
    """What computes the batch at hand: `FastPath`."""

    dtype: torch.dtype
    fused: dict[int, bool]
    """Whether attention uses a fused kernel, by the length of a row."""
    pool: Any
    """The memory of captured graphs."""

    @property
    def device(self) -> torch.device:
        """The device of the batch."""
        ...

    def compute(self, network: PackedRows, shape: tuple[int, int], first: bool, rows: slice) -> None:
        """Compute these rows of the batch."""
        ...

    def results(self) -> list[Tensor]:
        """Return copies of the gradient and of the nll."""
        ...

    def put_back(self, results: list[Tensor]) -> None:
        """Replace the gradient and the nll."""
        ...


class Choice:
    """The choice of a way for the batch at hand, of one shape (rows, length of a row)."""

    def __init__(
        self, path: Computing, shape: tuple[int, int], plain: PackedRows, compiled: Sequence[PackedRows]
    ) -> None:
        self.path, self.shape, self.plain, self.compiled = path, shape, plain, compiled
        self.exact: list[Tensor] = []
        """Gradient and nll in float32."""
        self.allowed: list[float] = []
        """How far from those another way may be."""

    def make(self) -> tuple[Way, bool]:
        """Return the fastest way that is right, and whether that is proven. The results so far are left as they are.

        Nothing can be proven by a batch whose loss or gradient is not finite.
        """
        before = self.path.results()
        way = self._plain_way()
        if not all(each.isfinite().all() for each in self.exact):
            self.path.put_back(before)
            return way, False
        self._run(way)
        distances = _distances(self.path.results(), self.exact)
        self.allowed = [AS_EXACT * each + ROUNDING[self.path.dtype] for each in distances]
        names = ["plain"]
        if (network := self._fastest_network()) is not None:
            way, names = self._whole(network), [_name(network)]
        if self.path.device.type == "cuda":
            captured = Captured(way, self.path)
            if self._is_right("captured", captured):
                way = captured
                names.append("captured")
                self.path.pool = captured.pool
        self.path.put_back(before)
        log.info("batches of %d rows of %d tokens: %s", *self.shape, ", ".join(names))
        return way, True

    # ---- ways -------------------------------------------------------------------------------------------------

    def _plain_way(self) -> Way:
        """Return how to compute with torch's own kernels, in as many parts as memory requires, even in float32.

        Keeps the results in float32.
        """
        height, model = self.shape[0], self.plain.model
        while True:
            way = self._in_parts(height)
            try:
                model.compute_dtype = torch.float32
                self._run(way)
                self.exact = self.path.results()
                return way
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or height == 1:
                    raise
            finally:
                model.compute_dtype = self.path.dtype
            release_cached_memory(self.path.device)
            height = (height + 1) // 2
            log.warning("out of memory: batches are computed %d rows at a time", height)

    def _in_parts(self, height: int) -> Way:
        parts = list(slices(self.shape[0], height))

        def way(first: bool) -> None:
            for rows in parts:
                self.path.compute(self.plain, self.shape, first and rows.start == 0, rows)

        return way

    def _whole(self, network: PackedRows) -> Way:
        return lambda first: self.path.compute(network, self.shape, first, slice(0, None))

    def _fastest_network(self) -> PackedRows | None:
        """Return the fastest compiled network that is right, or the one that a checkpoint names, or None."""
        wanted = self.path.fused.get(self.shape[1])
        right = []
        for network in (each for each in self.compiled if wanted in (None, each.fused)):
            way = self._whole(network)
            if self._is_right(_name(network), way):
                right.append(network)
        if not right:
            return None
        fastest = right[0] if len(right) == 1 else min(right, key=lambda each: self._seconds(self._whole(each)))
        self.path.fused[self.shape[1]] = fastest.fused
        return fastest

    # ---- proofs -----------------------------------------------------------------------------------------------

    def _is_right(self, name: str, way: Way) -> bool:
        """Return whether a way has the right gradient and loss, and the same bits each time. Logs what is wrong."""
        try:
            self._run(way)
            distances = _distances(self.path.results(), self.exact)
            for what, found, most in zip(("gradient", "loss"), distances, self.allowed, strict=True):
                if not found <= most:
                    raise WrongResultError(
                        f"its {what} is {found:.1e} of the norm from float32, not at most {most:.1e}"
                    )
            if not self._has_same_bits(way):
                raise WrongResultError("its gradient has other bits each time")
        except Exception as error:  # whatever a compiler, a driver or a kernel may raise
            log.warning("the fast path is not %s: %s", name, _first_line(error))
            release_cached_memory(self.path.device)
            return False
        return True

    def _has_same_bits(self, way: Way) -> bool:
        """Return whether a way has the same gradient each time."""
        tries = []
        for _ in range(TRIES):
            self._run(way)
            tries.append(self.path.results()[0])
        return all(torch.equal(tries[0], each) for each in tries[1:])

    def _seconds(self, way: Way) -> float:
        found = []
        for _ in range(TRIES):
            started = time.perf_counter()
            self._run(way)
            found.append(time.perf_counter() - started)
        return min(found)

    def _run(self, way: Way) -> None:
        way(True)
        if self.path.device.type == "cuda":
            torch.cuda.synchronize()  # errors of kernels are raised here


class Captured:
    """Replays the kernels of a slower way: one graph for the first batch of an update, one for those added to it."""

    def __init__(self, slower: Way, path: Computing) -> None:
        self.slower, self.device, self.pool = slower, path.device, path.pool
        self._graphs: dict[bool, torch.cuda.CUDAGraph | None] = {}

    def __call__(self, first: bool) -> None:
        if first not in self._graphs:
            self._graphs[first] = self._record(first)
        if (graph := self._graphs[first]) is not None:
            graph.replay()
        else:
            self.slower(first)

    def _record(self, first: bool) -> torch.cuda.CUDAGraph | None:
        """Capture the slower way, which has run before, so what is allocated or chosen once is not captured.

        Both graphs use the same memory, as only one runs at a time. If only the second cannot be captured, that is
        logged, and None is returned.
        """
        release_cached_memory(self.device)  # a graph has memory of its own
        graph = torch.cuda.CUDAGraph()
        try:
            with (
                torch.cuda.stream(torch.cuda.current_stream()),  # is the current one again also if this fails
                torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"),  # others pin batches
            ):
                self.slower(first)
        except RuntimeError as error:
            if first:
                raise
            log.warning("further batches of an update are not captured: %s", _first_line(error))
            return None
        self.pool = graph.pool()
        return graph


def _name(network: PackedRows) -> str:
    return "compiled with fused attention" if network.fused else "compiled"


def _distances(found: list[Tensor], exact: list[Tensor]) -> list[float]:
    """Return how far the results are from the exact ones, relative to the norms of those."""
    return [float((one - other).norm() / other.norm()) for one, other in zip(found, exact, strict=True)]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}{': ' + lines[0] if lines else ''}"
