"""Calls of the file system, for file systems that lack some of them, and for files of other users."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from transformer.errors import TransformerError

MANIFEST = "manifest.json"
"""The file that makes a folder complete. It is copied last."""
UNKNOWN_CALL = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EBADF, errno.EISDIR}
UNKNOWN_CALL |= {errno.EPERM, errno.EACCES, errno.EROFS}
"""Errors of a file system or an operating system that has no fsync, or none for folders. No data is lost by them."""
NO_RENAME = {errno.EXDEV, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""Errors of a file system that cannot rename a folder: an overlay for a folder of a lower layer (moby#25409), and some
that keep files in an object store."""


def sync(path: Path) -> None:
    """Flush a file or folder to disk. A file system that cannot do that for a folder, or at all, is passed over."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in UNKNOWN_CALL:
            raise


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless it exists. Raises NotADirectoryError if it is a file."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None


def move(folder: Path, target: Path) -> None:
    """Rename a folder, or copy it where it cannot be renamed, its manifest last: without it, a copy is damaged."""
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno not in NO_RENAME:
            raise
        _copy(folder, target)
        shutil.rmtree(folder)


def _copy(folder: Path, target: Path) -> None:
    target.mkdir()
    for each in sorted(folder.iterdir(), key=lambda path: path.name == MANIFEST):
        if each.is_dir() and not each.is_symlink():
            _copy(each, target / each.name)
        else:
            shutil.copyfile(each, target / each.name, follow_symlinks=False)
            sync(target / each.name)


def set_aside(path: Path, name: Path) -> None:
    """Rename a folder that is no longer needed, or remove it where it cannot be renamed."""
    try:
        path.rename(name)
    except OSError as error:
        if error.errno not in NO_RENAME:
            raise
        shutil.rmtree(path)


def put(temporary: Path, path: Path) -> None:
    """Rename a complete file to `path`, or copy it where that is impossible."""
    try:
        temporary.replace(path)
    except OSError as error:
        if error.errno not in NO_RENAME:
            raise
        path.unlink(missing_ok=True)  # it may be a link to another file
        shutil.copyfile(temporary, path)
        temporary.unlink()


def unreadable(path: Path, error: OSError) -> TransformerError:
    """Return the error for a file or folder that exists, but that this user may not read."""
    return TransformerError(f"{path}{owner(path)} may not be read: {error.strerror or error}")


def owner(path: Path) -> str:
    """Return whose a file is, as an apposition, or nothing if it is this user's or cannot be known."""
    try:
        import pwd

        user = path.lstat().st_uid
        if user == os.geteuid():
            return ""
        with suppress(KeyError):
            return f", which belongs to {pwd.getpwuid(user).pw_name},"
        return f", which belongs to user {user},"
    except (ImportError, OSError):
        return ""
