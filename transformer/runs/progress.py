"""The progress of training: its fields, their validation when read from a checkpoint, and a text form."""

from __future__ import annotations

import builtins
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from transformer.config import Config
from transformer.errors import CheckpointError

LARGEST = 2**62
"""Upper bound of the integers in a checkpoint. Training never writes a larger one."""
REQUIRED = ("step", "epoch", "index", "tokens", "seconds")
"""Fields that every version writes."""
RENAMED = {
    "best": "best_score",
    "valid": "last_validation",
    "validated": "validated_at",
    "skips": "skipped_in_a_row",
    "good": "last_good",
    "calm": "rate_halved",
}
"""Names of fields in checkpoints of version 0.1, and their current names."""


@dataclass
class Progress:
    """The state of training besides tensors. All values are plain, since a checkpoint stores them as JSON."""

    step: int = 0
    """Number of updates done."""
    epoch: int = 0
    """Epoch of the next update."""
    index: int = 0
    """Index of the next update in its epoch."""
    tokens: int = 0
    """Number of target tokens trained on."""
    seconds: float = 0.0
    """Training time over all sessions, without validation and saving."""
    best_score: float | None = None
    """The best validation score so far. Higher is better, so a loss is negated."""
    since_best: int = 0
    """Number of validations since the best one."""
    ranking: list[tuple[float, str]] = field(default_factory=list)
    """Scores and names of the best checkpoints."""
    last_validation: dict[str, float] = field(default_factory=dict)
    """The scores of the last validation."""
    validated_at: int = -1
    """The step of the last validation."""
    slowest_validation: float = 0.0
    """Seconds of the slowest validation. Training stops that much before the time limit."""
    skipped_in_a_row: int = 0
    """Number of newest updates that were skipped because their loss or gradient was not finite."""
    last_good: str = ""
    """The newest checkpoint saved while `skipped_in_a_row` was 0."""
    batch_limits: dict[str, int] = field(default_factory=dict)
    """What has cut and computed the batches so far, by device and number of processes. The same gives the same bits."""
    mixed_updates: bool = False
    """Whether updates have pairs of several lengths. That is so for the whole of a run that began on a GPU."""
    fitting: dict[str, int] = field(default_factory=dict)
    """The largest micro-batch that has not run out of memory, likewise."""
    rate_halved: bool = False
    """Whether training has rolled back to `last_good` and halved the learning rate."""

    @classmethod
    def from_state(cls, state: Mapping[str, Any], ignore_unknown: bool = False) -> Progress:
        """Return the progress in a checkpoint's state. Raises CheckpointError if training did not write it."""
        if (values := state.get("progress")) is None:
            raise CheckpointError("a checkpoint has no training progress")
        if not is_valid(values):
            raise CheckpointError("a checkpoint's progress is not what training wrote")
        values = _renamed(values)
        known = {each.name for each in fields(cls)}
        if ignore_unknown:
            values = {name: value for name, value in values.items() if name in known}
        if unknown := values.keys() - known:
            raise CheckpointError(f"a checkpoint's progress has an unknown field: {min(unknown)}")
        return cls(**{**values, "ranking": [(score, name) for score, name in values.get("ranking", [])]})

    def training_in_words(self) -> str:
        """Return updates, tokens and time as text."""
        return f"{self.step:,} updates, {self.tokens:,} target tokens, {self.seconds:,.0f} s of training"

    def validation_in_words(self) -> str:
        """Return the scores of the last validation as text, empty if there was none."""
        return ", ".join(f"{key} {value:.3f}" for key, value in self.last_validation.items())

    def finished(self, cfg: Config) -> str | None:
        """Return why training is complete, or None if it is not."""
        patience = cfg.train.patience
        if self.step >= cfg.train.max_steps:
            return f"all {cfg.train.max_steps:,} steps are done"
        if patience is not None and self.since_best >= patience:
            return f"no better {cfg.train.select_by} in {self.since_best} validations"
        return None


def is_valid(values: Any) -> bool:
    """Return whether the fields have the types that training writes."""
    if not isinstance(values, dict) or any(values.get(name) is None for name in REQUIRED):
        return False
    hints = get_type_hints(Progress)
    known = {name: value for name, value in _renamed(values).items() if name in hints}
    return all(_has_type(value, hints[name]) for name, value in known.items()) and abs(values["seconds"]) < LARGEST


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {RENAMED.get(name, name): value for name, value in values.items()}


def _has_type(value: Any, kind: Any) -> bool:
    """Return whether a JSON value has this type. Integers must be in range, and text must be a bare file name."""
    args = get_args(kind)
    match get_origin(kind) or kind:
        case types.UnionType:
            return any(_has_type(value, each) for each in args)
        case builtins.list:
            return isinstance(value, list) and all(_has_type(each, args[0]) for each in value)
        case builtins.tuple:
            return isinstance(value, list) and len(value) == len(args) and all(map(_has_type, value, args))
        case builtins.dict:
            return isinstance(value, dict) and all(_has_type(each, args[1]) for each in value.values())
        case builtins.int:
            return type(value) is int and -1 <= value < LARGEST
        case builtins.float:
            return type(value) in (int, float)
        case builtins.str:
            return isinstance(value, str) and Path(value).name == value
        case plain:  # bool and None
            return type(value) is plain
