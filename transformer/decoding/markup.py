"""Tags in a line, such as `<b>` and `</a>`: taken out before it is translated, and carried over by the alignment.

Each token of the translation gets the open elements of the source token that it is aligned to. So an element whose
words are moved apart is opened several times. The text of the translation is never changed.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

TAG = re.compile(r"<(?:!--.*?--|[!?/]?[A-Za-z][^<>]*)>", re.DOTALL)
"""A tag of any length, a comment or a processing instruction. `ELEMENT` of `data/placeholders.py` is bounded: it stands
for what a model copies."""
NAME = re.compile(r"</?([A-Za-z][^\s/>]*)")
TOKEN = re.compile(r"\w+|[^\w\s]")
VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())  # noqa: SIM905
"""HTML elements without an end tag."""


class Element(NamedTuple):
    """An element that has a start and an end tag, and the characters of the text that are in it."""

    tag: str
    name: str
    start: int
    end: int


class Mark(NamedTuple):
    """A tag without content, such as `<br>`, or one without its other half, and where in the text it stands."""

    tag: str
    place: int


@dataclass(frozen=True)
class Marked:
    """A line without its tags, and the tags."""

    text: str
    elements: list[Element]
    """From the outermost on."""
    marks: list[Mark]


def take_out(line: str) -> Marked:
    """Return a line without its tags. Entities such as `&amp;` become characters."""
    text, elements, marks = "", list[Element](), list[Mark]()
    opened: list[tuple[str, str, int]] = []  # tag, name, place
    end = 0
    for found in TAG.finditer(line):
        text += html.unescape(line[end : found.start()])
        end = found.end()
        tag, named = found[0], NAME.match(found[0])
        name = named[1].lower() if named else ""
        names = [each[1] for each in opened]
        if not name or tag.endswith("/>") or name in VOID:
            marks.append(Mark(tag, len(text)))
        elif not tag.startswith("</"):
            opened.append((tag, name, len(text)))
        elif name in names:
            place = len(names) - 1 - names[::-1].index(name)
            marks += [Mark(one, start) for one, _, start in opened[place + 1 :]]  # were never closed
            elements.append(Element(*opened[place], len(text)))
            del opened[place:]
        else:
            marks.append(Mark(tag, len(text)))
    marks += [Mark(tag, place) for tag, _, place in opened]
    return Marked(
        text + html.unescape(line[end:]),
        sorted(elements, key=lambda each: (each.start, -each.end)),
        sorted(marks, key=lambda mark: mark.place),
    )


def tokens(text: str) -> list[tuple[int, int]]:
    """Return where each word and each mark of punctuation begins and ends."""
    return [found.span() for found in TOKEN.finditer(text)]


def put_back(source: Marked, translation: str, aligned: Sequence[int]) -> str:
    """Return a translation with the tags of its source. `aligned` has the source token of each token of it."""
    places, targets = tokens(source.text), tokens(translation)
    inside = [[e for e in source.elements if e.start <= start and end <= e.end] for start, end in places]
    wanted = [inside[i] if 0 <= i < len(inside) else [] for i in aligned]
    marks = _places_of_marks(source.marks, places, aligned, len(targets))
    written, end, opened = "", 0, list[Element]()
    for number, (start, stop) in enumerate(targets):
        kept = next((i for i, (a, b) in enumerate(zip(opened, wanted[number], strict=False)) if a != b), None)
        kept = min(len(opened), len(wanted[number])) if kept is None else kept
        written += "".join(f"</{each.name}>" for each in reversed(opened[kept:]))
        written += html.escape(translation[end:start], quote=False) + "".join(marks[number])
        written += "".join(each.tag for each in wanted[number][kept:])
        written += html.escape(translation[start:stop], quote=False)
        opened, end = wanted[number], stop
    written += "".join(f"</{each.name}>" for each in reversed(opened))
    return written + html.escape(translation[end:], quote=False) + "".join(marks[-1])


def _places_of_marks(
    marks: Sequence[Mark], places: Sequence[tuple[int, int]], aligned: Sequence[int], count: int
) -> list[list[str]]:
    """Return the marks before each token of the translation, and those after the last one."""
    found: list[list[str]] = [[] for _ in range(count + 1)]
    starts = [start for start, _ in places]
    for mark in marks:
        following = bisect_right(starts, mark.place - 1)  # the token of the source that follows the mark
        after = [number for number, i in enumerate(aligned) if i >= following]
        found[after[0] if after and following < len(places) else count].append(mark.tag)
    return found
