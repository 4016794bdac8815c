"""The command under odd terminals, locales, working directories and operating systems."""

from __future__ import annotations

import builtins
import io
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command import COMMAND, ENVIRONMENT, GREEDY, main
from support.toy import CPU

from transformer import config_file
from transformer.cli import main as cli
from transformer.cli.main import parse
from transformer.cli.terminal import command_line
from transformer.cli.train import resume_command
from transformer.config import Config
from transformer.training.session import train

ROOT = Path(cli.__file__).parents[2]


def process(*args: object, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    plain = {name: value for name, value in ENVIRONMENT.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    environment = {**plain, "PYTHONPATH": str(ROOT), **(env or {})}
    return subprocess.run(
        [*COMMAND, *map(str, args)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


# ---- terminals that are not UTF-8 ------------------------------------------------------------------------


def test_no_command_fails_for_want_of_a_character(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths, scores with their intervals, and samples have characters that the terminal lacks."""
    run, none = tmp_path / "größe→", tmp_path / "müll…"
    commands: list[list[object]] = [["train", tiny_file, "--run", run, "train.max_steps=2"]]
    commands += [["evaluate", run, "--samples", "2", *GREEDY], ["translate", run, "-o", run / "ü", *GREEDY]]
    commands += [["info", run], ["info", none]]
    for encoding in ("ascii", "cp437"):
        for args in commands:
            for name in ("stdin", "stdout", "stderr"):
                stream = io.TextIOWrapper(io.BytesIO(b"one\n"), encoding=encoding, errors="strict")
                monkeypatch.setattr(sys, name, stream)
            assert cli.main([str(arg) for arg in args]) == int(none in args), read(sys.stderr)
            assert read(sys.stdout)
        sentence = f"transformer info: {none} is not a run directory: no such directory\n"
        assert read(sys.stderr) == sentence.encode(encoding, "backslashreplace")
        del commands[0]


def read(stream: Any) -> bytes:
    stream.flush()
    content: bytes = stream.buffer.getvalue()
    return content


LOCALES = {
    "ascii": {"PYTHONIOENCODING": "ascii:strict"},
    "C": {"LC_ALL": "C"},
    "C without UTF-8": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "latin-1": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"},
    "unset": {},
}


@pytest.mark.parametrize("locale", LOCALES)
def test_names_are_utf8_in_any_locale_and_a_printed_configuration_is_read_again(
    tiny_file: Path, tmp_path: Path, locale: str
) -> None:
    (folder := tmp_path / "größe").mkdir()
    (folder / "тест.yaml").write_bytes(tiny_file.read_bytes())
    settings = [f"data.prepared_dir={folder}/ü", "--print-config"]
    done = process("train", "größe/тест.yaml", *settings, cwd=tmp_path, env=LOCALES[locale])
    assert (done.returncode, done.stderr) == (0, b"")
    (tmp_path / "again.yaml").write_bytes(done.stdout)
    assert config_file.load(tmp_path / "again.yaml").data.prepared_dir == f"{folder}/ü"


@pytest.mark.parametrize("width", ["0", "", "1", "-5", "many", "99999999"])
def test_any_width_of_a_terminal(tmp_path: Path, width: str) -> None:
    """tqdm#1174, jtbl#3."""
    done = process("translate", "--help", cwd=tmp_path, env={"COLUMNS": width, "LINES": width, "TERM": "dumb"})
    assert done.returncode == 0
    assert b"--nbest" in done.stdout


# ---- the working directory -------------------------------------------------------------------------------


def test_a_deleted_working_directory_is_named(tmp_path: Path) -> None:
    """pip#4255, knack#177."""
    (gone := tmp_path / "gone").mkdir()
    command = f'rmdir "{gone}"; exec {shlex.join(COMMAND)} train --run run "{tmp_path}/x.yaml"'
    (tmp_path / "x.yaml").write_text("data: {source: en, target: de, train: {files: [/dev/null, /dev/null]}}\n")
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=gone,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    said = "the working directory is gone: No such file or directory; change to one that exists\n"
    assert (done.returncode, done.stderr) == (1, f"transformer train: {said}".encode())


def test_the_card_has_the_real_name_of_the_run(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(config_file.override(tiny, ["train.max_steps=2"]), tmp_path / "named", CPU)
    for inside, path in (("", "."), ("checkpoints", ".."), ("checkpoints", "../../named/.")):
        monkeypatch.chdir(tmp_path / "named" / inside)
        (tmp_path / "named" / "README.md").unlink()
        assert main("evaluate", path).code == 0
        card = (tmp_path / "named" / "README.md").read_text()
        assert "# named: en to de\n" in card
        assert "transformer translate named\n" in card


# ---- the command to run next ------------------------------------------------------------------------------


def test_the_command_that_resumes_has_device_and_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    args = parse(["train", "-", "--device", "cuda:1", "a.b=it's", "--fresh"])
    args.config = Path("my config.yaml")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    alone = "transformer train 'my config.yaml' 'a.b=it'\"'\"'s' --run ./-x --device cuda:1"
    assert resume_command(Path("-x"), args) == alone
    again = parse(shlex.split(alone)[1:])
    again.refuse = args.refuse  # of another parser
    assert vars(again) == {**vars(args), "fresh": False, "folder": Path("./-x")}
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert resume_command(Path("-x"), args) == alone
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert resume_command(Path("-x"), args) == f"torchrun --nproc-per-node=8 -m -- {alone}"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    assert resume_command(Path("-x"), args) == f"torchrun --nnodes=2 --nproc-per-node=4 -m -- {alone}"
    args.device = "auto"
    assert "--device" not in resume_command(Path("-x"), args)
    assert command_line("evaluate", Path("a run")) == "transformer evaluate 'a run'"


# ---- Windows ---------------------------------------------------------------------------------------------


def test_a_system_without_posix_calls_trains_and_says_what_is_missing(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, imported = os.open, builtins.__import__

    def open_files_only(path: Any, *args: Any, **kwargs: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    def without_posix(name: str, *args: Any, **kwargs: Any) -> Any:
        if name in ("fcntl", "pwd", "grp", "resource"):
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(platform, "system", lambda: "Windows")
    monkeypatch.setattr(os, "open", open_files_only)
    monkeypatch.setattr(builtins, "__import__", without_posix)
    for name in ("sysconf", "chown", "getuid", "geteuid"):
        monkeypatch.delattr(os, name)
    run = tmp_path / "run"
    for args in (["train", tiny_file, "--run", run, "train.max_steps=2"], ["translate", run, "-o", tmp_path / "out"]):
        (tmp_path / "out").write_text("old\n")
        found = main(*args, stdin=b"one\n")
        assert found.code == 0, found.err
        assert "Windows is not supported: nothing keeps two trainings out of one directory" in found.err
    assert (tmp_path / "out").read_text() != "old\n"
