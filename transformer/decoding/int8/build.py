"""Compiles and loads the 8-bit kernels, for the best instruction set of the processor or a named one.

A wheel for a platform has compiled kernels. Otherwise they need a C compiler and a second or two, once: the library is
cached for the user under a name that depends on the sources, the flags and the compiler.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from transformer import atomic
from transformer.decoding.int8 import instruction_sets
from transformer.decoding.int8.instruction_sets import InstructionSet
from transformer.decoding.int8.structures import LAYOUT
from transformer.system.caches import user_cache

SOURCE = instruction_sets.SOURCE
PREBUILT = SOURCE.with_name("prebuilt")
"""Folder of the libraries that a wheel brings."""
EXTRA_FLAGS: tuple[str, ...] = ()
"""More flags for the compiler, such as those of sanitizers."""
COMPILE_SECONDS = 120
"""Timeout of the compiler. One or two seconds are usual."""
log = logging.getLogger(__name__)


@cache
def library(name: str = "auto") -> ctypes.CDLL | None:
    """Return the kernels for an instruction set, or None if this machine cannot run or compile them.

    `auto` is the best set that works here. `portable` has to be named: torch is faster.
    """
    wanted = [each for each in instruction_sets.here() if each.name == name or (name == "auto" and each.features)]
    failed: Exception | None = None
    for each in wanted:
        try:
            kernels = _load(each)
        except (OSError, subprocess.SubprocessError) as error:
            failed = failed or error
            continue
        if kernels is not None and layout(kernels) != LAYOUT:
            log.warning("decoding without 8-bit kernels, as their C structures differ from those in Python")
            return None
        if kernels is not None:
            return kernels
    if failed is not None:
        log.warning("decoding without 8-bit kernels, as compiling or loading them failed: %s", _reason(failed))
    return None


def layout(kernels: ctypes.CDLL) -> tuple[int, ...]:
    """Return the layout of the C structures in a compiled library."""
    kernels.layout.restype = ctypes.c_int64
    numbers: list[int] = []
    while (number := kernels.layout(len(numbers))) >= 0:
        numbers.append(number)
    return tuple(numbers)


def _load(instructions: InstructionSet) -> ctypes.CDLL | None:
    """Return the wheel's library or the compiled one, or None if there is neither this library nor a compiler."""
    prebuilt = PREBUILT / instructions.file_name(SOURCE)
    if prebuilt.is_file() and not EXTRA_FLAGS:
        try:
            if atomic.sha256(prebuilt) != prebuilt.with_suffix(".sha256").read_text(encoding="utf-8"):
                raise OSError(f"{prebuilt} is damaged")  # loading it could end the process
            return ctypes.CDLL(str(prebuilt))
        except OSError as error:  # made for another system, or damaged: compile
            log.warning("the 8-bit kernels of the wheel cannot be loaded: %s", error)
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    return None if compiler is None else _compile_and_load(instructions, compiler)


def _compile_and_load(instructions: InstructionSet, compiler: str) -> ctypes.CDLL:
    """Return the library from the user's cache folder, or from a temporary folder if that one cannot be used.

    It may be full, or mounted without the permission to run programs. Raises the error of the last folder tried.
    """
    if (folder := _cache_folder()) is not None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            return ctypes.CDLL(str(_compiled(instructions, compiler, folder)))
    with tempfile.TemporaryDirectory(prefix="transformer-") as temporary:
        return ctypes.CDLL(str(_compiled(instructions, compiler, Path(temporary))))


def _cache_folder() -> Path | None:
    """Return the user's cache folder, or None if another user can write to it.

    It is private, whatever the umask, since the program runs what is in it.
    """
    folder = user_cache() / "transformer"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return None
    private = status.st_uid == os.getuid() and not status.st_mode & 0o022
    return folder if private and os.access(folder, os.W_OK) else None


def _reason(error: Exception) -> str:
    """Return an error in one line: of a compiler, the last line that it printed."""
    said = (getattr(error, "stderr", None) or b"").decode("utf-8", "replace").strip()
    return said.splitlines()[-1] if said else str(error)


def _compiled(instructions: InstructionSet, compiler: str, folder: Path) -> Path:
    """Return the compiled library. Compile it if it is missing or does not match the digest stored next to it."""
    compiler_and_flags = " ".join((compiler, *EXTRA_FLAGS))
    file = folder / instructions.file_name(SOURCE, compiler_and_flags)
    digest = file.with_suffix(".sha256")
    if file.exists() and digest.exists() and digest.read_text(encoding="utf-8") == atomic.sha256(file):
        return file
    log.info("compiling the 8-bit kernels, once")
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        new = Path(temporary) / file.name
        command = [compiler, *instructions.arguments(SOURCE, new), *EXTRA_FLAGS]
        subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_SECONDS)
        (Path(temporary) / digest.name).write_text(atomic.sha256(new), encoding="utf-8")
        new.replace(file)
        (Path(temporary) / digest.name).replace(digest)
    return file
