"""Wall-clock time: a stopwatch, and durations as text."""

from __future__ import annotations

import math
import time


class Stopwatch:
    """Measures the wall-clock time since it was created."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the stopwatch was created."""
        return time.monotonic() - self.start


def duration(seconds: float) -> str:
    """Return a duration as text: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    if not math.isfinite(seconds):
        return "?"
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"
