"""The encoder-decoder network of "Attention Is All You Need" (Vaswani et al. 2017, section 3).

Shape letters: B sentences, S source positions, T target positions, K hypotheses of a sentence, H heads, E width of
a head, D model width, V vocabulary, P places in the KV cache (K for each position), L positions of the
position table.
Callers pass ids; masks are computed from the padding id. Arithmetic runs in `compute_dtype`; weights keep their dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer.config import ModelConfig
from transformer.model import kernels
from transformer.model.attention import CrossAttention, SelfAttention, causal_bias, padding_bias
from transformer.model.decoder_state import Cache, DecoderState, Decoding
from transformer.model.dropout import Draws, add_dropped, dropout
from transformer.model.packed_linear import Linear, PackedWeights, affine


class Transformer(nn.Module):
    """Predicts the next target id from source ids and the target ids so far."""

    positions_LD: Tensor

    def __init__(self, cfg: ModelConfig, sizes: tuple[int, int], pad: int, start: int, max_length: int) -> None:
        """Take the sizes of both vocabularies and the ids of padding and of the decoder's start token."""
        super().__init__()
        self.cfg, self.pad, self.start_id = cfg, pad, start
        self.compute_dtype = torch.float32
        self.target_embedding = embedding(sizes[1], cfg.width)
        if cfg.tied != "all":
            self.source_embedding = embedding(sizes[0], cfg.width)
        if cfg.tied == "none":
            self.output = embedding(sizes[1], cfg.width)
        self.output_packed = PackedWeights()
        self.output_bias = nn.Parameter(torch.zeros(sizes[1])) if cfg.output_bias else None
        self.encoder = nn.ModuleList(EncoderLayer(cfg) for _ in range(cfg.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(cfg) for _ in range(cfg.decoder_layers))
        self.encoder_norm = LayerNorm(cfg.width, cfg.norm_epsilon) if cfg.norm == "pre" else None
        self.decoder_norm = LayerNorm(cfg.width, cfg.norm_epsilon) if cfg.norm == "pre" else None
        self.register_buffer("positions_LD", sinusoids(max_length + 1, cfg.width, cfg.positions), persistent=False)
        if not on_meta():
            self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=self.cfg.width**-0.5)
            elif isinstance(module, Linear):
                for block in module.weight.split(
                    module.block
                ):  # q, k and v are three matrices, each initialized separately
                    nn.init.xavier_uniform_(block)
                nn.init.zeros_(module.bias)
        zero_start(self)

    def packed_weights(self) -> list[tuple[PackedWeights, Tensor]]:
        """Return each matrix that activations are multiplied by, with the object that has its packed copies."""
        found = [(each.packed, each.weight) for each in self.modules() if isinstance(each, Linear)]
        return [*found, (self.output_packed, self.output_weight)]

    @property
    def encoder_embedding(self) -> nn.Embedding:
        """The embedding of source ids. With `tied: all` it is the target embedding."""
        return self.target_embedding if self.cfg.tied == "all" else self.source_embedding

    @property
    def output_weight(self) -> Tensor:
        """The output projection to the target vocabulary, of shape (V, D)."""
        return self.output.weight if self.cfg.tied == "none" else self.target_embedding.weight

    def forward(self, source_BS: Tensor, input_BT: Tensor) -> Tensor:
        """Return the logits (B, T, V) of the id that follows each prefix of `input_BT`."""
        return self.project(self.hidden(source_BS, input_BT))

    def hidden(self, source_BS: Tensor, input_BT: Tensor, guided: Callable[[Tensor], None] | None = None) -> Tensor:
        """Return the output of the decoder (B, T, D), before the output projection.

        `guided` gets the logarithm of the attention weights (B, T, S) of the head that word alignments guide.
        """
        memory_BSD, bias_B11S = self.encode(source_BS)
        x_BTD = self._embed(self.target_embedding, input_BT, self.encoding(0, input_BT.shape[1]))
        fused = kernels.on_gpu(x_BTD) and not torch.is_grad_enabled()  # its kernel knows about later positions
        causal_TT = None if fused else causal_bias(input_BT.shape[1], x_BTD)
        *layers, last = cast("Sequence[DecoderLayer]", self.decoder)
        for layer in layers:
            x_BTD = layer(x_BTD, causal_TT, memory_BSD, bias_B11S)
        x_BTD = last(x_BTD, causal_TT, memory_BSD, bias_B11S, guided=guided)
        return self.decoder_norm(x_BTD) if self.decoder_norm is not None else x_BTD

    def project(self, hidden: Tensor) -> Tensor:
        """Return the logits (…, V) of hidden states (…, D)."""
        return affine(hidden, self.output_weight, self.output_bias, self.output_packed)

    def encode(self, source_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output of the encoder (B, S, D) and the bias that masks its padding (B, 1, 1, S)."""
        x_BSD = self._embed(self.encoder_embedding, source_BS, self.encoding(0, source_BS.shape[1]))
        bias_B11S = padding_bias(source_BS == self.pad, x_BSD)
        for layer in cast("Sequence[EncoderLayer]", self.encoder):
            x_BSD = layer(x_BSD, bias_B11S)
        return (self.encoder_norm(x_BSD) if self.encoder_norm is not None else x_BSD), bias_B11S

    def start(self, source_BS: Tensor, beams: int) -> DecoderState:
        """Encode the sources and return the state to decode `beams` hypotheses of each."""
        return DecoderState(self.step, *self.memory(source_BS), beams)

    def memory(self, source_BS: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Return each decoder layer's keys and values (B, H, S, E) of the sources, and the bias (B, 1, 1, S)."""
        memory_BSD, bias_B11S = self.encode(source_BS)
        layers = cast("Sequence[DecoderLayer]", self.decoder)
        return [layer.cross.memory(memory_BSD) for layer in layers], bias_B11S

    def step(self, last_BK: Tensor, state: Decoding) -> Tensor:
        """Return the logits (B, K, V) of the next id of each hypothesis. Extends the state."""
        return self.project(self.step_hidden(last_BK, state))

    def step_hidden(self, last_BK: Tensor, state: Decoding) -> Tensor:
        """Return the output of the decoder (B, K, D) at the next position, before the output projection."""
        x_BKD = self._embed(self.target_embedding, last_BK, state.encoding(self.encoding))
        bias_B1KP = state.visible()
        for layer, cache, memory in zip(
            cast("Sequence[DecoderLayer]", self.decoder), state.caches, state.memory, strict=True
        ):
            x_BKD = layer.step(x_BKD, cache, bias_B1KP, memory, state.bias_B11S)
        return self.decoder_norm(x_BKD) if self.decoder_norm is not None else x_BKD

    def encoding(self, position: int, count: int = 1) -> Tensor:
        """Return the encodings (count, D) of `count` positions from `position` on (3.5)."""
        end = position + count
        table = self.positions_LD  # read once, as another thread may replace it
        if end > len(table):  # the table grows with the longest input
            table = self.positions_LD = sinusoids(2 * end, self.cfg.width, self.cfg.positions).to(table)
        return table[position:end]

    def _embed(self, embedding: nn.Embedding, ids: Tensor, encoding: Tensor) -> Tensor:
        """Return the scaled embedding (3.4) plus the position encoding, in the dtype of the arithmetic."""
        x = F.embedding(ids, embedding.weight) * math.sqrt(self.cfg.width) + encoding
        return dropout(x.to(self.compute_dtype), self.cfg.dropout, self.training)


def zero_start(model: Transformer) -> None:
    """Set the embedding of pad to zeros if the decoder starts with a vector of zeros. Training leaves it so."""
    if model.cfg.decoder_start == "zero":
        nn.init.zeros_(model.target_embedding.weight[model.pad])


def embedding(count: int, width: int) -> nn.Embedding:
    """Return an embedding, whose weights have no values on the meta device."""
    return nn.Embedding(count, width, _weight=torch.empty(count, width) if on_meta() else None)


def on_meta() -> bool:
    """Return whether tensors are made without values. For arithmetic on these, torch would import its compiler."""
    return torch.get_default_device().type == "meta"


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each inside a residual connection (3.1)."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.attention, self.attention_residual = SelfAttention(cfg), Residual(cfg)
        self.feed_forward, self.feed_forward_residual = FeedForward(cfg), Residual(cfg)

    def forward(self, x_BSD: Tensor, bias: Tensor, draws: Draws | None = None) -> Tensor:
        norm, add = self.attention_residual.before, self.attention_residual.after
        x_BSD = add(x_BSD, self.attention(norm(x_BSD), bias, draws), draws)
        norm, add = self.feed_forward_residual.before, self.feed_forward_residual.after
        return add(x_BSD, self.feed_forward(norm(x_BSD), draws), draws)


class DecoderLayer(nn.Module):
    """Self-attention, attention over the source, and feed-forward (3.1)."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.attention, self.attention_residual = SelfAttention(cfg), Residual(cfg)
        self.cross, self.cross_residual = CrossAttention(cfg), Residual(cfg)
        self.feed_forward, self.feed_forward_residual = FeedForward(cfg), Residual(cfg)

    def forward(
        self,
        x_BTD: Tensor,
        bias: Tensor | None,
        memory_BSD: Tensor,
        cross_bias: Tensor,
        draws: Draws | None = None,
        guided: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Without a bias the self-attention masks the later positions, and nothing else."""
        norm, add = self.attention_residual.before, self.attention_residual.after
        x_BTD = add(x_BTD, self.attention(norm(x_BTD), bias, draws), draws)
        norm, add = self.cross_residual.before, self.cross_residual.after
        y_BTD, memory = norm(x_BTD), self.cross.memory(memory_BSD)
        if guided is not None:
            guided(self.cross.guided_log_weights(y_BTD, memory, cross_bias))
        x_BTD = add(x_BTD, self.cross(y_BTD, memory, cross_bias, draws), draws)
        return self._feed_forward(x_BTD, draws)

    def step(
        self, x_BKD: Tensor, cache: Cache, bias_B1KP: Tensor | None, memory: tuple[Tensor, Tensor], bias_B11S: Tensor
    ) -> Tensor:
        """Decode one position of each hypothesis and append its keys and values to the cache."""
        norm, add = self.attention_residual.before, self.attention_residual.after
        x_BKD = add(x_BKD, self.attention.step(norm(x_BKD), cache, bias_B1KP))
        norm, add = self.cross_residual.before, self.cross_residual.after
        x_BKD = add(x_BKD, self.cross.step(norm(x_BKD), memory, bias_B11S))
        return self._feed_forward(x_BKD)

    def _feed_forward(self, x_BTD: Tensor, draws: Draws | None = None) -> Tensor:
        norm, add = self.feed_forward_residual.before, self.feed_forward_residual.after
        return add(x_BTD, self.feed_forward(norm(x_BTD), draws), draws)


class Residual(nn.Module):
    """A residual connection: LayerNorm(x + dropout(f(x))) as in 3.1 and 5.4, or x + dropout(f(LayerNorm(x)))."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.norm, self.post, self.dropout = LayerNorm(cfg.width, cfg.norm_epsilon), cfg.norm == "post", cfg.dropout

    def before(self, x: Tensor) -> Tensor:
        """Return the input of the sub-layer."""
        return x if self.post else self.norm(x)

    def after(self, x: Tensor, y: Tensor, draws: Draws | None = None) -> Tensor:
        """Return the residual sum of `x` and the sub-layer's output `y`, normalized if post-norm."""
        total = add_dropped(x, y, self.dropout, self.training, draws)
        return self.norm(total) if self.post else total


class FeedForward(nn.Module):
    """Two projections with a non-linearity between them (3.3)."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.inner = Linear(cfg.width, cfg.feed_forward)
        self.out = Linear(cfg.feed_forward, cfg.width)
        kinds: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "swish": F.silu}
        self.activation = kinds.get(cfg.activation)  # None is ReLU, which is fused into the product
        self.dropout = cfg.activation_dropout

    def forward(self, x: Tensor, draws: Draws | None = None) -> Tensor:
        y = self.inner(x, relu=True) if self.activation is None else self.activation(self.inner(x))
        return self.out(dropout(y, self.dropout, self.training, draws))


class LayerNorm(nn.LayerNorm):
    """Layer normalization of an input in any dtype, with sums in float32."""

    def forward(self, x: Tensor) -> Tensor:
        same = self.weight.dtype == x.dtype or not kernels.on_gpu(x)  # there input and weights must have the same dtype
        wide = x if same else x.float()
        return F.layer_norm(wide, self.normalized_shape, self.weight, self.bias, self.eps).to(x.dtype)


def sinusoids(length: int, width: int, kind: str = "paper") -> Tensor:
    """Return the position table (length, width) of 3.5, all sines before all cosines.

    The paper interleaves them. Its implementation and later ones do not, and exported weights must match those. The
    wavelengths are a geometric progression from 2 pi. That of the paper would reach 10,000 * 2 pi after the last of
    them, Marian's has it as the last: `sinusoidalPositionEmbeddings` in its node_initializers.cpp.
    """
    if on_meta():
        return torch.empty(length, width)
    last = width if kind == "paper" else max(width - 2, 1)
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10_000) / last))
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1).float()
