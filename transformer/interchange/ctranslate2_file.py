"""The file of CTranslate2's weights: a list of named arrays, as `ModelSpec._serialize` of its package writes it."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from transformer.errors import CheckpointError
from transformer.interchange.foreign import LARGEST_WEIGHTS

VERSIONS = range(2, 7)
"""The versions of the file that are read."""
DTYPES = {0: torch.float32, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.float16, 5: torch.bfloat16}
MOST_VARIABLES, MOST_NAME, MOST_RANK = 100_000, 1024, 4
ATTENTIONS = {"self": "self_attention", "cross": "attention", "ffn": "ffn"}
PARTS = {
    "self": {"qkv": "linear_0", "o": "linear_1", "norm": "layer_norm"},
    "cross": {"q": "linear_0", "kv": "linear_1", "o": "linear_2", "norm": "layer_norm"},
    "ffn": {"1": "linear_0", "2": "linear_1", "norm": "layer_norm"},
}
HARMLESS = ("alignment_layer", "alignment_heads", "embeddings_merge")
"""Numbers that change nothing in what is computed here."""


class Variables:
    """The variables of a model by their names. Weights of 8 or 16 bits become numbers of 32 bits."""

    def __init__(self, path: Path) -> None:
        self.path, self.taken = path, set[str]()
        self.rounded = ""
        """The type of weights that are not float32."""
        if path.stat().st_size > LARGEST_WEIGHTS:
            raise CheckpointError(f"{path} is larger than {LARGEST_WEIGHTS} bytes")
        try:
            with path.open("rb") as stream:
                self.tensors = _Reader(stream, path.stat().st_size).variables()
        except (ValueError, struct.error, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path} is not a model of CTranslate2, or it is damaged: {error}") from None

    def find(self, name: str) -> Tensor | None:
        """Return a variable in float32, or None if there is none."""
        self.taken |= {name, f"{name}_scale"}
        if (found := self.tensors.get(name)) is None:
            return None
        if found.dtype not in (torch.float32, torch.int32) and found.ndim > 1:
            self.rounded = str(found.dtype).removeprefix("torch.")
        scale = self.tensors.get(f"{name}_scale")
        if scale is None:
            return found.float()
        return found.float() / (scale.float()[:, None] if scale.ndim else scale.float())

    def __getitem__(self, name: str) -> Tensor:
        if (found := self.find(name)) is None:
            raise CheckpointError(f"{self.path} lacks {name}")
        return found

    def number(self, name: str, default: float = 0) -> float:
        """Return a variable of one number."""
        found = self.find(name)
        return default if found is None or found.numel() != 1 else found.item()

    def part(self, side: str, layer: int, sublayer: str, part: str) -> tuple[Tensor, Tensor]:
        """Return weight and bias of a part of a layer."""
        name = f"{side}/layer_{layer}/{ATTENTIONS[sublayer]}/{PARTS[sublayer][part]}"
        if part == "norm":
            return self[f"{name}/gamma"], self[f"{name}/beta"]
        weight, bias = self[f"{name}/weight"], self.find(f"{name}/bias")
        return weight, torch.zeros(len(weight)) if bias is None else bias

    def layers(self, side: str) -> int:
        """Return the number of layers of the encoder or the decoder."""
        found = 0
        while f"{side}/layer_{found}/ffn/linear_0/weight" in self.tensors:
            found += 1
        return found

    def refuse_rest(self) -> None:
        """Raise CheckpointError if a variable was not taken, as the model computes something else then."""
        for name in sorted(self.tensors.keys() - self.taken):
            off = self.tensors[name].numel() == 1 and not self.tensors[name].any()
            if not off and name.rpartition("/")[2] not in HARMLESS:
                raise CheckpointError(f"{self.path} has {name}, which this package does not compute")


class _Reader:
    """Reads the variables of a file. Raises ValueError or struct.error for what is none."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream, self.size = stream, size

    def number(self, kind: str) -> int:
        found: int = struct.unpack(f"<{kind}", self.stream.read(struct.calcsize(kind)))[0]
        return found

    def text(self) -> str:
        if (length := self.number("H")) > MOST_NAME:
            raise ValueError(f"a name of {length} bytes")
        return self.stream.read(length).rstrip(b"\0").decode()

    def variable(self) -> Tensor:
        if (rank := self.number("B")) > MOST_RANK:
            raise ValueError(f"a variable of {rank} dimensions")
        shape = [self.number("I") for _ in range(rank)]
        if (dtype := DTYPES.get(self.number("B"))) is None:
            raise ValueError("an unknown type of numbers")
        self.number("I")  # the number of bytes, of which the type is too small for the largest
        needed = math.prod(shape) * dtype.itemsize
        if needed > self.size - self.stream.tell():
            raise ValueError("it is cut short")
        if not needed:
            return torch.zeros(shape, dtype=dtype)
        return torch.frombuffer(bytearray(self.stream.read(needed)), dtype=dtype).reshape(shape)

    def variables(self) -> dict[str, Tensor]:
        if (version := self.number("I")) not in VERSIONS:
            raise ValueError(f"version {version} is not one of {VERSIONS[0]} to {VERSIONS[-1]}")
        if (name := self.text()) != "TransformerSpec":
            raise ValueError(f"it has a {name!r}, not a TransformerSpec")
        self.number("I")  # its revision
        if (count := self.number("I")) > MOST_VARIABLES:
            raise ValueError(f"it has {count} variables")
        found = {}
        for _ in range(count):
            name = self.text()
            found[name] = self.variable()
        for _ in range(min(self.number("I"), MOST_VARIABLES) if version >= 3 else 0):
            alias, name = self.text(), self.text()
            if name not in found:
                raise ValueError(f"{alias!r} stands for {name!r}, which is not there")
            found[alias] = found[name]
            if f"{name}_scale" in found:  # which has no alias of its own
                found[f"{alias}_scale"] = found[f"{name}_scale"]
        return found
