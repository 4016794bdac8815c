"""The encoder-decoder network of "Attention Is All You Need" (Vaswani et al. 2017, section 3).

Shape letters: B sentences, S source positions, T target positions, N hypotheses (a sentence's beams side by
side), D model width, H heads, E width of a head, V vocabulary. Callers pass ids; masks are made here, from
the id of padding. The arithmetic runs in `compute_dtype`, the weights keep their own.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer.config import ModelConfig
from transformer.linear import Layouts, Linear, affine


class Transformer(nn.Module):
    """Source ids and target ids to the distribution of the next target id."""

    positions_PD: Tensor

    def __init__(self, cfg: ModelConfig, sizes: tuple[int, int], pad: int, start: int, max_length: int) -> None:
        """Take the sizes of both vocabularies, the ids of padding and of the decoder's first token."""
        super().__init__()
        self.cfg, self.pad, self.start_id = cfg, pad, start
        self.compute_dtype = torch.float32
        self.target_embedding = nn.Embedding(sizes[1], cfg.width)
        if cfg.tied != "all":
            self.source_embedding = nn.Embedding(sizes[0], cfg.width)
        if cfg.tied == "none":
            self.output = nn.Embedding(sizes[1], cfg.width)
        self.output_layouts = Layouts()
        self.output_bias = nn.Parameter(torch.zeros(sizes[1])) if cfg.output_bias else None
        self.encoder = nn.ModuleList(EncoderLayer(cfg) for _ in range(cfg.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(cfg) for _ in range(cfg.decoder_layers))
        self.encoder_norm = LayerNorm(cfg.width) if cfg.norm == "pre" else None
        self.decoder_norm = LayerNorm(cfg.width) if cfg.norm == "pre" else None
        self.register_buffer("positions_PD", sinusoids(max_length + 1, cfg.width), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=self.cfg.width**-0.5)
            elif isinstance(module, Linear):
                for block in module.weight.split(module.block):  # q, k and v side by side are three matrices
                    nn.init.xavier_uniform_(block)
                nn.init.zeros_(module.bias)

    def layouts(self) -> list[tuple[Layouts, Tensor]]:
        """Return what holds the layouts of each weight that is multiplied by, with that weight."""
        found = [(each.layouts, each.weight) for each in self.modules() if isinstance(each, Linear)]
        return [*found, (self.output_layouts, self.output_weight)]

    @property
    def output_weight(self) -> Tensor:
        """The matrix from width to target vocabulary, of shape (V, D)."""
        return self.output.weight if self.cfg.tied == "none" else self.target_embedding.weight

    def forward(self, source_BS: Tensor, input_BT: Tensor) -> Tensor:
        """Return logits (B, T, V) of the id that follows each prefix of `input_BT`."""
        return self.project(self.hidden(source_BS, input_BT))

    def hidden(self, source_BS: Tensor, input_BT: Tensor) -> Tensor:
        """Return the decoder's last layer (B, T, D): the logits before the output projection."""
        memory_BSD, bias_B11S = self.encode(source_BS)
        x_BTD = self._embed(self.target_embedding, input_BT, 0)
        causal_TT = causal_bias(input_BT.shape[1], x_BTD)
        for layer in cast("Sequence[DecoderLayer]", self.decoder):
            x_BTD = layer(x_BTD, causal_TT, memory_BSD, bias_B11S)
        return self.decoder_norm(x_BTD) if self.decoder_norm is not None else x_BTD

    def project(self, hidden: Tensor) -> Tensor:
        """Return logits (…, V) of hidden states (…, D)."""
        return affine(hidden, self.output_weight, self.output_bias, self.output_layouts)

    def encode(self, source_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder's last layer (B, S, D) and what to add to attention scores over it (B, 1, 1, S)."""
        embedding = self.target_embedding if self.cfg.tied == "all" else self.source_embedding
        x_BSD = self._embed(embedding, source_BS, 0)
        bias_B11S = padding_bias(source_BS == self.pad, x_BSD)
        for layer in cast("Sequence[EncoderLayer]", self.encoder):
            x_BSD = layer(x_BSD, bias_B11S)
        return (self.encoder_norm(x_BSD) if self.encoder_norm is not None else x_BSD), bias_B11S

    def start(self, source_BS: Tensor, beams: int) -> Decoding:
        """Encode the sources and return the state from which `beams` hypotheses each are decoded."""
        memory_BSD, bias_B11S = self.encode(source_BS)
        layers = cast("Sequence[DecoderLayer]", self.decoder)
        return Decoding(self, [layer.cross.memory(memory_BSD) for layer in layers], bias_B11S, beams)

    def step(self, last_BK: Tensor, state: Decoding) -> Tensor:
        """Return logits (B, K, V) of the id after each hypothesis's last; extends the state."""
        x_BKD = self._embed(self.target_embedding, last_BK, state.position, along=0)
        bias_B1KP = state.visible()
        for layer, past, memory in zip(
            cast("Sequence[DecoderLayer]", self.decoder), state.past, state.memory, strict=True
        ):
            x_BKD = layer.step(x_BKD, past, bias_B1KP, memory, state.bias_B11S)
        x_BKD = self.decoder_norm(x_BKD) if self.decoder_norm is not None else x_BKD
        return self.project(x_BKD)

    def encoding(self, position: int, count: int = 1) -> Tensor:
        """Return the encodings (count, D) of positions from `position` on (3.5)."""
        end = position + count
        table = self.positions_PD  # one table throughout, as another thread may set another
        if end > len(table):  # longer than ever before: the table has no end
            table = self.positions_PD = sinusoids(2 * end, self.cfg.width).to(table)
        return table[position:end]

    def _embed(self, embedding: nn.Embedding, ids: Tensor, position: int, along: int = 1) -> Tensor:
        """Scaled embedding plus sinusoid (3.4, 3.5), from `position` on along columns, or the same for all."""
        encoding = self.encoding(position, ids.shape[1] if along else 1)
        x = F.embedding(ids, embedding.weight) * math.sqrt(self.cfg.width) + encoding
        return dropout(x.to(self.compute_dtype), self.cfg.dropout, self.training)


class Decoding:
    """What a search goes on from: the encoded sources, and keys and values of what is already decoded.

    A sentence's K hypotheses share one pool of keys and values, where each position has K places (P = K * positions).
    Who follows whom stands in a mask alone, so that nothing is copied when hypotheses are replaced: a query sees the
    places of its own ancestors. Hypotheses lie side by side: row n belongs to sentence n // K.
    """

    def __init__(self, model: Transformer, memory: list[tuple[Tensor, Tensor]], bias: Tensor, beams: int) -> None:
        """Take each decoder layer's keys and values (B, H, S, E) of the source."""
        self.model, self.memory, self.bias_B11S, self.beams = model, memory, bias, beams
        self.past = [Pool(*pair, beams) for pair in memory]
        self.ancestors_BKP = bias.new_zeros(len(bias), beams, 0)
        self.position = 0

    def visible(self) -> Tensor | None:
        """Return what to add to attention scores (B, 1, K, P) so that each hypothesis sees its ancestors and itself."""
        if self.beams == 1:
            return None
        own_KK = self.bias_B11S.new_full((self.beams, self.beams), -math.inf).fill_diagonal_(0.0)
        self.ancestors_BKP = torch.cat((self.ancestors_BKP, own_KK.expand(len(self.ancestors_BKP), -1, -1)), dim=2)
        return self.ancestors_BKP[:, None]

    def step(self, last_N: Tensor) -> Tensor:
        """Return logits (N, V) of the id after each hypothesis's last."""
        logits_BKV = self.model.step(last_N.view(-1, self.beams), self)
        self.position += 1
        return logits_BKV.flatten(0, 1)

    def select(self, rows_N: Tensor, sentences_B: Tensor | None) -> None:
        """Go on with these hypotheses; `sentences_B` names the sentences that stay, None if all do."""
        if self.beams > 1:
            self.ancestors_BKP = self.ancestors_BKP.flatten(0, 1).index_select(0, rows_N).unflatten(0, (-1, self.beams))
        if sentences_B is not None:
            self.memory = [(k.index_select(0, sentences_B), v.index_select(0, sentences_B)) for k, v in self.memory]
            self.bias_B11S = self.bias_B11S.index_select(0, sentences_B)
            for pool in self.past:
                pool.select(sentences_B)


class Pool:
    """Keys and values of one layer, for all hypotheses of each sentence; grows by doubling."""

    def __init__(self, like_BHSE: Tensor, _: Tensor, beams: int) -> None:
        batch, heads, _s, width = like_BHSE.shape
        self.beams, self.used = beams, 0
        self.kv_2BHPE = like_BHSE.new_empty(2, batch, heads, 16 * beams, width)

    def extend(self, k_BHKE: Tensor, v_BHKE: Tensor) -> tuple[Tensor, Tensor]:
        """Add a position and return all keys and all values (B, H, P, E)."""
        end = self.used + self.beams
        if end > self.kv_2BHPE.shape[3]:
            self.kv_2BHPE = torch.cat((self.kv_2BHPE, torch.empty_like(self.kv_2BHPE)), dim=3)
        self.kv_2BHPE[0, :, :, self.used : end] = k_BHKE
        self.kv_2BHPE[1, :, :, self.used : end] = v_BHKE
        self.used = end
        k_BHPE, v_BHPE = self.kv_2BHPE[:, :, :, :end]
        return k_BHPE, v_BHPE

    def select(self, sentences_B: Tensor) -> None:
        """Keep these sentences."""
        self.kv_2BHPE = self.kv_2BHPE.index_select(1, sentences_B)


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each inside a residual connection (3.1)."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.attention, self.attention_residual = SelfAttention(cfg), Residual(cfg)
        self.feed_forward, self.feed_forward_residual = FeedForward(cfg), Residual(cfg)

    def forward(self, x_BSD: Tensor, bias_B11S: Tensor) -> Tensor:
        norm, add = self.attention_residual.before, self.attention_residual.after
        x_BSD = add(x_BSD, self.attention(norm(x_BSD), bias_B11S))
        norm, add = self.feed_forward_residual.before, self.feed_forward_residual.after
        return add(x_BSD, self.feed_forward(norm(x_BSD)))


class DecoderLayer(nn.Module):
    """Self-attention, attention over the source, and feed-forward (3.1)."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.attention, self.attention_residual = SelfAttention(cfg), Residual(cfg)
        self.cross, self.cross_residual = CrossAttention(cfg), Residual(cfg)
        self.feed_forward, self.feed_forward_residual = FeedForward(cfg), Residual(cfg)

    def forward(self, x_BTD: Tensor, causal_TT: Tensor, memory_BSD: Tensor, bias_B11S: Tensor) -> Tensor:
        norm, add = self.attention_residual.before, self.attention_residual.after
        x_BTD = add(x_BTD, self.attention(norm(x_BTD), causal_TT))
        return self._rest(x_BTD, self.cross.memory(memory_BSD), bias_B11S)

    def step(
        self, x_BKD: Tensor, past: Pool, bias_B1KP: Tensor | None, memory: tuple[Tensor, Tensor], bias_B11S: Tensor
    ) -> Tensor:
        """Decode one position of each hypothesis; what is decoded goes to its past."""
        norm, add = self.attention_residual.before, self.attention_residual.after
        x_BKD = add(x_BKD, self.attention.step(norm(x_BKD), past, bias_B1KP))
        return self._rest(x_BKD, memory, bias_B11S)

    def _rest(self, x_BTD: Tensor, memory: tuple[Tensor, Tensor], bias_B11S: Tensor) -> Tensor:
        norm, add = self.cross_residual.before, self.cross_residual.after
        x_BTD = add(x_BTD, self.cross(norm(x_BTD), memory, bias_B11S))
        norm, add = self.feed_forward_residual.before, self.feed_forward_residual.after
        return add(x_BTD, self.feed_forward(norm(x_BTD)))


class Residual(nn.Module):
    """Where the norm sits: LayerNorm(x + dropout(f(x))) as in 3.1 and 5.4, or x + dropout(f(LayerNorm(x)))."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.norm, self.post, self.dropout = LayerNorm(cfg.width), cfg.norm == "post", cfg.dropout

    def before(self, x: Tensor) -> Tensor:
        """Return what the sub-layer reads."""
        return x if self.post else self.norm(x)

    def after(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the sub-layer's input and its output `y`."""
        total = add_dropped(x, y, self.dropout, self.training)
        return self.norm(total) if self.post else total


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence over itself (3.2.2); one projection makes q, k and v."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.heads, self.dropout = cfg.heads, cfg.attention_dropout
        self.qkv = Linear(cfg.width, 3 * cfg.width, blocks=3)
        self.out = Linear(cfg.width, cfg.width)

    def forward(self, x_BTD: Tensor, bias: Tensor) -> Tensor:
        q, k, v = split_heads(self.qkv(x_BTD), self.heads, 3)
        rate = self.dropout if self.training else 0.0
        return self.out(attend(q, k, v, bias, rate))

    def step(self, x_BKD: Tensor, past: Pool, bias_B1KP: Tensor | None) -> Tensor:
        """Attend from one new position of each hypothesis over those before it and itself."""
        q, k, v = split_heads(self.qkv(x_BKD), self.heads, 3)
        return self.out(attend(q, *past.extend(k, v), bias_B1KP, 0.0))


class CrossAttention(nn.Module):
    """Multi-head attention of the target over the source; one projection makes k and v."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.heads, self.dropout = cfg.heads, cfg.attention_dropout
        self.q = Linear(cfg.width, cfg.width)
        self.kv = Linear(cfg.width, 2 * cfg.width, blocks=2)
        self.out = Linear(cfg.width, cfg.width)

    def memory(self, memory_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values (B, H, S, E) of the encoded source."""
        k, v = split_heads(self.kv(memory_BSD), self.heads, 2)
        return k, v

    def forward(self, x_BTD: Tensor, memory: tuple[Tensor, Tensor], bias_B11S: Tensor) -> Tensor:
        (q,) = split_heads(self.q(x_BTD), self.heads, 1)
        rate = self.dropout if self.training else 0.0
        return self.out(attend(q, *memory, bias_B11S, rate))


class FeedForward(nn.Module):
    """Two projections with a non-linearity between them (3.3)."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.inner = Linear(cfg.width, cfg.feed_forward)
        self.out = Linear(cfg.feed_forward, cfg.width)
        kinds: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "swish": F.silu}
        self.activation = kinds.get(cfg.activation)  # None is relu, which is part of the product
        self.dropout = cfg.activation_dropout

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x, relu=True) if self.activation is None else self.activation(self.inner(x))
        return self.out(dropout(y, self.dropout, self.training))


class LayerNorm(nn.LayerNorm):
    """Layer normalisation of an input in any dtype; sums are float32 inside."""

    def forward(self, x: Tensor) -> Tensor:
        dtype = x.dtype if x.is_cuda else self.weight.dtype  # on CUDA input and weights must have one
        return F.layer_norm(x, self.normalized_shape, self.weight.to(dtype), self.bias.to(dtype), self.eps)


def split_heads(x_BTD: Tensor, heads: int, parts: int) -> tuple[Tensor, ...]:
    """Cut (B, T, parts * D) into `parts` tensors of shape (B, H, T, E)."""
    batch, length, width = x_BTD.shape
    return x_BTD.view(batch, length, parts, heads, width // parts // heads).permute(2, 0, 3, 1, 4).unbind(0)


def attend(q_BHTE: Tensor, k_BHSE: Tensor, v_BHSE: Tensor, bias: Tensor | None, rate: float) -> Tensor:
    """Scaled dot-product attention (3.2.1), heads joined: (B, T, D). `bias` is added to the scores.

    On CUDA the fused kernel is used; on CPU two matrix products and a softmax are faster in bfloat16 training
    at sentence lengths (scripts/micro_benchmarks.py).
    """
    if q_BHTE.is_cuda:
        x_BHTE = F.scaled_dot_product_attention(q_BHTE, k_BHSE, v_BHSE, bias, dropout_p=rate)
    else:
        scores_BHTS = (q_BHTE * q_BHTE.shape[-1] ** -0.5) @ k_BHSE.transpose(-1, -2)
        scores_BHTS = scores_BHTS if bias is None else scores_BHTS + bias
        x_BHTE = dropout(scores_BHTS.softmax(-1), rate, rate > 0) @ v_BHSE
    return x_BHTE.transpose(1, 2).flatten(2)


class _Draws(threading.local):
    """The generator of a thread's draws on CPU; None is torch's own, for which threads would wait in turn."""

    generator: torch.Generator | None = None


_draws = _Draws()


@contextlib.contextmanager
def dropout_from(seed: int, device: torch.device) -> Iterator[None]:
    """Let the draws of this thread be a function of `seed` while the block runs."""
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
        yield
        return
    _draws.generator = torch.Generator().manual_seed(seed)
    try:
        yield
    finally:
        _draws.generator = None


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Zero a random share `rate` of the elements and scale the others up, while training."""
    if not training or rate == 0:
        return x
    return F.dropout(x, rate) if x.is_cuda else x * keep_mask(x, rate)


def add_dropped(x: Tensor, y: Tensor, rate: float, training: bool) -> Tensor:
    """Return `x + dropout(y)`."""
    if not training or rate == 0 or x.is_cuda:
        return x + dropout(y, rate, training)
    total: Tensor = _AddMasked.apply(x, y, keep_mask(y, rate))
    return total


def keep_mask(like: Tensor, rate: float) -> Tensor:
    """Return zeros for a random share `rate` of the elements and what scales the others up.

    The random bits are drawn 63 at a time and used 15 or 16 by 15 or 16, which is several times faster than a draw
    per element; rates are thereby rounded to multiples of 2 ** -15.
    """
    words = (
        torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(generator=_draws.generator).mul_(2)
    )  # the highest bit is never set
    bits = words.view(torch.int16)[: like.numel()].view(like.shape)
    mask = torch.empty(like.shape, dtype=like.dtype)
    return torch.ge(bits, min(round(rate * 2**15) * 2 - 2**15, 2**15 - 1), out=mask).mul_(1 / (1 - rate))


class _AddMasked(torch.autograd.Function):
    """x + y * mask in one pass over memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return torch.addcmul(x, y, mask)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        (mask,) = ctx.saved_tensors
        return grad, grad * mask, None


def sinusoids(length: int, width: int) -> Tensor:
    """Return the position table (length, width) of 3.5, all sines before all cosines.

    The paper interleaves them; its implementation and those since do not, and weights are exchanged with those.
    """
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10_000) / width))
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1).float()


def causal_bias(length: int, like: Tensor) -> Tensor:
    """Return (T, T): minus infinity where a position would see a later one."""
    return torch.full((length, length), -math.inf, dtype=like.dtype, device=like.device).triu(1)


def padding_bias(is_pad_BS: Tensor, like: Tensor) -> Tensor:
    """Return (B, 1, 1, S): minus infinity at padding."""
    zero = torch.zeros(is_pad_BS.shape, dtype=like.dtype, device=like.device)
    return zero.masked_fill_(is_pad_BS, -math.inf)[:, None, None, :]
