"""The lengths that a model was trained on. They limit what is translated as one piece, and how long it may become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # decoding needs no readers of corpora
    from transformer.data.dataset import Dataset

NEARLY_ALL = 0.999
"""Share of the training pairs, counted by the weights of their corpora, that are within the lengths."""
LONGEST = 1 << 16
"""Tokens, or percent: greater numbers are counted as this."""
BLOCK = 1 << 20
"""Pairs that are looked at at once."""
LONG = 20
"""Tokens of a source from which the ratio of the lengths counts: one of short sentences says nothing about long ones.
Not measured."""


@dataclass(frozen=True)
class Lengths:
    """Lengths in tokens, without eos, that 999 of 1,000 training pairs do not exceed."""

    source: int
    target: int
    extra: int
    """Tokens of the target beyond those of the source."""
    ratio: int = 0
    """Tokens of the target in percent of those of the source, of sources of at least `LONG` tokens. 0 if unknown."""


def measure_lengths(dataset: Dataset) -> Lengths:
    """Return the lengths of the training pairs. Looks at some of them at a time, as there may be many."""
    shape = len(Lengths.__dataclass_fields__), LONGEST + 1
    counts = np.zeros(shape)
    sides = (dataset.source_starts, dataset.target_starts)
    for start, end, weight in dataset.corpora:
        found = np.zeros(shape, np.int64)
        for first in range(start, end, BLOCK):
            rows = dataset.rows[first : min(first + BLOCK, end)]
            source, target = (starts[rows + 1] - starts[rows] for starts in sides)
            percent = 100 * target // np.maximum(source, 1)
            lengths = source, target, np.maximum(target - source, 0), percent[source >= LONG]
            for count, each in zip(found, lengths, strict=True):
                count += np.bincount(np.minimum(each, LONGEST), minlength=LONGEST + 1)
        counts += weight * found
    return Lengths(*map(_nearly_all, counts))


def _nearly_all(count: NDArray[Any]) -> int:
    """Return the smallest length that NEARLY_ALL pairs do not exceed, given how many have each length."""
    total = np.cumsum(count)
    return int(np.searchsorted(total, NEARLY_ALL * total[-1]))


def with_lengths(report: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """Return the report of a dataset with its lengths."""
    return {**report, "lengths": asdict(measure_lengths(dataset))}


def read_lengths(report: object) -> Lengths | None:
    """Return the lengths in a report, or None if it has none: runs of older versions did not keep them."""
    found = report.get("lengths") if isinstance(report, dict) else None
    if not isinstance(found, dict):
        return None
    values = [found.get("source"), found.get("target"), found.get("extra"), found.get("ratio", 0)]
    lengths = [value for value in values if isinstance(value, int) and 0 <= value <= LONGEST]
    return Lengths(*lengths) if len(lengths) == len(values) else None
