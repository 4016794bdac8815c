"""Random segmentations: BPE-dropout (Provilkov et al. 2020) and unigram sampling (Kudo 2018).

The distributions are SentencePiece's. Its random generator is not used because it mixes a salt of the process into the
seed: the same seed gives other segmentations after a restart. Here they depend on texts, strength and seed alone.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, chain, repeat
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformer.data.model_pieces import USER_DEFINED, read_pieces
from transformer.data.word_cache import SPACE
from transformer.errors import ConfigError

WORD = re.compile(f"{SPACE}[^{SPACE}]*|[^{SPACE}]+")
"""A space and what follows it, up to the next one."""
UNKNOWN_PENALTY = 10.0
"""How far below the least probable piece SentencePiece puts the log-probability of an unknown character."""
STEP = 2.0**-53
"""What the numbers that `uniforms` yields are multiples of."""
Ids = list[int]
Ints = tuple[int, ...]  # which the garbage collector need not visit
Reals = NDArray[np.float64]


def uniforms(seed: int, stream: int) -> Iterator[Reals]:
    """Yield arrays of numbers of [0, 1) without end; another `stream` of a seed gives other ones.

    They are made from the generator's raw bits, which are the same in every version of numpy.
    """
    raw = np.random.Philox(key=[seed, stream])
    while True:
        yield np.asarray(raw.random_raw(1024) >> np.uint64(11), np.float64) * STEP


class SubwordSampler:
    """Draws segmentations of texts with one SentencePiece model and one strength.

    `strength` is the share of BPE merges dropped, or the exponent that smooths the probabilities of a unigram model's
    segmentations. Raises ConfigError for a model with unused pieces, or of another kind than these two.
    """

    def __init__(self, processor: Any, strength: float) -> None:
        self._pieces = Pieces(processor)
        self._normalize = processor.normalize
        self._segmenter = (BpeDropout if self._pieces.ranked else UnigramSampling)(self._pieces, strength).segmenter

    def sample(self, texts: Sequence[str], seed: int, stream: int) -> list[Ids]:
        """Return the ids of a random segmentation of each text, a pure function of texts, seed and stream."""
        segment = self._segmenter(uniforms(seed, stream))
        normal = self._normalize(list(texts)) if texts else []
        if (whole := self._pieces.whole) is None:
            return [self._pieces.one_unknown_a_run(segment(self._pieces.units(text))) for text in normal]
        return [self._around(whole.split(text), segment) for text in normal]

    def _around(self, parts: list[str], segment: Callable[[list[str]], Ids]) -> Ids:
        """Return the ids of the parts of a text, of which every second is a user-defined piece."""
        row: Ids = []
        for i, part in enumerate(parts):
            row += self._pieces.reserved[part] if i % 2 else segment(self._pieces.units(part))
        return self._pieces.one_unknown_a_run(row)


class Pieces:
    """The vocabulary of a SentencePiece model, as far as segmentation needs it."""

    def __init__(self, processor: Any) -> None:
        ids = range(processor.get_piece_size())
        name = processor.id_to_piece(list(ids))
        self.bytes: list[int] = [i for i in ids if processor.is_byte(i)]
        """The ids of byte 0 to byte 255, or none."""
        self.unknown: int = processor.unk_id()
        special = {i for i in ids if processor.is_control(i) or processor.is_unknown(i)}.union(self.bytes)
        user = {each.text for each in read_pieces(processor.serialized_model_proto()) if each.kind == USER_DEFINED}
        self.reserved: dict[str, list[int]] = {name[i]: [i] for i in ids if name[i] in user}
        """Of each user-defined piece."""
        longest_first = sorted(self.reserved, key=len, reverse=True)
        self.whole = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None
        """Finds user-defined pieces, which are never cut."""
        self.ids: dict[str, list[int]] = {name[i]: [i] for i in ids if i not in special and name[i] not in user}
        """Of each piece that other text is made of."""
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
            processor.encode([""], enable_sampling=True, alpha=1.0, nbest_size=-1)
        except RuntimeError:
            return "it is neither of BPE nor a unigram model"
        return None

    def spell(self, character: str) -> Ids:
        """Return the ids of a character that has no piece: its bytes, or the unknown piece."""
        return [self.bytes[byte] for byte in character.encode()] if self.bytes else [self.unknown]

    def one_unknown_a_run(self, ids: Ids) -> Ids:
        """Return the ids with each run of unknown pieces as one."""
        if self.unknown not in ids:
            return ids
        return [i for i, last in zip(ids, [-1, *ids], strict=False) if not i == last == self.unknown]


class BpeDropout:
    """Byte-pair encoding in which each merge is dropped with a probability when it is proposed.

    A dropped merge is not proposed again. So the places of the dropped ones, counted among the proposed, decide the
    segmentation, which is kept by them: most words are looked up. Only the gaps between the places are drawn.
    """

    most, longest = 1 << 18, 64
    """Segmentations kept, and the length of the texts whose segmentations are."""
    widest = 1 << 16
    """A gap of more merges is cut to this, which is more than a training pair has."""

    def __init__(self, pieces: Pieces, strength: float) -> None:
        self.pieces = pieces
        self.ranks = {piece: -score for piece, score in pieces.scores.items()}
        wider = np.cumprod(np.full(self.widest, 1.0 - strength))
        self._wider = wider[wider >= STEP][::-1]
        """The probabilities that a gap has at least so many merges, from many down to 1."""
        self._kept: dict[str | tuple[str, Ints], tuple[Ints, int]] = {}
        """By a text and the places of its dropped merges, if it has any: the ids, and how many merges were proposed."""

    def segmenter(self, uniform: Iterator[Reals]) -> Callable[[list[str]], Ids]:
        """Return a function that segments normalised texts at random and returns their ids end to end."""
        most = len(self._wider)
        gaps = chain.from_iterable((most - self._wider.searchsorted(block, "right")).tolist() for block in uniform)
        kept = self._kept.get
        unseen: tuple[Ints, float] = (), math.inf

        def segment(units: list[str]) -> Ids:
            row: Ids = []
            for unit, place in zip(units, gaps, strict=False):
                ids, proposed = kept(unit, unseen)
                row += ids if place >= proposed else self._drop(unit, place, gaps)
            return row

        return segment

    def _drop(self, unit: str, place: int, gaps: Iterator[int]) -> Ints:
        """Return the ids of a text that loses its merge at this place, if it has so many, and others."""
        dropped: Ints = ()
        found = self._kept.get(unit)
        while found and place < found[1]:
            dropped += (place,)
            place += 1 + next(gaps)
            found = self._kept.get((unit, dropped))
        return found[0] if found else self._simulate(unit, dropped, place, gaps)

    def _simulate(self, unit: str, dropped: Ints, place: int, gaps: Iterator[int]) -> Ints:
        """Return the ids of a text that loses its merges at all these places, and others after them."""
        places = chain(dropped, accumulate(chain([place], (1 + gap for gap in gaps))))
        symbols, proposed, lost = self.merge(unit, places)
        known, spell = self.pieces.ids.get, self.pieces.spell
        ids = tuple([i for symbol in symbols for i in known(symbol) or spell(symbol)])
        if len(unit) <= self.longest:
            if len(self._kept) >= self.most:
                self._kept.clear()
            self._kept[(unit, tuple(lost)) if lost else unit] = ids, proposed
        return ids

    def merge(self, text: str, places: Iterator[int]) -> tuple[list[str], int, list[int]]:
        """Return what a text is merged to when merges are dropped at ascending places among those proposed.

        That is its symbols, the number of merges proposed, and the places that there were. The merge of best rank is
        proposed first, and of equal ones the leftmost.
        """
        symbols, rank, never = list(text), self.ranks.get, math.inf
        ranks = [*map(rank, map(add, text, text[1:]), repeat(never)), never]  # of each symbol with the one after it
        proposed, place, dropped = 0, next(places), []
        while (best := min(ranks)) < never:
            i = ranks.index(best)
            if proposed == place:
                ranks[i] = never
                dropped.append(place)
                place = next(places)
            else:
                symbols[i] = merged = symbols[i] + symbols.pop(i + 1)
                del ranks[i]
                if i:
                    ranks[i - 1] = rank(symbols[i - 1] + merged, never)
                if i + 1 < len(symbols):
                    ranks[i] = rank(merged + symbols[i + 1], never)
            proposed += 1
        return symbols, proposed, dropped


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

    def segmenter(self, uniform: Iterator[Reals]) -> Callable[[list[str]], Ids]:
        """Return a function that segments normalised texts at random and returns their ids end to end."""
        draws = chain.from_iterable(block.tolist() for block in uniform)

        def segment(units: list[str]) -> Ids:
            row: Ids = []
            for unit in reversed(units):
                ends, place = self[unit], len(unit)
                while place:
                    shares, pieces = ends[place]
                    place, ids = pieces[bisect_right(shares, next(draws))]
                    row += ids
            row.reverse()
            return row

        return segment

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
