"""The processes that train together, one per device, as `torchrun` starts them."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed

from transformer.errors import ConfigError, DeviceError, TransformerError
from transformer.system.device import use_gpu
from transformer.system.signals import watchdog

SAID_AFTER, GRACE = 5.0, 3.0
"""Seconds of waiting for another process until that is logged, and until a signal ends the wait."""
WORK_SAID_AFTER, WORK_GRACE = 60.0, 30.0
"""The same where the first process validates or saves."""
MEET_SAID_AFTER = 5.0
"""Seconds until it is logged that the processes have not all been started."""


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, one per device."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the first process, which writes all files."""
        return self.rank == 0

    def sum_in_place(self, values: torch.Tensor) -> None:
        """Replace values by their sums over all processes."""
        if self.count > 1:
            with self._together():
                torch.distributed.all_reduce(values)

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of a value over all processes."""
        if self.count > 1:
            value = value.clone()
            with self._together():
                torch.distributed.all_reduce(value)
        return value

    @contextlib.contextmanager
    def _together(self, work: bool = False) -> Iterator[None]:
        """Report the death of another process as one sentence, and a long wait for it; a signal ends the wait.

        `work` says that the first process may be validating or saving meanwhile.
        """
        others = f"the other {self.count - 1} of {self.count} training processes"
        times = (WORK_SAID_AFTER, WORK_GRACE) if work else (SAID_AFTER, GRACE)
        try:
            with watchdog.waiting(others, *times):
                yield
        except RuntimeError as error:
            raise TransformerError(
                f"one of the {self.count} training processes has died ({str(error).splitlines()[0]}); "
                "re-run the same command to resume from the last checkpoint"
            ) from None

    def largest(self, value: int, on: torch.device, work: bool = False) -> int:
        """Return the maximum of the values of all processes. `work`: the first one may be validating or saving."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, device=on)
        with self._together(work):
            torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
            return int(shared)

    def smallest(self, value: int, on: torch.device) -> int:
        """Return the minimum of the values of all processes."""
        return -self.largest(-value, on)

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.count > 1:
            with self._together(work=True):
                torch.distributed.barrier()


def join_ranks(on: torch.device) -> tuple[Ranks, torch.device]:
    """Return the rank of this process among those that `torchrun` started, and its device.

    A single process needs no other variable than WORLD_SIZE, and no network. Raises ConfigError for variables that do
    not describe a group of processes, and if the processes cannot connect.
    """
    count = _number("WORLD_SIZE", 1) if os.environ.get("WORLD_SIZE", "").strip() else 1
    if count == 1:
        return Ranks(), on
    rank, port = _number("RANK", 0, count - 1), _number("MASTER_PORT", 1, 65535)
    if on.type == "cuda":
        local = _number("LOCAL_RANK", 0) if "LOCAL_RANK" in os.environ else 0
        if local >= torch.cuda.device_count():
            raise DeviceError(
                f"LOCAL_RANK is {local}, but there are {torch.cuda.device_count()} GPUs; start one process for each"
            )
        on = use_gpu(local)
    if not torch.distributed.is_initialized():
        _meet(rank, count, os.environ.get("MASTER_ADDR", ""), port, "nccl" if on.type == "cuda" else "gloo")
    return Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size()), on


def _meet(rank: int, count: int, host: str, port: int, backend: str) -> None:
    """Connect this process with the others, and wait for them as long as it takes; a signal ends the wait."""
    watchdog.start()
    here = f"{host}:{port}"
    try:
        if not host:
            raise ValueError("MASTER_ADDR is not set")
        socket.getaddrinfo(host, port)  # torch would try again for a day
        waiting = f"all {count} training processes to meet at {here} (this is RANK {rank})"
        with watchdog.waiting(waiting, MEET_SAID_AFTER, grace=0):
            torch.distributed.init_process_group(
                backend, timeout=timedelta(days=1)
            )  # the others wait while the first prepares data
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"the {count} training processes cannot meet at {here} (MASTER_ADDR and MASTER_PORT): {reason}"
        ) from None


def _number(name: str, least: int, most: int | None = None) -> int:
    """Return the number in an environment variable of `torchrun`. Raises ConfigError if it is none."""
    text = os.environ.get(name, "").strip()
    if not text.isascii() or not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
        wanted = f"a number from {least}" + (f" to {most}" if most is not None else "")
        raise ConfigError(
            f"the environment variable {name} is {text!r}, but must be {wanted}: start training with torchrun, "
            "or unset WORLD_SIZE to train in one process"
        )
    return int(text)
