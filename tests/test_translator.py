"""Text in, text out: one line for a line, the same alone or among others."""

from __future__ import annotations

import dataclasses
import logging
import random
from typing import Any

import pytest
import torch
from support.toy import CPU, toy_pairs

from transformer.decoding import search
from transformer.decoding.translator import Piece, Translation, Translator
from transformer.errors import ConfigError, DeviceError

LINES = [pair.source for pair in toy_pairs(60, 11)]


def changed(translator: Translator, **decode: Any) -> Translator:
    cfg = dataclasses.replace(translator.cfg, **decode)
    return Translator(translator.model, translator.tok, cfg, translator.max_length, CPU)


def texts(found: list[list[Translation]]) -> list[str]:
    return [each[0].text for each in found]


def test_the_toy_task_was_learned(translator: Translator) -> None:
    pairs = toy_pairs(200, 12)
    found = texts(list(translator.translate(pair.source for pair in pairs)))
    right = sum(text == pair.target for text, pair in zip(found, pairs, strict=True))
    assert right > 180


SETTINGS: list[dict[str, Any]] = [{"beam": 1}, {"beam": 4}, {"sampling": True, "top_p": 0.9}]


@pytest.mark.parametrize("how", SETTINGS, ids=["greedy", "beam", "sampling"])
def test_the_same_alone_or_in_any_batch_and_order(translator: Translator, how: dict[str, Any]) -> None:
    together = list(changed(translator, **how).translate(LINES))
    alone = [next(changed(translator, **how, batch_tokens=1).translate([line])) for line in LINES]
    order = random.Random(1).sample(range(len(LINES)), len(LINES))
    shuffled = list(changed(translator, **how, batch_tokens=97).translate([LINES[i] for i in order]))
    for i, (one, other) in enumerate(zip(together, alone, strict=True)):
        assert one[0].text == other[0].text
        assert one[0].score == pytest.approx(other[0].score, abs=1e-4)
        assert shuffled[order.index(i)][0].text == one[0].text


@pytest.mark.parametrize("how", SETTINGS, ids=["greedy", "beam", "sampling"])
def test_score_returns_what_translate_gave(translator: Translator, how: dict[str, Any]) -> None:
    engine = changed(translator, **how)
    sources = engine.tok.encode_source(LINES)
    found = [each[0] for each in engine.translate(LINES)]
    scored = engine.score_ids(sources, [list(t.ids) for t in found])
    for one, other in zip(found, scored, strict=True):
        assert other.text == one.text
        assert other.log_prob == pytest.approx(one.log_prob, abs=1e-3)
        assert other.score == pytest.approx(one.score, abs=1e-3)


def test_cached_search_equals_computing_everything_anew(translator: Translator) -> None:
    """The same search over a state without a cache, which runs the whole model at each step."""

    class Anew:
        def __init__(self, source: torch.Tensor, beams: int) -> None:
            self.source, self.ids = source.repeat_interleave(beams, 0), torch.zeros(len(source) * beams, 0).long()
            self.beams = beams

        def step(self, last: torch.Tensor) -> torch.Tensor:
            self.ids = torch.cat((self.ids, last[:, None]), 1)
            return translator.model(self.source, self.ids)[:, -1]

        def select(self, rows: torch.Tensor, sentences: torch.Tensor | None) -> None:
            self.source, self.ids = self.source[rows], self.ids[rows]

    tok, source = translator.tok, translator.tok.encode_source(LINES)
    source_bs = translator._tensor(source, last=tok.eos)
    task = search.SearchTask(
        start=tok.bos, eos=tok.eos, banned=(tok.pad, tok.bos), limits=[len(s) + 9 for s in source], best=3
    )
    with torch.inference_mode():
        cached = search.beam_search(translator.model.start(source_bs, 3), 3, task)
        plain = search.beam_search(Anew(source_bs, 3), 3, task)
    for mine, truth in zip(cached, plain, strict=True):
        assert [h.ids for h in mine] == [h.ids for h in truth]
        assert [h.score for h in mine] == pytest.approx([h.score for h in truth], abs=1e-4)


def test_empty_lines_stay_empty_and_in_place(translator: Translator) -> None:
    lines = ["", "one two", "  ", "\t", "three", "\u2028", ""]
    found = texts(list(translator.translate(lines)))
    assert [bool(text) for text in found] == [False, True, False, False, True, False, False]


def test_nbest_differ_and_fall_in_score(translator: Translator) -> None:
    for found in translator.translate(LINES[:20], best=4):
        assert len({t.ids for t in found}) == 4
        assert [t.score for t in found] == sorted((t.score for t in found), reverse=True)
    with pytest.raises(ConfigError, match="5 translations need a beam of at least 5, not 4"):
        next(translator.translate(["one"], best=5))


def test_sampling_is_seeded(translator: Translator) -> None:
    hot = {"sampling": True, "temperature": 2.0}
    first = texts(list(changed(translator, **hot).translate(LINES)))
    assert texts(list(changed(translator, **hot).translate(LINES))) == first
    assert texts(list(changed(translator, **hot, seed=2).translate(LINES))) != first
    several = next(changed(translator, **hot).translate(["one two three four"], best=5))
    assert len({t.text for t in several}) > 1


