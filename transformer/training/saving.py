"""Checkpoints of a training: saved, pruned, restored bit for bit, and averaged at the end."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from transformer.system.device import hardware
from transformer.system.threads import Task
from transformer.training.optimizer import flat_state, named_state, state_shapes
from transformer.training.trainer import Trainer

FAILURES_IN_A_ROW = 3
"""Failed saves in a row after which training stops. Fewer are tolerated, as a disk may be full for a while."""

log = logging.getLogger(__name__)


_Tensors = tuple[dict[str, Tensor], dict[str, Tensor]]
"""The weights of a checkpoint by their names, and the other tensors."""


@dataclass(frozen=True)
class _Pending:
    """A save that is under way."""

    path: Path
    before: str
    """What `last_good` was before it."""
    seconds: float
    """How long it has stopped training."""
    task: Task | None
    """None in processes that do not write."""


def _update(path: Path, values: Mapping[str, Any]) -> bool:
    """Replace the plain values of a checkpoint that has the tensors of this step. Return whether that succeeded."""
    try:
        update_state(path, values)
    except (OSError, ValueError, KeyError, TypeError):  # someone has removed or damaged it
        return False
    return True


def saves_aside(device: torch.device) -> bool:
    """Return whether checkpoints are written beside training: on a GPU, which would wait for seconds."""
    return device.type == "cuda"


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
        self._pending: _Pending | None = None

    def save(self, progress: Progress, best: bool = False, aside: bool = False) -> None:
        """Write a checkpoint of this step and point `last` to it, and `best` if `best` is set.

        The tensors are not written again if this step was saved before. If that fails, training continues. The error of
        the third step in a row is raised here, and one at the end of training by the loop. All processes call this; the
        first one writes. `aside` only copies what is to be written: a thread writes it, and what comes of that is seen
        by `settle`.
        """
        self.settle(progress)
        path, before = self.run.checkpoints / step_name(progress.step), progress.last_good
        if not progress.skipped_in_a_row:
            progress.last_good = path.name
        optimizer = self.trainer.exchange.whole_state(self.trainer.optimizer)
        started, task = time.monotonic(), None
        if self.trainer.ranks.first:
            whole = self.saved_at != progress.step or bool(self.failures)
            now, values = copy.deepcopy(progress), copy.deepcopy(self._state_values(progress))
            copies = self._tensors(optimizer, copied=True) if aside else None  # now, before training changes them

            def write() -> None:
                if whole or not _update(path, values):
                    save_checkpoint(path, *(copies or self._tensors(optimizer, copied=False)), values)
                self._point_and_prune(path, now, best)

            task = Task(write, aside)
        self._pending = _Pending(path, before, time.monotonic() - started, task)
        self.saved_at = progress.step
        if not aside:
            self.settle(progress)

    def settle(self, progress: Progress) -> None:
        """Wait for the save that is under way, if there is one, and see what came of it. All processes call this."""
        pending, self._pending, failed = self._pending, None, 0
        if pending is None:
            return
        error = None if pending.task is None else pending.task.wait()
        if pending.task is not None and error is None:
            self.failures.clear()
        elif isinstance(error, (OSError, CheckpointError, MemoryError)):
            step = step_of(pending.path)
            self.failures[step] = error
            failed = len(self.failures)
            state = "was NOT saved; the checkpoints before it are intact"
            if atomic.damage(pending.path, deep=False) is None:
                state = "was saved, but `last` and `best` may still name checkpoints before it"
            log.warning("step %d %s: %s", step, state, error)
        elif error is not None:
            raise error
        self.slowest = max(self.slowest, pending.seconds + (0.0 if pending.task is None else pending.task.seconds))
        failed = self.trainer.ranks.largest(failed, work=True)
        if failed:
            progress.last_good = pending.before
        if failed >= FAILURES_IN_A_ROW:
            self.raise_failure()

    def abandon(self) -> None:
        """Wait for the save that is under way, whatever comes of it: training has ended with an error."""
        if self._pending is not None and self._pending.task is not None:
            self._pending.task.wait()

    def raise_failure(self) -> NoReturn:
        """Raise the error of the last save, in all processes."""
        for error in reversed(self.failures.values()):
            raise error
        raise CheckpointError("the first training process cannot save its checkpoints; its log says why")

    def _point_and_prune(self, path: Path, progress: Progress, best: bool) -> None:
        """Point to a checkpoint that has been written, and remove those that are no longer needed."""
        self.run.point("last", path)
        if best:
            self.run.point("best", path)
        newest = self._scheduled(progress.step)[-self.run.config.train.keep_last :]
        needed = {path.name, progress.last_good, *(name for _, name in progress.ranking), *(p.name for p in newest)}
        prune(self.run, path, needed)

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

    def _tensors(self, optimizer: Mapping[str, Sequence[Tensor]], copied: bool) -> _Tensors:
        """Return the weights of the model, and the optimizer's state with, if weights are averaged, the plain ones.

        On a GPU each buffer comes to the CPU in one copy. `copied` makes them independent of what training does next.
        """

        def host(flat: Tensor) -> Tensor:
            return flat.to("cpu", copy=copied)

        weights, plain = self.trainer.weights, {}
        if self.trainer.average is not None:
            views = weights.views(host(weights.weights))
            plain = {f"weights.{name}": part for name, part in views.items()}
        state = {key: [host(part) for part in parts] for key, parts in optimizer.items()}
        return weights.views(host(self._used())), named_state(weights, state) | plain

    def _state_values(self, progress: Progress) -> dict[str, Any]:
        scaler = self.trainer.scaler
        return {
            "progress": vars(progress),
            "adam": bool(self.trainer.optimizer.state),
            "scaler": None if scaler is None else scaler.state_dict(),
            "tokenizer": self.run.tokenizer.fingerprint,
            **self.fingerprints,
            "versions": {"transformer": __version__, "torch": torch.__version__},
            "hardware": hardware(self.trainer.device, self.trainer.ranks.count),
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
                    f"restore it, or start over with --fresh{_new_versions(self.run)}"
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


def _new_versions(run: Run) -> str:
    """Return advice if OPUS may have got a new version of a corpus since."""
    corpora = (*run.config.data.train, run.config.data.valid)
    latest = [each.opus for each in corpora if each is not None and each.opus and each.version is None]
    if not latest:
        return ""
    return f"; OPUS may have a new version of {latest[0]}: to go on, set version to the one in the model card"
