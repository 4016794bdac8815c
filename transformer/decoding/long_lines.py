"""Lines longer than the model has learned: cut into pieces, whose translations are joined."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from transformer.data.placeholders import Hidden
from transformer.data.sentences import (
    CLAUSES,
    WORDS,
    has_rare_blanks,
    joins_without_blank,
    place_to_cut,
    sentence_ends,
)
from transformer.data.tokenizer import Tokenizer
from transformer.decoding.prefix import TextPrefix
from transformer.decoding.search import Hypothesis

WHOLE_WORD = 20
"""Tokens up to which a word is not cut, even if all training text was shorter. Not measured."""


@dataclass(frozen=True)
class Part:
    """A part of a line, translated alone."""

    ids: list[int]
    """The source ids."""
    seam: str = " "
    """The blank that a translation into a script with blanks needs before this part: a space, or nothing."""
    tight: bool = False
    """Whether the source has no blank before this part."""
    hidden: Hidden | None = None
    """The line, if it has placeholders that are written with reserved pieces."""


def cut_line(line: str, tokenizer: Tokenizer, limit: int, language: str = "", whole: int = 0) -> list[Part]:
    """Return a line in sentences. A sentence of more than `limit` tokens is cut at clauses, else words, else anywhere.

    `language` is the code of the source language, if known. A sentence of at most `whole` tokens is not cut.
    """

    def sentences(text: str) -> list[int]:
        return sentence_ends(text, language)

    texts: list[str] = []
    for sentence, length in _units(line, tokenizer, sentences):
        fits = length <= max(limit, whole)
        texts += [sentence] if fits else _cut(sentence, tokenizer, limit, [_ends_of(CLAUSES), _ends_of(WORDS)])
    parts: list[Part] = []
    before = " "
    for text in texts:
        if text.strip():
            tight = not (before[-1:].isspace() or text[:1].isspace() or before[-1:] == "\u200b")
            spaced = not any(has_rare_blanks(c) or joins_without_blank(c) for c in (before[-1:], text[:1]))
            parts.append(Part(tokenizer.encode_source([text.strip()])[0], "" if tight and spaced else " ", tight))
        before = text or before
    return [part for part in parts if part.ids]


def _ends_of(pattern: re.Pattern[str]) -> Callable[[str], list[int]]:
    return lambda text: [found.end() for found in pattern.finditer(text) if 0 < found.end() < len(text)]


def _units(text: str, tokenizer: Tokenizer, ends: Callable[[str], list[int]]) -> list[tuple[str, int]]:
    """Return the text between these ends, each unit with its number of tokens."""
    units = [text[a:b] for a, b in pairwise([0, *ends(text), len(text)])]
    return list(zip(units, map(len, tokenizer.encode_source(units)), strict=True))


def _cut(text: str, tokenizer: Tokenizer, limit: int, ways: Sequence[Callable[[str], list[int]]]) -> list[str]:
    """Return a sentence cut in the first of these ways, joined while it fits, and what is too long in the next ones."""
    if not ways:
        return _halve(text, tokenizer, limit)
    cut, filled = list[str](), limit + 1
    for unit, length in _units(text, tokenizer, ways[0]):
        if length > limit:
            cut += _cut(unit, tokenizer, limit, ways[1:])
            filled = limit + 1
        elif filled + length <= limit:
            cut[-1] += unit
            filled += length
        else:
            cut.append(unit)
            filled = length
    return cut


def _halve(text: str, tokenizer: Tokenizer, limit: int) -> list[str]:
    """Cut a word, or text without blanks, between characters."""
    if not any(joins_without_blank(c) or has_rare_blanks(c) for c in text):
        limit = max(limit, WHOLE_WORD)
    done, waiting = list[str](), [text]
    while waiting:
        text = waiting.pop()
        place = place_to_cut(text) if len(tokenizer.encode_source([text])[0]) > limit else None
        if place is None:
            done.append(text)
        else:
            waiting += [text[place:], text[:place]]
    return done


class Joined(NamedTuple):
    """A translation of a line, joined from those of its parts."""

    text: str
    score: float
    log_prob: float
    ids: tuple[int, ...]
    lengths: tuple[int, ...] = ()


Ways = Sequence[tuple[str, Hypothesis]]
"""The translations of a part, with their texts."""


def join_best(ways_of_parts: Sequence[Ways], parts: Sequence[Part], count: int) -> list[Joined]:
    """Return the `count` best different translations of a line: those with the largest sums of its parts' scores."""
    if count == 1:
        return [_join([max(ways, key=lambda way: way[1].score) for ways in ways_of_parts], parts)] if parts else []
    combined: list[Ways] = [[]] if parts else []
    for number, ways in enumerate(ways_of_parts, 1):  # each of the best joins one of the best of the parts before
        longer: list[Ways] = [[*before, way] for before in combined for way in ways]
        longer.sort(key=lambda combination: -sum(found.score for _, found in combination))
        best: dict[str, Ways] = {}
        for combination in longer:
            best.setdefault(join_texts([text for text, _ in combination], parts[:number]), combination)
        combined = list(best.values())[:count]
    return [_join(combination, parts) for combination in combined]


def join_samples(ways_of_parts: Sequence[Ways], parts: Sequence[Part], _: int) -> list[Joined]:
    """Return the samples of a line: the n-th joins the n-th of each part."""
    return [_join(combination, parts) for combination in zip(*ways_of_parts, strict=True)]


def _join(combination: Ways, parts: Sequence[Part]) -> Joined:
    found = [each for _, each in combination]
    return Joined(
        join_texts([text for text, _ in combination], parts),
        sum(each.score for each in found),
        sum(each.log_prob for each in found),
        tuple(i for each in found for i in each.ids),
        tuple(len(each.ids) for each in found),
    )


def restore_beginning(
    joined: list[Joined], prefix: str, begins: Sequence[TextPrefix | None], parts: Sequence[Part]
) -> list[Joined]:
    """Return translations of several parts with their beginning exactly as given: joining may change its blanks."""
    if not prefix or len(parts) < 2:
        return joined
    begun = [begin.given for begin in begins if begin is not None]
    changed = join_texts(begun, parts[: len(begun)])
    return [
        one._replace(text=prefix + one.text.removeprefix(changed)) if one.text.startswith(changed) else one
        for one in joined
    ]


def join_texts(texts: Sequence[str], parts: Sequence[Part]) -> str:
    """Return the translations of parts as one text.

    There is no blank between two of them where both characters at the seam belong to a script without blanks, where
    the source has none inside a word, or where neither the source nor the script of both, such as Thai, has one.
    """
    joined, seam, tight = "", "", True
    for text, part in zip(texts, parts, strict=True):
        seam, tight = seam or part.seam, tight and part.tight
        if not text:
            continue
        if joined:
            left, right = joined[-1], text[0]
            rare = tight and has_rare_blanks(left) and has_rare_blanks(right)
            joined += "" if rare or _no_blank(joined, text) else seam
        joined, seam, tight = joined + text, "", True
    return joined


def _no_blank(left: str, right: str) -> bool:
    """Return whether a script without blanks is on both sides of a seam. Common marks and digits are on no side."""
    if joins_without_blank(left[-1]) and not left[-1].isalpha():
        return True  # after 。
    before = next((c for c in reversed(left[-20:]) if c.isalpha()), left[-1])
    after = next((c for c in right[:20] if c.isalpha()), right[0])
    return joins_without_blank(before) and joins_without_blank(after)
