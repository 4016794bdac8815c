"""Atomic writes of files and folders, manifests that detect damage, and locks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
TEMPORARY = ".tmp-"
LOCK = ".lock"
LARGEST_JSON = 16 << 20
"""Size in bytes above which a JSON file is refused. The files that this package writes are far smaller."""
REPLACED = ".tmp-replaced-"
"""Prefix of a folder while it is being replaced. If the new folder never appeared, `clean_up` restores the old one."""


@contextmanager
def new_folder(path: Path, keep: Collection[str] = ()) -> Iterator[Path]:
    """Yield a temporary folder to fill. It becomes `path` when the block succeeds and is removed when it fails.

    Each file is flushed to disk, then a manifest with their sizes and SHA-256, then the rename. So `path` never exists
    half written. An existing folder at `path` is replaced; if the process is killed in between, `clean_up` restores it.
    `keep` names files of the existing folder that stay; they are neither written nor read again.
    An OSError, such as that of a full disk, has `path` as its file name.
    """
    with _naming_the_path(path), _filled(path, keep) as temporary:
        yield temporary


@contextmanager
def _naming_the_path(path: Path) -> Iterator[None]:
    """Set the file name of an OSError that has none, such as that of a full disk, to `path`."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), error.filename or str(path)) from None


@contextmanager
def _filled(path: Path, keep: Collection[str]) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=path.parent))
    old = path.with_name(REPLACED + path.name)
    try:
        temporary.chmod(0o777 & ~_umask())
        files = {}
        for name in keep:
            files[name] = read_json(path / MANIFEST)["files"][name]
            _link(path / name, temporary / name)
        yield temporary
        for file in sorted(temporary.iterdir()):
            if file.name not in keep:
                _sync(file)
                files[file.name] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
        (temporary / MANIFEST).write_text(json.dumps({"files": files}, indent=1) + "\n")
        _sync(temporary / MANIFEST)
        _sync(temporary)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        _sync(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _link(old: Path, new: Path) -> None:
    """Make a file appear under a second name, or copy it where the file system has no such links."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)
        _sync(new)


def damage(folder: Path, deep: bool = True) -> str | None:
    """Return what is wrong with a folder made by `new_folder`, or None. `deep` compares the SHA-256 of every file."""
    if folder.is_symlink():
        return "it is a link"
    try:
        files = read_json(folder / MANIFEST)["files"]
        for name, expected in files.items():
            if Path(name).name != name or name in (".", ".."):
                return f"its manifest names a file outside the folder: {name!r}"
            file = folder / name
            if not file.is_file() or file.is_symlink():
                return f"{name} is missing"
            if file.stat().st_size != expected["bytes"]:
                return f"{name} has {file.stat().st_size} bytes instead of {expected['bytes']}"
            if deep and sha256(file) != expected["sha256"]:
                return f"{name} is damaged: its SHA-256 differs from the manifest"
        present = {found.name for found in folder.iterdir() if not found.name.startswith(".")}
        if unknown := sorted(present - {*files, MANIFEST}):
            return f"it contains {unknown[0]}, which is not in its manifest"
    except FileNotFoundError:
        return f"it has no {MANIFEST}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its {MANIFEST} cannot be read ({type(error).__name__})"
    return None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raises OSError or ValueError if it is too large, not JSON, or a link."""
    if path.is_symlink():
        raise ValueError(f"{path.name} is a link")
    with path.open("rb") as stream:
        if len(text := stream.read(LARGEST_JSON + 1)) > LARGEST_JSON:
            raise ValueError(f"{path.name} has more than {LARGEST_JSON} bytes")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None


def write_text(path: Path, text: str) -> None:
    """Write a small file atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file atomically, unless it has this content already."""
    if path.is_file() and path.read_bytes() == content:
        return
    temporary = path.with_name(TEMPORARY + path.name)
    with _naming_the_path(path):
        temporary.unlink(missing_ok=True)  # it may be a link to another file
        with temporary.open("xb") as file:
            file.write(content)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)


@contextmanager
def only_writer(folder: Path, wait: bool = False) -> Iterator[bool]:
    """Try to lock a folder while the block runs, and yield whether that succeeded.

    With `wait`, wait until the lock is free. On a system without file locks it always succeeds.
    """
    try:
        import fcntl
    except ImportError:  # a system without such locks
        yield True
        return
    with open(os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without such locks
            pass
        yield True


def remove(folder: Path) -> None:
    """Remove a folder atomically: it is renamed first, so it is never seen half removed."""
    removed = folder.with_name(f"{TEMPORARY}removed-{os.getpid()}-{folder.name}")
    folder.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def clean_up(parent: Path) -> None:
    """Remove the temporary files of interrupted writers. The caller must be the only writer of the folder."""
    for old in parent.glob(f"{REPLACED}?*"):
        if not (path := old.with_name(old.name.removeprefix(REPLACED))).exists():
            old.rename(path)
    for stale in parent.glob(f"{TEMPORARY}*"):
        shutil.rmtree(stale, ignore_errors=True) if stale.is_dir() else stale.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
