"""The state of incremental decoding: encoded sources and the KV cache.

Shape letters: B sentences, K hypotheses of a sentence, R rows (hypotheses: row r belongs to sentence r // K),
S source positions, H heads, E width of a head, V vocabulary, P places in the KV cache (K for each position).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

DecodeStep = Callable[[Tensor, "Decoding"], Tensor]
"""Maps ids (B, K) and the state to the logits (B, K, V) of the next ids."""


class Cache(Protocol):
    """The keys and values of one layer."""

    def extend(self, kv_2BHKE: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values of the next position and return all keys and all values (B, H, P, E)."""
        ...


class Decoding(Protocol):
    """What a step of the network reads of a state: `DecoderState`, or `StaticState` with constant shapes."""

    bias_B11S: Tensor
    """The bias that masks the padding of the source."""

    @property
    def caches(self) -> Sequence[Cache]:
        """The KV cache of each decoder layer."""
        ...

    @property
    def memory(self) -> Sequence[tuple[Tensor, Tensor]]:
        """Each decoder layer's keys and values (B, H, S, E) of the source."""
        ...

    def visible(self) -> Tensor | None:
        """Return a bias (B or 1, 1, K, P) that masks all but a hypothesis's ancestors and itself, or None."""
        ...

    def encoding(self, table: Callable[[int], Tensor]) -> Tensor:
        """Return the encoding (1, D) of the position, given the function that returns it for a number."""
        ...


class DecoderState:
    """The state of a search: the encoded sources, and the keys and values of the ids decoded so far.

    A sentence's K hypotheses share one KV cache, in which each position has K places. A mask says which places
    belong to the ancestors of a hypothesis, so nothing is copied when the search replaces hypotheses.
    """

    def __init__(self, decode: DecodeStep, memory: list[tuple[Tensor, Tensor]], bias_B11S: Tensor, beams: int) -> None:
        """Take each decoder layer's keys and values (B, H, S, E) of the source, and the bias that masks its padding."""
        self.decode, self.memory, self.bias_B11S, self.beams = decode, memory, bias_B11S, beams
        self.caches = [KVCache(keys_BHSE, beams) for keys_BHSE, _ in memory]
        self.ancestors_BKP = bias_B11S.new_zeros(len(bias_B11S), beams, 0)
        self.own_KK = bias_B11S.new_full((beams, beams), -math.inf).fill_diagonal_(0.0)
        self.position = 0

    def encoding(self, table: Callable[[int], Tensor]) -> Tensor:
        """Return the encoding (1, D) of the position."""
        return table(self.position)

    def visible(self) -> Tensor | None:
        """Return a bias (B, 1, K, P) that masks all but a hypothesis's ancestors and itself, or None if K is 1."""
        if self.beams == 1:
            return None
        own_BKK = self.own_KK.expand(len(self.ancestors_BKP), -1, -1)
        self.ancestors_BKP = torch.cat((self.ancestors_BKP, own_BKK), dim=2)
        return self.ancestors_BKP[:, None]

    def step(self, last_R: Tensor) -> Tensor:
        """Return the logits (R, V) of the next id of each hypothesis."""
        logits_BKV = self.decode(last_R.view(-1, self.beams), self)
        self.position += 1
        return logits_BKV.flatten(0, 1)

    def select(self, rows_R: Tensor, sentences_B: Tensor | None) -> None:
        """Keep these rows of hypotheses and these sentences (None: all sentences)."""
        if self.beams > 1:
            self.ancestors_BKP = self.ancestors_BKP.flatten(0, 1).index_select(0, rows_R).unflatten(0, (-1, self.beams))
        if sentences_B is not None:
            self.memory = [(k.index_select(0, sentences_B), v.index_select(0, sentences_B)) for k, v in self.memory]
            self.bias_B11S = self.bias_B11S.index_select(0, sentences_B)
            for cache in self.caches:
                cache.select(sentences_B)


class KVCache:
    """The keys and values of one layer, shared by all hypotheses of a sentence. Its capacity doubles when full."""

    def __init__(self, like_BHSE: Tensor, beams: int) -> None:
        batch, heads, _s, width = like_BHSE.shape
        self.beams, self.used = beams, 0
        self.kv_2BHPE = like_BHSE.new_empty(2, batch, heads, 16 * beams, width)

    def extend(self, kv_2BHKE: Tensor) -> tuple[Tensor, Tensor]:
        """Append a position and return all keys and all values (B, H, P, E)."""
        end = self.used + self.beams
        if end > self.kv_2BHPE.shape[3]:
            self.kv_2BHPE = torch.cat((self.kv_2BHPE, torch.empty_like(self.kv_2BHPE)), dim=3)
        self.kv_2BHPE[:, :, :, self.used : end] = kv_2BHKE
        self.used = end
        k_BHPE, v_BHPE = self.kv_2BHPE[:, :, :, :end]
        return k_BHPE, v_BHPE

    def select(self, sentences_B: Tensor) -> None:
        """Keep these sentences."""
        self.kv_2BHPE = self.kv_2BHPE.index_select(1, sentences_B)
