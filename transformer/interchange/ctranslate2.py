"""A trained model's weights in the layouts of other runtimes: CTranslate2, and Hugging Face transformers. No pickle.

Both put a norm and a bias where this package does and have sinusoids as positions, so nothing is approximated: the same
ids give the same logits, up to rounding. A folder appears whole or not at all, with the SentencePiece models in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from torch import nn

from transformer import atomic
from transformer.data.tokenizer import Tokenizer
from transformer.errors import ConfigError, TransformerError
from transformer.interchange.common import POSITIONS, array, output_bias, refuse_existing, source_embedding
from transformer.model.network import DecoderLayer, EncoderLayer, Transformer, sinusoids
from transformer.model.packed_linear import Linear

NEVER = -1e4
"""Output bias of pieces that are never chosen; what float16 can hold."""


def write_ctranslate2(model: Transformer, tokenizer: Tokenizer, folder: Path, quantization: str | None = None) -> None:
    """Write a new folder for `ctranslate2.Translator`, which is given source pieces without eos.

    `quantization` is one of CTranslate2's, such as int8. Pad, unk and bos get so low an output bias that they are never
    chosen, as here. Raises TransformerError where CTranslate2 is not installed, and ConfigError if the folder exists.
    """
    try:
        from ctranslate2.specs import common_spec, transformer_spec
    except ImportError:
        raise TransformerError("exporting to CTranslate2 needs its package: pip install ctranslate2") from None
    refuse_existing(folder)
    cfg, tok = model.cfg, tokenizer
    spec = transformer_spec.TransformerSpec.from_config(
        (cfg.encoder_layers, cfg.decoder_layers),
        cfg.heads,
        pre_norm=cfg.norm == "pre",
        activation=common_spec.Activation[cfg.activation.upper()],
    )
    _fill_side(spec.encoder, spec.encoder.embeddings[0], source_embedding(model), model.encoder, model.encoder_norm)
    _fill_side(spec.decoder, spec.decoder.embeddings, model.target_embedding, model.decoder, model.decoder_norm)
    bias = output_bias(model)
    bias[[tok.pad, tok.unk, tok.bos]] = NEVER
    spec.decoder.projection.weight, spec.decoder.projection.bias = array(model.output_weight), bias
    spec.register_source_vocabulary([tok.source.id_to_piece(i) for i in range(tok.sizes[0])])
    spec.register_target_vocabulary(tok.pieces(range(tok.sizes[1])))
    spec.config.unk_token, spec.config.bos_token, spec.config.eos_token = tok.pieces([tok.unk, tok.bos, tok.eos])
    spec.config.decoder_start_token = tok.pieces([model.start_id])[0]
    spec.config.add_source_bos, spec.config.add_source_eos = False, True
    spec.config.layer_norm_epsilon = 1e-5
    try:
        spec.validate()
        spec.optimize(quantization=quantization)
    except ValueError as error:
        raise ConfigError(f"CTranslate2 does not take this model: {error}") from None
    with atomic.new_folder(folder) as new:
        spec.save(str(new))
        tok.save(new)


def _fill_side(spec: Any, embedding_spec: Any, embedding: nn.Embedding, layers: nn.Module, norm: Any) -> None:
    """Put the weights of the encoder or the decoder into CTranslate2's description of it."""
    embedding_spec.weight = array(embedding.weight)
    spec.scale_embeddings = True
    spec.position_encodings.encodings = sinusoids(POSITIONS, embedding.embedding_dim).numpy()
    if norm is not None:
        _fill_norm(spec.layer_norm, norm)
    for into, layer in zip(spec.layer, cast("Sequence[EncoderLayer | DecoderLayer]", layers), strict=True):
        _fill_linear(into.self_attention.linear[0], layer.attention.qkv)
        _fill_linear(into.self_attention.linear[1], layer.attention.out)
        _fill_norm(into.self_attention.layer_norm, layer.attention_residual.norm)
        if isinstance(layer, DecoderLayer):
            _fill_linear(into.attention.linear[0], layer.cross.q)
            _fill_linear(into.attention.linear[1], layer.cross.kv)
            _fill_linear(into.attention.linear[2], layer.cross.out)
            _fill_norm(into.attention.layer_norm, layer.cross_residual.norm)
        _fill_linear(into.ffn.linear_0, layer.feed_forward.inner)
        _fill_linear(into.ffn.linear_1, layer.feed_forward.out)
        _fill_norm(into.ffn.layer_norm, layer.feed_forward_residual.norm)


def _fill_linear(spec: Any, linear: Linear) -> None:
    spec.weight, spec.bias = array(linear.weight), array(linear.bias)


def _fill_norm(spec: Any, norm: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = array(norm.weight), array(norm.bias)
