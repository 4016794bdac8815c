"""Decoding on a CPU with products of 8-bit integers: the network of transformer/model, reimplemented in C.

Weights are quantized to 8 bits with a scale for each output, activations with a scale for each row. Sums, norms,
softmax and scores are float32. Keys and values are in half precision.

Shape letters: B sentences, K hypotheses of a sentence, R rows (live hypotheses of all sentences, K of each at first),
S source positions, T target positions, C candidates, D model width.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transformer.config import ModelConfig
from transformer.decoding.int8.build import library
from transformer.decoding.int8.quantize import QuantizedModel, quantize
from transformer.decoding.int8.structures import ACTIVATIONS, PAGE, EncodeCall, LayerStack, StepCall
from transformer.model.network import Transformer
from transformer.model.weights import (
    ANY,
    TRAINING_ONLY,
    Accepted,
    model_weights,
    multiple_of,
    one_of,
    unsupported,
)
from transformer.runs.models import StoredModel

Found = TypeVar("Found")
MOST_BEAMS = 255
"""Largest beam size, since places in the KV cache are stored in a byte."""
ACCEPTED: Mapping[str, Accepted] = {
    "width": multiple_of(32),  # rows are read 16 numbers at a time, outputs are computed 32 at a time
    "heads": Accepted(lambda heads, cfg: cfg.width // heads % 16 == 0, "such that width / heads is a multiple of 16"),
    "feed_forward": multiple_of(32),
    "encoder_layers": ANY,
    "decoder_layers": ANY,
    "norm": one_of("post", "pre"),
    "activation": one_of(*ACTIVATIONS),
    "tied": one_of("all", "target", "none"),
    "output_bias": one_of(False, True),
    "positions": one_of("paper", "marian"),
    "norm_epsilon": ANY,
    "decoder_start": one_of("bos", "pad", "zero"),
    **TRAINING_ONLY,
}

Encoding = Callable[[int, int], Tensor]
"""Maps the first position and the count to position encodings (count, D)."""


def obstacle(cfg: ModelConfig, beams: int, device: torch.device, instruction_set: str = "auto") -> str | None:
    """Return why a model cannot be decoded here with this many hypotheses per sentence, or None if it can.

    Compiles the kernels for the instruction set if everything else is available.
    """
    if device.type != "cpu":
        return f"it decodes on a CPU, not on {device}"
    if beams > MOST_BEAMS:
        return f"decode.beam is {beams}, more than {MOST_BEAMS}"
    if setting := unsupported(cfg, ACCEPTED):
        return setting
    if library(instruction_set) is None:
        if instruction_set == "auto":
            return "it needs Linux or macOS, a processor with AVX2 or NEON, and a C compiler or this platform's wheel"
        return f"this processor and system have no {instruction_set}, or there is no C compiler for it"
    return None


def make_engine(model: Transformer | StoredModel, instruction_set: str = "auto") -> Engine:
    """Return an engine with an 8-bit copy of the model's weights. The model must have no `obstacle`."""
    kernels = library(instruction_set)
    assert kernels is not None
    stored = isinstance(model, StoredModel)
    weights = model.weights if isinstance(model, StoredModel) else model_weights(model)
    return Engine(kernels, quantize(weights, model.cfg, kernels.group(), constant=stored), model.pad, model.encoding)


