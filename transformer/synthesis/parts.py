"""Parts of a synthetic corpus on disk. Each is one file with both sides, which appears whole or not at all.

So no kill can misalign the sides. When all parts are there, they become the two files of the corpus.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformer import atomic
from transformer.data.corpus import SIDES

PART = 2_000
"""Lines of a part: those that are sorted by length together. A kill loses the part in progress at most."""
MANIFEST = "synthetic.json"
"""What a finished corpus is made of."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """The pairs that some consecutive lines have become."""

    lines: int
    """Number of lines that were read."""
    pairs: list[tuple[str, str]]
    """Source and target."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Number of lines without a pair, by reason."""

    def to_bytes(self) -> bytes:
        """Return the part as lines of JSON: the counts, then a pair a line."""
        head = {"lines": self.lines, "pairs": len(self.pairs), "left out": dict(sorted(self.left_out.items()))}
        rows = [json.dumps(each, ensure_ascii=False) for each in (head, *self.pairs)]
        return "".join(f"{row}\n" for row in rows).encode()


def read_part(path: Path) -> Part | None:
    """Return a part, or None if it is missing or damaged."""
    try:
        head, *pairs = map(json.loads, path.read_bytes().decode().split("\n")[:-1])
        part = Part(head["lines"], [(str(source), str(target)) for source, target in pairs], Counter(head["left out"]))
        whole = len(pairs) == head["pairs"] == part.lines - part.left_out.total()
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
    """The parts of one corpus."""

    folder: Path
    total: int
    """Number of lines of the text."""
    size: int
    """Lines of each part but the last."""

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
        return part is not None and part.lines == self.lines(number)

    def write(self, number: int, content: bytes) -> None:
        """Write a part atomically."""
        atomic.write_bytes(self.path(number), content)

    def finish(self, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
        """Write the two files of the corpus and what they are made of, and remove the parts. Return the latter.

        All parts must be there.
        """
        left_out: Counter[str] = Counter()
        count = 0
        with locked(folder.parent):
            atomic.clean_up(folder.parent)
            with atomic.new_folder(folder) as temporary:
                sides = [temporary / name for name in SIDES]
                with sides[0].open("w", encoding="utf-8") as source, sides[1].open("w", encoding="utf-8") as target:
                    for i in range(self.count):
                        part = read_part(self.path(i))
                        assert part is not None
                        left_out.update(part.left_out)
                        count += len(part.pairs)
                        for pair in part.pairs:
                            assert "\n" not in "".join(pair)
                            source.write(pair[0] + "\n")
                            target.write(pair[1] + "\n")
                made = {**facts, "lines": self.total, "pairs": count, "left out": dict(sorted(left_out.items()))}
                (temporary / MANIFEST).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        discard(folder)
        return made


def parts_folder(folder: Path) -> Path:
    """Return where the parts of a corpus are until it is finished in `folder`."""
    return folder.with_name(f"{folder.name}.parts")


def discard(folder: Path) -> None:
    """Remove the parts of a finished corpus."""
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
    """Return what a finished corpus is made of, or None if there is none, or a damaged one."""
    if atomic.damage(folder, deep=False) is not None:
        return None
    try:
        found = atomic.read_json(folder / MANIFEST)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
