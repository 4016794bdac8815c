""""""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from transformer.config import Config
from transformer.errors import CheckpointError

LARGEST = 2**62
"""Whole numbers of a state are below it."""


def plausible(progress: Any) -> bool:
    """Return whether this is what training writes about how far it is, as far as can be told from kinds and sizes."""
    if not isinstance(progress, dict) or not isinstance(progress.get("valid", {}), dict):
        return False
    ranking = progress.get("ranking", [])
    if not isinstance(ranking, list) or not all(isinstance(each, list) and len(each) == 2 for each in ranking):
        return False
    whole = [progress.get(key) for key in ("step", "epoch", "index", "tokens")]
    whole += [progress.get(key, 0) for key in ("since_best", "validated", "skips")]
    numbers = [progress.get("seconds"), progress.get("best") or 0.0, *progress.get("valid", {}).values()]
    names = [progress.get("good", ""), *(name for _, name in ranking)]
    return (
        all(type(each) is int and -1 <= each < LARGEST for each in whole)
        and all(type(each) in (int, float) for each in numbers + [score for score, _ in ranking])
        and abs(progress["seconds"]) < LARGEST
        and all(isinstance(each, str) and Path(each).name == each for each in names)
        and type(progress.get("calm", False)) is bool
    )


@dataclass
class Progress:
    """Where training stands; plain values only."""

    step: int = 0
    """Updates done."""
    epoch: int = 0
    """Of the next update."""
    index: int = 0
    """Of the next update within its epoch."""
    tokens: int = 0
    """Target tokens seen."""
    seconds: float = 0.0
    """Of training, over all sittings, without validation and saving."""
    best: float | None = None
    """The best validation score so far."""
    since_best: int = 0
    """Validations since then."""
    ranking: list[tuple[float, str]] = field(default_factory=list)
    """Scores and names of the best checkpoints."""
    valid: dict[str, float] = field(default_factory=dict)
    """What the last validation found."""
    validated: int = -1
    """The step of the last validation."""

    skips: int = 0
    """The newest updates that were skipped in a row, because their gradients were not finite."""
    good: str = ""
    """The newest checkpoint that was saved when none was."""
    calm: bool = False
    """Whether training went back to such a checkpoint, and has half the learning rate since."""

    @classmethod
    def of(cls, state: dict[str, Any]) -> Progress:
        """Return what a checkpoint says; raises CheckpointError where this version does not know a field."""
        if (values := state.get("progress")) is None:
            raise CheckpointError("a checkpoint does not say how far training was")
        if unknown := values.keys() - {each.name for each in fields(cls)}:
            raise CheckpointError(f"a checkpoint's progress has a field not known here: {min(unknown)}")
        return cls(**{**values, "ranking": [(score, name) for score, name in values.get("ranking", [])]})


def finished(progress: Progress, cfg: Config) -> str | None:
    """Return why no update is left to do, or None."""
    patience = cfg.train.patience
    if progress.step >= cfg.train.max_steps:
        return f"all {cfg.train.max_steps:,} steps are done"
    if patience is not None and progress.since_best >= patience:
        return f"no better {cfg.train.best} in {progress.since_best} validations"
    return None


def checkpoint_name(step: int) -> str:
    """Return the name of the checkpoint of a step; names sort as steps do."""
    return f"step-{step:08d}"
