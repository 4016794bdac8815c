"""Words of raw text, in any script. Where there are no blanks between words, each character is one."""

from __future__ import annotations

import re

from transformer.data.text import CURSIVE, INDIC
from transformer.languages import WITHOUT_BLANKS

_SINGLE = "".join(WITHOUT_BLANKS.values())
_MARKS = r"\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7" + CURSIVE + INDIC
"""Vowels and accents that Python's regular expressions do not count as letters, and letters around them."""
_LETTERS = rf"(?:(?![{_SINGLE}])[\w{_MARKS}])+"
_TOKEN = re.compile(
    rf"(?P<word>\d+(?:[.,:]\d+)+|[{_SINGLE}]|{_LETTERS}(?:['’‑-]{_LETTERS})*)|(?P<blank>\s+)|.", re.DOTALL
)


def tokens(text: str) -> list[str]:
    """Return words, runs of blanks and single other characters, which joined are the text."""
    return [found[0] for found in _TOKEN.finditer(text)]


def words(text: str) -> list[str]:
    """Return the words of a text, with numbers such as `1,000`, without blanks and punctuation."""
    return [found[0] for found in _TOKEN.finditer(text) if found["word"]]
