"""Breakdowns: every sentence is in one row of a table, and what a row says is sacreBLEU's score of its sentences."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from support.toy import toy_pairs

from transformer.config import Config
from transformer.data.corpus import Pair, ReferencedPair
from transformer.data.tokenizer import Tokenizer
from transformer.evaluation.breakdown import Table, break_down
from transformer.evaluation.frequencies import word_frequencies
from transformer.evaluation.metrics import score_corpus
from transformer.evaluation.names import names
from transformer.evaluation.numbers import lost_numbers, numbers
from transformer.evaluation.words import words
from transformer.runs.run import Run, write_run

PAIRS = toy_pairs(40, 4, longest=14)
OUTPUTS = [pair.target.replace("vier", "fünf") for pair in PAIRS]


def table(name: str, tables: list[Table]) -> dict[str, tuple[int, dict[str, float], int]]:
    (found,) = (each for each in tables if each.name == name)
    return {row.label: (row.sentences, row.scores, row.items) for row in found.rows}


@pytest.mark.parametrize("name", ["source_length", "reference_length"])
def test_each_sentence_is_in_one_row(name: str) -> None:
    rows = table(name, break_down(PAIRS, OUTPUTS, "de"))
    assert sum(sentences for sentences, _, _ in rows.values()) == len(PAIRS)
    assert list(rows) == ["1–5", "6–10", "11–15"]
    chosen = [i for i, pair in enumerate(PAIRS) if 6 <= len(pair[name == "reference_length"].split()) <= 10]
    expected = score_corpus([OUTPUTS[i] for i in chosen], [PAIRS[i].target for i in chosen], "de")
    assert rows["6–10"][0] == len(chosen)
    assert rows["6–10"][1] == {key: pytest.approx(score.score) for key, score in expected.items()}


def test_a_row_has_the_tokenizer_of_the_whole_text() -> None:
    """Also where its own sentences would not tell the script."""
    pairs = [Pair("a", "我有一只猫和两只狗")] * 9 + [Pair("b c d e f g", "one two three four")]
    rows = table("source_length", break_down(pairs, [pair.target for pair in pairs]))
    assert rows["1–5"][1]["bleu"] == pytest.approx(100)


def test_words_by_their_frequency_in_training() -> None:
    pairs = [Pair("x", "ein ein Hund bellt"), Pair("x", "ein Okapi")]
    counts = {"ein": 1000, "Hund": 3, "bellt": 1}
    rows = table("word_frequency", break_down(pairs, ["ein Hund rennt", "ein Tier"], "de", counts))
    assert rows == {
        "never": (1, {"recall": 0.0}, 1),
        "once": (1, {"recall": 0.0}, 1),
        "2–4": (1, {"recall": 100.0}, 1),
        "1000 and more": (2, {"recall": pytest.approx(200 / 3)}, 3),
    }
    assert "word_frequency" not in [each.name for each in break_down(pairs, ["a", "b"], "de")]


def test_numbers_and_names() -> None:
    pairs = [
        Pair("In 1984 there were 1,000 people in Berlin", "1984 gab es 1.000 Leute in Berlin"),
        Pair("Nothing here", "Hier ist nichts"),
    ]
    tables = break_down(pairs, ["1984 gab es 100 Leute in Bonn", "Hier ist nichts"], "de", source_language="en")
    rows = table("numbers", tables)
    assert {label: (row[0], row[2]) for label, row in rows.items()} == {"with": (1, 2), "without": (1, 0)}
    assert rows["with"][1]["recall"] == 50.0
    rows = table("names", tables)
    assert (rows["with"][2], rows["with"][1]["recall"]) == (1, 0.0)
    assert rows["without"][1]["chrf"] == 100.0


def test_no_table_of_names_in_languages_without_capitals() -> None:
    tables = break_down([Pair("x", "我有一只猫")], ["我有一只猫"], "zh", source_language="en")
    assert "names" not in [each.name for each in tables]


def test_unknown_pieces() -> None:
    rows = table("unknown", break_down(PAIRS, OUTPUTS, "de", unknown=lambda source: "four" in source))
    assert rows["with"][1]["chrf"] < rows["without"][1]["chrf"] == 100.0


def test_several_references() -> None:
    pairs: list[Pair] = [ReferencedPair("x", "falsch", "richtig"), ReferencedPair("x", "gut", "")]
    rows = table("source_length", break_down(pairs, ["richtig", "gut"], "de"))
    assert rows["1–5"][1]["chrf"] == 100.0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1,000 and 1.000 and 1 000 and 1\u202f000", {"1000": 4}),
        ("3.5 or 3,5", {"3.5": 2}),
        ("1,234,567.89", {"1234567.89": 1}),
        ("٢٠١٤ २०१४ ２０１４", {"2014": 3}),
        ("007", {"7": 1}),
        ("10:30, 2014-2015", {"10": 1, "30": 1, "2014": 1, "2015": 1}),
        ("1990er COVID-19 H2O", {"1990": 1, "19": 1, "2": 1}),
        ("1 2 3", {"1": 1, "2": 1, "3": 1}),
        ("keine", {}),
    ],
)
def test_numbers(text: str, found: dict[str, int]) -> None:
    assert numbers(text) == Counter(found)


def test_lost_numbers() -> None:
    assert lost_numbers("at 10:30 on 12/5/2014", "am 12.5.2014 um 10.30 Uhr") == Counter()
    assert lost_numbers("1,000 of 2014", "1000 von 2041") == Counter(["2014"])


def test_names() -> None:
    assert names("He met Angela Merkel in Paris. Then he left.", "", "en") == ["Angela", "Merkel", "Paris"]
    assert names("Der Hund von Peter bellt.", "Peter's dog barks, said Peter.", "de") == ["Peter"]
    assert names("Two Men In A Boat", "", "en") == []
    assert names("", "", "en") == []


def test_words_of_all_scripts() -> None:
    assert words("The well-known 3.5 km, isn't it?") == ["The", "well-known", "3.5", "km", "isn't", "it"]
    assert words("我有cats") == ["我", "有", "cats"]
    assert words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]


@pytest.fixture
def run(tiny: Config, tok: Tokenizer, tmp_path: Path) -> Run:
    """Return a run without checkpoints, which was trained on 150 pairs."""
    made = write_run(tmp_path / "run", tiny, tok)
    (made.path / "data.json").write_text(json.dumps({"fingerprint": "f", "corpora": [{"read": 150}]}))
    return made


def test_frequencies_are_counted_once(run: Run, tmp_path: Path, said: list[str]) -> None:
    counts = word_frequencies(run, PAIRS)
    assert counts is not None
    assert counts["vier"] == (tmp_path / "train.de").read_text().split().count("vier") > 0
    (tmp_path / "train.de").unlink()
    assert word_frequencies(run, PAIRS) == counts
    assert not said


def test_training_text_that_is_gone_or_other(run: Run, tmp_path: Path, said: list[str]) -> None:
    file = tmp_path / "train.de"
    file.write_text("eins\n")
    (tmp_path / "train.en").write_text("one\n")
    assert word_frequencies(run, PAIRS) is None
    file.unlink()
    assert word_frequencies(run, PAIRS) is None
    assert said == [
        "no table of words by frequency: the training text has 1 pairs now, and had 150",
        f"no table of words by frequency: no such file: {file}",
    ]


def test_a_run_that_cannot_be_written_or_is_damaged(run: Run, said: list[str]) -> None:
    (run.path / "data.json").write_text("[]")
    (run.path / "evaluations").write_text("")
    counts = word_frequencies(run, PAIRS)
    assert counts is not None
    assert counts["vier"] > 0
    assert said[0].startswith("the frequencies of words cannot be kept: ")
