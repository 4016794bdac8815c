"""More pieces for a vocabulary: byte-pair encoding (Sennrich et al. 2016) goes on from the pieces that it has.

Each new piece joins two neighbouring pieces. So ids keep their meaning, and text without new pieces keeps its ids.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import sentencepiece

from transformer.data.model_file import mark_placeholders, mark_tags, read_outline
from transformer.data.model_pieces import (
    CONTROL,
    LAST,
    NORMAL,
    UNUSED,
    USER_DEFINED,
    Piece,
    read_pieces,
    with_more_pieces,
)
from transformer.data.placeholders import name
from transformer.data.tokenizer import Tokenizer, check_symbols
from transformer.data.word_cache import SPACE

RARE = 2
"""Occurrences below which a character or a pair of pieces is not learned."""
LONGEST = 16
"""Characters of the longest new piece, SentencePiece's own limit."""
MARGIN = 0.01
"""By how much a piece of a unigram model scores above its parts, so that it is preferred to them."""
Words = list[tuple[list[str], int]]
"""The pieces of different words, and how often each occurs."""


class Reserved(NamedTuple):
    """The reserved pieces that a training asks for."""

    tags: tuple[str, ...] = ()
    """Pieces of source text, with the space before them: the tags of corpora and the marks of terms."""
    symbols: tuple[str, ...] = ()
    """Pieces of both sides."""
    placeholders: int = 0


def with_reserved(tok: Tokenizer, wanted: Reserved) -> Tokenizer:
    """Return a tokenizer with the reserved pieces that it lacks at the end of each SentencePiece model.

    Raises ConfigError if one would not be read as one piece, as pieces of a text that look the same are there.
    """
    count = max(wanted.placeholders, tok.placeholders)
    both = dict.fromkeys([*map(name, range(count)), *wanted.symbols])
    texts = [[*(SPACE + tag for tag in wanted.tags), *both], list(both)]
    models = []
    for i, model in enumerate(tok.models):
        known, outline = {each.text for each in read_pieces(model)}, read_outline(model)
        union = texts[0 if tok.joint else i]
        kinds = {text: USER_DEFINED if text in texts[i] else UNUSED for text in union if text not in known}
        made = with_more_pieces(model, [Piece(text, 0.0, kind) for text, kind in kinds.items()])
        if i == 0:
            made = mark_tags(made, [tag for tag in wanted.tags if tag not in outline.tags])
        models.append(mark_placeholders(made, count) if count > outline.placeholders else made)
    found = Tokenizer(*models) if tuple(models) != tok.models else tok
    check_symbols(found, tuple(both))
    return found


def extended(tok: Tokenizer, sources: Sequence[str], targets: Sequence[str], counts: tuple[int, int]) -> Tokenizer:
    """Return a tokenizer with up to `counts` more pieces for each SentencePiece model, at the end of its vocabulary.

    The texts are raw. A vocabulary that both models share stays shared.
    """
    clean = tok.clean_pairs(sources, targets)
    if len(tok.models) == 1:
        return Tokenizer(_extend(tok.models[0], [*clean[0], *clean[1]], counts[0])[0])
    (source, more_source), (target, more_target) = (
        _extend(model, texts, count) for model, texts, count in zip(tok.models, clean, counts, strict=True)
    )
    if tok.joint:
        union = list(dict.fromkeys((*more_source, *more_target)))
        source = with_more_pieces(tok.models[0], _placed(union, more_source, CONTROL))
        target = with_more_pieces(tok.models[1], _placed(union, more_target, UNUSED))
    return Tokenizer(source, target)


def _placed(union: Iterable[str], own: dict[str, Piece], kind: int) -> list[Piece]:
    """Return the new pieces of both sides as those of one; it does not segment text into pieces of the other."""
    return [own.get(text, Piece(text, LAST, kind)) for text in union]


