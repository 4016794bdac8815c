"""Tags before source texts: of the language to translate into, as `>>fra<<` in multilingual models, or of where a pair
is from, such as `<bt>`.

A tag is one piece of the vocabulary, with the space before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from transformer.data.text import Rule

TAG = re.compile(r">>[^<>\s]+<<")
"""The tags of OPUS-MT. A learned vocabulary may have others, which its model names."""


def with_tag(text: str, tag: str | None) -> str:
    """Return a source text with a tag before it. An empty text stays empty."""
    return f"{tag} {text}" if tag and text.strip() else text


def split_tag(text: str, is_tag: Callable[[str], bool]) -> tuple[str, str]:
    """Return the tag before a source text with the blank after it, or nothing, and the text."""
    first, blank, rest = text.partition(" ")
    return (first + blank, rest) if is_tag(first) else ("", text)


def with_prefix(rule: Rule, prefix: str, is_tag: Callable[[str], bool]) -> Rule:
    """Return the rule for source text with a prefix before each text but empty ones.

    A text that begins with a tag of its own keeps that.
    """
    if not prefix:
        return rule

    def prefixed(text: str) -> str:
        first = text.split(" ", 1)[0]
        return text if is_tag(first) else with_tag(text, prefix)

    return Rule(lambda text: prefixed(rule.given(text)), lambda text: prefixed(rule.learned(text)), rule.decoded)
