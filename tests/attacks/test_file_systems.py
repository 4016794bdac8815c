"""Shared folders and odd file systems: nothing of others is touched, modes are right, only real errors count."""

from __future__ import annotations

import builtins
import errno
import os
import pwd
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from support.command import main
from support.toy import CPU

from transformer import atomic, config_file
from transformer.config import Config
from transformer.errors import CheckpointError, TransformerError
from transformer.runs.checkpoint import save_checkpoint
from transformer.runs.run import open_run
from transformer.runs.summary import format_summary, summarize
from transformer.training.log import MetricsLog
from transformer.training.session import train

QUICK = ("train.max_steps=3", "train.validate_every=1000", "data.valid=null", "data.test=null")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return the files and folders below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


# ---- a folder with things of its own ---------------------------------------------------------------------

FOREIGN = {
    "a README": ["README.md"],
    "files with our names": ["README.md", "data.json", "tokenizer.model", "best"],
    "a tokenizer": ["tokenizer.model"],
    "a log": ["metrics.jsonl"],
    "a project": ["config.yaml", "src/model.py", ".git/HEAD"],
    "another trainer's run": ["config.yaml", "checkpoints/epoch-1.pt", "tokenizer.model"],
    "another trainer's checkpoints": ["checkpoints/epoch-1.pt", ".lock"],
    "temporary files": [".tmp-mine", "notes.txt"],
}


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("option", ["", "--fresh", "--dry-run"])
def test_a_folder_with_things_of_its_own_is_refused_untouched(
    tiny_file: Path, tmp_path: Path, what: str, option: str
) -> None:
    (mine := tmp_path / "mine").mkdir()
    for name in FOREIGN[what]:
        (mine / name).parent.mkdir(exist_ok=True)
        (mine / name).write_text(f"{name} is mine")
    before = contents(tmp_path)
    found = main("train", tiny_file, "--run", mine, *filter(None, [option]))
    assert found.code == 1
    assert f"{mine} is not a run directory, but it contains " in found.err
    assert found.err.endswith("choose a new or an empty directory with --run\n")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["lost+found/"],
        [".DS_Store", ".snapshot/day/x", ".gitkeep", ".tmp-mine/x"],
        [".lock", "metrics.jsonl", "checkpoints/"],
        [".lock", "metrics.jsonl", "checkpoints/", "tokenizer.model", ".transformer-tmp-0123456789ab"],
    ],
    ids=["made by mkdir", "a disk", "hidden files", "a killed start", "a start that was killed later"],
)
@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_that_is_as_good_as_empty_is_used(tiny: Config, tmp_path: Path, names: list[str], fresh: bool) -> None:
    (run := tmp_path / "run").mkdir()
    for name in names:
        (run / name).parent.mkdir(exist_ok=True, parents=True)
        (run / name).mkdir() if name.endswith("/") else (run / name).write_text("")
    train(config_file.override(tiny, QUICK), run, CPU, fresh=fresh)
    assert len(open_run(run).steps()) == 1
    kept = [name for name in names if name.startswith((".DS", ".snap", ".git", ".tmp", "lost"))]
    assert all((run / name).exists() for name in kept)
    assert not list(run.glob(".transformer-*"))


def test_temporary_files_of_others_are_left_alone(tiny: Config, tmp_path: Path) -> None:
    """Whatever a name begins with: only names that nothing else uses are removed, and what an old version left."""
    theirs = [tmp_path / "run/.tmp-x", tmp_path / "prepared/.tmp-x", tmp_path / "prepared/.tmp-replaced-x"]
    theirs += [tmp_path / "run/checkpoints/.tmp-notes", tmp_path / "run/checkpoints/.tmp-12345678"]
    train(config_file.override(tiny, QUICK), tmp_path / "run", CPU)
    for path in theirs:
        path.mkdir()
        (path / "mine").write_text("mine")
    shutil.rmtree(next((tmp_path / "prepared").glob("pairs-*")))
    old = tmp_path / "run" / "checkpoints" / ".tmp-abcd_f12"  # as a killed save of version 0.2.0 left it
    ours = [old, tmp_path / "prepared/.transformer-tmp-0", tmp_path / "run/.transformer-tmp-0"]
    for path in ours:
        path.mkdir()
        (path / "state.json").write_text("")
    newest = tmp_path / "run/checkpoints/step-00000003"
    newest.rename(newest.with_name(".tmp-replaced-step-00000003"))  # killed while it was replaced
    train(config_file.override(tiny, (*QUICK, "train.max_steps=4")), tmp_path / "run", CPU)
    assert all((path / "mine").read_text() == "mine" for path in theirs)
    assert not any(path.exists() for path in ours)
    assert newest.exists()


# ---- modes -----------------------------------------------------------------------------------------------


