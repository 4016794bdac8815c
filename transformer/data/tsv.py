"""Pairs from tables of text with tabs: two columns, or two of several, by their names or numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from transformer.data.lines import read_lines, undecodable, warn_once
from transformer.errors import DataError

SPREADSHEET = re.compile(r'"(?:[^"]|"")*"')
"""A field with quotes in it, as spreadsheets write it."""
MORE = "; if others hold the text, name two with data.*.columns"


def read_tsv(
    path: Path, columns: tuple[str, ...] | None, source: str, target: str, drop: bool
) -> Iterator[tuple[str, str] | None]:
    """Yield the pairs of a table: of its only two columns, or of the two that are named. `drop` is as in `read_pairs`.

    With names, the first line has them, and is no pair. Raises DataError for a line that lacks a column.
    """
    places: tuple[int, int] | None = None
    for number, line in enumerate(read_lines(path), 1):
        if line is None:
            if columns is not None and places is None and not columns[0].isdecimal():
                names_of_columns(path, line)
            if not drop:
                raise undecodable(path, f"{path}, line {number}")
            yield None
            continue
        cells = line.split("\t")
        if columns is None:
            _check_two(path, cells, line, number, source, target)
        else:
            if places is None:
                names = None if columns[0].isdecimal() else cells
                places = column_number(path, columns[0], names), column_number(path, columns[1], names)
                if names is not None:
                    continue
            if len(cells) <= max(places):
                raise DataError(
                    f"{path}, line {number} has {len(cells)} columns; expected at least {max(places) + 1}"
                    f"{_advice(line, number)}"
                )
            cells = [cells[places[0]], cells[places[1]]]
        if '"' in line and '""' in line and any(SPREADSHEET.fullmatch(cell) for cell in cells):
            warn_once(f"{path} has fields in quotes, as spreadsheets write them; the quotes are read as text")
        yield cells[0], cells[1]


def names_of_columns(path: Path, line: str | None) -> list[str]:
    """Return the names that the first line of a table has. Raises DataError if it is not UTF-8."""
    if line is None:
        raise DataError(f"{path}: its first line, which names the columns, is not UTF-8; correct that line")
    return line.split("\t")


def column_number(path: Path, column: str, names: list[str] | None) -> int:
    """Return the place of a column, from 0: that of its name among `names`, or its number less one."""
    if column.isdecimal() and int(column) > 0:
        return int(column) - 1
    known = [name.strip() for name in names or ()]
    if known.count(column) != 1:
        raise DataError(f"{path}: its first line has not one column {column!r}; it has {', '.join(known[:20])}")
    return known.index(column)


def _check_two(path: Path, cells: list[str], line: str, number: int, source: str, target: str) -> None:
    """Raise DataError for a line that has not two columns, or names of columns in the wrong order."""
    if len(cells) != 2:
        raise DataError(
            f"{path}, line {number} has {len(cells)} columns; expected source and target, separated by one tab"
            f"{_advice(line, number) or MORE * (number == 1)}"
        )
    if number == 1:
        _check_header(path, cells, source, target)


def _advice(line: str, number: int) -> str:
    """Return advice for a line that has not the columns it should."""
    if "\t" not in line and number == 1:
        return "; if it is CSV, save it with tabs"
    if line.count('"') % 2:
        return "; a field in quotes seems to have a line break or a tab in it"
    return ""


def _check_header(path: Path, columns: list[str], source: str, target: str) -> None:
    """Warn of a first line that names the columns. Raises DataError if it names them the other way round."""
    names = [column.strip().lower() for column in columns]
    if names == [target, source]:
        raise DataError(f"{path}: by its first line it has {target} before {source}; swap its columns")
    if names in ([source, target], ["source", "target"], ["src", "tgt"], ["src", "trg"]):
        warn_once(f"{path}: its first line names the columns, and is read as a pair; remove it")
