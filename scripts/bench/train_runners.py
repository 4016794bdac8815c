"""The models and packages that bench/train.py measures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from common import Runner

from transformer.system.device import resolve_dtype


@dataclass(frozen=True)
class Size:
    """A model and its number of timed updates."""

    layers: int
    width: int
    heads: int
    feed_forward: int
    timed: int


SIZES = {"small": Size(3, 256, 4, 1024, timed=8), "base": Size(6, 512, 8, 2048, timed=2)}


FAST = "bfloat16" if resolve_dtype("auto", torch.device("cpu")) == torch.bfloat16 else "float32"
"""The precision that `train.precision: auto` selects on this machine."""
RUNNERS = {
    "matmul": Runner("torch.mm of the model's shapes", "train_matmul.py", FAST),
    "ours": Runner("this repository, as shipped", "train_ours.py", "auto"),
    "ours-float32": Runner("this repository, float32", "train_ours.py", "float32"),
    "torch": Runner("torch.nn.Transformer, float32", "train_torch.py", "float32"),
    "torch-medium": Runner('torch.nn.Transformer, matmul precision "medium"', "train_torch.py", "medium"),
    "torch-bf16": Runner("torch.nn.Transformer, bfloat16 autocast", "train_torch.py", "bfloat16"),
    "marian": Runner("transformers MarianMTModel, as shipped (float32)", "train_marian.py", "float32", "marian"),
    "marian-bf16": Runner("transformers MarianMTModel, bfloat16 autocast", "train_marian.py", "bfloat16", "marian"),
    "eole": Runner("Eole, as shipped (float32)", "train_eole.py", "float32", "eole"),
    "eole-bf16": Runner("Eole, compute_dtype bf16", "train_eole.py", "bfloat16", "eole"),
}
QUICK = ["matmul", "ours", "torch-bf16", "marian"]
FLOAT32 = ["matmul", "ours", "torch", "marian", "eole"]
"""The rows for processors without bfloat16."""
