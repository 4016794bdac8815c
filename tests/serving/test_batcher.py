"""Work of many clients shares batches and gets its own answers; no client holds up another."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from typing import Any

import pytest

from transformer.errors import DataError
from transformer.serving.batcher import Batcher, Task, start_batcher
from transformer.serving.limits import Limits, RateLimiter, RefusalError


class Model:
    """Doubles numbers. It can be held, and refuses 13."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.free = threading.Event()
        self.free.set()
        self.task = Task("double", self.run, lambda items: [1] * len(items))
        self.other = Task("negate", lambda items: [-item for item in items], lambda items: [1] * len(items))

    def run(self, items: list[Any]) -> Sequence[Any]:
        self.batches.append(items)
        self.free.wait(10)
        if 13 in items:
            raise DataError("13 is not doubled")
        return [2 * item for item in items]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    started = start_batcher(Limits(batch_tokens=4, queue=100))
    yield started
    assert started.close(5)


def hold(model: Model, batcher: Batcher) -> None:
    """Make the model work on an item until `free` is set, so that what comes next waits together."""
    model.free.clear()
    batcher.submit(model.task, [0], "holder")
    while not model.batches:
        time.sleep(0.001)


def test_each_client_gets_its_answers_in_order(model: Model, batcher: Batcher) -> None:
    wanted = {client: [100 * client + i for i in range(client % 7)] for client in range(30)}
    answers = {client: batcher.submit(model.task, items, str(client)) for client, items in wanted.items()}
    for client, items in wanted.items():
        assert answers[client].result(5) == [2 * item for item in items]
    assert batcher.waiting == 0


def test_clients_share_batches_and_take_turns(model: Model, batcher: Batcher) -> None:
    hold(model, batcher)
    long = batcher.submit(model.task, [1, 2, 3, 4, 5, 6], "a")
    short = batcher.submit(model.task, [7], "b")
    model.free.set()
    wait([long, short], 5)
    assert model.batches[1:] == [[1, 7, 2, 3], [4, 5, 6]]


def test_the_parts_of_a_long_item_take_turns_with_the_items_of_others(model: Model, batcher: Batcher) -> None:
    """Each number is cut into ones. A long one holds up nobody, and gets its own parts back, in their order."""
    sums = model.task._replace(name="sum", cut=lambda item: list(range(item)), join=lambda parts, found: (parts, found))
    hold(model, batcher)
    long = batcher.submit(sums, [6, 0, 2], "a")
    short, empty = batcher.submit(sums, [1], "b"), batcher.submit(sums, [0], "c")
    model.free.set()
    doubles = [(list(range(n)), [2 * part for part in range(n)]) for n in range(7)]
    assert long.result(5) == [doubles[6], doubles[0], doubles[2]]
    assert (short.result(5), empty.result(5)) == ([doubles[1]], [doubles[0]])
    assert model.batches[1:] == [[0, 0, 1, 2], [3, 4, 5, 0], [1]]
    assert batcher.waiting == 0


def test_an_item_is_cut_when_its_turn_comes(model: Model, batcher: Batcher) -> None:
    cuts: list[tuple[int, int]] = []

    def cut(item: int) -> list[int]:
        cuts.append((item, len(model.batches)))
        return [item]

    hold(model, batcher)
    long = batcher.submit(model.task._replace(cut=cut), list(range(1, 9)), "a")
    model.free.set()
    assert long.result(5) == list(range(2, 18, 2))
    assert cuts == [(item, 1 if item <= 5 else 2) for item in range(1, 9)]  # the fifth did not fit


