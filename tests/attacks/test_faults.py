"""Training survives faults without losing anything. Each fault is really injected."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.nursery import Child, Nursery, open_nursery, start_together, wait_until
from support.toy import CPU, TINY, assert_same, toy_pairs, write_pairs

from transformer import atomic, config_file
from transformer.config import Config, TokenizerConfig
from transformer.data import batching
from transformer.data.tokenizer import learn_tokenizer
from transformer.errors import CheckpointError, TransformerError
from transformer.runs.checkpoint import STATE, TENSORS, WEIGHTS, load_state, load_tensors, save_checkpoint
from transformer.runs.models import load_model
from transformer.runs.run import open_run
from transformer.system.clock import Stopwatch
from transformer.system.distributed import Ranks
from transformer.training.dry_run import dry_run
from transformer.training.microbatch import disk_space
from transformer.training.optimizer import named_state, state_tensors
from transformer.training.saving import CheckpointWriter
from transformer.training.session import build_loop, train
from transformer.training.trainer import Trainer

QUIET = ["train.validate_text=false", "train.validate_every=1000000"]
OFTEN = [*QUIET, "train.save_every=1", "train.log_every=1"]
SMOOTH = ["model.dropout=0", "train.adam_epsilon=1e-4"]
"""Settings without dropout, whose draws depend on the batches, and with an epsilon that keeps Adam from amplifying
rounding errors."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with open_nursery() as found:
        yield found


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of the newest checkpoint: weights, optimizer state and averages."""
    path = open_run(folder).steps()[-1]
    files = (WEIGHTS, TENSORS)
    return {f"{path.name}/{file}/{k}": v for file in files for k, v in load_tensors(path / file).items()}


def assert_equal_runs(one: Path, other: Path, exact: bool = True) -> None:
    assert_same(weights(one), weights(other), exact)


def last_step(folder: Path) -> int:
    """Return the step of the last complete save, which is the one that `last` names."""
    try:
        return int((folder / "last").read_text().strip().removeprefix("step-"))
    except FileNotFoundError:
        return 0


def metrics(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


# ---- 1. kill -9 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_at_any_moment(nursery: Nursery, tiny_file: Path, tmp_path: Path, rounds: int) -> None:
    rng, run = random.Random(rounds), tmp_path / "run"
    command = ["train", tiny_file, *OFTEN, f"train.max_steps={3 * rounds}", "train.ema=0.9", "train.keep_last=2"]
    assert nursery.run(tmp_path / "whole.log", *command, "--run", tmp_path / "whole")[0] == 0
    shutil.rmtree(tmp_path / "prepared")
    killed = 0
    while killed < rounds:
        before = last_step(run)
        child = nursery.start(tmp_path / "log", *command, "--run", run)
        if rng.random() < 0.8:  # during or between saves, else at the start
            saves = rng.randint(0, 3)
            wait_until(lambda: last_step(run) >= before + saves or "finished" in child.log(), 60, child.log())  # noqa: B023
        time.sleep(rng.random() * 0.1)
        acknowledged = last_step(run)
        os.kill(child.pid, signal.SIGKILL)
        if child.wait() == 0:  # it finished before the kill
            break
        killed += 1
        assert_nothing_lost(run, child, before, acknowledged)
    code, log = nursery.run(tmp_path / "log", *command, "--run", run)
    assert code == 0, log
    assert killed >= 0.8 * rounds
    assert not list(tmp_path.rglob(".transformer-*"))
    assert_equal_runs(tmp_path / "whole", run)
    print(f"killed {killed} times")


def assert_nothing_lost(run: Path, child: Child, before: int, acknowledged: int) -> None:
    """Assert that each process resumed from the last save before it, and that its reported saves exist."""
    went_on = [line for line in child.log().splitlines() if "resuming from" in line]
    assert not went_on or int(went_on[0][-8:]) >= before, child.log()
    assert "Traceback" not in child.log()
    steps = sorted((run / "checkpoints").glob("step-*"))
    assert all(atomic.damage(path) is None for path in steps)
    if acknowledged:
        assert int(steps[-1].name[-8:]) >= acknowledged
        _, found = load_model(open_run(run))
        assert atomic.damage(found) is None


CALLS = ("mkdir", "open", "rename", "replace", "fsync", "unlink", "rmdir", "chmod")


@pytest.mark.parametrize("existing", [False, True])
def test_killed_at_each_call_of_a_save(tmp_path: Path, existing: bool) -> None:
    """A folder is the complete old or new one, wherever the process ends during the write."""
    crashes = 0
    for place in range(1000):
        parent = tmp_path / str(place)
        if existing:
            fill(parent / "x", "old")
        if subprocess.run([sys.executable, "-c", DYING, str(parent), str(place)], check=False).returncode == 0:
            break
        crashes += 1
        atomic.clean_up(parent)
        assert not list(parent.glob(".transformer-*"))
        if existing or (parent / "x").exists():
            assert atomic.damage(parent / "x") is None
            assert (parent / "x" / "a").read_text() in ("old", "new")
    assert crashes > 10
    assert (parent / "x" / "a").read_text() == "new"


DYING = f"""
import os, sys
sys.path.insert(0, {str(Path(atomic.__file__).parents[1])!r})
from transformer import atomic
left = int(sys.argv[2])
def counted(original):
    def call(*args, **kwargs):
        global left
        left -= 1
        if left < 0: os._exit(9)
        return original(*args, **kwargs)
    return call
