"""Hashes of the sides of all pairs, kept on disk. Finds duplicates, and pairs that occur in another text."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 1 << 21
"""Pairs whose hashes are sorted at once, about; it bounds the memory."""
BLOCK = 1 << 18
"""Pairs whose hashes are read at once."""
MIX = np.uint64(0x9E3779B97F4A7C15)
Hashes = NDArray[np.uint64]
Flags = NDArray[np.bool_]


class Digests:
    """64-bit hashes of both sides of pairs, in the order of the pairs. Used as a context manager."""

    def __init__(self, folder: Path) -> None:
        """Take the folder in which a nameless temporary file is made."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)
        self._count = 0

    def __enter__(self) -> Digests:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._count

    def add(self, hashes: Hashes) -> None:
        """Add the hashes of some pairs, of shape (pairs, 2)."""
        self._file.write(np.ascontiguousarray(hashes).data)
        self._count += len(hashes)

    def first(self) -> Flags:
        """Return which pairs are no duplicates of an earlier one.

        Equal pairs fall into one part by their hash, and the parts are sorted one after another.
        """
        found = np.zeros(len(self), bool)
        parts = 1 + len(self) // MOST
        for part in range(parts):
            hashes, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
            for start, both in self._blocks():
                mixed = both[:, 0] * MIX + both[:, 1]
                chosen = np.flatnonzero(mixed % np.uint64(parts) == part) if parts > 1 else np.arange(len(mixed))
                hashes.append(mixed[chosen])
                places.append(start + chosen)
            found[np.concatenate(places)[np.unique(np.concatenate(hashes), return_index=True)[1]]] = True
        return found

    def known(self, others: Collection[int]) -> Flags:
        """Return which pairs have a side whose hash, as a signed number, is among others."""
        wanted = np.array(list(others), np.int64).view(np.uint64)
        found = np.zeros(len(self), bool)
        for start, both in self._blocks():
            found[start : start + len(both)] = np.isin(both, wanted).any(1)
        return found

    def _blocks(self) -> Iterator[tuple[int, Any]]:
        self._file.seek(0)
        for start in range(0, len(self), BLOCK):
            count = min(BLOCK, len(self) - start)
            yield start, np.frombuffer(self._file.read(16 * count), np.uint64).reshape(-1, 2)
