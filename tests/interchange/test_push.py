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


@pytest.fixture(scope="module")
def exported(shared_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an export, which is not compared: that needs another package."""
    from transformer.interchange.hugging_face import write_hugging_face
    from transformer.runs.models import load_model
    from transformer.runs.run import open_run

    run = open_run(shared_run)
    folder = tmp_path_factory.mktemp("export") / "out"
    write_hugging_face(load_model(run)[0], run.tokenizer, folder)
    return folder


@pytest.fixture
def server() -> Iterator[ModelHub]:
    with ModelHub() as found:
        yield found


def push(folder: Path, environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """Push in a process of its own, as huggingface_hub reads its settings when it is imported."""
    command = [
        sys.executable,
        "-m",
        "transformer",
        "export",
        "RUN",
        str(folder),
        "--to",
        "hugging-face",
        "--push",
        NAME,
    ]
    return subprocess.run([*command, *options], env=environment, capture_output=True, text=True, timeout=120)


def test_a_folder_is_uploaded(exported: Path, server: ModelHub, tmp_path: Path) -> None:
    done = push(exported, server.environment(tmp_path), "--yes", "--private")
    assert done.returncode == 0, done.stderr
    files = {path.name: path.read_bytes() for path in exported.iterdir() if path.name != "manifest.json"}
    assert server.repos == {NAME: files}
    assert server.private == {NAME: True}
    assert f"uploaded: {server.endpoint}/{NAME}/commit/" in done.stdout
    assert f"{len(files['model.safetensors']):,}  model.safetensors" in done.stdout
    again = push(exported, server.environment(tmp_path), "--yes")
    assert again.returncode == 0, again.stderr


def test_without_a_token_nothing_is_uploaded(exported: Path, server: ModelHub, tmp_path: Path) -> None:
    done = push(exported, server.environment(tmp_path, token=None), "--yes")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"transformer export: cannot push to {NAME}: ")
    assert server.repos == {}


def test_without_a_network_nothing_is_uploaded(exported: Path, tmp_path: Path) -> None:
    done = push(exported, hub.environment(tmp_path, hub.closed_endpoint()) | {"HF_TOKEN": "hf_none"}, "--yes")
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