def _extend(model: bytes, texts: Sequence[str], count: int) -> tuple[bytes, dict[str, Piece]]:
    """Return a model with more pieces, and these by their texts."""
    pieces = {each.text: each for each in read_pieces(model)}
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    normal = [processor.normalize(text) for text in texts]
    worst = min((each.score for each in pieces.values() if each.kind == NORMAL), default=0.0)
    made = {each: Piece(each, worst) for each in _characters(processor, normal, pieces, count)}
    words = _words(with_more_pieces(model, made.values()), normal)
    scores = {text: each.score for text, each in {**pieces, **made}.items()}
    outline = read_outline(model)
    ranks = outline.kind == "bpe"  # scores of a unigram model are logarithms
    merges = _merges(words, {**pieces, **made}, count - len(made), outline.split_digits)
    for i, (left, right) in enumerate(merges):
        score = math.floor(worst) - 1.0 - i if ranks else scores[left] + scores[right] + MARGIN
        scores[left + right] = score
        made[left + right] = Piece(left + right, score)
    return with_more_pieces(model, made.values()), made


def _characters(processor: Any, texts: Iterable[str], known: dict[str, Piece], count: int) -> list[str]:
    """Return the characters of texts that have no piece, the most frequent first."""
    seen = Counter(character for text in texts for character in text)
    lacking = [(-n, each) for each, n in seen.items() if n >= RARE and each not in known and not each.isspace()]
    return [each for _, each in sorted(lacking)[:count]]


def _words(model: bytes, texts: Iterable[str]) -> Words:
    """Return the pieces of all words of texts, which are normalized, and the numbers of these words."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    seen = Counter(word for text in texts for word in text.split(SPACE) if word)
    return [(processor.encode(word, out_type=str), n) for word, n in sorted(seen.items())]


class _Pairs:
    """The pairs of neighbouring pieces in words, and how often they occur."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.numbers: Counter[tuple[str, str]] = Counter()
        self.where: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        for i, (pieces, n) in enumerate(words):
            self._count(i, pieces, n)
        self.heap = [(-n, pair) for pair, n in self.numbers.items()]
        heapq.heapify(self.heap)

    def _count(self, word: int, pieces: list[str], n: int) -> None:
        for pair in zip(pieces, pieces[1:], strict=False):
            self.numbers[pair] += n
            self.where[pair].add(word)

    def most_frequent(self) -> Iterator[tuple[str, str]]:
        """Yield pairs, each once, while they are not rare."""
        while self.heap:
            n, pair = heapq.heappop(self.heap)
            if self.numbers[pair] == -n:  # otherwise it has changed, and the heap has it again
                if -n < RARE:
                    return
                yield pair

    def join(self, pair: tuple[str, str]) -> None:
        """Let each occurrence of a pair be one piece."""
        before: set[tuple[str, str]] = set()
        for i in sorted(self.where.pop(pair)):
            pieces, n = self.words[i]
            before |= set(zip(pieces, pieces[1:], strict=False))
            self._count(i, pieces, -n)
            self.words[i] = _joined(pieces, pair), n
            self._count(i, *self.words[i])
            before |= set(zip(self.words[i][0], self.words[i][0][1:], strict=False))
        for each in before:
            heapq.heappush(self.heap, (-self.numbers[each], each))


def _merges(words: Words, known: dict[str, Piece], count: int, split_digits: bool) -> Iterator[tuple[str, str]]:
    """Yield the most frequent pairs of neighbouring pieces, each after those before it have been joined.

    With `split_digits`, pieces with a digit stay as they are.
    """
    usable = {text for text, each in known.items() if each.kind == NORMAL}
    pairs = _Pairs(words)
    for pair in pairs.most_frequent():
        if count <= 0:
            return
        joined = "".join(pair)
        if split_digits and any(each.isdigit() for each in joined):
            continue
        if usable.issuperset(pair) and joined not in known and len(joined) <= LONGEST:
            yield pair
            pairs.join(pair)
            usable.add(joined)
            count -= 1


def _joined(pieces: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """Return the pieces with each occurrence of a pair as one piece."""
    made: list[str] = []
    place = 0
    while place < len(pieces):
        if tuple(pieces[place : place + 2]) == pair:
            made.append(pair[0] + pair[1])
            place += 2
        else:
            made.append(pieces[place])
            place += 1
    return made
