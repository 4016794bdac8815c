"""Signals: requests to stop or to save during training, and a prompt exit while there is nothing to save.

SIGINT, SIGTERM, SIGHUP, SIGUSR2 and SIGXCPU ask to stop; SIGUSR1 asks to save. A signal other than SIGINT and SIGTERM
that was ignored when the command started, as SIGHUP under nohup, stays ignored.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

STOPPING = {
    "SIGINT": "interrupted",
    "SIGTERM": "terminated",
    "SIGHUP": "stopped by SIGHUP",
    "SIGUSR2": "stopped by SIGUSR2",
    "SIGXCPU": "stopped by SIGXCPU",
}
REASONS: dict[int, str] = {getattr(signal, n): why for n, why in STOPPING.items() if hasattr(signal, n)}
"""The signals that ask to stop, and the reasons that training then ends with."""
SAVE_SIGNAL: int | None = getattr(signal, "SIGUSR1", None)
PATIENCE = 2.0
"""Seconds after a signal until a process that has nothing to save is ended, whatever its main thread is doing."""

log = logging.getLogger(__name__)


class StoppedError(Exception):
    """Work that can be done again was ended by a signal or by the time limit."""


def signal_of(reason: str) -> int | None:
    """Return the signal that ended training for this reason, or None if no signal did."""
    return next((number for number, why in REASONS.items() if why == reason), None)


class StopSignals:
    """Records the signals that ask to stop or to save. A second SIGINT raises KeyboardInterrupt at once.

    A context manager around a loop that checks `stop` and `save` between updates.
    """

    def __init__(self) -> None:
        self.stop: int | None = None
        """The signal that requested a stop."""
        self.save = False
        """Whether SIGUSR1 requested a checkpoint."""
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            wanted = [n for n in REASONS if not _stays_ignored(n)] + ([SAVE_SIGNAL] if SAVE_SIGNAL else [])
            self._previous = {number: signal.signal(number, self._note) for number in wanted}
            watchdog.saving(True)
        return self

    def __exit__(self, *_: object) -> None:
        _restore(self._previous)
        watchdog.saving(False)

    def _note(self, number: int, _: object) -> None:
        if number not in REASONS:
            self.save = True
        elif self.stop == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            self.stop = number


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """Make the signals that ask to stop end the process, with 128 plus their number, while there is nothing to save.

    SIGUSR1 is ignored. The training loop handles all of them itself; this is for the time before and after it. The
    process ends after `PATIENCE` seconds even if the main thread is inside a C function or waits for its threads.
    """

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        watchdog.note(number)
        _end_if_importing(number, frame)
        raise SystemExit(128 + number)

    previous = {}
    if threading.current_thread() is threading.main_thread():
        wanted: dict[int, Any] = {n: leave for n in REASONS if n != signal.SIGINT and not _stays_ignored(n)}
        wanted |= {SAVE_SIGNAL: signal.SIG_IGN} if SAVE_SIGNAL else {}
        previous = {number: signal.signal(number, handler) for number, handler in wanted.items()}
        watchdog.start(patience=PATIENCE)
    try:
        yield
    finally:
        _restore(previous)
        watchdog.stop()


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Raise KeyboardInterrupt, as Python's own handler of SIGINT does, or end the process if a module is imported."""
    _end_if_importing(number, frame)
    raise KeyboardInterrupt


