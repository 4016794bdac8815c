"""The state of decoding in buffers that keep their addresses, with constant shapes.

A step on such a state reads and writes the same memory each time, so that CUDA can capture it once and replay it. Masks
take the place of slices, and the position is a tensor. The logits are those of `DecoderState`.

Shape letters: B sentences (slots for them, of which some may be empty), K hypotheses of a sentence, R rows (of the
slots: row r belongs to slot r // K), S source positions, H heads, E width of a head, D model width, P places in the
KV cache (K for each position).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class StaticShape:
    """The sizes that all tensors of a step follow from."""

    sentences: int
    """Slots for sentences."""
    beams: int
    positions: int
    """Positions that the KV cache has places for."""
    window: int
    """Positions that a step attends to, from the first on."""
    source: int
    """Source positions, counting padding."""

    @property
    def rows(self) -> int:
        """Hypotheses of all slots."""
        return self.sentences * self.beams


@dataclass(frozen=True)
class Heads:
    """The sizes of a decoder."""

    layers: int
    count: int
    """Heads of a layer."""
    width: int
    """Width of a head."""

    def elements(self, shape: StaticShape) -> int:
        """Return how many elements the keys and values of all layers take."""
        places = shape.positions * shape.beams + shape.source
        return 2 * self.layers * shape.sentences * self.count * places * self.width


class Arena:
    """Named buffers. Views of a buffer begin at the same address until it must grow."""

    def __init__(self, device: torch.device, before_move: Callable[[], None] = lambda: None) -> None:
        """`before_move` is called before a buffer grows, to drop what refers to the old one."""
        self.device, self.before_move = device, before_move
        self.moves = 0
        """How often a buffer got another address."""
        self._flat: dict[str, Tensor] = {}

    def view(self, name: str, dtype: torch.dtype, *shape: int) -> Tensor:
        """Return the beginning of a buffer in this shape. The buffer grows to a power of two if it is too small."""
        needed = math.prod(shape)
        flat = self._flat.pop(name, None)
        if flat is None or len(flat) < needed or flat.dtype != dtype:
            flat = None
            self.before_move()  # so that the old buffer is free before the new one is allocated
            flat = torch.zeros(1 << (needed - 1).bit_length(), dtype=dtype, device=self.device)
            self.moves += 1
        self._flat[name] = flat
        return flat[:needed].view(shape)


class StaticState:
    """The keys and values of sources and targets, masks and inputs, as views of an arena."""

    def __init__(self, arena: Arena, shape: StaticShape, heads: Heads, width: int, dtype: torch.dtype) -> None:
        """Take the model's width and the dtype of its arithmetic."""
        self.shape = shape
        batch, beams, places = shape.sentences, shape.beams, shape.positions * shape.beams
        self.inputs = arena.view("inputs", torch.long, 1 + beams + 2 * shape.rows)
        """The position, its K places, and for each row its last id and its ancestor's row; copied here at each step."""
        self.position_1, places_K, last_R, self.rows_R = self.inputs.split([1, beams, shape.rows, shape.rows])
        self.places_K, self.last_BK = places_K, last_R.view(batch, beams)
        size = batch, heads.count
        caches = [arena.view(f"cache{i}", dtype, *size, places, 2, heads.width) for i in range(heads.layers)]
        self.caches = [StaticCache(cache, places_K, shape.window * beams) for cache in caches]
        self.memories = [
            arena.view(f"memory{i}", dtype, *size, shape.source, 2, heads.width) for i in range(heads.layers)
        ]
        self.memory = [(each[:, :, :, 0], each[:, :, :, 1]) for each in self.memories]
        self.bias_B11S = arena.view("bias", dtype, batch, 1, 1, shape.source)
        slots = 1 if beams == 1 else batch  # a single hypothesis descends from all that is decoded
        self.ancestors_BKP = arena.view("ancestors", dtype, slots, beams, places)
        self.own_KK = torch.full((beams, beams), -math.inf, dtype=dtype, device=arena.device).fill_diagonal_(0.0)
        self.encodings_PD = arena.view("encodings", torch.float32, shape.positions, width)

    @property
    def of_sentences(self) -> list[Tensor]:
        """All tensors whose first dimension is the slot."""
        ancestors = [self.ancestors_BKP] if self.shape.beams > 1 else []
        return [*(cache.kv_BHP2E for cache in self.caches), *self.memories, self.bias_B11S, *ancestors]

    def begin(self, memory: list[tuple[Tensor, Tensor]], bias_B11S: Tensor, encodings_PD: Tensor) -> None:
        """Take sources of at most as many sentences and positions as there is room for; empty slots get zeros."""
        sentences, _, _, source = bias_B11S.shape
        for cache, memory_BHS2E, (k_BHSE, v_BHSE) in zip(self.caches, self.memories, memory, strict=True):
            cache.kv_BHP2E.zero_()  # what is masked is multiplied by 0, so it must be finite
            memory_BHS2E.zero_()
            memory_BHS2E[:sentences, :, :source, 0] = k_BHSE
            memory_BHS2E[:sentences, :, :source, 1] = v_BHSE
        self.bias_B11S.zero_()
        self.bias_B11S[:sentences, ..., source:] = -math.inf
        self.bias_B11S[:sentences, ..., :source] = bias_B11S
        self.ancestors_BKP.fill_(-math.inf)
        self.encodings_PD.copy_(encodings_PD)

    def move(self, old_B: Tensor, new_B: Tensor) -> None:
        """Copy sentences from their slots to others, which must be different."""
        for each in self.of_sentences:
            each.index_copy_(0, new_B, each.index_select(0, old_B))

    def encoding(self, table: Callable[[int], Tensor]) -> Tensor:
        """Return the encoding (1, D) of the position."""
        return self.encodings_PD.index_select(0, self.position_1)

    def visible(self) -> Tensor:
        """Return a bias (B or 1, 1, K, P) that masks all but a hypothesis's ancestors and itself.

        With several hypotheses, each first takes over the ancestors of the row that it continues.
        """
        ancestors_BKP = self.ancestors_BKP[:, :, : self.shape.window * self.shape.beams]
        if self.shape.beams == 1:
            return ancestors_BKP.index_fill_(2, self.places_K, 0.0)[:, None]
        found_BKP = ancestors_BKP.flatten(0, 1).index_select(0, self.rows_R).view_as(ancestors_BKP)
        found_BKP.index_copy_(2, self.places_K, self.own_KK.expand(len(found_BKP), -1, -1))
        return ancestors_BKP.copy_(found_BKP)[:, None]


class StaticCache:
    """The keys and values of one layer, with places for all positions."""

    def __init__(self, kv_BHP2E: Tensor, places_K: Tensor, window: int) -> None:
        """Take the places of the next position, and how many places are attended to."""
        self.kv_BHP2E, self.places_K = kv_BHP2E, places_K
        self.kv_BHPE = kv_BHP2E[:, :, :window, 0], kv_BHP2E[:, :, :window, 1]

    def extend(self, kv_2BHKE: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values of the next position; return all keys and all values (B, H, P, E)."""
        self.kv_BHP2E.index_copy_(2, self.places_K, kv_2BHKE.permute(1, 2, 3, 0, 4))
        return self.kv_BHPE
