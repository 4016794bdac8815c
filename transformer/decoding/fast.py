"""Decoding in static buffers: on CUDA each step is captured once and then replayed with one launch.

A step has one of few shapes. Sentences that are done leave their slots empty; when half of them are empty, the others
move together, and steps of half the size follow. The search fetches the candidates of a step in one copy, which is the
only time that the CPU waits for the GPU.

Shape letters: B sentences, K hypotheses of a sentence, S source positions, R rows (hypotheses of all sentences), V
vocabulary, C candidates.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transformer.decoding import transfer
from transformer.decoding.search import Floats, Ints, best_candidates, select_rows
from transformer.errors import TransformerError
from transformer.model.decoder_state import DecoderState
from transformer.model.network import Transformer
from transformer.model.static_state import Arena, Heads, StaticShape, StaticState
from transformer.system.memory import is_out_of_memory

GRAIN = 32
"""Positions of source and target are rounded up to a multiple of this, so that shapes are few. Not measured."""
FEWEST_SLOTS = 32
"""Number of slots up to which fewer would hardly be faster, and a capture not worth it. Not measured."""
CHECKED_STEPS = 32
"""Number of steps that are also computed the plain way, before the fast way is trusted."""
ROUNDING = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""Most relative difference of the logits of fast and plain steps, by the dtype of the arithmetic."""
SHARE_OF_MEMORY = 0.25
"""On CUDA: share of all memory that the buffers may take. Not measured."""
MOST_STEPS = 64
"""Steps of different shapes that are kept. Not measured."""
_capturing = threading.Lock()
"""Only one capture may be under way in a process."""


class FastDecodingError(Exception):
    """The fast way failed, for the reason in the text; the plain way may still work."""


