"""Variants of a text change what they say they change, and break no character of any script."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command import main

from transformer.data.changes import characters, lower, title, upper, without_end
from transformer.data.corpus import Pair, ReferencedPair
from transformer.evaluation.robustness import VARIANTS, typos, variants_of, with_emoji, with_tag
from transformer.evaluation.texts import EvaluationText


@pytest.mark.parametrize(
    ("change", "language", "text", "expected"),
    [
        (upper, "de", "Straße, süß", "STRASSE, SÜSS"),
        (upper, "tr", "ışık iyi", "IŞIK İYİ"),
        (upper, "tur_Latn", "iyi", "İYİ"),
        (upper, "en", "ışık iyi", "IŞIK IYI"),
        (lower, "tr", "IŞIK İYİ I\u0307", "ışık iyi i"),
        (lower, "el", "ΟΔΟΣ", "οδος"),
        (title, "en", "don't stop, (the well-known o'neil) can't", "Don't Stop, (The Well-Known O'neil) Can't"),
        (title, "tr", "iyi ışık", "İyi Işık"),
        (title, "hr", "ǆ \u0065\u0301te", "ǅ \u0045\u0301te"),
        (title, "en", "NASA has iPods", "NASA Has IPods"),
        (upper, "zh", "我是学生", "我是学生"),
        (without_end, "en", "This is it. Really?!", "This is it. Really"),
        (without_end, "en", 'He said "no."', 'He said "no"'),
        (without_end, "zh", "我是学生。", "我是学生"),
        (without_end, "hi", "यह है।", "यह है"),
        (without_end, "en", "no end", "no end"),
        (without_end, "en", "...", "..."),
        (without_end, "en", "", ""),
        (with_emoji, "en", "Hi.", "Hi. \U0001f642"),
        (with_emoji, "en", " ", " "),
        (with_tag, "en", "Hi.", "<b>Hi.</b>"),
    ],
)
def test_each_change_does_what_it_says(change: object, language: str, text: str, expected: str) -> None:
    assert callable(change)
    assert change(text, language) == expected


LINES = [
    "The quick brown fox jumps over the lazy dog",
    "Đường phố đẹp quá tôi đi học hôm nay",
    "de\u0301ja\u0300 vu\u0308 e\u0302tre",
    "मैं स्कूल जाता हूँ",
    "ฉันไปโรงเรียนน้ำดื่ม",
    "안녕하세요 여러분",
    "👨‍👩‍👧‍👦 family 🇩🇪🇫🇷 flags 👍🏽 thumbs",
]


@pytest.mark.parametrize("line", LINES)
def test_typos_break_no_character(line: str) -> None:
    """Each character with its marks stays whole: exchanged, left out or doubled."""
    there = set(characters(line))
    for number in range(50):
        changed = typos(line, "", number)
        assert set(characters(changed)) <= there
        assert changed[0] == line[0]
        assert abs(len(characters(changed)) - len(characters(line))) <= 1
        assert typos(line, "", number) == changed
    assert len({typos(line, "", number) for number in range(50)}) > 2


def test_short_lines_have_no_typos_and_long_lines_have_several() -> None:
    for line in ("", "a", "ab", "12345", "?!", "a b c"):
        assert typos(line) == line
    assert typos("abc") != "abc"
    words = "one two three four five six seven eight nine ten " * 20
    assert sum(a != b for a, b in zip(words.split(), typos(words).split(), strict=True)) > 5


@settings(max_examples=40)
@given(st.text(max_size=60), st.sampled_from(["de", "tr", "zh", ""]))
def test_any_text_can_be_varied(text: str, language: str) -> None:
    assert "".join(characters(text)) == text
    for variant in VARIANTS:
        changed = variant.source(text, language, 1)
        assert "\n" not in changed or "\n" in text
        assert changed == variant.source(text, language, 1)
        if text and not changed:
            assert variant.name in ("no end mark", "typos")


def test_a_translation_may_follow_the_change_or_write_as_usual() -> None:
    text = EvaluationText("x", [ReferencedPair("one two.", "eins zwei.", "1 2."), Pair("", "")], ("a", "b"))
    found = {each.name.removeprefix("x, "): each.pairs for each in variants_of(text, "en", "de")}
    assert list(found) == ["upper case", "title case", "typos", "no end mark", "emoji", "tag"]
    assert found["upper case"][0].source == "ONE TWO."
    assert found["upper case"][0].references == ("eins zwei.", "1 2.", "EINS ZWEI.")
    assert found["typos"][0].references == ("eins zwei.", "1 2.")
    assert found["tag"][0].references == ("eins zwei.", "1 2.", "<b>eins zwei.</b>", "<b>1 2.</b>")
    assert all(pairs[1] == ("", "") and pairs[1].references == ("",) for pairs in found.values())


def test_a_script_without_case_has_no_variants_of_case() -> None:
    text = EvaluationText("x", [Pair("我是 DNA 学生吗，你们都是很好的学生。", "Am I a student?")])
    names = [each.name.removeprefix("x, ") for each in variants_of(text, "zh", "en")]
    assert names == ["typos", "no end mark", "emoji", "tag"]


def test_the_command_prints_one_table(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    source, reference = tmp_path / "x", tmp_path / "y"
    source.write_text("one two three.\nfour\n")
    reference.write_text("drei zwei eins.\nvier\n")
    command = ["evaluate", run, "--source", source, "--reference", reference, "--robustness", "decode.beam=1"]
    lines = main(*command).out.decode().splitlines()
    assert lines[0].startswith("2 sentences of x with ")
    assert lines[1].split() == ["x", "lines", "changed", "BLEU", "change", "chrF", "change"]
    rows = {line.split("  ")[0]: line.split() for line in lines[2:]}
    assert list(rows) == ["clean", "upper case", "title case", "typos", "no end mark", "emoji", "tag"]
    assert rows["no end mark"][3] == "1"  # only one line has one
    clean, other = float(rows["clean"][4]), rows["upper case"]
    assert float(other[-1]) == pytest.approx(float(other[-4]) - clean, abs=0.011)
    refused = main(*command, "--samples", 1)
    assert refused.code == 2
    assert "--samples is for one checkpoint and one form of the text" in refused.err
    objects = [json.loads(line) for line in main(*command, "--json").out.splitlines()]
    assert [each["name"] for each in objects] == ["x", *(f"x, {name}" for name in list(rows)[1:])]
    assert len({each["text"]["sha256"] for each in objects}) == len(rows)
    assert all("translated" in each for each in objects)
    assert len(list((run / "evaluations").glob("*.json"))) == len(rows)
    assert unicodedata.is_normalized("NFC", (run / "README.md").read_text())