class Engine:
    """A quantized model, which encodes sources and starts decoding. Created by `make_engine`."""

    precision = "int8"

    def __init__(self, kernels: ctypes.CDLL, weights: QuantizedModel, pad: int, encoding: Encoding) -> None:
        self.kernels, self.weights, self.pad, self.encoding = kernels, weights, pad, encoding
        self.free: list[NDArray[np.float16]] = []
        """Memory of searches that are over."""

    def decode(self, source_BS: Tensor, beams: int, positions: int, search: Callable[[Any], Found]) -> Found:
        """Encode the sources and return what `search` returns for the state; its size does not depend on positions."""
        state = self.start(source_BS, beams)
        found = search(state)
        self.free += state.buffers
        return found

    def release(self) -> None:
        """Free the memory of searches that are over."""
        self.free.clear()

    def buffer(self, count: int) -> NDArray[np.float16]:
        """Return memory for this many numbers: that of an earlier search, whose pages the system need not clear."""
        with contextlib.suppress(IndexError):  # several threads decode
            while (buffer := self.free.pop()).size < count:
                pass  # too small, as the first ones are
            return buffer
        return np.empty(count, np.float16)

    def start(self, source_BS: Tensor, beams: int) -> Int8DecoderState:
        """Encode the sources and return the state from which `beams` hypotheses each are decoded."""
        sentences, length = source_BS.shape
        encoder, width = self.weights.encoder, self.weights.decoder.width
        if int(source_BS.max()) >= encoder.vocabulary:
            raise IndexError(f"source id {int(source_BS.max())} is not in the vocabulary of {encoder.vocabulary}")
        arrays = {
            "ids": source_BS.numpy().astype(np.int32),
            "lengths": (source_BS != self.pad).sum(1).numpy().astype(np.int32),
            "encoding": self.encoding(0, length).numpy(),
        }
        memory = [np.empty((sentences, length, 2 * width), np.float16) for _ in self.weights.cross_kv]
        arrays["memory"] = _addresses(memory)
        arrays["failed"] = np.zeros(sentences, np.int32)
        call = EncodeCall(
            sentences=sentences,
            source_length=length,
            decoder_layers=len(memory),
            cross_kv=ctypes.addressof(self.weights.cross_kv),
            **{name: _address(array) for name, array in arrays.items()},
        )
        self.run("encode", encoder, call)
        return Int8DecoderState(self, memory, arrays["lengths"], arrays["failed"], beams)

    def best_after(self, source_1S: Tensor, ids: Sequence[int]) -> int | None:
        """Return the most probable id after these target ids, the start token first; None if it needs float32."""
        state, live, none = self.start(source_1S, 1), np.ones(1, np.bool), np.zeros(0, np.int32)
        for each in ids:
            _, found = state.top_candidates(np.array([each]), live, {}, none, 1)
        return None if state.failed else int(found[0, 0])

    def run(self, name: str, stack: LayerStack, call: ctypes.Structure) -> None:
        """Call a function of the library. Raises MemoryError if it could not allocate memory."""
        if getattr(self.kernels, name)(ctypes.byref(stack), ctypes.byref(call)):
            raise MemoryError(f"no memory for the 8-bit kernels to {name}")


