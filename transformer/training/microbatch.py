"""Sizes: tokens per micro-batch, memory per token, disk space of the checkpoints, splitting on out of memory."""

from __future__ import annotations

import math
import shutil

import numpy as np
import torch

from transformer.config import Config
from transformer.data.batching import Batch
from transformer.errors import TransformerError
from transformer.runs.run import Run
from transformer.system.device import device_name
from transformer.system.memory import MemorySplitter
from transformer.training.optimizer import state_bytes

CACHED_ELEMENTS = 2**20
"""On a CPU: elements of one activation tensor that fit into the caches of a server processor (2 to 4 MB)."""
PARTS_AT_A_TIME = 2
"""On a CPU: number of micro-batches that the two workers compute in parallel."""
CPU_SLACK = 1.15
"""Factor by which a micro-batch may exceed its equal share, since batches are never filled completely."""
SHARE_OF_MEMORY = 0.6
"""On CUDA: share of the memory for activations. The rest is for weights, logits, gradients, fragmentation. Of all
memory, not of what is free at the moment: the same run must be cut into the same batches each time. Not measured."""


def micro_batch_tokens(cfg: Config, device: torch.device, processes: int = 1) -> int:
    """Return the most tokens per side of a micro-batch, counting padding. On CUDA that is what fits into the memory."""
    if cfg.train.micro_batch_tokens != "auto":
        return cfg.train.micro_batch_tokens
    share = cfg.train.batch_tokens / processes
    if device.type != "cuda":
        parts = PARTS_AT_A_TIME * max(1, round(share * cfg.model.width / CACHED_ELEMENTS))
        return math.ceil(CPU_SLACK * share / parts)
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(1024, int(memory * SHARE_OF_MEMORY) // bytes_per_token(cfg))


def parts_at_a_time(device: torch.device) -> int:
    """Return how many micro-batches a process computes in parallel. It does not depend on the number of cores."""
    return 1 if device.type == "cuda" else PARTS_AT_A_TIME


def bytes_per_token(cfg: Config) -> int:
    """Return the approximate number of bytes that the activations of a token take in bfloat16 training.

    A layer keeps about 16 tensors of the model's width and 3 of the feed-forward width. A decoder layer, which also has
    cross-attention, counts as 1.6 encoder layers.
    """
    model = cfg.model
    layer = 16 * model.width + 3 * model.feed_forward
    return 2 * (model.encoder_layers + int(1.6 * model.decoder_layers)) * layer + 12 * model.width


def disk_space(run: Run, parameters: int, averaged: bool) -> tuple[int, int]:
    """Return the largest number of bytes that the checkpoints of a run may take in addition, and the free bytes."""
    cfg, folder = run.config.train, run.checkpoints
    weights = 4 * parameters
    checkpoint = weights * (2 if averaged else 1) + state_bytes(parameters)
    count = cfg.keep_last + max(cfg.keep_best, 1) + 2  # plus one to roll back to and one being written
    most = checkpoint * count + (weights if cfg.average_last else 0)
    present = sum(file.stat().st_size for file in folder.glob("*/*"))
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return max(most - present, 0), shutil.disk_usage(existing).free


def disk_in_words(needed: int, free: int) -> str:
    """Return the result of `disk_space` as text."""
    return f"up to {needed / 2**30:.3f} GiB more needed, {free / 2**30:.3f} GiB free"


SeededBatch = tuple[Batch, int]
"""A batch and its dropout seed."""


class TrainingSplitter(MemorySplitter[SeededBatch]):
    """Splits training and validation batches that do not fit into memory. The gradient is the same up to rounding."""

    def __init__(self, device: torch.device, pad: int) -> None:
        super().__init__(device)
        self.pad = pad

    def size(self, batch: SeededBatch) -> int:
        return batch[0].size

    def halves(self, batch: SeededBatch) -> tuple[SeededBatch, SeededBatch] | None:
        whole, seed = batch
        if len(whole.pair_ids) == 1:
            return None
        first, second = whole.halves(self.pad)
        seeds = np.random.SeedSequence(seed).generate_state(2, np.uint32).tolist()
        return (first, seeds[0]), (second, seeds[1])

    def too_large(self, batch: SeededBatch) -> TransformerError:
        whole = batch[0]
        return TransformerError(
            f"pair {whole.pair_ids[0]}, of {whole.source_BS.numel()} and {whole.input_BT.numel()} tokens, does not "
            f"fit into the memory of {device_name(self.device)}; lower data.max_length or make the model smaller"
        )

    def advice(self, size: int) -> str:
        return (
            f"out of memory in a batch of {size} tokens per side: such batches are split from now on, with the same "
            f"gradient; train.micro_batch_tokens={size // 2} would avoid that"
        )
