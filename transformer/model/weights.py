"""A model's weights as plain named values, and the settings that an engine must support to use them.

An engine is anything that runs a trained model without torch's modules: the 8-bit kernels, CTranslate2, Hugging Face
transformers. Each reads the weights here and declares the settings that it supports, by the names of ModelConfig.

Shape letters: D model width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from transformer.config import ModelConfig
from transformer.model.network import Transformer

Layer = TypeVar("Layer")


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


class Layers(Sequence[Layer]):
    """The weights of layers, each looked up whenever it is taken."""

    def __init__(self, count: int, layer: Callable[[int], Layer]) -> None:
        self.numbers, self.layer = range(count), layer

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, number: Any) -> Any:
        """Return a layer by its number."""
        return self.layer(self.numbers[number])


@dataclass(frozen=True)
class EncoderWeights:
    """The encoder: source embedding (V, D), layers, and the norm after the last one if the model is pre-norm."""

    embedding: Tensor
    layers: Sequence[EncoderLayerWeights]
    norm: NormWeights | None


@dataclass(frozen=True)
class DecoderWeights:
    """The decoder: target embedding (V, D), layers, the norm after the last one, and the output projection (V, D)."""

    embedding: Tensor
    layers: Sequence[DecoderLayerWeights]
    norm: NormWeights | None
    output: LinearWeights


@dataclass(frozen=True)
class ModelWeights:
    """All weights of a model, detached. Tied weights are the same tensor."""

    encoder: EncoderWeights
    decoder: DecoderWeights


def model_weights(model: Transformer) -> ModelWeights:
    """Return the weights of a model, which share memory with it."""
    return weights_of(model.state_dict(), model.cfg)


def weights_of(tensors: Mapping[str, Tensor], cfg: ModelConfig) -> ModelWeights:
    """Return the weights of a model, given by their names in it. Those of a layer are looked up when it is taken."""
    read = _Reader(tensors, cfg)
    target = tensors["target_embedding.weight"]
    source = target if cfg.tied == "all" else tensors["source_embedding.weight"]
    output = tensors["output.weight"] if cfg.tied == "none" else target
    return ModelWeights(
        EncoderWeights(
            source, Layers(cfg.encoder_layers, lambda i: read.encoder_layer(f"encoder.{i}")), read.final_norm("encoder")
        ),
        DecoderWeights(
            target,
            Layers(cfg.decoder_layers, lambda i: read.decoder_layer(f"decoder.{i}")),
            read.final_norm("decoder"),
            LinearWeights(output, tensors["output_bias"] if cfg.output_bias else None),
        ),
    )


class _Reader:
    """Looks weights up by the name of what they are part of."""

    def __init__(self, tensors: Mapping[str, Tensor], cfg: ModelConfig) -> None:
        self.tensors, self.cfg = tensors, cfg

    def encoder_layer(self, name: str) -> EncoderLayerWeights:
        return EncoderLayerWeights(self._self_attention(name), self._feed_forward(name))

    def decoder_layer(self, name: str) -> DecoderLayerWeights:
        q, kv, out = (self._linear(f"{name}.cross.{part}") for part in ("q", "kv", "out"))
        cross = CrossAttentionWeights(q, kv, out, self._norm(f"{name}.cross_residual.norm"))
        return DecoderLayerWeights(self._self_attention(name), self._feed_forward(name), cross)

    def final_norm(self, side: str) -> NormWeights | None:
        return self._norm(f"{side}_norm") if self.cfg.norm == "pre" else None

    def _self_attention(self, name: str) -> SelfAttentionWeights:
        qkv, out = self._linear(f"{name}.attention.qkv"), self._linear(f"{name}.attention.out")
        return SelfAttentionWeights(qkv, out, self._norm(f"{name}.attention_residual.norm"))

    def _feed_forward(self, name: str) -> FeedForwardWeights:
        inner, out = self._linear(f"{name}.feed_forward.inner"), self._linear(f"{name}.feed_forward.out")
        return FeedForwardWeights(inner, out, self._norm(f"{name}.feed_forward_residual.norm"))

    def _linear(self, name: str) -> LinearWeights:
        return LinearWeights(self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"])

    def _norm(self, name: str) -> NormWeights:
        return NormWeights(self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], self.cfg.norm_epsilon)


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
