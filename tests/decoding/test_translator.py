"""The translator: one line out per line in, independent of the other lines."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from copy import copy
from typing import Any

import pytest
import torch
from support.toy import CPU, toy_pairs

from transformer.decoding import search
from transformer.decoding.int8.build import library
from transformer.decoding.parts import Translation
from transformer.decoding.pieces import PieceDecoder
from transformer.decoding.translator import Translator, make_translator, shown
from transformer.errors import ConfigError, DataError
from transformer.system import progress_bar

LINES = [pair.source for pair in toy_pairs(60, 11)]


def changed(translator: Translator, **decode: Any) -> Translator:
    cfg = dataclasses.replace(translator.cfg, **decode)
    return make_translator(translator.model, translator.tokenizer, cfg, translator.max_length, CPU)


def texts(found: list[list[Translation]]) -> list[str]:
    return [each[0].text for each in found]


def test_the_toy_task_was_learned(translator: Translator) -> None:
    pairs = toy_pairs(200, 12)
    found = texts(list(translator.translate(pair.source for pair in pairs)))
    right = sum(text == pair.target for text, pair in zip(found, pairs, strict=True))
    assert right > 180


SETTINGS: list[dict[str, Any]] = [{"beam": 1}, {"beam": 4}, {"sampling": True, "top_p": 0.9}]


@pytest.mark.parametrize("how", SETTINGS, ids=["greedy", "beam", "sampling"])
def test_translations_do_not_depend_on_batch_or_order(translator: Translator, how: dict[str, Any]) -> None:
    together = list(changed(translator, **how).translate(LINES))
    alone = [next(changed(translator, **how, batch_tokens=1).translate([line])) for line in LINES]
    order = random.Random(1).sample(range(len(LINES)), len(LINES))
    shuffled = list(changed(translator, **how, batch_tokens=97).translate([LINES[i] for i in order]))
    for i, (one, other) in enumerate(zip(together, alone, strict=True)):
        assert one[0].text == other[0].text
        assert one[0].score == pytest.approx(other[0].score, abs=1e-4)
        assert shuffled[order.index(i)][0].text == one[0].text


@pytest.mark.parametrize("how", SETTINGS, ids=["greedy", "beam", "sampling"])
def test_score_agrees_with_translate(translator: Translator, how: dict[str, Any]) -> None:
    ours = changed(translator, **how)
    sources = ours.tokenizer.encode_source(LINES)
    found = [each[0] for each in ours.translate(LINES)]
    scored = ours.score_ids(sources, [list(t.ids) for t in found])
    for one, other in zip(found, scored, strict=True):
        assert other.text == one.text
        assert other.log_prob == pytest.approx(one.log_prob, abs=1e-3)
        assert other.score == pytest.approx(one.score, abs=1e-3)


PRECISIONS = ["bfloat16", pytest.param("int8", marks=pytest.mark.skipif(library() is None, reason="no 8-bit kernels"))]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_score_is_float32_in_every_precision(translator: Translator, precision: str) -> None:
    ours = changed(translator, precision=precision)
    assert (ours.precision, translator.precision) == (precision, "float32")
    before, pairs = list(ours.translate(LINES)), toy_pairs(40, 14)
    sources, targets = [pair.source for pair in pairs], [pair.target for pair in pairs]
    assert ours.score(sources, targets) == translator.score(sources, targets)
    assert list(ours.translate(LINES)) == before


def test_too_long_lines_are_not_scored(translator: Translator) -> None:
    with pytest.raises(DataError, match="line 2 has 5000 tokens, more than the 4096 that can be scored"):
        translator.score(["one", "two"], ["eins", "zwei " * 5000])


def test_an_empty_pair_has_score_zero(translator: Translator) -> None:
    assert translator.score([" "], [""]) == [Translation("", 0.0, 0.0, ())]


def test_cached_search_equals_search_without_a_cache(translator: Translator) -> None:
    """The reference is the same search over a state without a cache, which runs the whole model at each step."""

    class Anew:
        def __init__(self, source: torch.Tensor, beams: int) -> None:
            self.source, self.ids = source.repeat_interleave(beams, 0), torch.zeros(len(source) * beams, 0).long()
            self.beams = beams

        def step(self, last: torch.Tensor) -> torch.Tensor:
            self.ids = torch.cat((self.ids, last[:, None]), 1)
            return translator.model(self.source, self.ids)[:, -1]

        def select(self, rows: torch.Tensor, sentences: torch.Tensor | None) -> None:
            self.source, self.ids = self.source[rows], self.ids[rows]

    tok, source = translator.tokenizer, translator.tokenizer.encode_source(LINES)
    source_bs = translator.decoder.tensor(source, last=tok.eos)
    task = search.SearchTask(
        start_id=tok.bos, eos=tok.eos, banned=(tok.pad, tok.bos), limits=[len(s) + 9 for s in source], nbest=3
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


def test_nbest_differ_and_are_sorted_by_score(translator: Translator) -> None:
    """They differ as texts: a text that the vocabulary can spell in two ways is one translation."""
    for found in translator.translate([*LINES[:20], "one two. " * 40], nbest=4):
        assert len({t.text for t in found}) == len(found) == 4
        assert [t.score for t in found] == sorted((t.score for t in found), reverse=True)
    with pytest.raises(ConfigError, match="5 translations need a beam of at least 5, not 4"):
        next(translator.translate(["one"], nbest=5))


def test_sampling_is_seeded(translator: Translator) -> None:
    hot = {"sampling": True, "temperature": 2.0}
    first = texts(list(changed(translator, **hot).translate(LINES)))
    assert texts(list(changed(translator, **hot).translate(LINES))) == first
    assert texts(list(changed(translator, **hot, seed=2).translate(LINES))) != first
    several = next(changed(translator, **hot).translate(["one two three four"], nbest=5))
    assert len({t.text for t in several}) > 1


def test_translations_stay_within_their_limit(translator: Translator) -> None:
    hot = changed(translator, sampling=True, temperature=50.0, max_extra=5)
    for line, (found,) in zip(LINES, hot.translate(LINES), strict=True):
        assert len(found.ids) + 1 <= len(hot.tokenizer.encode_source([line])[0]) + 5


def test_a_prefix_too_long_is_refused(translator: Translator) -> None:
    with pytest.raises(DataError, match=r"the prefix of line 2 has \d+ tokens, more than 40"):
        list(translator.translate(["one", "two"], prefixes=["", "acht " * 50]))


def test_unknown_characters_are_reported_once(translator: Translator, caplog: pytest.LogCaptureFixture) -> None:
    without_bytes = copy(translator.tokenizer)
    without_bytes.encode_source = lambda texts: [[without_bytes.unk] for _ in texts]  # type: ignore[method-assign]
    ours = changed(translator)
    ours.tokenizer = without_bytes
    list(ours.translate(["жaж", "я"]))
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == ["line 1 has characters that are not in this model's vocabulary: ж"]


def test_a_translator_takes_any_backend(translator: Translator) -> None:
    """The backend here ends every sentence at once."""

    class Silent:
        precision = "none"

        def decode(self, source_BS: torch.Tensor, beams: int, positions: int, search: Callable[[Any], Any]) -> Any:
            self.rows = len(source_BS) * beams
            return search(self)

        def step(self, last_R: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(self.rows, translator.tokenizer.sizes[1])
            logits[:, translator.tokenizer.eos] = 100.0
            return logits

        def select(self, rows_R: torch.Tensor, sentences_B: torch.Tensor | None) -> None:
            self.rows = len(rows_R)

    decoder = copy(translator.decoder)
    decoder.backend = Silent()
    assert texts(list(Translator(decoder, translator.max_length).translate(["one", "two three"]))) == ["", ""]


def test_what_does_not_fit_the_memory_is_scored_in_halves(
    translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, targets = ["one two", "three", "four five six", "seven", "eight"], ["zwei eins", "drei", "x", "sieben", ""]
    whole = translator.score(sources, targets)
    original = PieceDecoder._log_probs

    def small(self: PieceDecoder, batch: Any) -> Any:
        if len(batch.pieces) > 2:
            raise MemoryError
        return original(self, batch)

    monkeypatch.setattr(PieceDecoder, "_log_probs", small)
    fresh = make_translator(translator.model, translator.tokenizer, translator.cfg, translator.max_length, CPU)
    for one, other in zip(whole, fresh.score(sources, targets), strict=True):
        assert one.text == other.text
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)


def test_sampling_in_8_bits_is_refused_instead_of_ignored(translator: Translator) -> None:
    cfg = dataclasses.replace(translator.cfg, precision="int8", sampling=True)
    with pytest.raises(
        ConfigError, match="decode.precision=int8 is not possible here: sampling needs the probabilities of all tokens"
    ):
        make_translator(translator.model, translator.tokenizer, cfg, translator.max_length, CPU)


def test_the_progress_counts_lines_also_inside_a_window(
    translator: Translator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress_bar, "EVERY", 0.0)
    monkeypatch.setattr(progress_bar, "REFRESH", 0.0)
    caplog.set_level("INFO")
    ours = changed(translator, batch_tokens=40, beam=2)
    lines = ["", *LINES, "one two three four five six seven eight nine " * 9]
    plain = [ways[0].text for ways in ours.translate(lines)]
    caplog.clear()
    assert [ways[0].text for ways in shown(ours, ours.translate(lines), len(lines))] == plain
    said = [message for message in caplog.messages if message.startswith("translating: ")]
    counts = [int(message.split()[1]) for message in said]
    assert counts == sorted(counts)
    assert counts[-1] == len(lines)
    assert len({count for count in counts if count < len(lines)}) > 5
