"""Folders of other programs, read with care, and what is made of them.

Their files may come from anyone: sizes are bounded, links lead nowhere else, nothing in them is run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transformer import atomic
from transformer.config import ModelConfig
from transformer.data.model_pieces import Special, in_order
from transformer.data.tokenizer import LARGEST_MODEL, Tokenizer, file_names, load_tokenizer, open_model
from transformer.errors import CheckpointError
from transformer.interchange.common import NEVER, POSITIONS
from transformer.model.network import Transformer, sinusoids

LARGEST_WEIGHTS = 64 << 30
"""Bytes of weights. A larger file is refused before it is read."""
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "swish": "swish", "silu": "swish"}
"""Names of activation functions, and ours."""
SELF = {"attention.qkv": "qkv", "attention.out": "o", "attention_residual.norm": "norm"}
CROSS = {"cross.q": "q", "cross.kv": "kv", "cross.out": "o", "cross_residual.norm": "norm"}
FEED_FORWARD = {"feed_forward.inner": "1", "feed_forward.out": "2", "feed_forward_residual.norm": "norm"}
"""The parts of a layer: our names, and what they are."""
SUBLAYERS = {"self": SELF, "cross": CROSS, "ffn": FEED_FORWARD}
IMPOSSIBLE = -100.0
"""The output bias of an id that the source lacks: its probability is 0 in float32."""

Weights = dict[str, Tensor]
Part = Callable[[str, int, str, str], tuple[Tensor, Tensor]]
"""Takes side, layer, sublayer (`self`, `cross` or `ffn`) and part (such as `qkv`); returns weight and bias."""


@dataclasses.dataclass(frozen=True)
class Imported:
    """A model that was read from another program's files."""

    kind: str
    """What it was, for people."""
    cfg: ModelConfig
    tokenizer: Tokenizer
    weights: Weights
    """By our names."""
    languages: tuple[str, str] | None = None
    """The codes of source and target, where the files say them."""
    notes: tuple[str, ...] = ()
    """What is different from the source."""
    silent: tuple[int, ...] = ()
    """Ids that the source never chooses, whose output bias is not kept."""


class Folder:
    """A folder of a stranger."""

    def __init__(self, path: Path, root: Path | None = None) -> None:
        """Links may lead to other files below `root`, by default the folder itself."""
        self.path, self.root = path, (root or path).resolve()

    def find(self, *names: str) -> Path | None:
        """Return the path of the first of these files that exists. Raises CheckpointError if it leads out."""
        for name in names:
            path = self.path / name
            if path.is_symlink() or path.exists():
                if not path.resolve().is_relative_to(self.root):
                    raise CheckpointError(f"{path} is a link out of its folder; copy the folder with cp -rL")
                if path.is_file():
                    return path
        return None

    def file(self, *names: str) -> Path:
        """Return the path of the first of these files that exists. Raises CheckpointError if there is none."""
        if (found := self.find(*names)) is None:
            raise CheckpointError(f"{self.path} has no {' or '.join(names)}")
        return found

    def bytes(self, name: str, most: int = LARGEST_MODEL) -> bytes:
        """Return the content of a file. Raises CheckpointError if it is longer than `most`."""
        path = self.file(name)
        with path.open("rb") as stream:
            if len(content := stream.read(most + 1)) > most:
                raise CheckpointError(f"{path} is larger than {most} bytes")
        return content

    def json(self, name: str, kind: type = dict) -> Any:
        """Return the content of a JSON file whose value has this type."""
        path = self.file(name).resolve()
        try:
            if isinstance(value := atomic.read_json(path), kind):
                return value
        except ValueError as error:
            raise CheckpointError(f"{self.path / name} cannot be read: {error}") from None
        raise CheckpointError(f"{self.path / name} is not what such a file holds")

    def own_tokenizer(self, sizes: tuple[int, int]) -> Tokenizer | None:
        """Return the tokenizer that an export of ours has put there, if its vocabularies have these sizes."""
        if self.find(*(name for single in (True, False) for name in file_names(single))) is None:
            return None
        found = load_tokenizer(self.path)
        return found if found.sizes == sizes else None


def ordered_tokenizer(
    models: tuple[bytes, bytes], vocabularies: tuple[list[str], list[str]], special: Special
) -> Tokenizer:
    """Return a tokenizer that gives the ids of other vocabularies. Raises CheckpointError if they do not fit."""
    for model in models:
        open_model(model)
    made = [
        in_order(model, pieces, special, target=i == 1)[0]
        for i, (model, pieces) in enumerate(zip(models, vocabularies, strict=True))
    ]
    return Tokenizer(made[0]) if made[0] == made[1] else Tokenizer(*made)


