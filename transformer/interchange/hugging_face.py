"""Export of a trained model to Hugging Face transformers, in safetensors.

MarianMTModel and PegasusForConditionalGeneration place norms and biases as this package does and have the same position
encodings. So nothing is approximated: the same ids give the same logits, up to rounding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from transformer.config import DecodeConfig
from transformer.data.tags import TAG
from transformer.data.tokenizer import Tokenizer
from transformer.interchange.common import POSITIONS, Array, array, bias_array, check_export, new_export
from transformer.interchange.portable import portable_models
from transformer.model.network import Transformer, sinusoids
from transformer.model.weights import (
    ANY,
    TRAINING_ONLY,
    Accepted,
    DecoderLayerWeights,
    EncoderLayerWeights,
    LinearWeights,
    NormWeights,
    model_weights,
    one_of,
)

ACCEPTED: Mapping[str, Accepted] = {
    "width": ANY,
    "heads": ANY,
    "feed_forward": ANY,
    "encoder_layers": ANY,
    "decoder_layers": ANY,
    "norm": one_of("post", "pre"),
    "activation": one_of("relu", "gelu", "swish"),
    "tied": Accepted(
        lambda tied, cfg: tied == "all" or (cfg.norm == "post" and tied in ("target", "none")),
        "all, since its pre-norm model has one matrix of embeddings",
    ),
    "output_bias": one_of(False, True),
    "positions": Accepted(
        lambda positions, cfg: positions == "paper" or (cfg.norm == "pre" and positions == "marian"),
        "paper, the only table of its post-norm model",
    ),
    "norm_epsilon": one_of(1e-5),
    "decoder_start": one_of("bos", "pad", "zero"),
    **TRAINING_ONLY,
}
MOST_TOKENS = 512
"""Tokens to which its tokenizer cuts text if asked to, and that its search generates at most, as in OPUS-MT."""
HOW_TO_USE = """\
```python
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModelForSeq2SeqLM.from_pretrained(".")
batch = tokenizer(["Text to translate."], return_tensors="pt", padding=True)
print(tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True))
```

The tokenizer needs the packages sentencepiece and transformers of version 5. Translations are ranked by the
log-probability divided by the number of tokens to the power of `length_penalty`, which is
not the penalty that the scores below were measured with."""


def write_hugging_face(
    model: Transformer, tokenizer: Tokenizer, folder: Path, search: DecodeConfig | None = None
) -> None:
    """Write a new folder for `AutoModelForSeq2SeqLM` and `AutoTokenizer`, whose input is source ids with eos.

    Raises ConfigError if the class does not support the model, or if the folder exists.
    """
    with new_export(folder) as new:
        fill_hugging_face(model, tokenizer, new, ("", ""), search or DecodeConfig())


def fill_hugging_face(
    model: Transformer, tokenizer: Tokenizer, folder: Path, languages: tuple[str, str], search: DecodeConfig
) -> None:
    """Write the files of Hugging Face transformers into a folder.

    A post-norm model becomes a MarianMTModel, a pre-norm model a PegasusForConditionalGeneration. Raises ConfigError if
    that class does not support the model.
    """
    check_export(model.cfg, ACCEPTED, "Hugging Face transformers")
    save_file(hugging_face_tensors(model), folder / "model.safetensors", metadata={"format": "pt"})
    models = portable_models(tokenizer)
    for name, content in (("source.spm", models[0]), ("target.spm", models[-1])):
        (folder / name).write_bytes(content)
    texts = {
        "config.json": _model_config(model, tokenizer),
        "generation_config.json": _generation_config(model, tokenizer, search),
        "tokenizer_config.json": _tokenizer_config(tokenizer, languages),
        "vocab.json": _vocabulary(tokenizer.source),
    }
    if not tokenizer.joint:
        texts["target_vocab.json"] = _vocabulary(tokenizer.target)
    for name, values in texts.items():
        (folder / name).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def hugging_face_tensors(model: Transformer) -> dict[str, Array]:
    """Return the model's weights by Hugging Face's names. Tied weights are included once."""
    cfg, weights = model.cfg, model_weights(model)
    tensors: dict[str, Array] = {"final_logits_bias": bias_array(weights.decoder.output)[None]}
    if cfg.tied == "all":
        tensors["model.shared.weight"] = array(weights.decoder.embedding)
    else:
        tensors["model.encoder.embed_tokens.weight"] = array(weights.encoder.embedding)
        tensors["model.decoder.embed_tokens.weight"] = array(weights.decoder.embedding)
    if cfg.tied == "none":
        tensors["lm_head.weight"] = array(weights.decoder.output.weight)
    for name, stack in (("model.encoder", weights.encoder), ("model.decoder", weights.decoder)):
        if stack.norm is not None:  # Pegasus, which also stores its positions
            tensors |= _norm(f"{name}.layer_norm", stack.norm)
            tensors[f"{name}.embed_positions.weight"] = sinusoids(POSITIONS, cfg.width, cfg.positions).numpy()
        for i, layer in enumerate(stack.layers):
            tensors |= _layer(f"{name}.layers.{i}", layer)
    return tensors


def _layer(name: str, layer: EncoderLayerWeights) -> dict[str, Array]:
    """Return the weights of one layer by Hugging Face's names."""
    tensors = {
        **_fused(f"{name}.self_attn", "qkv", layer.attention.qkv),
        **_linear(f"{name}.self_attn.out_proj", layer.attention.out),
        **_norm(f"{name}.self_attn_layer_norm", layer.attention.norm),
        **_linear(f"{name}.fc1", layer.feed_forward.inner),
        **_linear(f"{name}.fc2", layer.feed_forward.out),
        **_norm(f"{name}.final_layer_norm", layer.feed_forward.norm),
    }
    if isinstance(layer, DecoderLayerWeights):
        tensors |= _linear(f"{name}.encoder_attn.q_proj", layer.cross.q)
        tensors |= _fused(f"{name}.encoder_attn", "kv", layer.cross.kv)
        tensors |= _linear(f"{name}.encoder_attn.out_proj", layer.cross.out)
        tensors |= _norm(f"{name}.encoder_attn_layer_norm", layer.cross.norm)
    return tensors