def test_everything_has_the_mode_that_umask_and_folder_ask_for(tiny_file: Path, tmp_path: Path) -> None:
    """A folder shared by a group has the setgid bit, and its users the umask 002."""
    (shared := tmp_path / "shared").mkdir()
    shared.chmod(0o2775)
    before = os.umask(0o002)
    try:
        settings = ["train.max_steps=6", "train.validate_every=3", "train.average_last=2", "--run", shared / "run"]
        assert main("train", tiny_file, *settings).code == 0
        assert main("evaluate", shared / "run").code == 0
        assert main("average", shared / "run", "--last", "2").code == 0
    finally:
        os.umask(before)
    wrong = {}
    for path in shared.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode != (0o2775 if path.is_dir() else 0o664):
            wrong[str(path.relative_to(shared))] = oct(mode)
    assert not wrong
    assert {path.name for path in shared.iterdir()} == {"run", "prepared", "run-average-2"}


# ---- calls that a file system does not know, and real errors -------------------------------------------

HARMLESS = [errno.EINVAL, errno.ENOTSUP, errno.EPERM, errno.ENOSYS, errno.EBADF, errno.EACCES]
REAL = [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE]


def failing(original: Any, number: int, only: Any = lambda *_: True) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        if only(*args):
            raise OSError(number, os.strerror(number))
        return original(*args, **kwargs)

    return call


def is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


@pytest.mark.parametrize("number", HARMLESS)
def test_a_file_system_without_fsync_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing(os.fsync, number))
    save_checkpoint(tmp_path / "step-00000001", {}, None, {})
    atomic.write_text(tmp_path / "last", "step-00000001\n")
    assert atomic.damage(tmp_path / "step-00000001") is None


@pytest.mark.parametrize("number", REAL)
@pytest.mark.parametrize("what", [is_folder, lambda descriptor: not is_folder(descriptor)], ids=["folder", "file"])
def test_a_real_error_of_fsync_is_an_error_with_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, what: Any
) -> None:
    monkeypatch.setattr(os, "fsync", failing(os.fsync, number, what))
    for write in (
        lambda: save_checkpoint(tmp_path / "step-00000001", {}, None, {}),
        lambda: atomic.write_text(tmp_path / "last", "step-00000001\n"),
    ):
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            write()
        assert caught.value.filename in (str(tmp_path / "step-00000001"), str(tmp_path / "last"))
        assert not list(tmp_path.glob(".transformer-*"))


def test_folders_on_another_layer_are_copied_or_removed(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An overlay file system cannot rename a folder that an image brought along."""
    cfg = config_file.override(tiny, [*QUICK, "train.save_every=1", "train.keep_last=1"])
    train(cfg, tmp_path / "run", CPU)
    brought = {path for path in tmp_path.rglob("*") if path.is_dir()}
    monkeypatch.setattr(os, "rename", failing(os.rename, errno.EXDEV, lambda path, *_: Path(path) in brought))
    train(config_file.override(cfg, ["train.max_steps=5"]), tmp_path / "run", CPU)
    assert [path.name for path in open_run(tmp_path / "run").steps()] == ["step-00000005"]
    train(cfg, tmp_path / "run", CPU, fresh=True)
    (old,) = tmp_path.glob("run.old-*")
    assert open_run(old).steps()[0].name == "step-00000005"
    atomic.remove(tmp_path / "run" / "checkpoints" / "step-00000003")
    assert not list(tmp_path.rglob(".transformer-*"))


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_renames_is_written_to(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """gcsfuse#2570, gcsfuse#11: buckets of an object store, mounted. The manifest is copied last."""
    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, failing(getattr(os, name), number))
    cfg = config_file.override(tiny, [*QUICK, "train.save_every=1", "train.keep_last=1"])
    train(cfg, tmp_path / "run", CPU)
    train(config_file.override(cfg, ["train.max_steps=4"]), tmp_path / "run", CPU)
    run = open_run(tmp_path / "run")
    assert [path.name for path in run.steps()] == ["step-00000004"]
    assert run.pointer("last") == run.steps()[-1]
    assert atomic.damage(run.steps()[-1]) is None
    assert main("average", run.path, "--last", "1").code == 0
    assert not list(tmp_path.rglob(".transformer-*"))
    monkeypatch.setattr(
        "shutil.copyfile", failing(shutil.copyfile, errno.ENOSPC, lambda path, *_: path.name == "state.json")
    )
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path / "step-00000005", {}, None, {})
    assert atomic.damage(tmp_path / "step-00000005") == "it has no manifest.json"


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "step-00000001", {}, None, {"first": True})
    temporary = lambda path, *_: Path(path).name.startswith(atomic.TEMPORARY)  # noqa: E731
    monkeypatch.setattr(os, "rename", failing(os.rename, errno.EIO, temporary))
    with pytest.raises(OSError, match="Input/output error"):
        save_checkpoint(tmp_path / "step-00000001", {}, None, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert atomic.read_json(tmp_path / "step-00000001" / "state.json")["first"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF])
