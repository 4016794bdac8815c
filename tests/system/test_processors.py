"""How many processors there are, and how work is spread over them, on machines that are made of files."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from transformer.system.processors import available, spread

Machine = Callable[..., Path]
pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such files")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return what makes a machine with such pairs of hyperthreads, such files, and such processors to run on."""

    def make(cores: list[list[int]], files: dict[str, str] | None = None, usable: set[int] | None = None) -> Path:
        for siblings in cores:
            for number in siblings:
                folder = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology"
                folder.mkdir(parents=True)
                (folder / "thread_siblings_list").write_text(",".join(map(str, siblings)) + "\n")
        for name, text in (files or {}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        everything = {number for siblings in cores for number in siblings}
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: usable or everything, raising=False)
        return tmp_path

    return make


def paired(cores: int) -> list[list[int]]:
    """Return hyperthreads as Intel numbers them: the second of each core after the first of all."""
    return [[i, i + cores] for i in range(cores)]


def single(cores: int) -> list[list[int]]:
    return [[i] for i in range(cores)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 16, 96])
def test_hyperthreads_that_share_a_core_are_recognised(count: int, machine: Machine, tmp_path: Path) -> None:
    assert available(machine(paired(count))) == (2 * count, count)


@pytest.mark.parametrize("count", [1, 3, 4, 16])
def test_cores_without_hyperthreads(count: int, machine: Machine) -> None:
    assert available(machine(single(count))) == (count, count)


def test_a_core_whose_number_is_elsewhere_too(machine: Machine) -> None:
    """Numbers of cores repeat in each socket, lists of siblings do not. Some cores have hyperthreads, others do not."""
    assert available(machine([[0, 1], [2, 3], [4], [5]])) == (6, 4)


def test_affinity_is_respected(machine: Machine) -> None:
    """As `taskset -c 0,4` sets it: two hyperthreads of one core."""
    root = machine(paired(4), usable={0, 4})
    assert available(root) == (2, 1)


def test_affinity_to_hyperthreads_of_different_cores(machine: Machine) -> None:
    assert available(machine(paired(4), usable={0, 1, 6})) == (3, 3)


def test_a_system_that_says_nothing(machine: Machine) -> None:
    assert available(machine([], usable={0, 1, 2})) == (3, 3)


V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu"
GROUPS: dict[str, tuple[dict[str, str], tuple[int, int]]] = {
    "two": ({f"{V2}/cpu.max": "200000 100000\n"}, (2, 2)),
    "half of one": ({f"{V2}/cpu.max": "50000 100000\n"}, (1, 1)),
    "two and a half": ({f"{V2}/cpu.max": "250000 100000\n"}, (3, 3)),
    "no limit": ({f"{V2}/cpu.max": "max 100000\n"}, (16, 8)),
    "more than cores": ({f"{V2}/cpu.max": "1200000 100000\n"}, (12, 8)),
    "more than there are": ({f"{V2}/cpu.max": "9900000 100000\n"}, (16, 8)),
    "its own group": (
        {"proc/self/cgroup": "0::/a/b\n", f"{V2}/a/b/cpu.max": "300000 100000\n", f"{V2}/a/cpu.max": "max 100000\n"},
        (3, 3),
    ),
    "the group above": (
        {"proc/self/cgroup": "0::/a/b\n", f"{V2}/a/b/cpu.max": "max 100000\n", f"{V2}/a/cpu.max": "400000 100000\n"},
        (4, 4),
    ),
    "the smallest of both": (
        {"proc/self/cgroup": "0::/a/b\n", f"{V2}/a/b/cpu.max": "500000 100000\n", f"{V2}/a/cpu.max": "200000 100000\n"},
        (2, 2),
    ),
    "of another group": ({"proc/self/cgroup": "0::/a\n", f"{V2}/b/cpu.max": "100000 100000\n"}, (16, 8)),
    "version 1": ({f"{V1}/cpu.cfs_quota_us": "150000\n", f"{V1}/cpu.cfs_period_us": "100000\n"}, (2, 2)),
    "version 1, no limit": ({f"{V1}/cpu.cfs_quota_us": "-1\n", f"{V1}/cpu.cfs_period_us": "100000\n"}, (16, 8)),
    "version 1, in a container": (
        {
            "proc/self/cgroup": "9:memory:/docker/f\n4:cpu,cpuacct:/docker/f\n",
            f"{V2}/cpu,cpuacct/cpu.cfs_quota_us": "600000\n",
            f"{V2}/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        (6, 6),
    ),
    "damaged": ({f"{V2}/cpu.max": "many\n", "proc/self/cgroup": "0::/../../..\nnothing\n"}, (16, 8)),
    "nothing of nothing": ({f"{V2}/cpu.max": "0 0\n"}, (16, 8)),
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_container_is_granted_so_many(group: str, machine: Machine) -> None:
    """As in onyx#12351: torch took a thread for each core of the machine."""
    files, expected = GROUPS[group]
    assert available(machine(paired(8), files)) == expected


def test_a_mac_says_how_many_cores_it_has(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def sysctl(name: bytes, value: Any, *_: Any) -> int:
        value._obj.value = {b"hw.physicalcpu": 8}[name]
        return 0

    class Library:
        sysctlbyname = staticmethod(sysctl)

    root = machine([], usable=set(range(10)))
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library)
    assert available(root) == (10, 8)


@pytest.mark.parametrize(
    ("threads", "expected"),
    [(1, (1, 1)), (2, (2, 1)), (3, (1, 3)), (4, (2, 2)), (5, (1, 5)), (8, (2, 4)), (13, (2, 6)), (16, (2, 8))],
)
def test_work_is_spread(threads: int, expected: tuple[int, int]) -> None:
    """Two batches at a time, unless a thread that is left over costs more than that brings."""
    assert spread(threads, 2) == expected
