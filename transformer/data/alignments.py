"""Word alignments of training pairs: read from files, kept with the pairs, and spread over the pieces of a batch.

Shape letters: B sentences, S source positions, T target positions, R rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformer.data.corpus import Pair
from transformer.data.lines import read_lines
from transformer.data.ragged import Ragged, from_rows
from transformer.data.tokenizer import Tokenizer
from transformer.data.word_cache import SPACE
from transformer.errors import DataError

LINE = re.compile(r"\s*(?:\d{1,5}-\d{1,5}(?:\s+\d{1,5}-\d{1,5})*\s*)?")
"""A line as fast_align, eflomal and others write it (the Pharaoh format): `0-0 1-2 2-1`."""
ASCII_BLANKS = " \t"
BLANKS = re.compile(f"[{ASCII_BLANKS}]+")
Ints = NDArray[Any]


class AlignedPair(Pair):
    """A pair whose words are aligned."""

    links: tuple[int, ...]
    """Source word, target word, source word and so on, counted from 0."""

    def __new__(cls, source: str, target: str, links: tuple[int, ...]) -> AlignedPair:
        """Return the pair of a sentence and its translation."""
        pair = super().__new__(cls, source, target)
        pair.links = links
        return pair


def with_alignments(pairs: Iterable[Pair | None], path: Path) -> Iterator[Pair | None]:
    """Yield pairs with the alignments of a file, a line each. Words are what is between blanks.

    Raises DataError for a line that is no alignment or names a word that is not there, and at the end if there are
    more pairs or more lines.
    """
    end, number = object(), 0
    for number, (pair, line) in enumerate(zip_longest(pairs, read_lines(path), fillvalue=end), 1):
        if pair is end or line is end:
            fewer = "fewer" if line is end else "more"
            raise DataError(
                f"{path} has {fewer} lines than its corpus has pairs; a line must be the alignment of a pair"
            )
        if pair is None:
            yield None
            continue
        assert isinstance(pair, Pair)
        yield AlignedPair(pair.source, pair.target, _links(f"{path}, line {number}", line, pair))


def _links(where: str, line: object, pair: Pair) -> tuple[int, ...]:
    if not isinstance(line, str) or not LINE.fullmatch(line):
        raise DataError(f"{where} is not an alignment; expected pairs of word numbers such as 0-0 1-2")
    links = tuple(map(int, line.replace("-", " ").split()))
    for name, text, used in (("source", pair.source, links[::2]), ("target", pair.target, links[1::2])):
        if used and max(used) >= (words := len(text.split())):
            raise DataError(
                f"{where} aligns word {max(used)} of the {name}, which has {words}; they are counted from 0"
            )
    return links


class Guide:
    """Spreads word alignments over the pieces of batches, whatever the segmentation of the words is."""

    def __init__(self, tok: Tokenizer) -> None:
        self._sides = Words(tok.source, tok), Words(tok.target, tok)

    def links_of(self, pairs: Sequence[Pair], source: Ragged, target: Ragged) -> Ragged:
        """Return the links of pairs, given their ids. A pair has none where it is not sure which word is which.

        That is so where the pieces do not begin as many words as there are between blanks, or where what tools take for
        a blank differs, as with no-break spaces.
        """
        rows: list[tuple[int, ...]] = []
        for number, pair in enumerate(pairs):
            links = pair.links if isinstance(pair, AlignedPair) else ()
            ids = source[number], target[number]
            sure = not links or all(
                1 + each.of(one).max(initial=-1) == len(text.split()) == len(BLANKS.split(text.strip(ASCII_BLANKS)))
                for each, one, text in zip(self._sides, ids, pair, strict=True)
            )
            rows.append(links if sure else ())
        return from_rows(rows)

    def weights(self, source: Ragged, target: Ragged, links: Ragged) -> NDArray[np.float32]:
        """Return the share of attention (B, T, S) that each target piece should give to each source piece.

        T and S are as in a batch, with the start token before the target and eos after both: row t is that in which
        piece t is predicted. The shares of a piece add up to 1, or to 0 if its word is not aligned.
        """
        source_BS, target_BT = (_filled(*each) for each in zip(self._sides, (source, target), strict=True))
        counts = 2 + int(source_BS.max(initial=0)), 2 + int(target_BT.max(initial=0))  # the last is for no word
        linked = np.zeros((len(links), counts[1], counts[0]), np.float32)
        rows = np.repeat(np.arange(len(links)), links.lengths_R // 2)
        flat = links.flat().reshape(-1, 2).astype(np.int64)
        known = (flat[:, 0] < counts[0] - 1) & (flat[:, 1] < counts[1] - 1)
        linked[rows[known], flat[known, 1], flat[known, 0]] = 1
        shares = linked[np.arange(len(links))[:, None, None], target_BT[:, :, None], source_BS[:, None, :]]
        shares /= np.maximum(shares.sum(-1, keepdims=True), 1)
        return shares


def _filled(side: Words, rows: Ragged) -> Ints:
    """Return the word of each piece, and -1 for a tag, for eos after the pieces and for padding."""
    found = np.full((len(rows), int(rows.lengths_R.max(initial=0)) + 1), -1)
    for row, ids in enumerate(rows):
        found[row, : len(ids)] = side.of(ids)
    return found


class Words:
    """Knows where the words of one side begin: which pieces begin one, and which are tags."""

    def __init__(self, processor: Any, tok: Tokenizer) -> None:
        pieces: list[str] = processor.id_to_piece(list(range(processor.get_piece_size())))
        self._starts = np.array([piece.startswith(SPACE) for piece in pieces])
        self._tags = np.array([piece.startswith(SPACE) and tok.has_tag(piece[1:]) for piece in pieces])

    def of(self, ids: Ints) -> Ints:
        """Return the word of each piece of a text, counted from 0, and -1 for a tag before the text."""
        starts = self._starts[ids]
        starts[:1] = True  # also without a space, as where the text begins with a reserved piece
        return np.asarray(np.cumsum(starts) - 1 - self._tags[ids[:1]].sum())
