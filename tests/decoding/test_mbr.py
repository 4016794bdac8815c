"""Minimum-Bayes-risk decoding: the sample that agrees most with all samples, by sacreBLEU's chrF."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.chrf import CHRF
from support.toy import CPU, toy_pairs

from transformer.decoding.mbr import mean_chrf, pairwise_chrf
from transformer.decoding.translator import Translator, make_translator
from transformer.errors import ConfigError

LINES = [pair.source for pair in toy_pairs(20, 11)]
TEXT = st.text(st.sampled_from("ab ä\U0001f600.\t\u3000"), max_size=12)


def changed(translator: Translator, **decode: Any) -> Translator:
    cfg = dataclasses.replace(translator.cfg, **decode)
    return make_translator(translator.model, translator.tokenizer, cfg, translator.max_length, CPU)


@settings(max_examples=200)
@given(st.lists(TEXT, min_size=1, max_size=6))
def test_pairwise_chrf_is_sacrebleus(texts: list[str]) -> None:
    ours, theirs = pairwise_chrf(texts), CHRF()
    for row, text in zip(ours.tolist(), texts, strict=True):
        expected = [theirs.sentence_score(text, [reference]).score for reference in texts]
        assert row == pytest.approx(expected, abs=1e-9)


@given(st.lists(TEXT, min_size=1, max_size=8))
def test_copies_count_as_often_as_they_were_drawn(texts: list[str]) -> None:
    matrix = pairwise_chrf(texts)
    assert mean_chrf(texts) == pytest.approx(matrix.mean(1).tolist(), abs=1e-9)


def test_what_most_samples_say_wins() -> None:
    """Not the most probable one: MBR does not look at probabilities."""
    values = mean_chrf(["the cat sat", "the cat sits", "a dog", "the cat sat"])
    assert max(range(4), key=values.__getitem__) == 0
    assert min(range(4), key=values.__getitem__) == 2


def test_the_best_of_the_samples_is_returned(translator: Translator) -> None:
    """The translations are those among the samples of the same seed with the highest mean chrF."""
    samples = changed(translator, sampling=True, temperature=2.0)
    drawn = [[each.text for each in ways] for ways in samples.translate(LINES, nbest=16)]
    ours = list(changed(translator, mbr_samples=16, temperature=2.0).translate(LINES, nbest=3))
    assert any(len(set(texts)) > 3 for texts in drawn)
    for ways, texts in zip(ours, drawn, strict=True):
        values = dict(zip(texts, mean_chrf(texts), strict=True))
        best = sorted(values.values(), reverse=True)[:3]
        assert [each.score for each in ways] == pytest.approx(best)
        assert len({each.text for each in ways}) == len(ways) == len(best)
        assert all(values[each.text] == pytest.approx(each.score) for each in ways)


def test_it_does_not_depend_on_the_other_lines(translator: Translator) -> None:
    ours = changed(translator, mbr_samples=8, temperature=1.5)
    together = [ways[0].text for ways in ours.translate(LINES)]
    alone = [next(iter(ours.translate([line])))[0].text for line in LINES]
    assert together == alone


def test_long_lines_and_prefixes_and_empty_lines(translator: Translator) -> None:
    ours = changed(translator, mbr_samples=8)
    ((empty,),) = ours.translate([""])
    assert empty.text == ""
    (prefixed,) = next(iter(ours.translate(["one two"], prefixes=["acht"])))
    assert prefixed.text.startswith("acht")
    ours.decoder.limits = dataclasses.replace(ours.limits, longest_line=3, max_length=3)
    (joined,) = next(iter(ours.translate(["one two. three four."])))
    assert joined.score > 100  # the sum of several parts


def test_more_translations_than_samples_are_refused(translator: Translator) -> None:
    with pytest.raises(ConfigError, match=r"4 translations need decode.mbr_samples of at least 4, not 2"):
        changed(translator, mbr_samples=2).check(4)
