"""The network on rows of constant length that hold several sentences each, as a GPU computes fastest.

Only attention sees where a sentence begins and ends. All else sees one shape for ever, so it can be compiled.

Shape letters: R rows, L positions of a row, N target tokens (padding is among them), J dropouts, D model width,
V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer.model.dropout import Draws, dropout
from transformer.model.loss import LossSum, label_smoothed, loss_terms
from transformer.model.network import DecoderLayer, EncoderLayer, Transformer

MASKED = -1e4
"""Added to the scores of masked positions: their share is exactly zero. Unlike minus infinity it leaves finite what
padding, to which all may be masked, attends to."""
ENCODER_DROPOUTS, DECODER_DROPOUTS = 4, 6
"""Dropouts of a layer, those with rate zero included."""
Region = Callable[..., Any]
"""A function of tensors, some of whose arguments are parts of a model."""


class Planes(NamedTuple):
    """A batch, each part of shape (R, L). The two sides of a sentence are in the same row and have the same number."""

    source: Tensor
    """Source ids, eos after each sentence."""
    source_number: Tensor
    """The number of the sentence in its row, from 1; 0 is padding."""
    source_position: Tensor
    """Positions in the sentence, from 0."""
    input: Tensor
    """Decoder input: the start token, then the target ids, of each sentence."""
    input_number: Tensor
    input_position: Tensor
    answer: Tensor
    """The id to predict at each position of the decoder input."""


class PackedRows:
    """Computes the loss of packed rows with a model's layers, in compiled regions or as they are."""

    def __init__(
        self, model: Transformer, region: Callable[[Region], Region] = lambda function: function, fused: bool = False
    ) -> None:
        """`region` compiles a function; the layers of a kind share one. `fused` chooses a fused kernel of attention."""
        self.model, self.fused = model, fused
        self.embed, self.biases = region(_embed), region(_biases)
        self.encoder_layer, self.decoder_layer = region(_encoder_layer), region(_decoder_layer)
        self.norm, self.terms = region(_norm), region(loss_terms)
        self._tables: dict[int, Tensor] = {}

    @property
    def dropouts(self) -> int:
        """Number of seeds that dropout takes."""
        cfg = self.model.cfg
        return 2 + ENCODER_DROPOUTS * cfg.encoder_layers + DECODER_DROPOUTS * cfg.decoder_layers

    def hidden(self, planes_7RL: Tensor, seeds_J: Tensor, first_row: int = 0) -> Tensor:
        """Return the output of the decoder (R, L, D), before the output projection.

        Rows that are a part of a batch, from row `first_row` on, have the dropout of the whole.
        """
        model, planes = self.model, Planes(*planes_7RL.unbind(0))
        table, scale, rate = self._table(planes_7RL.shape[2]), math.sqrt(model.cfg.width), model.cfg.dropout
        train, dtype = model.training, model.compute_dtype
        seeds = seeds_J.split([2, *_counts(model)])
        encoder_bias, decoder_bias, cross_bias = self.biases(planes, dtype)
        embed = (table, scale, dtype, rate, train, first_row)
        x = self._look_up(model.encoder_embedding, planes.source)
        x = self.embed(x, planes.source_position, *embed, seeds[0][:1])
        layers = cast("Sequence[EncoderLayer]", model.encoder)
        for layer, draws in zip(layers, seeds[1:], strict=False):
            x = self.encoder_layer(layer, x, encoder_bias, draws, first_row, self.fused)
        memory = x if model.encoder_norm is None else self.norm(model.encoder_norm, x)
        x = self._look_up(model.target_embedding, planes.input)
        x = self.embed(x, planes.input_position, *embed, seeds[0][1:])
        for decoder_layer, draws in zip(
            cast("Sequence[DecoderLayer]", model.decoder), seeds[1 + len(layers) :], strict=True
        ):
            x = self.decoder_layer(decoder_layer, x, decoder_bias, memory, cross_bias, draws, first_row, self.fused)
        return x if model.decoder_norm is None else self.norm(model.decoder_norm, x)

    def _look_up(self, embedding: nn.Embedding, ids_RL: Tensor) -> Tensor:
        """Return the embeddings of ids. Not compiled: the compiler's gradient adds equal ids in any order."""
        return F.embedding(ids_RL, embedding.weight)

    def _table(self, length: int) -> Tensor:
        """Return the encodings of so many positions, at the same place each time: the model may replace its table."""
        if length not in self._tables:
            self._tables[length] = self.model.encoding(0, length).clone()
        return self._tables[length]

    def loss(self, planes_7RL: Tensor, seeds_J: Tensor, smoothing: float, first_row: int = 0) -> LossSum:
        """Return the loss, summed over the real target tokens. `LossSum.tokens` counts padding too."""
        model, planes = self.model, Planes(*planes_7RL.unbind(0))
        hidden_ND = self.hidden(planes_7RL, seeds_J, first_row).flatten(0, 1)
        real_N = (planes.input_number > 0).flatten().float()
        return label_smoothed(
            hidden_ND, model.output_weight, model.output_bias, planes.answer.flatten().long(), smoothing,
            model.output_packed, real_N, self.terms,
        )  # fmt: skip


def _counts(model: Transformer) -> list[int]:
    """Return how many dropouts each layer has, those of the encoder first."""
    cfg = model.cfg
    return [ENCODER_DROPOUTS] * cfg.encoder_layers + [DECODER_DROPOUTS] * cfg.decoder_layers


# ---- regions, each compiled as a whole ------------------------------------------------------------------------


def _embed(
    x_RLD: Tensor,
    position_RL: Tensor,
    table_LD: Tensor,
    scale: float,
    dtype: torch.dtype,
    rate: float,
    train: bool,
    first_row: int,
    seed: Tensor,
) -> Tensor:
    x_RLD = x_RLD * scale + F.embedding(position_RL, table_LD)
    return dropout(x_RLD.to(dtype), rate, train, Draws(seed, first_row))


def _biases(planes: Planes, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return what masks other sentences, for the encoder, the decoder and cross-attention, each (R, 1, L, L)."""
    source, target = planes.source_number, planes.input_number
    place = torch.arange(target.shape[1], device=target.device)
    seen = (
        source[:, :, None] == source[:, None, :],
        (target[:, :, None] == target[:, None, :]) & (place[:, None] >= place),
        target[:, :, None] == source[:, None, :],
    )
    zero = torch.zeros((), dtype=dtype, device=target.device)
    encoder, decoder, cross = (torch.where(each[:, None], zero, MASKED) for each in seen)
    return encoder, decoder, cross


def _encoder_layer(
    layer: EncoderLayer, x: Tensor, bias: Tensor, seeds_J: Tensor, first_row: int, fused: bool
) -> Tensor:
    y: Tensor = layer(x, bias, Draws(seeds_J, first_row, fused))
    return y


def _decoder_layer(
    layer: DecoderLayer,
    x: Tensor,
    bias: Tensor,
    memory: Tensor,
    cross_bias: Tensor,
    seeds_J: Tensor,
    first_row: int,
    fused: bool,
) -> Tensor:
    y: Tensor = layer(x, bias, memory, cross_bias, Draws(seeds_J, first_row, fused))
    return y


def _norm(norm: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = norm(x)
    return y
