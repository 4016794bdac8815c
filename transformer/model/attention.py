"""Multi-head attention (section 3.2 of the paper), and the biases that mask padding and future positions.

Shape letters: B sentences, S source positions, T target positions, K hypotheses of a sentence, H heads, E width of
a head, D model width, P places in the KV cache (K for each position).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer.config import ModelConfig
from transformer.model import kernels
from transformer.model.decoder_state import Cache
from transformer.model.dropout import Draws, dropout
from transformer.model.packed_linear import Linear

GUIDED = 0
"""The head of the last decoder layer that word alignments guide, as in Marian."""


class SelfAttention(nn.Module):
    """Multi-head self-attention (3.2.2). One projection computes q, k and v."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.heads, self.dropout = cfg.heads, cfg.attention_dropout
        self.qkv = Linear(cfg.width, 3 * cfg.width, blocks=3)
        self.out = Linear(cfg.width, cfg.width)

    def forward(self, x_BTD: Tensor, bias: Tensor | None, draws: Draws | None = None) -> Tensor:
        """Attend to the positions that the bias lets be seen, or without one to those that are not later."""
        q, k, v = split_heads(self.qkv(x_BTD), self.heads, 3)
        rate = self.dropout if self.training else 0.0
        return self.out(attend(q, k, v, bias, rate, draws, causal=bias is None))

    def step(self, x_BKD: Tensor, cache: Cache, bias_B1KP: Tensor | None) -> Tensor:
        """Attend from the new position of each hypothesis to the cached positions and to itself."""
        batch, beams, width = x_BKD.shape
        heads_BK3HE = self.qkv(x_BKD).view(batch, beams, 3, self.heads, width // self.heads)
        q_BHKE, kv_2BHKE = heads_BK3HE[:, :, 0].transpose(1, 2), heads_BK3HE[:, :, 1:].permute(2, 0, 3, 1, 4)
        return self.out(attend_by_products(q_BHKE, *cache.extend(kv_2BHKE), bias_B1KP))


class CrossAttention(nn.Module):
    """Multi-head attention of the target over the source. One projection computes k and v."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.heads, self.dropout = cfg.heads, cfg.attention_dropout
        self.q = Linear(cfg.width, cfg.width)
        self.kv = Linear(cfg.width, 2 * cfg.width, blocks=2)
        self.out = Linear(cfg.width, cfg.width)

    def memory(self, memory_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values (B, H, S, E) of the encoded source."""
        k, v = split_heads(self.kv(memory_BSD), self.heads, 2)
        return k, v

    def forward(self, x_BTD: Tensor, memory: tuple[Tensor, Tensor], bias: Tensor, draws: Draws | None = None) -> Tensor:
        (q,) = split_heads(self.q(x_BTD), self.heads, 1)
        rate = self.dropout if self.training else 0.0
        return self.out(attend(q, *memory, bias, rate, draws))

    def guided_log_weights(self, x_BTD: Tensor, memory: tuple[Tensor, Tensor], bias_B11S: Tensor) -> Tensor:
        """Return the logarithm of the attention weights (B, T, S) of the head that word alignments guide, in float32.

        It is head `GUIDED` of the last layer. Its query is computed once more, which costs 1 / H of one projection.
        """
        size = x_BTD.shape[-1] // self.heads
        rows = slice(GUIDED * size, (GUIDED + 1) * size)
        weight, bias = self.q.weight[rows].to(x_BTD.dtype), self.q.bias[rows].to(x_BTD.dtype)
        q_BTE = F.linear(x_BTD, weight, bias)
        scores_BTS = (q_BTE * size**-0.5) @ memory[0][:, GUIDED].transpose(-1, -2)
        return (scores_BTS.float() + bias_B11S[:, 0].float()).log_softmax(-1)

    def step(self, x_BKD: Tensor, memory: tuple[Tensor, Tensor], bias_B11S: Tensor) -> Tensor:
        """Attend from one position of each hypothesis to the source."""
        (q_BHKE,) = split_heads(self.q(x_BKD), self.heads, 1)
        return self.out(attend_by_products(q_BHKE, *memory, bias_B11S))


def split_heads(x_BTD: Tensor, heads: int, parts: int) -> tuple[Tensor, ...]:
    """Split (B, T, parts * D) into `parts` tensors of shape (B, H, T, E)."""
    batch, length, width = x_BTD.shape
    return x_BTD.view(batch, length, parts, heads, width // parts // heads).permute(2, 0, 3, 1, 4).unbind(0)


def attend(
    q_BHTE: Tensor,
    k_BHSE: Tensor,
    v_BHSE: Tensor,
    bias: Tensor | None,
    rate: float,
    draws: Draws | None = None,
    causal: bool = False,
) -> Tensor:
    """Return scaled dot-product attention (3.2.1) with joined heads: (B, T, D). `bias` is added to the scores.

    `causal` masks later positions; there is no bias then. In training two matrix products and a softmax are used: on a
    CPU they are faster in bfloat16 at sentence lengths (scripts/bench/micro_benchmarks.py), and on a GPU their
    gradients have the same bits each time, unlike those of fused kernels. Those are used without gradients, and if
    `draws.fused` asks for them.
    """
    fused = draws.fused and rate == 0 if draws is not None else not torch.is_grad_enabled()
    if fused and kernels.on_gpu(q_BHTE):
        x_BHTE = F.scaled_dot_product_attention(q_BHTE, k_BHSE, v_BHSE, bias, dropout_p=rate, is_causal=causal)
        return x_BHTE.transpose(1, 2).flatten(2)
    bias = causal_bias(q_BHTE.shape[2], q_BHTE) if causal else bias
    return attend_by_products(q_BHTE, k_BHSE, v_BHSE, bias, rate, draws)


def attend_by_products(
    q_BHTE: Tensor, k_BHSE: Tensor, v_BHSE: Tensor, bias: Tensor | None, rate: float = 0.0, draws: Draws | None = None
) -> Tensor:
    """Return what `attend` returns, by two matrix products and a softmax on any device.

    Decoding uses it on a GPU too: a fused kernel may plan for each new shape, and the shapes of decoding change.
    """
    x_BHTE = dropout(attention_weights(q_BHTE, k_BHSE, bias), rate, rate > 0, draws) @ v_BHSE
    return x_BHTE.transpose(1, 2).flatten(2)


def attention_weights(q_BHTE: Tensor, k_BHSE: Tensor, bias: Tensor | None) -> Tensor:
    """Return the weights (B, H, T, S) of scaled dot-product attention (3.2.1): the softmax of the scores."""
    scores_BHTS = (q_BHTE * q_BHTE.shape[-1] ** -0.5) @ k_BHSE.transpose(-1, -2)
    return (scores_BHTS if bias is None else scores_BHTS + bias).softmax(-1)


def causal_bias(length: int, like: Tensor) -> Tensor:
    """Return a bias (T, T) that is minus infinity for later positions."""
    return torch.full((length, length), -math.inf, dtype=like.dtype, device=like.device).triu(1)


def padding_bias(is_pad_BS: Tensor, like: Tensor) -> Tensor:
    """Return a bias (B, 1, 1, S) that is minus infinity at padding."""
    zero = torch.zeros(is_pad_BS.shape, dtype=like.dtype, device=like.device)
    return zero.masked_fill_(is_pad_BS, -math.inf)[:, None, None, :]
