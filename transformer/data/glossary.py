"""Terms and their translations, given inside the source text (Dinu et al. 2019): `<term> dog <trans> Hund </term>`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from transformer.data.lines import read_lines
from transformer.data.placeholders import FOUND, TERM_MARKS
from transformer.data.sentences import has_rare_blanks, joins_without_blank
from transformer.data.tags import TAG
from transformer.data.text import clean
from transformer.errors import DataError

MOST = 100_000
"""Terms of a file."""
WORD = re.compile(r"\w+")
LONGEST = 200
"""Characters of a side of a term."""


def read_glossary(path: Path) -> list[tuple[str, str]]:
    """Return the terms of a file with `source<TAB>target` on each line, cleaned. Raises DataError for other lines."""
    terms: list[tuple[str, str]] = []
    for number, line in enumerate(read_lines(path), 1):
        columns = [] if line is None else [clean(each) for each in line.split("\t")]
        if len(columns) == 2 and all(columns) and max(map(len, columns)) <= LONGEST:
            terms.append((columns[0], columns[1]))
        elif line is None or line.strip():
            raise DataError(f"{path}, line {number} is no term; expected source and target, separated by one tab")
        if len(terms) > MOST:
            raise DataError(f"{path} has more than {MOST} terms")
    if not terms:
        raise DataError(f"{path} has no terms")
    return terms


class Glossary:
    """Finds terms in text, whole words in any case, and writes their translations behind them."""

    def __init__(self, terms: Iterable[tuple[str, str]]) -> None:
        """Take terms with their translations. Of terms that overlap, the first and then the longest counts."""
        self.targets: dict[str, list[str]] = {}
        for source, target in terms:
            self.targets.setdefault(source.casefold(), []).append(target)
        self._beginning: dict[str, list[str]] = {}
        """The terms by what they begin with: their first word, or a character of a script without blanks."""
        for term in sorted(self.targets, key=len, reverse=True):
            self._beginning.setdefault(_first(term), []).append(term)

    def annotate(self, source: str, choose: Callable[[list[str]], str | None] = lambda targets: targets[0]) -> str:
        """Return a source text with the translations of its terms behind them.

        `choose` takes the translations of a term and returns the one to write, by default the first, or None.
        """
        parts, begin, place = list[str](), 0, 0
        kept = [found.span() for pattern in (FOUND, TAG) for found in pattern.finditer(source)]
        inside = {place for start, end in kept for place in range(start + 1, end)}
        whole = dict(kept)
        while place < len(source):
            term, end = self._at(source, place) if place not in inside else (None, place)
            usable = term is not None and end not in inside and end >= whole.get(place, place)
            target = choose(self.targets[term]) if term is not None and usable else None
            if target is None:
                place += 1
                continue
            first, middle, last = TERM_MARKS
            parts += source[begin:place], f" {first} {source[place:end]} {middle} {target} {last}"
            begin = place = end
        return clean("".join([*parts, source[begin:]]))

    def _at(self, text: str, place: int) -> tuple[str | None, int]:
        """Return the longest term at a place of a text, in small letters, and where it ends in the text."""
        if place and _joined(text[place - 1], text[place]):
            return None, place
        for term in self._beginning.get(_first(text[place : place + LONGEST].casefold()), ()):
            end = _end(text, place, term)
            if end is not None and (end == len(text) or not _joined(text[end - 1], text[end])):
                return term, end
        return None, place

    def annotate_pair(self, source: str, target: str) -> str:
        """Return the source of a pair with the terms whose translations its target has, as they are written there."""

        def there(targets: list[str]) -> str | None:
            return next((found for term in targets if (found := _find(term, target)) is not None), None)

        return self.annotate(source, there)


def _find(term: str, text: str) -> str | None:
    """Return a term as it is written in a text, as whole words, or None."""
    small = term.casefold()
    if small not in text.casefold():
        return None
    for place in range(len(text)):
        if place and _joined(text[place - 1], text[place]):
            continue
        end = _end(text, place, small)
        if end is not None and (end == len(text) or not _joined(text[end - 1], text[end])):
            return text[place:end]
    return None


def _end(text: str, place: int, term: str) -> int | None:
    """Return where a term ends that a text has at a place, or None. In small letters, ß is two characters."""
    seen = 0
    while seen < len(term) and place < len(text):
        small = text[place].casefold()
        if not term.startswith(small, seen):
            return None
        seen, place = seen + len(small), place + 1
    return place if seen == len(term) else None


def _first(text: str) -> str:
    """Return what a text in small letters begins with: a word, or one character that is none or needs no blanks."""
    word = WORD.match(text)
    return text[0] if word is None or _unspaced(text[0]) else word[0]


def _joined(one: str, other: str) -> bool:
    """Return whether two neighbouring characters belong to one word."""
    both = WORD.fullmatch(one + other) is not None
    return both and not (_unspaced(one) or _unspaced(other))


def _unspaced(character: str) -> bool:
    return has_rare_blanks(character) or joins_without_blank(character)
