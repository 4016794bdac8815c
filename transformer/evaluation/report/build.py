"""Builds a report: reads the runs, draws the charts, and fills the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformer import atomic
from transformer.errors import TransformerError
from transformer.evaluation.report import content, plots, rows
from transformer.evaluation.report.facts import Facts, read_facts
from transformer.evaluation.report.maps import Maps, attention_of, drawing
from transformer.evaluation.report.page import render
from transformer.evaluation.report.plots import Picture
from transformer.evaluation.report.style import matplotlib
from transformer.evaluation.report.svg import as_bytes, inline
from transformer.evaluation.report.translated import Shown, choose_text

LARGEST = 2_000_000
"""Bytes of a page. A larger one gets fewer sentences."""
SENTENCES = 6
"""Sentences whose attention is shown, if none are asked for."""
MARKS = {
    "skipped": "skipped update",
    "spike": "spike of the loss",
    "rolled_back": "rolled back",
    "resumed": "restarted",
}
"""What the vertical lines in the curves are."""


@dataclass(frozen=True)
class Report:
    """A report of one or several runs."""

    html: str
    """The page."""
    pictures: list[Picture]
    """Its charts."""
    evaluated: bool
    """Whether there are translations to show."""


def build_report(
    paths: Sequence[Path],
    text: str | None = None,
    lines: Sequence[int] = (),
    attention: int = SENTENCES,
) -> Report:
    """Return the report of one or several runs. Nothing is translated: it shows the evaluations that are kept.

    `text` is the name of an evaluated text or of an evaluation, by default the test set that most runs have. `lines`
    are the numbers of the sentences whose attention is shown, by default `attention` of them from bad to good.
    Raises CheckpointError for a folder that is no run, and ConfigError for a name or number that does not exist and if
    a package of the extra `[report]` is missing.
    """
    matplotlib()
    runs = read_facts(paths)
    shown = choose_text(runs, text)
    maps = attention_of(shown, lines, attention) if shown else []
    curves, scores = list(plots.training(runs)), [*(plots.scores(shown) if shown else ()), *plots.by_checkpoint(runs)]
    parts = [(plots.sentences(shown), []), *plots.breakdown(shown)] if shown else []
    values = _common(runs, shown) | _translations(shown, maps)
    values |= {
        "pictures": {"training": list(map(_inline, curves)), "scores": list(map(_inline, scores))},
        "breakdown": [
            {
                "picture": _inline(picture),
                "tables": tables,
                "unit": tables[0].items if tables else "",
                "columns": list(dict.fromkeys(key for table in tables for row in table.rows for key in row.scores)),
            }
            for picture, tables in parts
        ],
    }
    everything = [*scores, *curves, *(picture for picture, _ in parts)]
    return Report(_page(values, shown), everything, shown is not None)


def _page(values: dict[str, Any], shown: Shown | None) -> str:
    """Return the page, with as many sentences as it may have bytes."""
    most = rows.MOST_BYTES
    while True:
        page = render(values | {"rows": rows.rows(shown, most) if shown else []})
        if len(page.encode()) <= LARGEST or most < 1000:
            return page
        most //= 2


def _inline(picture: Picture) -> dict[str, Any]:
    return {"title": picture.title, "svg": inline(picture.figure, picture.name, picture.title, picture.summary)}


def _common(runs: Sequence[Facts], shown: Shown | None) -> dict[str, Any]:
    """Return what a page has with and without translations."""
    first = runs[0].run.config
    glance = content.glance(runs, shown)
    events = {event.kind for facts in runs for event in facts.history.events}
    model = first.model
    names = ", ".join(facts.name for facts in runs)
    settings = content.settings(runs)
    differing, same = ([row for row in settings if row["differs"] is wanted] for wanted in (True, False))
    evaluations = content.evaluations(runs)
    return {
        "title": f"{names}: {first.data.source} to {first.data.target}",
        "source": first.data.source,
        "target": first.data.target,
        "model": f"Transformer with {model.encoder_layers}+{model.decoder_layers} layers, width {model.width}, "
        f"{model.heads} heads, {model.norm}-norm.",
        "several": len(runs) > 1,
        "glance": glance,
        "unusual": content.shown_in_words(shown),
        "labels": list(dict.fromkeys(label for run in glance for label in run["figures"])),
        "evaluations": evaluations,
        "evaluate": [content.evaluation_command(facts) for facts in runs],
        "paired": content.paired(shown),
        "training": [content.training(facts) for facts in runs],
        "marks": [(kind, name) for kind, name in MARKS.items() if kind in events],
        "data": [content.data(facts) for facts in runs],
        "settings": [
            ("Settings that differ", differing),
            ("All settings" if not differing else "Other settings", same),
        ],
        "reproduce": [
            {
                "name": facts.name,
                "versions": content.versions(facts),
                "checkpoints": facts.checkpoints,
                "commands": content.commands(facts),
            }
            for facts in runs
        ],
        "notes": _notes(runs, shown),
        "sections": _sections(shown),
    }


def _sections(shown: Shown | None) -> list[tuple[str, str]]:
    names = ["Scores", "Training", "Data", "Breakdown", "Health", "Sentences", "Attention", "Settings", "Reproduce"]
    hidden = set() if shown else {"Breakdown", "Health", "Sentences", "Attention"}
    return [(name.lower(), name) for name in names if name not in hidden]


def _notes(runs: Sequence[Facts], shown: Shown | None) -> list[dict[str, str | None]]:
    notes: list[dict[str, str | None]] = [
        {"run": facts.name, "text": note, "command": None} for facts in runs for note in facts.notes
    ]
    for facts in runs:
        if not facts.finished:
            notes.append({"run": facts.name, "text": "Training is not finished.", "command": None})
        if not facts.records:
            words = "No text has been evaluated. To do so:"
        elif all(record.pairs is None for record in facts.records):
            words = (
                "The evaluations are of a version that kept no text, so no translations are shown. To make them again:"
            )
        elif shown and facts.name in shown.without:
            words = f"{shown.name} has not been evaluated. To do so:"
        else:
            continue
        like = next((each.record for each in shown.systems), None) if shown else None
        notes.append({"run": facts.name, "text": words, "command": content.evaluation_command(facts, like)})
    return notes


def _translations(shown: Shown | None, maps: Sequence[Maps]) -> dict[str, Any]:
    """Return what a page has of translations."""
    systems = shown.systems if shown else []
    with_maps = [each for each in maps if each.drawn]
    best, worst = rows.extremes(shown) if shown else ([], [])
    return {
        "text": shown.name if shown else None,
        "sentences": len(shown.pairs) if shown else 0,
        "names": [each.facts.name for each in systems],
        "numbers": [each.number for each in systems],
        "files": [str(each.record.path.with_suffix(".txt")) for each in systems],
        "health": _health(shown) if shown else [],
        "differences": rows.differences(shown) if shown else [],
        "extremes": [("Best", best), ("Worst", worst)],
        "attention": [
            {
                "name": each.translated.facts.name,
                "number": each.translated.number,
                "maps": list(map(drawing, each.drawn)),
            }
            for each in with_maps
        ],
        "attention_data": [[drawn.as_json() for drawn in each.drawn] for each in with_maps],
        "attention_note": " ".join(f"{each.translated.facts.name}: {each.note}" for each in maps if each.note),
    }


def _health(shown: Shown) -> list[dict[str, Any]]:
    return [
        {
            "title": finding.title,
            "total": finding.total,
            "found": any(each.findings[place].count for each in shown.systems),
            "counts": [each.findings[place].count for each in shown.systems],
            "examples": [
                {"run": each.facts.name, **vars(example)}
                for each in shown.systems
                for example in each.findings[place].examples
            ],
        }
        for place, finding in enumerate(shown.systems[0].findings)
    ]


def check_figures(folder: Path) -> None:
    """Raise TransformerError if figures cannot be written there, since it is no folder."""
    if folder.exists() and not folder.is_dir():
        raise TransformerError(f"{folder} is not a folder; give one for the figures")


def write_figures(report: Report, folder: Path) -> list[Path]:
    """Write the charts as SVG and PNG files into a folder, and return their paths. Raises TransformerError."""
    check_figures(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for picture in report.pictures:
        for kind in ("svg", "png"):
            path = folder / f"{re.sub(r'[^a-z0-9_-]', '-', picture.name)}.{kind}"
            atomic.write_bytes(path, as_bytes(picture.figure, kind))
            paths.append(path)
    return paths
