"""Tags before source texts, which name the language to translate into: `>>fra<<` in multilingual models of OPUS-MT."""

from __future__ import annotations

import re
from collections.abc import Callable

from transformer.data.text import Rule

TAG = re.compile(r">>[^<>\s]+<<")


def with_prefix(rule: Rule, prefix: str, is_tag: Callable[[str], bool]) -> Rule:
    """Return the rule for source text with a prefix before each text but empty ones.

    A text that begins with a tag of its own keeps that.
    """
    if not prefix:
        return rule

    def prefixed(text: str) -> str:
        first = text.split(" ", 1)[0]
        own = TAG.fullmatch(first) is not None and is_tag(first)
        return text if own or not text.strip() else f"{prefix} {text}"

    return Rule(lambda text: prefixed(rule.given(text)), lambda text: prefixed(rule.learned(text)), rule.decoded)
