"""Shows how far long work is: a bar on a terminal, elsewhere a log line each half minute, with the time left."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from transformer.system.clock import duration

if TYPE_CHECKING:
    from tqdm import tqdm

EVERY = 30.0
"""Seconds between two log lines."""
REFRESH = 0.2
"""Seconds between two looks at how far the work is. Many units of work are too small to look at a clock after each."""
FORMAT = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
OPEN_END = "{desc} [{elapsed}]"
"""How a bar looks if its end is known, and if not."""
Item = TypeVar("Item")
log = logging.getLogger(__name__)
_bars = False


def show_bars() -> None:
    """Show bars, if standard error is a terminal. Until this is called there are log lines only, as in a library."""
    global _bars
    _bars = True


def bars_are_shown() -> bool:
    """Return whether bars are shown."""
    return _bars and sys.stderr is not None and sys.stderr.isatty()


class ProgressBar:
    """The progress of one piece of work. Used as a context manager."""

    def __init__(
        self, what: str, total: int | None = None, unit: str = "lines", share: Callable[[], float | None] | None = None
    ) -> None:
        """Take what is done in words, and the number of units, or None if it is not known.

        `share` then says which share of the work is done, from 0 to 1, or None if that is unknown too.
        """
        self.what, self.total, self.unit = what, total, unit
        self.count = 0.0
        self._share = share or (lambda: self.count / self.total if self.total and self.count else None)
        self._started = self._looked = self._logged = time.monotonic()
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        if bars_are_shown():
            from tqdm import tqdm

            form = OPEN_END if self._share() is None else FORMAT
            self._bar = tqdm(total=1.0, desc=f"{self.what}:", leave=False, bar_format=form)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: float = 1) -> None:
        """Count units that are done, also in parts."""
        self.count += count
        now = time.monotonic()
        if now - self._looked >= REFRESH:
            self._looked = now
            self.show()

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, each of which is a unit, with the progress shown."""
        with self:
            for item in items:
                yield item
                self.advance()

    def show(self) -> None:
        """Refresh the bar, or log a line if it is time to."""
        share, now = self._share(), time.monotonic()
        if self._bar is not None:
            self._bar.bar_format = OPEN_END if share is None else FORMAT
            self._bar.n = min(share or 0.0, 1.0)
            self._bar.set_description_str(f"{self.what}: {self._counted()}")
        elif now - self._logged >= EVERY:
            self._logged = now
            log.info("%s: %s", self.what, self.in_words(share, now - self._started))

    def in_words(self, share: float | None, seconds: float) -> str:
        """Return how far the work is: `1,200 of 5,000 lines, 24 %, 3 min left`."""
        words = [self._counted(), duration(seconds)]
        if share:
            words[1:] = [f"{100 * min(share, 1.0):.0f} %", f"{duration(seconds * (1 / min(share, 1.0) - 1))} left"]
        return ", ".join(filter(None, words))

    def _counted(self) -> str:
        if not self.count and self.total is None:
            return ""
        return f"{round(self.count):,}{f' of {self.total:,}' if self.total is not None else ''} {self.unit}"


class Ticking:
    """Shows the progress of work that does not report by itself, from a thread. Used as a context manager."""

    def __init__(self, progress: ProgressBar) -> None:
        self.progress = progress
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> ProgressBar:
        self.progress.__enter__()
        self._thread.start()
        return self.progress

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self.progress.show()
        self.progress.__exit__(kind, error, at)

    def _tick(self) -> None:
        while not self._ended.wait(REFRESH):
            self.progress.show()
