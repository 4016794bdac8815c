"""Which checkpoint and which settings an evaluation is of, and whether they are those that a run uses by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from transformer.evaluation.evaluated_model import translation_settings
from transformer.evaluation.records import Record
from transformer.evaluation.report.facts import Facts
from transformer.evaluation.robustness import VARIANTS
from transformer.runs.tuning import with_tuned


def choose_record(facts: Facts, records: Sequence[Record]) -> Record:
    """Return the evaluation that `transformer evaluate RUN` makes: of the best checkpoint, with the tuned settings.

    If there is none, the one with the settings of the configuration; else the newest of the best checkpoint, or the
    newest. `records` are of one text, newest last.
    """

    def preference(place: int) -> tuple[int, bool, int]:
        values = records[place].values
        own = next((3 - i for i, usual in enumerate(_usual(facts)) if not changed_settings(values, usual)), 1)
        own = own if is_best(facts, values) else 0
        return own, own > 1 and not values["text"].get("files"), place  # one text may have a name and be in files

    return records[max(range(len(records)), key=preference)]


def unchanged(name: str) -> str:
    """Return the name of the text of which `--robustness` has made a variant of this name, or the name itself."""
    ends = [f", {each.name}" for each in VARIANTS]
    return next((name.removesuffix(end) for end in ends if name.endswith(end)), name)


def _usual(facts: Facts) -> list[dict[str, Any]]:
    """Return the settings that a run uses by itself, and those of its configuration."""
    return [translation_settings(with_tuned(facts.run)), translation_settings(facts.run)]


def changed_settings(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an evaluation that are not the usual ones. What an old version did not keep is usual."""
    decode = values.get("decode")
    used = {f"decode.{key}": value for key, value in decode.items()} if isinstance(decode, dict) else {}
    if "max_length" in values:
        used["data.max_length"] = values["max_length"]
    plain = json.loads(json.dumps(dict(usual)))  # lists for tuples, as in a file
    return {key: value for key, value in used.items() if key not in plain or plain[key] != value}


def is_best(facts: Facts, values: Mapping[str, Any]) -> bool:
    """Return whether an evaluation is of the weights that a run uses by itself."""
    checkpoint = values.get("checkpoint")
    return isinstance(checkpoint, dict) and facts.best is not None and checkpoint.get("sha256") == facts.best


def checkpoint_in_words(values: Mapping[str, Any]) -> str:
    """Return the name of the checkpoint of an evaluation, and whether its plain weights are used; empty if unknown."""
    checkpoint = values.get("checkpoint")
    if not isinstance(checkpoint, dict):
        return ""
    return str(checkpoint.get("name", "")) + (", plain weights" if is_plain(values) else "")


def is_plain(values: Mapping[str, Any]) -> bool:
    """Return whether an evaluation is of the weights beside their moving average."""
    checkpoint = values.get("checkpoint")
    return isinstance(checkpoint, dict) and checkpoint.get("weights") == "plain"


def settings_in_words(changed: Mapping[str, Any]) -> list[str]:
    """Return settings without the names of their sections; of an ensemble, the last part of each path."""
    return [f"{key.partition('.')[2]} {_in_words(value)}" for key, value in changed.items()]


def _in_words(value: Any) -> str:
    if isinstance(value, list):
        return " + ".join(PurePath(str(each)).name for each in value)
    return "none" if value is None else str(value)


def unusual(facts: Facts, record: Record) -> str | None:
    """Return checkpoint and settings of an evaluation, or None if a run uses them by itself."""
    values = record.values
    settings = [changed_settings(values, usual) for usual in _usual(facts)]
    if is_best(facts, values) and not all(settings):
        return None
    best = "the best checkpoint" if is_best(facts, values) else checkpoint_in_words(values) or "an unknown checkpoint"
    return ", ".join([best, *(settings_in_words(settings[0]) if all(settings) else [])])
