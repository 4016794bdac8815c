"""A health check of translations: faults that show without a reference, counted, with examples."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from transformer.data.scripts import scripts_of_language
from transformer.errors import DataError
from transformer.evaluation import faults
from transformer.evaluation.faults import Case
from transformer.evaluation.words import words
from transformer.languages import parse

EXAMPLES = 3
"""Examples of each kind that a finding keeps."""
FEW = 20
"""Lines from which the usual ratio of lengths is taken. Fewer are expected to be as long as their sources."""
ALIKE, ALIKE_LENGTH = 3, 20
"""Different sources that must not have the same translation, if it has so many characters."""


class Kind(NamedTuple):
    """A kind of fault."""

    title: str
    find: Callable[[Case], str | None]
    """Returns what is wrong with a translation, or None."""
    applies: Callable[[Case], bool]
    """Returns whether the fault could occur, which decides what it is counted among."""


def _always(case: Case) -> bool:
    return bool(case.source.strip())


KINDS: dict[str, Kind] = {
    "empty": Kind("empty", faults.empty, _always),
    "untranslated": Kind("untranslated", faults.untranslated, _always),
    "repeated": Kind("repeated", faults.repeated, _always),
    "long": Kind("too long", faults.too_long, _always),
    "short": Kind("too short", faults.too_short, _always),
    "script": Kind("wrong script", faults.wrong_script, _always),
    "numbers": Kind("numbers changed", faults.numbers_changed, faults.has_number),
    "brackets": Kind("brackets lost or not closed", faults.brackets, faults.has_brackets),
    "quotes": Kind("quotation marks lost or not closed", faults.quotes, faults.has_quotes),
    "leftovers": Kind("stray marks, such as ▁ or <unk>", faults.leftovers, _always),
    "links": Kind("addresses of web or e-mail lost", faults.links, faults.has_link),
    "placeholders": Kind("placeholders or tags lost", faults.placeholders, faults.has_placeholder),
    "emoji": Kind("emoji lost", faults.emoji, faults.has_emoji),
}
"""The kinds of faults of a single translation. `same` is added to them: one translation of different sources."""


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
    cases = make_cases(sources, translations, references, source_language, target_language)
    monolingual = parse(source_language).code == parse(target_language).code != ""
    found = []
    for name, kind in KINDS.items():
        if name == "untranslated" and monolingual:
            continue
        among = [(line, case) for line, case in enumerate(cases, 1) if kind.applies(case)]
        wrong = [
            Example(line, case.source, case.translation, note)
            for line, case in among
            if (note := kind.find(case)) is not None
        ]
        found.append(Finding(name, kind.title, len(wrong), len(among), wrong[:examples]))
    return [*found, _same(cases, examples)]


def make_cases(
    sources: Sequence[str],
    translations: Sequence[str],
    references: Sequence[Sequence[str]] | None,
    source_language: str,
    target_language: str,
    ratio: float | None = None,
) -> list[Case]:
    """Return translations with what they are judged by. `ratio` is that of lengths, by default that of this text."""
    rows = references if references is not None else [()] * len(sources)
    if not len(sources) == len(translations) == len(rows):
        raise DataError(
            f"there are {len(sources)} sources, {len(translations)} translations and {len(rows)} lists of references"
        )
    first = [row[0] for row in rows if row]
    ratio = ratio or usual_ratio(sources, first if len(first) == len(sources) else translations)
    scripts = scripts_of_language(target_language, first or translations)
    return [
        Case(source, line, tuple(filter(None, row)), ratio, scripts)
        for source, line, row in zip(sources, translations, rows, strict=True)
    ]


def usual_ratio(sources: Sequence[str], translations: Sequence[str]) -> float:
    """Return how many characters a translation has for each of its source: the median."""
    both = zip(sources, translations, strict=True)
    ratios = [len(line) / len(source) for source, line in both if source.strip() and line.strip()]
    return statistics.median(ratios) if len(ratios) >= FEW else 1.0


def _same(cases: Sequence[Case], examples: int) -> Finding:
    """Return the translations that several different sources have, whose references differ."""
    sources: dict[str, set[str]] = defaultdict(set)
    texts: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        if len(case.translation) >= ALIKE_LENGTH:
            key = case.translation.casefold()
            sources[key].add(" ".join(words(case.source)).casefold())
            texts[key].add(case.references[0] if case.references else case.source)
    alike = {key: min(len(sources[key]), len(texts[key])) for key in sources}
    wrong = [
        Example(line, case.source, case.translation, f"of {alike[key]} different sources")
        for line, case in enumerate(cases, 1)
        if alike.get(key := case.translation.casefold(), 0) >= ALIKE
    ]
    title = "same translation of different sources"
    return Finding("same", title, len(wrong), sum(map(_always, cases)), wrong[:examples])