def missing_pieces(models: tuple[bytes, bytes], vocabularies: tuple[list[str], list[str]]) -> list[str]:
    """Return sentences about pieces of the SentencePiece models that have no id."""
    notes = []
    for side, model, pieces in zip(("source", "target"), models, vocabularies, strict=True):
        if missing := in_order(model, pieces)[1]:
            notes.append(
                f"{len(missing)} pieces of the {side} SentencePiece model have no id, such as {missing[0]!r}: text is "
                "cut into smaller pieces there"
            )
    return notes


def layer_weights(cfg: ModelConfig, part: Part) -> Weights:
    """Return the weights of all layers by our names."""
    found: Weights = {}
    for side, layers in (("encoder", cfg.encoder_layers), ("decoder", cfg.decoder_layers)):
        for i in range(layers):
            for sublayer, parts in SUBLAYERS.items():
                if side == "decoder" or sublayer != "cross":
                    for ours, theirs in parts.items():
                        weight, bias = part(side, i, sublayer, theirs)
                        found |= {f"{side}.{i}.{ours}.weight": weight, f"{side}.{i}.{ours}.bias": bias}
    return found


def tying(source: Tensor, target: Tensor, output: Tensor) -> str:
    """Return which of the three matrices are the same: a value of `model.tied`."""
    if not torch.equal(target, output):
        return "none"
    return "all" if torch.equal(source, target) else "target"


def embedding_weights(tied: str, source: Tensor, target: Tensor, output: Tensor) -> Weights:
    """Return the embeddings and the output projection by our names."""
    weights = {"target_embedding.weight": target}
    if tied != "all":
        weights["source_embedding.weight"] = source
    if tied == "none":
        weights["output.weight"] = output
    return weights


def positions_of(table: Tensor) -> str | None:
    """Return which position table this is, a value of `model.positions`, or None if it is another."""
    rows = min(len(table), POSITIONS)
    for kind in ("paper", "marian"):
        if rows > 1 and torch.allclose(table[:rows].float(), sinusoids(rows, table.shape[1], kind), atol=2e-3):
            return kind
    return None


def without(bias: Tensor, silent: Iterable[int]) -> tuple[Tensor, tuple[int, ...]]:
    """Return an output bias with zeros for ids that are never chosen, if an export of ours made them impossible."""
    found = tuple(i for i in silent if bias[i] == NEVER)
    bias = bias.clone()
    bias[list(found)] = 0.0
    return bias, found


def with_pad(weights: Weights, size: int) -> Weights:
    """Return the weights with a row for padding, an id that is never chosen."""
    made = {}
    for name, each in weights.items():
        grows = name in ("source_embedding.weight", "target_embedding.weight", "output.weight")
        made[name] = torch.cat((each, torch.zeros(1, each.shape[1]))) if grows else each
    bias = weights.get("output_bias", torch.zeros(size))
    made["output_bias"] = torch.cat((bias, torch.tensor([IMPOSSIBLE])))
    return made


def built(found: Imported, length: int) -> Transformer:
    """Return the network of an imported model. Raises CheckpointError if a weight has another shape."""
    tok = found.tokenizer
    start = tok.bos if found.cfg.decoder_start == "bos" else tok.pad
    with torch.device("meta"):
        model = Transformer(found.cfg, tok.sizes, tok.pad, start, length)
    _compare({name: tuple(part.shape) for name, part in model.state_dict().items()}, found.weights)
    made = Transformer(found.cfg, tok.sizes, tok.pad, start, length)
    made.load_state_dict(found.weights)
    return made.eval()


def _compare(expected: Mapping[str, tuple[int, ...]], weights: Weights) -> None:
    for name, shape in expected.items():
        if tuple(weights[name].shape) != shape:
            raise CheckpointError(f"the imported model's {name} has shape {tuple(weights[name].shape)}, not {shape}")
        if not weights[name].isfinite().all():
            raise CheckpointError(f"the imported model's {name} has values that are not finite")


def fitting(cfg: Mapping[str, Any], name: str, kind: type, least: float = 1, most: float = 1 << 20) -> Any:
    """Return a number of a configuration. Raises CheckpointError if it is missing or out of range."""
    value: Any = cfg.get(name)
    if not isinstance(value, (int, float)) or type(value) is not kind or not least <= value <= most:
        raise CheckpointError(f"the configuration's {name} is {value!r}, which is not possible")
    return value
