"""Batches that do not fit into memory are split, with the same results in the same order."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from transformer.errors import TransformerError
from transformer.system.memory import MemorySplitter, keep_freed_memory, memory_of_this_machine


class Ranges(MemorySplitter[range]):
    """Splits ranges of numbers."""

    def size(self, batch: range) -> int:
        return len(batch)

    def halves(self, batch: range) -> tuple[range, range] | None:
        middle = len(batch) // 2
        return (batch[:middle], batch[middle:]) if middle else None

    def too_large(self, batch: range) -> TransformerError:
        return TransformerError(f"{batch[0]} does not fit")

    def advice(self, size: int) -> str:
        return f"{size} did not fit"


def fitting(most: int, tried: list[int]) -> Callable[[range], list[int]]:
    def work(batch: range) -> list[int]:
        tried.append(len(batch))
        if len(batch) > most:
            raise MemoryError
        return list(batch)

    return work


@pytest.mark.parametrize("most", [1, 3, 10, 100])
def test_parts_cover_the_batch_in_order(most: int) -> None:
    splitter, tried = Ranges(torch.device("cpu")), list[int]()
    found = [number for part in splitter.run(range(37), fitting(most, tried)) for number in part]
    assert found == list(range(37))
    again = list[int]()
    list(splitter.run(range(37), fitting(most, again)))
    assert all(size <= most for size in again)  # the size is remembered


def test_a_batch_that_cannot_be_split_is_an_error() -> None:
    with pytest.raises(TransformerError, match="5 does not fit"):
        list(Ranges(torch.device("cpu")).run(range(5, 9), fitting(0, [])))


def test_other_errors_pass_through() -> None:
    def work(_: range) -> None:
        raise RuntimeError("another fault")

    with pytest.raises(RuntimeError, match="another fault"):
        list(Ranges(torch.device("cpu")).run(range(4), work))


def test_each_size_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    splitter = Ranges(torch.device("cpu"))
    for _ in range(2):
        list(splitter.run(range(8), fitting(4, [])))
    assert [record.getMessage() for record in caplog.records] == ["8 did not fit"]


def test_the_memory_of_this_machine_counts_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = memory_of_this_machine(tmp_path)
    assert whole is not None
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_of_this_machine(tmp_path) == whole
    (tmp_path / "memory.max").write_text("1048576\n")
    assert memory_of_this_machine(tmp_path) == 1048576
    (tmp_path / "memory.max").unlink()
    monkeypatch.delattr(os, "sysconf")  # Windows has no such function
    monkeypatch.setitem(sys.modules, "resource", None)
    assert memory_of_this_machine(tmp_path) is None


PROBE = """
import resource
from transformer.system.memory import keep_freed_memory
kept = keep_freed_memory() if {keep} else None
for turn in range(12):
    if turn == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(8 * 2**20).replace(b"0", b"1") for _ in range(5)]
    del blocks
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def probe(keep: bool) -> tuple[str, int]:
    """Return what `keep_freed_memory` says in a process of its own, and how many pages that asked for afterwards."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", PROBE.format(keep=keep)]
    kept, pages = subprocess.run(command, capture_output=True, text=True, check=True, env=clean).stdout.split()
    return kept, int(pages)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other settings")
def test_freed_memory_is_used_again() -> None:
    kept, pages = probe(keep=True)
    assert kept == "True"
    assert pages < 2048 < probe(keep=False)[1], "a block has 2,048 pages"


def test_own_settings_of_the_c_library_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep_freed_memory()
