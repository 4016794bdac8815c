"""Lines longer than the model's limit: cut into pieces, whose translations are joined."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

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


def join_pieces(pieces: Sequence[list[Hypothesis]], tokenizer: Tokenizer) -> list[tuple[str, Hypothesis]]:
    """Return the n-best translations of a line with their text. The n-th joins the n-th best of each piece."""
    joined = []
    for parts in zip(*pieces, strict=False):
        text = " ".join(filter(None, tokenizer.decode([part.ids for part in parts])))
        ids = tuple(i for part in parts for i in part.ids)
        joined.append((text, Hypothesis(ids, sum(p.log_prob for p in parts), sum(p.score for p in parts))))
    return joined
