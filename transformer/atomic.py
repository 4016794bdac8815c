"""Atomic writes of files and folders, manifests that detect damage, and locks."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import stat
from collections.abc import Collection, Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from transformer.errors import TransformerError
from transformer.file_system import MANIFEST as MANIFEST
from transformer.file_system import UNKNOWN_CALL, make_folder, move, owner, put, set_aside, sync, unreadable

LOCK = ".lock"
TEMPORARY, REPLACED = ".transformer-tmp-", ".transformer-replaced-"
"""Prefixes that nothing else uses: of a file or folder while it is written or removed, and of a folder while it is
being replaced. If the new folder never appeared, `clean_up` restores the old one."""
LARGEST_JSON = 16 << 20
"""Size in bytes above which a JSON file is refused. The files that this package writes are far smaller."""
OLD_NAME = re.compile(r"\.tmp-(?P<kind>replaced-|removed-\d+-)?(?P<name>(step|average)-\d{8}|[a-z0-9_]{8})")
OLD_FILES = {"model.safetensors", "state.safetensors", "state.json", MANIFEST}
"""What the temporary folders of version 0.2.0 and before are called in `checkpoints`, and what is in them."""
log = logging.getLogger(__name__)


@contextmanager
def new_folder(path: Path, keep: Collection[str] = ()) -> Iterator[Path]:
    """Yield a temporary folder to fill. It becomes `path` when the block succeeds and is removed when it fails.

    Each file is flushed to disk, then a manifest with their sizes and SHA-256, then the rename. So `path` never exists
    half written. An existing folder at `path` is replaced; if the process is killed in between, `clean_up` restores it.
    `keep` names files of the existing folder that stay; they are neither written nor read again.
    An OSError, such as that of a full disk, has `path` as its file name.
    """
    with naming(path), _filled(path, keep) as temporary:
        yield temporary


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Set the file name of an OSError to `path` if it has none, as that of a full disk, or a temporary one."""
    try:
        yield
    except OSError as error:
        if error.filename is None or TEMPORARY in str(error.filename):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from None
        raise


