"""Comparing systems: the paired tests are the `sacrebleu` command's, and every word that differs is marked."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.toy import toy_pairs

from transformer.data.corpus import Pair, ReferencedPair
from transformer.errors import ConfigError, DataError
from transformer.evaluation import compare as module
from transformer.evaluation.compare import System, compare, marked_words, sentence_scores

PAIRS = toy_pairs(60, 5, longest=9)


def worse(share: float, seed: int) -> list[str]:
    """Return the references, a share of whose words is replaced."""
    rng = random.Random(seed)
    return [" ".join("falsch" if rng.random() < share else word for word in pair.target.split()) for pair in PAIRS]


SYSTEMS = [System("a", worse(0.2, 1)), System("b", worse(0.25, 2)), System("c", worse(0.6, 3))]


@pytest.mark.parametrize("test", ["bs", "ar"])
def test_the_paired_tests_equal_the_commands(tmp_path: Path, test: str) -> None:
    reference = tmp_path / "ref"
    reference.write_text("".join(f"{pair.target}\n" for pair in PAIRS))
    for each in SYSTEMS:
        (tmp_path / each.name).write_text("".join(f"{line}\n" for line in each.translations))
    out = subprocess.run(
        [sys.executable, "-m", "sacrebleu", str(reference), "-i", *(str(tmp_path / each.name) for each in SYSTEMS)]
        + ["-m", "bleu", "chrf", f"--paired-{test}", "-f", "latex", "-w", "10"],
        check=True, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"},
    ).stdout  # fmt: skip
    rows = [line.split("&")[1:] for line in out.split(r"\midrule")[1].split(r"\bottomrule")[0].splitlines()[1:]]
    found = compare(SYSTEMS, PAIRS, "de")
    for row, compared in zip(rows, found.systems, strict=True):
        for cell, (name, score) in zip(row, compared.scores.items(), strict=True):
            assert cell.split()[0] == f"{score.score:.10f}"
            if test == "bs":
                width = float(cell.split("± ")[1].split(")")[0])  # computed in 32 bits
                assert score.interval == pytest.approx(width, rel=1e-5)
            if p := compared.significance.get(name):
                assert f"(p = {p.bootstrap if test == 'bs' else p.randomisation:.4f})" in cell
    assert found.systems[0].significance == {}
    assert found.systems[2].significance["bleu"].bootstrap < 0.05


def test_the_signatures_name_test_and_seed() -> None:
    signatures = compare(SYSTEMS[:2], PAIRS, "de").signatures
    assert re.search(r"\|bs:1000\|seed:12345\|.*tok:13a", signatures["bleu"]["bootstrap"])
    assert re.search(r"\|ar:10000\|seed:12345\|", signatures["chrf"]["randomisation"])


def test_wins_ties_and_losses() -> None:
    pairs = [Pair("x", "eins zwei drei"), Pair("x", "vier"), Pair("x", "fünf sechs"), Pair("x", "acht")]
    first = System("first", ["eins zwei drei", "vier", "falsch", "acht"])
    other = System("other", ["eins zwei", "vier", "fünf sechs", "neun"])
    found = compare([first, other], pairs, "de", tests=False, differences=2)
    assert [(each.wins, each.ties, each.losses, each.same) for each in found.systems] == [(0, 4, 0, 4), (1, 1, 2, 1)]
    assert [each.line for each in found.differences] == [4, 3]
    assert found.differences[1].scores[1] == 100.0 > found.differences[1].scores[0] > 0
    assert json.loads(json.dumps(found.as_json()))["systems"][1]["sentence_chrf"]["losses"] == 2


def test_all_references_count() -> None:
    pairs: list[Pair] = [ReferencedPair("x", "eins", "zwei"), ReferencedPair("x", "drei", "")]
    assert sentence_scores(["zwei", "drei"], pairs) == [100.0, 100.0]
    found = compare([System("a", ["zwei", "drei"]), System("b", ["eins", "vier"])], pairs, "de")
    assert found.systems[0].scores["chrf"].score == 100.0
    assert "nrefs:var" in found.signatures["bleu"]["bootstrap"]


def test_one_system_and_one_sentence() -> None:
    found = compare([System("a", ["eins"])], [Pair("one", "eins")], "de")
    assert (found.differences, found.systems[0].significance) == ([], {})
    found = compare([System("a", ["eins"]), System("b", ["zwei"])], [Pair("one", "eins")], "de")
    assert found.systems[1].significance["chrf"].bootstrap <= 1


def test_what_does_not_fit_together() -> None:
    with pytest.raises(DataError, match="b has 1 lines, but the text has 2 sentences"):
        compare([System("a", ["x", "y"]), System("b", ["x"])], [Pair("x", "y")] * 2)
    with pytest.raises(ConfigError, match="two systems are called a"):
        compare([System("a", ["x"]), System("a", ["x"])], [Pair("x", "y")])
    with pytest.raises(ConfigError, match="there is no system to compare"):
        compare([], [Pair("x", "y")])


def test_too_little_memory_costs_the_tests_only(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setattr(module, "memory_of_this_machine", lambda: 10_000_000)
    found = compare(SYSTEMS[:2], PAIRS, "de")
    assert found.systems[1].significance == {}
    assert found.systems[1].scores["bleu"].interval
    assert any("paired tests are left out: for 60 sentences they need" in line for line in said)


@pytest.mark.parametrize(
    ("one", "other", "marked"),
    [
        ("ein Hund läuft.", "ein Hund rennt.", ("ein Hund [läuft].", "ein Hund [rennt].")),
        ("a b c d", "a d", ("a [b c] d", "a d")),
        ("gleich", "gleich", ("gleich", "gleich")),
        ("", "neu hier", ("", "[neu hier]")),
        ("我有一只猫", "我有一只狗", ("我有一只[猫]", "我有一只[狗]")),
        ("it's 3.5 km", "it's 3.6 km", ("it's [3.5] km", "it's [3.6] km")),
        (" \t", "", (" \t", "")),
    ],
)
def test_differing_words_are_marked(one: str, other: str, marked: tuple[str, str]) -> None:
    spans = marked_words(one, other)
    assert tuple("".join(s.text for s in side) for side in spans) == (one, other)
    assert tuple("".join(f"[{s.text}]" if s.differs else s.text for s in side) for side in spans) == marked


def test_very_long_lines_are_marked_whole() -> None:
    line = "wort " * 5000
    one, other = marked_words(line + "a", line + "b")
    assert [len(side) for side in (one, other)] == [1, 1]
    assert one[0].differs
