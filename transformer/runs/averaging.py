"""Averages of checkpoints."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from transformer import atomic
from transformer.errors import CheckpointError
from transformer.runs.checkpoint import WEIGHTS, load_tensors
from transformer.runs.models import outline
from transformer.runs.run import Run


def average_weights(run: Run, paths: list[Path]) -> dict[str, Tensor]:
    """Return the mean of the weights of several checkpoints, none of which may be damaged."""
    total: dict[str, Tensor] = {}
    shapes = {name: tuple(part.shape) for name, part in outline(run.config, run.tokenizer).state_dict().items()}
    for path in paths:
        if fault := atomic.damage(path):
            raise CheckpointError(f"{path} cannot be averaged: {fault}")
        for name, tensor in load_tensors(path / WEIGHTS, shapes).items():
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    return {name: (tensor / len(paths)).float() for name, tensor in total.items()}
