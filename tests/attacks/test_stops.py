"""Training is stopped at awkward moments: it saves, ends soon, says why, and the resumed run has the same result."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command import main
from support.nursery import Nursery, free_port, open_nursery, start_together, wait_until
from support.toy import CPU, assert_same, toy_pairs, write_pairs

from transformer import config_file
from transformer.config import Config
from transformer.data.corpus import Pair
from transformer.decoding.pieces import PieceDecoder
from transformer.decoding.translator import Translator
from transformer.errors import ConfigError, DataError, DeviceError, TransformerError
from transformer.runs.checkpoint import TENSORS, WEIGHTS, load_state, load_tensors, save_checkpoint
from transformer.runs.run import open_run
from transformer.system.clock import Stopwatch
from transformer.system.distributed import Ranks, join_ranks
from transformer.training.saving import CheckpointWriter
from transformer.training.session import train
from transformer.training.trainer import Trainer
from transformer.training.validation import Validator

QUIET = ["train.validate_every=1000000", "train.log_every=1", "train.max_steps=100000"]
OFTEN = ["train.validate_every=3", "train.save_every=100", "train.log_every=1", "train.average_last=2"]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with open_nursery() as found:
        yield found


@pytest.fixture(scope="module")
def second_nursery() -> Iterator[Nursery]:
    with open_nursery() as found:
        yield found


def results(run: Path) -> dict[str, Any]:
    """Return what training made of a run besides tensors: the scores, the best checkpoint, the steps in the metrics."""
    newest = open_run(run).steps()[-1]
    progress = load_state(newest)["progress"]
    scores = {k: v for k, v in progress.items() if "seconds" not in k and k != "slowest_validation"}
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    logged = [(line["kind"], line["step"], line["loss"]) for line in lines if line["kind"] != "resumed"]
    return {"scores": scores, "best": (run / "best").read_text(), "logged": logged}


def weights(run: Path) -> Any:
    path = open_run(run).steps()[-1]
    return load_tensors(path / WEIGHTS) | load_tensors(path / TENSORS)


def assert_same_runs(one: Path, other: Path) -> None:
    assert results(one) == results(other)
    assert_same(weights(one), weights(other))


# ---- validation ----------------------------------------------------------------------------------------


@pytest.fixture
def whole(tiny: Config, tmp_path: Path) -> Path:
    """Return an undisturbed run."""
    train(config_file.override(tiny, OFTEN), tmp_path / "whole", CPU)
    return tmp_path / "whole"


@pytest.mark.parametrize("place", ["loss", "decoding", "average"])
def test_a_signal_ends_a_validation_which_is_done_again(
    tiny: Config, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The signal arrives in the loss or the decoding of a validation, or in the average at the end."""
    cfg = config_file.override(tiny, OFTEN)
    watched = (Validator, "_translate") if place == "decoding" else (Validator, "_mean_loss")
    original, calls = getattr(*watched), []

    def signalled(self: Any, check: Any) -> Any:
        calls.append(0)
        if len(calls) == {"loss": 2, "decoding": 2, "average": 5}[place]:  # four validations, then the average
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, check)

    monkeypatch.setattr(*watched, signalled)
    assert train(cfg, tmp_path / "run", CPU) == "terminated"
    stopped_at = 12 if place == "average" else 6
    assert (tmp_path / "run/last").read_text() == f"step-{stopped_at:08d}\n"  # saved before it was validated
    assert not (tmp_path / "run/finished").exists()
    assert train(cfg, tmp_path / "run", CPU) == "all 12 steps are done"
    assert_same_runs(whole, tmp_path / "run")


class Killed(BaseException):
    """The end of a process, without its clean-up of files."""


