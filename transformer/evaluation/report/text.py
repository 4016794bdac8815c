"""Text of users and models, made fit for a page: no character that HTML forbids or that hides, and no endless line."""

from __future__ import annotations

import re
from typing import Any

from transformer.system.escaping import HIDDEN_CHARACTERS

LONGEST = 2000
"""Characters of a text that are shown. A page is read by people."""
SPARE = 40
"""A text that is longer by no more than this is shown whole: its rest is not longer than the words in its place."""
CONTROLS = re.compile(rf"[{HIDDEN_CHARACTERS}\ufffe\uffff]")
"""What terminals are not shown either, but for U+2028 and U+2029, which are blanks in a page; and the noncharacters,
which HTML forbids."""


def printable(text: str, longest: int = LONGEST) -> str:
    """Return text without characters that a page cannot have; controls become their pictures, such as ␀."""
    if len(text) <= longest + SPARE:
        return CONTROLS.sub(_picture, text)
    return f"{CONTROLS.sub(_picture, text[:longest])}… ({len(text) - longest:,} more characters)"


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"


def printable_tree(value: Any) -> Any:
    """Return a JSON value with all texts in it printable, whole as they are."""
    if isinstance(value, str):
        return printable(value, len(value))
    if isinstance(value, dict):
        return {str(key): printable_tree(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable_tree(each) for each in value]
    return value
