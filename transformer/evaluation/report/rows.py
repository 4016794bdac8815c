"""The table of sentences: source, translations and references, as many as keep the page light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformer.evaluation.compare import marked_words
from transformer.evaluation.report.text import printable
from transformer.evaluation.report.translated import Shown

MOST_BYTES = 700_000
"""Bytes of all sentences that are shown, in UTF-8."""
MARKUP = 120
"""Bytes of a row that are not text."""
EXTREMES = 6
"""How many of the best and of the worst sentences have a place of their own."""


@dataclass(frozen=True)
class Row:
    """A sentence of the text."""

    line: int
    source: str
    references: list[str]
    translations: list[tuple[str, float]]
    """Each run's translation and its chrF."""

    @property
    def size(self) -> int:
        """Bytes in the page."""
        texts = [self.source, *self.references, *(text for text, _ in self.translations)]
        return MARKUP + sum(len(text.encode()) + 40 for text in texts)


def rows(shown: Shown, most: int = MOST_BYTES) -> list[Row]:
    """Return all sentences, or as many as fit into `most` bytes, evenly spread over the text."""
    everything = [_row(shown, place) for place in range(len(shown.pairs))]
    total = sum(row.size for row in everything)
    count = len(everything) if total <= most else max(1, len(everything) * most // total)
    while count > 1 and sum(row.size for row in _spread(everything, count)) > most:
        count = count * 9 // 10
    return _spread(everything, count)


def _spread(everything: Sequence[Row], count: int) -> list[Row]:
    return [everything[place * len(everything) // count] for place in range(count)]


def _row(shown: Shown, place: int) -> Row:
    pair = shown.pairs[place]
    translations = [(printable(each.record.translations[place]), each.scores[place]) for each in shown.systems]
    return Row(place + 1, printable(pair.source), [printable(each) for each in pair.references], translations)


def extremes(shown: Shown) -> tuple[list[Row], list[Row]]:
    """Return the best and the worst sentences of the first run, by chrF; of equal ones, the longer for the best."""
    scores = shown.systems[0].scores
    ranked = sorted(range(len(scores)), key=lambda i: (-scores[i], -len(shown.pairs[i].source), i))
    worst = [i for i in ranked[::-1] if shown.pairs[i].source.strip()]
    count = min(EXTREMES, len(ranked) // 2)
    return [_row(shown, i) for i in ranked[:count]], [_row(shown, i) for i in worst[:count]]


def differences(shown: Shown) -> list[dict[str, Any]]:
    """Return the sentences that differ most between runs, with the words that differ from the first run's marked."""
    found = []
    for each in shown.comparison.differences if shown.comparison else ():
        texts = [printable(text) for text in each.translations]
        marked = [marked_words(texts[0], text)[1] for text in texts[1:]]
        first = marked_words(texts[1], texts[0])[1]
        found.append(
            {
                "line": each.line,
                "source": each.source,
                "references": each.references,
                "translations": list(zip([first, *marked], each.scores, strict=True)),
            }
        )
    return found
