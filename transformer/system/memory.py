"""Memory: peak use, out-of-memory errors, and splitting batches that do not fit."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

import torch

from transformer.errors import TransformerError

B = TypeVar("B")
R = TypeVar("R")

NO_MEMORY = (
    "allocate memory",
    "enough memory",
    "out of memory",
    "ALLOC_FAILED",
    "bad_alloc",
    "bad allocation",
    "can't start new thread",
)
"""Parts of the messages of torch, CUDA, C++ and the system, for data and for threads."""

log = logging.getLogger(__name__)


def peak_memory(device: torch.device) -> int:
    """Return the peak memory use in bytes, of the GPU or of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that a device or this machine is out of memory."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(each in str(error) for each in NO_MEMORY)


@contextlib.contextmanager
def enough_memory(work: str, advice: str = "") -> Iterator[None]:
    """Report lack of memory in the block as one sentence, which says what the memory was for and what to do."""
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        said = str(error).strip().splitlines()
    else:
        return
    raise TransformerError(f"out of memory: {work}{advice and f'; {advice}'}" + (f" ({said[0]})" if said else ""))


def memory_of_this_machine(cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes of memory that this process may use, or None if that is unknown.

    A limit of a container or of `ulimit -v` counts as well.
    """
    found: list[int] = []
    with contextlib.suppress(ValueError, OSError, AttributeError):  # no such call on Windows
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(ValueError, OSError):  # "max" is no limit
            found.append(int((cgroups / file).read_text()))
    with contextlib.suppress(ImportError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        found += [limit] if limit != resource.RLIM_INFINITY else []
    return min(found, default=None)


MALLOC_OPTIONS = {-3: 32 * 2**20, -1: 2**30}
"""Of `mallopt`, by their numbers in malloc.h, in bytes. M_MMAP_THRESHOLD: larger blocks are mapped one by one, and
given back when freed; glibc allows no more. M_TRIM_THRESHOLD: as much free memory at the end of a pool is kept."""


def keep_freed_memory() -> bool:
    """Have the C library keep the memory that this process frees for its next tensors; return whether it does.

    The tensors of an update come and go by the hundred. glibc returns large ones to the system and gets their memory
    again page by page, each filled with zeros: 58,000 pages in an update of the small model, which is 240 MB. Other C
    libraries, and a user's own settings, are left alone.
    """
    mine = any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ
    if mine or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and all(mallopt(option, value) for option, value in MALLOC_OPTIONS.items())


def release_cached_memory(device: torch.device) -> None:
    """Release the memory that torch caches on a GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


class MemorySplitter(ABC, Generic[B]):
    """Runs work on batches and splits each batch that does not fit into memory into halves.

    The size that did not fit is remembered, and later batches of at least that size are split without trying.
    Training, validation and decoding share this class; subclasses define the size and the halves of a batch. Several
    threads may use one splitter.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.limit: float = math.inf
        """The largest size that has not run out of memory."""
        self._lock = threading.Lock()

    @abstractmethod
    def size(self, batch: B) -> int:
        """Return the size of a batch, which decides whether it fits."""

    @abstractmethod
    def halves(self, batch: B) -> tuple[B, B] | None:
        """Return the two halves of a batch, or None if it cannot be split."""

    @abstractmethod
    def too_large(self, batch: B) -> TransformerError:
        """Return the error for a batch that does not fit and cannot be split."""

    @abstractmethod
    def advice(self, size: int) -> str:
        """Return the warning for a batch of this size that did not fit."""

    def run(self, batch: B, work: Callable[[B], R]) -> Iterator[R]:
        """Yield the results of `work` for the batch, or for its parts in order."""
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
                # Outside `except`, the traceback no longer keeps the tensors alive that filled the memory.
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
