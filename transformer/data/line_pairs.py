"""Two texts line by line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from transformer.data.lines import read_lines, undecodable
from transformer.errors import DataError

Texts = tuple[str, str] | None


def aligned_files(source: Path, target: Path, drop: bool) -> Iterator[Texts]:
    """Yield line i of one file with line i of the other. `drop` is as in `corpus.read_pairs`."""
    return aligned_lines((source, read_lines(source)), (target, read_lines(target)), drop)


def aligned_lines(
    source: tuple[Path, Iterator[str | None]], target: tuple[Path, Iterator[str | None]], drop: bool
) -> Iterator[Texts]:
    """Yield the lines of two texts in pairs. Each is given as its place and its lines.

    Raises DataError, at the end, if one has more lines.
    """
    end, number = object(), 0
    sides = zip_longest(source[1], target[1], fillvalue=end)
    for number, (left, right) in enumerate(sides, 1):
        if left is end or right is end:
            break
        if left is None or right is None:
            if not drop:
                raise undecodable(path := source[0] if left is None else target[0], f"{path}, line {number}")
            yield None
        else:
            yield left, right  # type: ignore[misc]
    else:
        return
    longer = number + sum(1 for _ in sides)
    counts = (number - 1, longer) if left is end else (longer, number - 1)
    raise DataError(
        f"{source[0]} has {counts[0]} lines but {target[0]} has {counts[1]}: "
        "line i of one must be the translation of line i of the other"
    )
