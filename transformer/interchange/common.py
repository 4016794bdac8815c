"""A trained model's weights in the layouts of other runtimes: CTranslate2, and Hugging Face transformers. No pickle.

Both put a norm and a bias where this package does and have sinusoids as positions, so nothing is approximated: the same
ids give the same logits, up to rounding. A folder appears whole or not at all, with the SentencePiece models in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from transformer.errors import ConfigError
from transformer.model.network import Transformer

Array = NDArray[np.float32]
POSITIONS = 2048
"""Rows of the position tables written; other runtimes cannot make more."""


def source_embedding(model: Transformer) -> nn.Embedding:
    """Return the embedding of the source."""
    return model.target_embedding if model.cfg.tied == "all" else model.source_embedding


def output_bias(model: Transformer) -> Array:
    """Return the output projection's bias, zeros where it has none."""
    if model.output_bias is None:
        return np.zeros(len(model.output_weight), np.float32)
    return array(model.output_bias)


def array(tensor: Tensor) -> Array:
    """Return a copy: a runtime's quantisation may write into what it is given."""
    return tensor.detach().cpu().float().numpy().copy()


def refuse_existing(folder: Path) -> None:
    """Raise ConfigError where a folder exists."""
    if folder.exists():
        raise ConfigError(f"{folder} is already there; name a new folder to export to")
