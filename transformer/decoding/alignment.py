"""Which source word each word of a translation is aligned to, by the attention of the model.

Shape letters: B sentences, S source positions, T target positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transformer.data.alignments import words_of
from transformer.data.tokenizer import Tokenizer
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


Attention = NDArray[np.float32]
"""The share of attention (T, S) that each target piece gives to each source piece, without eos."""


class Aligner:
    """Aligns translations with their lines."""

    def __init__(self, decoder: PieceDecoder, guided: bool) -> None:
        """`guided`: the model was trained with `train.guided_alignment`."""
        self.decoder, self.guided, self.tokenizer = decoder, guided, decoder.tokenizer

    def attention(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[Attention]:
        """Return the attention of each pair of ids, without eos."""
        model, tok = self.decoder.models[0], self.tokenizer
        found = [np.empty((0, 0), np.float32)] * len(sources)
        ranked = sorted(range(len(sources)), key=lambda i: len(sources[i]) + len(targets[i]))
        for start in range(0, len(ranked), AT_ONCE):
            rows = ranked[start : start + AT_ONCE]
            source_BS = self.decoder.tensor([sources[i] for i in rows], last=tok.eos)
            input_BT = self.decoder.tensor([targets[i] for i in rows], first=model.start_id)
            weights_BTS = cross_attention(model, source_BS, input_BT, self.guided).cpu().numpy()
            for i, weights_TS in zip(rows, weights_BTS, strict=True):
                found[i] = weights_TS[: len(targets[i]), : len(sources[i])]
        return found

    def align(self, parts: Sequence[Sequence[Part]], translations: Sequence[Translation]) -> list[list[Link]]:
        """Return the links of each translation of a line, given the parts of the line, in the order of the target.

        Words are what is between blanks. Each word of the translation has one link, with the word that it attends to
        most.
        """
        pairs = [list(zip(each, _split(one), strict=True)) for each, one in zip(parts, translations, strict=True)]
        flat = [pair for line in pairs for pair in line]
        weights = iter(self.attention([part.ids for part, _ in flat], [ids for _, ids in flat]))
        return [self._links([(part, ids, next(weights)) for part, ids in line]) for line in pairs]

    def _links(self, parts: Sequence[tuple[Part, Sequence[int], Attention]]) -> list[Link]:
        links: list[Link] = []
        before = [0, 0]  # words of the parts so far
        for part, ids, weights_TS in parts:
            words = words_of(self.tokenizer, part.ids, 0), words_of(self.tokenizer, ids, 1)
            if part.tight and before[0]:
                before[0] -= 1  # its first word goes on with the last one
            links += [Link(before[0] + s, before[1] + t) for s, t in best_links(weights_TS, *words)]
            before = [count + 1 + max(side, default=-1) for count, side in zip(before, words, strict=True)]
        return links

    def align_tokens(self, line: str, parts: Sequence[Part], translation: Translation) -> list[int]:
        """Return the token of the line that each token of its translation attends to most, as `markup.tokens` has them.

        Where the texts that the model read and wrote have other tokens, as after a change of characters, the tokens are
        aligned in their order.
        """
        targets = _split(translation)
        found: list[int] = []
        sources = 0
        for part, ids, weights_TS in zip(parts, targets, self.attention([p.ids for p in parts], targets), strict=True):
            source, target = _tokens_of(self.tokenizer, part.ids, 0), _tokens_of(self.tokenizer, ids, 1)
            links = {t: s for s, t in best_links(weights_TS, source, target)}
            found += [sources + links.get(t, 0) for t in range(1 + max(target, default=-1))]
            sources += 1 + max(source, default=-1)
        lengths = len(tokens(line)), len(tokens(translation.text))
        if (sources, len(found)) != lengths:
            return [i * lengths[0] // lengths[1] for i in range(lengths[1])]
        return found


def best_links(weights_TS: Attention, source: Sequence[int], target: Sequence[int]) -> list[tuple[int, int]]:
    """Return the source unit that each target unit attends to most, in the order of the target units.

    `source` and `target` have the unit of each piece, or -1 for none.
    """
    units = [1 + max(side, default=-1) for side in (target, source)]
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


def _tokens_of(tok: Tokenizer, ids: Sequence[int], side: int) -> list[int]:
    """Return the token of the text of these ids that each piece ends in, or -1 for a tag and for blanks."""
    ids = [int(i) for i in ids]
    tags = int(-1 in words_of(tok, ids[:1], side))
    processor = (tok.source, tok.target)[side]
    begun: list[str] = processor.decode([ids[tags:end] for end in range(tags + 1, len(ids) + 1)]) if ids[tags:] else []
    spans, found, before = tokens(begun[-1]) if begun else [], [-1] * tags, 0
    for text in begun:
        end = min(len(text), len(begun[-1]))  # of bytes that are not yet a character there may be more
        found.append(next((i for i, (a, b) in enumerate(spans) if a < end and before < b), -1))
        before = end
    return found
