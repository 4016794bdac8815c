"""Handling of SIGINT, SIGTERM and SIGUSR1 before, during and after training."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from transformer.errors import EXIT_TERMINATED


class StopSignals:
    """Records SIGINT, SIGTERM and SIGUSR1 for the training loop. A second SIGINT raises KeyboardInterrupt at once.

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
            for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM)):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        if number not in (signal.SIGINT, signal.SIGTERM):
            self.save = True
        elif self.stop == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            self.stop = number


@contextlib.contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Make SIGTERM exit with code 143, and ignore SIGUSR1, while there is nothing to save.

    The training loop handles both signals itself; this is for the time before and after it.
    """

    def leave(*_: object) -> NoReturn:
        raise SystemExit(EXIT_TERMINATED)

    wanted: dict[str, Any] = {"SIGTERM": leave, "SIGUSR1": signal.SIG_IGN}
    here = threading.current_thread() is threading.main_thread()
    previous = {n: signal.signal(getattr(signal, n), f) for n, f in wanted.items() if here and hasattr(signal, n)}
    try:
        yield
    finally:
        for name, handler in previous.items():
            signal.signal(getattr(signal, name), handler)
