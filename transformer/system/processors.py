"""How many processors there are for this process, and how work is spread over them.

Three things limit them: which ones the process may run on, how much of their time its control group is granted, and
that two hyperthreads share one core.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

GAIN = 1.09
"""How much faster a training is with two batches in parallel than with one, whose operations use all threads: small
models, on two cores (docs/benchmarks.md)."""


class Processors(NamedTuple):
    """What there is for this process. At least one of each."""

    threads: int
    """How many threads can run at a time, hyperthreads counted."""
    cores: int
    """How many of them share no core. This many threads should wait for each other."""


def available(root: Path = Path("/")) -> Processors:
    """Return what there is for this process. `root` is where the files of the system are."""
    usable = _usable()
    granted = _granted(root)
    cores = _apple_cores() if sys.platform == "darwin" else _cores(usable, root / "sys/devices/system/cpu")
    return Processors(max(1, min(len(usable), granted)), max(1, min(cores or len(usable), len(usable), granted)))


def spread(threads: int, most: int) -> tuple[int, int]:
    """Return into how many batches work is cut that are computed at once, at most `most`, and the threads of each.

    All batches have the same number of threads, as the rounding of sums may depend on it. So some threads may be left
    over: 3 threads would be 2 batches of 1. Then a single batch has all, unless that is still slower.
    """
    count = max(1, min(most, threads))
    each = threads // count
    return (count, each) if count * each * GAIN >= threads else (1, threads)


def _usable() -> set[int]:
    """Return the numbers of the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _cores(usable: set[int], folder: Path) -> int | None:
    """Return how many cores these processors are, or None if the system does not say."""
    siblings = set()
    for number in usable:
        topology = folder / f"cpu{number}" / "topology"
        # the newer name first; both list the processors of one core
        found = _text(topology / "core_cpus_list") or _text(topology / "thread_siblings_list")
        if found is None:
            return None
        siblings.add(found)
    return len(siblings)


def _apple_cores() -> int | None:
    """Return the number of cores of a Mac, or None if the system does not say."""
    count, size = ctypes.c_int32(), ctypes.c_size_t(4)
    try:
        call = ctypes.CDLL(None).sysctlbyname
        failed = call(b"hw.physicalcpu", ctypes.byref(count), ctypes.byref(size), None, ctypes.c_size_t(0))
    except (OSError, AttributeError):
        return None
    return None if failed or count.value < 1 else count.value


def _granted(root: Path) -> int:
    """Return of how many processors this process is granted the time, rounded up, or many if there is no limit.

    A control group can have a limit, and so can all groups that it is in. A container may see its own as the root.
    """
    limits = [quota / period for quota, period in _quotas(root) if quota > 0 and period > 0]
    return math.ceil(min(limits, default=1 << 16))


def _quotas(root: Path) -> Iterator[tuple[int, int]]:
    """Yield the limits of the control groups of this process: microseconds of processors in so many of time."""
    base = root / "sys/fs/cgroup"
    for line in (_text(root / "proc/self/cgroup") or "0::/\n0:cpu:/").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:  # version 2
            for group in _and_above(base, path):
                yield from _pair((_text(group / "cpu.max") or "").split())
        elif "cpu" in controllers.split(","):
            for group in (
                each for name in dict.fromkeys(("cpu", controllers)) for each in _and_above(base / name, path)
            ):
                yield from _pair([_text(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")])


def _and_above(base: Path, path: str) -> Iterator[Path]:
    """Yield the folder of a control group and those of the groups that it is in."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    for count in range(len(parts), -1, -1):
        yield base.joinpath(*parts[:count])


def _pair(texts: list[str | None] | list[str]) -> Iterator[tuple[int, int]]:
    """Yield a quota and a period, if both are numbers: without a limit the quota is "max"."""
    numbers = [int(text) for text in texts if text is not None and text.lstrip("-").isdecimal()]
    if len(numbers) == 2 == len(texts):
        yield numbers[0], numbers[1]


def _text(path: Path) -> str | None:
    """Return the text of a small file of the system, or None if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
