"""`transformer check`: a good model passes, each kind of bad one fails, and the row says why."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.command import last_line_has, main
from support.toy import toy_pairs

from transformer.config import Config
from transformer.data.corpus import Pair
from transformer.data.tokenizer import Tokenizer
from transformer.decoding.translator import Translator
from transformer.evaluation.check import LIMITS, Check, check_model
from transformer.evaluation.evaluate import Evaluation
from transformer.evaluation.health import KINDS
from transformer.evaluation.metrics import score_corpus
from transformer.evaluation.probes import PLACEHOLDERS, TITLES, make_probes
from transformer.evaluation.records import keep_evaluation
from transformer.evaluation.systems import TextChoice, text_to_check
from transformer.evaluation.texts import text_digest
from transformer.runs.run import Run, write_run

WORDS = "cat dog house river green happy slowly because walks under many people small never quite".split()  # noqa: SIM905
CODED = {word: word[::-1] + "en" for word in WORDS}


def sentence(number: int) -> str:
    """Return one of many different sentences."""
    return " ".join(random.Random(number).sample(WORDS, 7)).capitalize() + "."


def right(text: str) -> str:
    """Translate word by word, whatever the case, and copy the rest."""
    return " ".join(
        CODED[bare.lower()] + word[len(bare) :] if (bare := word.rstrip(".")).lower() in CODED else word
        for word in text.split()
    )


PAIRS = [Pair(sentence(number), right(sentence(number))) for number in range(60)]


class Fake:
    """A translator that is a function."""

    decoder = SimpleNamespace(decoded=None)

    def __init__(self, function: Callable[[str], str]) -> None:
        self.function, self.lines = function, 0

    def warnings(self) -> Any:
        return SimpleNamespace(given=set())

    def translate(self, lines: list[str], warnings: Any) -> Iterator[Any]:
        self.lines += len(lines)
        return ([SimpleNamespace(text=self.function(line))] for line in lines)


def check(function: Callable[[str], str], **options: Any) -> Check:
    return check_model(cast(Translator, Fake(function)), PAIRS, ("en", "de"), **options)


def verdicts(found: Check) -> dict[str, str]:
    return {row.name: row.verdict for row in found.rows}


def test_a_good_model_passes() -> None:
    found = check(right)
    assert set(verdicts(found).values()) == {"ok"}, [row for row in found.rows if row.verdict != "ok"]
    assert found.verdict == "ok"
    assert list(verdicts(found)) == ["fit", *KINDS, "same", *TITLES]
    assert set(LIMITS) == {*KINDS, "same"}


@pytest.mark.parametrize(
    ("function", "failed"),
    [
        (lambda text: "", {"fit", "empty", "word", "no_stop", "paragraph"}),
        (lambda text: "und so " * 9, {"fit", "repeated", "same", "empty_line", "word", "no_stop"}),
        (lambda text: "das ist ein ganz anderer Satz hier", {"fit", "same", "empty_line", "paragraph"}),
        (lambda text: right(text).replace("en ", "@@ en "), {"leftovers", "no_stop"}),
        (lambda text: right(text).split(".")[0], {"paragraph"}),
        (lambda text: right(PAIRS[len(text) % 60].source), {"fit", "empty_line"}),
        (lambda text: text, {"fit", "untranslated"}),
        (lambda text: right(text) + " кошка спит на коврике" * bool(text.strip()), {"script", "word", "no_stop"}),
        (lambda text: right(text) + " " + right(text)[::-1] * 3, {"long"}),
    ],
    ids=["empty", "loop", "constant", "marks", "first sentence", "other", "copy", "script", "long"],
)
def test_a_bad_model_fails(function: Callable[[str], str], failed: set[str]) -> None:
    found = verdicts(check(function))
    assert failed <= {name for name, verdict in found.items() if verdict == "fail"}, found


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda text: right(text) if text.upper() != text or len(text) < 20 else "WIE BITTE", "capitals"),
        (lambda text: right(text) if text.title() != text or len(text) < 20 else "Wie Bitte", "title"),
        (lambda text: right(text.replace("https://", "")), "with_link"),
        (lambda text: right(text.replace("{name}", "Name")), "with_placeholder"),
        (lambda text: right(text.replace("\U0001f642", "")), "with_emoji"),
        (lambda text: right(text.replace("1984", "1983")), "digits"),
        (lambda text: right(text) if text != "!" else "ja", "punctuation"),
    ],
)
def test_a_weakness_is_a_warning(function: Callable[[str], str], name: str) -> None:
    found = check(function)
    assert verdicts(found)[name] == "warn"
    assert found.verdict == "warn"
    (row,) = (row for row in found.probes if row.name == name)
    assert row.note
    assert row.translation == function(row.source)


def test_a_rare_fault_is_a_warning_and_a_short_text_does_not_fail_by_one_line() -> None:
    lines = [pair.target for pair in PAIRS]
    lines[7] = ""
    found = check(right, translations=lines)
    (row,) = (row for row in found.checks if row.name == "empty")
    assert (row.verdict, row.count, row.total, row.note, row.source) == ("warn", 1, 60, "line 8", PAIRS[7].source)


def test_lines_are_from_all_over_the_text() -> None:
    fake = Fake(right)
    found = check_model(cast(Translator, fake), PAIRS, ("en", "de"), lines=6, name="mine")
    assert (found.lines, found.text) == (6, "mine")
    assert json.loads(json.dumps(found.as_json()))["verdict"] == "ok"


@pytest.mark.parametrize(
    ("sources", "missing"),
    [
        (["我有一只猫。", "他每天都去学校上课。", "今天的天气非常好。"] * 5, {"capitals", "title"}),
        (["a b"], {"word", "no_stop", "repeats"}),
        (
            [""],
            {
                "word",
                "letter",
                "no_stop",
                "capitals",
                "title",
                "with_link",
                "with_placeholder",
                "with_emoji",
                "paragraph",
                "repeats",
            },
        ),
        (["مرحبا بكم في هذا المكان الجميل جدا."] * 3, {"capitals", "title"}),
    ],
    ids=["zh", "short", "nothing", "ar"],
)
def test_probes_fit_every_language(sources: list[str], missing: set[str]) -> None:
    assert set(TITLES) - {probe.name for probe in make_probes(sources)} == missing


def test_probes_are_of_the_runs_own_words() -> None:
    probes = make_probes([pair.source for pair in PAIRS])
    by_name: dict[str, list[str]] = {}
    for probe in probes:
        by_name.setdefault(probe.name, []).append(probe.source)
    assert set(by_name["word"]) <= {*WORDS, *(word.capitalize() for word in WORDS)}
    assert all(text.upper() == text for text in by_name["capitals"])
    assert by_name["no_stop"][0] + "." in [pair.source for pair in PAIRS]
    assert by_name["repeats"][0].split().count(by_name["word"][0]) == 50
    assert all(any(mark in text for text in by_name["with_placeholder"]) for mark in PLACEHOLDERS)
    assert len(by_name["paragraph"][0].split(". ")) == 5


def test_which_text_is_checked(tiny: Config, tok: Tokenizer, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tiny, tok)
    pairs = toy_pairs(10, 3)

    def names() -> list[str]:
        return [text_to_check(run, TextChoice(split)).name for split in ("", "valid")]

    assert names() == ["test", "valid"]
    (tmp_path / "test.en").unlink()
    assert text_to_check(run, TextChoice("")).name == "valid"
    _keep(run, pairs)
    text = text_to_check(run, TextChoice(""))
    assert (text.name, text.pairs) == ("test", pairs)
    bare = Run(tmp_path, replace(tiny, data=replace(tiny.data, test=None, valid=None)), tok)
    assert text_to_check(bare, TextChoice("")).name == "the training text"
    (tmp_path / "train.en").unlink()
    outcome = main("check", tmp_path / "missing")
    assert last_line_has("is not a run directory: no such directory", outcome.err)
    with pytest.raises(Exception, match="there is no text of .* left to translate; give --source and --reference"):
        text_to_check(bare, TextChoice(""))


def _keep(run: Run, pairs: list[Pair]) -> None:
    lines = ["x"] * len(pairs)
    origin = {
        "text": {"sha256": text_digest(pairs), "files": []},
        "languages": ["en", "de"],
        "checkpoint": {"name": "step-00000001", "sha256": "1" * 64},
        "decode": dict(vars(run.config.decode)),
        "max_length": run.config.data.max_length,
    }
    scores = score_corpus(lines, [pair.target for pair in pairs])
    assert keep_evaluation(run, Evaluation("test", lines, scores, 1.0, "float32", origin, pairs))


def test_the_command(trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    command = ["check", tmp_path / "run", "--lines", "20", "--device", "cpu"]
    outcome = main(*command, checked=False)
    out = outcome.out.decode()
    assert "20 lines of test, translated by step-00000600" in out
    assert outcome.err == ""
    verdict = out.splitlines()[-1].split(":")[0]
    assert outcome.code == (verdict == "fail")
    found = json.loads(main(*command, "--json", "--split", "valid", checked=False).out)
    assert (found["checkpoint"], found["text"], found["lines"]) == ("step-00000600", "valid", 20)
    assert {row["name"]: row["verdict"] for row in found["checks"]}["fit"] == "ok"
    assert main("evaluate", tmp_path / "run", "--device", "cpu").code == 0
    assert "test was translated before: scoring test.txt" in main(*command, checked=False).err
