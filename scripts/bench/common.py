"""Code shared by the benchmarks: runners, their environments and processes, and facts about the machine."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).resolve().parent / "runners"
CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
CACHE = Path("~/.cache/transformer-bench")
PATIENCE = 3600.0
"""Seconds before a process counts as failed."""
TORCH = f"torch=={torch.__version__.split('+')[0]}"
PACKAGES = {
    "marian": [TORCH, "transformers"],
    "eole": [TORCH, "eole>=0.6,<0.7", "aiohttp"],  # 0.6.4 imports aiohttp without requiring it
    "ctranslate2": ["ctranslate2"],
}


@dataclass(frozen=True)
class Runner:
    """One row of a table: a script in `runners/` and how to start it."""

    title: str
    script: str
    precision: str
    environment: str = ""
    """A key of PACKAGES; empty means the current Python."""


ISAS: dict[str, dict[str, str]] = {
    "best": {},
    "avx2": {
        "CT2_FORCE_CPU_ISA": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
    },
}
"""Environment variables that force an instruction set on torch, oneDNN, MKL and CTranslate2."""


class UnavailableError(Exception):
    """Why a runner is skipped."""


def say(text: str) -> None:
    """Print progress to stderr."""
    print(text, file=sys.stderr, flush=True)


def environment(name: str, cache: Path, build: bool) -> Path:
    """Return the Python of an environment, creating it if allowed; raises UnavailableError."""
    if not name:
        return Path(sys.executable)
    folder, packages = cache / "environments" / name, PACKAGES[name]
    python, ready, log = folder / "bin" / "python", folder / "ready", cache / f"pip-{name}.log"
    if ready.exists() and ready.read_text() == " ".join(packages):
        return python
    if not build:
        raise UnavailableError("not installed; run without --minute to install it")
    say(f"installing {' '.join(packages)} into {folder}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    for constraints in (["-c", str(CONSTRAINTS)], []):  # some packages need versions other than ours
        command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", *constraints, *packages]
        with log.open("w") as stream:
            done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT)
        if done.returncode == 0:
            ready.write_text(" ".join(packages))
            return python
    raise UnavailableError(f"cannot be installed: {last_line(log.read_text())}")


def last_line(text: str) -> str:
    """Return the last non-empty line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def run(runner: Runner, python: Path, job: dict[str, Any]) -> dict[str, float]:
    """Run a worker in its own process and return the JSON that it prints; raises UnavailableError."""
    job = {**job, "precision": runner.precision}
    threads = str(job["threads"])
    variables = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
    variables |= ISAS[job.get("isa", "best")]
    command = [str(python), str(FOLDER / runner.script), json.dumps(job)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"timed out after {PATIENCE:.0f} seconds") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise UnavailableError(f"failed: {last_line(done.stderr)}")
    found: dict[str, float] = json.loads(lines[-1])
    return found


def machine(threads: int) -> dict[str, Any]:
    """Return the CPU, the threads, and the versions of torch and of this repository."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    ours = importlib.metadata.version("transformer-translation")
    return {"cpu": cpu, "threads": threads, "versions": {"torch": torch.__version__, "this repository": ours}}


def version(python: Path, package: str) -> str:
    """Return the version of a package in another environment."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
