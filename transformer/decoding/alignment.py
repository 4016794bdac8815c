"""Which source word each word of a translation is aligned to, by the attention of the model.

Shape letters: B sentences, S source positions, T target positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transformer.data.alignments import Words
from transformer.decoding.long_lines import Part
from transformer.decoding.markup import tokens
from transformer.decoding.parts import Translation
from transformer.decoding.pieces import PieceDecoder
from transformer.model.attention_maps import cross_attention

AT_ONCE = 32
"""Sentences that go through the network together. Not measured."""


class Link(NamedTuple):
    """A word of the source and one of the translation, both counted from 0."""

    source: int
    target: int

    def __str__(self) -> str:
        return f"{self.source}-{self.target}"


Units = Sequence[int] | NDArray[Any]
Attention = NDArray[np.float32]
"""The share of attention (T, S) that each target piece gives to each source piece, without eos."""


class Attended(NamedTuple):
    """A part of a line, the ids of its translation, and how they attend to it."""

    part: Part
    ids: tuple[int, ...]
    weights_TS: Attention


class Aligner:
    """Aligns translations with their lines."""

    def __init__(self, decoder: PieceDecoder, guided: bool) -> None:
        """`guided`: the model was trained with `train.guided_alignment`."""
        self.decoder, self.guided, self.tokenizer = decoder, guided, decoder.tokenizer
        self._words = Words(self.tokenizer.source, self.tokenizer), Words(self.tokenizer.target, self.tokenizer)

    def attend(self, lines: Sequence[Sequence[Part]], translations: Sequence[Translation]) -> list[list[Attended]]:
        """Return how each translation attends to its line, given as its parts, part by part."""
        pairs = [list(zip(parts, _split(one), strict=True)) for parts, one in zip(lines, translations, strict=True)]
        weights = iter(self._attention([(part.ids, ids) for line in pairs for part, ids in line]))
        return [[Attended(part, ids, next(weights)) for part, ids in line] for line in pairs]

    def _attention(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Attention]:
        """Return the attention of each pair of source ids and target ids, without eos."""
        model, tok = self.decoder.models[0], self.tokenizer
        found = [np.empty((0, 0), np.float32)] * len(pairs)
        ranked = sorted(range(len(pairs)), key=lambda i: sum(map(len, pairs[i])))
        for start in range(0, len(ranked), AT_ONCE):
            rows = ranked[start : start + AT_ONCE]
            source_BS = self.decoder.tensor([pairs[i][0] for i in rows], last=tok.eos)
            input_BT = self.decoder.tensor([pairs[i][1] for i in rows], first=model.start_id)
            weights_BTS = cross_attention(model, source_BS, input_BT, self.guided).cpu().numpy()
            for i, weights_TS in zip(rows, weights_BTS, strict=True):
                found[i] = weights_TS[: len(pairs[i][1]), : len(pairs[i][0])]
        return found

    def links(self, attended: Sequence[Attended]) -> list[Link]:
        """Return the links of a translation, in the order of its words, which are what is between blanks.

        Each word has one link, with the word that it attends to most.
        """
        links: list[Link] = []
        before = [0, 0]  # words of the parts so far
        for part, ids, weights_TS in attended:
            words = [side.of(np.array(row, int)) for side, row in zip(self._words, (part.ids, ids), strict=True)]
            if part.tight and before[0]:
                before[0] -= 1  # its first word goes on with the last one
            links += [Link(before[0] + s, before[1] + t) for s, t in best_links(weights_TS, words[0], words[1])]
            before = [count + 1 + int(side.max(initial=-1)) for count, side in zip(before, words, strict=True)]
        return links

    def tokens(self, line: str, attended: Sequence[Attended], translation: str) -> list[int]:
        """Return the token of the line that each token of its translation attends to most, as `markup.tokens` has them.

        Where the texts that the model read and wrote have other tokens, as after a change of characters, the tokens are
        aligned in their order.
        """
        found: list[int] = []
        sources = 0
        for part, ids, weights_TS in attended:
            source, target = self._tokens_of(part.ids, 0), self._tokens_of(ids, 1)
            links = {t: s for s, t in best_links(weights_TS, source, target)}
            found += [sources + links.get(t, 0) for t in range(1 + max(target, default=-1))]
            sources += 1 + max(source, default=-1)
        lengths = len(tokens(line)), len(tokens(translation))
        if (sources, len(found)) != lengths:
            return [i * lengths[0] // lengths[1] for i in range(lengths[1])]
        return found

    def _tokens_of(self, ids: Sequence[int], side: int) -> list[int]:
        """Return the token of the text of these ids that each piece ends in, or -1 for a tag and for blanks."""
        ids = list(map(int, ids))
        tags = int((self._words[side].of(np.array(ids[:1], int)) < 0).sum())
        processor = (self.tokenizer.source, self.tokenizer.target)[side]
        beginnings = [ids[tags:end] for end in range(tags + 1, len(ids) + 1)]
        begun: list[str] = processor.decode(beginnings) if beginnings else []
        spans, found, before = tokens(begun[-1]) if begun else [], [-1] * tags, 0
        for text in begun:
            end = min(len(text), len(begun[-1]))  # of bytes that are not yet a character there may be more
            found.append(next((i for i, (a, b) in enumerate(spans) if a < end and before < b), -1))
            before = end
        return found


def best_links(weights_TS: Attention, source: Units, target: Units) -> list[tuple[int, int]]:
    """Return the source unit that each target unit attends to most, in the order of the target units.

    `source` and `target` have the unit of each piece, or -1 for none.
    """
    units = [1 + int(max(side, default=-1)) for side in (target, source)]
    if not all(units):
        return []
    shares = np.zeros(units, np.float64)
    rows, columns = (np.flatnonzero(np.array(side) >= 0) for side in (target, source))
    np.add.at(shares, np.ix_(np.array(target)[rows], np.array(source)[columns]), weights_TS[np.ix_(rows, columns)])
    return [(int(shares[t].argmax()), t) for t in range(units[0]) if shares[t].any()]


def _split(translation: Translation) -> list[tuple[int, ...]]:
    """Return the ids of each part."""
    ends = np.cumsum(translation.lengths).tolist()
    return [translation.ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]
