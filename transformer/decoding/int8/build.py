"""Compiles and loads the 8-bit kernels, if the machine can run them.

They need Linux, an x86-64 processor with AVX-512 VNNI, and a C compiler. Compiling takes a second or two. The library
is cached for the user under a name that depends on the sources, the flags and the compiler.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from transformer import atomic
from transformer.decoding.int8.structures import LAYOUT
from transformer.system.caches import user_cache

FLAGS: tuple[str, ...] = (
    "-O3",
    "-shared",
    "-fPIC",
    "-mavx512f",
    "-mavx512bw",
    "-mavx512vl",
    "-mavx512vnni",
    "-mfma",
    "-mf16c",
)
CPU_FEATURES = {"avx512f", "avx512bw", "avx512vl", "avx512_vnni", "fma", "f16c"}
"""Names in /proc/cpuinfo of the processor features that FLAGS enable."""
SOURCE = Path(__file__).with_name("engine.c")
"""The C file that includes all others in this folder."""
COMPILE_SECONDS = 120
"""Timeout of the compiler. One or two seconds are usual."""
log = logging.getLogger(__name__)


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None if this machine cannot run or compile them."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if platform.system() != "Linux" or platform.machine() != "x86_64" or compiler is None:
        return None
    try:
        if not set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split()) >= CPU_FEATURES:
            return None
        kernels = _compile_and_load(compiler)
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("decoding without 8-bit kernels, as compiling or loading them failed: %s", _reason(error))
        return None
    if layout(kernels) != LAYOUT:
        log.warning("decoding without 8-bit kernels, as their C structures differ from those in Python")
        return None
    return kernels


def layout(kernels: ctypes.CDLL) -> tuple[int, ...]:
    """Return the layout of the C structures in a compiled library."""
    kernels.layout.restype = ctypes.c_int64
    numbers: list[int] = []
    while (number := kernels.layout(len(numbers))) >= 0:
        numbers.append(number)
    return tuple(numbers)


def _compile_and_load(compiler: str) -> ctypes.CDLL:
    """Return the library from the user's cache folder, or from a temporary folder if that one cannot be used.

    It may be full, or mounted without the permission to run programs. Raises the error of the last folder tried.
    """
    if (folder := _cache_folder()) is not None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            return ctypes.CDLL(str(_compiled(compiler, folder)))
    with tempfile.TemporaryDirectory(prefix="transformer-") as temporary:
        return ctypes.CDLL(str(_compiled(compiler, Path(temporary))))


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


def _compiled(compiler: str, folder: Path) -> Path:
    """Return the compiled library. Compile it if it is missing or does not match the digest stored next to it."""
    file = folder / f"int8-{_fingerprint(compiler)}.so"
    digest = file.with_suffix(".sha256")
    if file.exists() and digest.exists() and digest.read_text(encoding="utf-8") == atomic.sha256(file):
        return file
    log.info("compiling the 8-bit kernels, once")
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        new = Path(temporary) / file.name
        command = [compiler, *FLAGS, "-o", str(new), str(SOURCE), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_SECONDS)
        (Path(temporary) / digest.name).write_text(atomic.sha256(new), encoding="utf-8")
        new.replace(file)
        (Path(temporary) / digest.name).replace(digest)
    return file


def _fingerprint(compiler: str) -> str:
    """Return a digest of everything that the compiled library depends on: sources, flags and compiler."""
    digest = hashlib.sha256(repr((FLAGS, compiler)).encode())
    for path in sorted(SOURCE.parent.glob("*.[ch]")):
        digest.update(hashlib.sha256(path.name.encode()).digest() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