def _fused(name: str, parts: str, fused: LinearWeights) -> dict[str, Array]:
    """Split a fused projection into its parts, which are stacked by rows and named by the letters of `parts`."""
    weights, biases = array(fused.weight), bias_array(fused)
    size = len(weights) // len(parts)
    tensors = {}
    for i, part in enumerate(parts):
        rows = slice(i * size, (i + 1) * size)
        tensors[f"{name}.{part}_proj.weight"] = weights[rows].copy()
        tensors[f"{name}.{part}_proj.bias"] = biases[rows].copy()
    return tensors


def _linear(name: str, linear: LinearWeights) -> dict[str, Array]:
    return {f"{name}.weight": array(linear.weight), f"{name}.bias": bias_array(linear)}


def _norm(name: str, norm: NormWeights) -> dict[str, Array]:
    return {f"{name}.weight": array(norm.weight), f"{name}.bias": array(norm.bias)}


def _model_config(model: Transformer, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the content of config.json for this model."""
    cfg = model.cfg
    pre = cfg.norm == "pre"
    only_marian = {"decoder_vocab_size": tokenizer.sizes[1], "share_encoder_decoder_embeddings": cfg.tied == "all"}
    return {
        "architectures": ["PegasusForConditionalGeneration" if pre else "MarianMTModel"],
        "model_type": "pegasus" if pre else "marian",
        "is_encoder_decoder": True,
        "vocab_size": tokenizer.sizes[0],
        **({} if pre else only_marian),
        "d_model": cfg.width,
        "encoder_layers": cfg.encoder_layers,
        "decoder_layers": cfg.decoder_layers,
        "encoder_attention_heads": cfg.heads,
        "decoder_attention_heads": cfg.heads,
        "encoder_ffn_dim": cfg.feed_forward,
        "decoder_ffn_dim": cfg.feed_forward,
        "activation_function": cfg.activation,
        "dropout": cfg.dropout,
        "attention_dropout": cfg.attention_dropout,
        "activation_dropout": cfg.activation_dropout,
        "max_position_embeddings": POSITIONS,
        "scale_embedding": True,
        "tie_word_embeddings": cfg.tied != "none",
        "dtype": "float32",
        **_special_ids(model, tokenizer),
    }


def _generation_config(model: Transformer, tokenizer: Tokenizer, search: DecodeConfig) -> dict[str, Any]:
    """Return the content of generation_config.json. It suppresses the ids that this package never chooses."""
    return {
        **_special_ids(model, tokenizer),
        "suppress_tokens": list(tokenizer.never_chosen),
        "num_beams": search.beam,
        "length_penalty": search.length_penalty,
        "max_new_tokens": MOST_TOKENS,
    }


def _tokenizer_config(tokenizer: Tokenizer, languages: tuple[str, str]) -> dict[str, Any]:
    """Return the content of tokenizer_config.json."""
    pad, unk, eos = tokenizer.pieces([tokenizer.pad, tokenizer.unk, tokenizer.eos])
    return {
        "tokenizer_class": "MarianTokenizer",
        "source_lang": languages[0],
        "target_lang": languages[1],
        "separate_vocabs": not tokenizer.joint,
        "pad_token": pad,
        "unk_token": unk,
        "eos_token": eos,
        "model_max_length": MOST_TOKENS,
        "clean_up_tokenization_spaces": False,
    }


def _vocabulary(processor: Any) -> dict[str, int]:
    """Return the ids of all pieces. Tags of languages are named as MarianTokenizer looks for them."""
    pieces = map(processor.id_to_piece, range(processor.get_piece_size()))
    return {piece[1:] if TAG.fullmatch(piece[1:]) else piece: i for i, piece in enumerate(pieces)}


def _special_ids(model: Transformer, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "pad_token_id": tokenizer.pad,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
        "decoder_start_token_id": model.start_id,
        "forced_eos_token_id": None,
    }
