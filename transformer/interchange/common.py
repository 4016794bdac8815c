"""Code shared by all export formats: checks before writing, and weights as NumPy arrays."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from transformer import atomic
from transformer.config import ModelConfig
from transformer.errors import ConfigError
from transformer.model.weights import Accepted, LinearWeights, unsupported

Array = NDArray[np.float32]
POSITIONS = 2048
"""Rows of exported position tables, which limit the length in runtimes that cannot extend them. Not measured."""
NEVER = -1e4
"""Output bias of ids that are never chosen. It is within the range of float16."""


def check_export(cfg: ModelConfig, accepted: Mapping[str, Accepted], runtime: str) -> None:
    """Raise ConfigError if a runtime does not support a model with these settings."""
    if setting := unsupported(cfg, accepted):
        raise ConfigError(f"{runtime} does not support this model: {setting}")


@contextmanager
def new_export(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill, which becomes `folder` when the block succeeds.

    Raises ConfigError if something is there, before the block or after it.
    """
    check_destination(folder)
    with atomic.new_folder(folder) as new:
        yield new
        check_destination(folder)


def check_destination(folder: Path) -> None:
    """Raise ConfigError if there is something at the path of a new folder."""
    if os.path.lexists(folder):
        raise ConfigError(f"{folder} already exists; choose a new folder to export to")


def array(tensor: Tensor) -> Array:
    """Return a float32 copy of a tensor, as a runtime's quantization may modify the array it gets."""
    return tensor.detach().cpu().float().numpy().copy()


def bias_array(linear: LinearWeights) -> Array:
    """Return a copy of the bias, or zeros if there is none."""
    return np.zeros(len(linear.weight), np.float32) if linear.bias is None else array(linear.bias)