@contextmanager
def _filled(path: Path, keep: Collection[str]) -> Iterator[Path]:
    make_folder(path.parent)
    temporary = temporary_name(path.parent)
    try:
        temporary.mkdir()  # unlike tempfile, with the mode, group and ACL that umask and parent ask for
        files = {}
        for name in keep:
            files[name] = read_json(path / MANIFEST)["files"][name]
            _link(path / name, temporary / name)
        yield temporary
        for file in sorted(temporary.iterdir()):
            if file.name not in keep:
                sync(file)
                files[file.name] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
        (temporary / MANIFEST).write_text(json.dumps({"files": files}, indent=1) + "\n")
        sync(temporary / MANIFEST)
        _same_modes(temporary, stat.S_IMODE((temporary / MANIFEST).stat().st_mode))
        sync(temporary)
        _replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _link(old: Path, new: Path) -> None:
    """Make a file appear under a second name, or copy it where the file system has no such links."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)
        sync(new)


def _same_modes(folder: Path, mode: int) -> None:
    """Give all files the mode that umask and folder ask for. Libraries such as safetensors make private ones."""
    for file in folder.iterdir():
        if stat.S_IMODE(file.stat().st_mode) != mode:
            try:
                file.chmod(mode)
            except OSError as error:
                if error.errno not in UNKNOWN_CALL:
                    raise


def _replace(temporary: Path, path: Path) -> None:
    """Rename a complete folder to `path`. A folder that is there is set aside until that has succeeded."""
    old = path.with_name(REPLACED + path.name)
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        set_aside(path, old)
    try:
        move(temporary, path)
    except OSError:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill with files and folders. It becomes `path` when the block succeeds.

    If the block fails, it is removed. `path` must not exist.
    """
    with naming(path):
        make_folder(path.parent)
        temporary = temporary_name(path.parent)
        try:
            temporary.mkdir()
            yield temporary
            move(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def temporary_name(parent: Path) -> Path:
    """Return a new name for a temporary file or folder. `clean_up` removes it if its writer was killed."""
    return parent / f"{TEMPORARY}{secrets.token_hex(6)}"


def damage(folder: Path, deep: bool | Container[str] = True) -> str | None:
    """Return what is wrong with a folder made by `new_folder`, or None.

    `deep` compares the SHA-256 of all files, of none, or of those that it names.
    Raises TransformerError for what this user may not read, which says nothing about damage.
    """
    try:
        return _damage(folder, deep)
    except FileNotFoundError:
        return f"it has no {MANIFEST}"
    except PermissionError as error:
        raise unreadable(Path(error.filename or folder), error) from None
    except OSError as error:
        return f"{Path(error.filename or MANIFEST).name} cannot be read ({error.strerror or error})"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its {MANIFEST} cannot be read ({type(error).__name__})"


def _damage(folder: Path, deep: bool | Container[str]) -> str | None:
    if folder.is_symlink():
        return "it is a link"
    files = read_json(folder / MANIFEST)["files"]
    for name, expected in files.items():
        if Path(name).name != name or name in (".", ".."):
            return f"its manifest names a file outside the folder: {name!r}"
        file = folder / name
        if not file.is_file() or file.is_symlink():
            return f"{name} is missing"
        if file.stat().st_size != expected["bytes"]:
            return f"{name} has {file.stat().st_size} bytes instead of {expected['bytes']}"
        if (deep if isinstance(deep, bool) else name in deep) and sha256(file) != expected["sha256"]:
            return f"{name} is damaged: its SHA-256 differs from the manifest"
    present = {found.name for found in folder.iterdir() if not found.name.startswith(".")}
    if unknown := sorted(present - {*files, MANIFEST}):
        return f"it contains {unknown[0]}, which is not in its manifest"
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
    temporary = temporary_name(path.parent)
    with naming(path):
        try:
            with temporary.open("xb") as file:
                file.write(content)
            sync(temporary)
            put(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync(path.parent)


@contextmanager
def only_writer(folder: Path, wait: bool = False) -> Iterator[bool]:
    """Try to lock a folder while the block runs, and yield whether that succeeded.

    With `wait`, wait until the lock is free, and say so. On a system without file locks it always succeeds. Raises
    TransformerError for a lock that this user may not open.
    """
    try:
        import fcntl
    except ImportError:  # a system without such locks
        yield True
        return
    with _open_lock(folder / LOCK) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                yield False
                return
            log.info("waiting for another process that writes to %s", folder)
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without such locks
            pass
        yield True


def _open_lock(path: Path) -> IO[bytes]:
    """Open a lock file, which may be another user's: a lock needs no permission to write, and no permission to create.

    That of a folder shared by a group has the mode that its first user's umask left. In a folder that all may write
    to, Linux refuses O_CREAT for a file of another user.
    """
    refused: OSError | None = None
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDWR, os.O_RDONLY):
        try:
            return open(os.open(path, flags | os.O_NOFOLLOW, 0o666), "rb")
        except PermissionError as error:
            refused = error
    if not os.path.lexists(path):
        raise OSError(refused.errno, refused.strerror, str(path.parent)) if refused else AssertionError
    raise TransformerError(f"the lock {path}{owner(path)} may not be opened; ask for permission, or remove it")


def remove(folder: Path) -> None:
    """Remove a folder atomically: it is renamed first, so it is never seen half removed.

    Where an overlay file system cannot rename it, a half removed one lacks files of its manifest.
    """
    removed = temporary_name(folder.parent)
    set_aside(folder, removed)
    shutil.rmtree(removed, ignore_errors=True)


def clean_up(parent: Path) -> None:
    """Remove the temporary files of interrupted writers. The caller must be the only writer of the folder.

    Only names that nothing else uses are removed, and the temporary folders of older versions in `checkpoints`.
    """
    for old in parent.glob(f"{REPLACED}?*"):
        if not (path := old.with_name(old.name.removeprefix(REPLACED))).exists():
            old.rename(path)
    for stale in [*parent.glob(f"{REPLACED}?*"), *parent.glob(f"{TEMPORARY}?*")]:
        _remove_leftover(stale)
    for stale in parent.glob(".tmp-*") if parent.name == "checkpoints" else ():
        named = OLD_NAME.fullmatch(stale.name)
        if named and stale.is_dir() and not stale.is_symlink() and {file.name for file in stale.iterdir()} <= OLD_FILES:
            if named["kind"] == "replaced-" and not (path := parent / named["name"]).exists():
                stale.rename(path)
            else:
                _remove_leftover(stale)


def _remove_leftover(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
