"""Text of strangers, made safe for terminals and files that people read."""

from __future__ import annotations

import re

HIDDEN_CHARACTERS = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters and marks of writing direction, and surrogates, which UTF-8 cannot encode: ranges of a pattern."""
HIDDEN = re.compile(rf"[{HIDDEN_CHARACTERS}\u2028\u2029]")
"""These and the separators of lines and paragraphs, which end a line of a terminal or a file."""


def shown(text: str) -> str:
    """Return the text with control characters escaped as in JSON and Python."""
    return HIDDEN.sub(lambda m: f"\\u{ord(m[0]):04x}" if ord(m[0]) > 0x7E else f"\\x{ord(m[0]):02x}", text)
