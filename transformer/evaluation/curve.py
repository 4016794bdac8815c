"""The scores of all saved checkpoints, and what averaging them, or a moving average of the weights, buys."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformer import atomic
from transformer.errors import CheckpointError, ConfigError
from transformer.evaluation.evaluate import Evaluation, Scoring, evaluated, log
from transformer.evaluation.evaluated_model import EvaluatedModel
from transformer.evaluation.metrics import METRICS
from transformer.evaluation.tables import aligned, score_columns
from transformer.evaluation.texts import EvaluationText
from transformer.runs.checkpoint import has_plain, load_state
from transformer.runs.models import named_checkpoint
from transformer.runs.run import Run


@dataclass(frozen=True)
class Point:
    """A checkpoint of the curve."""

    checkpoint: str
    plain: bool
    """Whether these are the weights beside their moving average."""
    step: int
    averaged: tuple[str, ...]
    """The checkpoints whose average it is, oldest first."""

    @property
    def title(self) -> str:
        """The name of the checkpoint, and whether its plain weights are used."""
        return f"{self.checkpoint} without moving average" if self.plain else self.checkpoint


def points(run: Run, names: Sequence[str]) -> list[Point]:
    """Return the checkpoints of these names, or all undamaged ones for `all`, in the order of their steps.

    Where the weights of one are a moving average, its plain weights follow. Raises CheckpointError for a name that is
    missing or damaged, and ConfigError for `all` among other names.
    """
    found = []
    if "all" in names:
        if len(names) > 1:
            raise ConfigError("--checkpoints is `all`, or names of checkpoints")
        for path in sorted(run.checkpoints.glob("*-*")):
            if fault := atomic.damage(path, deep=False):
                log.warning("%s is left out: %s", path, fault)
            else:
                found.append(path)
        if not found:
            raise CheckpointError(f"there is no checkpoint in {run.checkpoints} to evaluate")
    else:
        found = [named_checkpoint(run, name, deep=False) for name in dict.fromkeys(names)]
    every = []
    for path in found:
        number = re.search(r"[0-9]+$", path.name)
        names_of = load_state(path).get("averaged")
        averaged = tuple(map(str, names_of)) if isinstance(names_of, list) else ()
        step = int(number[0]) if number else 0
        every += [Point(path.name, plain, step, averaged) for plain in (False, True)[: 1 + has_plain(path)]]
    return sorted(every, key=lambda point: (point.step, bool(point.averaged)))


def evaluate_points(
    every: Sequence[Point],
    load: Callable[[str, bool], EvaluatedModel],
    texts: Sequence[EvaluationText],
    scoring: Scoring,
) -> list[list[Evaluation]]:
    """Return the evaluations of each text, one for each point. `load` returns the system of a checkpoint."""
    rows: list[list[Evaluation]] = [[] for _ in texts]
    for point in every:
        model = load(point.checkpoint, point.plain)
        for row, text in zip(rows, texts, strict=True):
            row.append(evaluated(model, text, scoring))
            log.info("%s of %s: %s", point.title, text.name, "  ".join(_scores(row[-1])))
    return rows


def _scores(found: Evaluation) -> list[str]:
    return [f"{score.label} {score.brief}" for score in found.scores.values()]


def curve(every: Sequence[Point], found: Sequence[Evaluation], best: str | None) -> str:
    """Return the table of a text's scores by checkpoint, and a line for each average with what it buys."""
    labels, scores = score_columns(found)
    rows = [
        [point.title + (" (best)" if point.checkpoint == best and not point.plain else ""), f"{point.step}", *cells]
        for point, cells in zip(every, scores, strict=True)
    ]
    return "\n".join([aligned(["checkpoint", "step", *labels], rows), *_gains(every, found)])


def _gains(every: Sequence[Point], found: Sequence[Evaluation]) -> list[str]:
    """Return a sentence for each average: the differences to what was averaged."""
    by_point = dict(zip(every, found, strict=True))
    lines = []
    for point, scores in by_point.items():
        if point.plain:
            continue
        for other, before in by_point.items():
            if other.plain and other.checkpoint == point.checkpoint:
                lines.append(
                    f"moving average at step {point.step} against plain weights: {_difference(scores, before)}"
                )
            elif point.averaged and other.checkpoint == point.averaged[-1] and not other.plain:
                count = f"average of {len(point.averaged)} checkpoints against the last of them"
                lines.append(f"{count}, {other.checkpoint}: {_difference(scores, before)}")
    return lines


def _difference(found: Evaluation, before: Evaluation) -> str:
    parts = [
        f"{METRICS[name].label} {score.score - before.scores[name].score:+.2f}"
        for name, score in found.scores.items()
        if name in before.scores
    ]
    return ", ".join(parts)
