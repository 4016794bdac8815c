"""Scores of the same text by checkpoint, where several checkpoints of a run were evaluated in the same way."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformer.evaluation.evaluated_model import translation_settings
from transformer.evaluation.records import Record
from transformer.evaluation.report.facts import Facts, score_values
from transformer.evaluation.report.history import Curve
from transformer.evaluation.report.settings import changed_settings, is_plain
from transformer.runs.layout import STEP

FEWEST = 3
"""Checkpoints of a curve. Fewer are better read in the table."""


@dataclass(frozen=True)
class ByCheckpoint:
    """The scores of a run's checkpoints on a text."""

    run: int
    """Place of the run among all runs."""
    plain: bool
    """Whether these are the weights beside their moving average."""
    scores: dict[str, Curve]
    """Of each metric, by its label: the updates with the scores."""


def checkpoint_curves(runs: Sequence[Facts]) -> list[tuple[str, list[ByCheckpoint]]]:
    """Return the name of each text that has evaluations of at least `FEWEST` checkpoints of a run, and its curves."""
    found: dict[str, list[ByCheckpoint]] = {}
    names: dict[str, str] = {}
    for number, facts in enumerate(runs):
        for text, records in _texts(facts).items():
            same = _evaluated_alike(facts, records)
            if len({_step(each) for each in same}) >= FEWEST:
                names.setdefault(text, str(same[0].values.get("name")))
                for plain in (False, True):
                    if scores := _scores([each for each in same if is_plain(each.values) is plain]):
                        found.setdefault(text, []).append(ByCheckpoint(number, plain, scores))
    return [(names[text], curves) for text, curves in found.items()]


def _texts(facts: Facts) -> dict[str, list[Record]]:
    """Return the evaluations of checkpoints by the digest of their text. An average has no place among the updates."""
    texts: dict[str, list[Record]] = {}
    for record in facts.records:
        text = record.values.get("text")
        if isinstance(text, dict) and isinstance(text.get("sha256"), str) and _step(record) is not None:
            texts.setdefault(text["sha256"], []).append(record)
    return texts


def _step(record: Record) -> int | None:
    checkpoint = record.values.get("checkpoint")
    name = checkpoint.get("name") if isinstance(checkpoint, dict) else None
    number = re.fullmatch(rf"{STEP}([0-9]{{1,15}})", name) if isinstance(name, str) else None
    return int(number[1]) if number else None


def _evaluated_alike(facts: Facts, records: Sequence[Record]) -> list[Record]:
    """Return the evaluations with the settings that most checkpoints were evaluated with."""
    groups: dict[str, list[Record]] = {}
    usual = translation_settings(facts.run)
    for record in records:
        groups.setdefault(json.dumps(changed_settings(record.values, usual), sort_keys=True), []).append(record)
    return max(groups.values(), key=lambda group: len({(_step(each), is_plain(each.values)) for each in group}))


def _scores(records: Sequence[Record]) -> dict[str, Curve]:
    """Return the scores by metric; of a checkpoint that was evaluated twice the newest."""
    found: dict[str, dict[int, float]] = {}
    for record in records:
        if (step := _step(record)) is not None:
            for label, values in score_values(record.values):
                found.setdefault(label, {})[step] = values["score"]
    return {label: sorted(points.items()) for label, points in found.items()}
