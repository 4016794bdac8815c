"""The instruction sets that the 8-bit kernels are compiled for, and which of them this processor has.

Only the standard library is used here: the build hook of wheels runs this file too.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("engine.c")
"""The C file that includes all others in this folder."""
FLAGS = ("-O3", "-shared", "-fPIC", "-ffp-contract=off")
"""Compiler flags of all sets. Contracted products would round otherwise than on other processors."""
SYSTEMS = ("Linux", "Darwin")
MACHINES = {"x86_64": "x86", "amd64": "x86", "aarch64": "arm", "arm64": "arm"}
"""The kind of processor, by its names in the systems."""


@dataclass(frozen=True)
class InstructionSet:
    """An instruction set: its name in `decode.instruction_set`, and how to compile for it."""

    name: str
    kind: str
    """Of processor: x86, arm, or empty for any."""
    features: frozenset[str]
    """What a processor must have, by the names in /proc/cpuinfo, without underscores."""
    flags: tuple[str, ...]

    def arguments(self, source: Path, library: Path) -> list[str]:
        """Return the arguments of the compiler that makes the kernels."""
        return [*FLAGS, *self.flags, "-o", str(library), str(source), "-lm"]

    def file_name(self, source: Path, compiler: str = "") -> str:
        """Return the name of the compiled library: it depends on the sources, the flags and, if given, the compiler."""
        digest = hashlib.sha256(repr((FLAGS, self.flags, compiler)).encode())
        for path in sorted(source.parent.rglob("*.[ch]")):
            name = path.relative_to(source.parent).as_posix()
            digest.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(path.read_bytes()).digest())
        return f"int8-{self.name}-{digest.hexdigest()[:16]}.so"


AVX2 = frozenset({"avx2", "fma", "f16c"})
AVX2_FLAGS = ("-mavx2", "-mfma", "-mf16c")
ALL = (
    InstructionSet(
        "avx512",
        "x86",
        AVX2 | {"avx512f", "avx512bw", "avx512vl", "avx512vnni"},
        (*AVX2_FLAGS, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni"),
    ),
    InstructionSet("avxvnni", "x86", AVX2 | {"avxvnni"}, (*AVX2_FLAGS, "-mavxvnni")),
    InstructionSet("avx2", "x86", AVX2, AVX2_FLAGS),
    InstructionSet("dotprod", "arm", frozenset({"asimd", "asimddp"}), ("-march=armv8.2-a+dotprod",)),
    InstructionSet("neon", "arm", frozenset({"asimd"}), ("-march=armv8-a",)),
    InstructionSet("portable", "", frozenset(), ("-DPORTABLE",)),
)
"""All sets, the fastest first."""


def here() -> Iterator[InstructionSet]:
    """Yield the sets that this processor and system can run, the fastest first. `portable` is the last."""
    kind, features = MACHINES.get(platform.machine().lower(), "other"), processor_features()
    if platform.system() in SYSTEMS:
        yield from (each for each in ALL if each.kind in ("", kind) and features >= each.features)


@cache
def processor_features() -> frozenset[str]:
    """Return the features of this processor, in lower case and without underscores; empty if they are unknown."""
    try:
        if platform.system() == "Darwin":
            words = _of_mac()
        else:
            words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except (OSError, subprocess.SubprocessError):
        return frozenset()
    return frozenset(word.lower().replace("_", "") for word in words)


def _of_mac() -> list[str]:
    """Return the features of a Mac's processor. All of Apple's own have the dot product."""
    if MACHINES.get(platform.machine().lower()) == "arm":
        return ["asimd", "asimddp"]
    names = ["machdep.cpu.features", "machdep.cpu.leaf7_features"]
    done = subprocess.run(["sysctl", "-n", *names], check=True, capture_output=True, text=True, timeout=10)
    return done.stdout.split()
