"""Random segmentations: BPE-dropout (Provilkov et al. 2020) and unigram sampling (Kudo 2018).

The distributions are SentencePiece's. Its random generator is not used because it mixes a salt of the process into the
seed: the same seed gives other segmentations after a restart. Here they depend on texts, strength and seed alone.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, chain, repeat
from typing import Any

import numpy as np

from transformer.data.word_cache import SPACE
from transformer.errors import ConfigError

WORD = re.compile(f"{SPACE}[^{SPACE}]*|[^{SPACE}]+")
"""A space and what follows it, up to the next one."""
UNKNOWN_PENALTY = 10.0
"""How far below the least probable piece SentencePiece puts the log-probability of an unknown character."""
Ids = list[int]


def uniforms(seed: int, stream: int) -> Iterator[float]:
    """Return numbers of [0, 1) without end; another `stream` of a seed gives other ones.

    They are made from the generator's raw bits, which are the same in every version of numpy.
    """
    raw = np.random.Philox(key=[seed, stream])
    return chain.from_iterable(((raw.random_raw(4096) >> np.uint64(11)) * 2.0**-53).tolist() for _ in repeat(None))


class SubwordSampler:
    """Draws segmentations of texts with one SentencePiece model and one strength.

    `strength` is the share of BPE merges dropped, or the exponent that smooths the probabilities of a unigram model's
    segmentations. Raises ConfigError for a model with unused or user-defined pieces, or of another kind than these two.
    """

    def __init__(self, processor: Any, strength: float) -> None:
        self._pieces = Pieces(processor)
        self._normalize = processor.normalize
        self._segment = (BpeDropout if self._pieces.ranked else UnigramSampling)(self._pieces, strength).segment

    def sample(self, texts: Sequence[str], draws: Iterator[float]) -> list[Ids]:
        """Return the ids of a random segmentation of each text; `draws` are uniform on [0, 1)."""
        normal = self._normalize(list(texts)) if texts else []
        return [self._pieces.one_unknown_a_run(self._segment(self._pieces.units(text), draws)) for text in normal]


class Pieces:
    """The vocabulary of a SentencePiece model, as far as segmentation needs it."""

    def __init__(self, processor: Any) -> None:
        ids = range(processor.get_piece_size())
        name = processor.id_to_piece(list(ids))
        self.bytes: list[int] = [i for i in ids if processor.is_byte(i)]
        """The ids of byte 0 to byte 255, or none."""
        self.unknown: int = processor.unk_id()
        special = {i for i in ids if processor.is_control(i) or processor.is_unknown(i)}.union(self.bytes)
        self.ids: dict[str, list[int]] = {name[i]: [i] for i in ids if i not in special}
        """Of each piece that text is made of."""
        self.scores: dict[str, float] = {piece: processor.get_score(i) for piece, [i] in self.ids.items()}
        self.ranked = all(score.is_integer() for score in self.scores.values())
        """Whether the scores are ranks of BPE merges and not log-probabilities."""
        end_with_words = SPACE in self.ids and not any(SPACE in piece[1:] for piece in self.ids)
        self.units: Callable[[str], list[str]] = WORD.findall if end_with_words else lambda text: [text]
        """Splits a normalised text into units that are segmented independently: words, where no piece reaches across a
        space."""
        if refused := self._unsupported(processor, [name[i] for i in special]):
            raise ConfigError(f"train.subword_sampling cannot be used with this tokenizer: {refused}; set it to 0")

    def _unsupported(self, processor: Any, special: list[str]) -> str | None:
        """Return what `BpeDropout` and `UnigramSampling` would segment otherwise than SentencePiece."""
        if short := [piece for piece in special if len(piece) == 1]:
            return f"its special piece {short[0]!r} can stand in text"
        if unused := [piece for piece, [i] in self.ids.items() if processor.is_unused(i)]:
            return f"its piece {unused[0]!r} is unused"
        try:
            # SentencePiece drops every merge at alpha 1; what is still longer than a character was defined by a user.
            whole = processor.encode(list(self.ids), enable_sampling=True, alpha=1.0, nbest_size=-1)
        except RuntimeError:
            return "it is neither of BPE nor a unigram model"
        for (piece, [i]), row in zip(self.ids.items(), whole, strict=True):
            if (i in row and len(piece) > 1) if self.ranked else self.scores[piece] >= 0:
                return f"its piece {piece!r} is user-defined"
        return None

    def spell(self, symbol: str) -> Ids:
        """Return the ids of a piece, or of a character that has none: its bytes, or the unknown piece."""
        if symbol in self.ids:
            return self.ids[symbol]
        return [self.bytes[byte] for byte in symbol.encode()] if self.bytes else [self.unknown]

    def one_unknown_a_run(self, ids: Ids) -> Ids:
        """Return the ids with each run of unknown pieces as one."""
        if self.unknown not in ids:
            return ids
        return [i for i, last in zip(ids, [-1, *ids], strict=False) if not i == last == self.unknown]


Segmentation = tuple[tuple[int, ...], float]
"""Ids, and the probability that no merge is dropped but those that are known to be."""


class BpeDropout:
    """Byte-pair encoding in which each merge is dropped with a probability when it is proposed.

    A dropped merge is not proposed again. The places of the dropped ones, counted among the proposed, decide the
    segmentation, so it is kept by them. The gaps between them are geometric and drawn at once, so that a word costs one
    draw and one look-up more than it has dropped merges.
    """

    most, longest = 1 << 18, 64
    """Segmentations kept, and the length of the texts whose segmentations are."""

    def __init__(self, pieces: Pieces, strength: float) -> None:
        self.pieces, self.kept_share = pieces, 1.0 - strength
        self.ranks = {piece: -score for piece, score in pieces.scores.items()}
        self._minus_all_kept = [-1.0]
        """By a number of merges, minus the probability that all of them are kept; ascending, as bisect wants it."""
        self._kept: dict[object, Segmentation] = {}
        """By text and places of dropped merges; by the text alone if none is dropped."""

    def segment(self, units: list[str], draws: Iterator[float]) -> Ids:
        """Return the ids of a random segmentation of each normalised text, end to end."""
        row: Ids = []
        kept = self._kept.get
        for unit, share in zip(units, draws, strict=False):
            ids, all_kept = kept(unit) or self._keep(unit, unit, ())
            row += ids if share < all_kept else self._drop(unit, share, draws)
        return row

    def _drop(self, unit: str, share: float, draws: Iterator[float]) -> tuple[int, ...]:
        """Return the ids of a random segmentation, given the draw by which a merge is dropped."""
        place, all_kept = -1, -1.0
        key: tuple[Any, ...] = (unit,)
        while share >= all_kept:
            place += bisect_left(self._minus_all_kept, -share)
            key += (place,)
            ids, all_kept = self._kept.get(key) or self._keep(key, unit, key[1:])
            share = next(draws)
        return ids

    def _keep(self, key: object, unit: str, dropped: tuple[int, ...]) -> Segmentation:
        symbols, proposed = self.merge(unit, dropped)
        while len(self._minus_all_kept) <= proposed:
            self._minus_all_kept.append(self._minus_all_kept[-1] * self.kept_share)
        undecided = proposed - (dropped[-1] + 1 if dropped else 0)
        found = tuple(chain.from_iterable(map(self.pieces.spell, symbols))), -self._minus_all_kept[undecided]
        if len(unit) <= self.longest:
            if len(self._kept) >= self.most:
                self._kept.clear()
            self._kept[key] = found
        return found

    def merge(self, text: str, dropped: Sequence[int]) -> tuple[list[str], int]:
        """Return the symbols left of a text when those merges are dropped, and the number of merges proposed.

        The merge of best rank is proposed first, and of equal ones the leftmost.
        """
        symbols, rank, never = list(text), self.ranks.get, math.inf
        ranks = [rank(a + b, never) for a, b in zip(symbols, symbols[1:], strict=False)]
        proposed = 0
        while ranks and (best := min(ranks)) < never:
            i = ranks.index(best)
            if proposed in dropped:
                ranks[i] = never
            else:
                symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
                del ranks[i]
                if i:
                    ranks[i - 1] = rank(symbols[i - 1] + symbols[i], never)
                if i < len(ranks):
                    ranks[i] = rank(symbols[i] + symbols[i + 1], never)
            proposed += 1
        return symbols, proposed


Ends = list[tuple[list[float], list[tuple[int, Ids]]]]
"""By the place where a piece ends: the cumulative probabilities of the pieces that end there, and where each begins
and its ids, last first."""


class UnigramSampling(dict[str, Ends]):
    """Segmentations drawn by their probability to the power of `alpha`: filtered forward, sampled backward."""

    most, longest = 1 << 16, 64
    """Texts whose lattices are kept, and the length of those."""

    def __init__(self, pieces: Pieces, alpha: float) -> None:
        super().__init__()
        self.pieces = pieces
        self.scores = {piece: alpha * score for piece, score in pieces.scores.items()}
        self.unknown_score = alpha * (min(pieces.scores.values()) - UNKNOWN_PENALTY)
        self.longest_piece = max(map(len, self.scores))

    def segment(self, units: list[str], draws: Iterator[float]) -> Ids:
        """Return the ids of a random segmentation of each normalised text, end to end."""
        row: Ids = []
        for unit in reversed(units):
            ends, place = self[unit], len(unit)
            while place:
                shares, pieces = ends[place]
                place, ids = pieces[bisect_right(shares, next(draws))]
                row += ids
        row.reverse()
        return row

    def __missing__(self, unit: str) -> Ends:
        ends = self.lattice(unit)
        if len(unit) <= self.longest:
            if len(self) >= self.most:
                self.clear()
            self[unit] = ends
        return ends

    def lattice(self, text: str) -> Ends:
        """Return the pieces that end at each place of a text, with their probabilities given that one ends there."""
        found: list[list[tuple[float, int, Ids]]] = [[] for _ in range(len(text) + 1)]
        ends: Ends = [([], [])]
        total = 0.0  # log of the summed probabilities of all segmentations up to here
        for start in range(len(text)):
            if text[start] not in self.scores:
                found[start + 1].append((total + self.unknown_score, start, self.pieces.spell(text[start])[::-1]))
            for end in range(start + 1, min(start + self.longest_piece, len(text)) + 1):
                if (score := self.scores.get(piece := text[start:end])) is not None:
                    found[end].append((total + score, start, self.pieces.ids[piece]))
            logs, starts, ids = zip(*found[start + 1], strict=True)
            most = max(logs)
            sums = list(accumulate(math.exp(log - most) for log in logs))
            total = most + math.log(sums[-1])
            ends.append(([share / sums[-1] for share in sums[:-1]], list(zip(starts, ids, strict=True))))
        return ends