def test_a_fault_in_cutting_fails_its_request_only(model: Model, batcher: Batcher, said: list[str]) -> None:
    broken = model.task._replace(cut=lambda item: [6 // (3 - item)])
    hold(model, batcher)
    bad, good = batcher.submit(broken, [1, 2, 3, 4], "a"), batcher.submit(broken, [1], "b")
    model.free.set()
    assert good.result(5) == [6]
    with pytest.raises(ZeroDivisionError):
        bad.result(5)
    assert batcher.submit(model.task, [1], "a").result(5) == [2]
    assert (batcher.waiting, said) == (0, ["a request failed"])


def test_a_fault_in_joining_fails_its_request_only(model: Model, batcher: Batcher, said: list[str]) -> None:
    broken = model.task._replace(join=lambda parts, found: found[1])
    with pytest.raises(IndexError):
        batcher.submit(broken, [1], "a").result(5)
    assert batcher.submit(model.task, [1], "a").result(5) == [2]
    assert (batcher.waiting, said) == (0, ["a request failed"])


def test_a_batch_has_one_task_and_none_is_forgotten(model: Model, batcher: Batcher) -> None:
    hold(model, batcher)
    answers = [batcher.submit(model.other if i % 2 else model.task, [i, i], "a") for i in range(9)]
    model.free.set()
    assert [each.result(5)[0] for each in answers] == [-i if i % 2 else 2 * i for i in range(9)]


def test_tasks_take_turns_too(model: Model) -> None:
    batcher = start_batcher(Limits(batch_tokens=1))
    done: list[Any] = []
    hold(model, batcher)
    for item, task in ((1, model.task), (2, model.other), (3, model.task), (4, model.other)):
        batcher.submit(task, [item], "a").add_done_callback(lambda answer: done.append(answer.result()))
    model.free.set()
    assert batcher.close(5)
    assert done == [[2], [-2], [6], [-4]]


def test_what_was_given_up_in_a_batch_that_fails_is_forgotten(batcher: Batcher, model: Model) -> None:
    runs: list[list[int]] = []

    def run(items: list[int]) -> list[int]:
        runs.append(items)
        answers[1].cancel()
        raise DataError("no")

    task = Task("fail", run, lambda items: [1])
    hold(model, batcher)
    answers = [batcher.submit(task, [item], "a") for item in (1, 2)]
    model.free.set()
    with pytest.raises(DataError):
        answers[0].result(5)
    assert batcher.submit(model.task, [5], "a").result(5) == [10]
    assert runs == [[1, 2], [1]]
    assert batcher.waiting == 0


def test_a_large_item_is_alone_and_waits_for_none(model: Model) -> None:
    batcher = start_batcher(Limits(batch_tokens=4))
    sized = Task("double", model.run, lambda items: list(items))
    hold(model, batcher)
    answers = batcher.submit(sized, [1, 1000, 2, 3], "a")
    model.free.set()
    assert answers.result(5) == [2, 2000, 4, 6]
    assert model.batches[1:] == [[1], [1000], [2], [3]]
    assert batcher.close(5)


def test_an_item_that_fails_fails_its_request_only(model: Model, batcher: Batcher, said: list[str]) -> None:
    hold(model, batcher)
    good, bad, other = (batcher.submit(model.task, items, "a") for items in ([1], [2, 13, 3], [4]))
    model.free.set()
    assert (good.result(5), other.result(5)) == ([2], [8])
    with pytest.raises(DataError, match="13 is not doubled"):
        bad.result(5)
    assert batcher.submit(model.task, [5], "a").result(5) == [10]
    assert batcher.waiting == 0
    assert said == []


def test_a_fault_of_the_program_is_logged_and_survived(model: Model, batcher: Batcher, said: list[str]) -> None:
    broken = Task("break", lambda items: [items[0] / 0], lambda items: [1])
    unmeasurable = Task("measure", lambda items: items, lambda items: [items[0] / 0])
    for task in (broken, unmeasurable):
        with pytest.raises(ZeroDivisionError):
            batcher.submit(task, [1], "a").result(5)
    assert batcher.submit(model.task, [1], "a").result(5) == [2]
    assert said == ["a request failed"] * 2


def test_what_was_given_up_is_not_processed(model: Model, batcher: Batcher) -> None:
    hold(model, batcher)
    given_up = batcher.submit(model.task, [1, 2, 3], "a")
    kept = batcher.submit(model.task, [4], "b")
    assert given_up.cancel()
    model.free.set()
    assert kept.result(5) == [8]
    assert model.batches[1:] == [[4]]
    assert batcher.waiting == 0


def test_the_queue_is_bounded_and_no_client_fills_it(model: Model, batcher: Batcher) -> None:
    hold(model, batcher)
    kept = [batcher.submit(model.task, [1] * 50, "a")]
    with pytest.raises(RefusalError, match="Slowdown: too many of your texts are waiting") as greedy:
        batcher.submit(model.task, [1], "a")
    assert greedy.value.status == 429
    kept.append(batcher.submit(model.task, [2] * 49, "b"))
    with pytest.raises(RefusalError, match="The server is busy: its queue is full") as full:
        batcher.submit(model.task, [1], "c")
    assert (full.value.status, full.value.retry) == (503, 1)
    model.free.set()
    assert [len(each.result(5)) for each in kept] == [50, 49]
    assert batcher.submit(model.task, [1] * 50, "a").result(5) == [2] * 50


def test_what_waits_is_done_before_the_end(model: Model) -> None:
    batcher = start_batcher(Limits(batch_tokens=1))
    hold(model, batcher)
    answer = batcher.submit(model.task, [1, 2, 3], "a")
    assert not batcher.close(0.01)
    assert not batcher.alive
    with pytest.raises(RefusalError, match="The server is stopping"):
        batcher.submit(model.task, [1], "a")
    model.free.set()
    assert batcher.close(5)
    assert answer.result(0) == [2, 4, 6]


def test_requests_of_a_client_are_counted_by_the_minute() -> None:
    now = [0.0]
    limiter = RateLimiter(3, lambda: now[0])
    for _ in range(3):
        limiter.check("a")
    with pytest.raises(RefusalError, match="Slowdown: 3 per 1 minute") as refused:
        limiter.check("a")
    assert (refused.value.status, refused.value.retry) == (429, 21)
    limiter.check("b")
    now[0] = 21
    limiter.check("a")
    with pytest.raises(RefusalError):
        limiter.check("a")
    now[0] = 1000
    for _ in range(3):
        limiter.check("a")
    with pytest.raises(RefusalError):
        limiter.check("a")
    for client in range(20_000):
        limiter.check(str(client))
    assert len(limiter._buckets) == 10_000


def test_a_client_that_goes_away_while_its_batch_is_filled_holds_up_nobody(model: Model, batcher: Batcher) -> None:
    """One item is in the batch already when the request is seen again, given up."""

    class Sizes(list[int]):
        def __getitem__(self, place: Any) -> Any:
            gone.cancel()
            return 1

    hold(model, batcher)
    task = Task("gone", lambda items: items, lambda items: Sizes([1] * len(items)))
    gone = batcher.submit(task, ["a", "b"], "gone")
    model.free.set()
    assert batcher.submit(model.task, [2], "next").result(5) == [4]
    assert gone.cancelled()
    assert batcher.waiting == 0


def test_a_fault_of_a_task_does_not_end_the_thread(model: Model, batcher: Batcher) -> None:
    with pytest.raises(ValueError, match="zip"):
        batcher.submit(Task("short", lambda items: items[1:], lambda items: [1] * len(items)), [1, 2], "a").result(5)
    assert batcher.submit(model.task, [2], "next").result(5) == [4]
