"""The training loop: updates, with validation, saving and logging when due, until training must stop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tqdm import tqdm

from transformer.config import Config
from transformer.data.batching import CutUpdate
from transformer.data.lengths import measure_lengths
from transformer.data.prepare import Data
from transformer.runs.progress import Progress
from transformer.runs.run import Run
from transformer.system.clock import Stopwatch
from transformer.system.device import LaunchQueue
from transformer.system.distributed import Ranks
from transformer.system.threads import prefetch
from transformer.training.agreement import spread_state
from transformer.training.cutting import Cutting
from transformer.training.guard import Guard
from transformer.training.log import MetricsLog, WindowStatistics, perplexity, train_line
from transformer.training.optimizer import learning_rate
from transformer.training.saving import CheckpointWriter, saves_aside
from transformer.training.selection import Selector
from transformer.training.stopping import SAVE, SIGNALLED, TIME_LIMIT, UNFINISHED, Requests
from transformer.training.trainer import Trainer
from transformer.training.validation import Validator

log = logging.getLogger(__name__)


class TrainingLoop:
    """A training with all its parts. Created by `session.build_loop`."""

    def __init__(
        self,
        run: Run,
        data: Data,
        trainer: Trainer,
        micro_batch_tokens: int,
        watch: Stopwatch,
    ) -> None:
        """`micro_batch_tokens` is per side of a batch."""
        self.run, self.cfg, self.data, self.trainer = run, run.config, data, trainer
        self.watch, self.cutting = watch, Cutting(trainer, data, micro_batch_tokens)
        self.metrics_log: MetricsLog | None = None  # in processes that do not write
        self.progress = Progress()
        self.phases: list[str] = []  # a line for each, if there are several
        self.queue = LaunchQueue(trainer.device)
        self.guard, self.window = Guard(run, trainer.ranks.first), WindowStatistics()
        self.writer = CheckpointWriter(run, trainer, data.fingerprints, data.train.report.get("former_fingerprint"))
        self.requests = Requests(self.cfg.train.time_limit, watch, trainer.ranks)
        self.validator = (
            None
            if data.valid is None
            else Validator(trainer, run.tokenizer, data.valid, micro_batch_tokens, measure_lengths(data.train))
        )
        self.selector = Selector(self.cfg.train, self.validator, self.writer, self.requests, self._log)

    def resume(self, progress: Progress) -> None:
        """Continue from the progress of a checkpoint."""
        self.progress = progress
        self.cutting.resume(progress)

    def write_metrics_to(self, metrics_log: MetricsLog | None) -> None:
        """Set the metrics log, which is None in processes that do not write."""
        self.metrics_log = self.guard.metrics_log = metrics_log

    # ---- updates ----------------------------------------------------------------------------------------

    def cut_updates(self) -> Iterator[CutUpdate[Any]]:
        """Yield the updates from the current one on, cut into batches."""
        return self.cutting.updates(self.progress)

    def update(self, cut: CutUpdate[Any]) -> None:
        """Do one update."""
        progress, step = self.progress, self.progress.step + 1
        pending = self.trainer.update(step, cut, self.rate(step))
        self.guard.add(pending)
        self.window.count(cut)
        progress.step = step
        progress.tokens += pending.tokens

    def rate(self, step: int) -> float:
        """Return the learning rate of an update."""
        halved = 0.5 if self.progress.rate_halved else 1.0
        return halved * learning_rate(step, self.cfg.train, self.cfg.model.width)

    def take_and_update(self, updates: Iterator[CutUpdate[Any]]) -> None:
        """Wait for the batches of the next update, do the update, and record the time."""
        ranks = self.trainer.ranks
        started, waited = time.perf_counter(), ranks.waited
        cut = next(updates)
        progress, update = self.progress, cut.update
        self.window.data_seconds += time.perf_counter() - started
        self.update(cut)
        self.queue.wait()
        progress.epoch, progress.index = (update.epoch + 1, 0) if update.last else (update.epoch, update.index + 1)
        seconds = time.perf_counter() - started
        self.window.seconds += seconds
        self.window.waited += ranks.waited - waited
        progress.seconds += seconds

    # ---- the loop ---------------------------------------------------------------------------------------

    def fit(self, progress_bar: bool = False) -> str:
        """Train until a reason to stop, and return that reason. Saves a checkpoint before it returns.

        A validation that a stop has ended is done again at the start, so that the result of the run does not depend on
        the stop. `progress_bar` shows a progress bar if standard error is a terminal.
        """
        updates = prefetch(self.cut_updates())
        try:
            with self.requests.signals, _bar(self.progress, self.cfg, progress_bar) as bar:
                reason = self.progress.finished(self.cfg)
                if reason is None and self.selector.owes(self.progress):
                    self.selector.validate(self.progress, owed=True)
                    reason = self._requested_stop()
                while reason is None:
                    self.take_and_update(updates)
                    bar.update()
                    cfg = self.cfg.train
                    if _due(self.progress.step, cfg.log_every, cfg.validate_every, cfg.save_every):
                        self.guard.check(self.progress, self.window)
                    if self.guard.must_roll_back(self.progress):
                        updates.close()
                        self._roll_back()
                        updates = prefetch(self.cut_updates())
                        continue
                    self._do_what_is_due()
                    reason = self._requested_stop() or self.progress.finished(self.cfg)
                return self._finish(reason)
        finally:
            updates.close()
            self.writer.abandon()

    def _do_what_is_due(self) -> None:
        cfg, step = self.cfg.train, self.progress.step
        if _due(step, cfg.log_every):
            values = self.take_statistics()
            self._log("train", values, train_line(values))
        if self.selector.owes(self.progress):
            self._save(saves_aside(self.trainer.device))
            self.selector.validate(self.progress)
        elif _due(step, cfg.save_every):
            self._save(saves_aside(self.trainer.device))

    def _log(self, kind: str, values: Mapping[str, Any], line: str) -> None:
        """Write a log line and the metrics, in the process that writes."""
        if self.metrics_log is not None:
            log.info("%s", line)
            self.metrics_log.write(kind, values)

    def _requested_stop(self) -> str | None:
        """Return the reason to stop that signals or the time limit give. Saves if only that is requested."""
        action = self.requests.agree(self.progress.slowest_validation if self.validator is not None else 0.0)
        if action == SAVE:
            self._save()
        return action if action in UNFINISHED else None

    def _roll_back(self) -> None:
        """Restore the checkpoint from before the skipped updates and halve the learning rate. Allowed once."""
        self.writer.settle(self.progress)
        reached = self.progress.step
        if self.trainer.ranks.first:
            self.progress = self.writer.restore(self.guard.roll_back_to(self.progress))
        self.progress = spread_state(self.trainer, self.writer, self.progress)
        self.progress.rate_halved = True
        if self.metrics_log is not None:
            self.metrics_log.write("rolled_back", {"step": self.progress.step, "from": reached})

    def take_statistics(self) -> dict[str, Any]:
        """Return means over the updates since the last call. Waits for the device."""
        self.guard.check(self.progress, self.window)
        window, cfg, progress = self.window, self.cfg.train, self.progress
        self.window = WindowStatistics()
        left = (cfg.max_steps - progress.step) * progress.seconds / max(progress.step, 1)
        if cfg.time_limit is not None:
            left = min(left, max(0.0, cfg.time_limit - self.watch.seconds))
        loss = window.nll / window.nll_tokens if window.nll_tokens else math.nan
        return {
            "step": progress.step,
            "epoch": progress.epoch + progress.index / max(self.cutting.updates_per_epoch(progress.step), 1),
            "loss": loss,
            "ppl": perplexity(loss),
            "rate": self.rate(progress.step),
            "grad_norm": self.guard.norm,
            "tokens_per_second": window.tokens / max(window.seconds, 1e-9),
            "real": window.real / max(window.padded, 1),
            "data_wait": window.data_seconds / max(window.seconds, 1e-9),
            "skipped": window.skipped,
            "tokens": progress.tokens,
            "seconds": progress.seconds,
            "seconds_left": left,
            **_stragglers(self.trainer.ranks, window),
        }

    # ---- saving and the end -----------------------------------------------------------------------------

    def _save(self, aside: bool = False) -> None:
        self.guard.check(self.progress, self.window)
        self.cutting.record(self.progress)
        self.writer.save(self.progress, aside=aside)
        self.requests.save_seconds = self.writer.slowest

    def _finish(self, reason: str) -> str:
        """Save the last step. If training is complete, validate and average as configured. Return the final reason."""
        progress, ranks, average_last = self.progress, self.trainer.ranks, self.cfg.train.average_last
        self.writer.settle(progress)
        unsaved = self.writer.saved_at != progress.step or bool(self.writer.failures)
        if ranks.largest(int(unsaved)):
            self._save()
        done = True
        if reason not in SIGNALLED and self.validator is not None and progress.validated_at != progress.step:
            done = self.selector.validate(progress)
        if ranks.largest(len(self.writer.failures)):
            self.writer.raise_failure()
        finished = progress.finished(self.cfg)
        if reason in SIGNALLED or (done and finished is None):
            return reason
        if done and average_last is not None:
            done = self.selector.average(progress, average_last)
        return str(finished) if done else (self._requested_stop() or TIME_LIMIT)


def _stragglers(ranks: Ranks, window: WindowStatistics) -> dict[str, Any]:
    """Return how many seconds longer than the fastest process the slowest one has worked, and which it is."""
    if ranks.count == 1:
        return {}
    worked = ranks.parts(lambda: window.seconds - window.waited)
    return {"straggling": max(worked) - min(worked), "slowest_rank": worked.index(max(worked))}


def _due(step: int, *periods: int) -> bool:
    """Return whether a step is a multiple of any of the periods."""
    return any(step % period == 0 for period in periods)


def _bar(progress: Progress, cfg: Config, shown: bool) -> Any:
    """Return a progress bar, which is shown only on a terminal."""
    hidden = None if shown else True
    return tqdm(initial=progress.step, total=cfg.train.max_steps, unit=" updates", disable=hidden, leave=False)
