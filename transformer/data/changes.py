"""Changes to lines as people make them: capital and small letters, typos, a full stop or a blank left out."""

from __future__ import annotations

import re

from transformer import languages
from transformer.data.sentences import ENDS, continues

LETTERS_A_TYPO = 40
"""Letters of a line for each typo. Every line of some letters has one. The number was chosen, not measured."""
TURKIC = ("tr", "az", "crh", "kk", "tt")
"""Languages that write the capital of i with a dot, and the small letter of I without one; in Latin script only."""
SPACING_VOWELS = "\u0e33\u0eb3"
"""Vowels of Thai and Lao that belong to the character before them, though Unicode calls them letters."""


def upper(text: str, language: str, _: int = 0) -> str:
    """Return the text in capital letters. The capital of the Turkish i has a dot, and that of ß is SS."""
    return (text.replace("i", "İ") if _is_turkic(language) else text).upper()


def lower(text: str, language: str, _: int = 0) -> str:
    """Return the text in small letters."""
    dotted = text.replace("I\u0307", "i").replace("İ", "i").replace("I", "ı")
    return (dotted if _is_turkic(language) else text).lower()


def title(text: str, language: str, _: int = 0) -> str:
    """Return the text with a capital at the beginning of each word, also after a hyphen; the rest stays."""
    small = "İ" if _is_turkic(language) else "I"

    def capital(found: re.Match[str]) -> str:
        return found[1] + (small if found[2] == "i" else found[2].title())

    return re.sub(r"((?:^|[\s\-–—/])[^\w\s]*)([^\W\d_])", capital, text)


def _is_turkic(language: str) -> bool:
    return languages.parse(language).code in TURKIC


def characters(text: str) -> list[str]:
    """Return the characters of a text as a reader sees them: letters with their marks, whole emoji."""
    found: list[str] = []
    for place, each in enumerate(text):
        if place and (continues(text, place) or each in SPACING_VOWELS):
            found[-1] += each
        else:
            found.append(each)
    return found


def places_of_typos(shown: list[str]) -> tuple[list[int], int]:
    """Return the places inside words where a text, given as its characters, can have typos, and how many it gets."""
    letters = [bool(each) and each[0].isalpha() for each in shown]
    inside = [i for i in range(1, len(shown) - 1) if letters[i - 1] and letters[i] and letters[i + 1]]
    return inside, max(1, sum(letters) // LETTERS_A_TYPO)


def spoil(shown: list[str], place: int, kind: int) -> None:
    """Exchange (0), leave out (1) or double (2) the letter at a place of a text, given as its characters."""
    if kind == 0 and shown[place] != shown[place + 1]:
        shown[place], shown[place + 1] = shown[place + 1], shown[place]
    elif kind == 1:
        del shown[place]
    else:
        shown.insert(place, shown[place])


def without_end(text: str, *_: object) -> str:
    """Return the text without the marks that end its last sentence. Quotes and brackets after them stay."""
    found = next(reversed([*ENDS.finditer(text)]), None)
    if found is None or found.end() < len(text.rstrip()) or not any(map(str.isalnum, text[: found.start()])):
        return text
    return text[: found.start("mark")].rstrip() + text[found.end("mark") :]
