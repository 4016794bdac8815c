"""Quantizes a model's weights to 8 bits, in the structures that the kernels read.

Each output of a product has its scale, the largest weight divided by 127. Norms and embeddings stay float32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer.config import ModelConfig
from transformer.decoding.int8.structures import ACTIVATIONS, Layer, LayerNorm, LayerStack, QuantizedLinear
from transformer.model.weights import (
    DecoderLayerWeights,
    DecoderWeights,
    EncoderLayerWeights,
    EncoderWeights,
    LinearWeights,
    ModelWeights,
    NormWeights,
)

OUTPUT_BLOCK = 32
"""Outputs that the kernels compute at once. The outputs of a matrix are padded to a multiple."""


@dataclass(frozen=True)
class QuantizedModel:
    """The encoder, the decoder, and each decoder layer's product for keys and values of the source."""

    encoder: LayerStack
    decoder: LayerStack
    cross_kv: Any
    """A ctypes array of QuantizedLinear."""
    kept: list[Any]
    """The memory that the addresses in the structures point to."""


def quantize(weights: ModelWeights, cfg: ModelConfig, group: int) -> QuantizedModel:
    """Return an 8-bit copy of the weights, for kernels that multiply `group` inputs at once."""
    quantizer = _Quantizer(group)
    cross_kv = [quantizer.linear(layer.cross.kv) for layer in weights.decoder.layers]
    return QuantizedModel(
        quantizer.stack(weights.encoder, cfg, QuantizedLinear()),
        quantizer.stack(weights.decoder, cfg, quantizer.linear(weights.decoder.output)),
        (QuantizedLinear * len(cross_kv))(*cross_kv),
        quantizer.kept,
    )


class _Quantizer:
    """Builds structures of weights, and keeps the memory alive that they point to."""

    def __init__(self, group: int) -> None:
        self.kept: list[Any] = []
        self.group = group

    def address(self, values: Tensor) -> int:
        """Copy values, and return the address of the copy."""
        copy = values.contiguous().clone()
        self.kept.append(copy)
        return copy.data_ptr()

    def stack(self, weights: EncoderWeights | DecoderWeights, cfg: ModelConfig, output: QuantizedLinear) -> LayerStack:
        layers = self.layers(weights.layers)
        return LayerStack(
            width=cfg.width,
            heads=cfg.heads,
            layer_count=len(layers),
            feed_forward=cfg.feed_forward,
            vocabulary=len(weights.embedding),
            post_norm=cfg.norm == "post",
            activation=ACTIVATIONS.index(cfg.activation),
            epsilon=weights.layers[0].attention.norm.epsilon,
            embedding_scale=cfg.width**0.5,
            layers=ctypes.addressof(layers),
            final_norm=LayerNorm() if weights.norm is None else self.norm(weights.norm),
            output=output,
            embedding=self.address(weights.embedding.float()),
        )

    def layers(self, weights: Sequence[EncoderLayerWeights]) -> Any:
        """Return a ctypes array of layers."""
        layers = (Layer * len(weights))(*map(self.layer, weights))
        self.kept.append(layers)
        return layers

    def layer(self, weights: EncoderLayerWeights) -> Layer:
        layer = Layer(
            qkv=self.linear(weights.attention.qkv),
            self_out=self.linear(weights.attention.out),
            inner=self.linear(weights.feed_forward.inner),
            outer=self.linear(weights.feed_forward.out),
            self_norm=self.norm(weights.attention.norm),
            feed_forward_norm=self.norm(weights.feed_forward.norm),
        )
        if isinstance(weights, DecoderLayerWeights):
            layer.cross_q = self.linear(weights.cross.q)
            layer.cross_out = self.linear(weights.cross.out)
            layer.cross_norm = self.norm(weights.cross.norm)
        return layer

    def norm(self, norm: NormWeights) -> LayerNorm:
        return LayerNorm(self.address(norm.weight.float()), self.address(norm.bias.float()))

    def linear(self, linear: LinearWeights) -> QuantizedLinear:
        """Quantize a matrix (outputs, inputs) and store it in blocks of 16 outputs by `group` inputs."""
        outputs, inputs = linear.weight.shape
        weight = linear.weight.float()
        bias = torch.zeros(outputs) if linear.bias is None else linear.bias.float()
        scale = weight.abs().amax(1) / 127
        rounded = (weight / scale.clamp_min(1e-30)[:, None]).round()
        padding = -outputs % OUTPUT_BLOCK
        rounded, scale = F.pad(rounded, (0, 0, 0, padding)), F.pad(scale, (0, padding))
        blocks = rounded.to(torch.int8).view(-1, 16, inputs // self.group, self.group).transpose(1, 2)
        sums = rounded.sum(1).mul(128).to(torch.int32)
        bias = F.pad(bias, (0, padding), value=-float("inf"))  # padded ids get zero probability
        return QuantizedLinear(inputs, outputs + padding, *map(self.address, (blocks, scale, bias, sums)))
