"""Draw the plots of docs/benchmarks.md from its tables.

    python scripts/bench/plots.py docs/benchmarks.md

Writes bench_train.svg, bench_growth.svg and bench_decode.svg beside the file. The benchmarks with --write call the same
code, so a plot never differs from its table. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tables import put_between

OURS = "this repository"
RANGE = "min–max"
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "bench", "font.sans-serif": ["DejaVu Sans", "Verdana"]}
"""Text stays text: outlines of letters take more than half of a file. A fixed salt makes the output reproducible."""


@dataclass(frozen=True)
class Table:
    """A Markdown table, and what the bold line above it says before its colon."""

    heading: str
    head: list[str]
    rows: list[list[str]]

    def numbers(self, column: int) -> list[float]:
        """Return a column as numbers."""
        return [float(row[column].replace(",", "")) for row in self.rows]

    def ranges(self, column: int) -> tuple[list[float], list[float]]:
        """Return the minimum and the maximum of each row."""
        pairs = [[float(end) for end in row[column].replace(",", "").split("–")] for row in self.rows]
        return [low for low, _ in pairs], [high for _, high in pairs]


def tables(lines: list[str]) -> list[Table]:
    """Return the tables with a min–max column; rows without numbers are left out."""
    found: list[Table] = []
    heading, head = "", False
    for line in lines:
        if line.startswith("**"):
            heading = line.strip("*").split(":")[0]
        if not line.startswith("| "):
            head = line.startswith("|---") and head
            continue
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if not head:
            found.append(Table(heading, cells, []))
        elif not cells[1].startswith("skipped"):
            found[-1].rows.append(cells)
        head = True
    return [table for table in found if RANGE in table.head and table.rows]


def bars(figures: Any, found: list[Table], speed: str) -> Any:
    """Draw a panel of bars for each table that has this column of speeds."""
    found = [table for table in found if speed in table.head]
    longest = max((len(table.rows) for table in found), default=0)
    figure = figures.Figure(figsize=(9, 0.6 + (0.8 + 0.36 * longest) * len(found)), layout="constrained")
    for axes, table in zip(figure.subplots(len(found), squeeze=False)[:, 0], found, strict=True):
        column = table.head.index(speed)
        titles = [row[0] for row in table.rows]
        middle, (low, high) = table.numbers(column), table.ranges(table.head.index(RANGE))
        errors = [
            [m - each for m, each in zip(middle, low, strict=True)],
            [each - m for m, each in zip(middle, high, strict=True)],
        ]
        colors = ["tab:blue" if title.startswith(OURS) else "tab:gray" for title in titles]
        drawn = axes.barh(titles, middle, xerr=errors, color=colors)
        axes.bar_label(drawn, labels=[row[column] for row in table.rows], padding=4)
        axes.invert_yaxis()
        axes.set_xlim(0, max(high) * 1.15)
        axes.set_title(f"{table.heading}: {speed}", loc="left", fontsize="medium")
        axes.spines[["top", "right"]].set_visible(False)
        axes.locator_params(axis="x", nbins=6)
        axes.xaxis.set_major_formatter("{x:,.0f}")
    figure.supxlabel("bars: median of the rounds; lines: minimum to maximum", fontsize="small")
    return figure


def curves(figures: Any, found: list[Table]) -> Any:
    """Draw throughput and arithmetic over the first column of each table."""
    figure = figures.Figure(figsize=(14, 5.6), layout="constrained")
    panels = figure.subplots(2, len(found), sharex="col", sharey="row", squeeze=False)
    for column, table in enumerate(found):
        values = table.numbers(0)
        panels[0, column].plot(values, table.numbers(table.head.index("target tokens/s")), "o-")
        panels[1, column].plot(values, table.numbers(table.head.index("GFLOP/s")), "o-")
        panels[1, column].set_xlabel(table.head[0])
        panels[0, column].set_xscale("log", base=2)
        panels[0, column].set_yscale("log", base=10)
        panels[0, column].set_xticks(values, labels=[row[0] for row in table.rows])
        panels[1, column].tick_params(axis="x", rotation=45)
        panels[0, column].minorticks_off()
        for each in panels[:, column]:
            each.grid(alpha=0.3)
    low, high = panels[0, 0].get_ylim()
    marks = [one * 10**power for power in range(9) for one in (1, 2, 5) if low < one * 10**power < high]
    panels[0, 0].set_yticks(marks, labels=[f"{mark:,}" for mark in marks])
    panels[0, 0].set_ylabel("target tokens/s")
    panels[1, 0].set_ylabel("GFLOP/s")
    panels[1, 0].set_ylim(bottom=0)
    return figure


PLOTS: dict[str, tuple[str, Callable[[Any, list[Table]], Any]]] = {
    "bench_train": ("Target tokens per second", lambda figures, found: bars(figures, found, "target tokens/s")),
    "bench_growth": ("Throughput and arithmetic against each quantity", curves),
    "bench_decode": ("Sentences per second", lambda figures, found: bars(figures, found, "sentences/s")),
}


def draw(marker: str, lines: list[str], folder: Path) -> list[str]:
    """Draw the tables in these lines to MARKER.svg; return the Markdown that shows it, nothing without matplotlib."""
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError:
        print("No plot: matplotlib is not installed (pip install matplotlib).", file=sys.stderr)
        return []
    title, paint = PLOTS[marker]
    with matplotlib.rc_context(STYLE):
        figure = paint(matplotlib.figure, tables(lines))
        svg = io.StringIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    (folder / f"{marker}.svg").write_text(compact(svg.getvalue()), encoding="utf-8")
    return [f"![{title}]({marker}.svg)", ""]


def compact(svg: str) -> str:
    """Return an SVG of half the size that looks the same.

    Comments, group names and indentation go, coordinates keep two decimals, repeated styles become classes.
    """
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), svg)
    svg = re.sub(r"\s*\n\s*", "\n", re.sub(r' \n"', '"', svg)).strip() + "\n"
    styles = [style for style, count in Counter(re.findall(r' style="([^"]*)"', svg)).items() if count > 1]
    for number, style in enumerate(styles):
        svg = svg.replace(f' style="{style}"', f' class="s{number}"')
    rules = "".join(f"\n.s{number}{{{style}}}" for number, style in enumerate(styles))
    return svg.replace("</style>", f"{rules}</style>", 1)


def write(marker: str, lines: list[str], into: Path) -> None:
    """Put tables between the markers in a file, and their plot beside it."""
    put_between(marker, [*lines, *draw(marker, lines, into.parent)], into)


def main() -> None:
    """Redraw the plots of a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    path = parser.parse_args().file
    text = path.read_text(encoding="utf-8")
    for marker in PLOTS:
        block = text.split(f"<!-- {marker}:begin -->")[1].split(f"<!-- {marker}:end -->")[0]
        draw(marker, block.splitlines(), path.parent)


if __name__ == "__main__":
    main()
