"""Where caches of the user are, on machines without a home directory or with one that cannot be written."""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path


def user_cache() -> Path:
    """Return the folder for caches of the user: an absolute `XDG_CACHE_HOME`, or `~/.cache`.

    Without a home directory, or if it cannot be written, it is a private folder for temporary files.
    """
    stated, home = os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~")
    usual = Path(stated if os.path.isabs(stated) else os.path.join(home, ".cache"))
    nobodys = home == "/" and not os.path.isabs(stated)  # as in a container without a user
    return temporary_cache() if nobodys or not can_be_made(usual) else usual


def can_be_made(folder: Path) -> bool:
    """Return whether a folder is writable, or can be created. It is created. A relative path never is."""
    if not folder.is_absolute():
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


@functools.cache
def temporary_cache() -> Path:
    """Return a folder for temporary files that no other user can write to, the same in each process if possible."""
    folder = Path(tempfile.gettempdir()).absolute() / f"transformer-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if status.st_uid == os.getuid() and not status.st_mode & 0o022 and not folder.is_symlink():
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="transformer-"))
