"""The course of a training, from `metrics.jsonl`: a curve of each value, and what happened on the way."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformer.runs.layout import METRICS

POINTS = 400
"""Points of a curve that are drawn. More cannot be seen, and would make the page heavy."""
EVENTS = ("skipped", "spike", "resumed", "rolled_back")
LONGEST_LINE = 1 << 20
LARGEST_STEP = 2**53
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """Something that happened between two log lines."""

    kind: str
    """One of `EVENTS`."""
    step: int
    """The update; of `rolled_back` the one that training had reached."""
    back_to: int | None = None
    """The update from which training went on after it rolled back."""


Curve = list[tuple[int, float]]
"""Updates with the value at each, in order."""


@dataclass
class History:
    """The course of a training."""

    curves: dict[str, Curve] = field(default_factory=dict)
    """By kind of record and name of the value, such as `train.loss` and `valid.bleu`."""
    events: list[Event] = field(default_factory=list)
    unreadable: int = 0
    """Lines that are no records."""

    def count(self, kind: str) -> int:
        """Return how many events of this kind there were."""
        return sum(event.kind == kind for event in self.events)

    def last(self, name: str) -> float | None:
        """Return the last value of a curve, or None if there is none."""
        return self.curves[name][-1][1] if self.curves.get(name) else None


def read_history(run: Path) -> History:
    """Return the course of a training. Of an update that was done twice, after a roll back, the last values count."""
    found, reached = History(), 0
    values: dict[str, dict[int, float]] = {}
    for record in _records(run / METRICS, found):
        kind, step = record["kind"], record["step"]
        if kind == "rolled_back":
            start = record.get("from")
            found.events.append(Event(kind, start if isinstance(start, int) and _is_step(start) else reached, step))
            reached = step
        elif kind in EVENTS:
            found.events.append(Event(kind, step))
        elif kind in ("train", "valid", "average"):
            if kind == "train" and step <= reached:  # a version that did not record it
                found.events.append(Event("rolled_back", reached, step))
            reached = step if kind == "train" else reached
            for name, value in record.items():
                if name not in ("kind", "step") and _is_number(value):
                    values.setdefault(f"{kind}.{name}", {})[step] = float(value)
    found.curves = {name: sorted(each.items()) for name, each in values.items()}
    return found


def _records(path: Path, found: History) -> Iterator[dict[str, Any]]:
    """Yield the records of a file, and count what is none."""
    try:
        with path.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                try:
                    record = json.loads(line)
                    if not isinstance(record["kind"], str) or not _is_step(record["step"]):
                        raise ValueError
                    yield record
                except (ValueError, KeyError, TypeError, RecursionError):
                    found.unreadable += bool(line.strip())
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error.strerror or error)
        found.unreadable += 1


def _is_step(value: Any) -> bool:
    return type(value) is int and 0 <= value < LARGEST_STEP


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e100 and math.isfinite(value)


def thinned(curve: Curve, most: int = POINTS) -> Curve:
    """Return at most about `most` points: the lowest and the highest of each part, so that no spike is lost."""
    if len(curve) <= most:
        return curve
    kept = {0, len(curve) - 1}
    parts = most // 2 - 1
    for part in range(parts):
        first, last = part * len(curve) // parts, (part + 1) * len(curve) // parts
        places = range(first, last)
        kept |= {min(places, key=lambda i: curve[i][1]), max(places, key=lambda i: curve[i][1])}
    return [curve[i] for i in sorted(kept)]
