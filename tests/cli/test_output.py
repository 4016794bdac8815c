"""`translate -o FILE` writes the whole file or leaves what was there, and never a file that it reads."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import COMMAND, ENVIRONMENT, GREEDY, Outcome, main

from transformer.cli import translate
from transformer.system.signals import watchdog

ENGLISH, GERMAN = b"one two\nthree\n", b"zwei eins\ndrei\n"


def to_file(run: Path, path: Path | str, *args: object, stdin: bytes = ENGLISH) -> Outcome:
    return main("translate", run, "-o", path, *args, *GREEDY, stdin=stdin)


# ---- what is read is never written ----------------------------------------------------------------------


@pytest.fixture
def folder(trained_run: Path, tmp_path: Path) -> Path:
    """Return a folder with a text, a hard link and a symbolic link to it, beginnings, and a run."""
    (tmp_path / "s.txt").write_bytes(ENGLISH)
    os.link(tmp_path / "s.txt", tmp_path / "hard")
    (tmp_path / "soft").symlink_to("s.txt")
    (tmp_path / "p.txt").write_bytes(b"zwei\ndrei\n")
    shutil.copytree(trained_run, tmp_path / "run")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("translate run -o s.txt < s.txt", "s.txt is the input file; write the translations to another file"),
        ("translate run s.txt -o ./hard", "hard is the input file"),
        (
            "translate run s.txt -o new --alignments hard",
            "hard is the input file; write the alignments to another file",
        ),
        ("translate run s.txt -o new --alignments run/config.yaml", "run/config.yaml is a file of run"),
        ("translate run s.txt -o new --alignments ./new", "--alignments needs a file of its own"),
        (
            "translate run s.txt --json --alignments new",
            "--alignments writes a line for each line of the output, which --json does not have",
        ),
        ("translate run soft -o s.txt", "s.txt is the input file"),
        ("translate run -o soft < hard", "soft is the input file"),
        ("translate run --prefix p.txt -o p.txt < s.txt", "p.txt is the file of --prefix"),
        ("translate run s.txt >> s.txt", "standard output is the input file"),
        ("translate run < s.txt 1<> hard", "standard output is the input file"),
        ("translate run s.txt -o /dev/stdout >> soft", "/dev/stdout is the input file"),
        ("translate run s.txt --prefix p.txt >> p.txt", "standard output is the file of --prefix"),
        ("translate run s.txt -o run/config.yaml", "run/config.yaml is a file of run"),
        ("translate run s.txt -o run/tokenizer.model", "run/tokenizer.model is a file of run"),
        ("translate run s.txt >> run/README.md", "standard output is a file of run"),
    ],
)
def test_a_file_that_is_read_is_never_written(folder: Path, command: str, sentence: str) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = subprocess.run(
        ["bash", "-c", f'"$0" -m transformer {command}', COMMAND[0]],
        cwd=folder, env={**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, PACKAGES))},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert sentence in done.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


PACKAGES = [str(Path(translate.__file__).parents[2])]


# ---- what was there survives, and what is done is kept --------------------------------------------------


def test_an_old_output_survives_a_refusal(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old\n")
    for wrong in (["--checkpoint", "none"], ["--device", "quantum"], ["decode.beams=1"], ["--nbest", "9"]):
        assert to_file(trained_run, tmp_path / "out", *wrong).code in (1, 2)
    assert to_file(trained_run, tmp_path / "out", "--prefix", tmp_path / "none").code == 1
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out", "old\n")]
    assert to_file(trained_run, tmp_path / "none" / "out").err.endswith(
        f"transformer translate: No such file or directory: {tmp_path}/none/out\n"
    )
    assert to_file(trained_run, tmp_path).err.endswith(f"transformer translate: Is a directory: {tmp_path}\n")


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes something happen after the first translation."""
    stream = translate._stream

    def after_one(event: Any) -> None:
        def cut(*args: Any) -> Iterator[Any]:
            yield next(stream(*args))
            event()

        monkeypatch.setattr(translate, "_stream", cut)

    return after_one


def ctrl_c() -> None:
    raise KeyboardInterrupt