class Int8DecoderState:
    """The state of a search: the keys and values of the sources, and those of the ids decoded so far.

    The latter are in pages of PAGE positions, in which each position of a sentence has a place for each hypothesis.
    They are never moved: `ancestor_RT` has the place of each hypothesis's ancestor at each position.
    """

    def __init__(
        self,
        engine: Engine,
        memory: list[NDArray[Any]],
        lengths_B: NDArray[Any],
        failed_B: NDArray[np.int32],
        beams: int,
    ) -> None:
        """Take the keys and values of the sources, their lengths, and whether a number in them is too large."""
        sentences = len(lengths_B)
        rows = sentences * beams
        self.engine, self.position = engine, 0
        self.page_size = len(memory) * sentences * PAGE * beams * 2 * engine.weights.decoder.width
        self.buffers: list[NDArray[np.float16]] = []
        """The memory of the pages."""
        self.sentence_R = np.repeat(np.arange(sentences, dtype=np.int32), beams)
        self.place_R = np.tile(np.arange(beams, dtype=np.int32), sentences)
        self.ancestor_RT = np.zeros((rows, 4 * PAGE), np.uint8)
        self._failed_B = failed_B
        addresses = _addresses(memory)
        self._kept: list[Any] = [memory, lengths_B, addresses]
        # What is passed is copied to arrays whose addresses stay: taking one costs as much as filling a small array.
        self._passed = {name: np.empty(rows, np.int32) for name in ("sentence", "place", "last_id")}
        self._call = StepCall(
            beams=beams,
            sentences=sentences,
            source_length=memory[0].shape[1],
            lengths=_address(lengths_B),
            memory=_address(addresses),
            failed=_address(self._failed_B),
            **{name: _address(array) for name, array in self._passed.items()},
        )

    @property
    def failed(self) -> list[int]:
        """The sentences in which a number was not finite, such as one that is too large for half precision."""
        return np.flatnonzero(self._failed_B).tolist()

    def top_candidates(
        self,
        last_R: NDArray[Any],
        live_R: NDArray[np.bool],
        allowed: Mapping[int, Sequence[int]],
        banned: NDArray[Any],
        count: int,
    ) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Return log-probabilities and ids (R, `count`) of the best next ids of each live hypothesis, best first."""
        if self.position % PAGE == 0:
            self._extend_cache(banned, count)
        call, live = self._call, np.flatnonzero(live_R)
        for name, values in (("sentence", self.sentence_R), ("place", self.place_R), ("last_id", last_R)):
            self._passed[name][: len(live)] = values[live]
        ancestor_RT = self.ancestor_RT[live]
        call.ancestor, call.allowed_start = _address(ancestor_RT), None
        if allowed:
            ids_R = [allowed.get(row, ()) for row in live.tolist()]
            ids, starts = np.array([i for ids in ids_R for i in ids], np.int32), np.cumsum([0, *map(len, ids_R)])
            starts = starts.astype(np.int32)
            call.allowed, call.allowed_start = _address(ids), _address(starts)
        call.rows, call.position = len(live), self.position
        call.encoding = _address(self._encoding) + self.position % PAGE * self._encoding.strides[0]
        self.engine.run("step", self.engine.weights.decoder, call)
        self.ancestor_RT[:, self.position] = self.place_R
        self.position += 1
        return self._of_all_rows(live, len(last_R))

    def _of_all_rows(self, live: NDArray[Any], rows: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Return the candidates of the live rows in the places of these; those of others are impossible."""
        found = self._log_prob[: len(live)], self._id[: len(live)]
        if len(live) == rows:
            return found
        spread = np.full((rows, self._id.shape[1]), -np.inf, np.float32), np.zeros((rows, self._id.shape[1]), np.int32)
        for into, values in zip(spread, found, strict=True):
            into[live] = values
        return spread

    def select(self, rows_R: NDArray[Any], _sentences_B: NDArray[Any] | None) -> None:
        """Keep these rows of hypotheses."""
        self.sentence_R, self.ancestor_RT = self.sentence_R[rows_R], self.ancestor_RT[rows_R]
        self.place_R = self.place_R[: len(rows_R)]

    def _extend_cache(self, banned: NDArray[Any], count: int) -> None:
        """Make room for another page of positions, and set what is passed for all of them."""
        self.buffers.append(self.engine.buffer(self.page_size))
        if self.position == self.ancestor_RT.shape[1]:
            self.ancestor_RT = np.concatenate((self.ancestor_RT, np.zeros_like(self.ancestor_RT)), 1)
        self._encoding = self.engine.encoding(self.position, PAGE).numpy()
        self._log_prob = np.empty((len(self.ancestor_RT), count), np.float32)
        self._id = np.empty((len(self.ancestor_RT), count), np.int32)
        page = _addresses(self.buffers)
        call, self._kept[3:] = self._call, [page, banned]
        call.page, call.log_prob, call.id = _address(page), _address(self._log_prob), _address(self._id)
        call.banned, call.banned_count, call.candidates = _address(banned), len(banned), count
        call.ancestor_stride = self.ancestor_RT.shape[1]


def _addresses(arrays: Sequence[NDArray[Any]]) -> NDArray[np.uint64]:
    """Return the addresses of arrays."""
    return np.array([_address(array) for array in arrays], np.uint64)


def _address(array: NDArray[Any]) -> int:
    """Return the address of an array's data."""
    return int(array.__array_interface__["data"][0])
