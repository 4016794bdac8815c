"""Build hook: a wheel for this platform, with compiled 8-bit kernels, so that decoding needs no C compiler.

    HATCH_BUILD_HOOK_ENABLE_CUSTOM=true pip wheel --no-deps .

Without the variable the wheel is pure: the kernels are compiled when they are first used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

INT8 = "transformer/decoding/int8"
OLDEST_MACOS = "11_0"


class PlatformWheel(BuildHookInterface[Any]):
    """Compiles the kernels for all instruction sets of this kind of processor."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        sets = load(Path(self.root) / INT8 / "instruction_sets.py")
        kind = sets.MACHINES.get(platform.machine().lower())
        wanted = [each for each in sets.ALL if each.kind == kind]
        if platform.system() not in sets.SYSTEMS or not wanted:
            sys.exit(f"there are no 8-bit kernels for {platform.system()} on {platform.machine()}")
        compiler = shlex.split(os.environ.get("CC", "cc"))
        os.environ.setdefault("MACOSX_DEPLOYMENT_TARGET", OLDEST_MACOS.replace("_", "."))
        self.folder = tempfile.TemporaryDirectory()
        for each in wanted:
            library = Path(self.folder.name) / each.file_name(sets.SOURCE)
            subprocess.run([*compiler, *each.arguments(sets.SOURCE, library)], check=True)
            digest = library.with_suffix(".sha256")
            digest.write_text(hashlib.sha256(library.read_bytes()).hexdigest(), encoding="utf-8")
            for path in (library, digest):
                build_data["force_include"][str(path)] = f"{INT8}/prebuilt/{path.name}"
        system = f"macosx_{OLDEST_MACOS}" if platform.system() == "Darwin" else "linux"
        build_data |= {"pure_python": False, "tag": f"py3-none-{system}_{platform.machine()}"}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self.folder.cleanup()


def load(path: Path) -> ModuleType:
    """Import a file by itself: the package needs torch, which is not there when a wheel is built."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
