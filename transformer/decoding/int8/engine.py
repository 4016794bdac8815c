"""Decoding on a CPU in 8-bit products: the network of transformer/model.py once more, in C (transformer/native.c).

It is used where it can be: on Linux with an x86-64 processor that has AVX-512 VNNI, and with a C compiler. The first
use compiles it, in a second or two, into the user's cache; everywhere else torch decodes. Weights become 8-bit integers
with a scale for each output, activations with a scale for each row; sums, norms, softmax and scores are float32, keys
and values half precision.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from transformer.decoding.int8.build import library
from transformer.model.network import DecoderLayer, EncoderLayer, LayerNorm, Transformer


class Engine:
    """A model with 8-bit weights."""

    def __init__(self, model: Transformer) -> None:
        self.model, self._kept = model, []  # type: ignore[var-annotated]
        source = model.target_embedding if model.cfg.tied == "all" else model.source_embedding
        self.encoder = self._stack(model.encoder, source.weight, model.encoder_norm, Product())
        output = self._product(model.output_weight, model.output_bias)
        self.decoder = self._stack(model.decoder, model.target_embedding.weight, model.decoder_norm, output)
        cross = [self._product(layer.cross.kv.weight, layer.cross.kv.bias) for layer in self._decoder_layers()]
        self._cross = (Product * len(cross))(*cross)

    def start(self, source_BS: Tensor, beams: int) -> DecoderState8:
        """Encode the sources and return the state from which `beams` hypotheses each are decoded."""
        sentences, length = source_BS.shape
        if int(source_BS.max()) >= self.encoder.vocabulary:
            raise IndexError("an id is beyond the vocabulary")
        arrays = {
            "ids": source_BS.numpy().astype(np.int32),
            "lengths": (source_BS != self.model.pad).sum(1).numpy().astype(np.int32),
            "encoding": self.model.encoding(0, length).numpy(),
        }
        memory = [np.empty((sentences, length, 2 * self.model.cfg.width), np.float16) for _ in self._cross]
        arrays["memory"] = _table(memory)
        sources = Sources(
            sentences=sentences,
            source=length,
            decoder_layers=len(memory),
            cross=ctypes.addressof(self._cross),
            **{name: _at(array) for name, array in arrays.items()},
        )
        _run("encode", self.encoder, sources)
        return DecoderState8(self, memory, arrays["lengths"], beams)

    def _decoder_layers(self) -> Sequence[DecoderLayer]:
        return cast("Sequence[DecoderLayer]", self.model.decoder)

    def _stack(self, layers: Any, embedding: Tensor, last: LayerNorm | None, output: Any) -> Any:
        """Return an encoder or decoder."""
        cfg = self.model.cfg
        made = (Layer * len(layers))(*map(self._layer, layers))
        self._kept.append(made)
        return Stack(
            width=cfg.width,
            heads=cfg.heads,
            layers=len(layers),
            feed=cfg.feed_forward,
            vocabulary=len(embedding),
            post_norm=cfg.norm == "post",
            activation=["relu", "gelu", "swish"].index(cfg.activation),
            eps=next(m.eps for m in self.model.modules() if isinstance(m, LayerNorm)),
            embedding_scale=cfg.width**0.5,
            layer=ctypes.addressof(made),
            last=self._norm(last) if last is not None else Norm(),
            output=output,
            embedding=self._keep(embedding.float()),
        )

    def _keep(self, values: Tensor) -> int:
        """Keep values as they are now, and return where they are."""
        values = values.detach().contiguous().clone()
        self._kept.append(values)
        return values.data_ptr()

    def _layer(self, layer: EncoderLayer | DecoderLayer) -> Any:
        """Return a layer, by the names of the C structure's fields; an encoder's has no attention over a source."""
        attention, feed = layer.attention, layer.feed_forward
        products = {"qkv": attention.qkv, "self_out": attention.out, "inner": feed.inner, "outer": feed.out}
        norms = {"self_norm": layer.attention_residual, "feed_norm": layer.feed_forward_residual}
        if isinstance(layer, DecoderLayer):
            products |= {"cross_q": layer.cross.q, "cross_out": layer.cross.out}
            norms["cross_norm"] = layer.cross_residual
        made = {name: self._product(each.weight, each.bias) for name, each in products.items()}
        return Layer(**made, **{name: self._norm(each.norm) for name, each in norms.items()})

    def _norm(self, norm: LayerNorm) -> Any:
        return Norm(self._keep(norm.weight.float()), self._keep(norm.bias.float()))

    def _product(self, weight: Tensor, bias: Tensor | None) -> Any:
        """Return a weight (out, in) in 8 bits, in blocks of 16 outputs by 4 inputs, outputs rounded up to 32."""
        outputs, inputs = weight.shape
        weight, bias = weight.detach().float(), torch.zeros(outputs) if bias is None else bias.detach().float()
        scale = weight.abs().amax(1) / 127
        rounded = (weight / scale.clamp_min(1e-30)[:, None]).round()
        more = -outputs % 32
        rounded, scale = F.pad(rounded, (0, 0, 0, more)), F.pad(scale, (0, more))
        blocks = rounded.to(torch.int8).view(-1, 16, inputs // 4, 4).transpose(1, 2)
        sums = rounded.sum(1).mul(128).to(torch.int32)
        bias = F.pad(bias, (0, more), value=-float("inf"))  # of ids that there are not
        return Product(inputs, outputs + more, *map(self._keep, (blocks, scale, bias, sums)))


class DecoderState8:
    """What a search goes on from; see transformer.model.Decoding. Shape letters as there.

    Keys and values lie in pages of 16 positions, where each position of a sentence has a place for each of its
    hypotheses. They are never moved: a table says at which place each ancestor of a hypothesis stands.
    """

    def __init__(self, engine: Engine, memory: list[Any], lengths_B: Any, beams: int) -> None:
        self.engine, self.beams, self.position = engine, beams, 0
        self.shape = (len(memory), len(lengths_B), PAGE, beams, 2, engine.model.cfg.width)
        self.slot_N = np.repeat(np.arange(len(lengths_B), dtype=np.int32), beams)
        self.place_N = np.tile(np.arange(beams, dtype=np.int32), len(lengths_B))
        self.ancestor_NT = np.zeros((len(self.slot_N), 4 * PAGE), np.uint8)
        self.pages: list[Any] = []
        self._kept = (memory, lengths_B, _table(memory))
        places = {"lengths": _at(lengths_B), "memory": _at(self._kept[2])}
        self._step = Step(beams=beams, sentences=len(lengths_B), source=memory[0].shape[1], **places)

    def best(
        self, last_N: Tensor, live_N: Tensor, forced: Mapping[int, int], banned: Sequence[int], count: int
    ) -> tuple[Tensor, Tensor]:
        """Return log-probability and id (N, count) of the best next ids of each live hypothesis, best first."""
        self._make_room()
        live = np.flatnonzero(live_N.numpy())
        log_prob_NC = np.full((len(last_N), count), -np.inf, np.float32)
        id_NC = np.zeros((len(last_N), count), np.int32)
        arrays = {
            "slot": self.slot_N[live],
            "place": self.place_N[live],
            "last": last_N.numpy()[live].astype(np.int32),
            "banned": np.array(banned, np.int32),
            "ancestor": self.ancestor_NT[live],
            "page": _table(self.pages),
            "encoding": self.engine.model.encoding(self.position).numpy(),
            "log_prob": log_prob_NC[live],
            "id": id_NC[live],
        }
        if forced:
            arrays["forced"] = np.array([forced.get(row, -1) for row in live.tolist()], np.int32)
        step = self._step
        for name, array in arrays.items():
            setattr(step, name, _at(array))
        step.forced = step.forced if forced else None
        step.rows, step.position, step.best, step.banned_count = len(live), self.position, count, len(banned)
        step.ancestor_stride = self.ancestor_NT.shape[1]
        _run("step", self.engine.decoder, step)
        log_prob_NC[live], id_NC[live] = arrays["log_prob"], arrays["id"]
        self.ancestor_NT[:, self.position] = self.place_N
        self.position += 1
        return torch.from_numpy(log_prob_NC), torch.from_numpy(id_NC).long()

    def select(self, rows_N: Tensor, sentences_B: Tensor | None) -> None:
        """Go on with these hypotheses."""
        rows = rows_N.numpy()
        self.slot_N, self.ancestor_NT = self.slot_N[rows], self.ancestor_NT[rows]
        self.place_N = self.place_N[: len(rows)]

    def _make_room(self) -> None:
        if self.position == PAGE * len(self.pages):
            self.pages.append(np.empty(self.shape, np.float16))
        if self.position == self.ancestor_NT.shape[1]:
            self.ancestor_NT = np.concatenate((self.ancestor_NT, np.zeros_like(self.ancestor_NT)), 1)


def _table(arrays: Sequence[Any]) -> Any:
    """Return where arrays are."""
    return np.array([_at(each) for each in arrays], np.uint64)


def _at(array: Any) -> int:
    """Return where an array is."""
    return int(array.__array_interface__["data"][0])


def _run(name: str, stack: Any, work: Any) -> None:
    """Call a function of the library."""
    if getattr(cast(ctypes.CDLL, library()), name)(ctypes.byref(stack), ctypes.byref(work)):
        raise MemoryError("there is no memory for decoding")


def fits(model: Transformer, beams: int) -> bool:
    """Return whether a model can be decoded here, with this many hypotheses a sentence."""
    cfg = model.cfg
    sizes = cfg.width % 32 == 0 and cfg.feed_forward % 32 == 0 and cfg.width // cfg.heads % 16 == 0
    return sizes and beams <= 255 and model.output_weight.device.type == "cpu" and library() is not None


def _structure(name: str, pointers: str, **others: Any) -> Any:
    """Return a ctypes structure of the given fields and then of pointers."""
    fields = [*others.items(), *((each, ctypes.c_void_p) for each in pointers.split())]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def _integers(names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), ctypes.c_int32)


Product = _structure("Product", "weight scale bias sum", **_integers("inputs outputs"))
Norm = _structure("Norm", "weight bias")
PRODUCTS = ("qkv", "self_out", "cross_q", "cross_out", "inner", "outer")
Layer = _structure("Layer", "", **dict.fromkeys(PRODUCTS, Product), self_norm=Norm, cross_norm=Norm, feed_norm=Norm)
Stack = _structure(
    "Stack",
    "embedding",
    **_integers("width heads layers feed vocabulary post_norm activation"),
    eps=ctypes.c_float,
    embedding_scale=ctypes.c_float,
    layer=ctypes.c_void_p,
    last=Norm,
    output=Product,
)
Sources = _structure("Sources", "ids lengths encoding cross memory", **_integers("sentences source decoder_layers"))
Step = _structure(
    "Step",
    "slot place last forced lengths banned ancestor memory page encoding log_prob id",
    **_integers("rows beams sentences position source best banned_count ancestor_stride"),
)
PAGE = 16
"""Positions that keys and values are kept together for; as in native.c."""