def slots_for(sentences: int) -> int:
    """Return the number of slots for a batch: one of few numbers, at most a quarter or 8 more."""
    step = max(FEWEST_SLOTS, 1 << max(sentences - 1, 1).bit_length() - 1) // 4
    return -(-sentences // step) * step


def round_up(positions: int) -> int:
    """Return the next multiple of GRAIN."""
    return -(-max(positions, 1) // GRAIN) * GRAIN


def window_for(position: int, positions: int) -> int:
    """Return how many of all positions a step at this position attends to: GRAIN times a power of two, or all."""
    return min(positions, GRAIN << (position // GRAIN).bit_length())


class FastDecoder:
    """Starts decoding in static buffers, for one search at a time. Keeps the buffers and the captured steps."""

    def __init__(self, model: Transformer, device: torch.device) -> None:
        self.model, self.device, cfg = model, device, model.cfg
        self.heads = Heads(cfg.decoder_layers, cfg.heads, cfg.width // cfg.heads)
        self.unchecked = CHECKED_STEPS
        """Number of steps still to compare with the plain way."""
        self.most_bytes = SHARE_OF_MEMORY * transfer.memory_of(device)
        self._busy = threading.Lock()
        self._steps: dict[tuple[StaticShape, torch.dtype], _Step] = {}
        self.release()

    def release(self) -> None:
        """Free the buffers and the captured steps."""
        self._forget_steps()
        self._arena = Arena(self.device, _weakly(self._forget_steps))
        self._addresses: list[int] = []

    def start(self, source_BS: Tensor, beams: int, positions: int) -> FastState | None:
        """Encode the sources and return a state for this many target positions, to be used in `with`.

        Returns None if the buffers would take too much memory, or another thread is using them.
        """
        sentences, length = source_BS.shape
        shape = StaticShape(slots_for(sentences), beams, round_up(positions), GRAIN, round_up(length))
        size = self.heads.elements(shape) * self.model.compute_dtype.itemsize
        if size > self.most_bytes or not self._busy.acquire(blocking=False):
            return None
        try:
            memory, bias_B11S = self.model.memory(source_BS)
            whole = self.state(shape)
            whole.begin(memory, bias_B11S, self.model.encoding(0, shape.positions))
            self._forget_steps_of_moved_weights()
            plain = DecoderState(self.model.step, memory, bias_B11S, beams) if self.unchecked > 0 else None
            return FastState(self, whole, sentences, plain)
        except BaseException as error:
            self._busy.release()
            raise_as_fast_decoding_error(error)
            raise

    def finish(self) -> None:
        """Let the next search use the buffers."""
        self._busy.release()

    def state(self, shape: StaticShape) -> StaticState:
        """Return the buffers in this shape."""
        return StaticState(self._arena, shape, self.heads, self.model.cfg.width, self.model.compute_dtype)

    def step(self, shape: StaticShape) -> _Step:
        """Return the step of this shape, captured if it was used before."""
        key = shape, self.model.compute_dtype
        if key not in self._steps:
            if len(self._steps) >= MOST_STEPS:
                self._forget_steps()
            self._steps[key] = _Step(self.model, self.state(shape), self._pool)
        return self._steps[key]

    def _forget_steps_of_moved_weights(self) -> None:
        """Drop the captured steps if a weight is at another address."""
        addresses = [each.data_ptr() for each in self.model.parameters()]
        if addresses != self._addresses:
            self._forget_steps()
            self._addresses = addresses

    def _forget_steps(self) -> None:
        if self.device.type == "cuda" and self._steps:
            torch.cuda.synchronize(self.device)  # a captured step must not be destroyed while it runs
        self._steps = {}
        # Memory for captures that no captured step uses any more cannot be used again.
        self._pool = new_pool(self.device)


def new_pool(device: torch.device) -> Any:
    """Return memory for captured steps, or None on a CPU, where none are captured."""
    return torch.cuda.graph_pool_handle() if device.type == "cuda" else None


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls a method and does not keep its object alive: memory of a GPU is freed at once."""
    weak = weakref.WeakMethod(method)

    def call() -> None:
        if (alive := weak()) is not None:
            alive()

    return call


class _Step:
    """A step of the network on buffers of one shape. On CUDA it is captured at its second use."""

    def __init__(self, model: Transformer, state: StaticState, pool: Any) -> None:
        self.model, self.state, self.pool = model, state, pool
        self.used = False
        self.graph: torch.cuda.CUDAGraph | None = None

    def hidden(self) -> Tensor:
        """Return the output of the decoder (B, K, D). The next use overwrites it."""
        if self.used and self.graph is None and self.pool is not None:
            self.graph = self._capture()
        self.used = True
        if self.graph is None:
            return self.model.step_hidden(self.state.last_BK, self.state)
        self.graph.replay()
        return self.output

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Capture the step. Its first use has created all handles and workspaces. Other threads may use CUDA."""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.state.inputs.device)
        with (
            _capturing,
            torch.cuda.stream(stream),  # returns to this stream also if the capture fails
            torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"),
        ):
            self.output = self.model.step_hidden(self.state.last_BK, self.state)
        return graph


class FastState:
    """The state of one search in the static buffers of a decoder. Both kinds of search use it."""

    def __init__(self, decoder: FastDecoder, whole: StaticState, sentences: int, plain: DecoderState | None) -> None:
        """Take the buffers with the encoded sources. `plain`, if given, decodes the same to compare."""
        self.decoder, self.whole, self.plain = decoder, whole, plain
        self.shape, self.position = whole.shape, 0
        self.slot_B = np.arange(sentences)
        """The slot of each sentence that is not done."""
        self.parent_BK = np.arange(self.shape.beams)[None].repeat(sentences, 0)
        """The hypothesis of its sentence that each hypothesis continues."""
        self.banned: Tensor | None = None

    def __enter__(self) -> FastState:
        return self

    def __exit__(self, *_: object) -> None:
        """Let the next search use the buffers."""
        self.decoder.finish()

    def top_candidates(
        self, last_R: Ints, live_R: NDArray[np.bool], allowed: Mapping[int, Sequence[int]], banned: Ints, count: int
    ) -> tuple[Floats, Ints]:
        """Return what `SelectingState.top_candidates` does."""
        try:
            rows_R = self._rows()
            logits_RV = self._logits(rows_R, last_R)
            self._compare(logits_RV, rows_R, last_R)
            if self.banned is None:
                self.banned = transfer.upload(banned.astype(np.int64), self.decoder.device)
            allowed = {int(rows_R[row]): ids for row, ids in allowed.items()}
            log_prob_RC, id_RC = best_candidates(logits_RV, allowed, self.banned, count)
            return log_prob_RC[rows_R], id_RC[rows_R]
        except Exception as error:
            raise_as_fast_decoding_error(error)
            raise

    def step(self, last_R: Tensor) -> Tensor:
        """Return the logits (R, V) of the next id of each row, if no sentence has left. The caller may modify them."""
        try:
            rows_R = self._rows()
            logits_RV = self._logits(rows_R, last_R)
            self._compare(logits_RV, rows_R, last_R)
            return logits_RV[: len(rows_R)]
        except Exception as error:
            raise_as_fast_decoding_error(error)
            raise

    def select(self, rows_R: Ints, sentences_B: Ints | None) -> None:
        """Continue with these rows and these sentences (None: all sentences)."""
        self.parent_BK = (rows_R % self.shape.beams).reshape(-1, self.shape.beams)
        if self.plain is not None:
            select_rows(self.plain, rows_R, sentences_B, self.decoder.device)
        if sentences_B is not None:
            self.slot_B = self.slot_B[sentences_B]
            self._move_together()

    def _rows(self) -> NDArray[np.int64]:
        """Return the row in the buffers of each hypothesis."""
        beams = self.shape.beams
        return (self.slot_B[:, None] * beams + np.arange(beams)).ravel()

    def _logits(self, rows_R: NDArray[np.int64], last_R: Ints | Tensor) -> Tensor:
        """Return the logits of all slots at the next position, given the last ids of the rows that are in use."""
        beams = self.shape.beams
        self.shape = replace(self.shape, window=window_for(self.position, self.shape.positions))
        step = self.decoder.step(self.shape)
        inputs = np.zeros(len(step.state.inputs), np.int64)
        inputs[: 1 + beams] = [self.position, *range(self.position * beams, (self.position + 1) * beams)]
        last, ancestors = inputs[1 + beams :].reshape(2, -1)
        ancestors[:] = np.arange(len(ancestors))
        ancestors[rows_R] = (self.slot_B[:, None] * beams + self.parent_BK).ravel()
        if not isinstance(last_R, Tensor):
            last[rows_R] = last_R
        step.state.inputs.copy_(transfer.pinned(inputs, self.decoder.device), non_blocking=True)
        if isinstance(last_R, Tensor):  # of sampling, in which all slots in use come first
            step.state.last_BK.view(-1)[: len(last_R)] = last_R
        self.position += 1
        return self.decoder.model.project(step.hidden()).flatten(0, 1)

    def _compare(self, logits_RV: Tensor, rows_R: NDArray[np.int64], last_R: Ints | Tensor) -> None:
        """Raise FastDecodingError if the logits are not those of the plain way, up to rounding."""
        if self.plain is None:
            return
        decoder, device = self.decoder, self.decoder.device
        expected_RV = self.plain.step(last_R if isinstance(last_R, Tensor) else transfer.upload(last_R, device)).float()
        found_RV = logits_RV.index_select(0, transfer.upload(rows_R, device)).float()
        difference = float((found_RV - expected_RV).norm() / expected_RV.norm())
        if not difference <= ROUNDING[logits_RV.dtype]:  # or not a number
            raise FastDecodingError(f"at position {self.position} the logits differ by {difference:.1e}")
        decoder.unchecked -= 1
        if decoder.unchecked <= 0:
            self.plain = None

    def _move_together(self) -> None:
        """Move to slots of half the number, as often as the sentences fit there."""
        fewer = self.shape.sentences
        while fewer > FEWEST_SLOTS and len(self.slot_B) <= (fewer + 1) // 2:
            fewer = (fewer + 1) // 2
        if fewer == self.shape.sentences:
            return
        outside = self.slot_B >= fewer
        if outside.any():
            free = np.setdiff1d(np.arange(fewer), self.slot_B)[: outside.sum()]
            self.whole.move(
                transfer.upload(self.slot_B[outside], self.decoder.device), transfer.upload(free, self.decoder.device)
            )
            self.slot_B[outside] = free
        self.shape = replace(self.shape, sentences=fewer)


def raise_as_fast_decoding_error(error: BaseException) -> None:
    """Raise FastDecodingError if an error may be due to the fast way: lack of memory and a stop are not."""
    mild = isinstance(error, (TransformerError, FastDecodingError)) or is_out_of_memory(error)
    if isinstance(error, Exception) and not mild:
        raise FastDecodingError(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}") from error
