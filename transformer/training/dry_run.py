"""A dry run: build everything and do one update, without writing a run directory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from transformer.config import Config
from transformer.data.batching import Batch
from transformer.data.curriculum import warn_of_unused
from transformer.data.filters import FINDINGS
from transformer.data.prepare import check_corpora
from transformer.evaluation.metrics import check_select_by
from transformer.runs.run import check_destination
from transformer.synthesis.ahead import look_ahead
from transformer.system.clock import Stopwatch, duration
from transformer.system.device import device_name
from transformer.system.distributed import Ranks
from transformer.system.memory import peak_memory
from transformer.training.loop import TrainingLoop
from transformer.training.microbatch import bytes_per_token, disk_in_words, disk_space
from transformer.training.optimizer import state_bytes
from transformer.training.resuming import with_inherited
from transformer.training.session import build_loop, cache_of

SHOWN_BATCHES = 8


def dry_run(cfg: Config, folder: Path, device: torch.device) -> list[str]:
    """Build everything, do one update, and return lines with sizes, memory and time. Writes no run directory."""
    check_select_by(cfg.train.select_by)
    warn_of_unused(cfg.data.train, cfg.train.max_steps)
    check_corpora(cfg.data)
    check_destination(folder)
    data, said = look_ahead(cfg.data, cache_of(cfg, folder))
    cfg = with_inherited(replace(cfg, data=data), None)
    loop = build_loop(cfg, folder, device, Ranks(), Stopwatch())
    cut = next(loop.cut_updates())
    watch, batches = Stopwatch(), cut.batches
    loop.update(cut)
    values = loop.take_statistics()
    averaged, parameters = loop.trainer.average is not None, sum(p.numel() for p in loop.trainer.parameters)
    return [
        *said,
        f"parameters        {parameters:,}",
        f"training pairs    {len(loop.data.train):,}",
        *_filtered(loop.data.train.report),
        *(f"phase             {each}" for each in loop.phases),
        f"updates per epoch {loop.cutting.updates_per_epoch(0):,}",
        f"one update        {cut.tokens:,} target tokens, {values['real']:.1%} real tokens",
        *(
            f"  batch           source {source}, target {target}"
            for source, target in (batch.shapes for batch in batches[:SHOWN_BATCHES])
        ),
        *([f"  ... {len(batches) - SHOWN_BATCHES} more"] if len(batches) > SHOWN_BATCHES else []),
        f"loss              {values['loss']:.3f} (chance: {math.log(loop.run.tokenizer.sizes[1]):.3f})",
        f"memory, estimate  {_memory(loop, batches, parameters) / 2**30:.2f} GiB for weights, optimizer, activations",
        f"disk, checkpoints {disk_in_words(*disk_space(loop.run, parameters, averaged))}",
        f"memory, peak      {peak_memory(device) / 2**30:.2f} GiB in this update, {_included(device)}",
        f"time              {duration(watch.seconds)} for this first update, on {device_name(device)}",
    ]


def _filtered(report: dict[str, Any]) -> Iterator[str]:
    """Yield what the filters of each corpus drop, with examples."""
    for count in report["corpora"]:
        for finds in (each for each in FINDINGS if each in count):
            yield f"  dropped         {count[finds]:,} of {count['read']:,} of {count['name']}: {finds}"
            for found in report.get("examples", ()):
                if (found["corpus"], found["filter"]) == (count["name"], finds):
                    yield from (f"    such as       {source} ||| {target}" for source, target in found["pairs"])


def _included(device: torch.device) -> str:
    return "including the program" if device.type == "cpu" else "in tensors on the GPU"


def _memory(loop: TrainingLoop, batches: list[Batch], parameters: int) -> float:
    """Return an estimate, in bytes, of weights, gradients, optimizer, moving average and one micro-batch."""
    copies = 2 if loop.trainer.average is None else 3  # weights and gradients, and the average
    fixed = 4 * parameters * copies + state_bytes(parameters)
    widest = max(batch.padded for batch in batches) / 2
    return fixed + widest * bytes_per_token(loop.cfg) * (2 if loop.trainer.dtype == torch.float32 else 1)
