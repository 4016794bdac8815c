"""Batches are about equal. Those that do not fit into memory are decoded in halves, with the same results."""

from __future__ import annotations

import dataclasses
import random
import threading
from typing import Any

import pytest
from support.toy import CPU, toy_pairs

from transformer.decoding.batches import DecodingSplitter, Piece, PieceBatch, cut_batches
from transformer.decoding.int8.build import library
from transformer.decoding.pieces import PieceDecoder
from transformer.decoding.translator import Translator, make_translator, with_settings
from transformer.errors import DeviceError
from transformer.system.processors import Processors

ALLOCATOR = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"


def with_beam(translator: Translator, beam: int) -> Translator:
    cfg = dataclasses.replace(translator.cfg, beam=beam)
    return make_translator(translator.model, translator.tokenizer, cfg, translator.max_length, CPU)


@pytest.mark.parametrize("beam", [1, 3])
def test_batches_that_do_not_fit_into_memory_are_decoded_in_halves(
    translator: Translator, beam: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If torch's allocator refuses batches of more than two sentences, the translations do not change."""
    lines = ["one two three", "nine", "four five", "six", "seven eight", "", "two two"]
    expected, ours = list(with_beam(translator, beam).translate(lines)), with_beam(translator, beam)
    search_all, tried = PieceDecoder._search, []

    def search_few(self: PieceDecoder, batch: PieceBatch) -> Any:
        tried.append(batch.tokens)
        if len(batch.pieces) > 2:
            raise RuntimeError(ALLOCATOR)
        return search_all(self, batch)

    monkeypatch.setattr(PieceDecoder, "_search", search_few)
    found = list(ours.translate(lines))
    assert [ways[0].text for ways in found] == [ways[0].text for ways in expected]
    assert [ways[0].score for ways in found] == pytest.approx([ways[0].score for ways in expected], abs=1e-4)
    half = tried[0] // 2
    expected_log = f"out of memory: decode.batch_tokens is lowered to {half}; the results stay the same"
    assert expected_log in caplog.messages
    caplog.clear()
    tried.clear()
    list(ours.translate(lines))  # the size that fits is remembered
    assert not caplog.messages
    assert max(tried) <= half


def test_a_sentence_that_does_not_fit_into_memory_is_named(
    translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(PieceDecoder, "_search", refuse)
    sentence = (
        r"a sentence of \d+ tokens, decoded with 2 hypotheses, does not fit into the memory of CPU, 1 threads: "
        "'nine one two'; lower decode.beam or data.max_length"
    )
    with pytest.raises(DeviceError, match=sentence):
        list(with_beam(translator, 2).translate(["nine one two", "one"]))


def test_other_errors_are_not_taken_for_out_of_memory(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("something else")

    monkeypatch.setattr(PieceDecoder, "_search", fail)
    with pytest.raises(RuntimeError, match="something else"):
        list(with_beam(translator, 4).translate(["one"]))


def test_halves_are_the_whole_in_order(translator: Translator) -> None:
    splitter = DecodingSplitter(CPU, translator.tokenizer, 100, translator.model.cfg)
    batch = PieceBatch([Piece([i]) for i in range(5)], beams=2, nbest=1)
    halves = splitter.halves(batch)
    assert halves is not None
    assert [each.pieces for each in halves] == [batch.pieces[:2], batch.pieces[2:]]
    assert splitter.size(batch) == 5 * 2 * 2
    assert splitter.halves(PieceBatch(batch.pieces[:1], beams=2, nbest=1)) is None


@pytest.mark.parametrize("batch_tokens", [40, 1000, 10**6])
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_get_equal_shares_and_batches_fit(workers: int, batch_tokens: int) -> None:
    rng = random.Random(batch_tokens)
    lengths = [rng.randint(1, 30) for _ in range(300)]
    batches = cut_batches(lengths, batch_tokens, workers)
    assert sorted(i for batch in batches for i in batch) == list(range(300))
    assert all(len(batch) * max(lengths[i] for i in batch) <= batch_tokens for batch in batches)
    shares = [sum(len(b) * lengths[b[0]] for b in batches[worker::workers]) for worker in range(workers)]
    assert max(shares) < 1.2 * min(shares)


def test_progress_counts_work_and_ends_with_all_lines(translator: Translator) -> None:
    """A batch of few long sentences is more than its share of the sentences."""
    small = with_settings(translator, dataclasses.replace(translator.cfg, beam=1, batch_tokens=30))
    pieces = [Piece([5] * length) for length in (29, 2, 2, 2, 2)]
    done: list[float] = []
    small.decoder.decoded = done.append
    small.decoder.decode(pieces, 1)
    assert done[0] == pytest.approx(5 * 30 / 42)
    assert sum(done) == pytest.approx(5)


@pytest.mark.skipif(library() is None, reason="needs the 8-bit kernels")
@pytest.mark.parametrize("count", [3, 16])
def test_many_workers_have_work_at_once_and_keep_the_order(
    translator: Translator, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """As on a machine of so many processors: no worker starts on a second batch before all have their first."""
    lines = [" ".join(pair.source.split()[: 1 + i % 5]) for i, pair in enumerate(toy_pairs(20 * count, 5))]
    expected = [ways[0].text for ways in translator.translate(lines)]
    monkeypatch.setattr("transformer.system.threads.available", lambda: Processors(count, 1))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ours = with_settings(translator, dataclasses.replace(translator.cfg, precision="int8"))
    decode, first, threads = ours.decoder.backend.decode, threading.Barrier(count), []

    def noted(*args: Any) -> Any:
        if threading.get_ident() not in threads:
            threads.append(threading.get_ident())
            first.wait(60)
        return decode(*args)

    monkeypatch.setattr(ours.decoder.backend, "decode", noted)
    assert [ways[0].text for ways in ours.translate(lines)] == expected
    assert len(threads) == count
