"""The model card: README.md of a run directory, with the model's description, use, scores, data and settings."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sacrebleu
import sentencepiece
import torch

from transformer import __version__, atomic, config_file
from transformer.errors import CheckpointError
from transformer.evaluation.metrics import METRICS
from transformer.runs.checkpoint import load_state
from transformer.runs.layout import EVALUATIONS, REPORT
from transformer.runs.progress import Progress
from transformer.runs.run import Run
from transformer.system.escaping import shown

TEXT, CHECKPOINT, DECODING = range(3)
DETAILS: tuple[tuple[int, Callable[[dict[str, Any]], str]], ...] = (
    (TEXT, lambda record: record.get("text", {}).get("sha256", "")[:8]),
    (TEXT, lambda record: "-".join(record.get("languages", ()))),
    (CHECKPOINT, lambda record: record.get("checkpoint", {}).get("sha256", "")[:8]),
    (DECODING, lambda record: record.get("device", "")),
    (DECODING, lambda record: record.get("version", "")),
    (DECODING, lambda record: record.get("time", "")),
)
"""What is added to these columns of the scores: digests to names that stand for several texts or checkpoints, and how
evaluations were made that would look the same."""


def write_model_card(run: Run) -> None:
    """Write README.md from the run's configuration, data counts and evaluations."""
    try:
        sections = [_head(run), _origin(run), _use(run), _scores(run), data_in_card(run), _versions(), _settings(run)]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"README.md was not written: a report in {run.path} has an unknown format") from None
    atomic.write_text(run.path / "README.md", shown("\n".join(filter(None, sections))))


def _head(run: Run) -> str:
    data, model = run.config.data, run.config.model
    languages = "".join(f'- "{language}"\n' for language in (data.source, data.target))
    return (
        f"---\nlanguage:\n{languages}pipeline_tag: translation\n---\n"
        f"# {run.name}: {data.source} to {data.target}\n\n"
        f"A Transformer with {model.encoder_layers} encoder and {model.decoder_layers} decoder layers of width "
        f"{model.width}, {model.heads} heads, feed-forward {model.feed_forward}, {model.norm}-norm.\n"
    )


def _origin(run: Run) -> str:
    """Return where an imported model is from and what was checked, or nothing for a model that was trained here."""
    path = run.pointer("best")
    if path is None or run.pointer("last") is not None:
        return ""
    origin = load_state(path).get("imported")
    if origin is None:
        return ""
    lines = [f"Imported from {table_cell(origin['name'])} ({origin['from']}); {origin['check']}."]
    return "\n".join(["## Origin\n", *lines, *(f"- {table_cell(note)}" for note in origin["notes"]), ""])


def _use(run: Run) -> str:
    return (
        "## Use\n\n```\n"
        f"echo 'Text to translate.' | transformer translate {shlex.quote(run.name)}\n"
        f"transformer evaluate {shlex.quote(run.name)}\n```\n"
    )


def _scores(run: Run) -> str:
    table, valid = scores_in_card(run), _training(run)
    found = [part for part in (table, valid) if part]
    return "\n\n".join(["## Scores", *found]) + "\n" if found else ""


def scores_in_card(run: Run) -> str:
    """Return the table of all evaluations of a run, or nothing. Raises KeyError and the like for damaged ones."""
    records = [atomic.read_json(file) for file in sorted((run.path / EVALUATIONS).glob("*.json"))]
    rows = []
    for record, cells in zip(records, _distinguished(run, records), strict=True):
        if not METRICS.keys() & record.keys():
            raise KeyError("an evaluation has no score")
        for name, metric in METRICS.items():
            if score := record.get(name):
                spread = f" ± {score['confidence']:.2f}" if "confidence" in score else ""
                text = f"{metric.label} {score['score']:.2f}{spread}"
                row = (*cells, str(record["sentences"]), text, f"`{score['signature']}`")
                rows.append(f"| {' | '.join(map(table_cell, row))} |")
    columns = ("text", "checkpoint", "decoding", "sentences", "score", "signature")
    head = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return "\n".join(head + rows if rows else [])