for name in {CALLS}: setattr(os, name, counted(getattr(os, name)))
from pathlib import Path
with atomic.new_folder(Path(sys.argv[1]) / "x") as folder:
    (folder / "a").write_text("new"); (folder / "b").write_text("b")
"""


def fill(path: Path, text: str) -> None:
    with atomic.new_folder(path) as folder:
        (folder / "a").write_text(text)
        (folder / "b").write_text("b")


# ---- 2. signals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_prints_how_to_resume(
    nursery: Nursery, tiny_file: Path, tmp_path: Path, number: int, code: int
) -> None:
    command = ["train", tiny_file, *QUIET, "train.log_every=1", "train.max_steps=60", "--run"]
    assert nursery.run(tmp_path / "log", *command, tmp_path / "whole")[0] == 0
    child = nursery.start(tmp_path / "log", *command, tmp_path / "run")
    child.wait_for("step 5 ")
    os.kill(child.pid, number)
    assert child.wait() == code
    told = child.log().splitlines()[-1]
    assert last_step(tmp_path / "run") >= 5
    again = shlex.split(told.partition("resume with: ")[2])
    assert again[0] == "transformer"
    assert nursery.run(tmp_path / "log", *again[1:])[0] == 0
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")


def test_sigusr1_saves_and_continues(nursery: Nursery, tiny_file: Path, tmp_path: Path) -> None:
    many = ["train.save_every=1000000", "train.log_every=1", "train.max_steps=100000"]
    child = nursery.start(tmp_path / "log", "train", tiny_file, *QUIET, *many, "--run", tmp_path / "run")
    child.wait_for("tokenizer: ")
    os.kill(child.pid, signal.SIGUSR1)  # nothing to save yet
    for step in (3, 9):
        child.wait_for(f"step {step} ")
        os.kill(child.pid, signal.SIGUSR1)
        wait_until(lambda: last_step(tmp_path / "run") >= step, 10, child.log())  # noqa: B023
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait() == 143


def test_a_signal_during_start_exits_cleanly(nursery: Nursery, tiny_file: Path, tmp_path: Path) -> None:
    child = nursery.start(tmp_path / "log", "train", tiny_file, "--run", tmp_path / "run")
    child.wait_for("tokenizer: ")
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait() == 143
    assert "Traceback" not in child.log()
    assert not list(tmp_path.rglob(".transformer-*"))


def test_a_second_ctrl_c_exits_at_once(nursery: Nursery, tiny_file: Path, tmp_path: Path) -> None:
    """The signals arrive in the middle of a very long update."""
    files = config_file.flat(config_file.load(tiny_file))["data.train"]
    long = [f"data.train={json.dumps([{**each, 'weight': 1000} for each in files])}", "train.batch_tokens=500000"]
    child = nursery.start(tmp_path / "log", "train", tiny_file, *QUIET, *long, "--run", tmp_path / "run")
    child.wait_for("updates per epoch")
    time.sleep(0.5)
    os.kill(child.pid, signal.SIGINT)
    time.sleep(0.3)
    assert (Path("/proc") / str(child.pid)).exists()  # the first Ctrl-C lets the update finish
    asked = time.monotonic()
    os.kill(child.pid, signal.SIGINT)
    assert child.wait() == 130
    assert time.monotonic() - asked < 2
    assert last_step(tmp_path / "run") == 0
    assert "Traceback" not in child.log()


def test_the_time_limit_counts_from_the_start_and_includes_saving(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config_file.override(tiny, [*QUIET, "train.time_limit=50", "train.save_every=2"])
    assert train(cfg, tmp_path / "quick", CPU) == "all 12 steps are done"
    write = CheckpointWriter._point_and_prune

    def slow(self: Any, *args: Any) -> None:
        later = time.monotonic() + 30
        monkeypatch.setattr(time, "monotonic", lambda: later)
        write(self, *args)

    monkeypatch.setattr(CheckpointWriter, "_point_and_prune", slow)  # 30 s of 50: another save would end too late
    assert train(cfg, tmp_path / "slow", CPU) == "time limit"
    assert last_step(tmp_path / "slow") == 2


# ---- 3. damage -----------------------------------------------------------------------------------------

FILES = (WEIGHTS, TENSORS, STATE, atomic.MANIFEST)


def flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 4
    path.write_bytes(bytes(content))


DAMAGE: dict[str, Any] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
    "first bit": lambda path: flip(path, 0.0),
    "a bit": lambda path: flip(path, 0.5),
    "last bit": lambda path: flip(path, 1.0),
}


@pytest.fixture(scope="module")
def nine_steps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    """Return a run of nine steps with checkpoints of steps 3, 6 and 9."""
    folder = tmp_path_factory.mktemp("nine")
    files = {name: write_pairs(folder, name, toy_pairs(99, 1)) for name in ("train", "valid", "test")}
    (folder / "tiny.yaml").write_text(TINY.format(**files))
    cfg = config_file.load(folder / "tiny.yaml", [*QUIET, "train.max_steps=9", "data.test=null", "data.valid=null"])
    train(cfg, folder / "run", CPU)
    return folder, cfg


@pytest.fixture
def damaged(nine_steps: tuple[Path, Config], tmp_path: Path) -> tuple[Path, Path, Config]:
    """Return a copy of the run of nine steps, its newest checkpoint, and a configuration that resumes it."""
    folder, cfg = nine_steps
    shutil.copytree(folder / "run", tmp_path / "run")
    cfg = config_file.override(cfg, [f"data.prepared_dir={folder / 'prepared'}", "train.max_steps=10"])
    return tmp_path / "run", tmp_path / "run" / "checkpoints" / "step-00000009", cfg


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_reported_and_the_previous_checkpoint_used(
    damaged: tuple[Path, Path, Config], said: list[str], name: str, how: str
) -> None:
    run, newest, cfg = damaged
    DAMAGE[how](newest / name)
    if name == "state.safetensors" and how.endswith("bit"):
        load_model(open_run(run), newest.name)  # the optimizer's state is not read, nor its SHA-256 compared
    else:
        with pytest.raises(CheckpointError, match="cannot be used"):
            load_model(open_run(run), newest.name)  # the explicitly named one
    train(cfg, run, CPU)
    assert any(str(newest) in line and "trying another" in line for line in said)
    assert any("resuming from" in line and "step-00000006" in line for line in said)
    assert atomic.damage(newest) is None  # rewritten by the resumed run


def test_an_empty_directory_is_not_a_checkpoint(damaged: tuple[Path, Path, Config], said: list[str]) -> None:
    run, newest, cfg = damaged
    shutil.rmtree(newest)
    newest.mkdir()
    train(cfg, run, CPU)
    assert any(f"{newest} is damaged: it has no manifest.json" in line for line in said)


def rewrite(path: Path, tensors: str, **state: Any) -> None:
    """Change a file of a checkpoint and update its manifest."""
    loaded, values = load_tensors(path / tensors), load_state(path)
    other = TENSORS if tensors == WEIGHTS else WEIGHTS
    kept = (path / other).read_bytes()
    with atomic.new_folder(path) as folder:
        name = next(name for name in loaded if "embedding" in name)
        save_file({**loaded, name: torch.zeros(3, 3)}, folder / tensors)
        (folder / other).write_bytes(kept)
        (folder / STATE).write_text(json.dumps({**values, **state}))


@pytest.mark.parametrize("tensors", [WEIGHTS, TENSORS])
def test_tensors_of_another_shape_are_skipped(
    damaged: tuple[Path, Path, Config], said: list[str], tensors: str
) -> None:
    run, newest, cfg = damaged
    rewrite(newest, tensors)
    train(cfg, run, CPU)
    assert any("has shape (3, 3), but this configuration needs" in line for line in said)
    assert any("resuming from" in line and "step-00000006" in line for line in said)


def test_a_checkpoint_of_another_tokenizer_is_skipped(damaged: tuple[Path, Path, Config], said: list[str]) -> None:
    run, newest, cfg = damaged
    rewrite(newest, TENSORS, tokenizer="another")
    train(cfg, run, CPU)
    assert any("was trained with a different tokenizer" in line for line in said)


def test_no_valid_checkpoint_is_an_error_not_a_fresh_start(damaged: tuple[Path, Path, Config]) -> None:
    run, _, cfg = damaged
    for path in (run / "checkpoints").iterdir():
        flip(path / WEIGHTS, 0.5)
    there = sorted((run / "checkpoints").rglob("*"))
    with pytest.raises(CheckpointError, match="no checkpoint in .* can be used: .*step-00000003 is damaged"):
        train(cfg, run, CPU)
    assert sorted((run / "checkpoints").rglob("*")) == there


def test_missing_checkpoints_are_an_error_not_a_fresh_start(damaged: tuple[Path, Path, Config]) -> None:
    run, _, cfg = damaged
    for path in (run / "checkpoints").iterdir():
        atomic.remove(path)
    with pytest.raises(CheckpointError, match="its checkpoints are gone; start over with --fresh"):
        train(cfg, run, CPU)


def test_a_swapped_tokenizer_stops_the_run(damaged: tuple[Path, Path, Config]) -> None:
    run, _, cfg = damaged
    learn_tokenizer([("a b c", "d e f")] * 3, TokenizerConfig(vocab_size=300)).save(run)
    with pytest.raises(CheckpointError, match="a different tokenizer"):
        train(cfg, run, CPU)


# ---- 4. disk -------------------------------------------------------------------------------------------


def test_a_file_size_limit_stops_saves_not_training(nursery: Nursery, tiny_file: Path, tmp_path: Path) -> None:
    command = ["train", tiny_file, *QUIET, "--run", tmp_path / "run"]
    assert nursery.run(tmp_path / "log", *command, "train.max_steps=3")[0] == 0
    limits = {"RLIMIT_FSIZE": 150_000}  # state.safetensors is larger
    code, log = nursery.run(tmp_path / "log", *command, limits=limits)
    assert code == 1
    assert "step 6 was NOT saved; the checkpoints before it are intact" in log
    assert log.splitlines()[-1].startswith("transformer train: cannot write state.safetensors of a checkpoint")
    assert "Traceback" not in log
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000003"]
    assert nursery.run(tmp_path / "log", *command)[0] == 0
    assert nursery.run(tmp_path / "log", *command, "--run", tmp_path / "whole")[0] == 0
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")


def test_one_failed_save_does_not_stop_training(
    tiny: Config, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = save_checkpoint, []

    def failing(path: Path, *args: Any) -> None:
        calls.append(path.name)
        if path.name == "step-00000003":
            raise OSError(28, "No space left on device", str(path))
        save(path, *args)

    monkeypatch.setattr("transformer.training.saving.save_checkpoint", failing)
    assert train(config_file.override(tiny, QUIET), tmp_path / "run", CPU) == "all 12 steps are done"
    assert len([line for line in said if "step 3 was NOT saved" in line]) == 1
    assert calls == [f"step-{step:08d}" for step in (3, 6, 9, 12)]


@pytest.fixture(scope="module")
def small_disk() -> Iterator[tuple[Nursery, Path]]:
    """Yield a nursery in its own mount namespace, in which /mnt has 4 MB and /dev/shm is full."""
    world = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    mounts = "mount -t tmpfs -o size=4m tmpfs /mnt && mount -t tmpfs -o size=4k tmpfs /dev/shm"
    full = "cat /dev/zero > /dev/shm/full 2> /dev/null"
    try:
        tried = subprocess.run([*world, "sh", "-c", mounts], capture_output=True, check=False).returncode
    except FileNotFoundError:
        tried = 1
    if tried != 0:
        pytest.skip("this system lets us mount no disk of our own")
    with open_nursery(*world, "sh", "-c", f'{mounts}; {full}; exec "$@"', "sh") as nursery:
        yield nursery, Path("/proc") / str(nursery.process.pid) / "root/mnt"


def test_a_disk_that_is_full_for_a_while(small_disk: tuple[Nursery, Path], tiny_file: Path, tmp_path: Path) -> None:
    nursery, disk = small_disk
    command = ["train", tiny_file, *OFTEN, "train.keep_last=2", f"data.prepared_dir={tmp_path / 'prepared'}", "--run"]
    child = nursery.start(tmp_path / "log", *command, "/mnt/run", "train.max_steps=100000")
    child.wait_for("step 5 ")
    with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(b"full" * 1024)
    assert child.wait() == 1
    assert child.log().count("was NOT saved; the checkpoints before it are intact: ") == 3  # in a row
    assert "No space left on device" in child.log().splitlines()[-1]
    assert "Traceback" not in child.log()
    steps = sorted((disk / "run/checkpoints").glob("step-*"))
    assert [atomic.damage(path) for path in steps] == [None, None]
    assert last_step(disk / "run") == int(steps[-1].name[-8:])
    going_on = [*command, "/mnt/run", f"train.max_steps={last_step(disk / 'run') + 5}"]
    code, log = nursery.run(tmp_path / "log", *going_on)
    assert (code, "No space left on device" in log.splitlines()[-1]) == (1, True)
    (disk / "filler").unlink()
    assert nursery.run(tmp_path / "log", *going_on)[0] == 0
    assert nursery.run(tmp_path / "log", *command, tmp_path / "whole", going_on[-1])[0] == 0
    assert_equal_runs(tmp_path / "whole", disk / "run")
    shutil.rmtree(disk / "run")


def test_a_disk_that_becomes_read_only(small_disk: tuple[Nursery, Path], tiny_file: Path, tmp_path: Path) -> None:
    nursery, disk = small_disk
    command = ["train", tiny_file, *OFTEN, f"data.prepared_dir={tmp_path / 'prepared'}", "--run", "/mnt/locked"]
    child = nursery.start(tmp_path / "log", *command, "train.max_steps=100000")
    child.wait_for("step 5 ")
    lock = "cd /mnt/locked && mount --bind checkpoints checkpoints && mount -o remount,bind,ro checkpoints"
    inside = [
        "nsenter",
        "--mount",
        "--target",
        str(nursery.process.pid),
    ]  # the nursery's process, which waits for its child
    subprocess.run([*inside, "sh", "-c", lock], check=True)
    assert child.wait() == 1
    for log in (child.log(), nursery.run(tmp_path / "log", *command, "train.max_steps=100000")[1]):
        assert log.count("was NOT saved; the checkpoints before it are intact: ") == 3
        assert "Read-only file system" in log.splitlines()[-1]
        assert "Traceback" not in log
    steps = sorted((disk / "locked/checkpoints").glob("step-*"))
    assert steps
    assert all(atomic.damage(path) is None for path in steps)
    assert nursery.shell("umount /mnt/locked/checkpoints")
    assert nursery.run(tmp_path / "log", *command, f"train.max_steps={int(steps[-1].name[-8:]) + 2}")[0] == 0
    shutil.rmtree(disk / "locked")


@pytest.mark.slow
def test_a_full_standard_output_is_reported(
    nursery: Nursery, tiny_file: Path, nine_steps: tuple[Path, Config], tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("one two\n")
    run = nine_steps[0] / "run"
    text = tmp_path / "text"
    for command in (
        ["train", tiny_file, "--print-config"],
        ["train", tiny_file, "--dry-run", "--run", tmp_path / "run"],
        ["translate", run, text],
        ["score", run, "--source", text, "--target", text],
        ["evaluate", run, "--source", text, "--reference", text],
        ["info", run],
    ):
        code, log = nursery.run(tmp_path / "log", *command, stdout="/dev/full")
        assert code == 1, command
        assert log.splitlines()[-1] == f"transformer {command[0]}: No space left on device: standard output"
        assert "Traceback" not in log


def test_a_log_that_cannot_be_written_does_not_stop_training(nursery: Nursery, tiny_file: Path, tmp_path: Path) -> None:
    assert nursery.start(Path("/dev/full"), "train", tiny_file, *QUIET, "--run", tmp_path / "run").wait() == 0


def test_needed_disk_space_is_reported_before_training(
    tiny: Config, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config_file.override(tiny, [*QUIET, "train.keep_last=3", "train.save_every=1", "train.ema=0.5"])
    loop = build_loop(cfg, tmp_path / "run", CPU, Ranks(), Stopwatch())
    needed, free = disk_space(loop.run, sum(p.numel() for p in loop.trainer.parameters), averaged=True)
    assert 0 < needed < free
    assert any(line.startswith("disk, checkpoints ") for line in dry_run(cfg, tmp_path / "x", CPU))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2 * needed, needed, needed - 1))
    train(cfg, tmp_path / "run", CPU)
    assert any("the checkpoints may not fit on the disk (up to " in line for line in said)
    whole = sum(path.stat().st_size for path in (tmp_path / "run/checkpoints").rglob("*.*"))
    assert 0.5 * needed < whole <= needed


# ---- 5. numbers ----------------------------------------------------------------------------------------


def poison(monkeypatch: pytest.MonkeyPatch, bad: Any, what: str = "smoothed") -> None:
    """Make the loss NaN in updates for which `bad(step, rate)` is true."""
    now = present_update(monkeypatch)
    original = Trainer.loss

    def loss(self: Any, batch: Any) -> Any:
        found = original(self, batch)
        if torch.is_grad_enabled() and bad(*now):
            object.__setattr__(found, what, getattr(found, what) * float("nan"))
        return found

    monkeypatch.setattr(Trainer, "loss", loss)


def present_update(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list with the step and the learning rate of the current update."""
    now: list[Any] = [0, 0.0]
    original = Trainer.update

    def update(self: Any, step: int, cut: Any, rate: float) -> Any:
        now[:] = step, rate
        return original(self, step, cut, rate)

    monkeypatch.setattr(Trainer, "update", update)
    return now


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("what", ["smoothed", "nll"])  # only the first reaches the gradient
def test_an_update_that_is_not_finite_changes_nothing(
    tiny: Config, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, what: str, scaled: bool
) -> None:
    loop = build_loop(tiny, tmp_path / "run", CPU, Ranks(), Stopwatch())
    loop.trainer.scaler = torch.amp.GradScaler("cpu", init_scale=64.0) if scaled else None
    updates = loop.cut_updates()
    loop.update(next(updates))
    loop.take_statistics()
    before = {k: v.clone() for k, v in named_state(loop.trainer.weights, state_tensors(loop.trainer.optimizer)).items()}
    values = [p.detach().clone() for p in loop.trainer.parameters]
    poison(monkeypatch, lambda step, rate: step == 2, what)
    bad = next(updates)
    loop.update(bad)
    assert all(torch.equal(a, p) for a, p in zip(values, loop.trainer.parameters, strict=True))
    after = named_state(loop.trainer.weights, state_tensors(loop.trainer.optimizer))
    assert all(torch.equal(before[name], after[name]) for name in before)
    loop.update(next(updates))
    found = loop.take_statistics()
    assert found["skipped"] == 1
    assert 0 < found["loss"] < 10  # the loss of the other update
    assert loop.progress.skipped_in_a_row == 0
    ids = ", ".join(str(i) for batch in bad.batches for i in batch.pair_ids.tolist())
    (line,) = [line for line in said if line.startswith("skipped: update 2")]
    assert line.partition("pairs ")[2].removesuffix(", ...") in ids


