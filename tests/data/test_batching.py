"""The pairs of an update are a pure function of seed, epoch and index, and cutting updates keeps every token."""

from __future__ import annotations

import math
import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import dataset, sentences
from support.toy import CPU, toy_pairs

from transformer.config import Config, ModelConfig, TrainConfig
from transformer.data import batching, corpus
from transformer.data.batching import cut_runs
from transformer.data.dataset import Dataset, from_pairs
from transformer.data.ragged import Ragged, rectangle
from transformer.data.reading import UpdateReader
from transformer.data.tokenizer import Tokenizer
from transformer.data_config import DataConfig
from transformer.errors import DataError
from transformer.system.distributed import Ranks
from transformer.system.threads import prefetch
from transformer.training.microbatch import micro_batch_tokens


def epoch(data: Dataset, tokens: int, seed: int, number: int) -> list[list[int]]:
    return [update.tolist() for update in batching.order(data, tokens, seed, number)]


def test_order_is_a_function_of_seed_and_epoch() -> None:
    data = dataset(sentences(500))
    first = epoch(data, 300, 1, 0)
    assert epoch(data, 300, 1, 0) == first
    assert epoch(data, 300, 1, 1) != first
    assert epoch(data, 300, 2, 0) != first


@pytest.mark.parametrize("tokens", [1, 30, 300, 10**6])
def test_an_epoch_has_every_pair_once(tokens: int) -> None:
    data = dataset(sentences(500))
    assert sorted(i for update in epoch(data, tokens, 1, 3) for i in update) == list(range(500))


@pytest.mark.parametrize("tokens", [30, 1000, 6000, 10**6])
def test_mixed_updates_have_every_pair_once_and_are_alike(tokens: int) -> None:
    lengths = sentences(3000)
    data = dataset(lengths)
    found = batching.order(data, tokens, 1, 3, mixed=True)
    assert sorted(i for update in found for i in update.tolist()) == list(range(3000))
    sizes = [sum(lengths[i][1] + 1 for i in update) for update in found]
    assert min(sizes) > 0
    assert len(found) == -(-sum(sizes) // tokens) or tokens == 30
    again = batching.order(data, tokens, 1, 3, mixed=True)
    assert [update.tolist() for update in again] == [update.tolist() for update in found]
    if tokens == 6000:
        assert max(sizes) - min(sizes) < 200
        plain = batching.order(data, tokens, 1, 3)
        spreads = [np.std([np.mean([lengths[i][0] for i in each]) for each in kind]) for kind in (found, plain)]
        assert spreads[0] < spreads[1] / 2


def test_mixed_updates_make_little_padding(tok: Tokenizer) -> None:
    """A run that began on a GPU may go on where updates are cut into rectangles."""
    data = dataset(sentences(10_000))
    (limit, tokens), wanted = (1000, 8000), (0.85, 0.93)
    for mixed, least in zip((True, False), wanted, strict=True):
        updates = _take(batching.updates(data, tokens, 1, 0, 0, mixed), 15)
        batches = [b for u in updates for b in cutter(data, tok, limit).cut(u).batches]
        assert sum(b.real for b in batches) / sum(b.padded for b in batches) > least


def test_weights_set_how_often_a_pair_is_drawn() -> None:
    data = dataset(sentences(300), weights=(2.0, 0.5, 1.0))
    seen = [Counter(i for update in epoch(data, 300, 1, n) for i in update) for n in range(2)]
    for counts in seen:
        assert all(counts[i] == 2 for i in range(100))
        assert sum(counts[i] for i in range(100, 200)) == 50
        assert all(counts[i] == 1 for i in range(200, 300))
    assert {i for i in range(100, 200) if seen[0][i]} != {i for i in range(100, 200) if seen[1][i]}


@settings(max_examples=50)
@given(
    rows=st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(-300, 300), st.integers(0, 2**17)), max_size=50),
    repeat=st.integers(1, 3),
)
def test_sorting_equals_that_of_numpy(rows: list[tuple[int, int, int]], repeat: int) -> None:
    columns = list(zip(*(rows * repeat), strict=True)) or [(), (), ()]
    keys = [np.array(each, dtype) for each, dtype in zip(columns, (np.uint64, np.int64, np.int64), strict=True)]
    for chosen in (keys, keys[1:], keys[1:2], [keys[1].astype(float), keys[2]]):
        assert batching.sorted_by(*chosen).tolist() == np.lexsort(chosen).tolist()


