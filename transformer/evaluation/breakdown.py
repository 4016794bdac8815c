"""Scores of parts of a text: by length, by frequency of words, and of sentences with numbers, names and unknown words.

The tables follow compare-mt (Neubig et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from transformer.data.corpus import Pair


@dataclass(frozen=True)
class Bucket:
    """A row of a table: some of the sentences."""

    label: str
    sentences: int
    """Number of sentences in it."""
    scores: dict[str, float]
    """From 0 to 100: `bleu` and `chrf` of these sentences together; for words, numbers and names `recall`. Empty if
    there are no sentences."""
    items: int = 0
    """In the tables of words, numbers and names: how many of them there are."""


@dataclass(frozen=True)
class Table:
    """A breakdown by one property."""

    name: str
    """`source_length`, `reference_length`, `word_frequency`, `numbers`, `names` or `unknown`."""
    title: str
    """What the rows are, in words."""
    rows: list[Bucket]
    items: str = ""
    """What `Bucket.items` counts, such as `words`, or empty."""

    def as_json(self) -> dict[str, Any]:
        """Return the table as a JSON object."""
        return asdict(self)


def break_down(
    pairs: Sequence[Pair],
    translations: Sequence[str],
    target_language: str = "",
    frequencies: Mapping[str, int] | None = None,
    *,
    source_language: str = "",
    unknown: Callable[[str], bool] | None = None,
) -> list[Table]:
    """Return the scores of parts of a text, table by table.

    Languages are codes of any form. `frequencies` is how often each word of the references occurs in the training
    text, as `frequencies.word_frequencies` counts it; without it that table is left out. `unknown` says whether a
    source has a piece that the tokenizer does not know; without it that table is left out.
    """
    raise NotImplementedError
