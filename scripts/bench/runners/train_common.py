"""The training loop and data that the workers of bench/train.py share.

Needs torch but not this package, so that it runs in the environments of other packages. A worker gets its job as one
JSON argument and prints one JSON line: the tokens, seconds and peak memory of the timed updates. `tokens` counts
target tokens with the end of sentence, without padding.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from worker import Job, read_job, report


@dataclass(frozen=True)
class Padded:
    """One update: a padded tensor for each side."""

    source_BS: Tensor
    input_BT: Tensor
    labels_BT: Tensor
    tokens: int


def start() -> Job:
    """Return the job, after setting torch's threads and seed."""
    job = read_job()
    torch.set_num_threads(job["threads"])
    torch.manual_seed(1)
    return job


def read_updates(job: Job) -> list[dict[str, list[list[int]]]]:
    """Return the updates of a job, each as lists of `source` and `target` ids without bos and eos."""
    updates: list[dict[str, list[list[int]]]] = json.loads(Path(job["updates"]).read_text())
    return updates[: job["warm"] + job["timed"]]


def read_padded(job: Job) -> list[Padded]:
    """Return the updates of a job as padded tensors."""
    pad, bos, eos = job["pad"], job["bos"], job["eos"]
    found = []
    for update in read_updates(job):
        found.append(
            Padded(
                _rectangle([[*row, eos] for row in update["source"]], pad),
                _rectangle([[bos, *row] for row in update["target"]], pad),
                _rectangle([[*row, eos] for row in update["target"]], pad),
                sum(len(row) + 1 for row in update["target"]),
            )
        )
    return found


def _rectangle(rows: list[list[int]], pad: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [pad] * (longest - len(row)) for row in rows])


def clock_of(job: Job) -> Callable[[], float]:
    """Return the clock of a job: that on the wall, or the time that this process has computed."""
    return time.process_time if job.get("cpu_time") else time.perf_counter


def measure(job: Job, update: Callable[[int], int]) -> None:
    """Run the warm-up, time the remaining updates and report; `update` returns its number of target tokens."""
    for i in range(job["warm"]):
        update(i)
    clock = clock_of(job)
    started = clock()
    tokens = sum(update(i) for i in range(job["warm"], job["warm"] + job["timed"]))
    report(tokens=tokens, seconds=clock() - started)


def train_plainly(job: Job, model: nn.Module, logits: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Measure a plain PyTorch loop: padded batches, cross-entropy, backward, clipping, AdamW.

    The precision is `float32`, `bfloat16` (autocast) or `medium` (float32 matrix products in reduced precision).
    """
    if job["precision"] == "medium":
        torch.set_float32_matmul_precision("medium")
    batches = read_padded(job)
    adam = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model.train()

    def update(i: int) -> int:
        batch = batches[i]
        with torch.autocast("cpu", torch.bfloat16, enabled=job["precision"] == "bfloat16"):
            scores = logits(batch.source_BS, batch.input_BT).flatten(0, 1)
            loss = F.cross_entropy(
                scores, batch.labels_BT.flatten(), ignore_index=job["pad"], label_smoothing=job["label_smoothing"]
            )
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), job["clip_norm"])
        adam.step()
        return batch.tokens

    measure(job, update)
