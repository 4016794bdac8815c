"""Random segmentations: BPE-dropout (Provilkov et al. 2020) and unigram sampling (Kudo 2018).

The distributions are SentencePiece's. Its random generator is not used because it mixes a salt of the process into the
seed: the same seed gives other segmentations after a restart. Here they depend on texts, strength and seed alone.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import accumulate, count
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
    """Yield numbers of [0, 1) without end; another `stream` of a seed gives other ones.

    They are made from the generator's raw bits, which are the same in every version of numpy.
    """
    raw = np.random.Philox(key=[seed, stream])
    while True:
        yield from ((raw.random_raw(4096) >> np.uint64(11)) * 2.0**-53).tolist()


class SubwordSampler:
    """Draws segmentations of texts with one SentencePiece model and one strength.

    `strength` is the share of BPE merges dropped, or the exponent that smooths the probabilities of a unigram model's
    segmentations. Raises ConfigError for a model with unused or user-defined pieces, or of another kind than these two.
    """

    def __init__(self, processor: Any, strength: float) -> None:
        pieces = Pieces(processor)
        self._normalize = processor.normalize
        self._draw = (BpeDropout if pieces.ranked else UnigramSampling)(pieces, strength).draw
        # Where no piece reaches across a space, words are segmented independently, so that they can be cached.
        self._split: Callable[[str], list[str]] = WORD.findall if pieces.end_with_words else lambda text: [text]

    def sample(self, texts: Sequence[str], draws: Iterator[float]) -> list[Ids]:
        """Return the ids of a random segmentation of each text; `draws` are uniform on [0, 1)."""
        draw, split, rows = self._draw, self._split, []
        for normal in self._normalize(list(texts)) if texts else ():
            row: Ids = []
            for unit in split(normal):
                row += draw(unit, draws)
            rows.append(row)
        return rows


class Pieces:
    """The vocabulary of a SentencePiece model, as far as segmentation needs it."""

    def __init__(self, processor: Any) -> None:
        ids = range(processor.get_piece_size())
        name = processor.id_to_piece(list(ids))
        special = {i for i in ids if processor.is_control(i) or processor.is_unknown(i) or processor.is_byte(i)}
        self.unknown: int = processor.unk_id()
        self.ids: dict[str, int] = {name[i]: i for i in ids if i not in special}
        """Of the pieces that text is made of."""
        self.scores: dict[str, float] = {piece: processor.get_score(i) for piece, i in self.ids.items()}
        self.reserved: dict[str, int] = {name[i]: i for i in special}
        self.bytes: list[int] = [i for i in ids if processor.is_byte(i)]
        """The ids of byte 0 to byte 255, or none."""
        self.ranked = all(score.is_integer() for score in self.scores.values())
        """Whether the scores are ranks of BPE merges and not log-probabilities."""
        self.end_with_words = SPACE in self.ids and not any(SPACE in piece[1:] for piece in self.ids)
        """Whether no piece reaches across a space."""
        if refused := self._unsupported(processor):
            raise ConfigError(f"train.subword_sampling cannot be used with this tokenizer: {refused}; set it to 0")

    def _unsupported(self, processor: Any) -> str | None:
        """Return what `BpeDropout` and `UnigramSampling` would segment otherwise than SentencePiece."""
        if unused := [piece for piece, i in self.ids.items() if processor.is_unused(i)]:
            return f"its piece {unused[0]!r} is unused"
        try:
            # SentencePiece drops every merge at alpha 1; what is still longer than a character was defined by a user.
            whole = processor.encode(list(self.ids), enable_sampling=True, alpha=1.0, nbest_size=-1)
        except RuntimeError:
            return "it is neither of BPE nor a unigram model"
        for (piece, i), row in zip(self.ids.items(), whole, strict=True):
            if (i in row and len(piece) > 1) if self.ranked else self.scores[piece] >= 0:
                return f"its piece {piece!r} is user-defined"
        return None

    def spell(self, character: str) -> Ids:
        """Return the ids of a character that has no piece: its bytes, or the unknown piece."""
        return [self.bytes[byte] for byte in character.encode()] if self.bytes else [self.unknown]

    def join(self, parts: Iterable[Ids]) -> Ids:
        """Return the ids of parts end to end, with each run of unknown pieces as one."""
        ids: Ids = []
        for part in parts:
            if not (part == [self.unknown] and ids[-1:] == part):
                ids += part
        return ids


class Merged:
    """What a unit of text becomes if certain merges are dropped."""

    __slots__ = ("after", "ids", "merges")

    def __init__(self, ids: Ids, merges: int) -> None:
        self.ids, self.merges = ids, merges
        """Its ids, and the number of merges that were proposed, the dropped ones included."""
        self.after: dict[int, Merged] = {}
        """The same if one more is dropped, by its place among those proposed, which is after the others dropped."""


class BpeDropout:
    """Byte-pair encoding in which each merge is dropped with a probability when it is proposed.

    A dropped merge is not proposed again. Which merges are dropped decides the segmentation, so segmentations are kept
    by that, and only the gaps between dropped merges are drawn: they are geometric.
    """

    most, longest = 1 << 18, 64
    """Segmentations kept, and the characters of the units of text whose segmentations are kept."""

    def __init__(self, pieces: Pieces, strength: float) -> None:
        self.pieces, self.kept_share = pieces, 1.0 - strength
        self._kept: dict[str, Merged] = {}
        self._size = 0
        self._minus_all_kept = [-1.0]
        """By a number of merges, minus the probability that all of them are kept; ascending, as bisect wants it."""

    def draw(self, unit: str, draws: Iterator[float]) -> Ids:
        """Return the ids of a random segmentation of a normalised text."""
        merged = self._kept.get(unit) or self._keep(self._kept, unit, unit, ())
        dropped: tuple[int, ...] = ()
        place = 0  # of the first merge that is not decided yet
        while place < merged.merges:
            share = -next(draws)
            if share > self._minus_all_kept[merged.merges - place]:
                break
            place += bisect_left(self._minus_all_kept, share) - 1
            dropped += (place,)
            merged = merged.after.get(place) or self._keep(merged.after, place, unit, dropped)
            place += 1
        return merged.ids

    def _keep(self, store: dict[Any, Merged], key: object, unit: str, dropped: tuple[int, ...]) -> Merged:
        merged = Merged(*self.merge(unit, frozenset(dropped)))
        while len(self._minus_all_kept) <= merged.merges:
            self._minus_all_kept.append(self._minus_all_kept[-1] * self.kept_share)
        if len(unit) <= self.longest:
            if self._size >= self.most:
                self._kept.clear()
                self._size = 0
            store[key] = merged
            self._size += 1
        return merged

    def merge(self, text: str, dropped: frozenset[int] = frozenset()) -> tuple[Ids, int]:
        """Return the ids of a normalised text, without the proposed merges `dropped`, and how many were proposed.

        The highest score is proposed first, and of equal ones the leftmost.
        """
        scores, symbols = self.pieces.scores, list(text)
        before, after = list(range(-1, len(text) - 1)), [*range(1, len(text)), -1]
        pairs = (a + b for a, b in zip(symbols, symbols[1:], strict=False))
        agenda = [(-scores[pair], i, i + 1, 2) for i, pair in enumerate(pairs) if pair in scores]
        heapify(agenda)
        proposed = count()
        while agenda:
            _, left, right, length = heappop(agenda)
            if not (symbols[left] and symbols[right] and len(symbols[left]) + len(symbols[right]) == length):
                continue  # one of the two has been merged with another
            if next(proposed) in dropped:
                continue
            symbols[left] += symbols[right]
            symbols[right] = ""
            after[left] = after[right]
            if after[right] >= 0:
                before[after[right]] = left
            for a, b in ((before[left], left), (left, after[left])):
                if min(a, b) >= 0 and (pair := symbols[a] + symbols[b]) in scores:
                    heappush(agenda, (-scores[pair], a, b, len(pair)))
        return self.pieces.join(self._ids(symbol) for symbol in symbols if symbol), next(proposed)

    def _ids(self, symbol: str) -> Ids:
        found = self.pieces.reserved.get(symbol, self.pieces.ids.get(symbol, self.pieces.unknown))
        return self.pieces.spell(symbol) if found == self.pieces.unknown else [found]


Ends = list[tuple[list[float], list[tuple[int, Ids]]]]
"""By the place where a piece ends: the cumulative probabilities of pieces that end there; their beginnings and ids."""


class UnigramSampling:
    """Segmentations drawn by their probability to the power of `alpha`: filtered forward, sampled backward."""

    most, longest = 1 << 16, 64
    """Lattices kept, and the characters of the units of text whose lattices are kept."""

    def __init__(self, pieces: Pieces, alpha: float) -> None:
        self.pieces = pieces
        self.scores = {piece: alpha * score for piece, score in pieces.scores.items()}
        self.unknown_score = alpha * (min(pieces.scores.values()) - UNKNOWN_PENALTY)
        self.longest_piece = max(map(len, self.scores))
        self._kept: dict[str, Ends] = {}

    def draw(self, unit: str, draws: Iterator[float]) -> Ids:
        """Return the ids of a random segmentation of a normalised text."""
        ends = self._kept.get(unit) or self._keep(unit)
        place, parts = len(unit), []
        while place:
            shares, pieces = ends[place]
            place, ids = pieces[bisect_right(shares, next(draws)) if len(shares) > 1 else 0]
            parts.append(ids)
        parts.reverse()
        return self.pieces.join(parts)

    def _keep(self, unit: str) -> Ends:
        ends = self.lattice(unit)
        if len(unit) <= self.longest:
            if len(self._kept) >= self.most:
                self._kept.clear()
            self._kept[unit] = ends
        return ends

    def lattice(self, text: str) -> Ends:
        """Return the pieces that end at each place of a text, with their probabilities given that one ends there."""
        found: list[list[tuple[float, int, Ids]]] = [[] for _ in range(len(text) + 1)]
        ends: Ends = [([], [])]
        total = 0.0  # log of the summed probabilities of all segmentations up to here
        for start in range(len(text)):
            if text[start] not in self.scores:
                found[start + 1].append((total + self.unknown_score, start, self.pieces.spell(text[start])))
            for end in range(start + 1, min(start + self.longest_piece, len(text)) + 1):
                if (score := self.scores.get(piece := text[start:end])) is not None:
                    found[end].append((total + score, start, [self.pieces.ids[piece]]))
            logs, starts, ids = zip(*found[start + 1], strict=True)
            most = max(logs)
            sums = list(accumulate(math.exp(log - most) for log in logs))
            total = most + math.log(sums[-1])
            shares = [share / sums[-1] for share in sums[:-1]] + [1.0]
            ends.append((shares, list(zip(starts, ids, strict=True))))
        return ends
