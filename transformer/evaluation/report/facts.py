"""What a run directory says about a run: its data, training, versions and evaluations. What is damaged is noted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from transformer import atomic
from transformer.errors import CheckpointError
from transformer.evaluation.evaluated_model import probable_checkpoint
from transformer.evaluation.metrics import METRICS
from transformer.evaluation.records import Record, read_records
from transformer.evaluation.report.history import History, read_history
from transformer.runs.checkpoint import load_state, weights_digest
from transformer.runs.layout import EVALUATIONS, FINISHED, REPORT
from transformer.runs.models import outline
from transformer.runs.run import Run, open_run

T = TypeVar("T")
BAD = (OSError, ValueError, KeyError, TypeError, AttributeError, CheckpointError)
"""What reading a file raises that is not what it should be."""
log = logging.getLogger(__name__)


@dataclass
class Facts:
    """What is known about a run."""

    run: Run
    name: str
    """Differs from the names of the other runs of the page."""
    history: History
    data: dict[str, Any]
    """What was read and left out, as `data.json` has it; empty if that is missing or damaged."""
    state: dict[str, Any]
    """Progress, fingerprints and versions in the newest checkpoint."""
    records: list[Record]
    """The evaluations, newest last."""
    parameters: int
    checkpoints: list[tuple[str, str, str]]
    """Name, marks such as `best`, and SHA-256 of the weights."""
    best: str | None
    """SHA-256 of the weights that the run uses by itself: those of the best usable checkpoint."""
    finished: str | None
    """Why training is complete, or None if it is not."""
    notes: list[str] = field(default_factory=list)
    """What could not be read, in sentences."""

    @property
    def progress(self) -> dict[str, Any]:
        """The progress of training, as the newest checkpoint has it."""
        found = self.state.get("progress")
        return found if isinstance(found, dict) else {}


def read_facts(paths: Sequence[Path]) -> list[Facts]:
    """Return what is known about runs. Raises CheckpointError for a folder that is no run."""
    runs = [open_run(path) for path in paths]
    return [_facts(run, name) for run, name in zip(runs, _names(runs), strict=True)]


def _names(runs: Sequence[Run]) -> list[str]:
    """Return the names of the runs; with as much of their paths as tells them apart, or a number."""
    paths = [run.path.resolve() for run in runs]
    names = [run.name for run in runs]
    for depth in (2, 3):
        if len(set(names)) < len(names):
            names = ["/".join(path.parts[-depth:]) for path in paths]
    seen: dict[str, int] = {}
    for place, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        names[place] = f"{name} ({seen[name]})" if seen[name] > 1 else name
    return names


def _facts(run: Run, name: str) -> Facts:
    notes: list[str] = []
    empty: dict[str, Any] = {}
    history = read_history(run.path)
    if history.unreadable:
        notes.append(f"{history.unreadable:,} lines of metrics.jsonl cannot be read and are left out.")
    records = read_records(run.path)
    if damaged := len(list((run.path / EVALUATIONS).glob("*.json"))) - len(records):
        notes.append(f"{damaged} of the evaluations cannot be read and are left out.")
    data = _attempt(lambda: _dict(atomic.read_json(run.path / REPORT)), empty, notes, "data.json")
    newest = _attempt(lambda: run.pointer("last") or run.pointer("best"), None, notes, "The pointer to the checkpoint")
    state = empty if newest is None else _attempt(lambda: load_state(newest), empty, notes, f"{newest.name}/state.json")
    if newest is None:
        notes.append("There is no checkpoint yet.")
    return Facts(
        run,
        name,
        history,
        data,
        state,
        records,
        sum(part.numel() for part in outline(run.config, run.tokenizer).parameters()),
        _checkpoints(run),
        _attempt(lambda: _best(run), None, None, ""),
        _attempt(lambda: (run.path / FINISHED).read_text("utf-8", "replace").strip(), None, None, ""),
        notes,
    )


def _best(run: Run) -> str | None:
    found = probable_checkpoint(run, None)
    return None if found is None else weights_digest(found)


def _attempt(read: Callable[[], T], otherwise: T, notes: list[str] | None, what: str) -> T:
    """Return what `read` returns, or, with a note, something else if it fails."""
    try:
        return read()
    except BAD as error:
        log.debug("%s: %s", what, error)
        if notes is not None:
            missing = isinstance(error, FileNotFoundError)
            notes.append(f"{what} {'is missing' if missing else 'cannot be read'}.")
        return otherwise


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _checkpoints(run: Run) -> list[tuple[str, str, str]]:
    pointed = {name: _attempt(lambda name=name: run.pointer(name), None, None, "") for name in ("best", "last")}  # type: ignore[misc]
    rows = []
    for path in sorted(run.checkpoints.glob("*-*")):
        marks = ", ".join(name for name, target in pointed.items() if target == path)
        digest = _attempt(lambda path=path: weights_digest(path), "damaged: no manifest", None, "")  # type: ignore[misc]
        rows.append((path.name, marks, digest))
    return rows


def numbers(values: Any) -> dict[str, float]:
    """Return the entries of an object that are finite numbers."""
    items = values.items() if isinstance(values, dict) else ()
    return {key: value for key, value in items if type(value) in (int, float) and abs(value) < 1e100}


def score_values(values: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the scores of an evaluation by their labels, of whatever metrics, each with its signature.

    `confidence` is half the width of the interval, if it is known.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for name in [*METRICS, *(name for name in values if name not in METRICS)]:
        plain = numbers(values.get(name))
        if "score" in plain:
            kept: dict[str, Any] = {key: plain[key] for key in ("score", "confidence") if key in plain}
            kept["signature"] = str(values[name].get("signature", ""))
            found.append((METRICS[name].label if name in METRICS else name, kept))
    return found
