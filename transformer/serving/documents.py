"""What of a text is translated, line by line, and how the translations are put back."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from html.parser import HTMLParser

from transformer.decoding.markup import VOID

UNTRANSLATED = frozenset({"address", "applet", "audio", "canvas", "code", "embed", "script", "style", "time", "video"})
"""HTML elements whose text is kept. They are those of LibreTranslate."""
LINES = frozenset({"pre", "textarea"})
"""HTML elements in which line ends count."""


@dataclass(frozen=True)
class Document:
    """A text in parts, some of which are lines to translate. Everything else stays as it is, byte for byte."""

    parts: list[str]
    places: list[int]
    """The places of the lines in `parts`."""
    markup: bool = False

    @property
    def lines(self) -> list[str]:
        """The lines to translate, none of them empty."""
        found = [self.parts[place] for place in self.places]
        return [html.unescape(each) for each in found] if self.markup else found

    def rebuilt(self, lines: Sequence[str]) -> str:
        """Return the text with these lines instead of its own. In HTML they are escaped."""
        parts = list(self.parts)
        for place, line in zip(self.places, lines, strict=True):
            parts[place] = html.escape(line, quote=False) if self.markup else line
        return "".join(parts)


def read_text(text: str) -> Document:
    """Return a text as its lines. Blank lines and blanks at the ends of lines are kept."""
    document = Document([], [])
    for number, line in enumerate(text.split("\n")):
        if number:
            document.parts.append("\n")
        _add(document, line)
    return document


def read_html(text: str) -> Document:
    """Return the text nodes of HTML. Tags, attributes, comments and scripts are kept, as is what is not translated.

    A node is one line, but in `<pre>` and `<textarea>` the lines are as they are. Elements of `UNTRANSLATED` and those
    with `translate="no"` keep their text. Raises ValueError if the parser cannot read it.
    """
    document = Document([], [], markup=True)
    for part, kind in _Splitter(text).segments():
        if kind is Kind.KEPT:
            document.parts.append(part)
            continue
        for number, line in enumerate(part.split("\n") if kind is Kind.LINES else [part]):
            if number:
                document.parts.append("\n")
            _add(document, line)
    return document


def _add(document: Document, line: str) -> None:
    """Add a line without the blanks around it, which are kept."""
    core = line.strip()
    if not (html.unescape(core).strip() if document.markup else core):
        document.parts.append(line)
        return
    start = line.index(core)
    document.places.append(len(document.parts) + 1)
    document.parts.extend((line[:start], core, line[start + len(core) :]))


class Kind(Enum):
    """What is done with a piece of HTML."""

    KEPT, TEXT, LINES = range(3)
    """It is kept, or translated as one line, or line by line."""


class _Splitter(HTMLParser):
    """Finds where each tag, text and comment of a document begins."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=False)
        self._text = text
        self._starts = [0]  # offset of each line
        for line in text.split("\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._marks = [(0, Kind.KEPT)]
        self._kept: list[str] = []  # the open elements from the outermost one whose text is kept
        self._lines = 0  # how many elements are open in which line ends count

    def segments(self) -> list[tuple[str, Kind]]:
        """Return the document in pieces, and what is done with each."""
        last = self._text.rfind(">") + 1  # what follows is no tag; the parser takes quadratic time to find that out
        try:
            self.feed(self._text[:last])
            self.close()
        except AssertionError as error:  # of `<![`, in Python up to 3.13
            raise ValueError(str(error)) from None
        self._marks.append((last, self._kind))
        found: list[tuple[str, Kind]] = []
        ends = [start for start, _ in self._marks[1:]] + [len(self._text)]
        for (start, kind), end in zip(self._marks, ends, strict=True):
            if found and kind is found[-1][1] and kind is not Kind.KEPT:  # an entity in a text
                found[-1] = found[-1][0] + self._text[start:end], kind
            else:
                found.append((self._text[start:end], kind))
        return found

    @property
    def _kind(self) -> Kind:
        """What is done with text here."""
        return Kind.KEPT if self._kept else Kind.LINES if self._lines else Kind.TEXT

    def _mark(self, is_text: bool) -> None:
        line, column = self.getpos()
        self._marks.append((self._starts[line - 1] + column, self._kind if is_text else Kind.KEPT))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._mark(False)
        self._lines += tag in LINES
        hidden = tag in UNTRANSLATED or any(
            name == "translate" and (value or "").lower() == "no" for name, value in attrs
        )
        if tag not in VOID and (hidden or self._kept):
            self._kept.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._mark(False)

    def handle_endtag(self, tag: str) -> None:
        self._mark(False)
        self._lines = max(0, self._lines - (tag in LINES))
        if tag in self._kept:  # and what it closes with it
            del self._kept[len(self._kept) - 1 - self._kept[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        self._mark(True)

    def handle_entityref(self, name: str) -> None:
        self._mark(True)

    def handle_charref(self, name: str) -> None:
        self._mark(True)

    def handle_comment(self, data: str) -> None:
        self._mark(False)

    def handle_decl(self, decl: str) -> None:
        self._mark(False)

    def handle_pi(self, data: str) -> None:
        self._mark(False)

    def unknown_decl(self, data: str) -> None:
        self._mark(False)
