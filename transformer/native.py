"""Decoding on a CPU in 8-bit products: the same step as in transformer/model.py, written in C (transformer/native.c).

It is used where it can be: on Linux with an x86-64 processor that has AVX-512 VNNI, and with a C compiler. The first use
compiles it, in a second or two, into the user's cache; everywhere else torch decodes. Weights become 8-bit integers with
a scale for each output, activations with a scale for each row; sums, norms, softmax and scores are float32, keys and
values half precision.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from transformer.linear import Linear
from transformer.model import DecoderLayer, LayerNorm, Transformer

FLAGS = ("-O3", "-shared", "-fPIC", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni", "-mfma", "-mf16c")
NEEDED = {"avx512f", "avx512bw", "avx512vl", "avx512_vnni", "fma", "f16c"}
SOURCE = Path(__file__).with_name("native.c")
PAGE = 16
"""Positions that keys and values are kept together for; as in native.c."""

log = logging.getLogger(__name__)


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
Decoder = _structure(
    "Decoder",
    "embedding",
    **_integers("width heads layers feed vocabulary post_norm activation"),
    eps=ctypes.c_float,
    embedding_scale=ctypes.c_float,
    layer=ctypes.c_void_p,
    last=Norm,
    output=Product,
)
Step = _structure(
    "Step",
    "slot place last forced lengths banned ancestor memory page encoding log_prob id",
    **_integers("rows beams sentences position source best banned_count ancestor_stride"),
)


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled step, None where this machine cannot have it."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if platform.system() != "Linux" or platform.machine() != "x86_64" or compiler is None:
        return None
    if not set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split()) >= NEEDED:
        return None
    try:
        return ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("decoding goes on without 8-bit products: compiling them failed: %s", error)
        return None


def _compiled(compiler: str) -> Path:
    """Return the compiled file, from the user's cache if nobody else can have written it."""
    source = SOURCE.read_bytes()
    name = hashlib.sha256(b"\0".join((source, " ".join(FLAGS).encode(), compiler.encode()))).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transformer"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
        private = state.st_uid == os.getuid() and not state.st_mode & 0o022 and os.access(folder, os.W_OK)
    except OSError:
        private = False
    if not private:
        folder = Path(tempfile.mkdtemp(prefix="transformer-"))
    found = folder / f"native-{name}.so"
    if not found.exists():
        part = folder / f"native-{name}.{os.getpid()}.part"
        command = [compiler, *FLAGS, "-o", str(part), str(SOURCE), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        part.replace(found)
    return found


def fits(model: Transformer, beams: int) -> bool:
    """Return whether a model can be decoded here, with this many hypotheses a sentence."""
    cfg = model.cfg
    sizes = cfg.width % 32 == 0 and cfg.feed_forward % 32 == 0 and cfg.width // cfg.heads % 16 == 0
    return sizes and beams <= 255 and model.output_weight.device.type == "cpu" and library() is not None


class Engine:
    """The decoder of a model with 8-bit weights; the encoder stays with torch."""

    def __init__(self, model: Transformer) -> None:
        self.model, self._kept = model, []  # type: ignore[var-annotated]
        layers = [self._layer(cast(DecoderLayer, each)) for each in model.decoder]
        self._layers = (Layer * len(layers))(*layers)
        cfg = model.cfg
        self.decoder = Decoder(
            width=cfg.width,
            heads=cfg.heads,
            layers=len(layers),
            feed=cfg.feed_forward,
            vocabulary=len(model.output_weight),
            post_norm=cfg.norm == "post",
            activation=["relu", "gelu", "swish"].index(cfg.activation),
            eps=next(m.eps for m in model.modules() if isinstance(m, LayerNorm)),
            embedding_scale=cfg.width**0.5,
            layer=ctypes.addressof(self._layers),
            last=self._norm(model.decoder_norm) if model.decoder_norm is not None else Norm(),
            output=self._product(model.output_weight, model.output_bias),
            embedding=self._keep(model.target_embedding.weight.float()),
        )

    def start(self, source_BS: Tensor, beams: int) -> Decoding:
        """Encode the sources and return the state from which `beams` hypotheses each are decoded."""
        memory_BSD, _ = self.model.encode(source_BS)
        layers = cast("Sequence[DecoderLayer]", self.model.decoder)
        memory = [layer.cross.kv(memory_BSD).half() for layer in layers]  # to (B, S, 2D): keys, then values
        return Decoding(self, memory, (source_BS != self.model.pad).sum(1), beams)

    def _keep(self, values: Tensor) -> int:
        """Keep values alive as long as this, and return where they are."""
        values = values.detach().contiguous()
        self._kept.append(values)
        return values.data_ptr()

    def _layer(self, layer: DecoderLayer) -> Any:
        parts = (layer.attention.qkv, layer.attention.out, layer.cross.q, layer.cross.out)
        products = (*parts, layer.feed_forward.inner, layer.feed_forward.out)
        residuals = (layer.attention_residual, layer.cross_residual, layer.feed_forward_residual)
        made = [self._product(cast(Linear, each).weight, cast(Linear, each).bias) for each in products]
        return Layer(*made, *(self._norm(each.norm) for each in residuals))

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


class Decoding:
    """What a search goes on from; see transformer.model.Decoding. Shape letters as there.

    Keys and values lie in pages of 16 positions, where each position of a sentence has a place for each of its
    hypotheses. They are never moved: a table says at which place each ancestor of a hypothesis stands.
    """

    def __init__(self, engine: Engine, memory: list[Tensor], lengths_B: Tensor, beams: int) -> None:
        self.engine, self.beams, self.position = engine, beams, 0
        self.memory, self.sentences = memory, len(lengths_B)
        self.lengths_B = lengths_B.numpy().astype(np.int32)
        self.slot_N = np.repeat(np.arange(self.sentences, dtype=np.int32), beams)
        self.ancestor_NT = np.zeros((len(self.slot_N), 4 * PAGE), np.uint8)
        self.pages: list[Any] = []

    def best(
        self, last_N: Tensor, live_N: Tensor, forced_N: Sequence[int] | None, banned: Sequence[int], count: int
    ) -> tuple[Tensor, Tensor]:
        """Return log-probability and id (N, count) of the best next ids of each live hypothesis, best first."""
        self._make_room()
        live = np.flatnonzero(live_N.numpy())
        place_N = np.tile(np.arange(self.beams, dtype=np.int32), len(last_N) // self.beams)
        log_prob_NC = np.full((len(last_N), count), -np.inf, np.float32)
        id_NC = np.zeros((len(last_N), count), np.int32)
        log_prob_RC, id_RC = log_prob_NC[live], id_NC[live]
        arrays = {
            "slot": self.slot_N[live],
            "place": place_N[live],
            "last": last_N.numpy()[live].astype(np.int32),
            "forced": None if forced_N is None else np.array(forced_N, np.int32)[live],
            "lengths": self.lengths_B,
            "banned": np.array(banned, np.int32),
            "ancestor": self.ancestor_NT[live],
            "memory": np.array([each.data_ptr() for each in self.memory], np.uint64),
            "page": np.array([each.ctypes.data for each in self.pages], np.uint64),
            "encoding": self._encoding(),
            "log_prob": log_prob_RC,
            "id": id_RC,
        }
        step = Step(
            rows=len(live),
            beams=self.beams,
            sentences=self.sentences,
            position=self.position,
            source=self.memory[0].shape[1],
            best=count,
            banned_count=len(banned),
            ancestor_stride=self.ancestor_NT.shape[1],
            **{name: None if array is None else array.ctypes.data for name, array in arrays.items()},
        )
        if cast(ctypes.CDLL, library()).step(ctypes.byref(self.engine.decoder), ctypes.byref(step)):
            raise MemoryError("no memory for a step of decoding")
        log_prob_NC[live], id_NC[live] = log_prob_RC, id_RC
        self.ancestor_NT[:, self.position] = place_N
        self.position += 1
        return torch.from_numpy(log_prob_NC), torch.from_numpy(id_NC).long()

    def select(self, rows_N: Tensor, sentences_B: Tensor | None) -> None:
        """Go on with these hypotheses."""
        rows = rows_N.numpy()
        self.slot_N, self.ancestor_NT = self.slot_N[rows], self.ancestor_NT[rows]

    def _make_room(self) -> None:
        if self.position == PAGE * len(self.pages):
            width = self.engine.model.cfg.width
            shape = (len(self.memory), self.sentences, PAGE, self.beams, 2, width)
            self.pages.append(np.empty(shape, np.float16))
        if self.position == self.ancestor_NT.shape[1]:
            self.ancestor_NT = np.concatenate((self.ancestor_NT, np.zeros_like(self.ancestor_NT)), 1)

    def _encoding(self) -> Any:
        return self.engine.model.encoding(self.position).numpy()
