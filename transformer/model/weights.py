"""A model's weights as plain named values, and the settings that an engine must support to use them.

An engine is anything that runs a trained model without torch's modules: the 8-bit kernels, CTranslate2, Hugging Face
transformers. Each reads the weights here and declares the settings that it supports, by the names of ModelConfig.

Shape letters: D model width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from transformer.config import ModelConfig
from transformer.model.network import DecoderLayer, EncoderLayer, LayerNorm, Transformer
from transformer.model.packed_linear import Linear


@dataclass(frozen=True)
class LinearWeights:
    """A linear layer: matrix (outputs, inputs) and bias (outputs)."""

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class NormWeights:
    """Layer normalization: scale (D), shift (D), and the epsilon added to the variance."""

    weight: Tensor
    bias: Tensor
    epsilon: float


@dataclass(frozen=True)
class SelfAttentionWeights:
    """Self-attention. `qkv` (3 D, D) stacks the projections of queries, keys and values."""

    qkv: LinearWeights
    out: LinearWeights
    norm: NormWeights


@dataclass(frozen=True)
class CrossAttentionWeights:
    """Attention over the encoded source. `kv` (2 D, D) stacks the projections of keys and values."""

    q: LinearWeights
    kv: LinearWeights
    out: LinearWeights
    norm: NormWeights


@dataclass(frozen=True)
class FeedForwardWeights:
    """Two linear layers, to the inner width and back to D, with the activation between them."""

    inner: LinearWeights
    out: LinearWeights
    norm: NormWeights


@dataclass(frozen=True)
class EncoderLayerWeights:
    """One layer of the encoder."""

    attention: SelfAttentionWeights
    feed_forward: FeedForwardWeights


@dataclass(frozen=True)
class DecoderLayerWeights(EncoderLayerWeights):
    """One layer of the decoder."""

    cross: CrossAttentionWeights


@dataclass(frozen=True)
class EncoderWeights:
    """The encoder: source embedding (V, D), layers, and the norm after the last one if the model is pre-norm."""

    embedding: Tensor
    layers: tuple[EncoderLayerWeights, ...]
    norm: NormWeights | None


@dataclass(frozen=True)
class DecoderWeights:
    """The decoder: target embedding (V, D), layers, the norm after the last one, and the output projection (V, D)."""

    embedding: Tensor
    layers: tuple[DecoderLayerWeights, ...]
    norm: NormWeights | None
    output: LinearWeights


@dataclass(frozen=True)
class ModelWeights:
    """All weights of a model, detached. Tied weights are the same tensor."""

    encoder: EncoderWeights
    decoder: DecoderWeights


def model_weights(model: Transformer) -> ModelWeights:
    """Return the weights of a model, which share memory with it."""
    decoder_layers = cast("Sequence[DecoderLayer]", model.decoder)
    bias = model.output_bias
    return ModelWeights(
        EncoderWeights(
            model.encoder_embedding.weight.detach(),
            tuple(
                EncoderLayerWeights(_self_attention(layer), _feed_forward(layer))
                for layer in cast("Sequence[EncoderLayer]", model.encoder)
            ),
            _final_norm(model.encoder_norm),
        ),
        DecoderWeights(
            model.target_embedding.weight.detach(),
            tuple(
                DecoderLayerWeights(_self_attention(layer), _feed_forward(layer), _cross_attention(layer))
                for layer in decoder_layers
            ),
            _final_norm(model.decoder_norm),
            LinearWeights(model.output_weight.detach(), None if bias is None else bias.detach()),
        ),
    )


def _self_attention(layer: EncoderLayer | DecoderLayer) -> SelfAttentionWeights:
    attention = layer.attention
    return SelfAttentionWeights(_linear(attention.qkv), _linear(attention.out), _norm(layer.attention_residual.norm))


def _cross_attention(layer: DecoderLayer) -> CrossAttentionWeights:
    cross = layer.cross
    return CrossAttentionWeights(
        _linear(cross.q), _linear(cross.kv), _linear(cross.out), _norm(layer.cross_residual.norm)
    )


def _feed_forward(layer: EncoderLayer | DecoderLayer) -> FeedForwardWeights:
    feed_forward = layer.feed_forward
    norm = _norm(layer.feed_forward_residual.norm)
    return FeedForwardWeights(_linear(feed_forward.inner), _linear(feed_forward.out), norm)


def _linear(linear: Linear) -> LinearWeights:
    return LinearWeights(linear.weight.detach(), linear.bias.detach())


def _norm(norm: LayerNorm) -> NormWeights:
    return NormWeights(norm.weight.detach(), norm.bias.detach(), norm.eps)


def _final_norm(norm: LayerNorm | None) -> NormWeights | None:
    return None if norm is None else _norm(norm)


@dataclass(frozen=True)
class Accepted:
    """The values of a setting that an engine supports."""

    test: Callable[[Any, ModelConfig], bool]
    """Takes the value and all settings, since support for one may depend on another."""
    words: str
    """The supported values as text, which follows "is …, not" in errors."""


ANY = Accepted(lambda _value, _cfg: True, "anything")
"""Accepts any value."""
TRAINING_ONLY = {"dropout": ANY, "attention_dropout": ANY, "activation_dropout": ANY}
"""Settings that have no effect after training."""


def one_of(*values: Any) -> Accepted:
    """Accept the listed values."""
    return Accepted(lambda value, _: value in values, " or ".join(map(str, values)))


def multiple_of(factor: int) -> Accepted:
    """Accept the multiples of a number."""
    return Accepted(lambda value, _: value % factor == 0, f"a multiple of {factor}")


def unsupported(cfg: ModelConfig, engine: Mapping[str, Accepted]) -> str | None:
    """Return a description of the first setting that an engine does not support, or None if it supports all.

    `engine` has the accepted values by the names of ModelConfig's fields. For a field that it does not list, only the
    default is accepted. So a new setting is refused, not ignored, until the engine supports it.
    """
    for field in dataclasses.fields(cfg):
        value = getattr(cfg, field.name)
        if field.name not in engine:
            if value != field.default:
                return f"model.{field.name} is {value}, not its default, the only value supported"
        elif not engine[field.name].test(value, cfg):
            return f"model.{field.name} is {value}, not {engine[field.name].words}"
    return None
