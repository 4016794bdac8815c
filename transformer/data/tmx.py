"""Pairs from translation memories in TMX, read in a stream. The parser expands no entities and opens no other files."""

from __future__ import annotations

import functools
import html.entities
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

from transformer import languages
from transformer.data.formats import DAMAGE, unreadable
from transformer.data.lines import open_bytes, warn_once
from transformer.errors import DataError

CHUNK = 1 << 16
LARGEST = 1 << 24
"""Bytes of a tag, and characters of a unit in both languages, above which a file is refused."""
CODES = {"bpt", "ept", "it", "ph", "ut"}
"""Elements in a sentence that hold codes of the program that wrote it. The text in `hi` belongs to the sentence."""
MOST_VARIANTS, DEEPEST = 1000, 100
"""Languages of a unit, and elements in one another, above which a file is refused."""
LACKING = "lacks a language"
"""Why a unit is no pair, in words for the log and for tables."""
LONGEST_CODE = 100
"""Characters of a language code that are kept."""


class _Units:
    """Collects the units of translation while expat reads."""

    def __init__(self, path: Path, source: str, target: str, keep_tags: bool) -> None:
        self.path, self.keep = path, keep_tags
        self.wanted = source, target
        self.pairs: list[tuple[str, str]] = []
        """Pairs that were read and not taken yet."""
        self.units = self.lacking = 0
        self.seen: dict[str, None] = {}
        """The languages in the file."""
        self._variants: list[tuple[str, str]] = []
        """The texts of the unit in the languages that are wanted, with their codes."""
        self._count = 0
        self._language = ""
        self._text: list[str] | None = None
        self._skipped = False
        self._size = self._depth = self._level = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._level += 1
        if self._level > DEEPEST:
            raise DataError(f"{self.path}, unit {self.units + 1} is nested too deeply")
        if self._text is not None:
            self._depth += name in CODES
        elif name == "tu":
            self._variants, self._count, self._size = [], 0, 0
        elif name == "tuv":
            self._language = attributes.get("xml:lang", attributes.get("lang", ""))[:LONGEST_CODE]
        elif name == "seg":
            self._text, self._depth = [], 0
            self._skipped = not any(_fits(self._language, wanted) for wanted in self.wanted)

    def end(self, name: str) -> None:
        self._level -= 1
        if name == "seg" and self._text is not None:
            if not self._skipped:
                self._variants.append((self._language, "".join(self._text)))
            self._text = None
            if len(self.seen) < MOST_VARIANTS:
                self.seen[self._language] = None
            self._count += 1
            if self._count > MOST_VARIANTS:
                raise DataError(f"{self.path}, unit {self.units + 1} has more than {MOST_VARIANTS} variants")
        elif self._text is not None:
            self._depth -= name in CODES
        elif name == "tu":
            self._end_unit()

    def text(self, content: str) -> None:
        if self._text is None or self._skipped or (self._depth and not self.keep):
            return
        self._text.append(content)
        self._size += len(content)
        if self._size > LARGEST:
            raise DataError(f"{self.path}, unit {self.units + 1} is longer than {LARGEST >> 20} MiB, not a sentence")

    def entity(self, name: str, *_: Any) -> None:
        raise DataError(f"{self.path} declares the entity {name!r}, which no translation memory needs; it is refused")

    def undeclared(self, name: str, is_parameter: bool) -> None:
        """Put in an entity that the file's DTD declares: those of HTML are known without reading the DTD."""
        if is_parameter:
            return
        character = html.entities.html5.get(f"{name};")
        if character is None:
            raise DataError(f"{self.path}, unit {self.units + 1} has the entity &{name}; which is not known")
        self.text(character)

    def _end_unit(self) -> None:
        self.units += 1
        source, target = _chosen(self._variants, self.wanted)
        if source is None or target is None:
            self.lacking += 1
        else:
            self.pairs.append((source, target))


def _chosen(variants: list[tuple[str, str]], wanted: tuple[str, str]) -> tuple[str | None, str | None]:
    """Return the texts in two languages: of the variants the one with the same code, else the first that fits."""
    left, found = list(variants), dict[int, str]()
    for fitting in (_same, _fits):
        for side, code in enumerate(wanted):
            index = next((i for i, (language, _) in enumerate(left) if fitting(language, code)), None)
            if side not in found and index is not None:
                found[side] = left.pop(index)[1]
    return found.get(0), found.get(1)


@functools.lru_cache(maxsize=4096)
def _same(language: str, wanted: str) -> bool:
    return language.lower().replace("_", "-") == wanted.lower().replace("_", "-")


@functools.lru_cache(maxsize=4096)
def _fits(language: str, wanted: str) -> bool:
    return bool(language) and languages.fits(language, wanted)


def read_tmx(
    path: Path, source: str, target: str, keep_tags: bool, left_out: Counter[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a translation memory. Units that lack one of the languages are counted in `left_out`.

    `en` matches `en-GB`; of several variants the one with the same code comes first. None is both source and target,
    and none in another script is taken. `keep_tags` keeps the text of codes such as `<bpt>`. Raises DataError for what
    is not TMX, and if all units lack a language.
    """
    units = _Units(path, source, target, keep_tags)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = units.start, units.end
    parser.CharacterDataHandler, parser.EntityDeclHandler = units.text, units.entity
    parser.SkippedEntityHandler = units.undeclared
    read = 0
    with open_bytes(path, any_encoding=True) as stream:
        try:
            ended = False
            while not ended:
                content = stream.read(CHUNK)
                ended, read = not content, read + len(content)
                parser.Parse(content, ended)
                if read - parser.CurrentByteIndex > LARGEST:
                    raise DataError(f"{path} has a tag of more than {LARGEST >> 20} MiB, so it is no TMX")
                yield from units.pairs
                units.pairs.clear()
        except expat.ExpatError as error:
            raise DataError(f"{path} is not valid XML: {error}") from None
        except (LookupError, ValueError) as error:  # of Python's codecs
            raise DataError(f"{path} has an encoding that is not supported ({error}); save it as UTF-8") from None
        except DAMAGE as error:
            raise unreadable(str(path), error) from None
    if units.lacking == units.units:
        found = ", ".join(list(units.seen)[:20]) or "none"
        raise DataError(f"{path} has no unit with both {source} and {target}; its languages are {found}")
    if units.lacking:
        if left_out is not None:
            left_out[LACKING] += units.lacking
        warn_once(f"{path}: {units.lacking:,} of {units.units:,} units lack {source} or {target} and are left out")
