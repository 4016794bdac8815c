"""The benchmark for GPUs runs from end to end on a CPU, and says what it leaves out."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts" / "bench"
QUICK = (
    "machine,correct,laws,train,train.torch,train.compiled,train.ratios,decode,decode.generate,products,attention,loss"
)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs the command with options and returns its rows and its tables."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import gpu

    def run(*options: str) -> tuple[list[dict[str, Any]], str]:
        command = ["gpu.py", "--tiny", "--device", "cpu", "--out", str(tmp_path), *options]
        monkeypatch.setattr(sys, "argv", command)
        gpu.main()
        return json.loads((tmp_path / "gpu.json").read_text())["rows"], (tmp_path / "gpu.md").read_text()

    return run


@pytest.mark.filterwarnings("default")
def test_every_stage_runs(bench: Any) -> None:
    rows, tables = bench("--stages", QUICK)
    assert not [row for row in rows if row["what"] in ("failed", "stopped", "skipped")]
    assert {row["stage"] for row in rows} == {name.partition(".")[0] for name in QUICK.split(",")}
    checks = [row for row in rows if "passed" in row]
    assert len(checks) == 5
    assert all(row["passed"] for row in checks)
    rates = {row["what"]: row["tokens_per_second"] for row in rows if "tokens_per_second" in row}
    assert len(rates) == 3
    assert min(rates.values()) > 0
    for stage in ("correct", "train", "attention"):
        assert f"**{stage}**\n\n| what |" in tables
    assert "| this repository, fast: off |" in tables


@pytest.mark.slow
def test_the_first_update_is_timed(bench: Any) -> None:
    rows, _ = bench("--stages", "first_update")
    assert all(0 < row["seconds"] < 120 for row in rows)
    assert len(rows) == 3


def test_what_the_budget_does_not_allow_is_left_out(bench: Any) -> None:
    rows, tables = bench("--budget", "-1")
    assert {row["what"] for row in rows} == {"skipped"}
    assert "skipped" in tables


def test_a_stage_that_fails_or_takes_too_long_ends_alone(bench: Any, tmp_path: Path) -> None:
    report = sys.modules["gpu_report"].Report(tmp_path, budget=60)

    def fails() -> None:
        raise ValueError("no such kernel")

    report.run("one", 0, fails)
    report.budget -= report.seconds_left - 0.1
    report.run("two", 0, lambda: time.sleep(30))
    report.budget = 60
    report.run("three", 0, lambda: report.say("fine", speed=12345.6, share=0.5))
    found = [(row["stage"], row["what"]) for row in report.rows if row["what"] != "seconds"]
    assert found == [("one", "failed"), ("two", "stopped"), ("three", "fine")]
    assert "| fine | 12,346 | 0.5 |" in (tmp_path / "gpu.md").read_text()
