"""Parts of what a model makes, on disk. Each is one file with all columns, which appears whole or not at all.

So no kill can misalign the sides of a corpus. When all parts are there, they become one file for each column.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformer import atomic

PART = 2_000
"""Lines of a part: those that are sorted by length together. A kill loses the part in progress at most."""
MANIFEST = "synthetic.json"
"""What is made of what."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """What some consecutive lines have become."""

    lines: int
    """Number of lines that were read."""
    rows: list[tuple[str, ...]]
    """Source and target of each pair, or its score."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Number of lines without a row, by reason."""

    def to_bytes(self) -> bytes:
        """Return the part as lines of JSON: the counts, then a row a line."""
        head = {"lines": self.lines, "pairs": len(self.rows), "left out": dict(sorted(self.left_out.items()))}
        rows = [json.dumps(each, ensure_ascii=False) for each in (head, *self.rows)]
        return "".join(f"{row}\n" for row in rows).encode()


def read_part(path: Path) -> Part | None:
    """Return a part, or None if it is missing or damaged."""
    try:
        head, *rows = map(json.loads, path.read_bytes().decode().split("\n")[:-1])
        part = Part(head["lines"], [tuple(map(str, row)) for row in rows], Counter(head["left out"]))
        whole = len(rows) == head["pairs"] == part.lines - part.left_out.total()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        log.warning("%s is damaged, and is made anew", path)
        return None
    return part


@dataclass(frozen=True)
class Parts:
    """The parts of one text."""

    folder: Path
    total: int
    """Number of lines of the text."""
    size: int
    """Lines of each part but the last."""
    names: Sequence[str]
    """The files that the columns become."""
    left_out: Counter[str] = field(default_factory=Counter)
    """What is no line of the text, by reason: it is not in `total`."""

    @property
    def count(self) -> int:
        """Number of parts."""
        return -(-self.total // self.size)

    def path(self, number: int) -> Path:
        """Return the file of a part."""
        return self.folder / f"part-{number:06d}.jsonl"

    def lines(self, number: int) -> int:
        """Return the number of lines of a part."""
        return min(self.size, self.total - number * self.size)

    def missing(self) -> list[int]:
        """Return the numbers of the parts that are yet to be made."""
        return [i for i in range(self.count) if not self._has(i)]

    def _has(self, number: int) -> bool:
        part = read_part(self.path(number))
        if part is None or part.lines != self.lines(number):
            return False
        return all(len(row) == len(self.names) for row in part.rows)

    def write(self, number: int, content: bytes) -> None:
        """Write a part atomically."""
        atomic.write_bytes(self.path(number), content)

    def finish(self, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
        """Write the files of the columns and what they are made of, and remove the parts. Return the latter.

        All parts must be there.
        """
        left_out, count = Counter(self.left_out), 0
        with locked(folder.parent):
            atomic.clean_up(folder.parent)
            with atomic.new_folder(folder) as temporary, ExitStack() as stack:
                paths = [temporary / name for name in self.names]
                files = [stack.enter_context(path.open("w", encoding="utf-8")) for path in paths]
                for i in range(self.count):
                    part = read_part(self.path(i))
                    assert part is not None
                    left_out.update(part.left_out)
                    count += len(part.rows)
                    for row in part.rows:
                        assert "\n" not in "".join(row)
                        for file, text in zip(files, row, strict=True):
                            file.write(text + "\n")
                made = {
                    **facts,
                    "lines": self.total + self.left_out.total(),
                    "pairs": count,
                    "left out": dict(sorted(left_out.items())),
                }
                (temporary / MANIFEST).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        discard(folder)
        return made


def parts_folder(folder: Path) -> Path:
    """Return where the parts are until all is finished in `folder`."""
    return folder.with_name(f"{folder.name}.parts")


def discard(folder: Path) -> None:
    """Remove the parts of what is finished."""
    shutil.rmtree(parts_folder(folder), ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only process that writes into a folder while the block runs. Another may remove the folder meanwhile."""
    with ExitStack() as stack:
        for _ in range(100):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(atomic.only_writer(folder, wait=True))
                break
            except FileNotFoundError:  # removed since, by a process that has finished the corpus
                continue
        yield


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return what a finished folder is made of, or None if there is none, or a damaged one."""
    if atomic.damage(folder, deep=False) is not None:
        return None
    try:
        found = atomic.read_json(folder / MANIFEST)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
