"""Checkpoints of a training: saved, pruned, restored bit for bit, and averaged at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from transformer import __version__, atomic
from transformer.errors import CheckpointError, DataError
from transformer.runs.averaging import average_weights, undamaged
from transformer.runs.checkpoint import (
    TENSORS,
    WEIGHTS,
    check_tokenizer,
    load_state,
    load_tensors,
    prune,
    save_checkpoint,
    update_state,
)
from transformer.runs.layout import average_name, step_name, step_of
from transformer.runs.progress import Progress
from transformer.runs.run import Run
from transformer.training.optimizer import flat_state, named_state, state_shapes
from transformer.training.trainer import Trainer

FAILURES_IN_A_ROW = 3
"""Failed saves in a row after which training stops. Fewer are tolerated, as a disk may be full for a while."""

log = logging.getLogger(__name__)


class CheckpointWriter:
    """Saves and restores the checkpoints of a training."""

    def __init__(
        self, run: Run, trainer: Trainer, fingerprints: Mapping[str, str | None], former: str | None = None
    ) -> None:
        """`fingerprints` identify the training text and the validation text; `former` is that of version 0.1."""
        self.run, self.trainer, self.fingerprints, self.former = run, trainer, fingerprints, former
        self.saved_at = -1
        """The step of the last save or restore."""
        self.restored: dict[str, Tensor] | None = None
        """The optimizer's state of all weights, after `restore` until it has been given to all processes."""
        self.slowest = 0.0
        """Seconds of the slowest save. Training stops that much before the time limit."""
        self.failures: dict[int, Exception] = {}
        """The steps since the last successful save that could not be saved, with the errors."""

    def save(self, progress: Progress, best: bool = False) -> None:
        """Write a checkpoint of this step and point `last` to it, and `best` if `best` is set.

        The tensors are not written again if this step was saved before. If that fails, training continues. The error of
        the third step in a row is raised here, and one at the end of training by the loop. All processes call this; the
        first one writes.
        """
        started, path = time.monotonic(), self.run.checkpoints / step_name(progress.step)
        before, failed = progress.last_good, 0
        if not progress.skipped_in_a_row:
            progress.last_good = path.name
        optimizer = self.trainer.exchange.whole_state(self.trainer.optimizer)
        if self.trainer.ranks.first:
            try:
                self._write(path, progress, best, optimizer)
                self.failures.clear()
            except (OSError, CheckpointError, MemoryError) as error:
                self.failures[progress.step] = error
                failed = len(self.failures)
                state = "was NOT saved; the checkpoints before it are intact"
                if atomic.damage(path, deep=False) is None:
                    state = "was saved, but `last` and `best` may still name checkpoints before it"
                log.warning("step %d %s: %s", progress.step, state, error)
        self.saved_at = progress.step
        self.slowest = max(self.slowest, time.monotonic() - started)
        failed = self.trainer.ranks.largest(failed, work=True)
        if failed:
            progress.last_good = before
        if failed >= FAILURES_IN_A_ROW:
            self.raise_failure()

    def raise_failure(self) -> NoReturn:
        """Raise the error of the last save, in all processes."""
        for error in reversed(self.failures.values()):
            raise error
        raise CheckpointError("the first training process cannot save its checkpoints; its log says why")

    def _write(self, path: Path, progress: Progress, best: bool, optimizer: Mapping[str, Sequence[Tensor]]) -> None:
        if self.saved_at != progress.step or self.failures or not self._update(path, progress):
            weights = self.trainer.weights.views(self._used())
            save_checkpoint(path, weights, self._state_tensors(optimizer), self._state_values(progress))
        self.run.point("last", path)
        if best:
            self.run.point("best", path)
        newest = self._scheduled(progress.step)[-self.run.config.train.keep_last :]
        needed = {path.name, progress.last_good, *(name for _, name in progress.ranking), *(p.name for p in newest)}
        prune(self.run, path, needed)

    def _update(self, path: Path, progress: Progress) -> bool:
        """Replace the plain values of a checkpoint that has the tensors of this step. Return whether that succeeded."""
        try:
            update_state(path, self._state_values(progress))
        except (OSError, ValueError, KeyError, TypeError):  # someone has removed or damaged it
            return False
        return True

    def _scheduled(self, now: int) -> list[Path]:
        """Return the checkpoints so far that were due by the configuration, and that of this step.

        Checkpoints saved on a signal are excluded, so that averages do not depend on how often a run was stopped.
        """
        cfg, scheduled = self.run.config.train, []
        for path in self.run.steps():
            step = step_of(path)
            due = step % cfg.save_every == 0 or step % cfg.validate_every == 0
            scheduled += [path] if (due and step < now) or step == now else []
        return scheduled

    def _used(self) -> Tensor:
        """Return the weights that a user of the model gets: the averaged ones if there are any."""
        trainer = self.trainer
        return trainer.weights.weights if trainer.average is None else trainer.average.average

    def _state_tensors(self, optimizer: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
        """Return the optimizer's state and, if weights are averaged, the plain ones."""
        weights, plain = self.trainer.weights, {}
        if self.trainer.average is not None:
            plain = {f"weights.{name}": part for name, part in weights.views(weights.weights).items()}
        return named_state(weights, optimizer) | plain

    def _state_values(self, progress: Progress) -> dict[str, Any]:
        scaler = self.trainer.scaler
        return {
            "progress": vars(progress),
            "adam": bool(self.trainer.optimizer.state),
            "scaler": None if scaler is None else scaler.state_dict(),
            "tokenizer": self.run.tokenizer.fingerprint,
            **self.fingerprints,
            "versions": {"transformer": __version__, "torch": torch.__version__},
        }

    def restore(self, path: Path) -> Progress:
        """Restore the trainer from a checkpoint. Raises CheckpointError or DataError if it does not match."""
        state = load_state(path)
        check_tokenizer(self.run, path, state)
        self._check_text(path, state)
        self._restore_tensors(path, bool(state.get("adam", True)))
        if self.trainer.scaler is not None:
            self.trainer.scaler.load_state_dict(state["scaler"])
        progress = Progress.from_state(state)
        self.saved_at = progress.step
        return progress

    def _check_text(self, path: Path, state: Mapping[str, Any]) -> None:
        """Raise DataError if a checkpoint was trained or validated on other text. No other checkpoint is tried then."""
        for what, key in (("trained", "data"), ("validated", "valid")):
            now = self.fingerprints[key]
            accepted = (now, self.former if key == "data" else None)
            if state.get(key) not in accepted:  # version 0.1 kept nothing of the validation text
                name = "train" if key == "data" else key
                raise DataError(
                    f"{path} was {what} on different text than data.{name} has now, byte by byte; "
                    "restore it, or start over with --fresh"
                )

    def _restore_tensors(self, path: Path, has_optimizer: bool) -> None:
        trainer, flat = self.trainer, self.trainer.weights
        shapes = {name: tuple(p.shape) for name, p in flat.parameters.items()}
        used = load_tensors(path / WEIGHTS, shapes)
        needed = {} if trainer.average is None else {f"weights.{name}": shape for name, shape in shapes.items()}
        tensors = load_tensors(path / TENSORS, needed | (state_shapes(shapes) if has_optimizer else {}))
        flat.fill(self._used(), used)
        if trainer.average is not None:
            flat.fill(flat.weights, {name: tensors[f"weights.{name}"] for name in shapes})
        flat.changed()
        if has_optimizer:
            self.restored = flat_state(flat, tensors)
            trainer.exchange.set_state(trainer.optimizer, self.restored)

    def save_average(self, progress: Progress, count: int, check: Callable[[], None]) -> tuple[str, int]:
        """Write the average of the newest checkpoints' weights as a checkpoint. Return its name and how many there are.

        `check` is called before each checkpoint is read, and may raise an exception to end the work.
        """
        steps = undamaged(self._scheduled(progress.step)[-count:])
        if not steps:
            raise CheckpointError(f"no checkpoint in {self.run.checkpoints} can be averaged: all are damaged")
        path = self.run.checkpoints / average_name(progress.step)
        weights = average_weights(self.run, steps, check)
        save_checkpoint(path, weights, None, {**self._state_values(progress), "averaged": [s.name for s in steps]})
        return path.name, len(steps)

    def load_average(self, path: Path) -> None:
        """Load averaged weights into the trainer for validation, in all processes."""
        ranks = self.trainer.ranks
        if ranks.first:
            self.trainer.weights.fill(self._used(), load_tensors(path / WEIGHTS))
        ranks.spread([self._used()])
        self.trainer.weights.changed()
