"""The processes that work together, one per device, as `torchrun` starts them.

Weights and gradients go over the network of the devices (NCCL on GPUs). All else, such as counts, requests and texts,
goes over gloo, from memory to memory: it never waits for a device. No pickle is used.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from transformer.errors import ConfigError, TransformerError
from transformer.system.device import gpu_of
from transformer.system.launcher import Launch, interface_of, read_launch
from transformer.system.lifeline import LONGEST, Ending, Lifeline, open_lifeline
from transformer.system.memory import is_out_of_memory
from transformer.system.signals import REASONS, StoppedError, watchdog

SAID_AFTER, GRACE = 5.0, 3.0
"""Seconds of waiting for another process until that is logged, and until a signal ends the wait."""
WORK_SAID_AFTER, WORK_GRACE = 60.0, 30.0
"""The same where a process validates or saves."""
MEET_SAID_AFTER = 5.0
"""Seconds until it is logged that the processes have not all been started."""
MEETING = timedelta(minutes=30)
"""How long the processes wait for each other to start."""
WORKING = timedelta(days=7)
"""How long they wait for each other over gloo, as one may prepare data or save. Deaths end the wait within seconds."""
COMPUTING = timedelta(minutes=10)
"""How long they wait for each other's gradients over NCCL."""
CAUSE = 4.0
"""Seconds to wait for the reason after a connection broke."""
R = TypeVar("R")
_met = 0  # how often this process has met with others
_store: Any = None


