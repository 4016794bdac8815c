"""The systems to compare: runs, checkpoints of runs, and files of translations, on the same text.

Translations that an evaluation has kept are read; only what is missing is translated, and kept.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from transformer import languages
from transformer.data import corpus
from transformer.data.corpus import Pair, ReferencedPair
from transformer.data.lines import read_text
from transformer.data_config import CorpusConfig
from transformer.errors import CheckpointError, ConfigError, DataError
from transformer.evaluation.compare import System
from transformer.evaluation.evaluate import Scoring, evaluated
from transformer.evaluation.evaluated_model import EvaluatedModel, probable_checkpoint
from transformer.evaluation.records import Record, read_records
from transformer.evaluation.texts import EvaluationText, read_evaluation_text, read_parallel
from transformer.paths import expanded
from transformer.runs.layout import is_run
from transformer.runs.models import candidates
from transformer.runs.run import Run, open_run, split_checkpoint
from transformer.runs.training_text import trained_corpora

MOST_TRAINING = 2000
"""Pairs of the training text that are used where there is no other."""


@dataclass(frozen=True)
class TextChoice:
    """Which text the systems are compared on: files, a test set, or a split of the first run."""

    split: str = "test"
    source: Path | None = None
    references: Sequence[Path] = ()
    testset: str | None = None
    languages: Sequence[str] = ()
    """Codes of source and target, where no run tells them."""


@dataclass
class Candidate:
    """A system as the user named it: a run with the name of a checkpoint or None, or a file."""

    text: str
    path: Path
    checkpoint: str | None = None
    run: Run | None = None


class _Translations(NamedTuple):
    """The translations of a run."""

    lines: list[str]
    decoded: bool
    """Whether they were made now, and not read."""
    origin: dict[str, Any]
    """Text, checkpoint, settings, device and version, by their names in the JSON of an evaluation."""


@dataclass(frozen=True)
class Systems:
    """Systems with the text that all of them have translated."""

    text: EvaluationText
    systems: list[System]
    source: str
    """Language code of the source, or empty if it is not known."""
    target: str
    run: Run | None
    """The first run, if there is one."""
    decoded: list[str] = field(default_factory=list)
    """The names of those systems that had to translate; the others were read."""


def open_systems(
    names: Sequence[str | os.PathLike[str]],
    choice: TextChoice,
    device: torch.device,
    save: bool = True,
) -> Systems:
    """Return the systems of these names with their translations of the chosen text.

    A name is a run directory, `RUN@CHECKPOINT`, `RUN/checkpoints/CHECKPOINT`, or a file with a translation a line.
    `save` keeps new translations in their run directories. Raises ConfigError, DataError or CheckpointError for what
    does not exist or does not fit together.
    """
    if not names:
        raise ConfigError("there is nothing to compare: give a run or a file of translations")
    found = [_candidate(os.fspath(name)) for name in names]
    runs = [each for each in found if each.run is not None]
    source, target = _languages(runs, choice)
    text = _text(runs[0].run if runs else None, choice, source, target)
    _refuse_twins(found)
    systems, decoded = [], []
    for each in found:
        if each.run is None:
            systems.append(System(each.text, read_text(each.path)))
            continue
        made = _translations(each, text, device, Scoring(keep=save))
        name = f"{each.path}@{made.origin['checkpoint']['name']}"
        systems.append(System(name, made.lines, made.origin))
        if made.decoded:
            decoded.append(name)
    return Systems(text, systems, source, target, runs[0].run if runs else None, decoded)


def _refuse_twins(found: Sequence[Candidate]) -> None:
    """Raise ConfigError if two names mean the same system, before anything is translated."""
    seen: dict[tuple[Path, str | None], str] = {}
    for each in found:
        checkpoint = None
        with contextlib.suppress(CheckpointError):  # one that is gone, whose translations may be there
            checkpoint = each.run and getattr(probable_checkpoint(each.run, each.checkpoint), "name", None)
        key = each.path.resolve(), checkpoint or each.checkpoint
        if key in seen:
            raise ConfigError(f"{seen[key]} and {each.text} are the same system")
        seen[key] = each.text


def _candidate(text: str) -> Candidate:
    """Return what a name means. A path that exists is never cut at its `@`."""
    path, checkpoint = split_checkpoint(expanded(text))
    if checkpoint is not None and not is_run(path):
        path, checkpoint = expanded(text), None
    if not path.exists() and "@" in text:
        before, _, name = text.rpartition("@")
        if expanded(before).is_dir() and name:
            path, checkpoint = expanded(before), name
    if path.is_dir():
        return Candidate(text, path, checkpoint, open_run(path))
    return Candidate(text, path)


def _languages(runs: Sequence[Candidate], choice: TextChoice) -> tuple[str, str]:
    """Return the codes of source and target. Raises ConfigError if two runs have different ones."""
    if not runs:
        source, target = choice.languages or ("", "")
        return source, target
    if choice.languages:
        raise ConfigError("--languages is for files alone: a run tells its languages")
    pairs = [(each.text, each.run.config.data.source, each.run.config.data.target) for each in runs if each.run]
    name, *first = pairs[0]
    for other, *codes in pairs[1:]:
        if [languages.parse(code).code for code in codes] != [languages.parse(code).code for code in first]:
            raise ConfigError(f"{name} translates {' to '.join(first)}, but {other} {' to '.join(codes)}")
    return first[0], first[1]


def _text(run: Run | None, choice: TextChoice, source: str, target: str) -> EvaluationText:
    if run is not None:
        return _text_of_run(run, choice)
    if choice.testset is not None:
        if choice.source is not None or choice.references:
            raise ConfigError("--testset and --reference exclude each other; give one")
        if not target:
            raise ConfigError("--testset needs --languages SOURCE TARGET where no run tells them")
        pairs = corpus.read_pairs(CorpusConfig(testset=choice.testset), source, target)
        return EvaluationText(choice.testset, [pair for pair in pairs if pair is not None])
    if not choice.references:
        raise ConfigError("files of translations need --reference, or --testset")
    columns = [*([choice.source] if choice.source is not None else []), *choice.references]
    rows = read_parallel(*columns)
    if choice.source is None:
        rows = [("", *row) for row in rows]
    pairs_read: list[Pair] = [ReferencedPair(*row) if len(row) > 2 else Pair(*row) for row in rows]
    return EvaluationText(columns[0].name, pairs_read, tuple(map(str, columns)))


def _text_of_run(run: Run, choice: TextChoice) -> EvaluationText:
    """Return the chosen text of a run. Of a split that is gone, what an evaluation has kept is as good."""
    try:
        return read_evaluation_text(run, choice.split, choice.source, choice.references, choice.testset)
    except DataError:
        if choice.source is not None:
            raise
        name = choice.testset or choice.split
        kept = [each.pairs for each in read_records(run.path) if each.values.get("name") == name and each.pairs]
        if not kept:
            raise
        return EvaluationText(name, kept[-1])


def text_to_check(run: Run, choice: TextChoice) -> EvaluationText:
    """Return the chosen text of a run; if none is chosen, its test text, else its validation or training text.

    Raises DataError if none of them is there.
    """
    if choice.split or choice.source is not None or choice.references:
        return _text_of_run(run, replace(choice, split=choice.split or "test"))
    data = run.config.data
    for split, there in (("test", data.test), ("valid", data.valid)):
        if there is not None:
            with contextlib.suppress(DataError):
                return _text_of_run(run, TextChoice(split))
    with contextlib.suppress(DataError, OSError):
        corpora = trained_corpora(run)
        found = (pair for each in corpora for pair in corpus.read_pairs(each, data.source, data.target, drop=True))
        if pairs := [pair for pair in itertools.islice(found, MOST_TRAINING) if pair is not None]:
            return EvaluationText("the training text", pairs)
    raise DataError(f"there is no text of {run.path} left to translate; give --source and --reference")


def _translations(each: Candidate, text: EvaluationText, device: torch.device, scoring: Scoring) -> _Translations:
    """Return the translations of a text by a run with its own settings: those that are kept, or new ones."""
    assert each.run is not None
    if (record := _of_a_gone_checkpoint(each, text)) is not None:
        return _Translations(record.translations, False, record.values)
    if not any(pair.source.strip() for pair in text.pairs):
        raise ConfigError(f"{each.text} needs the --source to translate")
    found = evaluated(EvaluatedModel(each.path, [], device, each.checkpoint), text, scoring)
    return _Translations(found.translations, found.translated is None, {**found.origin, "precision": found.precision})


def _of_a_gone_checkpoint(each: Candidate, text: EvaluationText) -> Record | None:
    """Return the newest evaluation of a text by a checkpoint that was removed since, or by a run that has none left."""
    assert each.run is not None
    name = each.checkpoint
    there = candidates(each.run) if name in (None, "best", "last") else (each.run.checkpoints / name).exists()
    if there:
        return None
    for record in reversed(read_records(each.path)):
        checkpoint = (record.values.get("checkpoint") or {}).get("name")
        if record.values.get("text", {}).get("sha256") == text.sha256 and checkpoint and name in (None, checkpoint):
            return record
    return None