@pytest.mark.parametrize("logged", [False, True])
def test_a_kill_during_validation_loses_nothing(
    tiny: Config, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, logged: bool
) -> None:
    """Each session is killed in its second validation, before or after the result has been logged."""
    cfg, run = config_file.override(tiny, OFTEN), tmp_path / "run"
    measure, save, calls = Validator.measure, CheckpointWriter.save, [0]

    def killed_in_measure(self: Any, *args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2 and not logged:
            raise Killed
        return measure(self, *args)

    def killed_before_saving_the_result(self: Any, progress: Any, best: bool = False, aside: bool = False) -> None:
        if calls[0] == 2 and progress.validated_at == progress.step:
            raise Killed
        save(self, progress, best, aside)

    monkeypatch.setattr(Validator, "measure", killed_in_measure)
    monkeypatch.setattr(CheckpointWriter, "save", killed_before_saving_the_result)
    kills = 0
    while not (run / "finished").exists():
        calls[0] = 0
        try:
            train(cfg, run, CPU)
        except Killed:
            kills += 1
    assert kills == (3 if logged else 4)  # the average at the end is a validation whose result is not saved
    assert_same_runs(whole, run)


def test_a_validation_is_not_saved_twice(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result of a validation is added to the checkpoint; its tensors are written once."""
    written: list[str] = []

    def noted(path: Path, *args: Any) -> None:
        written.append(path.name)
        save_checkpoint(path, *args)

    monkeypatch.setattr("transformer.training.saving.save_checkpoint", noted)
    train(config_file.override(tiny, ["train.save_every=3", "train.validate_every=3"]), tmp_path / "run", CPU)
    assert written == [f"step-{step:08d}" for step in (3, 6, 9, 12)]
    state = load_state(tmp_path / "run/checkpoints/step-00000009")
    assert state["progress"]["validated_at"] == 9
    assert state["progress"]["last_validation"]["loss"] > 0


def slow_validation(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[int]:
    """Make the clock jump in each validation, before its texts are translated. Return the list of finished ones."""
    now, original, finished = [0.0], Validator._translate, list[int]()
    monkeypatch.setattr(Stopwatch, "seconds", property(lambda self: now[0] - getattr(self, "begin", 0.0)))

    def created(self: Stopwatch) -> None:
        self.begin = now[0]  # type: ignore[attr-defined]

    def translate(self: Any, check: Any) -> Any:
        now[0] += seconds
        texts = original(self, check)
        finished.append(1)
        return texts

    monkeypatch.setattr(Stopwatch, "__init__", created)
    monkeypatch.setattr(Validator, "_translate", translate)
    return finished


def test_the_time_limit_counts_validation(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three validations of 30 s another one would end after the limit of 100 s."""
    cfg = config_file.override(tiny, ["train.validate_every=2", "train.max_steps=100", "train.time_limit=100"])
    finished = slow_validation(monkeypatch, 30.0)
    assert train(cfg, tmp_path / "run", CPU) == "time limit"
    assert len(finished) == 3
    assert (tmp_path / "run/last").read_text() == "step-00000006\n"
    assert train(cfg, tmp_path / "run", CPU) == "time limit"
    assert len(finished) == 6


def test_a_validation_longer_than_the_limit_does_not_hold_up_a_run(
    tiny: Config, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends at the limit. The next session tries again, and goes on without it."""
    cfg = config_file.override(tiny, ["train.validate_every=2", "train.max_steps=6", "train.time_limit=20"])
    finished = slow_validation(monkeypatch, 54.0)
    reasons = [train(cfg, tmp_path / "run", CPU) for _ in range(6)]
    assert set(reasons) == {"time limit"}
    assert not finished
    assert [line for line in said if "longer than train.time_limit" in line] == [
        f"step {step} is not validated: that takes longer than train.time_limit" for step in (2, 4)
    ]
    assert (tmp_path / "run/last").read_text() == "step-00000006\n"


# ---- signals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGHUP, 129),
        pytest.param(signal.SIGUSR2, 140, marks=pytest.mark.slow),
        pytest.param(signal.SIGXCPU, 152, marks=pytest.mark.slow),
    ],
)
def test_a_signal_of_a_terminal_or_batch_system_saves_and_stops(
    nursery: Nursery, tiny_file: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    child = nursery.start(tmp_path / "log", "train", tiny_file, *QUIET, "--run", tmp_path / "run")
    child.wait_for("step 2 ")
    os.kill(child.pid, number)
    assert child.wait() == code
    assert f"stopped by {number.name} and saved; resume with: transformer train " in child.log()
    assert "Traceback" not in child.log()
    assert (tmp_path / "run/last").exists()


def test_a_hangup_that_was_ignored_stays_ignored(nursery: Nursery, tiny_file: Path, tmp_path: Path) -> None:
    """As under nohup."""
    argv = ["train", tiny_file, *QUIET, "--run", tmp_path / "run"]
    child = nursery.start(tmp_path / "log", *argv, ignore=["SIGHUP"])
    child.wait_for("tokenizer: ")
    os.kill(child.pid, signal.SIGHUP)
    child.wait_for("step 2 ")
    os.kill(child.pid, signal.SIGHUP)
    child.wait_for("step 8 ")
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait() == 143


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_learning_of_a_vocabulary(
    nursery: Nursery, tiny_file: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Learning would take much longer. No process and no file is left behind."""
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 9))) for _ in range(9000)]
    lines = [" ".join(rng.choices(words, k=20)) for _ in range(8000)]
    files = write_pairs(tmp_path, "long", [Pair(line, line) for line in lines])
    settings = [f"data.train={{files: {files}}}", "tokenizer.kind=unigram", "tokenizer.vocab_size=20000"]
    child = nursery.start(tmp_path / "log", "train", tiny_file, *settings, "--run", tmp_path / "run")
    child.wait_for("tokenizer: learning")
    wait_until(lambda: children(child.pid), 10, "no child process")
    learners = children(child.pid)
    for pid in (child.pid, *learners):  # batch systems send it to all processes of a job (EgoVerse#621)
        os.kill(pid, signal.SIGUSR1)
    time.sleep(0.5)
    assert children(child.pid) == learners
    asked = time.monotonic()
    os.kill(child.pid, number)
    assert child.wait() == 128 + number
    assert time.monotonic() - asked < 3
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in learners), 3, "the learner is left")
    assert "Traceback" not in child.log()
    assert not list(tmp_path.rglob(".tmp-*"))
    assert not (tmp_path / "run").exists()


