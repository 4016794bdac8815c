"""The names in a run directory: its files, and its checkpoints by step."""

from __future__ import annotations

import re
from pathlib import Path

from transformer.atomic import LOCK

CONFIG, CHECKPOINTS, METRICS, FINISHED = "config.yaml", "checkpoints", "metrics.jsonl", "finished"
"""The configuration, the folder of checkpoints, the log for programs, and the file that says training is complete."""
REPORT = "data.json"
"""What was read and left out, and the lengths of the training pairs."""
TOKENIZERS = ("tokenizer.model", "source.model", "target.model")
STARTED = {CHECKPOINTS, METRICS, "tensorboard", REPORT, *TOKENIZERS}
"""What may be in a run directory whose first start was killed before it wrote the configuration."""
TUNING = "tuning.json"
"""The decoding settings that `tune` chose."""
EVALUATIONS = "evaluations"
"""The folder of scores and translations that `evaluate` keeps."""
TEXTS = "texts"
"""The folder in it with the texts that were translated, each once."""
STEP, AVERAGE = "step-", "average-"
"""Prefixes of checkpoints that training saved, and of averages of these."""


def is_run(folder: Path) -> bool:
    """Return whether this is a run or model directory."""
    return (folder / CONFIG).is_file()


def own_files(folder: Path) -> list[Path]:
    """Return the paths of the files that training writes into a run directory."""
    single = ["best", "last", FINISHED, CONFIG, METRICS, "README.md", REPORT, TUNING, LOCK]
    return [*(folder / name for name in (*single, *TOKENIZERS)), *(folder / CHECKPOINTS).glob("*/*")]


def foreign(folder: Path) -> str | None:
    """Return a name that shows that a folder is neither a run, nor empty, nor one in which a run was about to start.

    Hidden names do not count, nor does `lost+found`: file systems and desktops make them, and training leaves them.
    """
    if not folder.is_dir():
        return None
    names = sorted(path.name for path in folder.iterdir())
    ours = _made_by_training(folder, names)
    if ours and is_run(folder):
        return None
    plain = (name for name in names if not name.startswith(".") and name != "lost+found")
    return next((name for name in plain if not (ours and name in STARTED)), None)


def _made_by_training(folder: Path, names: list[str]) -> bool:
    """Return whether checkpoints, or the lock of a training, show that a folder's well-known names are not another's.

    Other programs have a config.yaml, a tokenizer.model and a folder of checkpoints, too.
    """
    checkpoints = folder / CHECKPOINTS
    there = [path.name for path in checkpoints.iterdir()] if checkpoints.is_dir() else []
    empty = not any(not name.startswith(".") for name in there)
    if not is_run(folder):
        return LOCK in names and empty
    saved = any(re.fullmatch(f"({STEP}|{AVERAGE})[0-9]+", name) for name in there)
    nothing_else = {name for name in names if not name.startswith(".")} <= {CONFIG, *STARTED}
    return saved or LOCK in names or (empty and nothing_else and checkpoints.is_dir())


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
