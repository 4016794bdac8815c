"""No test finds what another has left behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.mark.parametrize("time", ["first", "second"])
def test_the_shared_run_is_as_trained(trained_run: Path, time: str) -> None:
    assert not (trained_run / "evaluations").exists()
    assert "changed" not in (trained_run / "config.yaml").read_text()
    assert list((trained_run / "checkpoints").iterdir())
    (trained_run / "evaluations").mkdir()
    (trained_run / "evaluations" / "x.json").touch()
    (trained_run / "config.yaml").write_text("changed")
    shutil.rmtree(trained_run / "checkpoints")
