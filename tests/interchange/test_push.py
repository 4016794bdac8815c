"""`transformer export --push` uploads to a stand-in for the Hugging Face Hub, and only with --yes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import hub
from support.command import main
from support.model_hub import ModelHub

NAME = "me/toy-en-de"


FEW = ("--lines", "3")


@pytest.fixture(scope="module")
def exported(shared_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an export."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    folder = tmp_path_factory.mktemp("export") / "out"
    found = main("export", shared_run, folder, "--to", "hugging-face", *FEW)
    assert found.code == 0, found.err
    return folder


@pytest.fixture
def server() -> Iterator[ModelHub]:
    with ModelHub() as found:
        yield found


def push(run: Path, folder: Path, environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """Push in a process of its own, as huggingface_hub reads its settings when it is imported."""
    command = ["export", run, folder, "--to", "hugging-face", *FEW, "--push", NAME, *options]
    return subprocess.run(
        [sys.executable, "-m", "transformer", *map(str, command)],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_a_folder_is_uploaded(shared_run: Path, exported: Path, server: ModelHub, tmp_path: Path) -> None:
    done = push(shared_run, exported, server.environment(tmp_path), "--yes", "--private")
    assert done.returncode == 0, done.stderr
    files = {path.name: path.read_bytes() for path in exported.iterdir() if path.name != "manifest.json"}
    assert server.repos == {NAME: files}
    assert server.private == {NAME: True}
    assert f"uploaded: {server.endpoint}/{NAME}/commit/" in done.stdout
    assert f"{len(files['model.safetensors']):,}  model.safetensors" in done.stdout
    server.repos.clear()
    other = push(shared_run, exported, server.environment(tmp_path), "--yes", "--checkpoint", "step-00000150")
    assert other.returncode == 2
    assert f"{exported} is not this export of {shared_run}; choose a new folder, or remove it" in other.stderr
    assert server.repos == {}
    assert [path.name for path in exported.parent.iterdir()] == ["out"]


def test_without_a_token_nothing_is_uploaded(
    shared_run: Path, exported: Path, server: ModelHub, tmp_path: Path
) -> None:
    done = push(shared_run, exported, server.environment(tmp_path, token=None), "--yes")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"transformer export: cannot push to {NAME}: ")
    assert server.repos == {}


def test_without_a_network_nothing_is_uploaded(shared_run: Path, exported: Path, tmp_path: Path) -> None:
    done = push(
        shared_run, exported, hub.environment(tmp_path, hub.closed_endpoint()) | {"HF_TOKEN": "hf_none"}, "--yes"
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"transformer export: cannot push to {NAME}: ")


def test_without_yes_it_is_only_said(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # so that nothing is compared
    found = main("export", trained_run, tmp_path / "out", "--to", "hugging-face", "--push", NAME)
    assert found.code == 0, found.err
    lines = found.out.decode().splitlines()
    assert lines[2] == f"would be uploaded to {NAME}:"
    assert [line.split()[-1] for line in lines[3:-1]] == sorted(
        path.name for path in (tmp_path / "out").iterdir() if path.name != "manifest.json"
    )
    assert lines[-1] == "nothing was uploaded; the same command with --yes uploads this folder"


def test_refusals(exported: Path, tmp_path: Path) -> None:
    found = main("export", "RUN", exported, "--to", "hugging-face", "--push", "a b/c", "--yes")
    assert found.code == 2
    assert "'a b/c' is no name of a repository, such as user/model" in found.err
    found = main("export", "RUN", exported, "--to", "hugging-face", "--yes")
    assert found.code == 2
    assert "--yes and --private are for --push NAME" in found.err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "secret").write_text("")
    found = main("export", "RUN", tmp_path / "mine", "--to", "hugging-face", "--push", NAME, "--yes")
    assert found.code == 1
    assert "mine is not an export to push: it has no manifest.json" in found.err
