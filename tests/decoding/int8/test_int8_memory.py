"""The 8-bit kernels under AddressSanitizer and UndefinedBehaviorSanitizer, on random models and batches."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from transformer.decoding.int8 import build, instruction_sets

PROGRAM = Path(__file__).with_name("sanitized_decoding.py")


def sanitizer() -> str | None:
    """Return the library of AddressSanitizer, or None if the compiler has none."""
    if build.library() is None or shutil.which("gcc") is None:
        return None
    command = ["gcc", "-print-file-name=libasan.so"]
    path = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return path if Path(path).is_absolute() else None


def run(source: Path, rounds: int, cache: Path, instruction_set: str) -> subprocess.CompletedProcess[str]:
    """Decode in a separate process, with kernels compiled from `source`."""
    preload = sanitizer()
    if preload is None:
        pytest.skip("needs a gcc with AddressSanitizer")
    environment = os.environ | {
        "LD_PRELOAD": preload,
        "ASAN_OPTIONS": "detect_leaks=0",  # Python and torch do not free all memory at exit
        "XDG_CACHE_HOME": str(cache),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(PROGRAM), str(source), str(rounds), instruction_set]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("instruction_set", [each.name for each in instruction_sets.here()])
def test_no_invalid_access_and_no_undefined_behaviour(instruction_set: str, tmp_path: Path) -> None:
    rounds = 20 if instruction_set == "portable" else 40
    done = run(build.SOURCE, rounds, tmp_path, instruction_set)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == rounds


FAULTS = {
    "a write beyond the candidates": (
        "decoder.h",
        "end = k + c->candidates; k < end",
        "end = k + c->candidates; k <= end",
        "AddressSanitizer: heap-buffer-overflow",
    ),
    "a write beyond the memory of the source": (
        "encoder.h",
        "c->source_length + t) * 2 * width, 2 * width)",
        "c->source_length + t) * 2 * width, 2 * width + 16)",
        "AddressSanitizer: heap-buffer-overflow",
    ),
    "an undefined shift": (
        "layers.h",
        "return (count + 15) / 16 * 16;",
        "return (count + 15) / 16 << (count / 1000 + 36) >> 32;",
        "runtime error: shift exponent",
    ),
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, tmp_path: Path) -> None:
    """The sanitizers detect a deliberate fault, so the test without one can fail."""
    name, old, new, message = FAULTS[fault]
    shutil.copytree(build.SOURCE.parent, tmp_path / "sources")
    path = tmp_path / "sources" / name
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    done = run(tmp_path / "sources" / build.SOURCE.name, 5, tmp_path, "auto")
    assert done.returncode != 0
    assert message in done.stderr