def test_updates_have_the_configured_size() -> None:
    lengths = sentences(3000)
    sizes = [sum(lengths[i][1] + 1 for i in update) for update in epoch(dataset(lengths), 1000, 1, 0)]
    assert max(sizes) < 1000 + 200
    assert sum(sizes) / len(sizes) == pytest.approx(1000, rel=0.05)


def test_resuming_mid_epoch_continues_the_order() -> None:
    data = dataset(sentences(200))
    whole = batching.updates(data, 300, 1, 0, 0)
    items = [next(whole) for _ in range(40)]
    middle = items[17]
    again = batching.updates(data, 300, 1, middle.epoch, middle.index)
    for item in items[17:]:
        other = next(again)
        assert (other.epoch, other.index, other.last, other.pair_ids.tolist()) == (
            item.epoch, item.index, item.last, item.pair_ids.tolist(),
        )  # fmt: skip


def test_the_next_order_is_computed_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    data, computed = dataset(sentences(200)), threading.Event()
    original = batching.order

    def order(dataset: Dataset, tokens: int, seed: int, epoch: int, mixed: bool) -> Any:
        found = original(dataset, tokens, seed, epoch, mixed)
        if epoch == 1:
            computed.set()
        return found

    monkeypatch.setattr(batching, "order", order)
    updates = batching.updates(data, 300, 1, 0, 0)
    seen = next(updates)
    assert not computed.wait(0.05)
    while not (seen := next(updates)).last:
        pass
    assert computed.wait(60)
    assert (seen.epoch, next(updates).epoch) == (0, 1)


def test_an_epoch_that_has_become_shorter_is_over() -> None:
    found = next(batching.updates(dataset(sentences(20)), 300, 1, 4, 1000))
    assert (found.epoch, found.index) == (5, 0)


def test_an_order_that_fails_is_reported() -> None:
    with pytest.raises(DataError, match="an epoch has no pair"):
        next(batching.updates(dataset(sentences(3), weights=(0.0,)), 300, 1, 0, 0))


def cutter(data: Dataset, tok: Tokenizer, limit: int, sampling: float = 0.0) -> batching.BatchCutter:
    return batching.BatchCutter(UpdateReader(data, tok, sampling, 1), tok.bos, limit)


@settings(max_examples=40)
@given(
    limit=st.integers(1, 400),
    lengths=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=40),
)
def test_cutting_keeps_every_token(tok: Tokenizer, limit: int, lengths: list[tuple[int, int]]) -> None:
    data = dataset(lengths)
    update = next(batching.updates(data, 10**6, 1, 0, 0))
    batches = cutter(data, tok, limit).cut(update).batches
    assert sorted(i for batch in batches for i in batch.pair_ids.tolist()) == list(range(len(lengths)))
    assert sum(batch.tokens for batch in batches) == sum(t + 1 for _, t in lengths)
    assert sum(batch.real for batch in batches) == sum(s + t + 2 for s, t in lengths)
    for batch in batches:
        widest = max(batch.source_BS.shape[1], batch.input_BT.shape[1])
        assert len(batch.pair_ids) * widest <= limit or len(batch.pair_ids) == 1
        check(batch, data, tok)


