"""The tables of the report, as plain values that the template writes down."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from transformer import config_file
from transformer.evaluation.evaluated_model import translation_settings
from transformer.evaluation.metrics import METRICS
from transformer.evaluation.records import Record
from transformer.evaluation.report.facts import Facts, numbers, score_values
from transformer.evaluation.report.plots import events_in_words
from transformer.evaluation.report.settings import (
    changed_settings,
    checkpoint_in_words,
    is_plain,
    settings_in_words,
    unchanged,
)
from transformer.evaluation.report.translated import Shown
from transformer.runs.tuning import TUNED, tuned, with_tuned
from transformer.system.clock import duration

COUNTS = ("read", "usable", "duplicates", "overlap", "pairs")
"""What `data.json` counts of each corpus, in this order; other counts follow."""
ORIGIN = ("address", "version", "licence", "sha256")
"""What is shown of where a corpus was downloaded from."""
FILTERS = ("max_length", "max_ratio", "duplicates", "overlap", "undecodable")
"""Settings of `data` that leave pairs out."""


def glance(runs: Sequence[Facts], shown: Shown | None) -> list[dict[str, Any]]:
    """Return, for each run, its name and its key figures by their labels."""
    translated = {each.number: each.record for each in shown.systems} if shown else {}
    return [
        {"name": facts.name, "figures": {**_scores(translated.get(number)), **_figures(facts)}}
        for number, facts in enumerate(runs)
    ]


def shown_in_words(shown: Shown | None) -> list[dict[str, Any]]:
    """Return, for each run whose scores are not those that `transformer evaluate RUN` gives, what they are of."""
    unusual = [(each, each.unusual) for each in shown.systems] if shown else []
    return [{"name": each.facts.name, "number": each.number, "words": words} for each, words in unusual if words]


def _scores(record: Record | None) -> dict[str, str]:
    found = {}
    for label, score in score_values(record.values if record else {}):
        found[label] = f"{score['score']:.1f}"
    return found


def _figures(facts: Facts) -> dict[str, str]:
    progress, data = numbers(facts.progress), numbers(facts.data)
    valid = {name: facts.history.last(f"valid.{name}") for name in METRICS}
    scores = {f"validation {METRICS[name].label}": f"{value:.1f}" for name, value in valid.items() if value is not None}
    return {
        **dict(list(scores.items())[:1]),
        **({"training pairs": f"{data['pairs']:,.0f}"} if "pairs" in data else {}),
        **({"updates": f"{progress['step']:,.0f}"} if "step" in progress else {}),
        **({"training time": duration(progress["seconds"])} if "seconds" in progress else {}),
        "parameters": _millions(facts.parameters),
    }


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1_000_000 else f"{count:,}"


def evaluations(runs: Sequence[Facts]) -> dict[str, Any]:
    """Return the table of all evaluations, and the signatures of their scores with the rows that have them."""
    rows: list[dict[str, Any]] = []
    signatures: dict[tuple[str, str], list[int]] = {}
    for number, facts in enumerate(runs):
        usual = translation_settings(with_tuned(facts.run))
        for record in facts.records:
            values, scores = record.values, score_values(record.values)
            for label, score in scores:
                signatures.setdefault((label, str(score["signature"])), []).append(len(rows) + 1)
            rows.append({"run": facts.name, "number": number, "scores": dict(scores), **_described(values, usual)})
    labels = list(dict.fromkeys(label for row in rows for label in row["scores"]))
    listed = [{"label": label, "signature": text, "rows": own} for (label, text), own in signatures.items()]
    return {"rows": rows, "labels": labels, "signatures": listed}


def _described(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return text, checkpoint, settings and speed of an evaluation. Old versions did not keep all of them."""
    changed = settings_in_words(changed_settings(values, usual))
    plain = numbers(values)
    speed = plain["sentences"] / plain["seconds"] if plain.get("seconds") and "sentences" in plain else None
    text = each if isinstance(each := values.get("text"), dict) else {}
    return {
        "text": str(values.get("name")),
        "digest": str(text.get("sha256", ""))[:16],
        "sentences": values.get("sentences"),
        "checkpoint": checkpoint_in_words(values),
        "decoding": ", ".join([*changed, str(values.get("precision", "")), str(values.get("device", ""))]),
        "speed": speed,
        "version": str(values.get("version", "")),
    }


def paired(shown: Shown | None) -> dict[str, Any] | None:
    """Return the paired tests of the runs against the first one."""
    if shown is None or shown.comparison is None:
        return None
    first, *others = shown.comparison.systems
    rows = []
    for each in others:
        tests = [
            {
                "label": metric.label,
                "difference": each.scores[name].score - first.scores[name].score,
                "bootstrap": each.significance[name].bootstrap if name in each.significance else None,
                "randomisation": each.significance[name].randomisation if name in each.significance else None,
            }
            for name, metric in METRICS.items()
            if name in each.scores and name in first.scores
        ]
        rows.append({"name": each.name, "tests": tests, "wins": each.wins, "ties": each.ties, "losses": each.losses})
    return {"first": first.name, "rows": rows, "signatures": shown.comparison.signatures}


