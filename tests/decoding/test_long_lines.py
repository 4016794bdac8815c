"""Lines longer than the model has learned are translated sentence by sentence, without loss."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import random
from typing import Any

import pytest
from support.toy import CPU, toy_pairs

from transformer.data.lengths import Lengths
from transformer.decoding.batches import Piece
from transformer.decoding.long_lines import Part, cut_line, join_best, join_samples, join_texts
from transformer.decoding.search import Hypothesis
from transformer.decoding.translator import Translator, make_translator


def limited(translator: Translator, lengths: Lengths | None, max_length: int = 1000, **decode: Any) -> Translator:
    cfg = dataclasses.replace(translator.cfg, **decode)
    return make_translator(translator.model, translator.tokenizer, cfg, max_length, CPU, lengths)


def texts(translator: Translator, lines: list[str], nbest: int = 1) -> list[str]:
    return [ways[nbest - 1].text for ways in translator.translate(lines, nbest)]


@pytest.mark.parametrize("lengths", [Lengths(source=15, target=15, extra=1), None], ids=["trained", "max_length"])
def test_a_paragraph_is_translated_sentence_by_sentence(
    translator: Translator, lengths: Lengths | None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformer"), "propagate", True)
    ours = limited(translator, lengths, 1000 if lengths else 15)
    sentences = [pair.source + "." for pair in toy_pairs(14, 13)]
    alone = texts(ours, sentences)
    paragraph = " ".join(sentences)
    assert texts(ours, ["one two", paragraph, "three", paragraph]) == [
        "zwei eins", " ".join(alone), "drei", " ".join(alone)
    ]  # fmt: skip
    limit = "nearly all training text (15)" if lengths else "data.max_length (15)"
    said = [record.getMessage() for record in caplog.records]
    (message,) = [each for each in said if "vocabulary" not in each]
    assert message.startswith("line 2 has ")
    assert message.endswith(f" tokens, more than {limit}: lines this long are translated sentence by sentence")
    (ways,) = ours.translate([paragraph], 4)
    assert len({way.text for way in ways}) == 4


def test_a_line_within_the_trained_lengths_is_not_cut(
    translator: Translator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even if it has two sentences. A single sentence may be a little longer."""
    monkeypatch.setattr(logging.getLogger("transformer"), "propagate", True)
    for line, longer in (("one two. three.", 0), ("one two three four five six seven eight nine", 2)):
        (ids,) = translator.tokenizer.encode_source([line])
        ours = limited(translator, Lengths(len(ids) - longer, 8, 1))
        assert ours.parts.cut([line])[0] == [Part(ids)]
    assert not [record for record in caplog.records if "sentence by sentence" in record.getMessage()]


def test_the_target_follows_the_training_text(translator: Translator) -> None:
    assert limited(translator, None).limits.max_extra == 50
    assert limited(translator, Lengths(8, 8, 1)).limits.max_extra == 50
    assert limited(translator, Lengths(1, 80, 79)).limits.max_extra == 89
    assert limited(translator, Lengths(1, 80, 79), max_extra=3).limits.max_extra == 3


def test_the_limit_of_long_lines_follows_the_ratio_of_the_training_text(translator: Translator) -> None:
    long, short = Piece([5] * 400), Piece([5] * 10)
    trained = Lengths(400, 700, 40, ratio=175)
    assert [limited(translator, trained).limits.most_tokens(each) for each in (long, short)] == [701, 60]
    assert limited(translator, dataclasses.replace(trained, ratio=0)).limits.most_tokens(long) == 450
    assert limited(translator, trained, max_extra=3).limits.most_tokens(long) == 403


@pytest.mark.parametrize("how", [{"beam": 1}, {"beam": 4}, {"sampling": True}], ids=["greedy", "beam", "sampling"])
def test_a_translation_that_is_cut_is_a_warning(translator: Translator, how: dict[str, Any], said: list[str]) -> None:
    ours = limited(translator, None, max_extra=1, **how)
    line = "one two three four five six"
    (ids,) = ours.tokenizer.encode_source([line])
    assert texts(ours, [line])  # it ends where it should, at its limit
    assert said == []
    ours.decoder.limits = dataclasses.replace(ours.limits, max_extra=-3)
    texts(ours, ["", line, line])
    assert said == [f"line 2: the translation was cut at {len(ids) - 3} tokens; raise decode.max_extra, which is -3"]


def test_scores_of_long_lines_come_with_a_warning(translator: Translator, said: list[str]) -> None:
    ours = limited(translator, Lengths(8, 8, 1))
    line = "one two three. " * 4
    ours.score(["one", line, line], ["eins", "zwei", "drei"])
    (message,) = [each for each in said if "vocabulary" not in each]
    assert message.startswith("line 2 has ")
    assert message.endswith("nearly all training text (8): lines this long are scored whole, unlike in `translate`")


def pieces_of(translator: Translator, line: str, limit: int) -> list[str]:
    return [translator.tokenizer.source.decode(part.ids) for part in cut_line(line, translator.tokenizer, limit)]


def test_pieces_keep_every_token(translator: Translator) -> None:
    for line in (
        "one two. three! four? " * 20,
        "one " * 200,
        "a" * 300,
        "eins 二 三。四五！" * 30,
        'He said "Go." (So he left.) Bye! ' * 9,
        "👩\u200d🚀" * 40,
        "ภาษาไทย " * 40,
        "?!.,;:" * 50,
        "\t one \u3000 two\u2028",
    ):
        ids = translator.tokenizer.encode_source([line])[0]
        parts = cut_line(line, translator.tokenizer, translator.max_length)
        assert all(0 < len(part.ids) <= translator.max_length for part in parts)
        joined = "".join(translator.tokenizer.source.decode(part.ids).replace(" ", "") for part in parts)
        assert joined == translator.tokenizer.source.decode(ids).replace(" ", "")


