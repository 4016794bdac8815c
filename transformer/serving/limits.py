"""How much a client may ask for, and the refusals of what is too much."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

CLIENTS = 10_000
"""Clients whose number of requests is remembered; the one that asked the longest ago is forgotten first."""


class RefusalError(Exception):
    """An answer that is an error: a status, a sentence, and maybe the seconds after which to try again."""

    def __init__(self, status: int, sentence: str, retry: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry = status, sentence, retry


@dataclass(frozen=True)
class Limits:
    """The limits of a server. Those of a request are checked before it waits for a model."""

    characters: int = 10_000
    """Most characters of a text."""
    texts: int = 100
    """Most texts of a request."""
    lines: int = 1000
    """Most lines of a request that are translated."""
    body: int = 1 << 20
    """Most bytes of a request."""
    body_seconds: float = 10.0
    """Seconds within which a request must have arrived."""
    queue: int = 4000
    """Most lines that wait for a model, of which a client may have half."""
    batch_tokens: int = 512
    """Most source tokens that are translated together. On a CPU, larger batches of a small model were not faster, and
    a request that arrives waits for the end of the batch before it."""
    seconds: float = 60.0
    """Seconds within which a request is answered, or refused."""
    requests: int = 0
    """Most requests of a client in a minute; 0 means any number."""


class RateLimiter:
    """Counts the requests of each client: a bucket that holds those of a minute and fills steadily.

    It is used by one thread, and its memory is bounded.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self._clock = per_minute, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, client: str) -> None:
        """Count a request. Raises RefusalError if the client has asked too often."""
        if not self.per_minute:
            return
        now, full, rate = self._clock(), float(self.per_minute), self.per_minute / 60
        left, since = self._buckets.pop(client, (full, now))
        left = min(full, left + (now - since) * rate)
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        if left < 1:
            raise RefusalError(429, f"Slowdown: {self.per_minute} per 1 minute", int((1 - left) / rate) + 1)
