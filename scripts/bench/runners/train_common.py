"""What the workers of bench/train.py share. Needs torch and nothing of ours, so that every environment can import it.

A worker is started with one JSON argument, its job, and prints one JSON line: tokens, seconds and peak memory of the
timed updates. `tokens` are target tokens, end of sentence included, padding not.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Job = dict[str, Any]


@dataclass(frozen=True)
class Padded:
    """An update as one rectangle a side."""

    source_BS: Tensor
    input_BT: Tensor
    labels_BT: Tensor
    tokens: int


def read_job() -> Job:
    """Return the job named on the command line, and let torch use the threads that it says."""
    job: Job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    torch.manual_seed(1)
    return job


def read_updates(job: Job) -> list[dict[str, list[list[int]]]]:
    """Return as many updates as the job wants, each as lists of `source` and `target` ids without bos and eos."""
    updates: list[dict[str, list[list[int]]]] = json.loads(Path(job["updates"]).read_text())
    return updates[: job["warm"] + job["timed"]]


def read_padded(job: Job) -> list[Padded]:
    """Return the same updates as tensors."""
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


def measure(job: Job, update: Callable[[int], int]) -> None:
    """Run the warm-up, time the other updates, and print what was found; `update` returns its target tokens."""
    for i in range(job["warm"]):
        update(i)
    started = time.perf_counter()
    tokens = sum(update(i) for i in range(job["warm"], job["warm"] + job["timed"]))
    report(tokens=tokens, seconds=time.perf_counter() - started)


def report(**found: float) -> None:
    """Print one JSON line of these and the largest resident set of this process so far (Linux)."""
    status = Path("/proc/self/status").read_text()  # getrusage would tell the parent's peak where that is larger
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({**found, "peak_mib": peak}), flush=True)


def train_plainly(job: Job, model: nn.Module, logits: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Measure the loop that everybody writes: padded batches, cross-entropy, backward, clip, AdamW.

    The job's precision is `float32`, `bfloat16` (autocast) or `medium` (torch's own shorter float32 products).
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
