"""Which charts a report has, from the facts: each with a title, and a sentence for those who cannot see it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transformer.evaluation.breakdown import Bucket, Table
from transformer.evaluation.metrics import METRICS
from transformer.evaluation.report import charts
from transformer.evaluation.report.checkpoints import FEWEST, checkpoint_curves
from transformer.evaluation.report.facts import Facts, score_values
from transformer.evaluation.report.history import Curve, Event
from transformer.evaluation.report.text import printable
from transformer.evaluation.report.translated import Shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_LABEL = 24
"""Characters of a name in a chart."""
WIDE = 1000
"""The norm of the gradient is drawn on a logarithmic scale if it ranges over more than this factor."""


@dataclass(frozen=True)
class Picture:
    """A chart of the report."""

    name: str
    """The name of its file, and the prefix of its ids in the page."""
    title: str
    summary: str
    """What it shows, in words."""
    figure: Figure


def training(runs: Sequence[Facts]) -> Iterator[Picture]:
    """Yield the charts of the course of training."""
    yield from _curves(
        runs, "loss", "Loss", "nats per token", [("train.loss", "training"), ("valid.loss", "validation")]
    )
    for name, metric in METRICS.items():
        yield from _curves(runs, name, f"Validation {metric.label}", metric.label, [(f"valid.{name}", "")])
    yield from _curves(runs, "rate", "Learning rate", "learning rate", [("train.rate", "")])
    yield from _curves(runs, "norm", "Gradient norm", "norm", [("train.grad_norm", "")])
    yield from _curves(runs, "speed", "Speed", "target tokens/s", [("train.tokens_per_second", "")])


def _curves(
    runs: Sequence[Facts], name: str, title: str, unit: str, wanted: Sequence[tuple[str, str]]
) -> Iterator[Picture]:
    """Yield the chart of some values of all runs, if there are any. Of several runs, each has a colour."""
    lines, words, several = [], [], len(runs) > 1
    for number, facts in enumerate(runs):
        for place, (key, kind) in enumerate(wanted):
            if curve := facts.history.curves.get(key):
                own = label(facts.name) if several else kind
                color, dashed = (number, place > 0) if several else (place, False)
                lines.append(charts.Line("" if dashed else own, curve, color, dashed, key.startswith("valid.")))
                words.append(_in_words(" ".join(filter(None, (label(facts.name) if several else "", kind))), curve))
    if lines:
        if any(line.dashed for line in lines):
            lines += [charts.Line(kind, [], -1, place > 0) for place, (_, kind) in enumerate(wanted)]
        events = [event for facts in runs for event in facts.history.events]
        marks = [charts.Mark(event.step, event.kind) for event in events]
        values = [abs(value) for line in lines for _, value in line.curve]
        log_scale = name == "norm" and max(values) > WIDE * min(values) > 0
        yield Picture(name, title, "; ".join(words), charts.curves(unit, lines, marks, log_scale))


def _in_words(text: str, curve: Curve) -> str:
    (first, start), (last, end) = curve[0], curve[-1]
    if len(curve) == 1:
        return f"{text} {start:.4g} at update {first:,}".strip()
    return f"{text} from {start:.4g} at update {first:,} to {end:.4g} at update {last:,}".strip()


def events_in_words(events: Sequence[Event]) -> list[str]:
    """Return what happened in a training, a sentence for each kind."""
    found = []
    for kind, one, many in (
        ("skipped", "update was skipped", "updates were skipped"),
        ("spike", "spike of the loss", "spikes of the loss"),
        ("resumed", "restart", "restarts"),
    ):
        if steps := [event.step for event in events if event.kind == kind]:
            places = ", ".join(f"{step:,}" for step in steps[:6]) + (", …" if len(steps) > 6 else "")
            found.append(f"{len(steps):,} {one if len(steps) == 1 else many} (update {places})")
    for event in events:
        if event.kind == "rolled_back":
            found.append(f"rolled back from update {event.step:,} to {event.back_to:,}")
    return found


def scores(shown: Shown) -> Iterator[Picture]:
    """Yield the charts of the scores of several runs with their confidence intervals."""
    systems = [(label(each.facts.name), dict(score_values(each.record.values))) for each in shown.systems]
    for name, metric in METRICS.items():
        rows = [
            (run, found[metric.label]["score"], found[metric.label].get("confidence", 0.0))
            for run, found in systems
            if metric.label in found
        ]
        if len(rows) == len(systems) > 1:
            words = "; ".join(f"{run} {score:.2f} ± {spread:.2f}" for run, score, spread in rows)
            figure = charts.intervals(rows, metric.label)
            yield Picture(f"score-{name.replace('+', 'p')}", f"95 % interval of {metric.label}", words, figure)


def by_checkpoint(runs: Sequence[Facts]) -> Iterator[Picture]:
    """Yield, for each text with evaluations of several checkpoints, a chart of each metric's scores by their updates.

    A line is of one run with the same settings and of either the weights themselves or their moving average.
    """
    several = len(runs) > 1
    for place, (text, found) in enumerate(checkpoint_curves(runs)):
        for name, metric in METRICS.items():
            lines, words = [], []
            averaged = any(each.plain for each in found)
            for each in found:
                if curve := each.scores.get(metric.label):
                    kind = ("plain weights" if each.plain else "moving average") if averaged else ""
                    own = label(runs[each.run].name) if several else kind
                    color, dashed = (each.run, each.plain) if several else (int(each.plain), False)
                    lines.append(charts.Line("" if dashed else own, curve, color, dashed, True))
                    words.append(_in_words(" ".join(filter(None, (own, kind if several else ""))), curve))
            if max((len(line.curve) for line in lines), default=0) >= FEWEST:
                if several and averaged:
                    lines += [charts.Line("moving average", [], -1), charts.Line("plain weights", [], -1, dashed=True)]
                title = f"{metric.label} of {label(text)} by checkpoint"
                figure = charts.curves(metric.label, lines, [])
                yield Picture(f"checkpoints-{place}-{name.replace('+', 'p')}", title, "; ".join(words), figure)


def breakdown(shown: Shown) -> Iterator[tuple[Picture, list[Table]]]:
    """Yield a chart for each table of the breakdown, and that table of each run."""
    for place, table in enumerate(shown.systems[0].tables):
        tables = [each.tables[place] for each in shown.systems if len(each.tables) > place]
        if any(each.name != table.name or len(each.rows) != len(table.rows) for each in tables):
            continue
        key = _key(table)
        filled = [number for number, row in enumerate(table.rows) if row.sentences or row.items]
        if not key or len(filled) < 2:
            continue
        labels = [_bucket(table.rows[number], key) for number in filled]
        groups = [
            (label(each.facts.name), [own.rows[number].scores.get(key) for number in filled])
            for each, own in zip(shown.systems, tables, strict=True)
        ]
        unit = METRICS[key].label if key in METRICS else key
        words = "; ".join(f"{text} {value:.1f}" for text, value in zip(labels, groups[0][1], strict=True) if value)
        figure = charts.bars(labels, groups, unit)
        yield Picture(f"breakdown-{table.name}", table.title, f"{unit}: {words}", figure), tables


def _key(table: Table) -> str | None:
    names = list(dict.fromkeys(name for row in table.rows for name in row.scores))
    return next((name for name in ("chrf", "recall", *names) if name in names), None)


def _bucket(row: Bucket, key: str) -> str:
    """Return the label of a bar, with the number of what its score is over."""
    count = row.items if key == "recall" else row.sentences
    return f"{label(row.label)}  (n={count:,})"


def sentences(shown: Shown) -> Picture:
    """Return the distribution of sentence scores."""
    groups = [(label(each.facts.name), each.scores) for each in shown.systems]
    words = "; ".join(f"{name} mean {sum(values) / max(1, len(values)):.1f}" for name, values in groups)
    return Picture("sentences", "Distribution of chrF", words, charts.histogram(groups, "chrF of a sentence"))


def label(name: str) -> str:
    """Return a name that fits into a chart."""
    text = " ".join(printable(name).split())
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"
