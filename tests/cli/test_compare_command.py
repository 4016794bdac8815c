"""`transformer compare`: what is kept is not translated again, and what does not fit together is said."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.command import Stream, last_line_has, main
from support.toy import toy_pairs

import transformer
from transformer.cli import main as cli
from transformer.config import Config
from transformer.data.tokenizer import Tokenizer
from transformer.errors import ConfigError
from transformer.evaluation.evaluate import Evaluation
from transformer.evaluation.metrics import score_corpus
from transformer.evaluation.records import keep_evaluation
from transformer.evaluation.texts import text_digest
from transformer.runs.run import Run, write_run

PAIRS = toy_pairs(10, 3)
"""The test text of the small configuration."""
TEXTS = [pair.target for pair in PAIRS]


def keep(run: Run, lines: list[str], checkpoint: str) -> None:
    """Keep an evaluation of the test text."""
    origin = {
        "text": {"sha256": text_digest(PAIRS), "files": []},
        "languages": ["en", "de"],
        "checkpoint": {"name": checkpoint, "sha256": checkpoint[-1] * 64},
        "decode": dict(vars(run.config.decode)),
        "max_length": run.config.data.max_length,
        "device": "cpu",
        "version": "0",
    }
    assert keep_evaluation(run, Evaluation("test", lines, score_corpus(lines, TEXTS), 1.0, "float32", origin, PAIRS))


@pytest.fixture
def run(tiny: Config, tok: Tokenizer, tmp_path: Path) -> Run:
    """Return a run whose checkpoints are gone, with evaluations of two of them."""
    made = write_run(tmp_path / "run", tiny, tok)
    keep(made, TEXTS, "step-00000002")
    keep(made, [*TEXTS[:9], "falsch \x1b[31m"], "step-00000001")
    return made


def test_kept_translations_of_checkpoints_that_are_gone(run: Run) -> None:
    out = main("compare", f"{run.path}@step-00000001", f"{run.path}@step-00000002", "--no-tests").out.decode()
    assert f"{run.path}@step-00000002  100.00 ± 0.00" in out
    paths = [f"{run.path}/checkpoints/step-0000000{step}" for step in (1, 2)]
    assert main("compare", *paths, "--no-tests").out.decode() == out
    assert [line.split()[1:4] for line in out.splitlines() if "same translation" in line] == [["1", "9", "0"]]
    assert "[falsch \\x1b[31m]" in out
    assert re.search(f"reference +{TEXTS[9]}", out)


def test_a_run_without_its_text_and_a_file(run: Run, tmp_path: Path) -> None:
    """The text that the evaluation kept is as good. The file's name may have an @."""
    for name in ("test.en", "test.de"):
        (tmp_path / name).unlink()
    file = tmp_path / "out@put"
    file.write_text("eins\n" * 10)
    found = json.loads(
        main("compare", f"{run.path}@step-00000001", file, "--json", "--differences", "2", "--breakdown").out
    )
    assert [each["name"] for each in found["systems"]] == [f"{run.path}@step-00000001", str(file)]
    assert found["systems"][1]["p"]["bleu"]["bootstrap"] < 0.05
    assert len(found["differences"]) == 2
    assert found["differences"][0]["source"] == PAIRS[found["differences"][0]["line"] - 1].source
    assert found["signatures"]["chrf"]["randomisation"].startswith("nrefs:1|ar:10000")
    tables = found["breakdown"][str(file)]
    assert [each["name"] for each in tables] == [
        "source_length",
        "reference_length",
        "word_frequency",
        "numbers",
        "unknown",
    ]
    assert main("compare", run.path, file).out.decode().count("*") >= 3


