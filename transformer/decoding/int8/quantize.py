"""Quantizes a model's weights to 8 bits, in the structures that the kernels read.

Each output of a product has its scale, the largest weight divided by 127. Norms and embeddings stay float32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
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
ROWS = 128
"""Rows of a matrix that are quantized at once, so that they stay in the cache. A multiple of 16."""


@dataclass(frozen=True)
class QuantizedModel:
    """The encoder, the decoder, and each decoder layer's product for keys and values of the source."""

    encoder: LayerStack
    decoder: LayerStack
    cross_kv: Any
    """A ctypes array of QuantizedLinear."""
    kept: list[Any]
    """The memory that the addresses in the structures point to."""


def quantize(weights: ModelWeights, cfg: ModelConfig, group: int, constant: bool = False) -> QuantizedModel:
    """Return an 8-bit copy of the weights, for kernels that multiply `group` inputs at once.

    If the weights are `constant`, those that stay float32 are used without a copy.
    """
    quantizer = _Quantizer(group, constant)
    encoder = quantizer.stack(weights.encoder, cfg, QuantizedLinear())
    decoder = quantizer.stack(weights.decoder, cfg, quantizer.linear(weights.decoder.output))
    cross_kv = quantizer.cross_kv
    return QuantizedModel(encoder, decoder, (QuantizedLinear * len(cross_kv))(*cross_kv), quantizer.kept)


class _Quantizer:
    """Builds structures of weights, and keeps the memory alive that they point to."""

    def __init__(self, group: int, constant: bool) -> None:
        self.group, self.constant = group, constant
        self.kept: list[Any] = []
        self.cross_kv: list[QuantizedLinear] = []
        self._embeddings: dict[int, int] = {}

    def keep(self, values: Tensor) -> int:
        """Return the address of values, which are kept alive."""
        self.kept.append(values)
        return values.data_ptr()

    def floats(self, values: Tensor) -> int:
        """Return the address of values as they are, or of a copy if they may change."""
        plain = values.float().contiguous()
        return self.keep(plain if self.constant or plain is not values else values.clone())

    def embedding(self, values: Tensor) -> int:
        """Return the address of an embedding, of which there is one copy if both sides share it."""
        if values.data_ptr() not in self._embeddings:
            self._embeddings[values.data_ptr()] = self.floats(values)
        return self._embeddings[values.data_ptr()]

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
            epsilon=cfg.norm_epsilon,
            embedding_scale=cfg.width**0.5,
            layers=ctypes.addressof(layers),
            final_norm=LayerNorm() if weights.norm is None else self.norm(weights.norm),
            output=output,
            embedding=self.embedding(weights.embedding),
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
            self.cross_kv.append(self.linear(weights.cross.kv))
            layer.cross_q = self.linear(weights.cross.q)
            layer.cross_out = self.linear(weights.cross.out)
            layer.cross_norm = self.norm(weights.cross.norm)
        return layer

    def norm(self, norm: NormWeights) -> LayerNorm:
        return LayerNorm(self.floats(norm.weight), self.floats(norm.bias))

    def linear(self, linear: LinearWeights) -> QuantizedLinear:
        """Quantize a matrix (outputs, inputs) and store it in blocks of 16 outputs by `group` inputs.

        NumPy computes in this thread. The threads of torch would wait for each other at each operation.
        """
        outputs, inputs = linear.weight.shape
        padded = outputs + -outputs % OUTPUT_BLOCK
        group = self.group
        blocks = torch.zeros((padded // 16, inputs // group, 16, group), dtype=torch.int8)
        scale, sums = torch.zeros(padded), torch.zeros(padded, dtype=torch.int32)
        bias = torch.full((padded,), -float("inf"))  # padded ids get zero probability
        bias[:outputs] = 0 if linear.bias is None else linear.bias
        for start in range(0, outputs, ROWS):
            rows = slice(start, min(start + ROWS, outputs))
            weight = linear.weight[rows].float().numpy()
            largest = np.abs(weight).max(1) / np.float32(127)
            rounded = np.zeros((len(weight) + -len(weight) % 16, inputs), np.int8)
            with np.errstate(invalid="ignore"):  # weights that are not finite, whose scale is not either
                rounded[: len(weight)] = np.rint(weight / np.maximum(largest, np.float32(1e-30))[:, None])
            tiles = rounded.reshape(-1, 16, inputs // group, group).transpose(0, 2, 1, 3)
            blocks.numpy()[start // 16 : start // 16 + len(tiles)] = tiles
            scale.numpy()[rows] = largest
            sums.numpy()[rows] = rounded[: len(weight)].sum(1, dtype=np.int32) * 128
        return QuantizedLinear(inputs, padded, *map(self.keep, (blocks, scale, bias, sums)))
