"""The text that a report is about, and the translations of it by each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transformer.data.corpus import Pair
from transformer.errors import ConfigError
from transformer.evaluation.breakdown import Table, break_down
from transformer.evaluation.compare import Comparison, System, compare, sentence_scores
from transformer.evaluation.frequencies import word_frequencies
from transformer.evaluation.health import Finding, check_outputs
from transformer.evaluation.records import Record
from transformer.evaluation.report.facts import Facts


@dataclass(frozen=True)
class Translated:
    """The translations of a text by a run."""

    facts: Facts
    record: Record
    number: int
    """Place of the run among all runs, which is its colour."""
    scores: list[float]
    """The chrF of each sentence."""
    tables: list[Table]
    findings: list[Finding]


@dataclass(frozen=True)
class Shown:
    """The text that a report is about."""

    name: str
    pairs: list[Pair]
    systems: list[Translated]
    comparison: Comparison | None
    """None if one run has translated it."""
    without: list[str]
    """Names of the runs that have not translated it."""


def choose_text(runs: Sequence[Facts], wanted: str | None = None) -> Shown | None:
    """Return the text that most runs have translated, of those a test set rather than a validation set, and the newest.

    `wanted` is the name of one: that of the text, or of the file of an evaluation. Returns None if no run has kept any.
    Raises ConfigError if none has the wanted one.
    """
    newest: dict[str, dict[int, Record]] = {}
    for number, facts in enumerate(runs):
        for record in facts.records:
            if record.pairs is not None and (wanted is None or wanted in _known_as(record)):
                newest.setdefault(str(record.values["text"]["sha256"]), {})[number] = record
    if not newest:
        if wanted is not None:
            there = sorted({name for facts in runs for record in facts.records for name in _known_as(record)})
            raise ConfigError(f"no evaluation is called {wanted}; there are: {', '.join(there) or 'none'}")
        return None
    chosen = max(newest.values(), key=_preference)
    return _shown(runs, chosen)


def _known_as(record: Record) -> tuple[str, str]:
    return str(record.values.get("name")), Path(record.path).stem


def _preference(records: dict[int, Record]) -> tuple[int, bool, str]:
    values = [record.values for record in records.values()]
    return len(records), values[0].get("name") != "valid", max(str(each.get("time", "")) for each in values)


def _shown(runs: Sequence[Facts], chosen: dict[int, Record]) -> Shown:
    records = dict(sorted(chosen.items()))
    first, *_ = records.values()
    pairs = first.pairs or []
    systems = [_translated(runs[number], record, number, pairs) for number, record in records.items()]
    named = [System(each.facts.name, each.record.translations) for each in systems]
    target = runs[0].run.config.data.target
    comparison = compare(named, pairs, target) if len(named) > 1 else None
    without = [facts.name for number, facts in enumerate(runs) if number not in records]
    return Shown(str(first.values.get("name")), pairs, systems, comparison, without)


def _translated(facts: Facts, record: Record, number: int, pairs: list[Pair]) -> Translated:
    run, translations = facts.run, record.translations
    languages = run.config.data.source, run.config.data.target
    frequencies = word_frequencies(run, pairs)
    tables = break_down(
        pairs,
        translations,
        languages[1],
        frequencies,
        source_language=languages[0],
        unknown=partial(_is_unknown, facts),
    )
    sources, references = [pair.source for pair in pairs], [pair.references for pair in pairs]
    findings = check_outputs(sources, translations, references, *languages)
    return Translated(facts, record, number, sentence_scores(translations, pairs), tables, findings)


def _is_unknown(facts: Facts, source: str) -> bool:
    """Return whether a source has a character that the vocabulary lacks."""
    tok = facts.run.tokenizer
    (ids,) = tok.encode_source([source])
    return bool(tok.lacking[0][ids].any())