def children(pid: int) -> list[int]:
    """Return the child processes of a process."""
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def test_a_killed_training_leaves_no_learner(nursery: Nursery, tiny_file: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    lines = [" ".join("".join(rng.choices("abcdefghijk", k=8)) for _ in range(20)) for _ in range(4000)]
    files = write_pairs(tmp_path, "long", [Pair(line, line) for line in lines])
    settings = [f"data.train={{files: {files}}}", "tokenizer.kind=unigram", "tokenizer.vocab_size=20000"]
    child = nursery.start(tmp_path / "log", "train", tiny_file, *settings, "--run", tmp_path / "run")
    wait_until(lambda: children(child.pid), 20, "no child process")
    learners = children(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in learners), 5, "the learner is left")


# ---- several processes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"WORLD_SIZE": None, "RANK": "1"}, "RANK is '1', but WORLD_SIZE, the number of processes, is not set: start"),
        ({"GLOO_SOCKET_IFNAME": "eth77"}, "GLOO_SOCKET_IFNAME is 'eth77', but the network interfaces here are: .*lo"),
        ({"NCCL_SOCKET_IFNAME": "=l"}, "NCCL_SOCKET_IFNAME is '=l', but the network interfaces here are"),
        ({"LOCAL_RANK": "", "SLURM_LOCALID": "x"}, "the environment variable SLURM_LOCALID is 'x', but must be"),
        ({"WORLD_SIZE": "two"}, "the environment variable WORLD_SIZE is 'two', but must be a number from 1: start"),
        ({"RANK": None}, "the environment variable RANK is '', but must be a number from 0 to 1: start training with"),
        ({"RANK": "2"}, "the environment variable RANK is '2', but must be a number from 0 to 1"),
        ({"MASTER_PORT": "x"}, "the environment variable MASTER_PORT is 'x', but must be a number from 1 to 65535"),
        ({"MASTER_ADDR": None}, "the 2 training processes cannot meet at :1 .*: MASTER_ADDR is not set"),
        ({"MASTER_ADDR": "nowhere.invalid"}, "cannot meet at nowhere.invalid:1 .MASTER_ADDR and MASTER_PORT.: .Errno"),
        ({"MASTER_PORT": None}, "MASTER_PORT is ''"),
    ],
)
def test_half_an_environment_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str | None], sentence: str
) -> None:
    whole = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in {**whole, **wrong}.items():
        monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=sentence):
        join_ranks(CPU)


