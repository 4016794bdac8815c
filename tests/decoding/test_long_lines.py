"""Lines longer than the model's limit are cut into pieces without loss and joined."""

from __future__ import annotations

import itertools
import logging
import math
import random
import re

import pytest
from support.toy import toy_pairs

from transformer.decoding.batches import Piece
from transformer.decoding.long_lines import cut_line, join_best, join_samples
from transformer.decoding.search import Hypothesis
from transformer.decoding.translator import Translator


def test_long_lines_are_cut_translated_and_joined(
    translator: Translator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformer"), "propagate", True)
    lines = ["one two", " ".join(pair.source + "." for pair in toy_pairs(30, 13)), "two " * 1000, "x" * 5000]
    found = [ways[0].text for ways in translator.translate(lines)]
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 3
    for number, message in zip((2, 3, 4), warned, strict=True):
        expected = rf"line {number} has \d+ tokens, more than the model's limit of 40: translated in pieces"
        assert re.fullmatch(expected, message)
    assert found[0] == "zwei eins"
    for line, text in zip(lines[1:], found[1:], strict=True):
        pieces = cut_line(line, translator.tokenizer, translator.max_length)
        alone = [way[0].ids for way in translator._decode([Piece(piece) for piece in pieces], 1)]
        assert len(pieces) > 1
        assert text == " ".join(filter(None, translator.tokenizer.decode(alone)))


def test_pieces_keep_every_token(translator: Translator) -> None:
    for line in (
        "one two. three! four? " * 20,
        "one " * 200,
        "a" * 300,
        "eins 二 三。四五！" * 30,
        'He said "Go." (So he left.) Bye! ' * 9,
    ):
        ids = translator.tokenizer.encode_source([line])[0]
        pieces = cut_line(line, translator.tokenizer, translator.max_length)
        assert all(0 < len(piece) <= translator.max_length for piece in pieces)
        joined = "".join(translator.tokenizer.source.decode(p).replace(" ", "") for p in pieces)
        assert joined == translator.tokenizer.source.decode(ids).replace(" ", "")


def test_cuts_are_between_sentences(translator: Translator) -> None:
    sentences = ['"one two three four."', "five (six!)", "seven eight nine?", "one 二。", "三 four。"]
    lengths = [len(ids) for ids in translator.tokenizer.encode_source(sentences)]
    line = " ".join(sentences[:4]) + sentences[4]  # no space between the last two
    pieces = cut_line(line, translator.tokenizer, max(lengths))
    ends = set(itertools.accumulate(lengths))
    assert len(pieces) > 2
    assert set(itertools.accumulate(map(len, pieces))) <= ends
    assert cut_line(line, translator.tokenizer, sum(lengths)) == [[i for piece in pieces for i in piece]]


def test_the_best_different_joined_translations_are_found() -> None:
    rng = random.Random(1)
    for _ in range(50):
        pieces = [
            [
                (rng.choice(["", "eins", "zwei", "eins zwei"]), Hypothesis((i,), -rng.random(), -rng.random()))
                for i in range(rng.randint(1, 4))
            ]
            for _ in range(rng.randint(1, 3))
        ]
        best: dict[str, float] = {}
        for ways in itertools.product(*pieces):
            text, score = " ".join(text for text, _ in ways if text), sum(each.score for _, each in ways)
            best[text] = max(score, best.get(text, -math.inf))
        found = join_best(pieces, 100)
        ranked = sorted(best, key=lambda text: -best[text])
        assert [one.text for one in found] == ranked
        assert [one.score for one in found] == pytest.approx([best[text] for text in ranked])
        assert join_best(pieces, 2) == found[:2]
    assert join_best([], 4) == []


def test_samples_are_joined_in_their_order() -> None:
    first = [("eins", Hypothesis((5,), -1.0, -0.5)), ("", Hypothesis((), -2.0, -1.5))]
    second = [("zwei", Hypothesis((6,), -9.0, -8.5)), ("drei", Hypothesis((7,), -4.0, -3.5))]
    assert join_samples([first, second], 2) == [("eins zwei", -9.0, -10.0, (5, 6)), ("drei", -5.0, -6.0, (7,))]
