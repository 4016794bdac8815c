"""Selects the best checkpoint: validates steps, keeps their scores, and averages checkpoints at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from transformer.config import TrainConfig
from transformer.evaluation.metrics import merit
from transformer.runs.progress import Progress
from transformer.system.clock import Stopwatch
from transformer.system.signals import StoppedError
from transformer.training.log import valid_line
from transformer.training.saving import CheckpointWriter
from transformer.training.stopping import Requests
from transformer.training.validation import Validator, rank

STOPPED, PASSED_OVER, WORSE, BETTER = 1, 2, 3, 4
"""What comes of a validation: it was ended, it takes longer than the time limit, its score is not the best, it is."""
Log = Callable[[str, Mapping[str, Any], str], None]

log = logging.getLogger(__name__)


class Selector:
    """Validates and averages. All processes call the methods, share the work and get the same results."""

    def __init__(
        self, cfg: TrainConfig, validator: Validator | None, writer: CheckpointWriter, requests: Requests, record: Log
    ) -> None:
        """`record` logs a kind of event, its values and a line. Without a validator no step is validated."""
        self.cfg, self.validator, self.writer, self.requests, self.record = cfg, validator, writer, requests, record
        self.ranks = writer.trainer.ranks

    def owes(self, progress: Progress) -> bool:
        """Return whether training was stopped while it validated the present step."""
        step = progress.step
        return self.validator is not None and step % self.cfg.validate_every == 0 and 0 < step != progress.validated_at

    def validate(self, progress: Progress, owed: bool = False) -> bool:
        """Validate a step that has been saved, and save its score. Return False if that was interrupted.

        A resumed run validates again. But if the time limit is too short even then (`owed`), the validation is passed
        over, or the run would never get any further.
        """
        outcome = self.ranks.smallest(self._measure(progress, owed), work=True)
        if outcome == STOPPED:
            return False
        progress.validated_at = progress.step
        if outcome != PASSED_OVER:
            progress.since_best = 0 if outcome == BETTER else progress.since_best + 1
        self.writer.save(progress, best=outcome == BETTER)
        return True

    def _measure(self, progress: Progress, owed: bool) -> int:
        """Validate, rank the checkpoint, and return what came of it."""
        assert self.validator is not None
        watch = Stopwatch()
        try:
            values = {"step": progress.step, **self.validator.measure(progress.step, self.requests.check)}
        except StoppedError:
            if not owed or self.requests.signals.stop is not None:
                return STOPPED
            if self.ranks.first:
                log.warning("step %d is not validated: that takes longer than train.time_limit", progress.step)
            return PASSED_OVER
        finally:
            progress.slowest_validation = max(progress.slowest_validation, watch.seconds)
        better = rank(progress, values, self.cfg.select_by, self.cfg.keep_best)
        self.record("valid", values, valid_line(values, better))
        return BETTER if better else WORSE

    def average(self, progress: Progress, count: int) -> bool:
        """Average the newest checkpoints. Return False if that was interrupted.

        The average becomes `best` unless it validates worse than the best.
        """
        try:
            self._average(progress, count)
        except StoppedError:  # in all processes
            return False
        return True

    def _average(self, progress: Progress, count: int) -> None:
        writer = self.writer
        name, averaged = self.ranks.of_first(lambda: writer.save_average(progress, count, self.requests.check))
        path = writer.run.checkpoints / name
        better = True
        if self.validator is not None:
            writer.load_average(path)
            values = {"step": progress.step, **self.validator.measure(progress.step, self.requests.check)}
            best = progress.best_score
            better = best is None or merit(values, self.cfg.select_by) > best
            self.record("average", values, f"average of {averaged}: {valid_line(values, better)}")
        if better and self.ranks.first:
            writer.run.point("best", path)
