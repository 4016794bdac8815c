"""Runs and pages that several tests of the report look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.reports import copied, keep, pairs_and_translations, short_run, strange_pairs_and_translations


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run without an evaluation. Tests copy it before they write into it."""
    return short_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def evaluated(plain_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that has translated a strange text, with events in its log."""
    run = copied(plain_run, tmp_path_factory.mktemp("evaluated") / "good & <b>")
    keep(run, *strange_pairs_and_translations())
    events = [("skipped", {"step": 3}), ("spike", {"step": 5}), ("resumed", {"step": 6}), ("rolled_back", {"step": 6})]
    with (run / "metrics.jsonl").open("a") as file:
        for kind, values in events:
            file.write(json.dumps({"kind": kind, **values, **({"from": 8} if kind == "rolled_back" else {})}) + "\n")
    return run


@pytest.fixture(scope="session")
def other(plain_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that has translated the same text worse."""
    run = copied(plain_run, tmp_path_factory.mktemp("other") / "$_worse_")
    pairs, translations = strange_pairs_and_translations()
    keep(run, pairs, translations[: -len(pairs_and_translations()[1])] + pairs_and_translations(wrong=2)[1])
    return run


@pytest.fixture(scope="session")
def one_run(evaluated: Path) -> Any:
    """Return the report of one run."""
    from transformer.evaluation.report.build import build_report

    return build_report([evaluated])


@pytest.fixture(scope="session")
def two_runs(evaluated: Path, other: Path) -> Any:
    """Return the report of two runs."""
    from transformer.evaluation.report.build import build_report

    return build_report([evaluated, other])
