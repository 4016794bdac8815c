"""The benchmark of serving counts what is lost and what is wrong."""

from __future__ import annotations

import asyncio
import runpy
from pathlib import Path
from typing import Any

import pytest
from support.served import Shouter, served

BENCH = Path(__file__).parents[2] / "scripts" / "bench" / "serve.py"


@pytest.fixture(scope="module")
def bench() -> dict[str, Any]:
    return runpy.run_path(str(BENCH))


def test_answers_are_counted(bench: dict[str, Any]) -> None:
    texts = ["a", "b", "FAIL"]
    expected = {"a": "A", "b": "not B"}
    with served({("en", "de"): Shouter()}) as server:
        found = asyncio.run(bench["load"](server.port, 4, texts, expected, 30))
    assert (len(found.seconds), found.lost, found.wrong) == (30, 10, 10)
    rate, median, slow = found.numbers()
    assert rate > 0
    assert 0 < median <= slow
