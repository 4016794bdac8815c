"""Averages of checkpoints."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from transformer import atomic
from transformer.errors import CheckpointError
from transformer.runs.checkpoint import WEIGHTS, load_state, load_tensors, save_checkpoint
from transformer.runs.layout import REPORT, average_name, step_of
from transformer.runs.models import outline
from transformer.runs.run import Run, write_run
from transformer.system.memory import enough_memory

log = logging.getLogger(__name__)


def average_weights(run: Run, paths: list[Path], check: Callable[[], None] = lambda: None) -> dict[str, Tensor]:
    """Return the mean of the weights of several checkpoints. Raises CheckpointError if one is damaged.

    `check` is called before each checkpoint is read, and may raise an exception to end the work.
    """
    total: dict[str, Tensor] = {}
    shapes = {name: tuple(part.shape) for name, part in outline(run.config, run.tokenizer).state_dict().items()}
    with enough_memory("the sums of the weights to be averaged do not fit"):
        for path in paths:
            check()
            if fault := atomic.damage(path):
                raise CheckpointError(f"{path} cannot be averaged: {fault}")
            for name, tensor in load_tensors(path / WEIGHTS, shapes).items():
                total[name] = total[name] + tensor.double() if name in total else tensor.double()
        return {name: (tensor / len(paths)).float() for name, tensor in total.items()}


def average_run(run: Run, last: int, output: Path | None = None) -> tuple[Path, list[str]]:
    """Write a model folder with the mean of the newest checkpoints. Return the folder and the names of the checkpoints.

    The folder is `output`, by default `<run>-average-<last>` next to the run.
    """
    steps = run.steps()[-last:]
    if len(steps) < last:
        raise CheckpointError(f"{run.path} has {len(steps)} checkpoints, fewer than {last}; see train.keep_last")
    path = run.path.resolve()
    folder = output or path.with_name(f"{path.name}-average-{last}")
    if os.path.lexists(folder):
        raise CheckpointError(f"{folder} already exists; choose another with --output")
    names = [step.name for step in steps]
    weights = average_weights(run, steps)
    state = {**load_state(steps[-1]), "averaged": names}
    with atomic.whole_folder(folder) as temporary:
        made = write_run(temporary, run.config, run.tokenizer)
        if (run.path / REPORT).is_file():  # which has the lengths of the training text
            atomic.write_bytes(temporary / REPORT, (run.path / REPORT).read_bytes())
        path = made.checkpoints / average_name(step_of(steps[-1]))
        save_checkpoint(path, weights, None, state)
        made.point("best", path)
    return folder, names


def undamaged(paths: list[Path]) -> list[Path]:
    """Return the undamaged checkpoints of `paths`, and log a warning for each of the others."""
    faults = {path: atomic.damage(path) for path in paths}
    for path, fault in faults.items():
        if fault:
            log.warning("%s is excluded from the average: %s", path, fault)
    return [path for path, fault in faults.items() if not fault]