def full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("event", "end"),
    [(ctrl_c, 130), (lambda: os.kill(os.getpid(), signal.SIGTERM), "exit"), (full, 1)],
    ids=["Ctrl-C", "SIGTERM", "full disk"],
)
def test_what_was_translated_before_a_stop_is_kept(
    trained_run: Path, tmp_path: Path, stopped: Any, event: Any, end: object, said: list[str]
) -> None:
    stopped(event)
    (tmp_path / "out").write_text("old\n")
    for partial in ("out.partial", "out.partial-2"):  # a second stop does not cost what the first one left
        if end == "exit":
            with pytest.raises(SystemExit, match="143"):
                to_file(trained_run, tmp_path / "out")
            watchdog.saving(False)  # it would end this process
            watchdog.stop()
        elif end == 1:
            assert to_file(trained_run, tmp_path / "out").err.endswith(f"No space left on device: {tmp_path}/out\n")
        else:
            assert main("translate", trained_run, "-o", tmp_path / "out", stdin=ENGLISH, checked=False).code == end
        assert f"{tmp_path}/out was not written; what was translated so far is in {tmp_path}/{partial}" in said
        assert (tmp_path / partial).read_bytes() == b"zwei eins\n"
        assert (tmp_path / "out").read_text() == "old\n"


def test_broken_input_keeps_the_old_output(trained_run: Path, tmp_path: Path) -> None:
    import gzip

    (tmp_path / "cut.gz").write_bytes(gzip.compress(os.urandom(4000).hex().encode())[:-2000])
    (tmp_path / "out").write_text("old\n")
    assert main("translate", trained_run, tmp_path / "cut.gz", "-o", tmp_path / "out").code == 1
    assert (tmp_path / "out").read_text() == "old\n"


# ---- kinds of files --------------------------------------------------------------------------------------


def test_the_mode_of_an_existing_output_is_kept_and_a_new_one_follows_the_umask(
    trained_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "old").write_text("old\n")
    (tmp_path / "old").chmod(0o640)
    before = os.umask(0o007)
    try:
        for name, mode in (("old", 0o640), ("new", 0o660)):
            assert to_file(trained_run, tmp_path / name).code == 0
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
            assert (tmp_path / name).read_bytes() == GERMAN
    finally:
        os.umask(before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_an_output_that_is_a_link_stays_one(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("there/old", "there/new"):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(name)
        (tmp_path / "there/old").write_text("old\n")
        assert to_file(trained_run, tmp_path / "link").code == 0
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / name).read_bytes() == GERMAN


def test_a_pipe_and_a_device_are_written_as_they_are(trained_run: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    assert to_file(trained_run, tmp_path / "pipe").code == 0
    reader.join(10)
    assert read == [GERMAN]
    assert (tmp_path / "pipe").is_fifo()
    assert to_file(trained_run, "/dev/null").code == 0
    assert not Path("/dev/null").is_file()
    found = to_file(trained_run, "/dev/full")
    assert (found.code, found.err) == (1, "transformer translate: No space left on device: /dev/full\n")


def test_a_hyphen_and_a_descriptor_stand_for_open_files(trained_run: Path, tmp_path: Path) -> None:
    assert to_file(trained_run, "-").out == GERMAN
    descriptor = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b"before\n")
    assert to_file(trained_run, f"/dev/fd/{descriptor}").code == 0
    os.close(descriptor)
    assert (tmp_path / "log").read_bytes() == b"before\n" + GERMAN


def test_a_name_as_long_as_allowed(trained_run: Path, tmp_path: Path) -> None:
    assert to_file(trained_run, tmp_path / ("x" * 255)).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x" * 255]


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV, errno.EACCES])
def test_a_file_that_can_only_be_written_in_place(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool, number: int
) -> None:
    """A container has such files: a single file of the host is mounted, or its folder belongs to another user."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "out").write_text("old, and longer than the new text\n" * 9)
    inode, create = (tmp_path / "out").stat().st_ino, os.open

    def refuse_to_rename(path: Any, *_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), str(path))

    def refuse_to_create(path: Any, *args: Any, **kwargs: Any) -> int:
        if path == tmp_path / "out.partial":
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return create(path, *args, **kwargs)

    monkeypatch.setattr(os, "replace", refuse_to_rename)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    if not beside:
        monkeypatch.setattr(os, "open", refuse_to_create)
    assert to_file(trained_run, tmp_path / "out").code == 0
    assert (tmp_path / "out").read_bytes() == GERMAN
    assert (tmp_path / "out").stat().st_ino == inode
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["out", "tmp"]


def test_a_read_only_output_is_refused(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").write_text("old\n")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write to any file
    found = to_file(trained_run, tmp_path / "out")
    assert found.err == f"transformer translate: Permission denied: {tmp_path}/out\n"
    assert (tmp_path / "out").read_text() == "old\n"
