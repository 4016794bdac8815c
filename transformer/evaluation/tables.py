"""Tables of scores as text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from transformer.config import DecodeConfig
from transformer.runs.tuning import TUNED

if TYPE_CHECKING:
    from transformer.evaluation.evaluate import Evaluation


def aligned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column is aligned to the left and whose others are aligned to the right."""
    table = [head, *rows]
    widths = [max(_width(row[column]) for row in table) for column in range(len(head))]
    lines = []
    for row in table:
        first, *others = (
            _padded(cell, width, left=i == 0) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def _padded(cell: str, width: int, left: bool) -> str:
    blanks = " " * (width - _width(cell))
    return cell + blanks if left else blanks + cell


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    plain = (each for each in text if not unicodedata.combining(each))
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in plain)


def score_columns(found: Sequence[Evaluation]) -> tuple[list[str], list[list[str]]]:
    """Return the names of all metrics of these evaluations, and their scores with intervals."""
    labels = {name: score.label for each in found for name, score in each.scores.items()}
    rows = [[each.scores[name].brief if name in each.scores else "" for name in labels] for each in found]
    return list(labels.values()), rows


def table_of_texts(found: Sequence[Evaluation]) -> str:
    """Return a line for each text: sentences, scores with intervals, seconds and speed of translating."""
    labels, scores = score_columns(found)
    rows = [
        [each.name, f"{len(each.translations):,}", *cells, f"{each.seconds:.1f}", f"{each.speed:.1f}"]
        for each, cells in zip(found, scores, strict=True)
    ]
    return aligned(["text", "sentences", *labels, "seconds", "sentences/s"], rows)


def settings_in_words(origin: Mapping[str, Any]) -> str:
    """Return how an evaluation was decoded: precision, device, and the settings that matter or are not the default."""
    usual = vars(DecodeConfig())
    told = {key: value for key, value in origin["decode"].items() if key in TUNED or value != usual.get(key)}
    values = {**told, "max_length": origin["max_length"]}
    for key, value in values.items():
        if isinstance(value, (list, tuple)):
            values[key] = f"[{','.join(map(str, value))}]"  # as one types it
    settings = " ".join(f"{key}={value}" for key, value in values.items())
    return f"{origin['precision']} on {origin['device']}, {settings}"