def test_prefixes_begin_translations(translator: Translator) -> None:
    prefixes = ["neun neun", "", "acht"]
    found = texts(list(translator.translate(["one two", "one two", "one two"], prefixes=prefixes)))
    assert all(text.startswith(prefix) for text, prefix in zip(found, prefixes, strict=True))
    assert found[1] == "zwei eins"
    with pytest.raises(ConfigError, match="line 2 has none"):
        list(translator.translate(["one", "two"], prefixes=["eins"]))


def test_long_lines_are_cut_translated_and_joined(
    translator: Translator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformer"), "propagate", True)
    lines = ["one two", " ".join(pair.source + "." for pair in toy_pairs(30, 13)), "two " * 1000, "x" * 5000]
    found = texts(list(translator.translate(lines)))
    warned = [record.args[0] for record in caplog.records if record.args]  # type: ignore[index]
    assert list(dict.fromkeys(warned)) == [2, 3, 4]
    assert found[0] == "zwei eins"
    for line, text in zip(lines[1:], found[1:], strict=True):
        pieces = translator._pieces(line, translator.tok.encode_source([line])[0], 1)
        alone = translator.tok.decode([found[0].ids for found in translator._decode([Piece(p, []) for p in pieces], 1)])
        assert len(pieces) > 1
        assert text == " ".join(filter(None, alone))


def test_pieces_lose_nothing(translator: Translator) -> None:
    for line in (
        "one two. three! four? " * 20,
        "one " * 200,
        "a" * 300,
        "eins 二 三。四五！" * 30,
        'He said "Go." (So he left.) Bye! ' * 9,
    ):
        ids = translator.tok.encode_source([line])[0]
        pieces = translator._pieces(line, ids, 1)
        assert all(0 < len(piece) <= translator.max_length for piece in pieces)
        joined = "".join(translator.tok.source.decode(p).replace(" ", "") for p in pieces)
        assert joined == translator.tok.source.decode(ids).replace(" ", "")


def test_prefixes_may_hold_what_is_never_chosen(translator: Translator) -> None:
    tasks = [Piece(translator.tok.encode_source(["one"])[0], [translator.tok.unk, translator.tok.unk])]
    for engine in (translator, changed(translator, sampling=True)):
        (found,) = engine._decode(tasks, 1)
        assert found[0].ids[:2] == (translator.tok.unk,) * 2


def test_translations_stay_within_their_limit(translator: Translator) -> None:
    hot = changed(translator, sampling=True, temperature=50.0, max_extra=5)
    for line, (found,) in zip(LINES, hot.translate(LINES), strict=True):
        assert len(found.ids) + 1 <= len(hot.tok.encode_source([line])[0]) + 5


@pytest.mark.parametrize("beam", [1, 3])
def test_what_does_not_fit_memory_is_decoded_in_halves(
    translator: Translator, beam: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Torch's allocator refuses batches of more than two sentences; the translations do not change."""
    lines = ["one two three", "nine", "four five", "six", "seven eight", "", "two two"]
    expected, ours = list(changed(translator, beam=beam).translate(lines)), changed(translator, beam=beam)
    search_all = Translator._search

    def search_few(self: Translator, tasks: list[Any], best: int) -> Any:
        if len(tasks) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return search_all(self, tasks, best)

    monkeypatch.setattr(Translator, "_search", search_few)
    found = list(ours.translate(lines))
    assert texts(found) == texts(expected)
    assert [each[0].score for each in found] == pytest.approx([each[0].score for each in expected], abs=1e-4)
    assert "out of memory: from now on decode.batch_tokens is" in caplog.text
    caplog.clear()
    list(ours.translate(lines))  # the size that fits is remembered
    assert "out of memory" not in caplog.text


def test_a_sentence_that_fits_no_memory_is_named(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(Translator, "_search", refuse)
    with pytest.raises(DeviceError, match="tokens, decoded with .* hypotheses, does not fit .*'nine one two'"):
        list(changed(translator, beam=2).translate(["nine one two", "one"]))


def test_other_errors_are_not_taken_for_memory(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("something else")

    monkeypatch.setattr(Translator, "_search", fail)
    with pytest.raises(RuntimeError, match="something else"):
        list(changed(translator).translate(["one"]))


@pytest.mark.parametrize("room", [40, 1000, 10**6])
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_get_equal_shares_and_batches_fit(translator: Translator, workers: int, room: int) -> None:
    chance = random.Random(room)
    lengths = [chance.randint(1, 30) for _ in range(300)]
    ours = changed(translator, batch_tokens=room)
    ours.workers.count = workers
    batches = ours._batches(lengths)
    assert sorted(i for batch in batches for i in batch) == list(range(300))
    assert all(len(batch) * max(lengths[i] for i in batch) <= room for batch in batches)
    shares = [sum(len(b) * lengths[b[0]] for b in batches[worker::workers]) for worker in range(workers)]
    assert max(shares) < 1.2 * min(shares)
