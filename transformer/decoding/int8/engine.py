"""Decoding on a CPU with products of 8-bit integers: the network of transformer/model, reimplemented in C.

Weights are quantized to 8 bits with a scale for each output, activations with a scale for each row. Sums, norms,
softmax and scores are float32. Keys and values are in half precision.

Shape letters: B sentences, K hypotheses of a sentence, R rows (live hypotheses of all sentences, K of each at first),
S source positions, T target positions, C candidates, D model width.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
    "decoder_start": one_of("bos", "pad"),
    **TRAINING_ONLY,
}

Encoding = Callable[[int, int], Tensor]
"""Maps the first position and the count to position encodings (count, D)."""


def obstacle(cfg: ModelConfig, beams: int, device: torch.device) -> str | None:
    """Return why a model cannot be decoded here with this many hypotheses per sentence, or None if it can.

    Compiles the kernels if everything else is available.
    """
    if device.type != "cpu":
        return f"it decodes on a CPU, not on {device}"
    if beams > MOST_BEAMS:
        return f"decode.beam is {beams}, more than {MOST_BEAMS}"
    if setting := unsupported(cfg, ACCEPTED):
        return setting
    if library() is None:
        return "it needs Linux, a processor with AVX-512 VNNI and a C compiler"
    return None


def make_engine(model: Transformer) -> Engine:
    """Return an engine with an 8-bit copy of the model's weights. The model must have no `obstacle`."""
    kernels = library()
    assert kernels is not None
    return Engine(kernels, quantize(model_weights(model), model.cfg), model.pad, model.encoding)


class Engine:
    """A quantized model, which encodes sources and starts decoding. Created by `make_engine`."""

    precision = "int8"

    def __init__(self, kernels: ctypes.CDLL, weights: QuantizedModel, pad: int, encoding: Encoding) -> None:
        self.kernels, self.weights, self.pad, self.encoding = kernels, weights, pad, encoding

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
        call = EncodeCall(
            sentences=sentences,
            source_length=length,
            decoder_layers=len(memory),
            cross_kv=ctypes.addressof(self.weights.cross_kv),
            **{name: _address(array) for name, array in arrays.items()},
        )
        self.run("encode", encoder, call)
        return Int8DecoderState(self, memory, arrays["lengths"], beams)

    def run(self, name: str, stack: LayerStack, call: ctypes.Structure) -> None:
        """Call a function of the library. Raises MemoryError if it could not allocate memory."""
        if getattr(self.kernels, name)(ctypes.byref(stack), ctypes.byref(call)):
            raise MemoryError(f"no memory for the 8-bit kernels to {name}")


class Int8DecoderState:
    """The state of a search: the keys and values of the sources, and those of the ids decoded so far.

    The latter are in pages of PAGE positions, in which each position of a sentence has a place for each hypothesis.
    They are never moved: `ancestor_RT` has the place of each hypothesis's ancestor at each position.
    """

    def __init__(self, engine: Engine, memory: list[NDArray[Any]], lengths_B: NDArray[Any], beams: int) -> None:
        sentences = len(lengths_B)
        self.engine, self.position = engine, 0
        self.page_shape = (len(memory), sentences, PAGE, beams, 2, engine.weights.decoder.width)
        self.pages: list[NDArray[Any]] = []
        self.sentence_R = np.repeat(np.arange(sentences, dtype=np.int32), beams)
        self.place_R = np.tile(np.arange(beams, dtype=np.int32), sentences)
        self.ancestor_RT = np.zeros((len(self.sentence_R), 4 * PAGE), np.uint8)
        addresses = _addresses(memory)
        self._kept = (memory, lengths_B, addresses)
        self._call = StepCall(
            beams=beams,
            sentences=sentences,
            source_length=memory[0].shape[1],
            lengths=_address(lengths_B),
            memory=_address(addresses),
        )

    def top_candidates(
        self, last_R: Tensor, live_R: Tensor, allowed: Mapping[int, Sequence[int]], banned: Sequence[int], count: int
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and ids (R, `count`) of the best next ids of each live hypothesis, best first."""
        self._extend_cache()
        live = np.flatnonzero(live_R.numpy())
        log_prob_RC = np.full((len(last_R), count), -np.inf, np.float32)
        id_RC = np.zeros((len(last_R), count), np.int32)
        arrays: dict[str, NDArray[Any]] = {
            "sentence": self.sentence_R[live],
            "place": self.place_R[live],
            "last_id": last_R.numpy()[live].astype(np.int32),
            "banned": np.array(banned, np.int32),
            "ancestor": self.ancestor_RT[live],
            "page": _addresses(self.pages),
            "encoding": self.engine.encoding(self.position, 1).numpy(),
            "log_prob": log_prob_RC[live],
            "id": id_RC[live],
        }
        if allowed:
            each = [allowed.get(row, ()) for row in live.tolist()]
            arrays["allowed"] = np.array([i for ids in each for i in ids], np.int32)
            arrays["allowed_start"] = np.cumsum([0, *map(len, each)], dtype=np.int32)
        call = self._call
        call.allowed_start = None
        for name, array in arrays.items():
            setattr(call, name, _address(array))
        call.rows, call.position, call.candidates, call.banned_count = len(live), self.position, count, len(banned)
        call.ancestor_stride = self.ancestor_RT.shape[1]
        self.engine.run("step", self.engine.weights.decoder, call)
        log_prob_RC[live], id_RC[live] = arrays["log_prob"], arrays["id"]
        self.ancestor_RT[:, self.position] = self.place_R
        self.position += 1
        return torch.from_numpy(log_prob_RC), torch.from_numpy(id_RC).long()

    def select(self, rows_R: Tensor, sentences_B: Tensor | None) -> None:
        """Keep these rows of hypotheses."""
        rows = rows_R.numpy()
        self.sentence_R, self.ancestor_RT = self.sentence_R[rows], self.ancestor_RT[rows]
        self.place_R = self.place_R[: len(rows)]

    def _extend_cache(self) -> None:
        """Make room for another position in the KV cache."""
        if self.position == PAGE * len(self.pages):
            self.pages.append(np.empty(self.page_shape, np.float16))
        if self.position == self.ancestor_RT.shape[1]:
            self.ancestor_RT = np.concatenate((self.ancestor_RT, np.zeros_like(self.ancestor_RT)), 1)


def _addresses(arrays: Sequence[NDArray[Any]]) -> NDArray[np.uint64]:
    """Return the addresses of arrays."""
    return np.array([_address(array) for array in arrays], np.uint64)


def _address(array: NDArray[Any]) -> int:
    """Return the address of an array's data."""
    return int(array.__array_interface__["data"][0])
