"""Weights that training leaves as they are (`train.freeze`), chosen by the names of parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from transformer.errors import ConfigError


def frozen_names(names: Iterable[str], patterns: Sequence[str]) -> frozenset[str]:
    """Return the weights that patterns choose, such as `encoder`, `encoder.0` or `decoder.*.cross`.

    A pattern chooses a part with all its weights. Raises ConfigError for one that chooses nothing, and if nothing is
    left to train.
    """
    parts = {name: _parts(name) for name in names}
    found: set[str] = set()
    for pattern in patterns:
        chosen = {name for name, its in parts.items() if any(fnmatchcase(part, pattern) for part in its)}
        if not chosen:
            known = sorted({its[0] for its in parts.values()})
            raise ConfigError(f"train.freeze: the model has no part {pattern!r}; its largest are {', '.join(known)}")
        found |= chosen
    if found and len(found) == len(parts):
        raise ConfigError("train.freeze leaves nothing to train")
    return frozenset(found)


def _parts(name: str) -> list[str]:
    """Return the names of the parts that a weight belongs to, and its own: `encoder`, `encoder.0`, and so on."""
    words = name.split(".")
    return [".".join(words[:count]) for count in range(1, len(words) + 1)]
