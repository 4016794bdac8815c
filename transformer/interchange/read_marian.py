"""Reads models of Marian: an npz with its options inside, and vocabularies; also an unpacked model of OPUS-MT.

The position table, the epsilon of LayerNorm and the first input of the decoder are Marian's.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from transformer import yaml_nodes
from transformer.config import ModelConfig
from transformer.data.model_pieces import Special, read_pieces
from transformer.data.tokenizer import LARGEST_MODEL, Tokenizer, open_model
from transformer.errors import CheckpointError, ConfigError
from transformer.interchange.foreign import (
    IMPOSSIBLE,
    LARGEST_WEIGHTS,
    Folder,
    Imported,
    embedding_weights,
    layer_weights,
    missing_pieces,
    ordered_tokenizer,
    tying,
    with_pad,
    without,
)

OPTIONS = "special:model.yml"
"""The array with the options of the model, as the bytes of YAML text."""
LARGEST_OPTIONS = 1 << 20
WANTED: dict[str, tuple[str, ...]] = {
    "type": ("transformer",),
    "transformer-decoder-autoreg": ("self-attention",),
    "transformer-no-projection": ("false",),
    "transformer-train-positions": ("false",),
    "transformer-postprocess-emb": ("d", ""),
    "transformer-ffn-activation": ("swish", "relu"),
    "transformer-ffn-depth": ("2",),
    "lemma-dim-emb": ("0",),
}
"""The values of options that this package can compute, the usual one first. Marian's gelu is another function."""
NORMS: dict[tuple[str, ...], str] = {("", "dan", ""): "post", ("n", "da", "n"): "pre"}
"""What Marian does before and after each sub-layer and at the top, and `model.norm`."""
PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "self": {"qkv": ("q", "k", "v"), "o": ("o",)},
    "cross": {"q": ("q",), "kv": ("k", "v"), "o": ("o",)},
    "ffn": {"1": ("1",), "2": ("2",)},
}
SCOPES = {"self": "self", "cross": "context", "ffn": "ffn"}
ENTRY = re.compile(r'(?P<quoted>"(?:[^"\\]|\\.)*"|\'(?:[^\']|\'\')*\')\s*:\s*(?P<id>\d+)\s*,?')
SIDES = ("encoder", "decoder")
DAMAGE: tuple[type[Exception], ...] = (ValueError, EOFError, OSError, KeyError, SyntaxError, TypeError, OverflowError)
DAMAGE += (NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What NumPy and zipfile raise for files that are damaged, or made to do harm."""


def is_marian(folder: Folder) -> bool:
    """Return whether a folder has a model of Marian."""
    return any(folder.path.glob("*.npz"))


def read_marian(folder: Folder) -> Imported:
    """Return the model in a folder. Raises CheckpointError for one that this package cannot compute."""
    settings = _settings(folder)
    arrays = _Arrays(weights_file(folder))
    cfg, weights, bias = _network(arrays)
    arrays.refuse_rest()
    tok, notes, padded = _tokenizer(folder, settings, arrays.sizes)
    silent: tuple[int, ...] = ()
    if bias is not None:
        bias, silent = without(bias, tok.never_chosen if padded else ())
        weights |= {"output_bias": bias} if bias.any() else {}
    if not padded:
        weights = with_pad(weights, arrays.sizes[1])
    elif weights["target_embedding.weight"][tok.pad].any():  # Marian does not pad with it, so that it may be any piece
        weights["target_embedding.weight"][tok.pad] = 0.0
        weights["output_bias"] = weights.get("output_bias", torch.zeros(arrays.sizes[1])).clone()
        weights["output_bias"][tok.pad] = IMPOSSIBLE
    cfg = ModelConfig(**{**vars(cfg), "output_bias": "output_bias" in weights})
    if cfg.norm == "pre":
        notes.append(
            "Marian 1.12 translates with pre-norm models in another way than it trains them; this is as trained"
        )
    return Imported("Marian", cfg, tok, weights, _languages(folder), tuple(notes), silent)


class _Arrays:
    """The arrays of an npz by their names, of which each is taken once."""

    def __init__(self, path: Path) -> None:
        self.path, self.taken = path, {OPTIONS}
        self.sizes = 0, 0
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(each.file_size for each in archive.infolist()) > LARGEST_WEIGHTS:
                    raise CheckpointError(f"{path} is larger than {LARGEST_WEIGHTS} bytes")
            with np.load(path, allow_pickle=False) as file:
                self.arrays: dict[str, Any] = {name: file[name] for name in file.files}
        except DAMAGE as error:
            raise CheckpointError(f"{path} is not an npz of plain numbers: {error}") from None
        self.options = self._options()

    def _options(self) -> dict[str, str]:
        if (found := self.arrays.get(OPTIONS)) is None or found.nbytes > LARGEST_OPTIONS:
            raise CheckpointError(f"{self.path} has no {OPTIONS}, so it is not a model of Marian")
        return scalars(found.tobytes().rstrip(b"\0").decode(errors="replace"), f"{self.path.name} {OPTIONS}")

    def find(self, *names: str) -> Tensor | None:
        """Return the first of these arrays that exists, in float32."""
        self.taken.update(names)
        for name in names:
            if (found := self.arrays.get(name)) is not None:
                if found.dtype.kind != "f":
                    raise CheckpointError(f"{self.path}: {name} has values of type {found.dtype}, not of float32")
                return torch.from_numpy(found.astype(np.float32))
        return None

    def __getitem__(self, name: str | tuple[str, ...]) -> Tensor:
        names = (name,) if isinstance(name, str) else name
        if (found := self.find(*names)) is None:
            raise CheckpointError(f"{self.path} lacks {names[0]}")
        return found

    def part(self, side: str, layer: int, sublayer: str, part: str) -> tuple[Tensor, Tensor]:
        """Return weight and bias of a part of a layer; those of stacked projections one above the other."""
        head = f"{side}_l{layer + 1}_{SCOPES[sublayer]}"
        if part == "norm":
            return self.norm(f"{head}_{'ffn' if sublayer == 'ffn' else 'Wo'}")
        names = PARTS[sublayer][part]
        weight = torch.cat([self[f"{head}_W{name}"].T for name in names])
        return weight.contiguous(), torch.cat([self[f"{head}_b{name}"].flatten() for name in names])

    def norm(self, name: str) -> tuple[Tensor, Tensor]:
        """Return scale and shift of a LayerNorm."""
        scale, shift = (self[f"{name}_ln_{each}", f"{name}_ln_{each}_pre"] for each in ("scale", "bias"))
        return scale.flatten(), shift.flatten()

    def refuse_rest(self) -> None:
        """Raise CheckpointError if an array was not taken, as the model computes something else then."""
        if rest := sorted(self.arrays.keys() - self.taken):
            raise CheckpointError(f"{self.path} has {rest[0]}, which this package does not compute")


def _network(arrays: _Arrays) -> tuple[ModelConfig, dict[str, Tensor], Tensor | None]:
    """Return the settings, the weights by our names, and the output bias."""
    options = arrays.options
    for name, values in WANTED.items():
        if (found := options.get(name, values[0])) not in values:
            raise CheckpointError(f"{arrays.path}: {name} is {found!r}, not {' or '.join(map(repr, values))}")
    around = tuple(options.get(f"transformer-{each}", "") for each in ("preprocess", "postprocess", "postprocess-top"))
    if (norm := NORMS.get(around)) is None:
        raise CheckpointError(
            f"{arrays.path}: this package has no sub-layers between {' and '.join(map(repr, around))}"
        )
    source, target = arrays["Wemb", "encoder_Wemb"], arrays["Wemb", "decoder_Wemb"]
    output = arrays.find("decoder_ff_logit_out_W")
    output = target if output is None else output.T.contiguous()
    bias = arrays.find("decoder_ff_logit_out_b")
    arrays.sizes = len(source), len(target)
    cfg = ModelConfig(
        width=source.shape[1],
        heads=_number(arrays, "transformer-heads", 256),
        feed_forward=arrays["encoder_l1_ffn_W1"].shape[1],
        encoder_layers=_number(arrays, "enc-depth", 256),
        decoder_layers=_number(arrays, "dec-depth", 256),
        norm=norm,  # type: ignore[arg-type]
        activation=options.get("transformer-ffn-activation", "swish"),  # type: ignore[arg-type]
        tied=tying(source, target, output),  # type: ignore[arg-type]
        positions="marian",
        norm_epsilon=1e-6,
        decoder_start="zero",
    )
    if cfg.width % cfg.heads or cfg.width % 2:
        raise CheckpointError(f"{arrays.path} has a width of {cfg.width} with {cfg.heads} heads, which is not possible")
    weights = embedding_weights(cfg.tied, source, target, output) | layer_weights(cfg, arrays.part)
    for side in SIDES if norm == "pre" else ():
        weights[f"{side}_norm.weight"], weights[f"{side}_norm.bias"] = arrays.norm(f"{side}_top")
    return cfg, weights, None if bias is None else bias.flatten()


def _number(arrays: _Arrays, name: str, most: int) -> int:
    text = arrays.options.get(name, "")
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise CheckpointError(f"{arrays.path}: {name} is {text!r}, which is not possible")
    return int(text)


def scalars(text: str, name: str) -> dict[str, str]:
    """Return the values of a YAML mapping that are text or numbers; of a list of one, its value."""
    try:
        node = yaml_nodes.parse(text, name)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    found = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        values = value.value if isinstance(value, yaml.SequenceNode) else [value]
        found[str(key.value)] = "\n".join(str(each.value) for each in values)
    return found


def _settings(folder: Folder) -> dict[str, str]:
    """Return the settings of the decoder, which name the files, if they are there."""
    names = [*folder.path.glob("*decoder.yml")]
    if len(names) != 1:
        return {}
    return scalars(folder.bytes(names[0].name, LARGEST_OPTIONS).decode(errors="replace"), names[0].name)


def weights_file(folder: Folder) -> Path:
    """Return the path of the file of weights. Raises CheckpointError if there are several."""
    named = [PurePosixPath(each).name for each in _settings(folder).get("models", "").split("\n") if each]
    best = named or sorted(path.name for path in folder.path.glob("*.npz"))
    if len(best) != 1:
        raise CheckpointError(f"{folder.path} has several models ({', '.join(best)}); leave one of them in it")
    return folder.file(best[0])


def _tokenizer(folder: Folder, settings: dict[str, str], sizes: tuple[int, int]) -> tuple[Tokenizer, list[str], bool]:
    """Return the tokenizer, notes about it, and whether the vocabulary has a piece for padding."""
    named = [PurePosixPath(each).name for each in settings.get("vocabs", "").split("\n") if each]
    there = [path.name for kind in ("yml", "json", "spm") for path in sorted(folder.path.glob(f"*vocab*.{kind}"))]
    names = named or there
    if len(set(names)) not in (1, 2):
        raise CheckpointError(f"{folder.path} has {len(names)} vocabularies, not one or two")
    vocabularies = _vocabulary(folder, names[0]), _vocabulary(folder, names[-1])
    if names[0].endswith(".spm"):
        models = folder.bytes(names[0]), folder.bytes(names[-1])
    elif folder.find("source.bpe") is not None:
        raise CheckpointError(
            f"{folder.path} is segmented by subword-nmt (source.bpe), which this package does not have"
        )
    else:
        models = folder.bytes("source.spm"), folder.bytes("target.spm")
    for vocabulary, size in zip(vocabularies, sizes, strict=True):
        if len(vocabulary) != size:
            raise CheckpointError(f"{folder.path}: the vocabulary has {len(vocabulary)} pieces, but the model {size}")
    padded = "<pad>" in vocabularies[1]
    more = [] if padded else ["<pad>"]
    ordered = ordered_tokenizer(models, ([*vocabularies[0], *more], [*vocabularies[1], *more]), Special())
    return ordered, missing_pieces(models, vocabularies), padded


def _vocabulary(folder: Folder, name: str) -> list[str]:
    """Return the pieces of a vocabulary in the order of their ids."""
    content = folder.bytes(name)
    if name.endswith(".spm"):
        open_model(content)
        return [each.text for each in read_pieces(content)]
    try:
        pieces = vocabulary_entries(content[:LARGEST_MODEL].decode())
    except (ValueError, ConfigError) as error:
        raise CheckpointError(f"{folder.path / name} cannot be read: {error}") from None
    if sorted(pieces.values()) != list(range(len(pieces))):
        raise CheckpointError(f"{folder.path / name} does not number its pieces from 0 on")
    return sorted(pieces, key=pieces.__getitem__)


def vocabulary_entries(text: str) -> dict[str, int]:
    """Return the ids of a vocabulary in YAML or JSON, one entry a line. Raises ValueError for a line that is none.

    YAML's own types are not looked at: a piece may be `yes` or `1`.
    """
    found, key = {}, None
    for line in text.split("\n"):
        line = line.rstrip("\r").strip(" \t")
        if not line or line in "{}---":
            continue
        if key is not None and line.startswith(":"):
            found[key], key = int(line[1:]), None
        elif line.startswith("? "):
            key = _unquoted(line[2:])
        elif entry := ENTRY.fullmatch(line):
            found[_unquoted(entry["quoted"])] = int(entry["id"])
        else:
            piece, colon, number = line.rstrip(",").rpartition(":")
            if not colon or not number.strip().isdecimal():
                raise ValueError(f"{line[:40]!r} is no piece with its id")
            found[_unquoted(piece)] = int(number)
    return found


def _unquoted(text: str) -> str:
    """Return the text of a YAML scalar."""
    text = text.strip(" ")
    if text[:1] in ('"', "'") and len(text) > 1:
        node = yaml_nodes.parse(text, "a piece")
        return str(node.value)
    return text


def _languages(folder: Folder) -> tuple[str, str] | None:
    """Return the languages that the README of OPUS-MT names: `source language(s)`, `target language(s)`."""
    if folder.find("README.md") is None:
        return None
    text = folder.bytes("README.md", LARGEST_OPTIONS).decode(errors="replace")
    found = [
        re.search(rf"^\* {side} languages?(?:\(s\))?: ([a-z]{{2,3}})$", text, re.MULTILINE)
        for side in ("source", "target")
    ]
    if not found[0] or not found[1] or found[0][1] == found[1][1]:
        return None
    return found[0][1], found[1][1]
