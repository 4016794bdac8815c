"""Checkpoints that a thread writes beside training, as on a GPU: the same, and failures are seen a save later."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from support.toy import CPU, assert_same

from transformer import config_file
from transformer.config import Config
from transformer.data import batching
from transformer.errors import CheckpointError
from transformer.runs import checkpoint
from transformer.runs.checkpoint import load_state, load_tensors
from transformer.runs.run import open_run
from transformer.training import saving
from transformer.training.saving import CheckpointWriter
from transformer.training.session import train
from transformer.training.trainer import Trainer

OFTEN = ["train.save_every=2", "train.validate_every=6", "train.keep_last=9", "train.ema=0.9"]


@pytest.fixture(autouse=True)
def aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformer.training.loop.saves_aside", lambda device: True)


def test_the_checkpoints_are_those_of_the_step_they_are_named_after(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although training has gone on when they are written."""
    cfg = config_file.override(tiny, OFTEN)
    write, updated = checkpoint.save_checkpoint, threading.Event()
    monkeypatch.setattr("transformer.training.loop.saves_aside", lambda device: False)
    train(cfg, tmp_path / "waiting", CPU)

    def late(path: Path, *contents: Any) -> None:
        if path.name != "step-00000012":  # no update follows the last one
            updated.clear()
            assert updated.wait(20)
        write(path, *contents)

    def update(self: Trainer, step: int, cut: batching.CutUpdate[Any], rate: float) -> Any:
        pending = original(self, step, cut, rate)
        updated.set()
        return pending

    original = Trainer.update
    monkeypatch.setattr("transformer.training.loop.saves_aside", lambda device: True)
    monkeypatch.setattr(saving, "save_checkpoint", late)
    monkeypatch.setattr(Trainer, "update", update)
    # Without a validation after a save, which would wait for it before the next update.
    train(config_file.override(cfg, ["data.valid=null"]), tmp_path / "aside", CPU)
    for step in (2, 4, 8, 10, 12):
        for file in ("model.safetensors", "state.safetensors"):
            one, other = (
                load_tensors(tmp_path / run / f"checkpoints/step-{step:08}" / file) for run in ("waiting", "aside")
            )
            assert_same(one, other)
        assert load_state(tmp_path / f"aside/checkpoints/step-{step:08}")["progress"]["step"] == step
    assert open_run(tmp_path / "aside").pointer("last") is not None


def fail(monkeypatch: pytest.MonkeyPatch, *failing: str) -> None:
    """Let the saves of these steps fail."""
    write = checkpoint.save_checkpoint

    def save(path: Path, *contents: Any) -> None:
        if path.name in failing:
            raise OSError(28, "No space left on device")
        write(path, *contents)

    monkeypatch.setattr(saving, "save_checkpoint", save)


def test_a_failed_save_is_a_warning(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    fail(monkeypatch, "step-00000004")
    train(config_file.override(tiny, OFTEN), tmp_path / "run", CPU)
    assert [line for line in said if line.startswith("step 4 was NOT saved; the checkpoints before it are intact")]
    assert not (tmp_path / "run/checkpoints/step-00000004").exists()
    assert (tmp_path / "run/checkpoints/step-00000012").exists()


def test_three_failed_saves_end_training(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, *(f"step-{step:08}" for step in (4, 6, 8)))
    with pytest.raises(OSError, match="No space left"):
        train(config_file.override(tiny, OFTEN), tmp_path / "run", CPU)
    assert (tmp_path / "run/checkpoints/step-00000002").exists()


def test_a_failed_save_at_the_end_ends_with_its_error(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, "step-00000012")
    with pytest.raises(OSError, match="No space left"):
        train(config_file.override(tiny, [*OFTEN, "data.valid=null"]), tmp_path / "run", CPU)


def test_the_lock_is_held_until_all_is_written(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when training ends with an error meanwhile."""
    write = checkpoint.save_checkpoint
    done: list[str] = []

    def slow(path: Path, *contents: Any) -> None:
        failed.wait(20)
        write(path, *contents)
        done.append(path.name)

    def update(self: Trainer, step: int, cut: batching.CutUpdate[Any], rate: float) -> Any:
        if step == 3:
            failed.set()
            raise CheckpointError("stop here")
        return original(self, step, cut, rate)

    original, failed = Trainer.update, threading.Event()
    monkeypatch.setattr(saving, "save_checkpoint", slow)
    monkeypatch.setattr(Trainer, "update", update)
    with pytest.raises(CheckpointError, match="stop here"):
        train(config_file.override(tiny, OFTEN), tmp_path / "run", CPU)
    assert done == ["step-00000002"]


def test_only_gpus_save_aside() -> None:
    """A CPU would train more slowly meanwhile."""
    assert not saving.saves_aside(CPU)
    assert CheckpointWriter.save.__defaults__ == (False, False)