def check(batch: batching.Batch, data: Dataset, tok: Tokenizer) -> None:
    """Check that each row has its pair, with start token, eos and padding in the right places."""
    answers = iter(batch.target_N.tolist())
    places = []
    for row, i in enumerate(batch.pair_ids.tolist()):
        (source,), (target,) = data.ids(np.array([i]))
        source_row, input_row = batch.source_BS[row].tolist(), batch.input_BT[row].tolist()
        assert source_row == [*source, tok.eos] + [tok.pad] * (len(source_row) - len(source) - 1)
        assert input_row == [tok.bos, *target] + [tok.pad] * (len(input_row) - len(target) - 1)
        assert [next(answers) for _ in range(len(target) + 1)] == [*target, tok.eos]
        places += [row * len(input_row) + t for t in range(len(target) + 1)]
    assert batch.places_N.tolist() == places


@pytest.mark.parametrize("width", [256, 512])
@pytest.mark.parametrize("tokens", [1024, 2048, 4096])
def test_little_padding(tok: Tokenizer, tokens: int, width: int) -> None:
    """Updates are cut as in training on a CPU, for a small model and the paper's base model."""
    data = dataset(sentences(30_000))
    settings = TrainConfig(batch_tokens=tokens), ModelConfig(width=width)
    cfg = Config(data=DataConfig(source="en", target="de", train=()), train=settings[0], model=settings[1])
    cut = cutter(data, tok, micro_batch_tokens(cfg, CPU))
    batches = [b for u in list(_take(batching.updates(data, tokens, 1, 0, 0), 100)) for b in cut.cut(u).batches]
    assert sum(b.real for b in batches) / sum(b.padded for b in batches) > 0.95


def test_an_update_is_cut_into_equal_halves() -> None:
    longest = np.repeat([5, 6, 7, 8], 50)
    runs = cut_runs(longest, longest, 1000)
    assert len(runs) == 2
    assert np.concatenate(runs).tolist() == list(range(200))
    first, second = (int(longest[run].sum()) for run in runs)
    assert first == pytest.approx(second, rel=0.02)


