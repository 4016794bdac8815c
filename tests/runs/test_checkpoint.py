"""Checkpoints that are damaged or do not match their run are refused."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from transformer import atomic, config_file
from transformer.config import TokenizerConfig
from transformer.data.tokenizer import learn_tokenizer
from transformer.errors import CheckpointError
from transformer.runs.checkpoint import WEIGHTS, StoredWeights, load_tensors, save_checkpoint
from transformer.runs.models import load_model
from transformer.runs.run import open_run
from transformer.system.clock import Stopwatch
from transformer.system.distributed import Ranks
from transformer.training.session import build_loop


@pytest.fixture
def copy(trained_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained_run, tmp_path / "copy")
    return tmp_path / "copy"


def best(folder: Path) -> Path:
    return folder / "checkpoints" / (folder / "best").read_text().strip()


def test_a_copied_run_loads(copy: Path) -> None:
    model, path = load_model(open_run(copy))
    assert path == best(copy)
    assert not model.training


def test_a_folder_that_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such directory"):
        open_run(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"it has no config.yaml"):
        open_run(tmp_path)


def test_a_damaged_best_is_replaced_and_a_named_one_refused(copy: Path) -> None:
    name = best(copy).name
    (best(copy) / "model.safetensors").write_bytes(b"")
    _, path = load_model(open_run(copy))
    assert path.name != name
    with pytest.raises(CheckpointError, match="cannot be used: model.safetensors has 0 bytes"):
        load_model(open_run(copy), name)


def test_pointers_must_stay_inside_the_run(copy: Path) -> None:
    (copy / "best").write_text("../../etc")
    with pytest.raises(CheckpointError, match="must name a checkpoint"):
        load_model(open_run(copy))


def remake(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Put other weights into a checkpoint, with a matching manifest."""
    state = (folder / "state.json").read_text()
    with atomic.new_folder(folder) as new:
        save_file(tensors, new / "model.safetensors")
        (new / "state.json").write_text(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("target_embedding.weight"), "lacks target_embedding.weight"),
        (lambda t: t.update(extra=torch.zeros(1)), "has extra, which this configuration does not"),
        (lambda t: t.update({"target_embedding.weight": torch.zeros(2, 2)}), r"has shape \(2, 2\)"),
    ],
)
def test_weights_of_another_shape_are_named(copy: Path, change: object, message: str) -> None:
    path = best(copy)
    tensors = load_tensors(path / "model.safetensors")
    change(tensors)  # type: ignore[operator]
    remake(path, tensors)
    with pytest.raises(CheckpointError, match=message):
        load_model(open_run(copy), path.name)


@pytest.mark.parametrize("content", [b"", b"abc", struct.pack("<Q", 1 << 60), struct.pack("<Q", 10) + b"not json!!"])
def test_files_without_tensors_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointError):
        load_tensors(tmp_path / "x")


def test_an_unknown_format_is_refused(copy: Path) -> None:
    state = json.loads((best(copy) / "state.json").read_text())
    tensors = load_tensors(best(copy) / "model.safetensors")
    with atomic.new_folder(best(copy)) as new:
        save_file(tensors, new / "model.safetensors")
        (new / "state.json").write_text(json.dumps({**state, "format": 99}))
    with pytest.raises(CheckpointError, match="has format 99; this version reads 1"):
        load_model(open_run(copy), best(copy).name)


def test_checkpoints_by_name(copy: Path) -> None:
    run = open_run(copy)
    assert load_model(run, "best")[1] == best(copy)
    with pytest.raises(CheckpointError, match="has no checkpoint 'step-9'; there are: step-"):
        load_model(run, "step-9")


def test_a_swapped_tokenizer_is_detected(copy: Path, tok: object) -> None:
    other = learn_tokenizer([("a b c", "d e f")] * 3, TokenizerConfig(vocab_size=300))
    other.save(copy)
    with pytest.raises(CheckpointError, match="a different tokenizer"):
        load_model(open_run(copy))
    cfg = config_file.load(copy / "config.yaml")
    loop = build_loop(cfg, copy, torch.device("cpu"), Ranks(), Stopwatch(), resume=True)
    with pytest.raises(CheckpointError, match="a different tokenizer"):
        loop.writer.restore(best(copy))


def test_a_best_checkpoint_that_is_gone_is_replaced_and_both_are_named(
    copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = open_run(copy)
    best = run.pointer("best")
    assert best is not None
    shutil.rmtree(best)
    _, found = load_model(run)
    assert found != best
    assert f"{copy}/best names {best.name}, which does not exist" in caplog.messages
    assert caplog.messages[-1] == f"{found.name} is used instead of the best checkpoint"


def test_weights_that_are_cut_after_they_were_checked(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "step", {"x": torch.ones(1000)}, None, {"tokenizer": ""})
    path = tmp_path / "step" / WEIGHTS
    weights = StoredWeights(path, {"x": (1000,)})
    assert torch.equal(weights["x"], torch.ones(1000))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(CheckpointError, match="cannot be read: it was cut"):
        weights["x"]
