"""What is not any more what an evaluation says is named, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command import Outcome, main

from transformer import atomic
from transformer.runs.run import open_run


@pytest.fixture(scope="module")
def evaluated_run(shared_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with an evaluation on its test text, which has beam 1 by choice and beam 4 by its own."""
    folder = tmp_path_factory.mktemp("evaluated")
    moved(shared_run, folder)
    main("evaluate", folder / "run", "--device", "cpu", "decode.beam=1", "--metrics", "ter")
    return folder / "run"


@pytest.fixture
def run(evaluated_run: Path, tmp_path: Path) -> Path:
    """Return a copy of it."""
    return moved(evaluated_run, tmp_path)


def moved(run: Path, folder: Path) -> Path:
    """Copy a run and its test text into another folder."""
    shutil.copytree(run, folder / "run")
    config = folder / "run" / "config.yaml"
    for name in ("test.en", "test.de"):
        shutil.copy(run.parent / name, folder / name)
        config.write_text(config.read_text().replace(str(run.parent / name), str(folder / name)))
    return folder / "run"


def verify(run: Path, *options: object) -> Outcome:
    return main("evaluate", run, "--verify", *options, checked=False)


def test_what_is_as_it_says(run: Path) -> None:
    outcome = verify(run)
    assert outcome == (0, b"evaluations/test.json: as it says\nREADME.md: as it says\n", outcome.err)
    run.rename(run.with_name("moved"))
    assert json.loads(verify(run.with_name("moved"), "--json").out) == {
        "verified": True,
        "files": [
            {"file": "evaluations/test.json", "differences": [], "unknown": []},
            {"file": "README.md", "differences": [], "unknown": []},
        ],
    }


def edit(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def other_weights(run: Path) -> None:
    path = run / "checkpoints" / (run / "best").read_text().strip() / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def no_checkpoint(run: Path) -> None:
    shutil.rmtree(run / "checkpoints" / (run / "best").read_text().strip())


def other_score(run: Path) -> None:
    file = run / "evaluations" / "test.json"
    values = atomic.read_json(file)
    values["chrf"]["score"] += 0.01
    file.write_text(json.dumps(values))


def other_text(run: Path) -> Path:
    (path,) = (run / "evaluations" / "texts").iterdir()
    return edit(path, "one", "two")


CHANGES: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "weights": (other_weights, ["checkpoint step-00000600 has other weights now"]),
    "checkpoint": (no_checkpoint, ["there is no checkpoint step-00000600 any more"]),
    "setting": (
        lambda run: edit(run / "config.yaml", "length_penalty: 0.6", "length_penalty: 0.7"),
        ["decode.length_penalty of the run was 0.6 and is 0.7 now"],
    ),
    "beam": (lambda run: edit(run / "config.yaml", "beam: 4", "beam: 5"), []),  # which the evaluation did not use
    "language": (
        lambda run: edit(run / "config.yaml", "target: de", "target: nl"),
        ["data.source and data.target are en and nl now"],
    ),
    "file": (lambda run: edit(run.parent / "test.de", "eins", "zwei"), ["data.test has another text now"]),
    "text": (other_text, []),  # it is read again from the file
    "both texts": (
        lambda run: (other_text(run), edit(run.parent / "test.en", "one", "two")),
        ["the text with its references is gone or has changed"],
    ),
    "translations": (
        lambda run: edit(run / "evaluations" / "test.txt", "eins", "zwei"),
        ["its translations have changed", "BLEU is ", "chrF is ", "TER is "],
    ),
    "number of translations": (
        lambda run: (run / "evaluations" / "test.txt").write_text("eins\n"),
        ["it cannot be read: there are 1 translations of 100 sentences"],
    ),
    "score": (other_score, ["chrF is "]),
    "format": (
        lambda run: edit(run / "evaluations" / "test.json", '"checkpoint": {', '"checkpoint": [], "old": {'),
        ["it has an unknown format: "],
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_each_difference_is_named(run: Path, what: str) -> None:
    change, sentences = CHANGES[what]
    change(run)
    outcome = verify(run, "--json")
    found = json.loads(outcome.out)
    assert outcome.code == (1 if sentences else 0)
    assert found["verified"] == (not sentences)
    (differences,) = (each["differences"] for each in found["files"] if each["file"] == "evaluations/test.json")
    assert [each[: len(sentence)] for each, sentence in zip(differences, sentences, strict=True)] == sentences
    if sentences:
        assert f"evaluations/test.json: differs\n  {sentences[0]}" in verify(run).out.decode()


def test_the_table_of_the_card_is_compared(run: Path) -> None:
    edit(run / "README.md", "| BLEU ", "| BLEU 9")
    outcome = verify(run)
    assert outcome.code == 1
    assert "README.md: differs\n  its table lacks 1 lines of the evaluations and has 1 others\n" in outcome.out.decode()


def test_old_evaluations_are_verified_as_far_as_they_tell(run: Path) -> None:
    """Version 0.4 kept neither text nor changed settings nor a digest; version 0.2 not even the checkpoint."""
    file = run / "evaluations" / "test.json"
    values = atomic.read_json(file)
    shutil.rmtree(run / "evaluations" / "texts")
    old = {key: value for key, value in values.items() if key not in ("changed", "translations")}
    for gone, unknown in (((), 2), (("text", "checkpoint", "languages"), 4)):
        file.write_text(json.dumps({key: value for key, value in old.items() if key not in gone}))
        found = json.loads(verify(run, "--json").out)["files"][0]
        assert found["differences"] == []
        assert len(found["unknown"]) == unknown


def test_the_old_tokenizer_is_used(run: Path) -> None:
    main("evaluate", run, "--device", "cpu", "decode.beam=1", "--tokenizer", "char")
    assert verify(run).code == 0


def test_a_metric_that_is_not_here_is_not_a_difference(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = run / "evaluations" / "test.json"
    values = atomic.read_json(file)
    file.write_text(json.dumps({**values, "comet": {"score": 80.0, "signature": "x"}}))
    monkeypatch.setitem(__import__("sys").modules, "comet", None)
    (found,) = json.loads(verify(run, "--json").out)["files"][0]["unknown"]
    assert found.startswith("COMET cannot be computed here: the metric comet needs the package unbabel-comet")


def test_verify_takes_no_other_options(run: Path) -> None:
    outcome = main("evaluate", run, "--verify", "decode.beam=1")
    assert outcome.code == 2
    assert "--verify checks all evaluations on disk as they are; give only RUN and --json" in outcome.err
    shutil.rmtree(run / "evaluations")
    assert open_run(run)
    assert verify(run).code == 1  # the card has a table of what is gone
