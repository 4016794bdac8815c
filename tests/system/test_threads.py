"""Workers give each result as soon as it is there, and all of them in order."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from transformer.system.threads import Workers


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
