"""Detects updates that are not finite and spikes of the loss, and decides when to roll back."""

from __future__ import annotations

import logging
import math
from collections import deque
from pathlib import Path

import numpy as np
import torch

from transformer import atomic
from transformer.errors import TransformerError
from transformer.runs.layout import METRICS
from transformer.runs.progress import Progress
from transformer.runs.run import Run
from transformer.training.log import MetricsLog, WindowStatistics
from transformer.training.trainer import PendingUpdate

TOO_MANY_SKIPPED = 10
"""Updates skipped in a row after which training rolls back. A single bad pair skips only one update per epoch."""
RECENT = 128
"""Number of recent losses that a new loss is compared with."""
ENOUGH_RECENT = 32
"""Number of losses below which no spike is reported, as the standard deviation is unreliable."""
SPIKE_SIGMAS, SPIKE_NATS = 6, 0.1
"""A spike exceeds the recent mean by SPIKE_SIGMAS standard deviations plus SPIKE_NATS, for when these are tiny."""

log = logging.getLogger(__name__)


class Guard:
    """Reads the losses of pending updates, reports skipped updates and spikes, and decides when to roll back."""

    def __init__(self, run: Run, first: bool = True) -> None:
        """`first` says whether this is the process that reports."""
        self.run, self.first = run, first
        self.metrics_log: MetricsLog | None = None
        """Gets the events."""
        self.norm = math.nan
        """Norm of the last gradient read."""
        self._pending: list[PendingUpdate] = []
        self._recent: deque[float] = deque(maxlen=RECENT)

    def add(self, update: PendingUpdate) -> None:
        """Remember an update for the next `check`."""
        self._pending.append(update)

    def check(self, progress: Progress, window: WindowStatistics) -> None:
        """Read the losses of all pending updates into `window`, and report skipped updates and spikes.

        Waits for the device.
        """
        pending, self._pending = self._pending, []
        if not pending:
            return
        nlls, norms = torch.stack([torch.stack((each.nll, each.norm)) for each in pending]).T.tolist()
        for update, nll, self.norm in zip(pending, nlls, norms, strict=True):
            loss = nll / update.tokens
            if not math.isfinite(self.norm):
                progress.skipped_in_a_row += 1
                window.skipped += 1
                self._report("skipped", update, loss, "its loss or gradient is not finite, so it changed nothing")
                continue
            progress.skipped_in_a_row = 0
            window.nll += nll
            window.nll_tokens += update.tokens
            if self._is_spike(loss):
                self._report("spike", update, loss, f"the recent mean was {np.mean(self._recent):.3f}")
            self._recent.append(loss)

    def _is_spike(self, loss: float) -> bool:
        if len(self._recent) < ENOUGH_RECENT:
            return False
        return bool(loss > np.mean(self._recent) + SPIKE_SIGMAS * np.std(self._recent) + SPIKE_NATS)

    def _report(self, kind: str, update: PendingUpdate, loss: float, why: str) -> None:
        if not self.first:
            return
        pairs = update.pair_ids.tolist()
        some = ", ".join(map(str, pairs[:8])) + (", ..." if len(pairs) > 8 else "")
        log.warning("%s: update %d, loss %.3f, norm %.3f: %s; pairs %s", kind, update.step, loss, self.norm, why, some)
        if self.metrics_log is not None:
            self.metrics_log.write(kind, {"step": update.step, "loss": loss, "grad_norm": self.norm, "pairs": pairs})

    def must_roll_back(self, progress: Progress) -> bool:
        """Return whether too many updates in a row were skipped."""
        return progress.skipped_in_a_row >= TOO_MANY_SKIPPED

    def roll_back_to(self, progress: Progress) -> Path:
        """Return the checkpoint from before the skipped updates. Raises TransformerError if training must stop.

        It must stop if it has already rolled back and halved the learning rate, or if there is no such checkpoint.
        """
        finding = (
            f"{progress.skipped_in_a_row} updates in a row, up to update {progress.step}, "
            "had losses or gradients that are not finite"
        )
        path = self.run.checkpoints / progress.last_good
        if progress.rate_halved or not progress.last_good or atomic.damage(path):
            raise TransformerError(
                f"{finding}{', again at half the learning rate' if progress.rate_halved else ''}: stopped; "
                f"their losses and pairs are in {self.run.path / METRICS}; "
                "start over with a lower train.peak_rate or with train.clip_norm"
            )
        log.warning("%s: rolling back to %s and halving the learning rate", finding, path)
        return path
