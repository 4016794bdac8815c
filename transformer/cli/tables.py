"""Tables on the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return rows as aligned lines, the first `left` columns to the left and the others to the right."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            text + " " * (size - width(text)) if place < left else " " * (size - width(text)) + text
            for place, (text, size) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def width(text: str) -> int:
    """Return the columns that a text takes on a terminal: two for wide characters, none for accents."""
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


def shortened(text: str, most: int) -> str:
    """Return the text, cut to so many columns."""
    if width(text) <= most:
        return text
    cut = text
    while width(cut) >= most:
        cut = cut[:-1]
    return cut + "…"
