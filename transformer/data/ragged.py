"""Rows of different lengths, end to end in one array, and how they become a padded rectangle.

Shape letters: R rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[Any]


@dataclass(frozen=True)
class Ragged(Sequence[Ints]):
    """Rows of ids, as places in one array. No id is copied until it is asked for."""

    ids: Ints
    """All ids, also those of other rows."""
    starts_R: Ints
    """Where each row begins in `ids`."""
    lengths_R: Ints

    def __len__(self) -> int:
        return len(self.starts_R)

    def __getitem__(self, row: Any) -> Any:
        """Return the ids of a row."""
        return self.ids[self.starts_R[row] : self.starts_R[row] + self.lengths_R[row]]

    def take(self, chosen: Ints) -> Ragged:
        """Return these rows, in this order."""
        return Ragged(self.ids, self.starts_R[chosen], self.lengths_R[chosen])

    def flat(self) -> Ints:
        """Return the ids of all rows, end to end."""
        return self.ids[spread(self.starts_R, self.lengths_R)]


def from_rows(rows: Sequence[Any]) -> Ragged:
    """Return rows, which are sequences of ids, as one array of int64."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    ids = np.concatenate([np.asarray(row, np.int64) for row in rows]) if len(rows) else np.empty(0, np.int64)
    return Ragged(ids, np.cumsum(lengths) - lengths, lengths)


def spread(starts_R: Ints, lengths_R: Ints) -> Ints:
    """Return start, start + 1, ... of each row, as many as its length, end to end."""
    before_R = np.cumsum(lengths_R) - lengths_R
    return np.arange(lengths_R.sum()) + np.repeat(starts_R - before_R, lengths_R)


def rectangle(rows: Sequence[Any], pad: int, first: int | None = None, last: int | None = None) -> Ints:
    """Return rows of ids as one padded array, with the token `first` before and `last` after each row if given.

    There is at least one row.
    """
    ragged = from_rows(rows)
    return fill(ragged.flat(), ragged.lengths_R, pad, first, last)


def fill(flat: Ints, lengths_R: Ints, pad: int, first: int | None = None, last: int | None = None) -> Ints:
    """Return the same as `rectangle`, of rows that are given as their ids, end to end, and their lengths."""
    begin = int(first is not None)
    width = int(lengths_R.max()) + begin + (last is not None)
    filled = np.full((len(lengths_R), width), pad, np.int64)
    begins_R = np.arange(len(lengths_R)) * width + begin
    filled.reshape(-1)[spread(begins_R, lengths_R)] = flat
    if first is not None:
        filled[:, 0] = first
    if last is not None:
        filled.reshape(-1)[begins_R + lengths_R] = last
    return filled