def test_files_alone(tmp_path: Path) -> None:
    files = {"a": "ein Hund\nzwei\n", "b": "ein Hase\nzwei\n", "ref": "ein Hase\ndrei\n", "ref2": "\nzwei\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    a, b, ref, ref2 = (tmp_path / name for name in files)
    out = main("compare", a, b, "--reference", ref, "--reference", ref2, "--breakdown").out.decode()
    assert "2 sentences of ref" in out
    assert "nrefs:var" in out
    assert "ein [Hund]" in out
    assert "source  " not in out
    one = json.loads(main("compare", b, "--reference", ref2, "--source", ref, "--json", "--languages", "en", "de").out)
    assert one["systems"][0]["chrf"]["score"] > 0
    assert one["signatures"] == {}


def test_colours_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    command = ["compare", f"{run.path}@step-00000001", f"{run.path}@step-00000002", "--no-tests"]
    assert cli.main(command) == 0
    assert "\x1b[1;31mfalsch \\x1b[31m\x1b[0m" in stream.bytes.getvalue().decode()
    monkeypatch.setenv("NO_COLOR", "1")
    stream.bytes.truncate(0)
    assert cli.main(command) == 0
    assert "\x1b" not in stream.bytes.getvalue().decode()


def test_what_does_not_fit_together(run: Run, tmp_path: Path, tok: Tokenizer) -> None:
    short, other = tmp_path / "short", tmp_path / "other"
    short.write_text("eins\n")
    french = replace(run.config, data=replace(run.config.data, target="fr"))
    write_run(other, french, tok)
    cases: list[tuple[list[object], int, str]] = [
        ([run.path, short], 1, f"{short} has 1 lines, but the text has 10 sentences"),
        ([f"{run.path}@step-00000001"] * 2, 2, f"{run.path}@step-00000001 and .* are the same system"),
        ([run.path, other], 2, f"{run.path} translates en to de, but {other} en to fr"),
        ([run.path, tmp_path / "missing"], 1, "no such file: "),
        ([tmp_path], 1, "is not a run directory: it has no config.yaml"),
        ([short], 2, "files of translations need --reference, or --testset"),
        ([short, "--testset", "wmt14"], 2, "--testset needs --languages SOURCE TARGET where no run tells them"),
        ([short, "--testset", "a", "--reference", short], 2, "--testset and --reference exclude each other; give one"),
        ([run.path, "--languages", "en", "de"], 2, "--languages is for files alone: a run tells its languages"),
        ([short, "--source", short, "--reference", tmp_path / "test.de"], 1, f"{short} has 1 lines but .* has 10"),
        ([run.path, "--reference", tmp_path / "test.de"], 2, "--source and --reference must be given together"),
        ([f"{run.path}@step-3"], 1, "has no checkpoint 'step-3'; there are: none"),
        ([run.path, other, "--source", short, "--reference", short], 2, f"{run.path} translates en to de, but"),
        ([short, "--reference", short, "--metrics", "blue"], 2, "unknown metric 'blue'; did you mean bleu?"),
    ]  # fmt: skip
    for args, code, sentence in cases:
        outcome = main("compare", *args)
        assert (outcome.code, outcome.out) == (code, b""), args
        assert last_line_has(sentence.replace("?", r"\?"), outcome.err), outcome.err


def test_a_run_needs_a_source(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blank = tmp_path / "blank"
    blank.write_text("\n\n")
    outcome = main("compare", trained_run, "--source", blank, "--reference", blank)
    assert last_line_has(f"{trained_run} needs the --source to translate", outcome.err)


def test_what_is_not_kept_is_translated_and_kept(trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    run = tmp_path / "run"
    main("evaluate", run, "--split", "valid", "--device", "cpu")
    command = ["compare", run, f"{run}@step-00000150", "--json", "--no-tests", "--device", "cpu"]
    first = main(*command)
    names = [each["name"] for each in json.loads(first.out)["systems"]]
    assert first.err.count("translations written to") == 2
    assert names[1] == f"{tmp_path}/run@step-00000150"
    again = main(*command)
    assert again.out == first.out
    assert again.err.count("was translated before") == 2
    settings = tmp_path / "run" / "config.yaml"
    settings.write_text(settings.read_text().replace("beam: 4", "beam: 1"))
    assert main(*command).err.count("translations written to") == 2


def test_nothing_to_compare() -> None:
    with pytest.raises(ConfigError, match="there is nothing to compare: give a run or a file of translations"):
        transformer.compare([])
