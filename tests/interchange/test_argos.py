"""The real Argos Translate, in a folder of its own, installs an exported package and translates with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from transformer import api
from transformer.interchange.export import Choices, export_run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
LINES = ["one two three", "nine nine zero four", "eight", "five\u200b six"]
# Its sentence splitters, of which one needs a download, are replaced; the rest is the real package.
PROGRAM = """
import json, sys, types
for name in ("stanza", "minisbd"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["minisbd"].models, sys.modules["minisbd"].SBDetect = types.SimpleNamespace(), None
from argostranslate import package, translate

class Whole:
    def __init__(self, pkg):
        pass

    def split_sentences(self, text):
        return [text]

translate.MiniSBDSentencizer = Whole
archive, lines = json.loads(sys.argv[1])
package.install_from_path(archive)
(installed,) = package.get_installed_packages()
english, german = translate.get_installed_languages()
found = [translate.translate(line, "en", "de") for line in lines]
print(json.dumps([str(installed), installed.get_readme(), str(english), str(german), found]))
"""


@pytest.fixture(scope="module")
def argos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the package argostranslate alone. What it needs besides is installed for these tests."""
    pytest.importorskip("ctranslate2", reason="ctranslate2 is not installed")
    folder = tmp_path_factory.mktemp("argos")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(folder),
        "argostranslate",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    if done.returncode != 0:
        pytest.skip(f"argostranslate cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
    return folder


def test_argos_translates_with_an_exported_package(argos: Path, trained_run: Path, tmp_path: Path) -> None:
    export_run(trained_run, tmp_path / "out", "argos", Choices(licence="cc0-1.0"))
    (archive,) = (tmp_path / "out").glob("*.argosmodel")
    environment = {"XDG_DATA_HOME": "data", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache", "HOME": "home"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([str(archive), LINES])],
        env={
            **os.environ,
            **{name: str(tmp_path / folder) for name, folder in environment.items()},
            "PYTHONPATH": str(argos),
            "ARGOS_DEVICE_TYPE": "cpu",
        },
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    name, readme, english, german, found = json.loads(done.stdout.splitlines()[-1])
    assert (name, english, german) == ("English → German", "English", "German")
    assert readme == (tmp_path / "out" / "README.md").read_text()
    settings = {"decode.precision": "float32", "decode.beam": 4}
    assert found == [each.text for each in api.load(trained_run, settings).translate(LINES)]
