"""The progress in a checkpoint is validated, with the current names of fields and those of version 0.1."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from transformer.errors import CheckpointError
from transformer.runs.checkpoint import load_tensors
from transformer.runs.progress import RENAMED, Progress, is_valid

FIRST = {"step": 1, "epoch": 0, "index": 1, "tokens": 9, "seconds": 0.5}


def test_progress_survives_json() -> None:
    progress = Progress(step=3, best_score=-1.5, ranking=[(-1.5, "step-00000003")], last_validation={"loss": 1.5})
    assert Progress.from_state(json.loads(json.dumps({"progress": vars(progress)}))) == progress


def test_names_of_version_0_1_are_accepted() -> None:
    old = {"best": -2.0, "valid": {"loss": 2.0}, "validated": 1, "skips": 2, "good": "step-00000001", "calm": True}
    assert old.keys() == RENAMED.keys()
    progress = Progress.from_state({"progress": {**FIRST, **old}})
    assert [getattr(progress, RENAMED[name]) for name in old] == list(old.values())


def test_a_new_field_needs_no_other_file() -> None:
    """Fields are checked by their types only, and fields missing in an old checkpoint get their defaults."""
    assert Progress.from_state({"progress": FIRST}).ranking == []
    for field in fields(Progress):
        assert not is_valid({**FIRST, field.name: object()}), field.name


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({}, "a checkpoint has no training progress"),
        ({"progress": {**FIRST, "step": "1"}}, "a checkpoint's progress is not what training wrote"),
        ({"progress": {**FIRST, "mood": 1}}, "a checkpoint's progress has an unknown field: mood"),
    ],
)
def test_progress_that_training_did_not_write_is_refused(state: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        Progress.from_state(state)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="x.safetensors lacks b: it belongs to another configuration"):
        load_tensors(tmp_path / "x.safetensors", {"a": (2,), "b": (2,)})


def test_a_newer_versions_progress_is_shown_but_not_resumed() -> None:
    newer = {"progress": {**FIRST, "mood": 1}}
    assert Progress.from_state(newer, ignore_unknown=True).step == 1
    with pytest.raises(CheckpointError):
        Progress.from_state(newer)
