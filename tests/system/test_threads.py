"""Workers give each result as soon as it is there, and all of them in order."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from transformer.system.processors import Processors
from transformer.system.threads import Workers, start_single_threads


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_while_work_is_in_progress(count: int) -> None:
    """A progress bar can only be shown so: with a list of all results it would stand still until the end."""
    seen = threading.Event()

    def work(item: int) -> int:
        assert item == 0 or seen.wait(30)
        return -item

    with ThreadPoolExecutor(count) as pool:
        found = []
        for result in Workers(pool if count > 1 else None, count).results(work, range(5)):
            seen.set()
            found.append(result)
    assert found == [0, -1, -2, -3, -4]


def test_an_error_of_an_item_is_raised() -> None:
    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError):
        Workers(pool, 2).map(lambda item: 1 // item, [2, 1, 0])


@pytest.mark.parametrize(
    ("there", "torch_has", "told", "count"),
    [
        (Processors(16, 8), 8, None, 16),  # hyperthreads too
        (Processors(16, 16), 16, None, 16),
        (Processors(3, 3), 3, None, 3),
        (Processors(1, 1), 1, None, 1),
        (Processors(16, 8), 2, None, 2),  # a program has called torch.set_num_threads
        (Processors(16, 8), 8, "8", 8),
        (Processors(2, 1), 1, None, 2),
    ],
)
def test_single_threads_use_all_that_can_run(
    there: Processors, torch_has: int, told: str | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformer.system.threads.available", lambda: there)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    before = torch.get_num_threads()
    torch.set_num_threads(torch_has)
    try:
        workers = start_single_threads()
        assert workers.count == count
        if count > 1:
            together = threading.Barrier(count)
            found = workers.map(lambda _: (together.wait(30) >= 0, torch.get_num_threads()), range(count))
            assert found == [(True, 1)] * count
    finally:
        torch.set_num_threads(before)