def former_runs(longest: Any, limit: int) -> list[list[int]]:
    """Return the runs of version 0.5, whose batches a run must find again when it is resumed."""
    runs: list[list[int]] = []
    run = [0]
    for i in range(1, len(longest)):
        if max(longest[run[0] : i + 1]) * (len(run) + 1) > limit:
            runs, run = [*runs, run], []
        run = [*run, i]
    runs = [*runs, run]
    count = 2 * -(-len(runs) // 2)
    if len(runs) == 1 or count > len(longest):
        return runs
    mass = np.cumsum(longest)
    cuts = np.searchsorted(mass, mass[-1] * np.arange(1, count) / count)
    equal = [run.tolist() for run in np.split(np.arange(len(longest)), cuts) if len(run)]
    return equal if all(max(longest[run]) * len(run) <= limit or len(run) == 1 for run in equal) else runs


LONGEST = st.lists(st.integers(1, 40), min_size=1, max_size=60).map(np.array)


@settings(max_examples=200)
@given(longest=LONGEST, limit=st.integers(1, 400))
def test_one_process_on_a_cpu_cuts_as_it_always_did(longest: Any, limit: int) -> None:
    assert [run.tolist() for run in cut_runs(longest, longest[::-1].clip(max=longest), limit)] == former_runs(
        longest, limit
    )


@settings(max_examples=200)
@given(longest=LONGEST, limit=st.integers(1, 400), processes=st.sampled_from([1, 2, 3, 8]), workers=st.integers(1, 2))
def test_runs_are_whole_and_within_the_limit(longest: Any, limit: int, processes: int, workers: int) -> None:
    runs = cut_runs(longest, longest[::-1].clip(max=longest), limit, processes, workers)
    assert np.concatenate(runs).tolist() == list(range(len(longest)))
    assert all(longest[run].max() * len(run) <= limit or len(run) == 1 for run in runs)
    assert len(runs) >= min(processes, len(longest))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_processes_share_an_update(tok: Tokenizer, count: int, workers: int) -> None:
    """Together they have each pair once and each position once; each has about as many tokens as the others."""
    data, tokens = dataset(sentences(8000)), 20_000
    reader = UpdateReader(data, tok, 0.0, 1)
    limit = math.ceil(1.15 * tokens / count / workers)
    cutters = [batching.BatchCutter(reader, tok.bos, limit, Ranks(rank, count), workers) for rank in range(count)]
    for update in _take(batching.updates(data, tokens, 1, 0, 0), 8):
        cuts = [cutter.cut(update) for cutter in cutters]
        parts = [batch for cut in cuts for batch in cut.batches]
        assert sorted(i for batch in parts for i in batch.pair_ids.tolist()) == sorted(update.pair_ids.tolist())
        assert sorted(place for cut in cuts for place in cut.positions) == list(range(cuts[0].count))
        assert cuts[0].count % (count * workers) == 0 or count == 1
        assert {(cut.count, cut.tokens) for cut in cuts} == {(len(parts), sum(batch.tokens for batch in parts))}
        sizes = [sum(batch.real for batch in cut.batches) for cut in cuts]
        assert max(sizes) < 1.1 * min(sizes)
        assert {len(cut.batches) for cut in cuts} == {cuts[0].count // count}


def test_a_batch_goes_to_a_gpu_in_one_piece(tok: Tokenizer) -> None:
    data = dataset(sentences(30))
    (batch,) = cutter(data, tok, 10**6).cut(next(batching.updates(data, 10**6, 1, 0, 0))).batches
    buffer = batch.packed(pin=False)
    assert (buffer.dtype, buffer.ndim) == (torch.int32, 1)
    again = batch.unpacked(buffer.long())
    for name in ("source_BS", "input_BT", "target_N", "places_N"):
        assert torch.equal(getattr(again, name), getattr(batch, name))
        assert getattr(again, name).dtype == torch.int64
    assert batch.to(torch.device("meta")).input_BT.shape == batch.input_BT.shape


def test_processes_without_a_sentence_have_no_batch(tok: Tokenizer) -> None:
    data = dataset([(3, 4)] * 5)
    reader = UpdateReader(data, tok, 0.0, 1)
    update = next(batching.updates(data, 10**6, 1, 0, 0))
    cuts = [batching.BatchCutter(reader, tok.bos, 100, Ranks(rank, 8), 1).cut(update) for rank in range(8)]
    assert [len(cut.batches) for cut in cuts] == [1] * 5 + [0] * 3
    assert {(cut.count, cut.tokens) for cut in cuts} == {(5, 25)}


def test_one_batch_an_update_is_possible(tok: Tokenizer) -> None:
    """On a GPU, what fits the limit is one batch; two workers would need two."""
    data = dataset(sentences(100))
    reader = UpdateReader(data, tok, 0.0, 1)
    update = next(batching.updates(data, 10**6, 1, 0, 0))
    assert batching.BatchCutter(reader, tok.bos, 10**6, workers=1).cut(update).count == 1
    longest = np.repeat([5, 6, 7], 50)
    assert [len(cut_runs(longest, longest, limit, workers=1)) for limit in (1000, 400)] == [2, 3]


def test_a_process_reads_no_sentence_of_another(tok: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    data, read = dataset(sentences(400)), 0
    original = Ragged.flat

    def flat(self: Ragged) -> Any:
        nonlocal read
        read += len(self)
        return original(self)

    monkeypatch.setattr(Ragged, "flat", flat)
    update = next(batching.updates(data, 4000, 1, 0, 0))
    cut = batching.BatchCutter(UpdateReader(data, tok, 0.0, 1), tok.bos, 1000, Ranks(1, 4), 1).cut(update)
    once = sum(len(batch.pair_ids) for batch in cut.batches)
    assert 0 < 3 * once < len(update.pair_ids)
    assert read == 2 * once  # both sides


@given(
    rows=st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=6),
    first=st.none() | st.just(7),
    last=st.none() | st.just(8),
)
def test_a_rectangle_has_each_row_once(rows: list[list[int]], first: int | None, last: int | None) -> None:
    left, right = [[] if end is None else [end] for end in (first, last)]
    whole = [[*left, *row, *right] for row in rows]
    width = max(map(len, whole))
    made = rectangle(rows, -1, first, last)
    assert made.shape == (len(rows), width)
    assert made.tolist() == [row + [-1] * (width - len(row)) for row in whole]


def test_the_order_is_not_biased() -> None:
    """The position of a pair in an epoch is independent of its length, and its neighbours change between epochs."""
    lengths = sentences(30_000)
    data = dataset(lengths)
    orders = [epoch(data, 2048, 1, number) for number in range(8)]
    target = np.array([t for _, t in lengths])
    for updates in orders:
        means = np.array([target[update].mean() for update in updates])
        ranks = np.argsort(np.argsort(means))
        assert abs(np.corrcoef(np.arange(len(means)), ranks)[0, 1]) < 4 / len(means) ** 0.5
    places = np.empty((len(orders), len(lengths)))
    for number, updates in enumerate(orders):
        for place, update in enumerate(updates):
            places[number, update] = place / len(updates)
    assert abs(np.corrcoef(places[0], places[1])[0, 1]) < 0.1
    long, short = target > np.quantile(target, 0.9), target < np.quantile(target, 0.1)
    assert places[:, long].mean() == pytest.approx(0.5, abs=0.05)
    assert places[:, short].mean() == pytest.approx(0.5, abs=0.05)
    groups = [{i: set(update) for update in updates for i in update} for updates in orders[:2]]
    same = [len(groups[0][i] & groups[1][i]) / len(groups[0][i]) for i in range(0, 30_000, 50)]
    assert sum(same) / len(same) < 0.6


def _take(items: Any, count: int) -> Any:
    for _, item in zip(range(count), items, strict=False):
        if item.epoch:
            return
        yield item


def test_subword_sampling_is_a_function_of_the_update(tok: Tokenizer) -> None:
    pairs = from_pairs([corpus.Pair("seven eight nine", "neun acht sieben")] * 20, tok)
    updates = batching.updates(pairs, 40, 1, 0, 0)
    first, second = next(updates), next(updates)
    cut = cutter(pairs, tok, 100, sampling=0.5)
    drawn = [[b.target_N.tolist() for b in cut.cut(u).batches] for u in (first, first, second)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    for batch in cut.cut(first).batches:
        rows = [[i for i in row if i not in (tok.pad, tok.bos)] for row in batch.input_BT.tolist()]
        assert set(tok.decode(rows)) == {"neun acht sieben"}


def test_little_padding_with_subword_sampling(tok: Tokenizer) -> None:
    pairs = from_pairs(toy_pairs(2000, 3, longest=20), tok)
    cut = cutter(pairs, tok, 500, sampling=0.1)
    batches = [b for u in _take(batching.updates(pairs, 2000, 1, 0, 0), 10) for b in cut.cut(u).batches]
    assert sum(b.real for b in batches) / sum(b.padded for b in batches) > 0.83


def test_the_prefetcher_returns_what_is_ready() -> None:
    ahead = prefetch(iter(range(10)))
    found: list[int] = []
    while ready := ahead.take(3):
        assert len(ready) <= 3
        found += ready
    assert found == list(range(10))
    assert ahead.take(3) == []


def test_the_prefetcher_keeps_order_and_passes_on_errors() -> None:
    assert list(prefetch(iter(range(50)))) == list(range(50))

    def broken() -> Any:
        yield 1
        raise ZeroDivisionError

    ahead = prefetch(broken())
    assert next(ahead) == 1
    with pytest.raises(ZeroDivisionError):
        next(ahead)
    endless = prefetch(iter(int, 1))
    next(endless)
    endless.close()
    assert not endless.thread.is_alive()
