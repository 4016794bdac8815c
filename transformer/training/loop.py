"""The training loop: updates, with validation, saving and logging when due, until training must stop."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from transformer.config import Config
from transformer.data import batching
from transformer.data.batching import Batch, BatchCutter, Update
from transformer.data.lengths import measure_lengths
from transformer.data.prepare import Data
from transformer.evaluation.metrics import merit
from transformer.runs.progress import Progress
from transformer.runs.run import Run
from transformer.system.clock import Stopwatch
from transformer.system.signals import StopSignals
from transformer.system.threads import prefetch
from transformer.training.guard import Guard
from transformer.training.log import MetricsLog, WindowStatistics, perplexity, train_line, valid_line
from transformer.training.optimizer import learning_rate
from transformer.training.saving import CheckpointWriter
from transformer.training.trainer import Trainer
from transformer.training.validation import Validator, rank

SAVE, TIME_LIMIT, INTERRUPTED, TERMINATED = "save", "time limit", "interrupted", "terminated"
ACTIONS = ("", SAVE, TIME_LIMIT, INTERRUPTED, TERMINATED)
"""Actions that signals and the time limit can request, the most urgent last."""
UNFINISHED = (TIME_LIMIT, INTERRUPTED, TERMINATED)
"""Reasons to stop before training is complete. Any other reason means that it is."""

log = logging.getLogger(__name__)


class TrainingLoop:
    """A training with all its parts. Created by `session.build_loop`."""

    def __init__(
        self,
        run: Run,
        data: Data,
        trainer: Trainer,
        micro_batch_tokens: int,
        metrics_log: MetricsLog | None,
        watch: Stopwatch,
    ) -> None:
        """`micro_batch_tokens` is per side of a batch. `metrics_log` is None in processes that do not write."""
        self.run, self.cfg, self.data, self.trainer = run, run.config, data, trainer
        self.micro_batch_tokens, self.metrics_log, self.watch = micro_batch_tokens, metrics_log, watch
        self.progress = Progress()
        self.updates_per_epoch = batching.updates_per_epoch(data.train, self.cfg.train.batch_tokens)
        self.guard, self.window = Guard(run, metrics_log, trainer.ranks.first), WindowStatistics()
        self.writer = CheckpointWriter(run, trainer, data.train.report.get("fingerprint"))
        self.validator = (
            None
            if data.valid is None
            else Validator(trainer, run.tokenizer, data.valid, micro_batch_tokens, measure_lengths(data.train))
        )

    # ---- updates ----------------------------------------------------------------------------------------

    def cut_updates(self) -> Iterator[tuple[Update, list[Batch]]]:
        """Yield the updates from the current one on, cut into batches."""
        cfg, tok, progress = self.cfg.train, self.run.tokenizer, self.progress
        start = self.trainer.model.start_id
        cutter = BatchCutter(self.data.train, tok, start, self.micro_batch_tokens, cfg.subword_sampling, cfg.seed)
        for update in batching.updates(self.data.train, cfg.batch_tokens, cfg.seed, progress.epoch, progress.index):
            yield update, cutter.cut(update)

    def update(self, batches: list[Batch]) -> None:
        """Do one update with these batches."""
        progress, step = self.progress, self.progress.step + 1
        pending = self.trainer.update(step, batches, self.rate(step))
        self.guard.add(pending)
        self.window.count(batches)
        progress.step = step
        progress.tokens += pending.tokens

    def rate(self, step: int) -> float:
        """Return the learning rate of an update."""
        halved = 0.5 if self.progress.rate_halved else 1.0
        return halved * learning_rate(step, self.cfg.train, self.cfg.model.width)

    def take_and_update(self, updates: Iterator[tuple[Update, list[Batch]]]) -> None:
        """Wait for the batches of the next update, do the update, and record the time."""
        started = time.perf_counter()
        update, batches = next(updates)
        progress = self.progress
        self.window.data_seconds += time.perf_counter() - started
        self.update(batches)
        progress.epoch, progress.index = (update.epoch + 1, 0) if update.last else (update.epoch, update.index + 1)
        seconds = time.perf_counter() - started
        self.window.seconds += seconds
        progress.seconds += seconds

    # ---- the loop ---------------------------------------------------------------------------------------

    def fit(self, progress_bar: bool = False) -> str:
        """Train until a reason to stop, and return that reason. Saves a checkpoint before it returns.

        `progress_bar` shows a progress bar if standard error is a terminal.
        """
        cfg = self.cfg.train
        updates = prefetch(self.cut_updates())
        try:
            with StopSignals() as signals, _bar(self.progress, self.cfg, progress_bar) as bar:
                while (reason := self.progress.finished(self.cfg)) is None:
                    self.take_and_update(updates)
                    bar.update()
                    if _due(self.progress.step, cfg.log_every, cfg.validate_every, cfg.save_every):
                        self.guard.check(self.progress, self.window)
                    if self.guard.must_roll_back(self.progress):
                        updates.close()
                        self._roll_back()
                        updates = prefetch(self.cut_updates())
                        continue
                    self._do_what_is_due()
                    action = self._requested_action(signals)
                    if action == SAVE:
                        self._save()
                    elif action:
                        reason = action
                        break
                self._finish(reason)
        finally:
            updates.close()
        return reason

    def _do_what_is_due(self) -> None:
        cfg, step = self.cfg.train, self.progress.step
        if _due(step, cfg.log_every):
            values = self.take_statistics()
            self._log("train", values, train_line(values))
        if _due(step, cfg.validate_every) and self.validator is not None:
            self._validate(self.validator)
        elif _due(step, cfg.save_every):
            self._save()

    def _log(self, kind: str, values: dict[str, Any], line: str) -> None:
        """Write a log line and the metrics, in the process that writes."""
        if self.metrics_log is not None:
            log.info("%s", line)
            self.metrics_log.write(kind, values)

    def _requested_action(self, signals: StopSignals) -> str:
        """Return the action that signals or the time limit request. All processes agree on the most urgent."""
        limit = self.cfg.train.time_limit
        late = limit is not None and self.watch.seconds + self.writer.slowest >= limit
        action = TIME_LIMIT if late else ""
        if signals.stop is not None:
            action = INTERRUPTED if signals.stop == signal.SIGINT else TERMINATED
        action = action or (SAVE if signals.save else "")
        signals.save = False
        return ACTIONS[self.trainer.ranks.largest(ACTIONS.index(action), self.trainer.device)]

    def _roll_back(self) -> None:
        """Restore the checkpoint from before the skipped updates and halve the learning rate. Allowed once."""
        self.progress = self.writer.restore(self.guard.roll_back_to(self.progress))
        self.progress.rate_halved = True

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
            "epoch": progress.epoch + progress.index / max(self.updates_per_epoch, 1),
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
        }

    # ---- validation and saving --------------------------------------------------------------------------

    def _save(self, best: bool = False) -> None:
        self.guard.check(self.progress, self.window)
        self.writer.save(self.progress, best)

    def _validate(self, validator: Validator) -> None:
        """Validate (in the first process), save, and record whether this is the best score so far."""
        progress, better = self.progress, False
        progress.validated_at = progress.step
        if self.trainer.ranks.first:
            values = {"step": progress.step, **validator.measure(progress.step)}
            better = rank(progress, values, self.cfg.train.select_by, self.cfg.train.keep_best)
            self._log("valid", values, valid_line(values, better))
        if self.trainer.ranks.largest(int(better), self.trainer.device):
            progress.since_best = 0
        else:
            progress.since_best += 1
        self._save(best=better)

    def _finish(self, reason: str) -> None:
        """Save the last step. If training is complete, validate and average as configured."""
        progress, ranks = self.progress, self.trainer.ranks
        finished = progress.finished(self.cfg) is not None
        unsaved = self.writer.saved_at != progress.step or bool(self.writer.failures)
        if ranks.largest(int(unsaved), self.trainer.device):
            self._save()
        complete = finished or reason == TIME_LIMIT
        if self.validator is not None and complete and progress.validated_at != progress.step:
            self._validate(self.validator)
        if self.writer.failures:
            raise self.writer.failures[-1]
        if self.cfg.train.average_last is not None and progress.finished(self.cfg) is not None and ranks.first:
            self._average(self.cfg.train.average_last)

    def _average(self, count: int) -> None:
        """Average the newest checkpoints. The average becomes `best` unless it validates worse than the best."""
        path, averaged = self.writer.save_average(self.progress, count)
        better = True
        if self.validator is not None:
            self.writer.load_average(path)
            values = {"step": self.progress.step, **self.validator.measure(self.progress.step)}
            best = self.progress.best_score
            better = best is None or merit(values, self.cfg.train.select_by) > best
            self._log("average", values, f"average of {averaged}: {valid_line(values, better)}")
        if better:
            self.run.point("best", path)


def _due(step: int, *periods: int) -> bool:
    """Return whether a step is a multiple of any of the periods."""
    return any(step % period == 0 for period in periods)


def _bar(progress: Progress, cfg: Config, shown: bool) -> Any:
    """Return a progress bar, which is shown only on a terminal."""
    hidden = None if shown else True
    return tqdm(initial=progress.step, total=cfg.train.max_steps, unit=" updates", disable=hidden, leave=False)
