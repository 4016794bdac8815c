"""Paths as users write them: `~` is the home directory, and a pattern stands for the files that match it."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from transformer.errors import ConfigError


def expanded(name: str | os.PathLike[str]) -> Path:
    """Return a path with `~` expanded, unless a file has that very name.

    Raises ConfigError if there is no such home directory: `~` must never become a folder in the working directory.
    """
    text = os.fspath(name)
    if not text.startswith("~") or os.path.lexists(text):
        return Path(text)
    found = os.path.expanduser(text)
    if found.startswith("~"):
        user = text.split("/")[0]
        raise ConfigError(f"{text}: the home directory {user} is not known; write the path in full")
    return Path(found)


def matching(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the files that match these patterns, sorted. A file's own name, or a pattern without a match, is kept."""
    names: list[str] = []
    for pattern in patterns:
        path = str(expanded(pattern))
        names.extend([path] if os.path.lexists(path) else sorted(glob.glob(path)) or [path])
    return tuple(names)
