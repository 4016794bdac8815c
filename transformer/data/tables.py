"""Reads pairs from tables: JSON and Parquet files, and the rows of `datasets`.

A row has a column `translation` of `{"de": …, "en": …}`, or one column per language. Other columns may differ from row
to row. A value that is null or missing is an empty text. Files are read in a stream, without a cache.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from transformer.data.formats import DAMAGE, HEAD, unreadable, what_it_is
from transformer.data.lines import MARK, open_bytes, open_plain, undecodable
from transformer.errors import DataError

Texts = tuple[str, str] | None
"""The two sides of a pair, or None if one is not UTF-8 and such pairs are dropped."""
Reader = Callable[[Path, str, str, bool], Iterator[Texts]]
"""Takes a file, both languages, and whether pairs that are not UTF-8 are dropped."""
CHUNK = 1 << 16
"""Characters of JSON that are parsed at once, unless a row is longer."""
LONGEST_ROW = 1 << 26
"""Characters of a row of JSON above which a file is refused."""
ROWS = 4096
"""Rows of a Parquet file that are held in memory at once."""
MOST_NAMES = 20
"""Names that an error sentence lists."""


class Columns:
    """Takes the two languages out of the rows of one table."""

    def __init__(self, name: str, source: str, target: str, drop: bool, path: Path | None = None) -> None:
        self.name, self.languages, self.drop, self.path = name, (source, target), drop, path
        self.number = 0
        """Number of rows so far."""
        self._missing = {source, target}
        self._outer: dict[str, None] = {}
        self._inner: dict[str, None] = {}

    def pair(self, row: Any) -> Texts:
        """Return the pair of a row."""
        self.number += 1
        if row is not None and not isinstance(row, dict):
            raise DataError(f"{self.name}, row {self.number} is not an object with columns: {row!r:.60}")
        outer = row or {}
        inner = outer.get("translation")
        nested = isinstance(inner, dict) and (
            not inner.keys().isdisjoint(self.languages) or self.languages[0] not in outer
        )
        row = inner if nested else outer
        if self._missing:
            self._outer.update(dict.fromkeys(outer))
            self._inner.update(dict.fromkeys(inner if isinstance(inner, dict) else ()))
            self._missing -= row.keys()
        return self.texts(*(row.get(language) for language in self.languages))

    def texts(self, *values: Any) -> Texts:
        """Return two values as text."""
        source, target = values
        if type(source) is str and type(target) is str and source.isascii() and target.isascii():
            return source, target
        found = [self._text(value, values) for value in values]
        if None in found:
            if not self.drop:
                raise undecodable(self.path, f"{self.name}, row {self.number}")
            return None
        return found[0], found[1]  # type: ignore[return-value]

    def _text(self, value: Any, row: tuple[Any, ...]) -> str | None:
        """Return a value as text, or None if it is not UTF-8."""
        if value is None or value != value:  # NaN is what pandas writes for a missing value
            return ""
        if isinstance(value, bytes):
            value = value.decode("utf-8", "surrogateescape")
        if not isinstance(value, str):
            raise DataError(f"{self.name} contains a value that is not text: {row!r:.60}")
        try:
            value.encode()
        except UnicodeEncodeError:
            if any("\udc80" <= letter <= "\udcff" for letter in value):
                return None  # a byte that was not UTF-8
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return value

    def finish(self) -> None:
        """Raise DataError if the rows had no column for one of the languages. One of several files may have no rows."""
        if self.number and self._missing:
            raise self.lacking(self._outer, self._inner)

    def lacking(self, outer: Iterable[str], inner: Iterable[str]) -> DataError:
        """Return the error for a table without a language. `inner` are the languages in the column `translation`."""
        source, target = self.languages
        if "translation" in outer:
            return DataError(f"{self.name} has the languages {listed(sorted(inner))}, not {source} and {target}")
        return DataError(f"{self.name} has columns {listed(outer)}; expected translation, or {source} and {target}")


def read_json(path: Path, source: str, target: str, drop: bool) -> Iterator[Texts]:
    """Yield the pairs of a file of JSON lines, of a JSON array, or of JSON objects one after another."""
    columns = Columns(str(path), source, target, drop, path)
    with open_bytes(path) as stream:
        try:
            yield from map(columns.pair, _json_rows(stream, str(path)))
        except DAMAGE as error:
            raise unreadable(str(path), error) from None
    columns.finish()


def _json_rows(stream: Any, name: str) -> Iterator[Any]:
    """Yield the values of a file of JSON, in bounded memory."""
    decode, parse = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode, json.JSONDecoder().raw_decode
    text, place, number, wanted, array, ended = "", 0, 0, CHUNK, False, False
    while not ended:
        content = stream.read(wanted)
        ended = not content
        text = text[place:] + decode(content.removeprefix(MARK) if not number else content, ended)
        place = 0
        while (start := _skip(text, place, array)) < len(text):
            place = start
            if text[place] == "[" and not number and not array:
                array, place = True, place + 1
                continue
            if text[place] == "]" and array:
                if text[place + 1 :].strip() or stream.read(1).strip():
                    raise DataError(f"{name} is not valid JSON: there is text behind its list")
                return
            try:
                row, place = parse(text, place)
            except RecursionError:
                raise DataError(f"{name}, row {number + 1} is nested too deeply") from None
            except json.JSONDecodeError as error:
                cut = error.pos > len(text) - 16 or error.msg.startswith("Unterminated")
                if ended or not cut or len(text) > LONGEST_ROW:
                    raise DataError(f"{name}, row {number + 1} is not valid JSON: {error.msg}") from None
                wanted = max(CHUNK, len(text) - place)  # doubling, so that a long row takes linear time
                break
            number += 1
            yield row
        else:
            place, wanted = len(text), CHUNK
    if array:
        raise DataError(f"{name} is not valid JSON: its list has no end")


def _skip(text: str, place: int, array: bool) -> int:
    """Return the place of the next value."""
    between = " \t\r\n," if array else " \t\r\n"
    while place < len(text) and text[place] in between:
        place += 1
    return place


def read_parquet(path: Path, source: str, target: str, drop: bool) -> Iterator[Texts]:
    """Yield the pairs of a Parquet file."""
    import pyarrow
    from pyarrow import parquet

    columns = Columns(str(path), source, target, drop)
    with open_plain(path) as stream:
        head = stream.peek(HEAD)[:HEAD]
        if not head.startswith(b"PAR1"):
            found = what_it_is(head)
            raise DataError(f"{path} is not a Parquet table" + (f" but {found[0]}" if found else ""))
        try:
            table = parquet.ParquetFile(stream, pre_buffer=False)
            wanted = wanted_columns(table.schema_arrow, columns)
            batches = table.iter_batches(ROWS, columns=wanted, use_threads=False)
            yield from arrow_pairs(batches, columns)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise DataError(f"cannot read {path} as parquet: {first_line(error)}") from None


def wanted_columns(schema: Any, columns: Columns) -> list[str]:
    """Return the columns to read. Raises DataError if the languages are not among them."""
    import pyarrow.types as kinds

    names, languages = schema.names, columns.languages
    inner: list[str] = []
    for name in ("translation", *languages):
        if names.count(name) > 1:
            raise DataError(
                f"{columns.name} has {names.count(name)} columns {name}; which one holds the text is unclear"
            )
    if "translation" in names:
        kind = schema.field("translation").type
        if kinds.is_map(kind):
            return ["translation"]
        inner = [field.name for field in kind] if kinds.is_struct(kind) else []
        if any(inner.count(language) > 1 for language in languages):
            raise DataError(f"{columns.name} has a language twice in its column translation: {listed(inner)}")
        if set(languages) <= set(inner):
            return [f"translation.{language}" for language in languages]
    if not set(languages) <= set(names):
        raise columns.lacking(names, inner)
    return list(languages)


def arrow_pairs(batches: Iterable[Any], columns: Columns) -> Iterator[Texts]:
    """Yield the pairs of Arrow batches that have the columns of `wanted_columns`."""
    import pyarrow.types as kinds

    for batch in batches:
        if "translation" not in batch.schema.names:
            sides = [batch.column(language) for language in columns.languages]
        elif kinds.is_map((whole := batch.column("translation")).type):
            yield from (columns.texts(*_of_map(row, columns)) for row in whole.to_pylist())
            continue
        else:
            places = [whole.type.get_field_index(language) for language in columns.languages]
            flat = whole.flatten()  # a row that is null has null in both languages
            sides = [flat[place] for place in places]
        for values in zip(*map(_python_values, sides), strict=True):
            columns.number += 1
            yield columns.texts(*values)


def _of_map(row: Any, columns: Columns) -> list[Any]:
    columns.number += 1
    return [dict(row or ()).get(language) for language in columns.languages]


def _python_values(array: Any) -> list[Any]:
    """Return the values of an Arrow array; strings with invalid UTF-8 as bytes."""
    import pyarrow

    try:
        return array.to_pylist()
    except UnicodeDecodeError:
        if pyarrow.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        return array.cast(pyarrow.large_binary()).to_pylist()


def has_dates(schema: Any, languages: tuple[str, str]) -> bool:
    """Return whether a library has taken the text of a language for dates."""
    import pyarrow.types as kinds

    return any(field.name in languages and kinds.is_temporal(field.type) for field in schema)


READERS: dict[str, Reader] = {"json": read_json, "parquet": read_parquet}
"""By the kinds of corpora and the modules of `datasets`."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, and the first line of what caused it."""
    lines: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(lines) < 4:
        line = (str(seen).strip() or type(seen).__name__).splitlines()[0][:300]
        if not any(line in other for other in lines):
            lines.append(line)
        seen = seen.__cause__ or seen.__context__
    return ": ".join(lines)


def listed(names: Iterable[str]) -> str:
    """Return names in words, the first ones if there are many."""
    each = list(names)
    more = f" and {len(each) - MOST_NAMES} more" if len(each) > MOST_NAMES else ""
    return (", ".join(each[:MOST_NAMES]) or "none") + more
