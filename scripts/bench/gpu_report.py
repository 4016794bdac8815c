"""What scripts/bench/gpu.py has found: rows of JSON, and a table of them."""

from __future__ import annotations

import contextlib
import gc
import json
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from transformer.errors import TransformerError

Row = dict[str, Any]


class OutOfTimeError(BaseException):
    """A stage takes longer than the budget allows. No Exception, so that nothing but the report catches it."""


@dataclass
class Report:
    """The rows of all stages. Each row is printed at once, and written after each stage."""

    folder: Path
    budget: float
    """Seconds for all stages together."""
    rows: list[Row] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    stage: str = ""

    @property
    def seconds_left(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget - (time.perf_counter() - self.started)

    def say(self, what: str, **values: Any) -> None:
        """Add a row."""
        row = {"stage": self.stage, "what": what, **values}
        self.rows.append(row)
        print(json.dumps(row, default=str), flush=True)

    def run(self, name: str, seconds: float, stage: Callable[[], None]) -> None:
        """Run a stage that takes about so many seconds, unless too few are left. An error ends only the stage."""
        self.stage = name.partition(".")[0]
        if seconds > self.seconds_left:
            self.say("skipped", reason=f"{seconds:.0f} s needed, {max(0.0, self.seconds_left):.0f} s left")
            return
        started = time.perf_counter()
        try:
            with _alarm(self.seconds_left):
                stage()
        except OutOfTimeError:
            self.say("stopped", reason="the budget was used up")
        except (Exception, TransformerError) as error:
            self.say("failed", reason=f"{type(error).__name__}: {str(error)[:500]}")
            traceback.print_exc(limit=-5)
        self.say("seconds", seconds=round(time.perf_counter() - started, 1))
        forget()
        self.write()

    def write(self) -> None:
        """Write the rows and the table into the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        facts = {"command": " ".join(["python", *sys.argv]), "torch": torch.__version__, "rows": self.rows}
        (self.folder / "gpu.json").write_text(json.dumps(facts, indent=1, default=str) + "\n", encoding="utf-8")
        (self.folder / "gpu.md").write_text("\n".join(table(self.rows)) + "\n", encoding="utf-8")


def forget() -> None:
    """Free the memory and the compiled functions of what was measured: torch keeps eight of each, and then gives up."""
    gc.collect()
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError after so many seconds, when Python gets to it."""

    def late(*_: Any) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, max(0.01, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def table(rows: list[Row]) -> list[str]:
    """Return a Markdown table for each stage, with a column for each value that any of its rows has."""
    lines: list[str] = []
    for stage in dict.fromkeys(row["stage"] for row in rows):
        mine = [row for row in rows if row["stage"] == stage and row["what"] != "seconds"]
        if not mine:
            continue
        columns = list(dict.fromkeys(key for row in mine for key in row if key != "stage"))
        lines += [
            f"**{stage}**",
            "",
            _line([name.replace("_", " ") for name in columns]),
            _line(["---"] * len(columns)),
        ]
        lines += [*(_line([_cell(row.get(name)) for name in columns]) for row in mine), ""]
    return lines


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value).replace("|", "\\|").replace("\n", " ")