def test_sentences_stay_apart_and_clauses_and_words_are_filled(translator: Translator) -> None:
    assert pieces_of(translator, "one. two. three.", 40) == ["one.", "two.", "three."]
    long = "one two three, four five six, seven eight nine, ten."
    (size,) = map(len, translator.tokenizer.encode_source(["one two three, four five six,"]))
    assert pieces_of(translator, long, size)[0] == "one two three, four five six,"
    (size,) = map(len, translator.tokenizer.encode_source(["one two three four"]))
    assert pieces_of(translator, "one two three four five six", size) == ["one two three four", "five six"]
    assert pieces_of(translator, "one " + "seven" * 3, 4)[0] == "one"


def test_a_character_is_never_cut(translator: Translator) -> None:
    for piece in pieces_of(translator, "e\u0301" * 30 + "👩\u200d🚀" * 9, 12):
        assert piece[0] in "e\u00e9👩"


def seams(translator: Translator, line: str, limit: int) -> list[tuple[str, bool]]:
    return [(part.seam, part.tight) for part in cut_line(line, translator.tokenizer, limit)[1:]]


def test_a_seam_knows_the_blanks_of_the_source(translator: Translator) -> None:
    assert seams(translator, "one. two.", 2) == [(" ", False)]
    assert set(seams(translator, "x" * 60, 4)) == {("", True)}
    assert seams(translator, "七一六。八六六。", 2)[0] == (" ", True)


@pytest.mark.parametrize(
    ("left", "right", "part", "joined"),
    [
        ("One.", "Two.", Part([]), "One. Two."),
        ("七一六。", "八六六。", Part([]), "七一六。八六六。"),
        ("七一六。", "IBM は", Part([]), "七一六。IBM は"),
        ("七一", "六", Part([]), "七一六"),
        ("1。", "2。", Part([]), "1。2。"),
        ("The sign 出口", "Then", Part([]), "The sign 出口 Then"),
        ("일.", "이.", Part([]), "일. 이."),
        ("xx", "xx", Part([], "", True), "xxxx"),
        ("One.", "Two.", Part([], " ", True), "One. Two."),
        ("ภาษา", "ไทย", Part([], " ", True), "ภาษาไทย"),
        ("ภาษา", "ไทย", Part([]), "ภาษา ไทย"),
        ("", "Two.", Part([]), "Two."),
    ],
)
def test_pieces_are_joined_as_the_script_asks(left: str, right: str, part: Part, joined: str) -> None:
    assert join_texts([left, right], [Part([]), part]) == joined
    assert join_texts([left, "", right], [Part([]), dataclasses.replace(part, seam="", tight=True), part]) == joined


def test_the_best_different_joined_translations_are_found() -> None:
    rng = random.Random(1)
    for _ in range(50):
        ways_of_parts = [
            [
                (rng.choice(["", "eins", "zwei", "eins zwei"]), Hypothesis((i,), -rng.random(), -rng.random()))
                for i in range(rng.randint(1, 4))
            ]
            for _ in range(rng.randint(1, 3))
        ]
        best: dict[str, float] = {}
        for ways in itertools.product(*ways_of_parts):
            text, score = " ".join(text for text, _ in ways if text), sum(each.score for _, each in ways)
            best[text] = max(score, best.get(text, -math.inf))
        parts = [Part([])] * len(ways_of_parts)
        found = join_best(ways_of_parts, parts, 100)
        ranked = sorted(best, key=lambda text: -best[text])
        assert [one.text for one in found] == ranked
        assert [one.score for one in found] == pytest.approx([best[text] for text in ranked])
        assert join_best(ways_of_parts, parts, 2) == found[:2]
    assert join_best([], [], 4) == []


def test_samples_are_joined_in_their_order() -> None:
    first = [("eins", Hypothesis((5,), -1.0, -0.5)), ("", Hypothesis((), -2.0, -1.5))]
    second = [("zwei", Hypothesis((6,), -9.0, -8.5)), ("drei", Hypothesis((7,), -4.0, -3.5))]
    joined = join_samples([first, second], [Part([]), Part([])], 2)
    assert joined == [("eins zwei", -9.0, -10.0, (5, 6), (1, 1)), ("drei", -5.0, -6.0, (7,), (0, 1))]


@pytest.mark.parametrize("prefix", ["ei", "acht. ", "acht.  neun neun.  dr", "acht neun. acht. acht. acht. acht."])
def test_a_prefix_of_a_paragraph_is_spread_over_its_sentences(translator: Translator, prefix: str) -> None:
    """Complete sentences of the prefix are the translations of the first sentences of the line."""
    ours = limited(translator, Lengths(source=15, target=15, extra=1), beam=4)
    sentences = [pair.source + "." for pair in toy_pairs(5, 13)]
    alone = texts(ours, sentences)
    complete = prefix.count(".") - prefix.endswith(".")
    for found in next(ours.translate([" ".join(sentences)], 3, prefixes=[prefix])):
        assert found.text.startswith(prefix)
    (best,) = ours.translate([" ".join(sentences)], prefixes=[prefix])
    assert best[0].text.endswith(" ".join(alone[complete + 1 :]))
