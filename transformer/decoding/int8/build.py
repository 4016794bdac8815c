"""Compiling and loading the 8-bit kernels: once for each user, where the machine can run them.

They need Linux on an x86-64 processor with AVX-512 VNNI, and a C compiler. Compiling takes a second or two; the library
is kept in the user's cache, under a name that depends on the sources, the flags and the compiler.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from transformer import atomic
from transformer.decoding.int8.structures import LAYOUT

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
"""As /proc/cpuinfo names what the flags let the compiler use."""
SOURCE = Path(__file__).with_name("engine.c")
"""The file that includes all others of its folder."""
COMPILE_SECONDS = 120
"""After which a compiler is taken to hang; one or two are usual."""
log = logging.getLogger(__name__)


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, None where this machine cannot run or compile them."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if platform.system() != "Linux" or platform.machine() != "x86_64" or compiler is None:
        return None
    try:
        if not set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split()) >= CPU_FEATURES:
            return None
        with _library_folder() as folder:
            kernels = ctypes.CDLL(str(_compiled(compiler, folder)))
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("decoding without 8-bit kernels, as compiling or loading them failed: %s", error)
        return None
    if layout(kernels) != LAYOUT:
        log.warning("decoding without 8-bit kernels, as their C structures differ from those in Python")
        return None
    return kernels


def layout(kernels: ctypes.CDLL) -> tuple[int, ...]:
    """Return the layout of the structures that a library was compiled with."""
    kernels.layout.restype = ctypes.c_int64
    numbers: list[int] = []
    while (number := kernels.layout(len(numbers))) >= 0:
        numbers.append(number)
    return tuple(numbers)


@contextmanager
def _library_folder() -> Iterator[Path]:
    """Give the user's cache if nobody else can write to it, else a folder that exists while the block runs."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(cache_home) / "transformer"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        private = status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(folder, os.W_OK)
    except OSError:
        private = False
    if private and folder.is_absolute():
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="transformer-") as temporary:
        yield Path(temporary)


def _compiled(compiler: str, folder: Path) -> Path:
    """Return the compiled file. It is compiled where it is missing or its digest is not the one written beside it."""
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
    """Return what changes with anything that the compiled file depends on: all sources, flags and the compiler."""
    digest = hashlib.sha256(repr((FLAGS, compiler)).encode())
    for path in sorted(SOURCE.parent.glob("*.[ch]")):
        digest.update(hashlib.sha256(path.name.encode()).digest() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