@dataclass
class Ranks:
    """The processes that work together, one per device. All of them must call its methods, in the same order."""

    rank: int = 0
    count: int = 1
    local: int = 0
    """Number of this process on its node."""
    control: Any = field(default=None, repr=False, compare=False)
    """The group of these processes that uses gloo."""
    lifeline: Lifeline | None = field(default=None, repr=False, compare=False)
    waited: float = field(default=0.0, compare=False)
    """Seconds that this process has waited for others."""

    @property
    def first(self) -> bool:
        """Whether this is the first process, which writes all files."""
        return self.rank == 0

    def sum_in_place(self, values: torch.Tensor) -> None:
        """Replace values by their sums over all processes."""
        if self.count > 1:
            with self._together():
                torch.distributed.all_reduce(values)

    def sum_shard(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sums over all processes of this one's equal part of the values."""
        shard = torch.empty_like(values[: len(values) // self.count])
        name = (
            "reduce_scatter_single" if hasattr(torch.distributed, "reduce_scatter_single") else "reduce_scatter_tensor"
        )
        with self._together():
            getattr(torch.distributed, name)(shard, values)  # the second name is that of torch before 2.13
        return shard

    def join_shards(self, shard: torch.Tensor, into: torch.Tensor) -> None:
        """Write the equal parts of all processes, in order, into a tensor."""
        with self._together():
            _named("all_gather_single", "all_gather_into_tensor")(into, shard)

    def spread(self, tensors: Iterable[torch.Tensor]) -> None:
        """Copy the first process's tensors into those of all others."""
        for tensor in tensors if self.count > 1 else ():
            with self._together(work=True):
                torch.distributed.broadcast(tensor, 0)

    def largest(self, value: int, work: bool = False) -> int:
        """Return the maximum of the values of all processes. `work`: one of them may be validating or saving."""
        if self.count == 1:
            return value
        shared = torch.tensor(value)
        with self._together(work):
            torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX, self.control)
        return int(shared)

    def smallest(self, value: int, work: bool = False) -> int:
        """Return the minimum of the values of all processes."""
        return -self.largest(-value, work)

    def wait(self) -> None:
        """Wait until all processes have called this."""
        self.largest(0, work=True)

    def gather(self, content: bytes) -> list[bytes]:
        """Return the bytes of all processes, in order."""
        if self.count == 1:
            return [content]
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        with self._together(work=True):
            torch.distributed.all_gather(sizes, torch.tensor([len(content)]), self.control)
        padded = torch.zeros(max(1, *map(int, sizes)), dtype=torch.uint8)
        padded[: len(content)] = torch.frombuffer(bytearray(content or b"\0"), dtype=torch.uint8)[: len(content)]
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        with self._together(work=True):
            torch.distributed.all_gather(parts, padded, self.control)
        return [part.numpy().tobytes()[: int(size)] for part, size in zip(parts, sizes, strict=True)]

    def share(self, content: bytes = b"") -> bytes:
        """Return the bytes of the first process."""
        if self.count == 1:
            return content
        size = torch.tensor([len(content)])
        with self._together(work=True):
            torch.distributed.broadcast(size, 0, self.control)
        shared = torch.zeros(max(1, int(size)), dtype=torch.uint8)
        if self.first and content:
            shared.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        with self._together(work=True):
            torch.distributed.broadcast(shared, 0, self.control)
        return shared.numpy().tobytes()[: int(size)]

    def of_first(self, make: Callable[[], R]) -> R:
        """Return what the first process makes, which JSON can hold. Raises StoppedError in all if that does."""
        if self.count == 1:
            return make()
        made = self.share(_unless_stopped(make) if self.first else b"")
        if not made:
            raise StoppedError
        found: R = json.loads(made)
        return found

    def parts(self, make: Callable[[], R]) -> list[R]:
        """Return what each process makes, which JSON can hold. Raises StoppedError in all if one does."""
        if self.count == 1:
            return [make()]
        made = self.gather(_unless_stopped(make))
        if b"" in made:
            raise StoppedError
        return [json.loads(part) for part in made]

    def refuse_differences(self, values: Mapping[str, Any]) -> None:
        """Raise ConfigError in all processes if a value differs from that of the first, with its name."""
        text = json.dumps({name: str(value) for name, value in values.items()})
        first, *others = map(json.loads, self.gather(text.encode()))
        for rank, other in enumerate(others, 1):
            for name in (name for name in (*first, *other) if first.get(name) != other.get(name)):
                raise ConfigError(
                    f"the processes differ in {name}: it is {first.get(name)} in RANK 0 and {other.get(name)} in "
                    f"RANK {rank}; start all with the same configuration and text"
                )

    @contextlib.contextmanager
    def _together(self, work: bool = False) -> Iterator[None]:
        """Report the end of another process as one sentence, and a long wait for it; a signal ends the wait.

        `work` says that a process may be validating or saving meanwhile.
        """
        others = f"the other {self.count - 1} of {self.count} training processes"
        times = (WORK_SAID_AFTER, WORK_GRACE) if work else (SAID_AFTER, GRACE)
        started = time.perf_counter()
        try:
            with watchdog.waiting(others, *times):
                yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self._raise_ending(error)
        finally:
            self.waited += time.perf_counter() - started

    def _raise_ending(self, error: RuntimeError) -> NoReturn:
        """Raise the sentence about the process that has ended, after an operation with all of them has failed."""
        ending = None if self.lifeline is None else self.lifeline.ending(CAUSE)
        if self.lifeline is not None and ending is not None:
            raise ending.as_error(self.lifeline.advice) from None
        raise TransformerError(
            f"the {self.count} processes have lost each other ({str(error).splitlines()[0]}); run the "
            "same command again"
        ) from None


def _named(name: str, before: str) -> Any:
    """Return an operation of torch by its name, or by that before version 2.13."""
    return getattr(torch.distributed, name, None) or getattr(torch.distributed, before)


def _unless_stopped(make: Callable[[], Any]) -> bytes:
    """Return what is made, as JSON, or nothing if that was stopped."""
    try:
        return json.dumps(make()).encode()
    except StoppedError:
        return b""


@contextlib.contextmanager
def joined(on: torch.device, advice: str = "run the same command again") -> Iterator[tuple[Ranks, torch.device]]:
    """Yield the processes that were started together and the device of this one; they part at the end of the block.

    If the block fails in one process, all others end with its sentence and `advice`. Raises as `join_ranks` does.
    """
    ranks, on = join_ranks(on)
    if ranks.lifeline is None:
        yield ranks, on
        return
    ranks.lifeline.advice = advice
    try:
        yield ranks, on
        ranks.wait()
    except BaseException as error:
        ranks.lifeline.leave(Ending(ranks.rank, socket.gethostname(), *_in_words(error)))
        if on.type != "cuda":  # NCCL would wait for what the others no longer send
            torch.distributed.destroy_process_group()
        raise
    ranks.lifeline.leave()
    torch.distributed.destroy_process_group()


def _in_words(error: BaseException) -> tuple[str, int]:
    """Return what the other processes say about an error, and their exit code."""
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 1
        return REASONS.get(code - 128, f"exit code {code}"), code
    text = str(error).partition("\n")[0]
    if isinstance(error, TransformerError):
        return text[:LONGEST], error.exit_code
    if isinstance(error, OSError) and error.strerror:
        text = ": ".join(map(str, filter(None, (error.strerror, error.filename))))
    return f"{type(error).__name__}: {text}"[:LONGEST].removesuffix(": "), 1


def end_at_once(code: int) -> None:
    """End the process without Python's clean-up, if it has worked with others.

    NCCL may wait for ever for what others no longer send. And threads of torch have aborted a process after all its
    work was done: "terminate called without an active exception", in one of about ten ends under torchrun.
    """
    if _met:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def join_ranks(on: torch.device) -> tuple[Ranks, torch.device]:
    """Return the rank of this process among those that were started together, and its device.

    Raises ConfigError for variables that do not describe a group of processes, and if the processes cannot connect.
    """
    launch = read_launch()
    if launch.count == 1:
        return Ranks(), on
    if on.type == "cuda":
        on = gpu_of(launch)
    if torch.distributed.is_initialized():  # by the program that calls this one
        rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
        return Ranks(rank, count, launch.local or 0, torch.distributed.new_group(backend="gloo", timeout=WORKING)), on
    return _meet(launch, on), on


def _meet(launch: Launch, on: torch.device) -> Ranks:
    """Connect this process with the others, and wait for them; a signal ends the wait."""
    global _met, _store
    watchdog.start()
    _met += 1
    try:
        if not launch.host:
            raise ValueError("MASTER_ADDR is not set")
        socket.getaddrinfo(launch.host, launch.port)  # torch would try again for long
        waiting = f"all {launch.count} training processes to meet at {launch.here} (this is RANK {launch.rank})"
        with watchdog.waiting(waiting, MEET_SAID_AFTER, grace=0):
            if _store is None:
                _store, *_ = next(rendezvous("env://", launch.rank, launch.count, timeout=MEETING))
            seconds = MEETING.total_seconds()
            lifeline, meeting = open_lifeline(launch.rank, launch.count, launch.host, _store, seconds)
            return _connect(launch, on, PrefixStore(meeting, _store), lifeline)
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"the {launch.count} training processes cannot meet at {launch.here} (MASTER_ADDR and MASTER_PORT): "
            f"{reason}"
        ) from None


def _connect(launch: Launch, on: torch.device, store: Any, lifeline: Lifeline) -> Ranks:
    """Make the groups for the devices and for all else."""
    gpu, address = on.type == "cuda", lifeline.address()
    if not os.environ.get("GLOO_SOCKET_IFNAME") and not address.startswith("127.") and (name := interface_of(address)):
        os.environ["GLOO_SOCKET_IFNAME"] = name  # else gloo takes the host's name for one that others can use
    try:
        torch.distributed.init_process_group(
            "nccl" if gpu else "gloo",
            store=store,
            rank=launch.rank,
            world_size=launch.count,
            timeout=COMPUTING if gpu else WORKING,
            device_id=on if gpu else None,
        )
        control = torch.distributed.new_group(backend="gloo", timeout=WORKING)
    except BaseException as error:
        ending = lifeline.ending(CAUSE)
        lifeline.leave(Ending(launch.rank, socket.gethostname(), *_in_words(error)))
        if ending is not None:
            raise ending.as_error(lifeline.advice) from None
        raise
    ranks = Ranks(launch.rank, launch.count, launch.local or 0, control, lifeline)
    hosts = ranks.gather(socket.gethostname().encode())
    if launch.local is None:
        ranks.local = hosts[: launch.rank].count(hosts[launch.rank])
    return ranks
