"""The charts, by matplotlib. Their colours stand for classes of the page's style sheet; see `svg.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec

from transformer.evaluation.report.history import Curve, thinned
from transformer.evaluation.report.style import ALARM, INK, PALETTE, quiet, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
SIZE = (4.4, 2.7)
"""Inches. On a page a chart is as wide as a phone or a column."""
MARKS = {"skipped": (ALARM, ":"), "spike": (ALARM, "-."), "rolled_back": (ALARM, "-"), "resumed": (INK, ":")}
"""Colour and style of the vertical lines that mark events."""
MOST_MARKS = 60
"""Vertical lines of a kind in a chart. More would hide the curves."""


class Line(NamedTuple):
    """A curve of a chart."""

    label: str
    curve: Curve
    color: int
    """Number of the run, or -1 for a line that only explains the legend."""
    dashed: bool = False
    points: bool = False
    """Whether each value has a dot, as values that were measured now and then have."""


class Mark(NamedTuple):
    """An event at an update."""

    step: int
    kind: str
    """A key of `MARKS`."""


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a function draw in our style, whatever the user's matplotlib is set to."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style(), quiet():
            figure = draw(*args, **kwargs)
            if layout := figure.get_layout_engine():
                layout.execute(figure)
            figure.set_layout_engine(None)  # it would move everything a little each time the figure is written
        return figure

    return inside


def _axes(size: tuple[float, float] = SIZE) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", facecolor="none")
    axes = figure.add_subplot(facecolor="none")
    return figure, axes


@styled
def curves(label: str, lines: Sequence[Line], marks: Sequence[Mark], log_scale: bool = False) -> Figure:
    """Return curves against the number of updates."""
    figure, axes = _axes()
    for line in lines:
        curve = thinned(line.curve)
        look = {"linestyle": "--" if line.dashed else "-", "marker": "o" if line.points else None, "markersize": 3.5}
        axes.plot([x for x, _ in curve], [y for _, y in curve], color=color(line.color), **look)
    for kind, (ink, dashes) in MARKS.items():
        steps = sorted({mark.step for mark in marks if mark.kind == kind})
        for step in steps[:: max(1, -(-len(steps) // MOST_MARKS))]:
            axes.axvline(step, color=ink, linestyle=dashes, linewidth=0.9)
    if log_scale and all(y > 0 for line in lines for _, y in line.curve):
        axes.set_yscale("log")
    axes.set_xlabel("updates")
    axes.set_ylabel(label)
    axes.xaxis.set_major_formatter(_thousands)
    axes.yaxis.set_major_formatter(_thousands if log_scale or _highest(lines) >= 1000 else "{x:.4g}")
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x", visible=False)
    _legend(figure, [each.label for each in lines], axes.get_lines())
    return figure


def _thousands(value: float, _: int = 0) -> str:
    whole = 10 <= abs(value) < 1e7 or value == 0
    return f"{value:,.0f}" if whole else f"{value:.4g}"


def _highest(lines: Sequence[Line]) -> float:
    return max((y for line in lines for _, y in line.curve), default=0.0)


def _legend(figure: Figure, labels: Sequence[str], handles: Sequence[Any]) -> None:
    """Add a legend above the chart if there is more than one thing to tell apart."""
    named = [(f"\u200a{label}", handle) for label, handle in zip(labels, handles, strict=False) if label]
    if len(named) > 1:  # a label that began with `_` would be left out
        columns = max(1, min(len(named), int(56 / (6 + max(len(label) for label, _ in named)))))
        figure.legend(
            [handle for _, handle in named], [label for label, _ in named], loc="outside upper left", ncols=columns
        )


@styled
def bars(labels: Sequence[str], groups: Sequence[tuple[str, Sequence[float | None]]], unit: str) -> Figure:
    """Return bars for each label, one for each group, with their values written at their ends."""
    height = 0.75 + 0.31 * len(labels) * max(1, 0.66 * len(groups)) + 0.25 * (len(groups) > 1)
    figure, axes = _axes((SIZE[0], height))
    thick = 0.76 / len(groups)
    handles = []
    for number, (_, values) in enumerate(groups):
        places = [place + (number - (len(groups) - 1) / 2) * thick for place in range(len(labels))]
        known = [value or 0.0 for value in values]
        handles.append(axes.barh(places, known, height=thick * 0.9, color=color(number)))
        for place, value in zip(places, values, strict=True):
            if value is not None:
                axes.annotate(
                    f"{value:.1f}", (value, place), (3, 0), textcoords="offset points", va="center", fontsize=9
                )
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, max([1.0, *(1.18 * value for _, values in groups for value in values if value)]))
    axes.set_xlabel(unit)
    _legend(figure, [name for name, _ in groups], handles)
    return figure


@styled
def histogram(groups: Sequence[tuple[str, Sequence[float]]], unit: str, bins: int = 20) -> Figure:
    """Return how many values from 0 to 100 are in each of `bins` equal parts."""
    figure, axes = _axes()
    for number, (_, values) in enumerate(groups):
        counts = [0] * bins
        for value in values:
            counts[min(bins - 1, int(value * bins / 100))] += 1
        edges = [100 * place / bins for place in range(bins + 1)]
        axes.stairs(counts, edges, color=color(number), fill=len(groups) == 1, linewidth=1.6)
    axes.set_xlabel(unit)
    axes.set_ylabel("sentences")
    axes.grid(axis="x", visible=False)
    _legend(figure, [name for name, _ in groups], axes.patches)
    return figure


@styled
def intervals(rows: Sequence[tuple[str, float, float]], unit: str) -> Figure:
    """Return scores with the half widths of their confidence intervals, one row for each run."""
    figure, axes = _axes((SIZE[0], 0.8 + 0.34 * len(rows)))
    for place, (_, score, spread) in enumerate(rows):
        axes.errorbar([score], [place], xerr=[spread], fmt="o", markersize=5, capsize=3, color=color(place))
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(unit)
    return figure


def color(number: int) -> str:
    """Return the colour of a run."""
    return PALETTE[number % len(PALETTE)] if number >= 0 else INK
