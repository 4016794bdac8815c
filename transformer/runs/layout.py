"""The names in a run directory: its files, and its checkpoints by step."""

from __future__ import annotations

from pathlib import Path

CONFIG, CHECKPOINTS, METRICS, FINISHED = "config.yaml", "checkpoints", "metrics.jsonl", "finished"
"""The configuration, the folder of checkpoints, the log for programs, and the file that says training is complete."""
REPORT = "data.json"
"""What was read and left out, and the lengths of the training pairs."""
STEP, AVERAGE = "step-", "average-"
"""Prefixes of checkpoints that training saved, and of averages of these."""


def is_run(folder: Path) -> bool:
    """Return whether this is a run or model directory."""
    return (folder / CONFIG).is_file()


def step_name(step: int) -> str:
    """Return the name of the checkpoint of a step. Names sort in the order of steps."""
    return f"{STEP}{step:08d}"


def average_name(step: int) -> str:
    """Return the name of the average of the checkpoints up to a step."""
    return f"{AVERAGE}{step:08d}"


def step_of(checkpoint: Path) -> int:
    """Return the step of a checkpoint that training saved."""
    return int(checkpoint.name.removeprefix(STEP))


def saved_steps(folder: Path) -> list[Path]:
    """Return the checkpoints in this folder that training saved, oldest first."""
    return sorted(path for path in folder.glob(f"{STEP}*") if path.name.removeprefix(STEP).isdecimal())
