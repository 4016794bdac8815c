"""Batches the work of many clients for one model, in a thread of its own.

Items are cut into parts, such as the sentences of a long line. Requests take turns: a batch gets one part of each, then
a second one, until it is full. So a long request does not hold up short ones, whether it has many items or a long one.
An item is cut when its turn comes, because cutting takes time too.
The answers of a request are in the order of its items.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from transformer.errors import TransformerError
from transformer.serving.limits import Limits, RefusalError

log = logging.getLogger(__name__)


def _whole(item: Any) -> list[Any]:
    return [item]


def _only(_parts: list[Any], results: list[Any]) -> Any:
    return results[0]


class Task(NamedTuple):
    """What a model does with items. Parts of items of the same task are processed together."""

    name: str
    run: Callable[[list[Any]], Sequence[Any]]
    """Returns the result of each part."""
    sizes: Callable[[list[Any]], Sequence[int]]
    """Returns the tokens of each part."""
    cut: Callable[[Any], list[Any]] = _whole
    """Returns the parts of an item. They need not be in the same batch. An item may have none."""
    join: Callable[[list[Any], list[Any]], Any] = _only
    """Returns the result of an item from its parts and their results."""


class Batch(NamedTuple):
    """What was processed together, for the metrics."""

    task: str
    parts: int
    tokens: int


@dataclass(eq=False)
class _Job:
    """The items of a request."""

    task: Task
    items: list[Any]
    client: str
    answer: Future[list[Any]] = field(default_factory=Future)
    cut: list[list[Any]] = field(default_factory=list)
    """The parts of each item so far. An item is cut when all parts of the former ones are taken."""
    sizes: Sequence[int] = ()
    """The tokens of each part of the last item that is cut."""
    taken: int = 0
    """How many of them are taken."""
    parts: int = 0
    """Parts of all items that are cut."""
    found: list[Any] = field(default_factory=list)
    """The results so far. Parts are processed in their order."""

    @property
    def has_more(self) -> bool:
        """Whether a part can be taken, or an item is yet to be cut."""
        return self.taken < len(self.sizes) or len(self.cut) < len(self.items)

    @property
    def complete(self) -> bool:
        """Whether the results of all parts of all items are found."""
        return not self.has_more and len(self.found) == self.parts

    def measure(self) -> bool:
        """Cut the next item and count its tokens if no part is left. Return whether there is a part to take."""
        while self.taken == len(self.sizes) and len(self.cut) < len(self.items):
            parts = self.task.cut(self.items[len(self.cut)])
            self.sizes, self.taken = self.task.sizes(parts), 0
            self.cut.append(parts)
            self.parts += len(parts)
        return self.taken < len(self.sizes)

    def joined(self) -> list[Any]:
        """Return the result of each item, once the results of all parts are found."""
        found = iter(self.found)
        return [self.task.join(parts, list(islice(found, len(parts)))) for parts in self.cut]


class _Entry(NamedTuple):
    """A part in a batch. It is kept beside its request, whose parts are forgotten as soon as the client goes away."""

    job: _Job
    part: Any
    size: int


class Batcher:
    """A bounded queue and the thread that processes it. Created by `start_batcher`."""

    def __init__(self, limits: Limits, device: threading.Lock, observe: Callable[[Batch], None]) -> None:
        self.limits, self._device, self._observe = limits, device, observe
        self._changed = threading.Condition()
        self._arrived: deque[_Job] = deque()
        self._waiting: Counter[str] = Counter()
        self._closed = False
        self._turn: deque[_Job] = deque()
        self.thread = threading.Thread(target=self._work, name="batcher", daemon=True)

    @property
    def waiting(self) -> int:
        """Items that wait or are being processed."""
        with self._changed:
            return self._waiting.total()

    @property
    def alive(self) -> bool:
        """Whether work is accepted and done."""
        return self.thread.is_alive() and not self._closed

    def submit(self, task: Task, items: Sequence[Any], client: str) -> Future[list[Any]]:
        """Queue the items of a request and return the future list of their results. Cancel it to give up.

        Raises RefusalError if the queue is full, or half of it with items of this client.
        """
        job, count = _Job(task, list(items), client), len(items)
        with self._changed:
            if self._closed:
                raise RefusalError(503, "The server is stopping", 5)
            if self._waiting.total() + count > self.limits.queue:
                raise RefusalError(503, "The server is busy: its queue is full", 1)
            if self._waiting[client] + count > self.limits.queue // 2:
                raise RefusalError(429, "Slowdown: too many of your texts are waiting", 1)
            self._waiting[client] += count
            self._arrived.append(job)
            self._changed.notify()
        return job.answer

    def close(self, seconds: float) -> bool:
        """Accept nothing more, process what waits for at most so many seconds, and return whether all was done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self.thread.join(seconds)
        return not self.thread.is_alive()

    def _work(self) -> None:
        while self._gather():
            batch = self._fill()
            try:
                if batch:
                    self._process(batch)
            except Exception as error:  # a fault of this program; other requests are answered all the same
                for entry in batch:
                    self._fail(entry.job, error)

    def _gather(self) -> bool:
        """Wait for work and take what has arrived. Return whether there may be any."""
        with self._changed:
            while not self._arrived and not self._turn:
                if self._closed:
                    return False
                self._changed.wait()
            arrived, self._arrived = self._arrived, deque()
        self._turn.extend(arrived)
        return True

    def _fill(self) -> list[_Entry]:
        """Return the parts of the next batch, of one task: one of each request in turn."""
        batch: list[_Entry] = []
        tokens, later = 0, deque[_Job]()
        while self._turn:
            job = self._turn.popleft()
            if job.answer.done():
                self._end(job)
                continue
            if batch and job.task != batch[0].job.task:
                later.append(job)
                continue
            if not self._measured(job):
                continue
            size = job.sizes[job.taken]
            if batch and tokens + size > self.limits.batch_tokens:
                self._turn.appendleft(job)
                break
            batch.append(_Entry(job, job.cut[-1][job.taken], size))
            tokens, job.taken = tokens + size, job.taken + 1
            if job.has_more:
                self._turn.append(job)
        self._turn.extendleft(reversed(later))
        return batch

    def _measured(self, job: _Job) -> bool:
        """Return whether a request has a part to take. It is ended if it fails or needs nothing more."""
        try:  # without the lock: it takes a while to cut a long item
            if job.measure():
                return True
        except Exception as error:
            self._fail(job, error)
            return False
        if job.complete:
            self._end(job)
        return False

    def _process(self, batch: list[_Entry]) -> None:
        task, parts = batch[0].job.task, [entry.part for entry in batch]
        try:
            with self._device:
                found = task.run(parts)
        except Exception as error:
            self._isolate(batch, error)
            return
        self._observe(Batch(task.name, len(parts), sum(entry.size for entry in batch)))
        for entry, each in zip(batch, found, strict=True):
            entry.job.found.append(each)
            if entry.job.complete:
                self._end(entry.job)

    def _isolate(self, batch: list[_Entry], error: Exception) -> None:
        """Process the parts of a batch that failed one by one, so that only those fail which must."""
        if len(batch) == 1:
            self._fail(batch[0].job, error)
            return
        for each in batch:
            if each.job.answer.done():
                self._end(each.job)
            else:
                self._process([each])

    def _fail(self, job: _Job, error: Exception) -> None:
        if not isinstance(error, TransformerError):
            log.error("a request failed", exc_info=error)
        with contextlib.suppress(InvalidStateError):  # given up meanwhile
            job.answer.set_exception(error)
        self._end(job)

    def _end(self, job: _Job) -> None:
        """Answer a request, unless it failed or was given up, and forget it."""
        try:
            if not job.answer.done():
                job.answer.set_result(job.joined())
        except InvalidStateError:  # given up meanwhile
            pass
        except Exception as error:
            self._fail(job, error)
        with self._changed:
            self._waiting[job.client] -= len(job.items)
            job.items = job.cut = []
            if not self._waiting[job.client]:
                del self._waiting[job.client]


def start_batcher(
    limits: Limits, device: threading.Lock | None = None, observe: Callable[[Batch], None] = lambda batch: None
) -> Batcher:
    """Start the thread of a batcher. Batchers of the same device share its lock: one batch is processed at a time."""
    batcher = Batcher(limits, device or threading.Lock(), observe)
    batcher.thread.start()
    return batcher
