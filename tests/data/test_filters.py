"""Filters of corpora: each drops what it says and nothing else, counts it, and shows examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.toy import CPU, toy_pairs, write_pairs

from transformer import config_file
from transformer.config import Config
from transformer.data.corpus import Pair
from transformer.data.filters import FILTERS, FilteredPairs
from transformer.data.prepare import find_or_learn_tokenizer, prepare_pairs
from transformer.data.tokenizer import Tokenizer
from transformer.data_config import CorpusConfig, FilterConfig, ScoreConfig
from transformer.errors import ConfigError, DataError
from transformer.training.dry_run import dry_run

GOOD = Pair("Good day, number 12!", "Guten Tag, Nummer 12!")


def filtered(folder: Path, pairs: list[Pair], languages: tuple[str, str] = ("en", "de"), **how: Any) -> FilteredPairs:
    write_pairs(folder, "f", pairs)
    files = (str(folder / "f.en"), str(folder / "f.de"))
    return FilteredPairs(CorpusConfig(files=files, filters=FilterConfig(**how)), *languages, False)


@pytest.mark.parametrize(
    ("how", "bad", "also_good"),
    [
        ({"identical": "drop"}, [Pair("OK", "OK "), Pair("", "")], [Pair("OK", "ok")]),
        (
            {"digits": "drop"},
            [Pair("12", "13"), Pair("two", "2"), Pair("1 1", "1")],
            [Pair("1,234.5", "1.234,5"), Pair("5/6", "6.5."), Pair("٣", "3")],
        ),
        ({"letters": 0.5}, [Pair("a 12345", "hallo"), Pair("--", "--"), Pair("a", "")], [Pair("ab 12", "नमस्ते")]),
        ({"script": 0.5}, [Pair("Привет", "Hallo"), Pair("a", "你好 a")], [Pair("12", "Größe"), Pair("α b c", "b")]),
        (
            {"case": "drop"},
            [Pair("HELLO YOU", "Hallo du"), Pair("Hello", "HALLO")],
            [Pair("TV", "tv"), Pair("ABC", "DEF")],
        ),
        (
            {"end_mark": "drop"},
            [Pair("Go!", "Geh."), Pair("Go", "Geh."), Pair("Go?", "Geh:")],
            [Pair('He said "go."', "Er sagte: „geh“…"), Pair("Go?", "走？"), Pair("Go.", "走。")],
        ),
        ({"characters": (2, 21)}, [Pair("a", "bb"), Pair("bb", "b" * 22)], [Pair(" aa ", "b" * 21)]),
        (
            {"near_duplicates": "drop"},
            [Pair("good day number 3", "guten Tag Nummer 4"), Pair("GOOD DAY; number 1", "guten tag, nummer")],
            [Pair("Good day, number 1", "Guten Abend"), Pair("1", "2"), Pair("3", "4")],
        ),
    ],
)
def test_each_filter_drops_what_it_says(
    tmp_path: Path, how: dict[str, Any], bad: list[Pair], also_good: list[Pair]
) -> None:
    pairs = filtered(tmp_path, [GOOD, *bad, *also_good], **how)
    assert list(pairs) == [GOOD, *also_good]
    (finds,) = [FILTERS[name].finds for name in how]
    assert pairs.dropped == {finds: len(bad)}
    assert pairs.examples == {finds: [(pair.source.strip(), pair.target.strip()) for pair in bad]}


def test_every_filter_is_in_the_table_and_off_by_default(tmp_path: Path) -> None:
    assert [*FILTERS, "score"] == list(FilterConfig.__dataclass_fields__)
    odd = [Pair("OK", "OK"), Pair("1", "!!"), Pair("ПРИВЕТ?", "a"), Pair("OK", "OK")]
    assert list(filtered(tmp_path, odd)) == odd


def test_a_pair_counts_once_and_examples_are_few_and_short(tmp_path: Path) -> None:
    bad = [Pair(f"{i}!" + "x" * 500, "y") for i in range(5)]
    pairs = filtered(tmp_path, [*bad, GOOD], digits="drop", end_mark="drop", letters=0.9)
    assert list(pairs) == []
    assert pairs.dropped == {"digits differ": 5, "few letters": 1}
    assert [len(source) for source, _ in pairs.examples["digits differ"]] == [200] * 3


def test_a_language_without_a_known_script_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the script of xx is not known; write it as xx-Latn"):
        filtered(tmp_path, [GOOD], ("xx", "de"), script=0.5)
    assert list(filtered(tmp_path, [GOOD], ("xx-Latn", "de"), script=0.5)) == [GOOD]


# ---- scores ----------------------------------------------------------------------------------------------


def scored(folder: Path, scores: str, count: int = 4, **how: Any) -> FilteredPairs:
    (folder / "scores").write_text(scores, encoding="utf-8")
    pairs = [Pair(f"e{i}", f"d{i}") for i in range(count)]
    return filtered(folder, pairs, score=ScoreConfig(file=str(folder / "scores"), **how))


def kept(pairs: FilteredPairs) -> str:
    return "".join(pair.source[1:] for pair in pairs if pair is not None)


def test_scores_of_a_file_drop_pairs(tmp_path: Path) -> None:
    scores = "-1.5\n0.25\n-3e0\n0.2\n"
    pairs = scored(tmp_path, scores, at_least=0.2)
    assert kept(pairs) == "13"
    assert pairs.dropped == {"low score": 2}
    assert kept(scored(tmp_path, scores, drop_worst=0.25)) == "013"
    assert kept(scored(tmp_path, scores, drop_worst=0.24)) == "0123"
    assert kept(scored(tmp_path, "1\n1\n1\n1\n", drop_worst=0.5)) == "23"
    assert kept(scored(tmp_path, scores, drop_worst=0.5, at_least=0.21)) == "1"
    assert kept(scored(tmp_path, "x\t1\nx\t2\nx\t3\nx\t4\n", column="2", at_least=3.0)) == "23"


def test_a_score_is_needed_for_each_pair(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"scores, line 2: 'good' is not a score"):
        list(scored(tmp_path, "1\ngood\n", at_least=0.0))
    with pytest.raises(DataError, match=r"scores, line 1: 'nan' is not a score"):
        list(scored(tmp_path, "nan\n", at_least=0.0))
    for scores, number in (("1\n2\n3\n", 3), ("1\n2\n3\n4\n5\n", 5)):
        with pytest.raises(DataError, match=rf"scores has {number} scores, but f.en \+ f.de has 4 pairs"):
            list(scored(tmp_path, scores, at_least=0.0))


def test_scores_are_a_column_of_a_table(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text("score\tde\tother\ten\n0.5\td0\tx\te0\n0.9\td1\tx\te1\n", encoding="utf-8")
    how = FilterConfig(score=ScoreConfig(column="score", at_least=0.6))
    named = CorpusConfig(tsv=str(table), columns=("en", "de"), filters=how)
    assert list(FilteredPairs(named, "en", "de", False)) == [("e1", "d1")]
    table.write_text("0.5\td0\tx\te0\n0.9\td1\tx\te1\n", encoding="utf-8")
    how = FilterConfig(score=ScoreConfig(column="1", at_least=0.6))
    numbered = CorpusConfig(tsv=str(table), columns=("4", "2"), filters=how)
    assert list(FilteredPairs(numbered, "en", "de", False)) == [("e1", "d1")]
    table.write_bytes(table.read_bytes() + b"0.1\t\xff\tx\ty\n")
    assert list(FilteredPairs(numbered, "en", "de", True)) == [("e1", "d1"), None]


# ---- in preparation --------------------------------------------------------------------------------------


def test_what_filters_drop_is_counted_with_examples_in_the_report(
    tiny: Config, tok: Tokenizer, tmp_path: Path, said: list[str]
) -> None:
    pairs = [*toy_pairs(20, 1), Pair("one", "one"), Pair("two", "two"), Pair("", "zwei")]
    files = write_pairs(tmp_path, "own", pairs)
    cfg = config_file.override(tiny, [f"data.train={{files: {files}, filters: {{identical: drop}}}}"])
    made = prepare_pairs(cfg, tok, [], tmp_path / "prepared")
    counts = made.report["corpora"][0]
    assert (counts["read"], counts["usable"], counts["both sides identical"], counts["empty"]) == (23, 20, 2, 1)
    expected = [{"corpus": counts["name"], "filter": "both sides identical", "pairs": [["one", "one"], ["two", "two"]]}]
    assert made.report["examples"] == expected
    assert f"{counts['name']}: 20 of 23 pairs usable, 1 empty, 2 both sides identical" in said
    assert f"{counts['name']}: dropped, both sides identical: two ||| two" in said


def test_only_filters_that_are_set_change_what_is_prepared(tiny: Config, tok: Tokenizer, tmp_path: Path) -> None:
    files = write_pairs(tmp_path, "own", toy_pairs(30, 1))
    (tmp_path / "scores").write_text("1\n" * 30, encoding="utf-8")

    def fingerprint(filters: str) -> str:
        cfg = config_file.override(tiny, [f"data.train={{files: {files}{filters}}}"])
        return str(prepare_pairs(cfg, tok, [], tmp_path / "prepared").report["fingerprint"])

    plain = fingerprint("")
    assert fingerprint(", filters: {}") == fingerprint(", filters: {identical: keep}") == plain
    by_score = ", filters: {score: {file: '%s', at_least: 0.5}}" % (tmp_path / "scores")
    others = [
        fingerprint(", filters: {identical: drop}"),
        fingerprint(", filters: {letters: 0.1}"),
        fingerprint(by_score),
    ]
    (tmp_path / "scores").write_text("2\n" * 30, encoding="utf-8")
    assert len({plain, *others, fingerprint(by_score)}) == 5


def test_a_vocabulary_is_learned_from_what_filters_keep(tiny: Config, tmp_path: Path) -> None:
    files = write_pairs(tmp_path, "own", [*toy_pairs(50, 1), *[Pair("ж", "ж")] * 20])
    for filters, known in (("", True), (", filters: {identical: drop}", False)):
        cfg = config_file.override(tiny, [f"data.train={{files: {files}{filters}}}"])
        made = find_or_learn_tokenizer(cfg, tmp_path / "prepared")
        assert (made.unk not in made.encode_source(["ж"])[0]) is known


def test_a_dry_run_says_what_filters_drop(tiny: Config, tmp_path: Path) -> None:
    files = write_pairs(tmp_path, "own", [*toy_pairs(40, 1), Pair("one", "one"), Pair("7", "sieben")])
    cfg = config_file.override(tiny, [f"data.train={{files: {files}, filters: {{identical: drop, digits: drop}}}}"])
    lines = dry_run(cfg, tmp_path / "run", CPU)
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith(("  dropped", "    such"))] == [
        "1 of 42 of own.en + own.de: both sides identical",
        "as       one ||| one",
        "1 of 42 of own.en + own.de: digits differ",
        "as       7 ||| sieben",
    ]


# ---- settings --------------------------------------------------------------------------------------------


def test_filters_are_written_and_read_as_given(tiny: Config) -> None:
    value = "{files: [a, b], filters: {case: drop, score: {file: s, drop_worst: 0.05}}}"
    cfg = config_file.override(tiny, [f"data.train={value}"])
    assert config_file.read(config_file.dump(cfg), "x") == cfg
    written = json.dumps(config_file._plain(cfg)["data"]["train"][0]["filters"])
    assert written == '{"case": "drop", "score": {"file": "s", "drop_worst": 0.05}}'


@pytest.mark.parametrize(
    ("corpus", "sentence"),
    [
        ("{files: [a, b], filters: {characters: [9, 3]}}", "characters allows at least 9 and at most 3 characters, so"),
        (
            "{files: [a, b], filters: {score: {at_least: 1}}}",
            "score needs a file of scores, a column of tsv, or a model",
        ),
        ("{files: [a, b], filters: {score: {file: s}}}", "score needs at_least or drop_worst"),
        (
            "{files: [a, b], filters: {score: {file: s, column: x, at_least: 1}}}",
            "column must be a number from 1, as the",
        ),
        (
            "{files: [a, b], filters: {score: {column: 3, at_least: 1}}}",
            "tsv, which is not set; give the scores with file",
        ),
        (
            "{tsv: a, filters: {score: {column: s, at_least: 1}}}",
            "column is a name, so data.train.columns must name the",
        ),
        ("{files: [a, b], columns: [1, 2]}", "data.train.columns is for tsv, not for files"),
        ("{tsv: a, columns: [1, x]}", "columns needs two names, or two numbers from 1, not 1, x"),
        ('{tsv: a, columns: ["1", "01"]}', "columns needs two names, or two numbers from 1, not 1, 01"),
        ('{tsv: a, columns: ["00", "1"]}', "columns needs two names, or two numbers from 1, not 00, 1"),
        ("{tsv: a, version: v1}", "data.train.version is for opus, not for tsv"),
        ("{tsv: a, tmx_tags: keep}", "data.train.tmx_tags is for tmx, not for tsv"),
    ],
)
def test_settings_of_a_corpus_that_contradict_each_other(tiny: Config, corpus: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        config_file.override(tiny, [f"data.train={corpus}"])


def test_held_out_text_is_not_filtered(tiny: Config) -> None:
    with pytest.raises(ConfigError, match="data.valid.filters would change what is measured; filters are for"):
        config_file.override(tiny, ["data.valid={files: [a, b], filters: {case: drop}}"])
