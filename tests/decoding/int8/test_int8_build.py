"""The 8-bit kernels are compiled once, cached privately, and loaded only if Python and C agree."""

from __future__ import annotations

import ctypes
import dataclasses
import logging
import os
import pwd
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import get_args, get_type_hints

import pytest

from transformer import atomic
from transformer.config import DecodeConfig
from transformer.decoding.int8 import build, instruction_sets
from transformer.decoding.int8.build import library
from transformer.decoding.int8.structures import LAYOUT
from transformer.decoding.translator import Translator, make_translator
from transformer.system.caches import temporary_cache

needs_kernels = pytest.mark.skipif(library() is None, reason="needs a C compiler")


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.cache_clear()
    yield tmp_path
    library.cache_clear()


@needs_kernels
def test_kernels_are_compiled_once_and_cached_privately(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert library() is not None
    (kept,) = (fresh / "transformer").glob("*.so")
    assert (fresh / "transformer").stat().st_mode & 0o777 == 0o700
    library.cache_clear()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("compiled again"))
    assert isinstance(library(), ctypes.CDLL)
    assert kept.exists()


@needs_kernels
def test_a_damaged_file_is_compiled_again(fresh: Path) -> None:
    assert library() is not None
    (kept,) = (fresh / "transformer").glob("*.so")
    whole = kept.read_bytes()
    kept.unlink()  # this process still has the old file open
    kept.write_bytes(whole[:20_000])
    library.cache_clear()
    assert library() is not None
    assert kept.read_bytes() == whole


@pytest.fixture
def temporary(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a new folder for temporary files."""
    folder = fresh / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    temporary_cache.cache_clear()
    yield folder
    temporary_cache.cache_clear()


@needs_kernels
def test_a_private_temporary_folder_is_used_without_a_home(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/proc/none")
    assert library() is not None
    (private,) = temporary.iterdir()
    assert private.stat().st_mode & 0o777 == 0o700
    assert len(list((private / "transformer").glob("*.so"))) == 1


@needs_kernels
def test_a_library_that_others_can_write_is_not_loaded(fresh: Path) -> None:
    (fresh / "transformer").mkdir()
    (fresh / "transformer").chmod(0o777)
    assert library() is not None
    assert not list((fresh / "transformer").iterdir())


@needs_kernels
def test_a_failing_compiler_is_reported(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(build, "SOURCE", fresh / "broken.c")
    (fresh / "broken.c").write_text("this is not C", encoding="utf-8")
    assert library() is None
    assert "decoding without 8-bit kernels, as compiling or loading them failed" in caplog.text
    assert not list((fresh / "transformer").glob("*.so"))


@needs_kernels
def test_compiling_is_logged_once(fresh: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "transformer")
    for _ in range(2):
        assert library() is not None
        library.cache_clear()
    assert caplog.messages == ["compiling the 8-bit kernels, once"]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the sources, which is compiled instead of the package's."""
    folder = tmp_path / "sources"
    shutil.copytree(build.SOURCE.parent, folder)
    monkeypatch.setattr(build, "SOURCE", folder / build.SOURCE.name)
    return folder


def test_the_name_of_the_library_depends_on_every_source(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    avx2, neon = (each for each in instruction_sets.ALL if each.name in ("avx2", "neon"))
    names = [each.file_name(build.SOURCE, compiler) for each in (avx2, neon) for compiler in ("", "cc", "gcc")]
    for path in sorted(copied.rglob("*.[ch]")):
        path.write_text(path.read_text(encoding="utf-8") + "/**/", encoding="utf-8")
        names.append(avx2.file_name(build.SOURCE))
    monkeypatch.setattr(instruction_sets, "FLAGS", (*instruction_sets.FLAGS, "-g"))
    names.append(avx2.file_name(build.SOURCE))
    assert len(names) > 18
    assert len(set(names)) == len(names)


@needs_kernels
def test_python_and_c_agree_on_the_structures() -> None:
    kernels = library()
    assert kernels is not None
    assert build.layout(kernels) == LAYOUT


CPUS = {
    "a laptop": ("Linux", "x86_64", "fpu sse2 avx2 fma f16c", ["avx2"]),
    "a new laptop": ("Linux", "x86_64", "avx2 fma f16c avx_vnni", ["avxvnni", "avx2"]),
    "a server": (
        "Linux",
        "x86_64",
        "avx2 fma f16c avx512f avx512bw avx512vl avx512_vnni",
        ["avx512", "avx2"],
    ),
    "avx512 without vnni": ("Linux", "x86_64", "avx2 fma f16c avx512f avx512bw avx512vl", ["avx2"]),
    "an old machine": ("Linux", "x86_64", "sse2 avx", []),
    "a Raspberry Pi 4": ("Linux", "aarch64", "fp asimd crc32", ["neon"]),
    "a Graviton": ("Linux", "aarch64", "fp asimd asimddp", ["dotprod", "neon"]),
    "an Apple M1": ("Darwin", "arm64", "", ["dotprod", "neon"]),
    "an Intel Mac": ("Darwin", "x86_64", "FMA F16C AVX1.0 AVX2 AVX512F", ["avx2"]),
    "another processor": ("Linux", "riscv64", "rv64imafdc", []),
}


@pytest.mark.parametrize("machine", CPUS)
def test_the_sets_of_a_processor_are_its_own_the_fastest_first(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system, kind, words, names = CPUS[machine]
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: kind)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: words)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=words))
    instruction_sets.processor_features.cache_clear()
    try:
        assert [each.name for each in instruction_sets.here()] == [*names, "portable"]
    finally:
        instruction_sets.processor_features.cache_clear()


