"""Reads models of CTranslate2: `model.bin`, its vocabularies and the SentencePiece models beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from torch import Tensor

from transformer import atomic
from transformer.config import ModelConfig
from transformer.data.model_pieces import Special
from transformer.data.tokenizer import Tokenizer
from transformer.errors import CheckpointError
from transformer.interchange.ctranslate2_file import Variables
from transformer.interchange.foreign import (
    Folder,
    Imported,
    embedding_weights,
    layer_weights,
    missing_pieces,
    ordered_tokenizer,
    positions_of,
    tying,
    with_pad,
    without,
)

BINARY = "model.bin"
ACTIVATIONS = {0: "relu", 2: "swish", 3: "gelu"}
"""Numbers of activation functions, and our names."""
MODELS = (
    ("sentencepiece.model",), ("tokenizer.model",), ("source.spm", "target.spm"), ("src.spm.model", "tgt.spm.model"),
    ("source.model", "target.model"),
)  # fmt: skip
"""Names of SentencePiece models beside a model."""
PADS = ("<pad>", "<blank>", "[PAD]")
"""Names of the piece that pads a batch. CTranslate2 does not need it."""


def is_ctranslate2(folder: Folder) -> bool:
    """Return whether a folder has a model of CTranslate2, or one inside a package of Argos."""
    return folder.find(BINARY, f"model/{BINARY}") is not None


def read_ctranslate2(folder: Folder) -> Imported:
    """Return the model in a folder. Raises CheckpointError for one that this package cannot compute."""
    beside = folder
    if folder.find(BINARY) is None:
        folder = Folder(folder.path / "model", folder.root)
    values = folder.json("config.json") if folder.find("config.json") else {}
    variables = Variables(folder.file(BINARY))
    zero = bool(variables.number("decoder/start_from_zero_embedding"))
    if values.get("add_source_bos", False) or not (zero or values.get("add_source_eos", False)):
        # Models of Marian were trained with eos, also where the tokenizer adds it.
        raise CheckpointError(f"{folder.path}: the source has no eos, or bos, but this package always adds eos alone")
    cfg, weights, bias = _network(variables, values)
    vocabularies = _vocabulary(folder, "source"), _vocabulary(folder, "target")
    special = _special(vocabularies[1], values, folder.path)
    start = str(values.get("decoder_start_token") or special.bos)
    begin = "zero" if zero else _begin(start, special, folder.path)
    variables.refuse_rest()
    tok, notes = _tokenizer(beside, folder, vocabularies, special)
    weights = {**weights, **({} if bias is None else {"output_bias": bias})}
    if special.pad not in vocabularies[1]:
        weights = with_pad(weights, len(vocabularies[1]))
    elif begin == "zero":
        weights["target_embedding.weight"][tok.pad] = 0.0
    elif begin == "pad" and not weights["target_embedding.weight"][tok.pad].any():
        begin = "zero"
    silent: tuple[int, ...] = ()
    if "output_bias" in weights:
        weights["output_bias"], silent = without(weights["output_bias"], tok.never_chosen)
        if not weights["output_bias"].any():
            del weights["output_bias"]
    cfg = ModelConfig(**{**vars(cfg), "decoder_start": begin, "output_bias": "output_bias" in weights})
    if variables.rounded:
        notes.append(f"weights of {variables.rounded} became float32: training can go on, but what was rounded is lost")
    return Imported("CTranslate2", cfg, tok, weights, _languages(beside), tuple(notes), silent)


def _languages(folder: Folder) -> tuple[str, str] | None:
    """Return the languages that a package of Argos says."""
    values = folder.json("metadata.json") if folder.find("metadata.json") else {}
    source, target = values.get("from_code"), values.get("to_code")
    return (source, target) if isinstance(source, str) and isinstance(target, str) else None


def _network(variables: Variables, values: dict[str, Any]) -> tuple[ModelConfig, dict[str, Tensor], Tensor | None]:
    """Return the settings, the weights by our names, and the output bias."""
    source, target = variables["encoder/embeddings_0/weight"], variables["decoder/embeddings/weight"]
    output, bias = variables["decoder/projection/weight"], variables.find("decoder/projection/bias")
    width = source.shape[-1]
    numbers = {}
    for name in ("num_heads", "pre_norm", "activation", "scale_embeddings"):
        found = {variables.number(f"{side}/{name}", 1 if name == "scale_embeddings" else 0) for side in SIDES}
        if len(found) > 1:
            raise CheckpointError(f"{variables.path}: {name} differs between encoder and decoder")
        numbers[name] = found.pop()
    if (activation := ACTIVATIONS.get(int(numbers["activation"]))) is None:
        raise CheckpointError(f"{variables.path}: this package does not have its activation function")
    if numbers["scale_embeddings"] != 1 and not math.isclose(numbers["scale_embeddings"], width**0.5, rel_tol=1e-5):
        raise CheckpointError(f"{variables.path}: its embeddings are not scaled by the root of their width")
    kinds = {_positions(variables, side) for side in SIDES}
    if None in kinds or len(kinds) > 1:
        raise CheckpointError(f"{variables.path} has another position table than the paper's and Marian's")
    heads, layers = int(numbers["num_heads"]), [variables.layers(side) for side in SIDES]
    if min(heads, *layers) < 1 or width % max(heads, 1) or width % 2:
        raise CheckpointError(
            f"{variables.path} has {layers[0]}+{layers[1]} layers of width {width} with {heads} heads"
        )
    cfg = ModelConfig(
        width=width,
        heads=heads,
        feed_forward=len(variables["encoder/layer_0/ffn/linear_0/weight"]),
        encoder_layers=layers[0],
        decoder_layers=layers[1],
        norm="pre" if numbers["pre_norm"] else "post",
        activation=activation,  # type: ignore[arg-type]
        tied=tying(source, target, output),  # type: ignore[arg-type]
        positions=kinds.pop(),  # type: ignore[arg-type]
        norm_epsilon=float(values.get("layer_norm_epsilon") or 1e-5),
    )
    weights = embedding_weights(cfg.tied, source, target, output) | layer_weights(cfg, variables.part)
    for side in SIDES if cfg.norm == "pre" else ():
        weights[f"{side}_norm.weight"] = variables[f"{side}/layer_norm/gamma"]
        weights[f"{side}_norm.bias"] = variables[f"{side}/layer_norm/beta"]
    return cfg, weights, bias


SIDES = ("encoder", "decoder")


def _positions(variables: Variables, side: str) -> str | None:
    table = variables.find(f"{side}/position_encodings/encodings")
    return None if table is None or table.ndim != 2 else positions_of(table)


def _vocabulary(folder: Folder, side: str) -> list[str]:
    """Return the pieces of one side in the order of their ids."""
    found = folder.file(*(f"{which}_vocabulary.{kind}" for which in (side, "shared") for kind in ("json", "txt")))
    if found.suffix == ".txt":
        try:
            return folder.bytes(found.name).decode().removesuffix("\n").split("\n")
        except UnicodeDecodeError:
            raise CheckpointError(f"{found} is not UTF-8") from None
    try:
        values = atomic.read_json(found.resolve())
    except ValueError as error:
        raise CheckpointError(f"{found} cannot be read: {error}") from None
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise CheckpointError(f"{found} is not a list of pieces")
    return values


def _special(vocabulary: list[str], values: dict[str, Any], path: Path) -> Special:
    """Return the special pieces, of which the vocabulary may lack pad."""
    pad = next((each for each in PADS if each in vocabulary), PADS[0])
    names = {name: str(values.get(f"{name}_token") or default) for name, default in DEFAULTS.items()}
    if not {names["unk"], names["eos"]} <= set(vocabulary):
        raise CheckpointError(f"{path}: the vocabulary has no {names['unk']} or no {names['eos']}")
    if names["bos"] in (names["eos"], pad):
        names["bos"] = DEFAULTS["bos"]
    return Special(pad=pad, **names)


DEFAULTS = {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}


def _begin(start: str, special: Special, path: Path) -> str:
    """Return the value of `model.decoder_start`."""
    if start not in (special.bos, special.pad):
        raise CheckpointError(f"{path}: the decoder starts with {start!r}, which is neither pad nor bos")
    return "bos" if start == special.bos else "pad"


def _tokenizer(
    beside: Folder, folder: Folder, vocabularies: tuple[list[str], list[str]], special: Special
) -> tuple[Tokenizer, list[str]]:
    """Return the tokenizer, with a piece for padding, and notes about it."""
    source, target = vocabularies
    if special.pad not in target:
        source, target = [*source, special.pad], [*target, special.pad]
    for place in (folder, beside):
        for names in MODELS:
            if all(place.find(name) for name in names):
                models = place.bytes(names[0]), place.bytes(names[-1])
                return ordered_tokenizer(models, (source, target), special), missing_pieces(models, (source, target))
    known = ", ".join(" and ".join(names) for names in MODELS)
    raise CheckpointError(f"{folder.path} has no SentencePiece model beside it; put it there as one of: {known}")
