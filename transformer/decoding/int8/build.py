"""Decoding on a CPU in 8-bit products: the network of transformer/model.py once more, in C (transformer/native.c).

It is used where it can be: on Linux with an x86-64 processor that has AVX-512 VNNI, and with a C compiler. The first
use compiles it, in a second or two, into the user's cache; everywhere else torch decodes. Weights become 8-bit integers
with a scale for each output, activations with a scale for each row; sums, norms, softmax and scores are float32, keys
and values half precision.
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

FLAGS = ("-O3", "-shared", "-fPIC", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni", "-mfma", "-mf16c")
NEEDED = {"avx512f", "avx512bw", "avx512vl", "avx512_vnni", "fma", "f16c"}
SOURCE = Path(__file__).with_name("kernel.c")
log = logging.getLogger(__name__)


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled step, None where this machine cannot have it."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if platform.system() != "Linux" or platform.machine() != "x86_64" or compiler is None:
        return None
    try:
        if not set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split()) >= NEEDED:
            return None
        with _folder() as folder:
            return ctypes.CDLL(str(_compiled(compiler, folder)))
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("decoding goes on without 8-bit products: compiling them failed: %s", error)
        return None


@contextmanager
def _folder() -> Iterator[Path]:
    """Give the user's cache if nobody else can write to it, else a folder that is there while the block runs."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(cache_home) / "transformer"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
        private = state.st_uid == os.getuid() and not state.st_mode & 0o022 and os.access(folder, os.W_OK)
    except OSError:
        private = False
    if private and folder.is_absolute():
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="transformer-") as temporary:
        yield Path(temporary)


def _compiled(compiler: str, folder: Path) -> Path:
    """Return the compiled file, which is compiled once, and again if it is damaged."""
    parts = (SOURCE.read_bytes(), " ".join(FLAGS).encode(), compiler.encode())
    found = folder / f"native-{hashlib.sha256(bytes(1).join(parts)).hexdigest()[:16]}.so"
    digest = found.with_suffix(".sha256")
    if found.exists() and digest.exists() and digest.read_text(encoding="utf-8") == atomic.sha256(found):
        return found
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        part = Path(temporary) / found.name
        subprocess.run(
            [compiler, *FLAGS, "-o", str(part), str(SOURCE), "-lm"], check=True, capture_output=True, timeout=120
        )
        (Path(temporary) / digest.name).write_text(atomic.sha256(part), encoding="utf-8")
        part.replace(found)
        (Path(temporary) / digest.name).replace(digest)
    return found