@pytest.mark.parametrize("size", ["1", "", " "])
def test_one_process_needs_nothing_else(monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    assert join_ranks(CPU) == (Ranks(), CPU)


def test_a_process_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="LOCAL_RANK is 1, but there are 1 GPUs; start one process for each"):
        join_ranks(torch.device("cuda"))


def test_a_port_in_use_is_one_sentence(nursery: Nursery, tiny_file: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        env = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        code, log = nursery.run(tmp_path / "log", "train", tiny_file, "--run", tmp_path / "run", env=env)
    assert code == 2
    assert "Traceback" not in log
    assert f"the 2 training processes cannot meet at 127.0.0.1:{port}" in log.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_waiting_for_processes_that_never_start_is_said_and_can_be_ended(
    nursery: Nursery, tiny_file: Path, tmp_path: Path, number: signal.Signals
) -> None:
    env = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    child = nursery.start(tmp_path / "log", "train", tiny_file, "--run", tmp_path / "run", env=env)
    if number == signal.SIGINT:
        child.wait_for("waiting for all 2 training processes to meet at 127.0.0.1", 15)
    else:
        time.sleep(1)
    asked = time.monotonic()
    os.kill(child.pid, number)
    assert child.wait() == 128 + number
    assert time.monotonic() - asked < 2
    assert "Traceback" not in child.log()


@pytest.mark.slow
def test_waiting_for_a_frozen_process_is_said_and_can_be_ended(
    nursery: Nursery, second_nursery: Nursery, tiny_file: Path, tmp_path: Path
) -> None:
    argv = ["train", tiny_file, *QUIET, "--run", tmp_path / "run"]
    first, second = start_together([nursery, second_nursery], tmp_path / "log", *argv)
    first.wait_for("step 5 ")
    os.kill(second.pid, signal.SIGSTOP)
    try:
        first.wait_for("waiting for the other 1 of 2 training processes; Ctrl-C or SIGTERM ends this process", 25)
        asked = time.monotonic()
        os.kill(first.pid, signal.SIGTERM)
        assert first.wait() == 143
        assert time.monotonic() - asked < 5
    finally:
        os.kill(second.pid, signal.SIGKILL)
        os.kill(second.pid, signal.SIGCONT)
        second.wait()
    assert "Traceback" not in first.log()


def test_a_signal_to_all_processes_ends_a_validation(
    nursery: Nursery, second_nursery: Nursery, tiny_file: Path, tmp_path: Path
) -> None:
    """Validation alone would take minutes."""
    valid = write_pairs(tmp_path, "many", toy_pairs(20000, 2))
    argv = ["train", tiny_file, f"data.valid={{files: {valid}}}", "train.log_every=1", "--run", tmp_path / "run"]
    both = start_together([nursery, second_nursery], tmp_path / "log", *argv)
    wait_until(lambda: (tmp_path / "run/checkpoints/step-00000006").is_dir(), 60, both[0].log())
    time.sleep(0.5)
    asked = time.monotonic()
    for child in both:
        os.kill(child.pid, signal.SIGTERM)
    assert [child.wait() for child in both] == [143, 143]
    assert time.monotonic() - asked < 5
    assert "valid at step" not in both[0].log()
    assert (tmp_path / "run/last").read_text() == "step-00000006\n"


@pytest.mark.slow
def test_saves_that_fail_end_all_processes(
    nursery: Nursery, second_nursery: Nursery, tiny_file: Path, tmp_path: Path
) -> None:
    argv = ["train", tiny_file, *QUIET, "train.save_every=2", "--run", tmp_path / "run"]
    assert nursery.run(tmp_path / "log", *argv, "train.max_steps=1")[0] == 0
    limits = {"RLIMIT_FSIZE": 150_000}  # state.safetensors is larger
    both = start_together([nursery, second_nursery], tmp_path / "log", *argv, limits=limits)
    assert [child.wait() for child in both] == [1, 1]
    assert both[0].log().count("was NOT saved") == 3
    assert "cannot write state.safetensors of a checkpoint" in both[0].log().splitlines()[-1]
    assert "the first training process cannot save its checkpoints; its log says why" in both[1].log()


# ---- starts that fail ----------------------------------------------------------------------------------


REFUSED = {
    "float16 needs a CUDA device": ["train.precision=float16"],
    "decode.precision=int8 is not possible here": ["model.width=34", "decode.precision=int8"],
    "GiB for the weights alone": ["model.width=16384", "model.feed_forward=65536", "model.encoder_layers=256"],
    "has other settings; give this run the same `model` settings": ["model.width=16", "train.init_from=whole"],
    "nowhere has no tokenizer": ["train.init_from=nowhere"],
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_start_that_failed_binds_nothing(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence: str
) -> None:
    """Nothing is written into the run directory, and the mended command runs."""
    monkeypatch.chdir(tmp_path)
    few = ["train.max_steps=1", "train.validate_text=false"]
    if "whole" in str(REFUSED[sentence]):
        train(config_file.override(tiny, few), tmp_path / "whole", CPU)
    with pytest.raises(TransformerError, match=sentence):
        train(config_file.override(tiny, [*few, *REFUSED[sentence]]), tmp_path / "run", CPU)
    assert not (tmp_path / "run").exists()
    assert train(config_file.override(tiny, few), tmp_path / "run", CPU) == "all 1 steps are done"


def test_a_refused_resumption_changes_nothing(tiny: Config, tmp_path: Path) -> None:
    train(config_file.override(tiny, ["train.max_steps=3"]), tmp_path / "run", CPU)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    odd = ["train.max_steps=6", "decode.sampling=true", "decode.precision=int8"]
    with pytest.raises(ConfigError, match="decode.precision=int8 is not possible here"):
        train(config_file.override(tiny, odd), tmp_path / "run", CPU)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_refused_fresh_start_leaves_the_run_where_it_is(tiny: Config, tmp_path: Path, said: list[str]) -> None:
    few = ["train.max_steps=3", "train.validate_text=false"]
    train(config_file.override(tiny, few), tmp_path / "run", CPU)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(TransformerError, match="nowhere has no tokenizer"):
        train(config_file.override(tiny, [*few, "train.init_from=nowhere"]), tmp_path / "run", CPU, fresh=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    assert not list(tmp_path.glob("run.old-*"))
    train(config_file.override(tiny, [*few, "train.seed=2"]), tmp_path / "run", CPU, fresh=True)
    (old,) = tmp_path.glob("run.old-*")
    assert f"moved the contents of {tmp_path / 'run'} to {old}" in said
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == {
        old / path.relative_to(tmp_path / "run"): content for path, content in before.items()
    }


# ---- held-out text -------------------------------------------------------------------------------------


def test_long_held_out_pairs_are_left_out_and_counted(tiny: Config, tmp_path: Path, said: list[str]) -> None:
    """A line of 80,000 words; training leaves out such a pair as well (fairseq#257, #2998)."""
    pairs = toy_pairs(10, 2)
    long = " ".join(["one two"] * 40_000)
    settings = ["train.max_steps=3", "train.validate_every=3"]
    both = [*settings, f"data.valid={{files: {write_pairs(tmp_path, 'both', [Pair(long, 'eins'), *pairs])}}}"]
    assert train(config_file.override(tiny, both), tmp_path / "run", CPU) == "all 3 steps are done"
    what = "pairs of data.valid have a side of more than data.max_length: 256 tokens"
    assert f"1 of 11 {what}; validation leaves them out" in said
    train(config_file.override(tiny, settings), tmp_path / "whole", CPU)
    assert results(tmp_path / "whole") == results(tmp_path / "run")
    alone = [f"data.valid={{files: {write_pairs(tmp_path, 'alone', [Pair('one', long)])}}}"]
    with pytest.raises(DataError, match=f"all 1 {what}, so there is nothing to validate on"):
        train(config_file.override(tiny, alone), tmp_path / "other", CPU)


# ---- memory --------------------------------------------------------------------------------------------

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("can't start new thread"),
    MemoryError(),
]
PLACES = {
    "the state of the optimizer does not fit; make the model smaller": (
        "transformer.training.trainer",
        "step_if_finite",
    ),
    "the sums of the weights to be averaged do not fit": ("transformer.runs.averaging", "load_tensors"),
    "training does not fit; make the model smaller, or lower": ("transformer.training.session", "make_trainer"),
}


@pytest.mark.parametrize("sentence", PLACES)
def test_lack_of_memory_anywhere_is_one_sentence(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence: str
) -> None:
    module, name = PLACES[sentence]
    cfg = config_file.override(tiny, ["train.max_steps=6", "train.validate_text=false", "train.average_last=2"])
    for i, error in enumerate(ERRORS):

        def fails(*_: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(f"{module}.{name}", fails)
        with pytest.raises(TransformerError, match=f"out of memory: {sentence}"):
            train(cfg, tmp_path / ("run" if "averaged" in sentence else str(i)), CPU)
    monkeypatch.setattr(f"{module}.{name}", lambda *_: (_ for _ in ()).throw(RuntimeError("another fault")))
    with pytest.raises(RuntimeError, match="another fault"):
        train(cfg, tmp_path / "run", CPU)
    monkeypatch.undo()
    assert train(cfg, tmp_path / "run", CPU) == "all 6 steps are done"


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_lack_of_memory_in_another_command_is_one_sentence(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: Any) -> None:
        raise error

    (tmp_path / "text").write_text("one\n")
    monkeypatch.setattr(Translator, "score", fails)
    found = main("score", trained_run, "--source", tmp_path / "text", "--target", tmp_path / "text")
    assert found.code == 1
    assert found.err.splitlines()[-1].startswith("transformer score: out of memory")
    monkeypatch.setattr("transformer.decoding.loading.make_translator", fails)
    found = main("score", trained_run, "--source", tmp_path / "text", "--target", tmp_path / "text")
    assert f"transformer score: out of memory: the model in {trained_run} does not fit" in found.err


def test_validation_is_split_where_memory_is_short(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ["train.max_steps=3", "train.validate_every=3", "train.micro_batch_tokens=1000"]
    train(config_file.override(tiny, few), tmp_path / "whole", CPU)
    loss, search = Trainer.loss, PieceDecoder._search

    def small_loss(self: Any, batch: Any) -> Any:
        if not torch.is_grad_enabled() and batch.size > 30:
            raise ERRORS[1]
        return loss(self, batch)

    def small_search(self: Any, batch: Any) -> Any:
        if len(batch.pieces) > 3:
            raise ERRORS[1]
        return search(self, batch)

    monkeypatch.setattr(Trainer, "loss", small_loss)
    monkeypatch.setattr(PieceDecoder, "_search", small_search)
    train(config_file.override(tiny, few), tmp_path / "run", CPU)
    one, other = (results(tmp_path / name)["scores"]["last_validation"] for name in ("whole", "run"))
    assert one == pytest.approx(other, rel=1e-5)


def test_a_step_is_saved_even_if_an_old_one_cannot_be_removed(
    tiny: Config, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("transformer.atomic.remove", refused)
    few = ["train.validate_text=false", "train.keep_last=1", "train.save_every=6"]
    assert train(config_file.override(tiny, few), tmp_path / "run", CPU) == "all 12 steps are done"
    assert [line for line in said if "is no longer needed, but cannot be removed: Permission denied" in line]
    assert not [line for line in said if "NOT saved" in line]
    assert (tmp_path / "run/last").read_text() == "step-00000012\n"


# ---- what resuming says --------------------------------------------------------------------------------


def test_a_jump_of_the_learning_rate_is_said(tiny: Config, tmp_path: Path, said: list[str]) -> None:
    cfg = config_file.override(tiny, ["train.schedule=linear", "train.warmup_steps=2", "train.validate_text=false"])
    train(config_file.override(cfg, ["train.max_steps=9"]), tmp_path / "run", CPU)
    assert train(config_file.override(cfg, ["train.max_steps=18"]), tmp_path / "run", CPU) == "all 18 steps are done"
    (line,) = [line for line in said if "jumps from" in line]
    assert line.startswith(
        "train.max_steps was 9 and is 18: with train.schedule: linear the learning rate jumps from 6.25e-04 to 2.65e-03"
    )
    train(config_file.override(cfg, ["train.max_steps=19"]), tmp_path / "run", CPU)
    noam = config_file.override(tiny, ["train.validate_text=false"])
    train(noam, tmp_path / "noam", CPU)
    train(config_file.override(noam, ["train.max_steps=24"]), tmp_path / "noam", CPU)
    assert len([line for line in said if "jumps from" in line]) == 1


def test_metrics_have_no_step_twice(tiny: Config, tmp_path: Path) -> None:
    """A killed run had logged more than it had saved, and the end of a line."""
    cfg = config_file.override(tiny, ["train.log_every=1", "train.validate_text=false"])
    train(cfg, tmp_path / "whole", CPU)
    train(config_file.override(cfg, ["train.max_steps=9"]), tmp_path / "run", CPU)
    with (tmp_path / "run/metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 10, "loss": 1.0}\n{"kind": "train", "step": 11, "lo')
    train(cfg, tmp_path / "run", CPU)
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    logged = [(line["kind"], line["step"]) for line in map(json.loads, lines)]
    assert [step for kind, step in logged if kind == "train"] == list(range(1, 13))
    assert len(set(logged)) == len(logged)
    assert [step for kind, step in logged if kind == "resumed"] == [9]


def test_an_average_asked_for_later_is_made(tiny: Config, tmp_path: Path) -> None:
    cfg = config_file.override(tiny, ["train.validate_text=false"])
    train(cfg, tmp_path / "run", CPU)
    assert not list((tmp_path / "run/checkpoints").glob("average-*"))
    later = config_file.override(cfg, ["train.average_last=2"])
    assert train(later, tmp_path / "run", CPU) == "all 12 steps are done"
    assert (tmp_path / "run/checkpoints/average-00000012").is_dir()


def test_patience_that_ends_with_the_time_limit_is_the_reason(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, 2.0])
    monkeypatch.setattr(Validator, "measure", lambda self, step, check: {"loss": next(losses), "ppl": 1.0})
    cfg = config_file.override(tiny, ["train.patience=1", "train.validate_every=2", "train.max_steps=100"])
    assert train(config_file.override(cfg, ["train.time_limit=0"]), tmp_path / "run", CPU) == "time limit"
    assert train(config_file.override(cfg, ["train.time_limit=0"]), tmp_path / "run", CPU) == (
        "no better loss in 1 validations"
    )
