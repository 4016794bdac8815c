"""Several processes train one model: the same weights as one process, whatever is on their disks."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.random_models import SMALL
from support.together import Group, together
from support.toy import CPU, assert_same, toy_pairs, write_pairs

from transformer import config_file
from transformer.config import Config, TrainConfig
from transformer.data.encode import encode_corpora
from transformer.data.tokenizer import learn_tokenizer
from transformer.errors import ConfigError
from transformer.model.network import Transformer
from transformer.runs.checkpoint import TENSORS, WEIGHTS, load_state, load_tensors
from transformer.runs.run import open_run
from transformer.system.distributed import Ranks
from transformer.training import agreement, session
from transformer.training.exchange import Exchange
from transformer.training.flat_weights import FlatWeights
from transformer.training.optimizer import build_optimizer, state_tensors
from transformer.training.saving import CheckpointWriter
from transformer.training.session import train
from transformer.training.trainer import Trainer
from transformer.training.validation import Validator

SMOOTH = ["model.dropout=0", "train.adam_epsilon=1e-4"]
"""Settings without dropout, whose draws depend on the batches, and with an epsilon that keeps Adam from amplifying
rounding errors."""
FEW = [*SMOOTH, "train.max_steps=6", "train.save_every=3", "train.validate_every=6", "train.log_every=1"]
FEW += ["decode.max_extra=3"]
RUN = "all 6 steps are done"


def weights(run: Path) -> Any:
    path = open_run(run).steps()[-1]
    return load_tensors(path / WEIGHTS) | load_tensors(path / TENSORS)


def recorded(run: Path, kind: str) -> list[dict[str, Any]]:
    """Return the records of this kind in the metrics."""
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in each.items() if k != "kind"} for each in records if each["kind"] == kind]


def trained(count: int, folder: Path, cfg: Config | Callable[[int], Config], runs: list[Path], **how: Any) -> list[Any]:
    """Train in `count` processes, each with its own run directory, so its own disk, if there are so many.

    Return why each stopped. `fresh` is an argument of `train`; others are added to the environment.
    """
    folder.mkdir(exist_ok=True)
    fresh = how.pop("fresh", False)

    def work(rank: int) -> str:
        return train(cfg(rank) if callable(cfg) else cfg, runs[rank % len(runs)], CPU, fresh)

    return Group(count, folder, work, **how).results()


@pytest.mark.parametrize("sharded", ["false", "true"])
def test_two_and_three_processes_train_as_one_does(tiny: Config, tmp_path: Path, sharded: str) -> None:
    """Updates have 3 to 5 batches, so a process has more than another, and clipping scales all gradients."""
    cfg = config_file.override(tiny, [*FEW, "train.clip_norm=0.5", "train.micro_batch_tokens=60", "train.ema=0.9"])
    cfg = config_file.override(cfg, [f"train.shard_optimizer={sharded}"])
    train(cfg, tmp_path / "one", CPU)
    for count in (2, 3):
        runs = [tmp_path / f"of{count}" / str(rank) / "run" for rank in range(count)]
        assert trained(count, tmp_path, cfg, runs, LOCAL_RANK="0") == [RUN] * count
        assert_same(weights(tmp_path / "one"), weights(runs[0]), exact=False)
        assert not any(run.exists() for run in runs[1:])
        (alone,), (shared,) = recorded(tmp_path / "one", "valid"), recorded(runs[0], "valid")
        assert shared == pytest.approx(alone, rel=1e-4)
        lines = recorded(runs[0], "train")
        assert all(line["straggling"] >= 0 and 0 <= line["slowest_rank"] < count for line in lines)
        assert len(lines) == 6


@pytest.mark.slow
def test_an_optimizer_may_be_shared_out_over_any_processes_when_a_run_is_resumed(tiny: Config, tmp_path: Path) -> None:
    """A checkpoint has the whole state, by the names of the weights."""
    cfg, runs = config_file.override(tiny, [*FEW, "train.max_steps=8"]), [tmp_path / "run"]
    train(cfg, tmp_path / "one", CPU)
    for steps, count, sharded in ((2, 2, True), (4, 1, True), (6, 3, True), (8, 2, False)):
        now = config_file.override(cfg, [f"train.max_steps={steps}", f"train.shard_optimizer={sharded}".lower()])
        assert trained(count, tmp_path, now, runs) == [f"all {steps} steps are done"] * count
    assert_same(weights(tmp_path / "one"), weights(tmp_path / "run"), exact=False)


def test_gradients_in_bfloat16_differ_by_rounding(tiny: Config, tmp_path: Path) -> None:
    cfg = config_file.override(tiny, FEW)
    train(cfg, tmp_path / "one", CPU)
    for sharded in ("false", "true"):
        low = ["train.gradient_precision=bfloat16", f"train.shard_optimizer={sharded}"]
        assert trained(2, tmp_path, config_file.override(cfg, low), [tmp_path / sharded]) == [RUN] * 2
        one, two = weights(tmp_path / "one"), weights(tmp_path / sharded)
        assert not all(torch.equal(tensor, two[name]) for name, tensor in one.items())
        for name, tensor in one.items():
            torch.testing.assert_close(tensor, two[name], atol=2e-3, rtol=2e-2, msg=name)
        (alone,), (shared,) = recorded(tmp_path / "one", "valid"), recorded(tmp_path / sharded, "valid")
        assert shared["loss"] == pytest.approx(alone["loss"], rel=1e-3)


def test_a_shared_out_optimizer_has_its_part_only(tmp_path: Path) -> None:
    """And float16, whose scaler looks at all gradients, is refused."""
    cfg = TrainConfig(shard_optimizer=True)

    def work(ranks: Ranks) -> Any:
        flat = FlatWeights(Transformer(SMALL, (60, 60), 0, 1, 20), shards=3)
        exchange = Exchange(ranks, flat, cfg, torch.float32)
        optimizer = build_optimizer(flat, cfg, exchange.shard)
        flat.gradients[exchange.shard] = 1.0
        optimizer.step()
        return sum(each.numel() for each in state_tensors(optimizer)["exp_avg"]) * 3 == len(flat.weights)

    assert together(3, tmp_path, work) == [True] * 3
    with pytest.raises(ConfigError, match="train.shard_optimizer is not possible in float16; use bfloat16 or float32"):
        Exchange(Ranks(0, 2), FlatWeights(Transformer(SMALL, (60, 60), 0, 1, 20)), cfg, torch.float16)


def test_the_slowest_process_is_named(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_model = Trainer._prepare_model

    def slow(self: Any) -> None:
        if self.ranks.rank == 1:
            time.sleep(0.1)
        prepare_model(self)

    monkeypatch.setattr(Trainer, "_prepare_model", slow)
    cfg = config_file.override(tiny, [*FEW, "train.max_steps=4", "train.log_every=4"])
    assert trained(3, tmp_path, cfg, [tmp_path / "run"]) == ["all 4 steps are done"] * 3
    (line,) = recorded(tmp_path / "run", "train")
    assert line["slowest_rank"] == 1
    assert line["straggling"] == pytest.approx(0.4, abs=0.2)
    assert "RANK 1 slowest, by 0." in (tmp_path / "log0").read_text()


def test_an_update_that_is_not_finite_in_one_process_is_skipped_by_all(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backward, update, now = Trainer._backward, Trainer.update, [0]

    def noted(self: Any, step: int, *rest: Any) -> Any:
        now[0] = step
        return update(self, step, *rest)

    def spoiled(self: Any, batch: Any, *rest: Any) -> Any:
        gradients, nll = backward(self, batch, *rest)
        if now[0] == 2 and 7 <= min(batch.pair_ids) < 30:
            gradients[0][:] = torch.nan
        return gradients, nll

    monkeypatch.setattr(Trainer, "update", noted)
    monkeypatch.setattr(Trainer, "_backward", spoiled)
    cfg = config_file.override(tiny, FEW)
    train(cfg, tmp_path / "one", CPU)
    assert trained(3, tmp_path, cfg, [tmp_path / "three"]) == [RUN] * 3
    assert '"kind": "skipped", "step": 2' in (tmp_path / "one/metrics.jsonl").read_text()
    assert '"kind": "skipped", "step": 2' in (tmp_path / "three/metrics.jsonl").read_text()
    assert_same(weights(tmp_path / "one"), weights(tmp_path / "three"), exact=False)


@pytest.mark.parametrize("ema", [pytest.param("null", marks=pytest.mark.slow), "0.9"])
def test_only_the_first_process_needs_the_run(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema: str
) -> None:
    """It resumes, and gives weights, optimizer and progress to the others, whose disks are empty."""
    cfg = config_file.override(tiny, [*FEW, f"train.ema={ema}"])
    train(cfg, tmp_path / "one", CPU)
    runs = [tmp_path / str(rank) / "run" for rank in range(2)]
    assert trained(2, tmp_path, config_file.override(cfg, ["train.max_steps=3"]), runs, LOCAL_RANK="0")
    (tmp_path / "elsewhere").mkdir()
    runs[1] = tmp_path / "elsewhere" / "run"
    assert trained(2, tmp_path, cfg, runs, LOCAL_RANK="0") == [RUN] * 2
    assert_same(weights(tmp_path / "one"), weights(runs[0]), exact=False)
    assert sorted(each.name for each in runs[1].parent.iterdir()) == ["prepared"]


def test_each_disk_is_prepared_once(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes 0 and 1 are on one node, 2 and 3 on another with a disk of its own. One learns the tokenizer."""
    made, learned = tmp_path / "made", tmp_path / "learned"

    def noted(file: Path, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            with file.open("a") as stream:
                stream.write(os.environ["RANK"])
            return function(*args)

        return call

    monkeypatch.setattr("transformer.data.prepare.encode_corpora", noted(made, encode_corpora))
    monkeypatch.setattr("transformer.data.prepare.learn_tokenizer", noted(learned, learn_tokenizer))
    runs = [tmp_path / disk / "run" for disk in ("a", "a", "b", "b")]

    def work(rank: int) -> str:
        os.environ["LOCAL_RANK"] = str(rank % 2)
        return train(config_file.override(tiny, [*FEW, "train.max_steps=1"]), runs[rank], CPU)

    assert Group(4, tmp_path, work).results() == ["all 1 steps are done"] * 4
    assert sorted(made.read_text()) == ["0", "2"]
    assert learned.read_text() == "0"
    assert [len(list((tmp_path / disk / "prepared").glob("pairs-*"))) for disk in "ab"] == [1, 1]
    assert not list(tmp_path.rglob(".transformer-tmp-*"))


def test_other_settings_or_text_are_refused_by_name_in_all_processes(tiny: Config, tmp_path: Path) -> None:
    def settings(rank: int) -> Config:
        return config_file.override(tiny, [f"train.seed={1 + rank // 2}", f"data.prepared_dir={tmp_path / str(rank)}"])

    sentence = "the processes differ in train.seed: it is 1 in RANK 0 and 2 in RANK 2; start all with the same"
    for said in trained(3, tmp_path, settings, [tmp_path / "run"]):
        assert sentence in said
    assert not (tmp_path / "run").exists()


def test_other_text_on_another_node_is_refused_by_all(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files have the same names on both nodes, but one node has an older copy."""
    pairs = agreement.prepare_together

    def old_copy(cfg: Config, cache: Path, tokenizer: Any, ranks: Ranks) -> Any:
        if ranks.rank == 1:
            files = write_pairs(tmp_path, "old", toy_pairs(140, 1))
            cfg = config_file.override(cfg, [f"data.train={{files: {files}}}"])
        return pairs(cfg, cache, tokenizer, ranks)

    monkeypatch.setattr("transformer.training.session.prepare_together", old_copy)
    runs = [tmp_path / str(rank) / "run" for rank in range(2)]
    for said in trained(2, tmp_path, tiny, runs, LOCAL_RANK="0"):
        assert "the processes differ in the text of data.train: it is " in said
    assert not runs[0].exists()


def test_fresh_is_not_repeated_by_restarts(tiny: Config, tmp_path: Path) -> None:
    """Nor is it forgotten, if the first start ended before it had begun the new run."""
    run, cfg = tmp_path / "run", config_file.override(tiny, FEW)
    short = config_file.override(cfg, ["train.max_steps=3", "train.seed=7"])
    again = {"TORCHELASTIC_RESTART_COUNT": "1", "TORCHELASTIC_RUN_ID": "job"}
    train(short, run, CPU)
    assert trained(2, tmp_path, cfg, [run], fresh=True, **again) == [RUN] * 2  # begins anew: it has another seed
    assert len(list(tmp_path.glob("run.old-*"))) == 1
    more = config_file.override(cfg, ["train.max_steps=7"])
    assert trained(2, tmp_path, more, [run], fresh=True, **again) == ["all 7 steps are done"] * 2
    assert len(list(tmp_path.glob("run.old-*"))) == 1
    assert load_state(open_run(run).steps()[0])["progress"]["step"] == 3


def test_after_a_restart_the_lock_of_the_dead_is_waited_for(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    tries = [False, False, True, True]

    class Lock:
        def __enter__(self) -> bool:
            return tries.pop(0)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    monkeypatch.setattr("transformer.training.session.time.sleep", lambda _: None)
    monkeypatch.setattr("transformer.atomic.only_writer", lambda *_, **__: Lock())
    with session._locked(tmp_path):
        pass
    assert tries == [True]
    assert said == [f"waiting for the lock of {tmp_path}, which the training before this restart may hold"] * 2


# ---- one of them ends ----------------------------------------------------------------------------------

PHASES: dict[str, tuple[Any, str]] = {
    "preparing": (agreement, "prepare"),
    "training": (Trainer, "update"),
    "validating": (Validator, "measure"),
    "saving": (CheckpointWriter, "save"),
    "the model card": (session, "write_model_card"),
}


QUICK = [("training", 1), ("saving", 0)]
"""Phases and ranks of the fast tests."""


@pytest.mark.parametrize(
    ("phase", "rank"),
    [
        pytest.param(phase, rank, marks=() if (phase, rank) in QUICK else pytest.mark.slow)
        for phase in PHASES
        for rank in range(2)
    ],
)
def test_a_process_that_is_killed_in_any_phase_is_named_and_the_run_resumes(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str, rank: int
) -> None:
    place, name = PHASES[phase]
    original, calls = getattr(place, name), [0]

    def killed(*args: Any, **how: Any) -> Any:
        calls[0] += 1
        if os.environ.get("RANK") == str(rank) and calls[0] == (2 if name in ("update", "save") else 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **how)

    cfg = config_file.override(tiny, [*FEW, "train.save_every=2"])
    with monkeypatch.context() as patch:
        patch.setattr(place, name, killed)
        ends = trained(2, tmp_path, cfg, [tmp_path / "run"])
    if phase == "the model card" and rank == 1:
        assert ends == [RUN] * 2  # only the first writes it
    else:
        advice = "re-run the same command to resume from the last checkpoint"
        died = f"the process with RANK {rank} on {socket.gethostname()} has died; {advice}"
        assert ends == [None if i == rank else died for i in range(2)]
    assert trained(2, tmp_path, cfg, [tmp_path / "run"]) == [RUN] * 2
    train(cfg, tmp_path / "one", CPU)
    assert_same(weights(tmp_path / "one"), weights(tmp_path / "run"), exact=False)


@pytest.mark.parametrize("phase", ["preparing", "the model card"])
def test_an_error_of_the_first_process_is_told_by_all(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device", "a file")

    monkeypatch.setattr("transformer.data.prepare.encode_corpora" if phase == "preparing" else PHASES[phase][0], *(
        (fails,) if phase == "preparing" else (PHASES[phase][1], fails)
    ))  # fmt: skip
    first, second = trained(2, tmp_path, config_file.override(tiny, FEW), [tmp_path / "run"])
    assert first is None  # not an error of this package
    assert "the process with RANK 0 on" in second
    assert "has ended: OSError: No space left on device: a file; re-run the same command" in second
