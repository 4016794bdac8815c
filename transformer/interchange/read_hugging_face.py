"""Reads models of Hugging Face transformers: MarianMTModel and Pegasus, from a folder or the Hub.

Ids follow `vocab.json`, so the SentencePiece models are put into its order.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from transformer.config import ModelConfig
from transformer.data.model_pieces import Special
from transformer.data.tokenizer import Tokenizer
from transformer.errors import CheckpointError
from transformer.interchange.foreign import (
    ACTIVATIONS,
    LARGEST_WEIGHTS,
    Folder,
    Imported,
    embedding_weights,
    fitting,
    layer_weights,
    missing_pieces,
    ordered_tokenizer,
    positions_of,
)

SAFE_TORCH = (2, 10)
"""The first version of PyTorch whose reader of plain tensors is not known to be unsafe (CVE-2026-24747)."""
ATTENTIONS = {"self": "self_attn", "cross": "encoder_attn"}
NORMS = {"self": "self_attn_layer_norm", "cross": "encoder_attn_layer_norm", "ffn": "final_layer_norm"}
PROJECTIONS = {"q": ("q",), "qkv": ("q", "k", "v"), "kv": ("k", "v"), "o": ("out",)}
TIED = ("model.shared.weight", "model.decoder.embed_tokens.weight", "model.encoder.embed_tokens.weight")
FILES = [*(f"{name}.json" for name in ("config", "generation_config", "tokenizer_config", "vocab", "target_vocab"))]
FILES += ["*.spm", "*.model", "model.safetensors", "README.md"]
"""What is downloaded of a model on the Hub. Without safetensors, its other file of weights is, too."""


def is_hugging_face(folder: Folder) -> bool:
    """Return whether a folder has a model of transformers."""
    return folder.find("config.json") is not None and folder.find("model.safetensors", "pytorch_model.bin") is not None


def read_hugging_face(folder: Folder) -> Imported:
    """Return the model in a folder. Raises CheckpointError for one that this package cannot compute."""
    values = folder.json("config.json")
    if values.get("model_type") not in ("marian", "pegasus"):
        raise CheckpointError(f"{folder.path} has a model of type {values.get('model_type')!r}, not marian or pegasus")
    tensors = _Tensors(folder)
    embeddings = _embeddings(values, tensors)
    bias = tensors.find("final_logits_bias")
    bias = None if bias is None or not bias.any() else bias.flatten()
    pad, start, eos = (
        fitting(values, f"{name}_id", int, 0) for name in ("pad_token", "decoder_start_token", "eos_token")
    )
    sizes = len(embeddings["source"]), len(embeddings["target"])
    if start != pad and start != values.get("bos_token_id"):
        raise CheckpointError(f"{folder.path}: the decoder starts with id {start}, which is neither pad nor bos")
    begin = "bos" if start != pad else "zero" if not embeddings["target"][pad].any() else "pad"
    cfg = _model_config(values, tensors, embeddings["tied"], bias is not None, begin)
    tok, notes = _tokenizer(folder, sizes, (pad, eos, start))
    weights = embedding_weights(cfg.tied, *(embeddings[name] for name in ("source", "target", "output")))
    weights |= layer_weights(cfg, tensors.part)
    if cfg.norm == "pre":
        for side in ("encoder", "decoder"):
            weights |= {
                f"{side}_norm.{each}": tensors[f"model.{side}.layer_norm.{each}"] for each in ("weight", "bias")
            }
    if bias is not None:
        weights["output_bias"] = bias
    tensors.refuse_rest()
    return Imported("Hugging Face transformers", cfg, tok, weights, _languages(folder), tuple(notes))


class _Tensors:
    """The tensors of a model by their names, of which each is taken once."""

    def __init__(self, folder: Folder) -> None:
        self.path = folder.file("model.safetensors", "pytorch_model.bin")
        if self.path.stat().st_size > LARGEST_WEIGHTS:
            raise CheckpointError(f"{self.path} is larger than {LARGEST_WEIGHTS} bytes")
        read = _read_safetensors if self.path.suffix == ".safetensors" else _read_torch
        self.tensors, self.taken = read(self.path), set[str]()

    def find(self, *names: str) -> Tensor | None:
        """Return the first of these tensors that exists, in float32."""
        self.taken.update(names)
        return next((self.tensors[name].float() for name in names if name in self.tensors), None)

    def __getitem__(self, name: str) -> Tensor:
        if (found := self.find(name)) is None:
            raise CheckpointError(f"{self.path} lacks {name}")
        return found

    def part(self, side: str, layer: int, sublayer: str, part: str) -> tuple[Tensor, Tensor]:
        """Return weight and bias of a part of a layer; those of stacked projections one above the other."""
        head = f"model.{side}.layers.{layer}"
        if part == "norm":
            names = [f"{head}.{NORMS[sublayer]}"]
        elif sublayer == "ffn":
            names = [f"{head}.fc{part}"]
        else:
            names = [f"{head}.{ATTENTIONS[sublayer]}.{each}_proj" for each in PROJECTIONS[part]]
        weight, bias = (torch.cat([self[f"{name}.{each}"] for name in names]) for each in ("weight", "bias"))
        return weight, bias

    def refuse_rest(self) -> None:
        """Raise CheckpointError if a tensor was not taken, as the model computes something else then."""
        if rest := sorted(self.tensors.keys() - self.taken):
            raise CheckpointError(f"{self.path} has {rest[0]}, which such a model does not have here")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def _read_torch(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of PyTorch, of which nothing is run."""
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < SAFE_TORCH:
        raise CheckpointError(
            f"{path} is pickled, which PyTorch {torch.__version__} does not read safely; use one from "
            f"{'.'.join(map(str, SAFE_TORCH))} on, or a model.safetensors"
        )
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zipfile, torch and others have errors of their own, and torch gives bad advice
        raise CheckpointError(f"{path} cannot be read as plain tensors: {type(error).__name__}") from None
    if not isinstance(found, dict) or not all(isinstance(each, Tensor) for each in found.values()):
        raise CheckpointError(f"{path} holds other things than tensors")
    return {str(name): tensor for name, tensor in found.items()}


