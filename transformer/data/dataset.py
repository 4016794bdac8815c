"""A dataset: pairs of id sequences, memory-mapped from a prepared folder or in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformer.data import corpus
from transformer.data.ragged import Ragged
from transformer.data.tokenizer import Flat, Tokenizer
from transformer.data_config import Span, active, changes

FORMAT = 1
"""Version of the format of prepared folders."""
Ints = NDArray[Any]


@dataclass(frozen=True)
class Dataset:
    """Pairs of id sequences, without bos and eos; in memory or memory-mapped."""

    source_ids: Ints
    source_starts: Ints
    target_ids: Ints
    target_starts: Ints
    rows: Ints
    """The position on disk of each pair that passed the filters. A pair's id is its index in this array."""
    corpora: tuple[tuple[int, int, float], ...]
    """First pair id, end and weight of each corpus."""
    report: dict[str, Any]
    """Counts of what was read and dropped, for the log and the model card."""
    links: tuple[Ints, Ints] | None = None
    """The links between words and where those of each pair on disk begin, if there are word alignments."""
    updates: tuple[Span, ...] = ()
    """When each corpus is used, in updates; empty if all are used at any time."""

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, step: int) -> tuple[Dataset, float]:
        """Return the dataset with the corpora that are used after so many updates, and when that changes next."""
        if not self.updates:
            return self, math.inf
        corpora = tuple(self.corpora[i] for i in active(self.updates, step))
        end = next((each for each in changes(self.updates) if each > step), math.inf)
        return replace(self, corpora=corpora, updates=()), end

    def lengths(self) -> tuple[Ints, Ints]:
        """Return the numbers of source ids and of target ids of every pair."""
        return np.diff(self.source_starts)[self.rows], np.diff(self.target_starts)[self.rows]

    def ids(self, pair_ids: Ints) -> tuple[Ragged, Ragged]:
        """Return the source ids and the target ids of these pairs. Reads no id yet."""
        places = self.rows[pair_ids]
        sides = ((self.source_ids, self.source_starts), (self.target_ids, self.target_starts))
        left, right = (Ragged(ids, starts[places], starts[places + 1] - starts[places]) for ids, starts in sides)
        return left, right

    def links_of(self, pair_ids: Ints) -> Ragged | None:
        """Return the links between the words of these pairs, if there are any: source word, target word, and so on."""
        if self.links is None:
            return None
        places, (ids, starts) = self.rows[pair_ids], self.links
        return Ragged(ids, starts[places], starts[places + 1] - starts[places])


def from_pairs(pairs: Sequence[corpus.Pair], tok: Tokenizer) -> Dataset:
    """Return an in-memory dataset of these pairs, unfiltered."""
    source, target = map(offsets, tok.encode_pairs([p.source for p in pairs], [p.target for p in pairs]))
    rows = np.arange(len(pairs))
    return Dataset(*source, *target, rows=rows, corpora=((0, len(pairs), 1.0),), report={"pairs": len(pairs)})


def open_dataset(folder: Path, weights: list[float], fingerprints: tuple[str, str]) -> Dataset:
    """Open a prepared folder. Token ids stay on disk, memory-mapped; a few tens of bytes per pair are read.

    `fingerprints` are that of the text and settings, and the one that version 0.1 gave to them.
    """
    report = json.loads((folder / "prepared.json").read_text())
    dtype = np.dtype(report.pop("dtype"))
    aligned = (folder / "links.ids").exists()
    links = (
        (_mapped(folder / "links.ids", np.uint16), np.fromfile(folder / "links.starts", np.int64)) if aligned else None
    )
    ends = np.cumsum([0] + [each["pairs"] for each in report["corpora"]])
    return Dataset(
        np.memmap(folder / "source.ids", dtype, "r"),
        np.fromfile(folder / "source.starts", np.int64),
        np.memmap(folder / "target.ids", dtype, "r"),
        np.fromfile(folder / "target.starts", np.int64),
        np.fromfile(folder / "rows", np.int64),
        tuple((int(a), int(b), w) for a, b, w in zip(ends[:-1], ends[1:], weights, strict=True)),
        {**report, "fingerprint": fingerprints[0], "former_fingerprint": fingerprints[1]},
        links,
    )


def _mapped(file: Path, dtype: Any) -> Ints:
    """Return the numbers in a file, memory-mapped. An empty file cannot be mapped."""
    return np.memmap(file, dtype, "r") if file.stat().st_size else np.empty(0, dtype)


def offsets(side: Flat) -> tuple[Ints, Ints]:
    """Return all ids end to end, and the start of each text, followed by the end of the last one."""
    return side.ids, np.concatenate([np.zeros(1, np.int64), np.cumsum(side.lengths)])
