"""All instruction sets compute the same numbers, also those of processors that are emulated here."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from transformer.decoding.int8 import instruction_sets
from transformer.decoding.int8.instruction_sets import InstructionSet

PROGRAM = Path(__file__).with_name("random_decoding.c")
NAMED = {each.name: each for each in instruction_sets.ALL}
HERE = {each.name for each in instruction_sets.here()}
COMPILERS = [each for each in ("gcc", "clang") if shutil.which(each)]
AVXVNNI_BY_AVX512 = ("-mavx512vl", "-mavx512vnni", "-U__AVX512VNNI__", "-D__AVXVNNI__")
"""Flags that compile for AVX-VNNI with an instruction of AVX-512, which computes the same."""
ARM = {"dotprod": "max", "neon": "cortex-a72"}
"""Processors that are emulated."""


def results(instructions: InstructionSet, compiler: str, folder: Path, *more: str, run: tuple[str, ...] = ()) -> str:
    """Return what the program prints when it is compiled for an instruction set."""
    program = folder / f"{compiler}-{instructions.name}"
    flags = [each for each in instruction_sets.FLAGS if each not in ("-shared", "-fPIC")]
    include = f"-I{instruction_sets.SOURCE.parent}"
    command = [compiler, *flags, *instructions.flags, *more, include, str(PROGRAM), "-o", str(program), "-lm"]
    subprocess.run(command, check=True)
    return subprocess.run([*run, str(program)], check=True, capture_output=True, text=True).stdout


@cache
def expected(folder: Path) -> str:
    return results(NAMED["portable"], COMPILERS[0], folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not COMPILERS:
        pytest.skip("needs a C compiler")
    return tmp_path_factory.mktemp("programs")


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", NAMED)
def test_results_are_those_of_plain_c_bit_for_bit(name: str, compiler: str, folder: Path) -> None:
    if name not in HERE:
        pytest.skip(f"this processor has no {name}")
    assert results(NAMED[name], compiler, folder) == expected(folder)


def test_avxvnni_where_avx512_computes_the_same(folder: Path, tmp_path: Path) -> None:
    if "avx512" not in HERE or "gcc" not in COMPILERS:
        pytest.skip("needs a processor with avx512, and gcc")
    instead = "-D_mm256_dpbusd_avx_epi32=_mm256_dpbusd_epi32"
    assert results(NAMED["avx2"], "gcc", tmp_path, *AVXVNNI_BY_AVX512, instead) == expected(folder)


@pytest.mark.parametrize("name", ARM)
def test_arm_computes_the_same(name: str, folder: Path) -> None:
    """Its C library has another expf and logf, which differ in the last bit."""
    compiler, emulator = "aarch64-linux-gnu-gcc", shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if shutil.which(compiler) is None or emulator is None:
        pytest.skip(f"needs {compiler} and qemu-aarch64 (Debian: gcc-aarch64-linux-gnu, qemu-user-static)")
    found = results(NAMED[name], compiler, folder, "-static", run=(emulator, "-cpu", ARM[name]))
    for ours, theirs in zip(found.splitlines(), expected(folder).splitlines(), strict=True):
        (kind, number), (other_kind, other) = ours.split(), theirs.split()
        assert kind == other_kind
        if kind == "memory":
            assert number == other
        else:
            assert float(number) == pytest.approx(float(other), abs=1e-5)


def test_the_program_notices_another_result(folder: Path, tmp_path: Path) -> None:
    """A product that is wrong in one instruction set is found."""
    copy = tmp_path / "int8"
    shutil.copytree(instruction_sets.SOURCE.parent, copy)
    path = copy / "instructions" / "portable.h"
    text = path.read_text(encoding="utf-8")
    assert text.count("x[3] * w[4 * i + 3]") == 1
    path.write_text(text.replace("x[3] * w[4 * i + 3]", "x[3] * w[4 * i + 2]"), encoding="utf-8")
    assert results(NAMED["portable"], COMPILERS[0], tmp_path, f"-I{copy}") != expected(folder)
