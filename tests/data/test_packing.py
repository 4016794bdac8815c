"""Packing keeps every token, in rows of constant shape, and is a pure function of the update."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import dataset, sentences
from support.toy import toy_pairs

from transformer.data import batching, packing
from transformer.data.dataset import Dataset, from_pairs
from transformer.data.packing import PackedBatch, RowPacker, choose_lengths, choose_slots, find_rows
from transformer.data.reading import UpdateReader
from transformer.data.tokenizer import Tokenizer
from transformer.system.distributed import Ranks

LENGTHS = (64, 128, 256)


def packers(data: Dataset, tok: Tokenizer, slots: int, count: int = 1, sampling: float = 0.0) -> list[RowPacker]:
    return [RowPacker(data, tok, tok.bos, slots, LENGTHS, sampling, 1, Ranks(rank, count)) for rank in range(count)]


def pairs_of(batch: PackedBatch, tok: Tokenizer) -> list[tuple[list[int], list[int]]]:
    """Return the pairs of ids that a batch holds, row by row, and check all that must hold of each."""
    found = []
    height = len(batch.block[0])
    assert torch.equal(batch.source == tok.pad, batch.source_sentences == 0)
    assert torch.equal(batch.answers == tok.pad, batch.input_sentences == 0)
    for r in range(height):
        numbers = batch.source_sentences[r]
        assert numbers.max() == batch.input_sentences[r].max()
        for number in range(1, int(numbers.max()) + 1):
            left, right = numbers == number, batch.input_sentences[r] == number
            for here, positions in ((left, batch.source_positions), (right, batch.input_positions)):
                places = here.nonzero().flatten().tolist()
                assert places == list(range(places[0], places[0] + len(places)))  # in one piece
                assert positions[r][here].tolist() == list(range(len(places)))
            source, inputs, answers = (
                plane[r][here].tolist()
                for plane, here in ((batch.source, left), (batch.inputs, right), (batch.answers, right))
            )
            assert (source[-1], inputs[0], answers[-1]) == (tok.eos, tok.bos, tok.eos)
            assert inputs[1:] == answers[:-1]
            found.append((source[:-1], answers[:-1]))
    return found


@settings(max_examples=40)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=60),
    slots=st.sampled_from([256, 512, 1024]),
    count=st.sampled_from([1, 2, 3, 8]),
)
def test_packing_keeps_every_pair(tok: Tokenizer, lengths: list[tuple[int, int]], slots: int, count: int) -> None:
    data = dataset(lengths)
    update = next(batching.updates(data, 10**6, 1, 0, 0))
    packed = [packer.pack(update) for packer in packers(data, tok, slots, count)]
    assert len({(each.count, each.tokens, each.update.index) for each in packed}) == 1
    batches = [batch for each in packed for batch in each.batches]
    assert sorted(i for batch in batches for i in batch.pair_ids.tolist()) == list(range(len(lengths)))
    positions = [place for each in packed for place in each.positions]
    assert len(set(positions)) == len(positions) == len(batches)
    assert all(0 <= place < packed[0].count for place in positions)
    assert packed[0].tokens == sum(batch.tokens for batch in batches) == sum(t + 1 for _, t in lengths)
    for batch in batches:
        left, right = data.ids(batch.pair_ids)
        expected = [(s.tolist(), t.tolist()) for s, t in zip(left, right, strict=True)]
        assert pairs_of(batch, tok) == expected
        assert batch.real == sum(len(s) + len(t) + 2 for s, t in expected)
        assert (batch.tokens, batch.size) == (sum(len(t) + 1 for _, t in expected), slots)
        assert batch.block.dtype == torch.int32
        assert batch.block.shape in [(7, slots // length, length) for length in LENGTHS]
    assert len({batch.block.shape for batch in batches}) == 1


def test_packing_is_a_pure_function(tok: Tokenizer) -> None:
    data = from_pairs(toy_pairs(60, 3, longest=20), tok)
    update = next(batching.updates(data, 500, 1, 0, 0))
    for sampling in (0.0, 0.5):
        one, other = (packers(data, tok, 512, 2, sampling)[1].pack(update) for _ in range(2))
        assert len(one.batches) > 0
        assert all(torch.equal(a.block, b.block) for a, b in zip(one.batches, other.batches, strict=True))


def test_samples_that_no_row_holds_are_not_used(tok: Tokenizer) -> None:
    """Only their pairs keep the best segmentation."""
    data, most = from_pairs(toy_pairs(60, 3, longest=14), tok), 63
    update = next(batching.updates(data, 10**6, 1, 0, 0))
    plain, free = (UpdateReader(data, tok, sampling, 1).read(update, 4096) for sampling in (0.0, 0.9))
    wanted = {}
    for side in (1, 2):
        best = dict(zip(plain[0].tolist(), (row.tolist() for row in plain[side]), strict=True))
        sampled = dict(zip(free[0].tolist(), (row.tolist() for row in free[side]), strict=True))
        assert max(map(len, best.values())) <= most < max(map(len, sampled.values()))
        wanted[side] = {i: best[i] if len(sampled[i]) > most else sampled[i] for i in best}
    packed = RowPacker(data, tok, tok.bos, 1280, (most + 1,), 0.9, 1).pack(update)
    assert len(packed.batches) == 2
    for batch in packed.batches:
        ids = batch.pair_ids.tolist()
        assert pairs_of(batch, tok) == [(wanted[1][i], wanted[2][i]) for i in ids]


def test_the_longest_row_holds_every_pair() -> None:
    assert choose_lengths(63) == (64,)
    assert choose_lengths(64) == (64, 128)
    assert choose_lengths(256) == (64, 128, 256, 512)


@pytest.mark.parametrize(("ranks", "mixed", "least"), [(1, False, 0.7), (4, False, 0.7), (1, True, 0.85)])
def test_nearly_every_update_is_one_batch_that_is_nearly_full(
    tok: Tokenizer, ranks: int, mixed: bool, least: float
) -> None:
    data, lengths = dataset(sentences(20_000)), choose_lengths(256)
    slots = choose_slots(data, 8000 * ranks, ranks, lengths, mixed)
    assert slots % lengths[-1] == 0
    assert slots == choose_slots(data, 8000 * ranks, ranks, lengths, mixed)
    packer = RowPacker(data, tok, tok.bos, slots, lengths, 0.0, 1, Ranks(ranks - 1, ranks))
    updates = itertools.islice(batching.updates(data, 8000 * ranks, 1, 0, 0, mixed), 40)
    packed = [packer.pack(update) for update in updates if not update.last]
    assert sum(len(each.batches) == 1 for each in packed) > 0.8 * len(packed)
    fill = np.mean([batch.real / batch.padded for each in packed for batch in each.batches])
    assert fill > least


def test_a_part_of_much_text_is_enough_to_choose_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    data, lengths = dataset(sentences(20_000), weights=(1.0, 2.0)), choose_lengths(256)
    whole = choose_slots(data, 8000, 1, lengths, mixed=True)
    monkeypatch.setattr(packing, "SAMPLED_PAIRS", 6000)
    read = []

    def order(part: Dataset, *rest: Any) -> Any:
        read.append(part.corpora)
        return batching.order(part, *rest)

    monkeypatch.setattr(packing, "order", order)
    assert choose_slots(data, 8000, 1, lengths, mixed=True) == pytest.approx(whole, rel=0.1)
    assert read == [((0, 2500, 1.0), (2500, 5000, 2.0))]


def test_few_batches_come_before_short_rows() -> None:
    """Sentences of 33 tokens waste half of rows of 64, a quarter of 128 and a tenth of 256."""
    sizes = np.full((2, 27), 33)
    assert [find_rows([sizes], slots, LENGTHS)[:2] for slots in (2048, 1280, 1024)] == [(64, 1), (128, 1), (256, 1)]
    assert find_rows([sizes], 768, LENGTHS)[:2] == (128, 2)


def test_the_batch_of_a_share_may_be_missing(tok: Tokenizer) -> None:
    data = dataset([(3, 4)] * 5)
    update = next(batching.updates(data, 10**6, 1, 0, 0))
    packed = [packer.pack(update) for packer in packers(data, tok, 256, 8)]
    assert [len(each.batches) for each in packed] == [1] * 5 + [0] * 3
    assert {(each.count, each.tokens) for each in packed} == {(8, 25)}
