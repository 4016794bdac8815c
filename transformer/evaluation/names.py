"""Names in raw text, found by their capitals."""

from __future__ import annotations

import re
from itertools import pairwise

from transformer import languages
from transformer.evaluation.words import tokens

NOUNS_ARE_CAPITALISED = {"de", "lb", "nds", "gsw", "bar"}
"""Languages whose common nouns have capitals, by `Language.code`."""
HEADLINE = 0.5
"""Share of the words after the first that have capitals: above it a sentence is a headline, and they say nothing."""
_END = re.compile(r"[.!?:;…\"“”„«»‘(\[–—-]")


def names(sentence: str, other: str, language: str) -> list[str]:
    """Return the words of a sentence that are probably names: capitalised inside a sentence. A heuristic.

    `other` is the same sentence in the other language of the pair. In German and other languages that capitalise all
    nouns, only what `other` has too is a name.
    """
    line = [token for token in tokens(sentence) if not token.isspace()]
    inside = [word for before, word in pairwise(line) if not _END.fullmatch(before) and word[0].isalpha()]
    inner = [word for word in inside if _is_capitalised(word)]
    if len(inner) > HEADLINE * len(inside):
        return []
    if languages.parse(language).code in NOUNS_ARE_CAPITALISED:
        shared = set(tokens(other))
        return [word for word in inner if word in shared]
    return inner


def _is_capitalised(word: str) -> bool:
    """Return whether a word of two letters or more begins with a capital. The English `I` does not count."""
    return len(word) > 1 and word[0].isupper() and word[1].isalpha()
