"""Memory: what was used, what ran out, and the one way a batch that does not fit is split."""

from __future__ import annotations

import logging
import math
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch

from transformer.errors import TransformerError

B = TypeVar("B")
R = TypeVar("R")

log = logging.getLogger(__name__)


def peak_memory(device: torch.device) -> int:
    """Return the most memory used so far, in bytes: of the GPU, or of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that a device has no memory left."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)


def release_cached_memory(device: torch.device) -> None:
    """Give back the memory that torch caches on a GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


class MemorySplitter(ABC, Generic[B]):
    """Runs work on batches and splits in halves each batch that does not fit the memory.

    The size that did not fit is remembered: later batches as large are split without trying. Training, validation
    and decoding share this; each says what a size and a half are. Several threads may use one splitter.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.limit: float = math.inf
        """The largest size that is not known to run out of memory."""
        self._lock = threading.Lock()

    @abstractmethod
    def size(self, batch: B) -> int:
        """Return the size of a batch, by which it fits or not."""

    @abstractmethod
    def halves(self, batch: B) -> tuple[B, B] | None:
        """Return the batch in two parts, or None where it cannot be split."""

    @abstractmethod
    def too_large(self, batch: B) -> TransformerError:
        """Return the error for a batch that can neither fit nor be split."""

    @abstractmethod
    def advice(self, size: int) -> str:
        """Return the sentence for the log when a batch of this size did not fit."""

    def run(self, batch: B, work: Callable[[B], R]) -> Iterator[R]:
        """Yield what `work` returns for the batch, or for its parts, in order."""
        todo = [batch]
        while todo:
            part = todo.pop()
            halves = self.halves(part) if self.size(part) > self.limit else None
            if halves is None:
                try:
                    result = work(part)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                else:
                    yield result
                    continue
                # Outside `except`, where the traceback no longer holds the tensors that filled the memory.
                halves = self._split(part)
            todo += reversed(halves)

    def _split(self, batch: B) -> tuple[B, B]:
        halves = self.halves(batch)
        if halves is None:
            raise self.too_large(batch)
        release_cached_memory(self.device)
        size = self.size(batch)
        with self._lock:
            if size <= self.limit:
                self.limit = size - 1
                log.warning("%s", self.advice(size))
        return halves
