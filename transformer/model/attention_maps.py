"""The attention weights of each layer and head, for people to look at.

Shape letters: B sentences, S source positions, T target positions, H heads, E width of
a head, D model width, L positions.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor

from transformer.model.attention import CrossAttention, SelfAttention, attention_weights, causal_bias, split_heads
from transformer.model.network import Transformer


class AttentionMaps(NamedTuple):
    """Attention weights, from 0 to 1; each row sums to 1. The first dimension of each tensor is the layer."""

    encoder: Tensor
    """(layers, B, H, S, S): from each source position to the source."""
    decoder: Tensor
    """(layers, B, H, T, T): from each target position to itself and those before it."""
    cross: Tensor
    """(layers, B, H, T, S): from each target position to the source."""


@torch.no_grad()
def attention_maps(model: Transformer, source_BS: Tensor, input_BT: Tensor) -> AttentionMaps:
    """Return the attention weights with which the model, in `eval` mode, reads a source and a target's prefixes.

    The layers are watched while the network runs as always, and the weights are computed once more from what goes into
    each: softmax(QK) of section 3.2.1. So the normal path knows nothing about it.
    """
    found: dict[Any, Tensor] = {}

    def watch(module: Any, args: tuple[Any, ...]) -> None:
        found[module] = _cross(module, *args) if isinstance(module, CrossAttention) else _self(module, *args)

    layers: list[Any] = [*model.encoder, *model.decoder]
    with ExitStack() as stack:
        for module in [layer.attention for layer in layers] + [layer.cross for layer in model.decoder]:
            stack.callback(module.register_forward_pre_hook(watch).remove)
        model.hidden(source_BS, input_BT)
    return AttentionMaps(
        *(
            torch.stack([found[getattr(layer, kind)] for layer in part]).float()
            for part, kind in ((model.encoder, "attention"), (model.decoder, "attention"), (model.decoder, "cross"))
        )
    )


@torch.no_grad()
def cross_attention(model: Transformer, source_BS: Tensor, input_BT: Tensor, guided: bool) -> Tensor:
    """Return the share of attention (B, T, S) that each target position gives to each source position, in float32.

    `guided`: of the head that learned from word alignments, else the mean over layers and heads.
    """
    if not guided:
        return attention_maps(model, source_BS, input_BT).cross.mean((0, 2))
    found: list[Tensor] = []
    model.hidden(source_BS, input_BT, found.append)
    return found[0].exp()


def _self(module: SelfAttention, x_BLD: Tensor, bias: Tensor | None, *_: Any) -> Tensor:
    q_BHLE, k_BHLE, _v = split_heads(module.qkv(x_BLD), module.heads, 3)
    return attention_weights(q_BHLE, k_BHLE, causal_bias(x_BLD.shape[1], x_BLD) if bias is None else bias)


def _cross(module: CrossAttention, x_BTD: Tensor, memory: tuple[Tensor, Tensor], bias: Tensor, *_: Any) -> Tensor:
    (q_BHTE,) = split_heads(module.q(x_BTD), module.heads, 1)
    return attention_weights(q_BHTE, memory[0], bias)