def _embeddings(values: dict[str, Any], tensors: _Tensors) -> dict[str, Any]:
    """Return the three matrices and which are the same, as transformers ties them."""
    shared = values["model_type"] == "pegasus" or values.get("share_encoder_decoder_embeddings", True)
    if shared:
        source = target = tensors.find(*TIED, *(("lm_head.weight",) if values.get("tie_word_embeddings", True) else ()))
    else:
        source, target = tensors[TIED[2]], tensors[TIED[1]]
    if source is None or target is None:
        raise CheckpointError(f"{tensors.path} lacks {TIED[0]}")
    if values.get("tie_word_embeddings", True):
        tensors.taken.add("lm_head.weight")
        return {"source": source, "target": target, "output": target, "tied": "all" if shared else "target"}
    return {"source": source, "target": target, "output": tensors["lm_head.weight"], "tied": "none"}


def _model_config(values: dict[str, Any], tensors: _Tensors, tied: Any, bias: bool, start: Any) -> ModelConfig:
    activation = ACTIVATIONS.get(str(values.get("activation_function")))
    if activation is None:
        raise CheckpointError(
            f"{tensors.path.parent}: the activation is {values.get('activation_function')!r}, not one of "
            f"{', '.join(ACTIVATIONS)}"
        )
    if values.get("scale_embedding") is not True:
        raise CheckpointError(f"{tensors.path.parent}: embeddings are not scaled, which this package always does")
    for name in ("attention_heads", "ffn_dim"):
        if values.get(f"encoder_{name}") != values.get(f"decoder_{name}"):
            raise CheckpointError(f"{tensors.path.parent}: encoder and decoder have different {name}")
    kinds = {"paper"}
    for side in ("encoder", "decoder"):
        if (table := tensors.find(f"model.{side}.embed_positions.weight")) is not None:
            kinds |= {positions_of(table) or "other"}
    positions = next(iter(kinds - {"paper"}), "paper")
    if positions == "other":
        raise CheckpointError(f"{tensors.path}: its position table is neither the paper's nor Marian's")
    rates = {name: fitting(values, name, float, 0, 0.999) for name in DROPOUTS if isinstance(values.get(name), float)}
    width, heads = fitting(values, "d_model", int, 2, 16_384), fitting(values, "encoder_attention_heads", int, 1, 256)
    if width % heads or width % 2:
        raise CheckpointError(f"{tensors.path.parent}: width {width} is not even and a multiple of {heads} heads")
    return ModelConfig(
        width=width,
        heads=heads,
        feed_forward=fitting(values, "encoder_ffn_dim", int, 1, 65_536),
        encoder_layers=fitting(values, "encoder_layers", int, 1, 256),
        decoder_layers=fitting(values, "decoder_layers", int, 1, 256),
        norm="pre" if values["model_type"] == "pegasus" else "post",
        activation=activation,  # type: ignore[arg-type]
        tied=tied,
        output_bias=bias,
        positions=positions,  # type: ignore[arg-type]
        decoder_start=start,
        **rates,
    )


DROPOUTS = ("dropout", "attention_dropout", "activation_dropout")


def _tokenizer(folder: Folder, sizes: tuple[int, int], ids: tuple[int, int, int]) -> tuple[Tokenizer, list[str]]:
    """Return the tokenizer, whose ids of pad, eos and the decoder's start are given, and notes about it."""
    if own := folder.own_tokenizer(sizes):
        return own, []
    source = _vocabulary(folder, "vocab.json")
    target = source if folder.find("target_vocab.json") is None else _vocabulary(folder, "target_vocab.json")
    if (len(source), len(target)) != sizes:
        raise CheckpointError(f"{folder.path}: the vocabulary has {len(target)} pieces, but the model {sizes[1]}")
    if max(ids) >= min(sizes):
        raise CheckpointError(f"{folder.path}: the id of a special piece is not in the vocabulary")
    pad, eos, start = ids
    bos = target[start] if start != pad else "<s>"
    special = Special(pad=target[pad], eos=target[eos], bos=bos)
    models = folder.bytes("source.spm"), folder.bytes("target.spm")
    return ordered_tokenizer(models, (source, target), special), missing_pieces(models, (source, target))


def _vocabulary(folder: Folder, name: str) -> list[str]:
    """Return the pieces of a vocabulary in the order of their ids, which must be all from 0 on."""
    values: dict[str, Any] = folder.json(name)
    ids = list(values.values())
    if not all(type(i) is int for i in ids) or sorted(ids) != list(range(len(ids))):
        raise CheckpointError(f"{folder.path / name} does not number its pieces from 0 on")
    return sorted(values, key=values.__getitem__)


def _languages(folder: Folder) -> tuple[str, str] | None:
    if folder.find("tokenizer_config.json") is None:
        return None
    values = folder.json("tokenizer_config.json")
    found = tuple(_codes(values))
    return (found[0], found[1]) if len(found) == 2 and found[0] != found[1] else None


def _codes(values: dict[str, Any]) -> Iterator[str]:
    for name in ("source_lang", "target_lang"):
        if isinstance(code := values.get(name), str) and 2 <= len(code) <= 12 and code.replace("_", "").isalnum():
            yield code
