"""How charts look: their colours, and matplotlib's settings, whatever its user has set."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from transformer.errors import ConfigError

PALETTE = ("#0b6bcb", "#c2410c", "#15803d", "#9333ea", "#b45309", "#0e7490", "#be185d", "#4d7c0f")
"""The colours of runs, in order. On white they have a contrast of at least 4.5."""
DARK = ("#79b8ff", "#ffa657", "#56d364", "#d2a8ff", "#e3b341", "#56d4dd", "#ff9bce", "#b3d565")
"""The same colours on a dark page."""
INK, GRID, ALARM = "#1f2328", "#d8dee4", "#b42318"
NAMES = {color: f"c{number}" for number, color in enumerate(PALETTE)} | {INK: "ink", GRID: "grid", ALARM: "alarm"}
"""The classes of the style sheet by colour: `f-c0` fills, `s-c0` strokes."""
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "transformer",
    "text.parse_math": False,
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


def matplotlib() -> Any:
    """Return the library. Raises ConfigError if it is not installed."""
    try:
        import matplotlib as library
    except ImportError:
        raise ConfigError(
            "the report draws its charts with matplotlib: pip install 'transformer-translation[report]'"
        ) from None
    return library


def style() -> AbstractContextManager[Any]:
    """Return the context in which figures are made and written."""
    library = matplotlib()
    context: AbstractContextManager[Any] = library.rc_context({**library.rcParamsDefault, "backend": "agg", **STYLE})
    return context


@contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings about letters that matplotlib's font lacks. The reader of a page has other fonts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph|.*matching font")
        yield