def test_many_skipped_updates_roll_back_once_then_stop(
    tiny: Config, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Updates from 8 on fail. At half the rate they succeed until update 40."""
    poison(monkeypatch, lambda step, rate: step > (40 if rate < 0.004 else 8))  # the peak is 0.005
    cfg = config_file.override(tiny, [*OFTEN, "train.max_steps=100", "train.keep_last=2", "train.schedule=constant"])
    with pytest.raises(
        TransformerError, match="10 updates in a row, up to update 50, .*, again at half the learning rate"
    ):
        train(cfg, tmp_path / "run", CPU)
    (back,) = [line for line in said if "rolling back to" in line]
    assert "10 updates in a row, up to update 18" in back
    assert "step-00000008" in back
    rates = [line["rate"] for line in metrics(tmp_path / "run", "train")]
    assert rates[-1] == pytest.approx(rates[10] / 2)
    evidence = metrics(tmp_path / "run", "skipped")
    assert [line["step"] for line in evidence] == [*range(9, 19), *range(41, 51)]
    assert all(line["pairs"] and line["grad_norm"] is None for line in evidence)
    (back_to,) = metrics(tmp_path / "run", "rolled_back")
    assert (back_to["step"], back_to["from"]) == (8, 18)
    state = load_state(tmp_path / "run/checkpoints/step-00000049")
    assert state["progress"]["last_good"] == "step-00000040"
    assert state["progress"]["rate_halved"] is True
    assert (tmp_path / "run/checkpoints/step-00000040").is_dir()  # kept, though older than the last two
    with pytest.raises(TransformerError, match="again at half the learning rate"):  # also after resuming
        train(cfg, tmp_path / "run", CPU)


def test_training_stops_without_a_checkpoint_to_roll_back_to(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, lambda step, rate: True)
    with pytest.raises(TransformerError, match="12 updates in a row, up to update 12, .*: stopped; their losses and"):
        train(config_file.override(tiny, QUIET), tmp_path / "run", CPU)


def test_spikes_of_the_loss_are_reported(
    tiny: Config, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = present_update(monkeypatch)
    original = Trainer.loss

    def loss(self: Any, batch: Any) -> Any:
        found = original(self, batch)
        if torch.is_grad_enabled() and now[0] == 70:
            object.__setattr__(found, "nll", found.nll * 9)
        return found

    monkeypatch.setattr(Trainer, "loss", loss)
    cfg = config_file.override(tiny, [*QUIET, "train.max_steps=80", "train.save_every=80"])
    assert train(cfg, tmp_path / "run", CPU) == "all 80 steps are done"
    assert [line["step"] for line in metrics(tmp_path / "run", "spike")] == [70]
    assert [line for line in said if line.startswith("spike: update 70, loss ")]


# ---- 6. memory -----------------------------------------------------------------------------------------


def small_memory(monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> list[int]:
    """Make batches of more than `most` tokens per side run out of memory. Return the sizes that were tried."""
    original, tried = Trainer.loss, []

    def loss(self: Any, batch: Any) -> Any:
        tried.append(batch.size)
        if torch.is_grad_enabled() and batch.size > most:
            raise error
        return original(self, batch)

    monkeypatch.setattr(Trainer, "loss", loss)
    return tried


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("threads", [1, 2])
def test_batches_that_do_not_fit_into_memory_are_split(
    tiny: Config, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception, threads: int
) -> None:
    cfg = config_file.override(tiny, [*SMOOTH, *QUIET, "train.max_steps=4"])
    train(cfg, tmp_path / "whole", CPU)
    tried = small_memory(monkeypatch, 60, error)
    torch.set_num_threads(threads)  # two threads start two workers
    try:
        train(cfg, tmp_path / "run", CPU)
    finally:
        torch.set_num_threads(1)
    assert_equal_runs(tmp_path / "whole", tmp_path / "run", exact=False)
    assert any("out of memory in a batch of" in line and "split" in line for line in said)
    failed = [size for size in tried if size > 60]
    assert 0 < len(failed) <= 4  # the size that fits is remembered: only smaller ones were tried after the first


def test_halves_contain_the_whole_batch(tiny: Config, tmp_path: Path) -> None:
    loop = build_loop(tiny, tmp_path / "run", CPU, Ranks(), Stopwatch())
    whole = max(next(loop.cut_updates()).batches, key=lambda batch: len(batch.pair_ids))
    parts: list[batching.Batch] = list(whole.halves(loop.trainer.model.pad))
    assert torch.equal(torch.cat([part.target_N for part in parts]), whole.target_N)
    assert sum(part.real for part in parts) == whole.real
    assert [i for part in parts for i in part.pair_ids.tolist()] == whole.pair_ids.tolist()
    loop.trainer.model.eval()
    together = loop.trainer.loss(whole)
    apart = [loop.trainer.loss(part) for part in parts]
    assert float(sum(part.nll for part in apart)) == pytest.approx(float(together.nll), rel=1e-5)


def test_a_pair_that_does_not_fit_into_memory_is_named(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_memory(monkeypatch, 0, ERRORS[0])
    with pytest.raises(TransformerError, match=r"pair \d+, of \d+ and \d+ tokens, does not fit into the memory of CPU"):
        train(tiny, tmp_path / "run", CPU)


def test_other_errors_are_not_taken_for_lack_of_memory(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_memory(monkeypatch, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train(tiny, tmp_path / "run", CPU)


# ---- 7. workers and processes, 8. other micro-batches and workers --------------------------------------


@pytest.fixture(scope="module")
def second_nursery() -> Iterator[Nursery]:
    with open_nursery() as found:
        yield found


def seen(record: Path) -> dict[int, list[int]]:
    """Return the pairs of each update, in order."""
    updates: dict[int, list[int]] = {}
    for line in record.read_text().splitlines():
        step, *pairs = map(int, line.split())
        updates.setdefault(step, []).extend(pairs)
    return {step: sorted(pairs) for step, pairs in updates.items()}


@pytest.mark.slow
def test_updates_do_not_depend_on_workers_processes_or_stops(
    nursery: Nursery, second_nursery: Nursery, tiny_file: Path, tmp_path: Path
) -> None:
    """Micro-batches, workers, processes, kills and stops vary. No pair is lost and none is used twice."""
    whole, parts, run = tmp_path / "whole.txt", tmp_path / "parts.txt", tmp_path / "run"
    command = ["train", tiny_file, *SMOOTH, *QUIET, "train.save_every=1000", "--run"]
    assert nursery.run(tmp_path / "log", *command, tmp_path / "whole", "train.max_steps=18", record=str(whole))[0] == 0
    shapes = [("100", 1, 1), ("30", 2, 1), ("auto", 1, 2), ("57", 2, 1), ("1000", 1, 1), ("40", 1, 2)]
    for i, (tokens, processes, threads) in enumerate(shapes, 1):
        shape = [run, f"train.max_steps={3 * i}", f"train.micro_batch_tokens={tokens}"]
        if processes == 2:
            together = [nursery, second_nursery]
            for child in start_together(together, tmp_path / "log", *command, *shape, record=str(parts)):
                assert child.wait() == 0, child.log()
        else:
            code, log = nursery.run(tmp_path / "log", *command, *shape, record=str(parts), threads=threads)
            assert code == 0, log
    assert len(seen(whole)) == 18
    assert seen(parts) == seen(whole)
    in_order = [i for step in sorted(seen(parts)) for i in seen(parts)[step]]
    assert sorted(in_order[:150]) == sorted(in_order[150:300]) == list(range(150))  # two epochs
    assert_equal_runs(tmp_path / "whole", run, exact=False)


def test_a_killed_training_process_is_reported(
    nursery: Nursery, second_nursery: Nursery, tiny_file: Path, tmp_path: Path
) -> None:
    command = ["train", tiny_file, *SMOOTH, *OFTEN, "--run", tmp_path / "run"]
    first, second = start_together([nursery, second_nursery], tmp_path / "log", *command, "train.max_steps=100000")
    first.wait_for("step 5 ")
    os.kill(second.pid, signal.SIGKILL)
    assert second.wait() == -9
    assert first.wait() == 1
    (last,) = [line for line in first.log().splitlines() if line.startswith("transformer train: ")]
    assert "the process with RANK 1 on " in last
    assert " has died; " in last
    assert "re-run the same command to resume from the last checkpoint" in last
    assert "Traceback" not in first.log()
    steps = last_step(tmp_path / "run") + 3
    assert nursery.run(tmp_path / "log", *command, f"train.max_steps={steps}")[0] == 0
    assert nursery.run(tmp_path / "log", *command[:-1], tmp_path / "whole", f"train.max_steps={steps}")[0] == 0
    assert_equal_runs(tmp_path / "whole", tmp_path / "run", exact=False)


def test_a_failing_reader_stops_training_without_a_hang(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = batching.BatchCutter.cut

    def cut(self: Any, update: Any) -> Any:
        if update.epoch == 1:
            raise OSError(5, "Input/output error", "source.ids")
        return original(self, update)

    monkeypatch.setattr(batching.BatchCutter, "cut", cut)
    with pytest.raises(OSError, match="Input/output error"):
        train(config_file.override(tiny, QUIET), tmp_path / "run", CPU)
    monkeypatch.undo()
    assert last_step(tmp_path / "run") == 6
    assert train(config_file.override(tiny, QUIET), tmp_path / "run", CPU) == "all 12 steps are done"


@pytest.mark.slow
def test_a_deleted_cache_costs_only_time(nursery: Nursery, tiny_file: Path, tmp_path: Path) -> None:
    """The cache is deleted during training and before resuming."""
    command = ["train", tiny_file, *QUIET, "train.log_every=1", "--run"]
    child = nursery.start(tmp_path / "log", *command, tmp_path / "run", "train.max_steps=40")
    child.wait_for("step 2 ")
    shutil.rmtree(tmp_path / "prepared")
    assert child.wait() == 0
    shutil.rmtree(tmp_path / "prepared", ignore_errors=True)
    code, log = nursery.run(tmp_path / "log", *command, tmp_path / "run", "train.max_steps=50")
    assert code == 0, log
    assert nursery.run(tmp_path / "log", *command, tmp_path / "whole", "train.max_steps=50")[0] == 0
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")


def test_a_killed_preparation_is_cleaned_up(nursery: Nursery, tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "prepared/.transformer-tmp-half").mkdir(parents=True)
    (tmp_path / "prepared/.transformer-tmp-half/source.ids").write_bytes(b"half")
    assert nursery.run(tmp_path / "log", "train", tiny_file, *QUIET, "--run", tmp_path / "run")[0] == 0
    assert not list((tmp_path / "prepared").glob(".transformer-*"))


def test_concurrent_preparations_wait_for_each_other(
    nursery: Nursery, second_nursery: Nursery, tiny_file: Path, tmp_path: Path
) -> None:
    command = ["train", tiny_file, *QUIET, "train.max_steps=1", "--run"]
    children = [
        each.start(tmp_path / f"{i}", *command, tmp_path / f"run{i}")
        for i, each in enumerate((nursery, second_nursery))
    ]
    assert [child.wait() for child in children] == [0, 0]
    logs = "".join(child.log() for child in children)
    assert logs.count("tokenizer: learning") == logs.count("tokenizer: found") == 1
    assert_equal_runs(tmp_path / "run0", tmp_path / "run1")


def test_training_needs_no_shared_memory(small_disk: tuple[Nursery, Path], tiny_file: Path, tmp_path: Path) -> None:
    nursery, _ = small_disk
    assert not nursery.shell("echo more > /dev/shm/more 2> /dev/null")
    code, log = nursery.run(tmp_path / "log", "train", tiny_file, *QUIET, "--run", tmp_path / "run")
    assert code == 0, log


# ---- all of it -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_chaos_changes_nothing(tiny_file: Path, tmp_path: Path) -> None:
    """Run scripts/chaos.py for a minute."""
    root = Path(__file__).parents[2]
    settings = ["train.max_steps=500", "train.save_every=10", "train.validate_every=50", "train.validate_text=false"]
    settings += ["train.average_last=3", "train.log_every=50"]
    command = [sys.executable, str(root / "scripts/chaos.py"), str(tiny_file), *settings]
    done = subprocess.run(
        [*command, "--folder", str(tmp_path / "runs"), "--every", "8", "--together"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("equal, bit for bit")
    assert sum(map(int, re.findall(r"\| +(\d+) \|", done.stdout))) >= 3


@pytest.mark.slow
def test_chaos_reports_differences(tiny_file: Path, tmp_path: Path) -> None:
    """The comparison of scripts/chaos.py can fail."""
    import runpy

    for seed in (1, 2):
        cfg = config_file.load(tiny_file, [f"train.seed={seed}"])
        train(cfg, tmp_path / str(seed), CPU)
    differences = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "chaos.py"))["differences"]
    assert "model.safetensors is not equal" in differences(tmp_path / "1", tmp_path / "2", "cpu")
