"""Emoji, addresses, numbers, signs and tags: what a translation has as its source has it."""

from __future__ import annotations

from collections.abc import Callable

EMOJI = ((0x1F600, 80), (0x1F300, 250), (0x1F400, 240), (0x1F680, 70), (0x2600, 200), (0x1F910, 90))
"""Ranges of characters: their first, and how many."""
# fmt: off
SIGNS = (
    "*", "#", "+", "=", "|", "~", "§", "©", "®", "™", "€", "£", "$", "°", "•", "→", "←", "✓", "★", "…", "–", "—", "«",
    "»", "&", "@", "%", "^", "_", "/", "\\", "->", "=>", "...", "?!", ":)", ";)", ":-)", ":D", "<3", "[1]", "(a)", "1)",
    "a)", "½", "×",
)
TAGS = ("b", "i", "u", "em", "strong", "p", "span", "a", "code", "h1", "li", "td")
SYLLABLES = (
    "ba", "co", "du", "el", "fa", "gi", "ho", "in", "jo", "ka", "lu", "mi", "no", "or", "pa", "qu", "ra", "si", "ta",
    "un", "vo", "wi", "xe", "ya", "zo",
)
ENDS = (
    ".com", ".org", ".net", ".de", ".fr", ".io", ".eu", ".gov", ".info", ".com/index.html", ".org/a?b=1",
    ".net/news/2024",
)
# fmt: on


def symbol(below: Callable[[int], int]) -> str:
    """Return an emoji, an address, a number or a sign. `below(n)` draws a number from 0 to n - 1."""
    kind = below(8)
    if kind < 3:
        first, count = EMOJI[below(len(EMOJI))]
        return chr(first + below(count))
    if kind == 3:
        return address(below)
    return number(below) if kind < 6 else SIGNS[below(len(SIGNS))]


def number(below: Callable[[int], int]) -> str:
    """Return a number of one to seven digits, some with a point, a comma, a colon or a sign."""
    digits = str(below(10 ** (1 + below(7))))
    parts = (
        digits,
        f"{digits}{'.,:-/'[below(5)]}{below(100):02}",
        f"{digits} %",
        f"#{digits}",
        f"{digits}{'abxkm'[below(5)]}",
    )
    return parts[max(0, below(8) - 3)]


def address(below: Callable[[int], int]) -> str:
    """Return the address of a page or of a mailbox."""
    name = "".join(SYLLABLES[below(len(SYLLABLES))] for _ in range(2 + below(3)))
    site = name + ENDS[below(len(ENDS))]
    return (f"https://www.{site}", f"http://{site}", f"www.{site}", f"info@{name}.com")[below(4)]


def in_tag(text: str, number: int) -> str:
    """Return the text inside a tag of HTML, chosen by a number."""
    name = TAGS[number % len(TAGS)]
    return f"<{name}>{text}</{name}>"
