"""What asks training to stop or to save: signals and the time limit. All processes agree on it."""

from __future__ import annotations

from transformer.system.clock import Stopwatch
from transformer.system.distributed import Ranks
from transformer.system.signals import REASONS, STOPPING, StoppedError, StopSignals

SAVE, TIME_LIMIT = "save", "time limit"
ACTIONS = ("", SAVE, TIME_LIMIT, *STOPPING.values())
"""What can be requested, the most urgent last."""
SIGNALLED = tuple(STOPPING.values())
"""Reasons to stop at once, given by a signal."""
UNFINISHED = (TIME_LIMIT, *SIGNALLED)
"""Reasons to stop before training is complete. Any other reason means that it is."""


class Requests:
    """The requests of signals and of the time limit."""

    def __init__(self, time_limit: float | None, watch: Stopwatch, ranks: Ranks) -> None:
        """`time_limit` is in seconds, counted from when `watch` was started."""
        self.time_limit, self.watch, self.ranks = time_limit, watch, ranks
        self.signals = StopSignals()
        self.save_seconds = 0.0
        """How long a save takes. All work ends that much before the time limit."""

    def agree(self, validation_seconds: float = 0.0) -> str:
        """Return the most urgent request of all processes, "" for none.

        The time limit is reached if a save and a validation, which takes `validation_seconds`, would end after it. A
        validation that takes more than half of the limit is not counted, since hardly a time would be left to train.
        """
        stop, action = self.signals.stop, SAVE if self.signals.save else ""
        self.signals.save = False
        counted = validation_seconds if 2 * validation_seconds < (self.time_limit or 0.0) else 0.0
        if self._is_late(counted):
            action = TIME_LIMIT
        action = action if stop is None else REASONS[stop]
        return ACTIONS[self.ranks.largest(ACTIONS.index(action))]

    def check(self) -> None:
        """Raise StoppedError if work that can be done again must end. Called often, from any thread."""
        if self.signals.stop is not None or self._is_late():
            raise StoppedError

    def _is_late(self, seconds: float = 0.0) -> bool:
        """Return whether a save after so many more seconds would end after the time limit."""
        return self.time_limit is not None and self.watch.seconds + self.save_seconds + seconds >= self.time_limit
