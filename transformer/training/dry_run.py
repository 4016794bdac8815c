"""Starting a training run, going on with one, and rehearsing one."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from transformer.config import Config
from transformer.system.clock import Stopwatch, duration
from transformer.system.device import device_name
from transformer.system.distributed import Ranks
from transformer.system.memory import peak_memory
from transformer.training.microbatch import bytes_per_token
from transformer.training.session import _room, build, disk_space


def dry_run(cfg: Config, folder: Path, device: torch.device) -> list[str]:
    """Build everything, do one update, and return what was found, line by line; writes no run directory."""
    trainer, _ = build(cfg, folder, device, Ranks(), keep=False)
    _, batches = next(trainer.cut_updates())
    watch = Stopwatch()
    trainer.model.train()
    trainer.update(batches)
    values = trainer.metrics(watch)
    parameters = sum(p.numel() for p in trainer.parameters)
    fixed = parameters * (4 + 4 + 8 + (4 if trainer.average is not None else 0))
    widest = max(batch.padded for batch in batches) / 2
    estimate = fixed + widest * bytes_per_token(cfg) * (2 if trainer.dtype == torch.float32 else 1)
    lines = [
        f"parameters        {parameters:,}",
        f"training pairs    {len(trainer.dataset):,}",
        f"updates an epoch  {trainer.updates_per_epoch():,}",
        f"one update        {sum(b.tokens for b in batches):,} target tokens, {values['real']:.1%} real tokens",
    ]
    lines += [
        f"  batch           source {tuple(b.source_BS.shape)}, target {tuple(b.input_BT.shape)}" for b in batches[:8]
    ]
    lines += [f"  ... {len(batches) - 8} more"] if len(batches) > 8 else []
    return [
        *lines,
        f"loss              {values['loss']:.3f} (chance: {math.log(trainer.run.tokenizer.sizes[1]):.3f})",
        f"memory, estimate  {estimate / 2**30:.2f} GiB for weights, optimizer and activations",
        f"disk              {_room(*disk_space(trainer))}, for checkpoints",
        f"memory, peak      {peak_memory(device) / 2**30:.2f} GiB in this update, the program included",
        f"time              {duration(watch.seconds)} for this first update, on {device_name(device)}",
    ]
