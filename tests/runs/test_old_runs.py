"""Run directories of version 0.1.0 still resume, evaluate and translate, with the same results.

`old_runs/version-0.1.0.tar.xz` was written by the commands of that version: text and prepared data; `finished`, a run
at its last step; `int8`, one that decodes in 8 bits; `stopped`, interrupted in the middle of an epoch, with a moving
average, subword sampling and two vocabularies. `old_runs/expected.json` has the results of that version: the
translations, the scores, and the sum, norm and first numbers of each tensor of the resumed runs. The greedy ones
are of version 0.2.0, whose beam search was that of 0.1.0. With subword sampling,
that version drew different segmentations in each process, so those weights cannot be compared.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from transformer.cli.main import main
from transformer.decoding.int8.build import library
from transformer.runs.run import open_run

FOLDER = Path(__file__).parent / "old_runs"
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
RUNS = ["finished", "stopped", pytest.param("int8", marks=pytest.mark.skipif(library() is None, reason="no int8 here"))]


@pytest.fixture
def old_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Unpack the runs and change to their folder, since their configurations have relative paths."""
    with tarfile.open(FOLDER / "version-0.1.0.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", RUNS)
def test_old_runs_translate_the_same(old_runs: Path, name: str) -> None:
    found, expected = translations(name, "decode.beam=1"), EXPECTED[name]["greedy"]
    assert [text for _, text in found] == [line.split("\t")[1] for line in expected]
    for (score, _), line in zip(found, expected, strict=True):
        assert score == pytest.approx(float(line.split("\t")[0]), abs=2e-3)


def translations(name: str, *settings: str) -> list[tuple[float, str]]:
    """Return the scores and texts of the test text's translations."""
    assert main(["translate", name, "--scores", *settings, "test.en", "-o", "out"]) == 0
    lines = [line.split("\t") for line in Path("out").read_text(encoding="utf-8").splitlines()]
    return [(float(score), text) for score, text in lines]


@pytest.mark.parametrize("name", RUNS)
def test_beam_search_in_old_runs_differs_only_where_it_finds_more(old_runs: Path, name: str) -> None:
    """Up to version 0.2.0 it stopped when other hypotheses could still win. The expected lists have two a line."""
    pairs = list(zip(translations(name), EXPECTED[name]["translations"][::2], strict=True))
    for (score, text), line in pairs:
        wanted, before = line.split("\t")
        assert text == before if score < float(wanted) + 2e-3 else score > float(wanted)
        assert score > float(wanted) - 2e-3
    assert any(text == line.split("\t")[1] for (_, text), line in pairs)


@pytest.mark.parametrize("name", RUNS)
def test_old_runs_evaluate_the_same(old_runs: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", name, "--json", "decode.beam=1"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = EXPECTED[name]["greedy_evaluation"]
    assert found["bleu"]["score"] == pytest.approx(expected["bleu"]["score"], abs=1e-6)
    assert found["chrf"]["signature"] == expected["chrf"]["signature"]
    assert found["precision"] == expected["precision"]
    assert "Trained for" in (old_runs / name / "README.md").read_text(encoding="utf-8")


def resume(name: str) -> Path:
    """Resume a run with the settings with which the old version resumed it. Return the last checkpoint."""
    settings = EXPECTED[name]["settings"]
    assert main(["train", "old.yaml", "--run", name, "data.prepared_dir=prepared", *settings]) == 0
    last = Path(name, "checkpoints", Path(name, "last").read_text().strip())
    assert last.name == EXPECTED[name]["resumed"]
    return last


@pytest.mark.parametrize("name", ["finished", RUNS[2]])
def test_old_runs_resume_to_the_same_weights(old_runs: Path, name: str) -> None:
    prepared = sorted(path.name for path in (old_runs / "prepared").iterdir())
    last = resume(name)
    assert prepared == sorted(path.name for path in (old_runs / "prepared").iterdir() if path.name != ".lock")
    found = {
        f"{file}/{key}": t for file in ("model", "state") for key, t in load_file(last / f"{file}.safetensors").items()
    }
    assert found.keys() == EXPECTED[name]["tensors"].keys()
    for key, (total, norm, *first) in EXPECTED[name]["tensors"].items():
        flat = found[key].double().flatten()
        # Relative to the norm, as sums of many numbers of both signs, and second moments, can be tiny.
        assert torch.linalg.vector_norm(flat).item() == pytest.approx(norm, rel=1e-3, abs=1e-9), key
        assert flat.sum().item() == pytest.approx(total, abs=1e-2 * norm + 1e-9), key
        assert flat[:3].tolist() == pytest.approx(first, abs=1e-2 * norm + 1e-9), key


def test_an_old_run_stopped_in_the_middle_of_an_epoch_resumes(old_runs: Path) -> None:
    state = json.loads(Path("stopped/checkpoints/step-00000023/state.json").read_text())
    assert state["progress"]["index"] > 0
    last = resume("stopped")
    progress: dict[str, Any] = json.loads((last / "state.json").read_text())["progress"]
    assert progress["step"] == 40
    assert progress["tokens"] > state["progress"]["tokens"]
    assert progress["last_validation"]["loss"] == pytest.approx(EXPECTED["stopped"]["resumed_loss"], rel=0.03)


def test_old_runs_state_the_rule_for_text_that_they_have(old_runs: Path, said: list[str]) -> None:
    assert {open_run(old_runs / name).config.tokenizer.normalization for name in ("finished", "stopped")} == {
        "nmt_nfkc"
    }
    resume("finished")
    assert "  normalization: nmt_nfkc\n" in Path("finished/config.yaml").read_text()
    assert "this run uses its tokenizer, so tokenizer.* is: normalization=nmt_nfkc" in said
    settings = [*EXPECTED["finished"]["settings"], "tokenizer.normalization=identity"]
    assert main(["train", "old.yaml", "--run", "finished", "data.prepared_dir=prepared", *settings]) == 2


def test_old_runs_encode_training_text_as_they_did(old_runs: Path) -> None:
    tok = open_run(old_runs / "finished").tokenizer
    text = "one\u00ad two\u200b\tthree\u2581 \u00bd e\u0301 \ufeff"
    assert tok.encode_pairs([text], [text])[0].ids.tolist() == tok.source.encode(text)
    assert tok.encode_source([text]) == tok.encode_source(["one two three \u00bd e\u0301"]) != [tok.source.encode(text)]


def test_old_names_of_settings_are_accepted_and_logged_once(old_runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    from transformer import config_file

    config_file._log_renamed.cache_clear()
    with caplog.at_level("INFO", logger="transformer"):
        cfg = config_file.load(Path("finished/config.yaml"), ["train.best=bleu"])
        config_file.load(Path("finished/config.yaml"))
    assert (cfg.train.schedule, cfg.train.select_by) == ("linear", "bleu")
    assert [record.getMessage() for record in caplog.records] == [
        "the setting train.rate is now called train.schedule; the old name still works",
        "the setting train.best is now called train.select_by; the old name still works",
    ]
