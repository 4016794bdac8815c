"""The lengths that a model was trained on. They limit what is translated as one piece, and how long it may become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformer.data.dataset import Dataset

NEARLY_ALL = 0.999
"""Share of the training pairs, counted by the weights of their corpora, that are within the lengths."""
LONGEST = 1 << 16
"""Tokens: greater lengths are counted as this."""


@dataclass(frozen=True)
class Lengths:
    """Lengths in tokens, without eos, that 999 of 1,000 training pairs do not exceed."""

    source: int
    target: int
    extra: int
    """Tokens of the target beyond those of the source."""


def measure_lengths(dataset: Dataset) -> Lengths:
    """Return the lengths of the training pairs."""
    source, target = dataset.lengths()
    return Lengths(*(_nearly_all(each, dataset) for each in (source, target, np.maximum(target - source, 0))))


def _nearly_all(lengths: NDArray[Any], dataset: Dataset) -> int:
    """Return the smallest length that NEARLY_ALL pairs do not exceed."""
    count = np.zeros(LONGEST + 1)
    for start, end, weight in dataset.corpora:
        count += weight * np.bincount(np.minimum(lengths[start:end], LONGEST), minlength=LONGEST + 1)
    total = np.cumsum(count)
    return int(np.searchsorted(total, NEARLY_ALL * total[-1]))


def with_lengths(report: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """Return the report of a dataset with its lengths."""
    return {**report, "lengths": asdict(measure_lengths(dataset))}


def read_lengths(report: object) -> Lengths | None:
    """Return the lengths in a report, or None if it has none: runs of older versions did not keep them."""
    found = report.get("lengths") if isinstance(report, dict) else None
    values = [found.get(name) if isinstance(found, dict) else None for name in ("source", "target", "extra")]
    lengths = [value for value in values if isinstance(value, int) and 0 <= value <= LONGEST]
    return Lengths(*lengths) if len(lengths) == len(values) else None
