"""All checkpoints are evaluated on the same text, with what averages buy."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from support.command import main
from support.toy import CPU, TINY, toy_pairs, write_pairs

from transformer import config_file
from transformer.errors import CheckpointError
from transformer.evaluation.evaluated_model import EvaluatedModel
from transformer.evaluation.texts import EvaluationText
from transformer.runs.checkpoint import load_tensors
from transformer.runs.models import load_model
from transformer.runs.run import open_run
from transformer.training.session import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with a moving average and an average of two checkpoints."""
    folder = tmp_path_factory.mktemp("curve")
    files = {
        name: write_pairs(folder, name, toy_pairs(count, seed))
        for seed, (name, count) in enumerate({"train": 150, "valid": 10, "test": 10}.items())
    }
    (folder / "tiny.yaml").write_text(TINY.format(**files), encoding="utf-8")
    wishes = "train.ema=0.5 train.average_last=2 train.keep_last=2 train.save_every=6 train.validate_every=6"
    train(config_file.load(folder / "tiny.yaml", [*wishes.split(), "train.select_by=ter"]), folder / "run", CPU)
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of it."""
    return shutil.copytree(trained, tmp_path / "run")


def test_ter_can_select_checkpoints(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    scores = {line["step"]: line["ter"] for line in lines if line["kind"] == "valid"}
    assert (trained / "best").read_text() == f"step-{min(scores, key=lambda step: scores[step]):08}\n"
    assert all("comet" not in line and "chrf++" not in line for line in lines)


def test_the_curve_has_all_checkpoints_and_what_averages_buy(run: Path) -> None:
    command = ["evaluate", run, "--checkpoints", "all", "decode.beam=1", "decode.max_extra=3"]
    head, columns, *lines = main(*command).out.decode().splitlines()
    assert head == "10 sentences of test"
    assert columns.split() == ["checkpoint", "step", "BLEU", "chrF"]
    rows = [re.split(r"  +", line) for line in lines if "±" in line]
    titles = [
        "step-00000006",
        "step-00000006 without moving average",
        "step-00000012",
        "step-00000012 without moving average",
        "average-00000012",
    ]
    assert [row[0].replace(" (best)", "") for row in rows] == titles
    assert [row[1] for row in rows] == ["6", "6", "12", "12", "12"]
    assert sum("(best)" in row[0] for row in rows) == 1
    scores = {title: float(row[3].split()[0]) for title, row in zip(titles, rows, strict=True)}
    gains = lines[len(rows) :]
    assert [line.split(": ")[0] for line in gains] == [
        "moving average at step 6 against plain weights",
        "moving average at step 12 against plain weights",
        "average of 2 checkpoints against the last of them, step-00000012",
    ]
    for line, one, other in zip(gains, (0, 2, 4), (1, 3, 2), strict=True):
        difference = scores[titles[one]] - scores[titles[other]]
        assert float(line.split("chrF ")[1]) == pytest.approx(difference, abs=0.011)
    objects = [json.loads(line) for line in main(*command, "--json").out.splitlines()]
    assert [each["checkpoint"].get("weights") for each in objects] == [None, "plain", None, "plain", None]
    assert len({each["checkpoint"]["sha256"] for each in objects}) == len(titles)
    assert len(list((run / "evaluations").glob("*.json"))) == len(titles)
    card = (run / "README.md").read_text()
    assert "| step-00000006 without moving average |" in card
    found = main("evaluate", run, "--checkpoints", "step-00000012,average-00000012", "--json", *command[4:]).out
    assert [json.loads(line)["checkpoint"]["name"] for line in found.splitlines()] == [
        "step-00000012",
        "step-00000012",
        "average-00000012",
    ]


def test_plain_weights_are_those_before_averaging(run: Path) -> None:
    opened = open_run(run)
    state = load_tensors(run / "checkpoints" / "step-00000012" / "state.safetensors")
    for plain in (False, True):
        model, _ = load_model(opened, "step-00000012", plain)
        same = [torch.equal(part, state[f"weights.{name}"]) for name, part in model.state_dict().items()]
        assert all(same) == plain
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(opened, "average-00000012", plain=True)


def test_a_checkpoint_without_average_has_no_plain_weights(trained_run: Path) -> None:
    opened = open_run(trained_run)
    with pytest.raises(CheckpointError, match="has no weights beside the moving average that fit this configuration"):
        load_model(opened, opened.steps()[0].name, plain=True)


def test_damaged_checkpoints_are_left_out_of_all_but_not_of_names(run: Path) -> None:
    (run / "checkpoints" / "step-00000006" / "model.safetensors").unlink()
    command = ["evaluate", run, "decode.beam=1", "decode.max_extra=3", "--checkpoints"]
    outcome = main(*command, "all")
    assert "step-00000006 is left out: model.safetensors is missing" in outcome.err
    assert outcome.out.decode().count("±") == 2 * 3
    outcome = main(*command, "step-00000006")
    assert (outcome.code, outcome.out) == (1, b"")
    assert "step-00000006 cannot be used: model.safetensors is missing" in outcome.err
    for options, code, sentence in (
        (["all,step-00000012"], 2, "--checkpoints is `all`, or names of checkpoints"),
        (["step-1"], 1, "has no checkpoint 'step-1'; there are: "),
        (["all", "--checkpoint", "best"], 2, "--checkpoint and --checkpoints exclude each other; give one"),
    ):
        outcome = main(*command, *options)
        assert (outcome.code, outcome.out) == (code, b"")
        assert sentence in outcome.err
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    outcome = main(*command, "all")
    assert outcome.code == 1
    assert "no checkpoint in" in outcome.err


def test_a_checkpoint_without_manifest_is_one_sentence(run: Path) -> None:
    system = EvaluatedModel(run)
    (system.checkpoint / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="has no manifest that can be read"):
        system.origin(EvaluationText("x", []))
