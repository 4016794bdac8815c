"""Code shared by the tables: formatted statistics, the machine, and Markdown between markers."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def describe(results: dict[str, Any]) -> list[str]:
    """Return Markdown lines with the command, the machine and the versions."""
    known = results["facts"]
    versions = ", ".join(f"{name} {number}" for name, number in known["versions"].items())
    machine = f"{known['cpu']}, {known['threads']} threads"
    return [f"- Command: `{results['command']}`", f"- Machine: {machine}", f"- Versions: {versions}"]


def spread(values: list[float], form: str) -> tuple[str, str]:
    """Return the median, and the minimum and maximum, formatted."""
    return format(statistics.median(values), form), f"{min(values):{form}}–{max(values):{form}}"


def ratio(values: list[float]) -> str:
    """Return a ratio: the median, with minimum and maximum in brackets."""
    return "{} ({})".format(*spread(values, ".2f"))


def put_between(marker: str, lines: list[str], into: Path) -> None:
    """Replace the lines between a pair of markers in a file, or append both if the file has none."""
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    old = into.read_text(encoding="utf-8") if into.exists() else ""
    new = "\n".join([begin, *lines, end])
    if begin in old and end in old:
        new = old[: old.index(begin)] + new + old[old.index(end) + len(end) :]
    else:
        new = f"{old.rstrip()}\n\n{new}\n".lstrip()
    into.write_text(new, encoding="utf-8")


def shown_command(script: str, hidden: Iterable[str], *, names_only: bool = False) -> str:
    """Return this command line without some options, or with file names instead of paths."""
    kept = sys.argv[1:]
    for option in hidden:
        if option in kept:
            at = kept.index(option)
            kept = kept[:at] + kept[at + 2 :]
    return " ".join(["python", script, *(Path(each).name if names_only else each for each in kept)])
