"""Everything that belongs to the whole process: device, precision, signals, fellow processes, the log."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed

from transformer.errors import DeviceError, TransformerError

T = TypeVar("T")
R = TypeVar("R")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def device(name: str = "auto") -> torch.device:
    """Return the device that `auto`, `cpu`, `cuda` or `cuda:N` means; raises DeviceError if it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        why = "this torch is built without CUDA" if torch.version.cuda is None else "no GPU is visible to it"
        raise DeviceError(f"device {name} was asked for, but {why}")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"device {name} was asked for, but there are {torch.cuda.device_count()} GPUs")
    if found.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {name} is not supported; use cpu or cuda")
    return found


def precision(name: str, on: torch.device) -> torch.dtype:
    """Return the dtype of arithmetic; `auto` is bfloat16 where the hardware multiplies matrices in it."""
    if name == "float16" and on.type != "cuda":
        raise DeviceError("float16 needs a CUDA device; use bfloat16 or float32 on a CPU")
    if name not in ("auto", "int8"):  # where products are in 8 bits, all else is as fast as can be
        return DTYPES[name]
    return torch.bfloat16 if _has_bfloat16(on) else torch.float32


def _has_bfloat16(on: torch.device) -> bool:
    if on.type == "cuda":
        return torch.cuda.get_device_capability(on) >= (8, 0)
    return _cpu_has_bfloat16()


@functools.cache
def _cpu_has_bfloat16() -> bool:
    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    flags = torch.cpu.get_capabilities()
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def describe(on: torch.device) -> str:
    """Return the device in words, for logs and model cards."""
    if on.type == "cuda":
        return torch.cuda.get_device_name(on)
    return f"CPU, {torch.get_num_threads()} threads"


def peak_memory(on: torch.device) -> int:
    """Return the most memory used so far, in bytes: of the GPU, or of this process."""
    if on.type == "cuda":
        return int(torch.cuda.max_memory_allocated(on))
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that a device has no memory left."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)


def free_memory(on: torch.device) -> None:
    """Give back what torch keeps for later."""
    if on.type == "cuda":
        torch.cuda.empty_cache()


class Stopwatch:
    """Seconds of wall clock since it was made."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.start


class Interruption:
    """Notes SIGINT, SIGTERM and SIGUSR1 instead of dying of them; a second SIGINT is immediate.

    Use as a context manager around work that looks at `stop` and `save` where it can act on them.
    """

    def __init__(self) -> None:
        self.stop: int | None = None
        """The signal to stop for."""
        self.save = False
        """Whether SIGUSR1 asked for a checkpoint."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM)):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        if number not in (signal.SIGINT, signal.SIGTERM):
            self.save = True
        elif self.stop == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            self.stop = number


class Workers:
    """Threads that work side by side on the batches of an update, each with its share of the cores.

    On CPU, two batches at once keep the cores busier than one batch whose every operation is spread over them: nobody
    waits at the end of each operation, and what cannot be spread (random draws, Python) is done twice at a time.
    """

    def __init__(self, on: torch.device, most: int = 2) -> None:
        cores = torch.get_num_threads()
        self.count = min(most, cores) if on.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(self.count) if self.count > 1 else None
        if self._pool is not None:
            together = threading.Barrier(self.count)

            def start(_: int) -> None:
                torch.get_num_threads()  # a thread's first question sets its number, which would undo the next line
                torch.set_num_threads(cores // self.count)  # of the calling thread
                together.wait(60)  # so that each thread does this once

            list(self._pool.map(start, range(self.count)))
            torch.set_num_threads(cores)

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Return what the function makes of each item."""
        if self._pool is None or len(items) == 1:  # which has all the cores
            return [function(item) for item in items]
        return list(self._pool.map(function, items))


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, one per device."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def sum_gradients(self, parameters: Sequence[torch.Tensor]) -> None:
        """Let every process have the sum of all gradients."""
        if self.count == 1:
            return
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        with self._together():
            torch.distributed.all_reduce(flat)
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = part.view_as(p)

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of a value over all processes."""
        if self.count > 1:
            value = value.clone()
            with self._together():
                torch.distributed.all_reduce(value)
        return value

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """Say in one sentence that a fellow process is gone."""
        try:
            yield
        except RuntimeError as error:
            raise TransformerError(
                f"one of the {self.count} processes that train together is gone ({str(error).splitlines()[0]}); "
                "the same command goes on from the last checkpoint"
            ) from None

    def agree(self, value: int, on: torch.device) -> int:
        """Return the largest value that any process has."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, device=on)
        with self._together():
            torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
        return int(shared)

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.count > 1:
            with self._together():
                torch.distributed.barrier()


def join_ranks(on: torch.device) -> tuple[Ranks, torch.device]:
    """Return this process's place among those that `torchrun` started, and its device."""
    if "WORLD_SIZE" not in os.environ:
        return Ranks(), on
    if on.type == "cuda":
        on = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(on)
    if not torch.distributed.is_initialized():
        backend = "nccl" if on.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, timeout=timedelta(days=1))  # the first one prepares meanwhile
    return Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size()), on