def test_there_are_no_kernels_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Windows")
    assert list(instruction_sets.here()) == []


def test_the_setting_names_each_set() -> None:
    names = get_args(get_type_hints(DecodeConfig)["instruction_set"])
    assert names == ("auto", *(each.name for each in instruction_sets.ALL))


@needs_kernels
def test_a_set_that_the_compiler_does_not_know_is_passed_over(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = instruction_sets.here()
    unknown = dataclasses.replace(first, name="unknown", flags=(*first.flags, "-munknown"))
    monkeypatch.setattr(instruction_sets, "here", lambda: iter([unknown, first, *others]))
    assert library() is not None
    assert {path.name.split("-")[1] for path in (fresh / "transformer").glob("*.so")} == {first.name}


@needs_kernels
def test_a_wheel_needs_no_compiler(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = next(instruction_sets.here())
    (tmp_path / "prebuilt").mkdir()
    monkeypatch.setattr(build, "PREBUILT", tmp_path / "prebuilt")
    made = tmp_path / "prebuilt" / best.file_name(build.SOURCE)
    subprocess.run(["cc", *best.arguments(build.SOURCE, made)], check=True)
    made.with_suffix(".sha256").write_text(atomic.sha256(made), encoding="utf-8")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert library() is not None
    assert not (fresh / "transformer").exists()


@needs_kernels
def test_a_damaged_library_of_a_wheel_is_a_warning(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    best = next(instruction_sets.here())
    (tmp_path / "prebuilt").mkdir()
    damaged = tmp_path / "prebuilt" / best.file_name(build.SOURCE)
    damaged.write_bytes(b"no library")
    monkeypatch.setattr(build, "PREBUILT", tmp_path / "prebuilt")
    for digest in ("another", atomic.sha256(damaged)):
        damaged.with_suffix(".sha256").write_text(digest, encoding="utf-8")
        library.cache_clear()
        assert library() is not None
    first, second = (each for each in caplog.messages if "of the wheel" in each)
    assert first == f"the 8-bit kernels of the wheel cannot be loaded: {damaged} is damaged"
    assert second.startswith("the 8-bit kernels of the wheel cannot be loaded: ")


CHANGES = {
    "a field more, where padding was": ("int32_t width, heads,", "int32_t width, heads, groups,"),
    "two fields more": ("int32_t width, heads,", "int32_t width, heads, groups, kind,"),
    "two fields swapped": ("int32_t width, heads,", "int32_t heads, width,"),
    "another field at the end": (
        "    int32_t *failed;               /* out, (B): likewise */\n",
        "    int32_t *failed, unused;\n",
    ),
    "another page": ("PAGE = 16", "PAGE = 32"),
}


@needs_kernels
@pytest.mark.parametrize("change", CHANGES)
def test_mismatched_structures_are_refused_and_torch_decodes(
    fresh: Path, copied: Path, change: str, translator: Translator, caplog: pytest.LogCaptureFixture
) -> None:
    path, (old, new) = copied / "structures.h", CHANGES[change]
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    cfg = dataclasses.replace(translator.cfg, precision="auto")
    ours = make_translator(translator.model, translator.tokenizer, cfg, translator.max_length, translator.device)
    assert ours.precision != "int8"
    assert [ways[0].text for ways in ours.translate(["one two"])] == ["zwei eins"]
    assert caplog.messages == ["decoding without 8-bit kernels, as their C structures differ from those in Python"]


HOMES: dict[str, dict[str, str]] = {
    "no home and no passwd entry": {},
    "nobody's": {"HOME": "/"},
    "relative": {"XDG_CACHE_HOME": "cache"},
    "not writable": {"HOME": "/proc/none"},
    "a file": {"HOME": __file__},
    "empty": {"HOME": ""},
}


@pytest.mark.parametrize("home", HOMES)
def test_without_a_home_the_cache_is_a_temporary_folder_and_nothing_else_is_made(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, home: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in HOMES[home].items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(here := tmp_path_factory.mktemp("here"))
    before = set(os.listdir("/"))
    assert build._cache_folder() == temporary / f"transformer-{os.getuid()}" / "transformer"
    assert not list(here.iterdir())
    assert set(os.listdir("/")) == before


@needs_kernels
def test_a_cache_folder_without_the_permission_to_run_programs_is_passed_over(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert library() is not None
    library.cache_clear()
    (kept,) = (fresh / "transformer").glob("*.so")
    load, forbidden = ctypes.CDLL, [fresh]

    def refuse(path: str) -> ctypes.CDLL:
        if any(Path(path).is_relative_to(folder) for folder in forbidden):
            raise OSError(f"{path}: failed to map segment from shared object")
        return load(path)

    monkeypatch.setattr(build, "_compiled", lambda _, __, folder: shutil.copy(kept, folder / "copy.so"))
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    monkeypatch.setattr("tempfile.tempdir", str(kept.parent.parent / "tmp"))
    (kept.parent.parent / "tmp").mkdir()
    forbidden[0] = kept.parent
    assert library() is not None
    assert not list((fresh / "tmp").iterdir())
    library.cache_clear()
    forbidden[0] = fresh
    assert library() is None
    (said,) = caplog.messages
    assert said.startswith("decoding without 8-bit kernels, as compiling or loading them failed: ")
    assert said.endswith("failed to map segment from shared object")


@needs_kernels
def test_a_wheel_for_this_platform_has_the_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, enabled = build.SOURCE.parents[3], {"HATCH_BUILD_HOOK_ENABLE_CUSTOM": "true"}
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    for more in ({}, enabled):
        subprocess.run(command, cwd=root, env=os.environ | more, check=True, capture_output=True)
    pure, platform_wheel = sorted(tmp_path.glob("*.whl"), key=lambda each: "-any" not in each.name)
    folder = "transformer/decoding/int8"
    with zipfile.ZipFile(pure) as archive:
        assert f"{folder}/instructions/avx2.h" in archive.namelist()
        assert not [name for name in archive.namelist() if name.endswith(".so")]
    with zipfile.ZipFile(platform_wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".so")]
        archive.extractall(tmp_path / "installed")
    monkeypatch.setattr(build, "PREBUILT", tmp_path / "installed" / folder / "prebuilt")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    kinds = {each.kind for each in instruction_sets.here() if each.kind}
    assert {Path(name).name.split("-")[1] for name in names} == {
        each.name for each in instruction_sets.ALL if each.kind in kinds
    }
    for each in instruction_sets.here():
        library.cache_clear()
        assert (library(each.name) is not None) == bool(each.kind)
    library.cache_clear()
