"""A trained model's weights in the layouts of other runtimes: CTranslate2, and Hugging Face transformers. No pickle.

Both put a norm and a bias where this package does and have sinusoids as positions, so nothing is approximated: the same
ids give the same logits, up to rounding. A folder appears whole or not at all, with the SentencePiece models in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from safetensors.numpy import save_file
from torch import Tensor, nn

from transformer import atomic
from transformer.data.tokenizer import Tokenizer
from transformer.errors import ConfigError
from transformer.interchange.common import POSITIONS, Array, array, output_bias, refuse_existing
from transformer.model.network import DecoderLayer, EncoderLayer, Transformer, sinusoids
from transformer.model.packed_linear import Linear


def write_hugging_face(model: Transformer, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a new folder for `AutoModelForSeq2SeqLM`, which is given source ids with eos.

    It is a MarianMTModel if the model is post-norm, else a PegasusForConditionalGeneration. Raises ConfigError for what
    those cannot hold, and if the folder exists.
    """
    if model.cfg.norm == "pre" and model.cfg.tied != "all":
        raise ConfigError("Hugging Face's pre-norm model has one matrix of embeddings; model.tied must be all for it")
    refuse_existing(folder)
    tensors = hugging_face_tensors(model)
    with atomic.new_folder(folder) as new:
        save_file(tensors, new / "model.safetensors", metadata={"format": "pt"})
        for name, values in (
            ("config.json", _model_config(model, tokenizer)),
            ("generation_config.json", _generation_config(model, tokenizer)),
        ):
            (new / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        tokenizer.save(new)


def hugging_face_tensors(model: Transformer) -> dict[str, Array]:
    """Return the model's weights by Hugging Face's names; of tied ones, one."""
    found: dict[str, Array] = {"final_logits_bias": output_bias(model)[None]}
    if model.cfg.tied == "all":
        found["model.shared.weight"] = array(model.target_embedding.weight)
    else:
        found["model.encoder.embed_tokens.weight"] = array(model.source_embedding.weight)
        found["model.decoder.embed_tokens.weight"] = array(model.target_embedding.weight)
    if model.cfg.tied == "none":
        found["lm_head.weight"] = array(model.output_weight)
    for side, layers, norm in (
        ("model.encoder", model.encoder, model.encoder_norm),
        ("model.decoder", model.decoder, model.decoder_norm),
    ):
        if norm is not None:  # Pegasus, which also stores its positions
            found |= _named(f"{side}.layer_norm", norm.weight, norm.bias)
            found[f"{side}.embed_positions.weight"] = sinusoids(POSITIONS, model.cfg.width).numpy()
        for i, layer in enumerate(cast("Sequence[EncoderLayer | DecoderLayer]", layers)):
            found |= _layer(f"{side}.layers.{i}", layer)
    return found


def _layer(name: str, layer: EncoderLayer | DecoderLayer) -> dict[str, Array]:
    """Return one layer's weights by name."""
    qkv, inner, outer = layer.attention.qkv, layer.feed_forward.inner, layer.feed_forward.out
    found = {
        **_projections(f"{name}.self_attn", "qkv", qkv, layer.attention.out),
        **_normed(f"{name}.self_attn_layer_norm", layer.attention_residual.norm),
        **_named(f"{name}.fc1", inner.weight, inner.bias),
        **_named(f"{name}.fc2", outer.weight, outer.bias),
        **_normed(f"{name}.final_layer_norm", layer.feed_forward_residual.norm),
    }
    if isinstance(layer, DecoderLayer):
        q = layer.cross.q
        found |= _named(f"{name}.encoder_attn.q_proj", q.weight, q.bias)
        found |= _projections(f"{name}.encoder_attn", "kv", layer.cross.kv, layer.cross.out)
        found |= _normed(f"{name}.encoder_attn_layer_norm", layer.cross_residual.norm)
    return found


def _projections(name: str, parts: str, fused: Linear, out: Linear) -> dict[str, Array]:
    """Return the projections that lie one above the other in `fused`, apart, and the one out of the attention."""
    found = _named(f"{name}.out_proj", out.weight, out.bias)
    blocks = fused.weight.chunk(len(parts)), fused.bias.chunk(len(parts))
    for part, weight, bias in zip(parts, *blocks, strict=True):
        found |= _named(f"{name}.{part}_proj", weight, bias)
    return found


def _normed(name: str, norm: nn.LayerNorm) -> dict[str, Array]:
    return _named(name, norm.weight, norm.bias)


def _named(name: str, weight: Tensor, bias: Tensor) -> dict[str, Array]:
    return {f"{name}.weight": array(weight), f"{name}.bias": array(bias)}


def _model_config(model: Transformer, tok: Tokenizer) -> dict[str, Any]:
    """Return what Hugging Face's config.json holds for this model."""
    cfg = model.cfg
    pre = cfg.norm == "pre"
    only_marian = {"decoder_vocab_size": tok.sizes[1], "share_encoder_decoder_embeddings": cfg.tied == "all"}
    return {
        "architectures": ["PegasusForConditionalGeneration" if pre else "MarianMTModel"],
        "model_type": "pegasus" if pre else "marian",
        "is_encoder_decoder": True,
        "vocab_size": tok.sizes[0],
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
        **_special_ids(model, tok),
    }


def _generation_config(model: Transformer, tok: Tokenizer) -> dict[str, Any]:
    """Return what lets `generate` never choose what this package never chooses."""
    return {**_special_ids(model, tok), "suppress_tokens": [tok.pad, tok.unk, tok.bos]}


def _special_ids(model: Transformer, tok: Tokenizer) -> dict[str, Any]:
    return {
        "pad_token_id": tok.pad,
        "bos_token_id": tok.bos,
        "eos_token_id": tok.eos,
        "decoder_start_token_id": model.start_id,
        "forced_eos_token_id": None,
    }