def _end_if_importing(number: int, frame: FrameType | None) -> None:
    """End the process if the main thread imports a module: nothing has been begun that would have to be undone.

    An exception there may meet C++ code that ends the process with SIGABRT, as torch's does, or C code that turns it
    into another one, which then looks like a broken library.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(128 + number)
        frame = frame.f_back


def _stays_ignored(number: int) -> bool:
    """Return whether whoever started this process wants the signal to be ignored."""
    return number not in (signal.SIGINT, signal.SIGTERM) and signal.getsignal(number) is signal.SIG_IGN


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not installed by Python


class Watchdog:
    """A thread that ends the process if the main thread cannot react to a signal, and reports long waits.

    Python runs signal handlers in the main thread, and only between two bytecodes: never while a C function works or
    waits for another process. There is one watchdog in a process, `watchdog`.
    """

    def __init__(self) -> None:
        self._patience: float | None = None
        self._asked: tuple[int, float] | None = None  # the signal that asked to stop, and when
        self._again = False
        self._saving = False
        self._wait: _Wait | None = None
        self._pipe: tuple[int, int] | None = None
        self._lock = threading.RLock()  # a handler may run while its own thread holds it

    def start(self, patience: float | None = None) -> None:
        """Start the thread, unless it runs. With `patience`, a signal ends the process after that many seconds.

        Must be called in the main thread; in any other, and on Windows, it does nothing.
        """
        if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
            return
        self._patience = patience if patience is not None else self._patience
        if self._pipe is None:
            self._asked, self._again = None, False
            self._pipe = os.pipe()
            for end in self._pipe:
                os.set_blocking(end, False)
            self._before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            threading.Thread(target=self._look, args=(self._pipe[0],), daemon=True).start()

    def stop(self) -> None:
        """Stop the thread, unless a signal has asked the process to end within some seconds: it still sees to that."""
        if self._pipe is None:
            return
        self._take(self._pipe[0])  # the main thread may have reacted to a signal before the thread saw it
        if self._asked and self._patience is not None and not self._saving:
            return
        signal.set_wakeup_fd(self._before)
        os.close(self._pipe[1])  # the thread ends
        self._pipe = self._patience = self._asked = None

    def saving(self, saving: bool) -> None:
        """Say whether a signal is to be answered by saving, which takes as long as it takes."""
        with self._lock:
            if self._pipe is not None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._pipe[0], 4096)  # signals that have been answered
            self._saving, self._asked, self._again = saving, None, False

    @contextlib.contextmanager
    def waiting(self, what: str, said_after: float, grace: float) -> Iterator[None]:
        """Report a wait that takes longer than `said_after` seconds while the block runs.

        A signal ends the process after `grace` seconds of waiting, a second one at once.
        """
        self._wait = _Wait(what, said_after, grace)
        try:
            yield
        finally:
            self._wait = None

    def _look(self, pipe: int) -> None:
        open_end = [pipe]
        while open_end or self._asked:
            select.select(open_end, [], [], 0.25)  # seconds between two looks
            open_end = open_end if self._take(pipe) else []
            self._end_if_asked()
            if (wait := self._wait) is not None:
                wait.report()
        os.close(pipe)

    def _take(self, pipe: int) -> bool:
        """Note the signals in the pipe. Returns False at the pipe's end."""
        with self._lock, contextlib.suppress(BlockingIOError):
            numbers = os.read(pipe, 64)
            for number in numbers:
                self.note(number, again=True)
            return bool(numbers)
        return True

    def note(self, number: int, again: bool = False) -> None:
        """Note a signal. `again` says that it counts even if another one is noted already."""
        if number in REASONS:
            self._again = self._again or (again and self._asked is not None)
            self._asked = self._asked or (number, time.monotonic())

    def _end_if_asked(self) -> None:
        asked, wait, now = self._asked, self._wait, time.monotonic()
        if asked is None:
            return
        number, when = asked
        if wait is not None and (self._again or now - max(when, wait.since) >= wait.grace):
            log.info("%s while waiting for %s", REASONS[number], wait.what)
            os._exit(128 + number)
        if not self._saving and self._patience is not None and now - when >= self._patience:
            os._exit(128 + number)


class _Wait:
    """A wait for something outside this process."""

    def __init__(self, what: str, said_after: float, grace: float) -> None:
        self.what, self.said_after, self.grace = what, said_after, grace
        self.since = time.monotonic()

    def report(self) -> None:
        """Log the wait once it has taken long."""
        if time.monotonic() - self.since >= self.said_after:
            log.info("waiting for %s; Ctrl-C or SIGTERM ends this process", self.what)
            self.said_after = float("inf")


watchdog = Watchdog()
