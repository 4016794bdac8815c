"""The file that a command writes for its user: never one that it reads, and complete or under another name."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import IO

from transformer import atomic, file_system
from transformer.errors import ConfigError

NOT_HERE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG}
"""Errors of a folder in which this user may make no file, although he may write to a file in it."""
IN_PLACE = file_system.NO_RENAME | {errno.EBUSY, errno.EPERM, errno.EACCES}
"""Errors of a rename to a file that can only be written in place, such as one that is mounted into a container."""
log = logging.getLogger(__name__)


def refuse_to_overwrite(
    output: Path | None, read: Iterable[tuple[str, os.stat_result | None]], content: str = "translations"
) -> None:
    """Raise ConfigError if the output, by default standard output, is one of the files that are read.

    `read` has what each file is, in words, and its status. Files are compared by device and inode. `content` is what
    is to be written.
    """
    target = status_of(sys.stdout if output is None else output)
    if target is None or not stat.S_ISREG(target.st_mode):
        return
    name = "standard output" if output is None else str(output)
    for what, status in read:
        if status is not None and os.path.samestat(target, status):
            raise ConfigError(f"{name} is {what}; write the {content} to another file")


def status_of(file: object) -> os.stat_result | None:
    """Return the status of a path or of an open file, or None if there is none."""
    try:
        return os.fstat(file.fileno()) if hasattr(file, "fileno") else os.stat(str(file))
    except (OSError, ValueError):  # a stream in memory has no descriptor
        return None


@contextlib.contextmanager
def open_output(path: Path | None) -> Iterator[IO[bytes]]:
    """Yield the output file, or standard output, which is not closed.

    A regular file is written under another name beside it, `FILE.partial`, and renamed when the block succeeds. If the
    block fails, that name is kept and logged, unless the file is empty. What had the name before is untouched. A pipe,
    a device or an open file is written as it is. The mode and the owner of an existing file are kept.
    """
    status = None if path is None else status_of(path)
    here = status_of(sys.stdout)
    if path is None or str(path) == "-" or (status and here and os.path.samestat(status, here)):  # such as /dev/stdout
        yield sys.stdout.buffer
        return
    with atomic.naming(path):
        regular = status is None or stat.S_ISREG(status.st_mode)
        if not regular or _is_descriptor(path):
            with path.open("ab" if regular else "wb") as file:
                yield file
            return
        target = Path(os.path.realpath(path))  # a link stays one
        if status and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        with _partial(path, target, status) as file:
            yield file


def _is_descriptor(path: Path) -> bool:
    """Return whether a path stands for an open file of this process, such as /dev/stderr and /dev/fd/3."""
    pointed = os.readlink(path) if path.is_symlink() else ""
    return pointed.startswith("/proc/") or os.path.realpath(path.parent).startswith("/proc/")


@contextlib.contextmanager
def _partial(path: Path, target: Path, status: os.stat_result | None) -> Iterator[IO[bytes]]:
    """Yield a new file that becomes `target`, whose status this is, when the block succeeds."""
    partial, descriptor = _create(path, target, status)
    try:
        with open(descriptor, "wb") as file:
            if status is not None:
                with contextlib.suppress(OSError, AttributeError):  # Windows has no owners
                    os.chown(partial, status.st_uid, status.st_gid)
                with contextlib.suppress(OSError):
                    os.chmod(partial, stat.S_IMODE(status.st_mode))
            yield file
        file_system.sync(partial)
        _put_in_place(partial, target)
    except BaseException:
        if partial.exists():
            if partial.stat().st_size:
                log.warning("%s was not written; what was translated so far is in %s", path, partial)
            else:
                partial.unlink()
        raise


def _create(path: Path, target: Path, status: os.stat_result | None) -> tuple[Path, int]:
    """Create a file beside `target`, or in the folder for temporary files. Return its path and descriptor."""
    folder, stem = target.parent, target.name
    for number in count(1):
        partial = folder / f"{stem}.partial{f'-{number}' if number > 1 else ''}"
        try:
            return partial, os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if status is None else 0o600)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG and len(stem) > 100:
                stem = stem[:100]
            elif status is not None and error.errno in NOT_HERE and folder == target.parent:
                folder = Path(tempfile.gettempdir())
            else:
                raise OSError(error.errno, error.strerror, str(path)) from None
    raise AssertionError


def _put_in_place(partial: Path, target: Path) -> None:
    """Rename a complete file, or copy it where that is impossible."""
    try:
        partial.replace(target)
    except OSError as error:
        if error.errno not in IN_PLACE:
            raise
        shutil.copyfile(partial, target)
        partial.unlink()