def training(facts: Facts) -> dict[str, Any]:
    """Return what the training of a run was, in words, and what happened in it."""
    progress, cfg = numbers(facts.progress), facts.run.config.train
    words = []
    if "step" in progress:
        words.append(f"{progress['step']:,.0f} of {cfg.max_steps:,} updates")
    if "tokens" in progress:
        words.append(f"{progress['tokens']:,.0f} target tokens")
    if "seconds" in progress:
        words.append(duration(progress["seconds"]))
    ended = f"finished: {facts.finished}" if facts.finished else "not finished"
    return {"name": facts.name, "words": [*words, ended], "events": events_in_words(facts.history.events)}


def data(facts: Facts) -> dict[str, Any]:
    """Return the corpora of a run with their counts, the filters, and the digests that identify text and models."""
    corpora = _dictionaries(facts.data.get("corpora"))
    there = dict.fromkeys(key for each in corpora for key in numbers(each))
    columns = [*(key for key in COUNTS if key in there), *(key for key in there if key not in COUNTS)]
    settings = vars(facts.run.config.data)
    lengths = facts.data.get("lengths")
    digests = {
        "training text": facts.data.get("fingerprint"),
        "tokenizer": facts.run.tokenizer.fingerprint,
    }
    return {
        "name": facts.name,
        "columns": columns,
        "corpora": [{"name": str(each.get("name")), "counts": [each.get(key) for key in columns]} for each in corpora],
        "pairs": numbers(facts.data).get("pairs"),
        "examples": examples(facts),
        "origins": [
            {"corpus": str(each.get("corpus")), "facts": [str(each[key]) for key in ORIGIN if each.get(key)]}
            for each in _dictionaries(facts.data.get("origins"))
        ],
        "filters": {f"data.{key}": _setting(settings[key]) for key in FILTERS},
        "lengths": numbers(lengths),
        "vocabulary": " and ".join(f"{size:,}" for size in dict.fromkeys(facts.run.tokenizer.sizes)),
        "digests": {key: str(value) for key, value in digests.items() if value},
    }


def examples(facts: Facts) -> list[dict[str, Any]]:
    """Return examples of the pairs that the filters of each corpus dropped."""
    found = []
    for each in _dictionaries(facts.data.get("examples")):
        pairs = each.get("pairs")
        listed = pairs if isinstance(pairs, list) else []
        rows = [tuple(map(str, pair)) for pair in listed if isinstance(pair, list) and len(pair) == 2]
        found.append({"corpus": str(each.get("corpus")), "filter": str(each.get("filter")), "pairs": rows})
    return found


def _dictionaries(value: object) -> list[dict[str, Any]]:
    """Return the dictionaries in a list that was read from a file."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def settings(runs: Sequence[Facts]) -> list[dict[str, Any]]:
    """Return every setting with its value in each run, and whether the runs differ in it."""
    flat = [config_file.flat(facts.run.config) for facts in runs]
    rows = []
    for key in dict.fromkeys(key for each in flat for key in each):
        values = [_setting(each.get(key)) for each in flat]
        rows.append({"key": key, "values": values, "differs": len(set(values)) > 1})
    return rows


def _setting(value: Any) -> str:
    return {None: "null", True: "true", False: "false"}.get(value, str(value)) if _is_plain(value) else str(value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def versions(facts: Facts) -> list[tuple[str, str]]:
    """Return the versions and the hardware of training and of the evaluations."""
    trained = facts.state.get("versions")
    named = ", ".join(f"{key} {value}" for key, value in trained.items()) if isinstance(trained, dict) else "unknown"
    rows = [("trained with", named)]
    if (best := tuned(facts.run)) != facts.run.config.decode:
        rows.append(("tuned", ", ".join(f"decode.{key}: {_setting(getattr(best, key))}" for key in TUNED)))
    if "hardware" in facts.state:
        rows.append(("trained on", str(facts.state["hardware"])))
    seen: dict[str, None] = {}
    for record in facts.records:
        values = record.values
        seen[f"transformer {values.get('version', 'unknown')} on {values.get('device', 'unknown')}"] = None
    return rows + [("evaluated with", text) for text in seen]


def commands(facts: Facts) -> list[str]:
    """Return the commands that make the run, its evaluations and the report again."""
    path = facts.run.path
    lines = [_command("train", path / "config.yaml", "--run", f"{path}-again")]
    for record in facts.records:
        lines.append(evaluation_command(facts, record))
    return [*dict.fromkeys(lines), _command("report", path)]


def evaluation_command(facts: Facts, record: Record | None = None) -> str:
    """Return the command that evaluates a run, as in a record."""
    if record is None:
        return _command("evaluate", facts.run.path)
    values = record.values
    text = values.get("text")
    files = text.get("files") if isinstance(text, dict) else None
    words: list[object] = ["evaluate", facts.run.path]
    if isinstance(files, list) and len(files) > 1:
        words += ["--source", files[0], *(part for file in files[1:] for part in ("--reference", file))]
    else:
        name = unchanged(str(values.get("name")))
        words += ["--split" if name in ("test", "valid") else "--testset", name]
        words += ["--robustness"] if name != values.get("name") else []
    if isinstance(checkpoint := values.get("checkpoint"), dict) and "name" in checkpoint:
        words += ["--checkpoints" if is_plain(values) else "--checkpoint", checkpoint["name"]]
    usual = translation_settings(with_tuned(facts.run))
    changed = changed_settings(values, usual)
    return _command(*words, *(f"{key}={_setting(value)}" for key, value in changed.items() if key in usual))


def _command(*words: object) -> str:
    return shlex.join(["transformer", *map(str, words)])