def test_a_file_system_without_locks_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    import fcntl

    monkeypatch.setattr(fcntl, "flock", failing(fcntl.flock, number))
    for wait in (False, True):
        with atomic.only_writer(tmp_path, wait) as alone:
            assert alone


def test_waiting_for_another_process_is_said(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    busy = failing(fcntl.flock, errno.EWOULDBLOCK, lambda _, how: how & fcntl.LOCK_NB)
    monkeypatch.setattr(fcntl, "flock", busy)
    with atomic.only_writer(tmp_path, wait=True) as alone:
        assert alone
    assert said == [f"waiting for another process that writes to {tmp_path}"]


# ---- a save that succeeded --------------------------------------------------------------------------------


def test_a_checkpoint_that_cannot_be_removed_is_no_failed_save(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    stays = tmp_path / "run/checkpoints/step-00000001"
    monkeypatch.setattr(os, "rename", failing(os.rename, errno.EBUSY, lambda path, *_: Path(path) == stays))
    cfg = config_file.override(tiny, [*QUICK, "train.save_every=1", "train.keep_last=1"])
    assert train(cfg, tmp_path / "run", CPU) == "all 3 steps are done"
    assert [path.name for path in open_run(tmp_path / "run").steps()] == ["step-00000001", "step-00000003"]
    assert f"{stays} is no longer needed, but cannot be removed: Device or resource busy" in said
    assert not any("NOT saved" in line for line in said)


def test_a_step_that_is_whole_is_not_reported_as_lost(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    full = failing(None, errno.ENOSPC, lambda *_: True)
    monkeypatch.setattr("transformer.runs.run.Run.point", full)
    with pytest.raises(OSError, match="No space left"):
        train(config_file.override(tiny, QUICK), tmp_path / "run", CPU)
    wanted = "step 3 was saved, but `last` and `best` may still name checkpoints before it: "
    assert any(line.startswith(wanted) for line in said)
    assert not any("NOT saved" in line for line in said)


# ---- permissions -----------------------------------------------------------------------------------------


def forbid(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """Refuse to open these files, also to root, for whom the tests may run."""
    opening, low = builtins.open, os.open

    def is_one(path: Any, *_: Any) -> bool:
        return not isinstance(path, int) and Path(path) in paths

    def refuse(original: Any) -> Any:
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            if is_one(path):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return original(path, *args, **kwargs)

        return call

    monkeypatch.setattr("io.open", refuse(opening))
    monkeypatch.setattr(os, "open", refuse(low))


@pytest.fixture
def of_another_user(monkeypatch: pytest.MonkeyPatch) -> str:
    """Make all files belong to another user than the one who runs the tests. Return the owner's name."""
    name = pwd.getpwuid(os.geteuid()).pw_name
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    return name


def test_what_may_not_be_read_is_not_called_damaged(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], of_another_user: str
) -> None:
    """Otherwise an older checkpoint would be used, or another user's prepared text be replaced."""
    cfg = config_file.override(tiny, [*QUICK, "train.save_every=1"])
    train(cfg, tmp_path / "run", CPU)
    newest = open_run(tmp_path / "run").steps()[-1]
    (tokenizer,) = (tmp_path / "prepared").glob("tokenizer-*")
    sentence = f", which belongs to {of_another_user}, may not be read: Permission denied"
    for path in (newest / "model.safetensors", newest / "manifest.json", tokenizer / "manifest.json"):
        with monkeypatch.context() as patch:
            forbid(patch, path)
            folder = tmp_path / ("run" if path.parent == newest else "other")
            with pytest.raises(TransformerError, match=sentence) as caught:
                train(config_file.override(cfg, ["train.max_steps=4"]), folder, CPU)
            assert str(path) in str(caught.value)
            if folder.name == "run":
                found = summarize(open_run(folder))
                assert found["checkpoints"][-1]["damage"] is None
                assert f"{path}{sentence}" == found["checkpoints"][-1]["unreadable"]
                assert f"  {path}{sentence}" in format_summary(found)
                assert "DAMAGED" not in format_summary(found)
        assert not any("damaged" in line or "trying another" in line for line in said)


def test_a_lock_of_another_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_another_user: str) -> None:
    (lock := tmp_path / ".lock").write_text("")
    forbid(monkeypatch, lock)
    with pytest.raises(TransformerError) as caught, atomic.only_writer(tmp_path):
        pass
    owner = f"the lock {lock}, which belongs to {of_another_user},"
    assert str(caught.value) == f"{owner} may not be opened; ask for permission, or remove it"
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # a user of another machine
    with (
        pytest.raises(TransformerError, match=f"belongs to user {lock.stat().st_uid}, may"),
        atomic.only_writer(tmp_path),
    ):
        pass


def test_a_lock_that_may_only_be_read_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first user of a shared folder made it, with his umask."""
    (tmp_path / ".lock").write_text("")
    original = os.open

    def read_only(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if Path(path).name == ".lock" and flags & (os.O_RDWR | os.O_CREAT):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", read_only)
    with atomic.only_writer(tmp_path) as first, atomic.only_writer(tmp_path) as second:
        assert (first, second) == (True, False)


def test_a_run_that_may_not_be_read_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.stat

    def refuse(path: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(path, int) and Path(path).parent == tmp_path / "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", refuse)
    found = main("info", tmp_path / "closed")
    assert (found.code, found.err) == (
        1,
        f"transformer info: {tmp_path}/closed/config.yaml may not be read: Permission denied\n",
    )


# ---- a whole model folder, or none -----------------------------------------------------------------------


def test_an_average_that_fails_leaves_nothing(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformer.runs.averaging.save_checkpoint", failing(None, errno.ENOSPC))
    found = main("average", trained_run, "--last", "2", "--output", tmp_path / "new")
    assert (found.code, found.err) == (1, f"transformer average: No space left on device: {tmp_path}/new\n")
    assert not list(tmp_path.iterdir())
    (tmp_path / "link").symlink_to("nowhere")
    found = main("average", trained_run, "--last", "2", "--output", tmp_path / "link")
    assert found.err == f"transformer average: {tmp_path}/link already exists; choose another with --output\n"


def test_a_foreign_folder_is_a_checkpoint_error(tmp_path: Path) -> None:
    from transformer.runs.run import check_destination

    (tmp_path / "x").write_text("")
    with pytest.raises(CheckpointError, match="but it contains x"):
        check_destination(tmp_path)


def test_a_file_system_without_chmod_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the files of a checkpoint gets its mode by chmod, as the library makes them private."""
    monkeypatch.setattr(os, "chmod", failing(os.chmod, errno.EPERM))
    save_checkpoint(tmp_path / "step-00000001", {}, None, {})
    assert atomic.damage(tmp_path / "step-00000001") is None
    monkeypatch.setattr(os, "chmod", failing(os.chmod, errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        save_checkpoint(tmp_path / "step-00000002", {}, None, {})


def test_a_tensorboard_that_cannot_be_written_does_not_stop_training(tmp_path: Path, said: list[str]) -> None:
    """kohya-ss/sd-scripts#1160: a training of 21 hours ended so."""

    class Board:
        def add_scalar(self, *_: Any) -> None:
            raise RuntimeError("No space left on device")  # from its thread, of any kind

        def close(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    metrics = MetricsLog((tmp_path / "m").open("ab"), Board())
    for step in (1, 2):
        metrics.write("train", {"step": step, "loss": 1.0})
    assert said == ["TensorBoard gets no more values from step 1 on: No space left on device"]
    metrics.close()
    MetricsLog((tmp_path / "m").open("ab"), Board()).close()
    assert (tmp_path / "m").read_text().count("loss") == 2


def test_names_that_cannot_be_used_are_refused(tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    found = main("train", tiny_file, "--run", tmp_path / "file")
    assert found.err == f"transformer train: {tmp_path}/file is not a directory; choose another with --run\n"
    odd = os.fsdecode(bytes(tmp_path) + b"/\xff")
    for args in (["train", tiny_file, "--run", odd], ["info", odd]):
        found = main(*args)
        assert found.code == 1
        assert "is not UTF-8, so it cannot hold a run; rename it" in found.err
    (tmp_path / "prepared").write_text("mine")
    found = main("train", tiny_file, "--run", tmp_path / "run")
    assert found.code == 2
    assert found.err.endswith(
        f"cannot make {tmp_path}/prepared, the directory of prepared text: Not a directory; "
        "set data.prepared_dir to another\n"
    )
    assert not (tmp_path / os.fsdecode(b"\xff")).exists()


def test_a_mounted_run_directory_cannot_be_moved_aside(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """findajob#860: a volume of a container."""
    train(config_file.override(tiny, QUICK), tmp_path / "run", CPU)
    mounted = failing(os.rename, errno.EBUSY, lambda path, *_: Path(path) == tmp_path / "run")
    monkeypatch.setattr(os, "rename", mounted)
    sentence = r"cannot move .*run to .*run\.old-[0-9-]+: Device or resource busy; choose another directory with --run"
    with pytest.raises(TransformerError, match=sentence):
        train(config_file.override(tiny, QUICK), tmp_path / "run", CPU, fresh=True)
    assert open_run(tmp_path / "run").steps()
