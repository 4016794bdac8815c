"""Lines longer than the model's limit: cut into pieces, whose translations are joined."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

from transformer.data.tokenizer import Tokenizer
from transformer.decoding.search import Hypothesis

SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])\s*")
"""The boundary between two sentences: after punctuation and closing quotes, at a space, which Chinese does not need."""


def cut_line(line: str, tokenizer: Tokenizer, limit: int) -> list[list[int]]:
    """Return a line's source ids in pieces of at most `limit`, cut between sentences, else words, else anywhere."""
    cuts = [0, *(match.end() for match in SENTENCE_END.finditer(line)), len(line)]
    sentences = tokenizer.encode_source([text for a, b in pairwise(cuts) if (text := line[a:b]).strip()])
    units: list[list[int]] = []
    for sentence in sentences:
        units.extend([sentence] if len(sentence) <= limit else _cut_sentence(sentence, tokenizer, limit))
    return _fill(units, limit)


def _cut_sentence(ids: list[int], tokenizer: Tokenizer, limit: int) -> list[list[int]]:
    """Cut a sentence before SentencePiece pieces that begin a word."""
    starts = [i for i, t in enumerate(ids) if i == 0 or tokenizer.source.id_to_piece(t).startswith("▁")]
    words = [ids[a:b] for a, b in zip(starts, [*starts[1:], len(ids)], strict=True)]
    return _fill([word[i : i + limit] for word in words for i in range(0, len(word), limit)], limit)


def _fill(units: list[list[int]], limit: int) -> list[list[int]]:
    """Join neighboring units into pieces of at most `limit` ids."""
    pieces: list[list[int]] = []
    for unit in units:
        if pieces and len(pieces[-1]) + len(unit) <= limit:
            pieces[-1] = pieces[-1] + unit
        else:
            pieces.append(unit)
    return pieces


class Joined(NamedTuple):
    """A translation of a line, joined from those of its pieces."""

    text: str
    score: float
    log_prob: float
    ids: tuple[int, ...]


Ways = Sequence[tuple[str, Hypothesis]]
"""The translations of a piece, with their texts."""


def join_best(pieces: Sequence[Ways], count: int) -> list[Joined]:
    """Return the `count` best different translations of a line: those with the largest sums of its pieces' scores."""
    joined = [Joined("", 0.0, 0.0, ())] if pieces else []
    for ways in pieces:  # each of the best joins one of the best of the pieces before
        best: dict[str, Joined] = {}
        for one in sorted((_join(before, *way) for before in joined for way in ways), key=lambda one: -one.score):
            best.setdefault(one.text, one)
        joined = list(best.values())[:count]
    return joined


def join_samples(pieces: Sequence[Ways], _: int) -> list[Joined]:
    """Return the samples of a line: the n-th joins the n-th of each piece."""
    return [
        reduce(lambda before, way: _join(before, *way), ways, Joined("", 0.0, 0.0, ()))
        for ways in zip(*pieces, strict=True)
    ]


def _join(before: Joined, text: str, found: Hypothesis) -> Joined:
    return Joined(
        " ".join(filter(None, (before.text, text))),
        before.score + found.score,
        before.log_prob + found.log_prob,
        before.ids + found.ids,
    )