def _distinguished(run: Run, records: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return text, checkpoint and decoding of each evaluation, with those details that tell it from the others."""
    usual = {**vars(run.config.decode), "max_length": run.config.data.max_length}
    rows: list[tuple[str, ...]] = []
    for record in records:
        used = {**record.get("decode", {}), "max_length": record.get("max_length", usual["max_length"])}
        changed = (f"{key} {value}" for key, value in used.items() if usual.get(key) != value)
        decoding = ", ".join([str(record.get("precision", "")), *changed])
        rows.append((str(record["name"]), _checkpoint(record.get("checkpoint", {})), decoding))
    for column, detail in DETAILS:
        details = [detail(record) for record in records]
        keys = [row if column == DECODING else row[column : column + 1] for row in rows]
        alike: dict[tuple[str, ...], set[str]] = {key: set() for key in keys}
        for key, each in zip(keys, details, strict=True):
            alike[key] |= {each} if each else set()
        rows = [
            (*row[:column], f"{row[column]}, {each}", *row[column + 1 :]) if each and len(alike[key]) > 1 else row
            for row, key, each in zip(rows, keys, details, strict=True)
        ]
    return rows


def _checkpoint(values: dict[str, Any]) -> str:
    """Return the name of a checkpoint, and whether its weights were not the moving average."""
    name = str(values.get("name", ""))
    return f"{name} without moving average" if values.get("weights") == "plain" else name


def table_cell(text: str) -> str:
    """Return text that stays in its cell of a Markdown table, with control characters escaped."""
    return shown(" ".join(text.split())).replace("|", "\\|")


def _training(run: Run) -> str:
    path = run.pointer("last")
    if path is None:
        return ""
    try:
        progress = Progress.from_state(load_state(path), ignore_unknown=True)
    except CheckpointError:
        return ""
    scores = progress.validation_in_words()
    return f"Trained for {progress.training_in_words()}." + (f" Last validation: {scores}." if scores else "")


def data_in_card(run: Run) -> str:
    """Return the section on the training data, or nothing if there is no report. Raises KeyError for a damaged one."""
    file = run.path / REPORT
    if not file.exists():
        return ""
    report = atomic.read_json(file)
    keys = list(dict.fromkeys(key for each in report["corpora"] for key in each))
    rows = ["| " + " | ".join(table_cell(str(each.get(key, 0))) for key in keys) + " |" for each in report["corpora"]]
    head = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    note = (
        f"{report['pairs']:,} training pairs; "
        f"duplicates: {report['duplicates']}, overlap with valid or test: {report['overlap']}."
    )
    origins = [f"- {_download(each)}" for each in report.get("origins", ())]
    made = [("Made", "synthetic"), ("Scored", "scores")]
    lines = [*origins, *(line for verb, key in made for line in _by_models(verb, report.get(key, ())))]
    return "\n".join(["## Training data\n", *head, *rows, "", note, *([""] if lines else []), *lines, ""])


def _download(facts: dict[str, Any]) -> str:
    """Return where a corpus was downloaded from. The licence is text of a stranger, so it is code in Markdown."""
    stated = str(facts.get("licence", "")).replace("`", "'")
    licence = f"licence: `{stated}`" if stated else "no licence stated in it"
    return table_cell(f"{facts['corpus']}: {facts['address']}, {licence}, SHA-256 `{facts['sha256']}`")


def _by_models(verb: str, made: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line of Markdown for each corpus that models have made or scored."""
    lines = []
    for each in made:
        models = ", ".join(
            f"{Path(model['run']).name}/{model['checkpoint']} (weights {model['weights'][:12]})"
            for model in each["models"]
        )
        left = "".join(f", {count:,} {reason}" for reason, count in each["left out"].items())
        counts = f"{each['pairs']:,} pairs of {each['lines']:,} lines{left}"
        lines.append(f"- {verb} by a model: {table_cell(each['name'])}. {counts}. Model: {table_cell(models)}.")
    return lines


def _versions() -> str:
    packages = {"transformer": __version__, "torch": torch.__version__}
    packages |= {"sentencepiece": sentencepiece.__version__, "sacrebleu": sacrebleu.__version__}
    named = ", ".join(f"{name} {version}" for name, version in packages.items())
    return f"## Versions\n\n{named}, Python {platform.python_version()} on {platform.system()} {platform.machine()}\n"


def _settings(run: Run) -> str:
    return f"## Configuration\n\n```yaml\n{config_file.dump(run.config)}```\n"
