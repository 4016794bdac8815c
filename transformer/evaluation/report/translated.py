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
from transformer.evaluation.report.settings import choose_record, unchanged, unusual


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
    unusual: str | None
    """Checkpoint and settings, where they are not those that the run uses by itself."""


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
    """Return the text that most runs have translated, and of each run the record to show.

    Of several such texts the run's own test set comes first; then other test sets, the validation set, other texts,
    and texts that were changed to see how robust a run is. Of equal ones the newest counts. `wanted` is the name of a
    text, or else of the file of an evaluation. Returns None if no run has kept any. Raises ConfigError if none has the
    wanted one.
    """
    kept = [(number, each) for number, facts in enumerate(runs) for each in facts.records if each.pairs is not None]
    asked = kept
    if wanted is not None:
        by_name = [(number, each) for number, each in kept if text_name(each) == wanted]
        asked = by_name or [(number, each) for number, each in kept if Path(each.path).stem == wanted]
        if not asked:
            there = "; ".join(_names(kept)) or "none"  # names have commas
            raise ConfigError(f"no evaluation is called {wanted}; there are: {there}")
    if not asked:
        return None
    texts: dict[str, list[tuple[int, Record]]] = {}
    for number, record in asked:
        texts.setdefault(_digest(record), []).append((number, record))
    chosen = max(texts.values(), key=_preference)
    digest, name = _digest(chosen[0][1]), text_name(min((each for _, each in chosen), key=_rank))
    of_text: dict[int, list[Record]] = {}
    for number, record in kept:
        if _digest(record) == digest:
            of_text.setdefault(number, []).append(record)
    exact = {number: [each for other, each in chosen if other == number] for number, _ in chosen}
    records = {number: choose_record(runs[number], exact.get(number, each)) for number, each in of_text.items()}
    return _shown(runs, records, name)


def text_name(record: Record) -> str:
    """Return the name of the text of an evaluation."""
    return str(record.values.get("name"))


def _digest(record: Record) -> str:
    return str(record.values["text"]["sha256"])


def _names(kept: Sequence[tuple[int, Record]]) -> list[str]:
    """Return the names of the texts, each text once, in the order in which they are preferred."""
    names: dict[str, Record] = {}
    for _, record in kept:
        digest = _digest(record)
        if digest not in names or _rank(record) < _rank(names[digest]):
            names[digest] = record
    return list(dict.fromkeys(text_name(each) for each in sorted(names.values(), key=_rank)))


def _rank(record: Record) -> int:
    """Return the place of a text in the order in which texts are preferred."""
    name, files = text_name(record), record.values["text"].get("files")
    if not files and unchanged(name) != name:
        return 4
    return 3 if files else {"test": 0, "valid": 2}.get(name, 1)


def _preference(found: Sequence[tuple[int, Record]]) -> tuple[int, int, str]:
    records = [record for _, record in found]
    return len({number for number, _ in found}), -min(map(_rank, records)), max(map(_time, records))


def _time(record: Record) -> str:
    return str(record.values.get("time", ""))


def _shown(runs: Sequence[Facts], chosen: dict[int, Record], name: str) -> Shown:
    records = dict(sorted(chosen.items()))
    first, *_ = records.values()
    pairs = first.pairs or []
    systems = [_translated(runs[number], record, number, pairs) for number, record in records.items()]
    named = [System(each.facts.name, each.record.translations) for each in systems]
    target = runs[0].run.config.data.target
    comparison = compare(named, pairs, target) if len(named) > 1 else None
    without = [facts.name for number, facts in enumerate(runs) if number not in records]
    return Shown(name, pairs, systems, comparison, without)


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
    scores = sentence_scores(translations, pairs)
    return Translated(facts, record, number, scores, tables, findings, unusual(facts, record))


def _is_unknown(facts: Facts, source: str) -> bool:
    """Return whether a source has a character that the vocabulary lacks."""
    tok = facts.run.tokenizer
    (ids,) = tok.encode_source([source])
    return bool(tok.lacking[0][ids].any())
