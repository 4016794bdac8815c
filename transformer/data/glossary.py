"""Terms and their translations, given inside the source text (Dinu et al. 2019): `<term> dog <trans> Hund </term>`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from transformer.data.lines import read_lines
from transformer.data.placeholders import TERM_MARKS
from transformer.data.sentences import has_rare_blanks, joins_without_blank
from transformer.data.text import clean
from transformer.errors import DataError

MOST = 100_000
"""Terms of a file."""
BEGIN, END = r"(?<!\w)", r"(?!\w)"
LONGEST = 200
"""Characters of a side of a term."""


def read_glossary(path: Path) -> dict[str, str]:
    """Return the terms of a file with `source<TAB>target` on each line, cleaned. Raises DataError for other lines."""
    terms: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        columns = [] if line is None else [clean(each) for each in line.split("\t")]
        if len(columns) == 2 and all(columns) and max(map(len, columns)) <= LONGEST:
            terms.setdefault(*columns)
        elif line is None or line.strip():
            raise DataError(f"{path}, line {number} is no term; expected source and target, separated by one tab")
        if len(terms) > MOST:
            raise DataError(f"{path} has more than {MOST} terms")
    if not terms:
        raise DataError(f"{path} has no terms")
    return terms


class Glossary:
    """Finds terms in text, whole words in any case, and writes their translations behind them."""

    def __init__(self, terms: dict[str, str]) -> None:
        """Take the translation of each term. Of terms that overlap, the first and then the longest counts."""
        self.targets = {source.casefold(): target for source, target in terms.items()}
        longest_first = sorted(terms, key=len, reverse=True)
        self._terms = re.compile("|".join(map(_whole, longest_first)), re.IGNORECASE)

    def annotate(self, source: str, accept: Callable[[str], str | None] = lambda target: target) -> str:
        """Return a source text with the translations of its terms behind them.

        `accept` takes the translation of a term and returns the one to write, or None to leave the term alone.
        """
        begin, middle, end = TERM_MARKS

        def marked(found: re.Match[str]) -> str:
            target = self.targets.get(found[0].casefold())
            given = None if target is None else accept(target)
            return found[0] if given is None else f" {begin} {found[0]} {middle} {given} {end}"

        return clean(self._terms.sub(marked, source))

    def annotate_pair(self, source: str, target: str) -> str:
        """Return the source of a pair with the terms whose translations its target has, as they are written there."""

        def there(term: str) -> str | None:
            found = re.search(_whole(term), target, re.IGNORECASE)
            return None if found is None else found[0]

        return self.annotate(source, there)


def _whole(term: str) -> str:
    """Return the pattern of a term as whole words, where its script has blanks."""
    first, last = (has_rare_blanks(c) or joins_without_blank(c) for c in (term[0], term[-1]))
    return f"{'' if first else BEGIN}{re.escape(term)}{'' if last else END}"
