"""What all formats of other runtimes share: the refusal to write, and copies of weights as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from transformer.config import ModelConfig
from transformer.errors import ConfigError
from transformer.model.weights import Accepted, LinearWeights, unsupported

Array = NDArray[np.float32]
POSITIONS = 2048
"""Rows of the position tables written, since other runtimes cannot compute more. Not measured."""


def check_export(cfg: ModelConfig, accepted: Mapping[str, Accepted], runtime: str, folder: Path) -> None:
    """Raise ConfigError where a runtime cannot hold a model of these settings, or the folder exists."""
    if setting := unsupported(cfg, accepted):
        raise ConfigError(f"{runtime} cannot hold this model: {setting}")
    if folder.exists():
        raise ConfigError(f"{folder} exists; name a new folder to export to")


def array(tensor: Tensor) -> Array:
    """Return a copy in float32: a runtime's quantization may write into what it is given."""
    return tensor.detach().cpu().float().numpy().copy()


def bias_array(linear: LinearWeights) -> Array:
    """Return a copy of the bias, zeros where there is none."""
    return np.zeros(len(linear.weight), np.float32) if linear.bias is None else array(linear.bias)
