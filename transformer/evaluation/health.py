"""A health check of translations: faults that show without a reference, counted, with examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

EXAMPLES = 3
"""Examples of each kind that a finding keeps."""


@dataclass(frozen=True)
class Example:
    """A translation with a fault."""

    line: int
    """Its number in the text, from 1."""
    source: str
    translation: str
    note: str
    """What is wrong with it, such as `2014 → 2041`."""


@dataclass(frozen=True)
class Finding:
    """All faults of one kind. A kind without faults is a finding with the count 0."""

    kind: str
    """Such as `empty` or `numbers`: a key of `KINDS`."""
    title: str
    """What it means, for a table: `empty`, `numbers changed`."""
    count: int
    """Translations with this fault."""
    total: int
    """Translations in which it could occur: for `numbers`, those whose source has a number."""
    examples: list[Example]

    def as_json(self) -> dict[str, Any]:
        """Return the finding as a JSON object."""
        return asdict(self)


def check_outputs(
    sources: Sequence[str],
    translations: Sequence[str],
    references: Sequence[Sequence[str]] | None = None,
    source_language: str = "",
    target_language: str = "",
    *,
    examples: int = EXAMPLES,
) -> list[Finding]:
    """Return what is wrong with translations, one finding for each kind of fault, in the order of `KINDS`.

    `references` has all references of each sentence; with them, what a reference does too is no fault. Languages are
    codes of any form. Raises DataError if the numbers of lines differ.
    """
    raise NotImplementedError
