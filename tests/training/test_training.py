"""Training resumes bit for bit, and its result does not depend on how updates are cut."""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.toy import CPU, assert_same
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from transformer import config_file
from transformer.config import Config
from transformer.data import batching
from transformer.errors import CheckpointError, ConfigError, DataError
from transformer.model import kernels
from transformer.model.dropout import keep_mask
from transformer.runs.checkpoint import WEIGHTS, load_state, load_tensors, save_checkpoint
from transformer.runs.layout import step_name
from transformer.runs.models import load_model
from transformer.runs.run import open_run
from transformer.system.clock import Stopwatch
from transformer.system.distributed import Ranks
from transformer.system.threads import start_workers
from transformer.training.dry_run import dry_run
from transformer.training.flat_weights import FlatWeights
from transformer.training.optimizer import MovingAverage, build_optimizer, learning_rate, named_state, state_tensors
from transformer.training.session import build_loop, train
from transformer.training.trainer import Trainer
from transformer.training.validation import Validator


def tensors(folder: Path, step: int) -> dict[str, Tensor]:
    """All tensors of a checkpoint: weights, optimizer and averages."""
    path = folder / "checkpoints" / step_name(step)
    files = ("model.safetensors", "state.safetensors")
    return {f"{file}/{k}": v for file in files for k, v in load_tensors(path / file).items()}


FEATURES = [
    [],
    ["train.ema=0.9", "train.subword_sampling=0.2", "model.attention_dropout=0.1", "model.activation_dropout=0.1"],
    ["tokenizer.kind=unigram", "train.subword_sampling=0.2", "train.clip_norm=0.5", "train.schedule=cosine"],
]


@pytest.mark.parametrize("overrides", FEATURES)
def test_resume_equals_an_uninterrupted_run(tiny: Config, tmp_path: Path, overrides: list[str]) -> None:
    cfg = config_file.override(tiny, overrides)
    train(cfg, tmp_path / "whole", CPU)
    for steps in (3, 4, 9, 12):  # mid-epoch and at its end, at steps with and without a scheduled save
        train(config_file.override(cfg, [f"train.max_steps={steps}"]), tmp_path / "parts", CPU)
        if "train.schedule=cosine" in overrides:  # its rate depends on max_steps, so stop by a signal instead
            break
    if "train.schedule=cosine" in overrides:
        stop_after(cfg, tmp_path / "signalled", 7)
        train(cfg, tmp_path / "signalled", CPU)
        assert_same(tensors(tmp_path / "whole", 12), tensors(tmp_path / "signalled", 12))
    else:
        assert_same(tensors(tmp_path / "whole", 12), tensors(tmp_path / "parts", 12))


def stop_after(cfg: Config, folder: Path, step: int, number: int = signal.SIGTERM) -> str:
    """Train, and send a signal during update `step`."""
    original = Trainer.update

    def update(self: Any, now: int, *rest: Any) -> Any:
        done = original(self, now, *rest)
        if now == step:
            os.kill(os.getpid(), number)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "update", update)
        return train(cfg, folder, CPU)


@pytest.mark.parametrize(("number", "why"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")])
def test_signals_save_and_stop(tiny: Config, tmp_path: Path, number: int, why: str) -> None:
    assert stop_after(tiny, tmp_path / "run", 5, number) == why
    assert (tmp_path / "run" / "last").read_text() == "step-00000005\n"


def test_sigusr1_saves_and_continues(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[str] = []
    save = save_checkpoint

    def noted(path: Path, *rest: Any) -> None:
        saved.append(path.name)
        save(path, *rest)

    monkeypatch.setattr("transformer.training.saving.save_checkpoint", noted)
    assert stop_after(tiny, tmp_path / "run", 5, signal.SIGUSR1) == "all 12 steps are done"
    assert saved == [f"step-{step:08d}" for step in (3, 5, 6, 9, 12)]
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == [f"step-{step:08d}" for step in (3, 6, 9, 12)]  # as in a run without a signal


def test_a_finished_run_reports_that(tiny: Config, tmp_path: Path) -> None:
    train(tiny, tmp_path / "run", CPU)
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert train(tiny, tmp_path / "run", CPU) == "all 12 steps are done"
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before


SMOOTH = ["model.dropout=0", "train.adam_epsilon=1e-4"]
"""Settings without dropout, whose draws depend on the batches, and with an epsilon that keeps Adam from amplifying
gradients that are only rounding errors (that of the keys' bias is zero in theory, as softmax ignores it)."""


@pytest.mark.parametrize("limit", ["1", "30", "37", "1000"])
def test_weights_do_not_depend_on_how_updates_are_cut(tiny: Config, tmp_path: Path, limit: str) -> None:
    cfg = config_file.override(tiny, [*SMOOTH, "train.max_steps=3"])
    for name, tokens in (("whole", "auto"), ("cut", limit)):
        train(config_file.override(cfg, [f"train.micro_batch_tokens={tokens}"]), tmp_path / name, CPU)
    assert_same(tensors(tmp_path / "whole", 3), tensors(tmp_path / "cut", 3), exact=False)


def test_runs_are_reproducible_and_depend_on_the_seed(tiny: Config, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(config_file.override(tiny, [f"train.seed={seed}", "train.max_steps=3"]), tmp_path / name, CPU)
    assert_same(tensors(tmp_path / "a", 3), tensors(tmp_path / "b", 3))
    names = ("a", "c")
    a, c = (tensors(tmp_path / n, 3)["model.safetensors/target_embedding.weight"] for n in names)
    assert not torch.equal(a, c)


def test_two_workers_train_the_same_as_one(tiny: Config, tmp_path: Path) -> None:
    """With dropout, two runs are equal bit for bit, however the threads are scheduled."""
    cfg = config_file.override(tiny, ["train.max_steps=6", "train.micro_batch_tokens=40", "train.adam_epsilon=1e-4"])
    train(cfg, tmp_path / "one", CPU)
    torch.set_num_threads(2)
    try:
        for name in ("two", "again"):
            train(cfg, tmp_path / name, CPU)
    finally:
        torch.set_num_threads(1)
    assert_same(tensors(tmp_path / "one", 6), tensors(tmp_path / "two", 6), exact=False)
    assert_same(tensors(tmp_path / "two", 6), tensors(tmp_path / "again", 6))


def test_workers_use_only_their_share_of_the_cores() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        workers = start_workers(CPU)
        assert workers.count == 2

        def threads(_: int) -> int:
            torch.randn(1 << 20).add_(1)  # an operation that uses all cores
            return torch.get_num_threads()

        assert workers.map(threads, range(6)) == [2] * 6
        assert torch.get_num_threads() == 4
        assert workers.map(threads, [0]) == [4]  # a single item uses all cores
    finally:
        torch.set_num_threads(before)


def test_dropout_differs_in_each_step_and_batch(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bytes] = []
    original = keep_mask

    def noted(like: Tensor, rate: float) -> Tensor:
        mask = original(like, rate)
        drawn.append((mask.flatten()[:64] > 0).numpy().tobytes())
        return mask

    monkeypatch.setattr("transformer.model.dropout.keep_mask", noted)
    for _ in range(2):
        loop = build_loop(tiny, tmp_path / "run", CPU, Ranks(), Stopwatch())
        loop.trainer.model.train()
        updates = loop.cut_updates()
        for _ in range(2):
            cut = next(updates)
            assert len(cut.batches) > 1
            loop.update(cut)
    half = len(drawn) // 2
    assert drawn[:half] == drawn[half:]
    assert len(set(drawn)) == half


def test_two_processes_train_the_same_as_one(tiny_file: Path, tmp_path: Path) -> None:
    overrides = [*SMOOTH, "train.max_steps=6", "train.micro_batch_tokens=60", "train.ema=0.9"]
    train(config_file.load(tiny_file, overrides), tmp_path / "one", CPU)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    script = Path(__file__).parents[2] / "scripts" / "train.py"
    done = subprocess.run(
        [*command, "--", str(script), str(tiny_file), *overrides, "--run", str(tmp_path / "two"), "--device", "cpu"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("finished: all 6 steps are done") == 1  # not from each process
    assert_same(tensors(tmp_path / "one", 6), tensors(tmp_path / "two", 6), exact=False)


def _waits(_: object) -> None:
    pytest.fail("the update waits for the device")


def test_no_update_waits_for_the_device(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No operation that copies a value from a GPU, and so waits for it, is called in an update."""
    loop = build_loop(tiny, tmp_path / "run", CPU, Ranks(), Stopwatch())
    cut = next(loop.cut_updates())
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, property(_waits))
    loop.trainer.model.train()
    loop.update(cut)
    monkeypatch.undo()


class Operations(TorchDispatchMode):
    """Counts the operations inside the context."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[str(func)] += 1
        return func(*args, **kwargs or {})


def test_an_update_has_no_loop_over_tokens_and_reads_no_value(tiny: Config, tmp_path: Path) -> None:
    """The number of operations is the same for five times the tokens, and none of them reads a tensor's value."""
    counts = []
    for tokens in (200, 1000):
        cfg = config_file.override(tiny, [f"train.batch_tokens={tokens}", "train.micro_batch_tokens=2000"])
        loop = build_loop(cfg, tmp_path / "run", CPU, Ranks(), Stopwatch())
        updates = loop.cut_updates()
        loop.trainer.model.train()
        loop.update(next(updates))  # creates Adam's state
        cut = next(updates)
        with Operations() as found:
            loop.update(cut)
        assert len(cut.batches) == 1
        counts.append(found.counts)
    assert counts[0].total() > 100
    assert counts[0] == counts[1] + Counter()
    assert not [name for name in counts[0] if "_local_scalar_dense" in name or "nonzero" in name]


VIEWS = (
    "view",
    "t.",
    "transpose",
    "permute",
    "unbind",
    "split",
    "select.",
    "slice",
    "expand",
    "detach",
    "alias",
    "as_str",
)
"""Operations that start no kernel."""


def test_an_update_on_a_gpu_stays_within_a_budget_of_operations(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes the host some microseconds. 6 + 6 layers, on the plain path: the fast one is replayed as a whole."""
    monkeypatch.setattr(kernels, "on_gpu", lambda x: True)
    layers = ["model.encoder_layers=6", "model.decoder_layers=6"]
    cfg = config_file.override(tiny, [*layers, "train.micro_batch_tokens=2048", "data.max_length=63", "train.ema=0.9"])
    loop = build_loop(cfg, tmp_path / "run", CPU, Ranks(), Stopwatch())
    trainer = loop.trainer
    trainer.weights = FlatWeights(trainer.model, torch.bfloat16)
    trainer.dtype, trainer.optimizer = torch.bfloat16, build_optimizer(trainer.weights, cfg.train)
    trainer.average = MovingAverage(trainer.weights.weights, 0.9)
    updates = loop.cut_updates()
    for _ in range(2):
        loop.update(next(updates))
    cut = next(updates)
    with Operations() as found:
        loop.update(cut)
    assert len(cut.batches) == 1
    kernels_started = {name: n for name, n in found.counts.items() if not any(v in name for v in VIEWS)}
    assert 500 < sum(kernels_started.values()) <= 1250, kernels_started


def test_a_run_equals_a_plain_torch_loop(tiny: Config, tmp_path: Path) -> None:
    """Twenty losses equal those of torch's cross-entropy, clipping and AdamW on padded tensors."""
    cfg = config_file.override(tiny, [*SMOOTH, "train.clip_norm=0.5", "train.weight_decay=0.01"])
    loop = build_loop(cfg, tmp_path / "run", CPU, Ranks(), Stopwatch())
    plain, pad = copy.deepcopy(loop.trainer.model), loop.trainer.model.pad
    groups = [[p for p in plain.parameters() if (p.ndim > 1) is matrix] for matrix in (True, False)]
    adam = torch.optim.AdamW(
        [{"params": groups[0], "weight_decay": 0.01}, {"params": groups[1], "weight_decay": 0.0}],
        lr=0.0, betas=cfg.train.adam_betas, eps=cfg.train.adam_epsilon,
    )  # fmt: skip
    ours, theirs = [], []
    for step, cut in zip(range(1, 21), loop.cut_updates(), strict=False):
        loop.update(cut)
        ours.append(loop.take_statistics()["loss"])
        tokens, total = sum(batch.tokens for batch in cut.batches), 0.0
        for batch in cut.batches:
            answers_BT = torch.full_like(batch.input_BT, pad)
            answers_BT.view(-1)[batch.places_N] = batch.target_N
            logits_BTV = plain(batch.source_BS, batch.input_BT)
            flat = (logits_BTV.flatten(0, 1), answers_BT.flatten())
            smoothed = F.cross_entropy(*flat, ignore_index=pad, label_smoothing=0.1, reduction="sum")
            (smoothed / tokens).backward()
            total += float(F.cross_entropy(*flat, ignore_index=pad, reduction="sum").detach())
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        for group in adam.param_groups:
            group["lr"] = learning_rate(step, cfg.train, cfg.model.width)
        adam.step()
        adam.zero_grad()
        theirs.append(total / tokens)
    assert ours == pytest.approx(theirs, rel=2e-4)


def test_a_gradient_that_is_not_finite_changes_nothing(tiny: Config, tmp_path: Path) -> None:
    loop = build_loop(tiny, tmp_path / "run", CPU, Ranks(), Stopwatch())
    updates = loop.cut_updates()
    loop.update(next(updates))
    before = {name: p.detach().clone() for name, p in loop.trainer.model.named_parameters()}
    moments = {
        k: v.clone() for k, v in named_state(loop.trainer.weights, state_tensors(loop.trainer.optimizer)).items()
    }
    loop.trainer.parameters[3].register_hook(lambda grad: grad * float("nan"))
    loop.update(next(updates))
    assert all(torch.equal(before[name], p) for name, p in loop.trainer.model.named_parameters())
    now = named_state(loop.trainer.weights, state_tensors(loop.trainer.optimizer))
    assert all(torch.equal(moments[k], v) for k, v in now.items())
    assert loop.take_statistics()["skipped"] == 1


def test_float16_scales_its_loss(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code for GPUs is tested on a CPU."""
    monkeypatch.setattr("transformer.training.trainer.resolve_dtype", lambda name, on: torch.float16)
    cfg = config_file.override(tiny, ["train.clip_norm=1.0", "train.max_steps=9"])
    train(cfg, tmp_path / "run", CPU)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert losses[-1] < losses[0]
    state = load_state(tmp_path / "run" / "checkpoints" / "step-00000009")
    assert state["scaler"]["scale"] > 0


def test_an_update_without_a_batch_in_float16(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first update may have fewer batches than there are processes."""
    monkeypatch.setattr("transformer.training.trainer.resolve_dtype", lambda name, on: torch.float16)
    loop = build_loop(tiny, tmp_path / "run", CPU, Ranks(), Stopwatch())
    before = loop.trainer.weights.weights.clone()
    loop.update(replace(next(loop.cut_updates()), batches=[], positions=[]))
    assert loop.take_statistics()["skipped"] == 0
    assert torch.equal(before, loop.trainer.weights.weights)


def test_changed_settings_are_listed(tiny: Config, tmp_path: Path) -> None:
    train(config_file.override(tiny, ["train.max_steps=3"]), tmp_path / "run", CPU)
    with pytest.raises(ConfigError) as caught:
        train(
            config_file.override(tiny, ["model.dropout=0.2", "train.seed=5", "train.log_every=7"]),
            tmp_path / "run",
            CPU,
        )
    assert str(caught.value) == (
        f"{tmp_path}/run was started with other settings: model.dropout (was 0.1, is 0.2), train.seed (was 1, is 5); "
        "change them back, choose another directory with --run, or start over with --fresh; "
        "these changes are fine: train.log_every, train.max_steps"
    )
    train(config_file.override(tiny, ["train.log_every=2", "decode.beam=2"]), tmp_path / "run", CPU)
    train(config_file.override(tiny, ["train.seed=5"]), tmp_path / "run", CPU, fresh=True)
    assert len(list(tmp_path.glob("run.old-*"))) == 1


def test_one_writer_at_a_time(tiny: Config, tmp_path: Path) -> None:
    from transformer import atomic, config_file
    from transformer.errors import CheckpointError
    from transformer.training.session import train

    train(config_file.override(tiny, ["train.max_steps=3"]), tmp_path / "run", CPU)
    (tmp_path / "run" / "checkpoints" / ".transformer-tmp-stale").mkdir()
    with atomic.only_writer(tmp_path / "run") as alone:
        assert alone
        with pytest.raises(CheckpointError, match="another training is writing to"):
            train(tiny, tmp_path / "run", CPU)
    train(tiny, tmp_path / "run", CPU)
    assert not list((tmp_path / "run" / "checkpoints").glob(".transformer-*"))


def test_an_interrupted_end_of_training_is_completed(tiny: Config, tmp_path: Path) -> None:
    """The run was killed after the last update, before averaging and the model card."""
    cfg = config_file.override(tiny, ["train.average_last=2"])
    train(cfg, tmp_path / "run", CPU)
    (tmp_path / "run" / "finished").unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "average-00000012")
    assert train(cfg, tmp_path / "run", CPU) == "all 12 steps are done"
    assert (tmp_path / "run" / "finished").exists()
    assert (tmp_path / "run" / "checkpoints" / "average-00000012").is_dir()


def test_missing_tensorboard_is_reported(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match="pip install tensorboard"):
        train(config_file.override(tiny, ["train.tensorboard=true"]), tmp_path / "run", CPU)


def test_changed_training_text_is_detected(tiny: Config, tmp_path: Path) -> None:
    train(config_file.override(tiny, ["train.max_steps=3"]), tmp_path / "run", CPU)
    with (tmp_path / "train.en").open("a") as en, (tmp_path / "train.de").open("a") as de:
        en.write("one\n")
        de.write("eins\n")
    with pytest.raises(DataError, match="was trained on different text"):
        train(tiny, tmp_path / "run", CPU)


def test_init_from_is_not_needed_when_resuming(tiny: Config, tmp_path: Path) -> None:
    train(config_file.override(tiny, ["train.max_steps=3"]), tmp_path / "first", CPU)
    cfg = config_file.override(tiny, [f"train.init_from={tmp_path / 'first'}"])
    train(config_file.override(cfg, ["train.max_steps=3"]), tmp_path / "second", CPU)
    shutil.rmtree(tmp_path / "first")
    assert train(cfg, tmp_path / "second", CPU) == "all 12 steps are done"


def test_a_signal_in_the_last_validation_loses_nothing(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(self: Any, step: int, check: object = None) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (tmp_path / "run" / "checkpoints" / "step-00000004").is_dir()
        return {"loss": 1.0, "ppl": 1.0}

    monkeypatch.setattr(Validator, "measure", measure)
    cfg = config_file.override(tiny, ["train.max_steps=4", "train.save_every=100", "train.validate_every=100"])
    assert train(cfg, tmp_path / "run", CPU) == "all 4 steps are done"


def test_time_limit(tiny: Config, tmp_path: Path) -> None:
    assert train(config_file.override(tiny, ["train.time_limit=0"]), tmp_path / "run", CPU) == "time limit"
    assert (tmp_path / "run" / "last").read_text() == "step-00000001\n"


def test_patience(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.2, 2.1])
    monkeypatch.setattr(Validator, "measure", lambda self, step, check: {"loss": next(losses), "ppl": 1.0})
    cfg = config_file.override(
        tiny, ["train.patience=2", "train.validate_every=2", "train.max_steps=100", "train.keep_last=1"]
    )
    assert train(cfg, tmp_path / "run", CPU) == "no better loss in 2 validations"
    assert (tmp_path / "run" / "best").read_text() == "step-00000004\n"
    assert [p.name for p in sorted((tmp_path / "run" / "checkpoints").iterdir())] == ["step-00000004", "step-00000008"]
    assert train(cfg, tmp_path / "run", CPU) == "no better loss in 2 validations"


def test_warm_start_takes_tokenizer_and_weights(tiny: Config, tmp_path: Path) -> None:
    train(config_file.override(tiny, ["train.max_steps=3"]), tmp_path / "first", CPU)
    cfg = config_file.override(tiny, [f"train.init_from={tmp_path / 'first'}", "tokenizer.vocab_size=20"])
    loop = build_loop(cfg, tmp_path / "second", CPU, Ranks(), Stopwatch())
    donor = tensors(tmp_path / "first", 3)
    for name, p in loop.trainer.model.named_parameters():
        assert torch.equal(p, donor[f"model.safetensors/{name}"])
    with pytest.raises(ConfigError, match="give this run the same `model` settings, or none: width: "):
        build_loop(config_file.override(cfg, ["model.width=16"]), tmp_path / "third", CPU, Ranks(), Stopwatch())


def test_average_of_the_last_checkpoints(tiny: Config, tmp_path: Path) -> None:
    train(config_file.override(tiny, ["train.average_last=3", "train.keep_last=3"]), tmp_path / "run", CPU)
    name = "model.safetensors/target_embedding.weight"
    parts = [tensors(tmp_path / "run", step)[name].double() for step in (6, 9, 12)]
    found = load_tensors(tmp_path / "run" / "checkpoints" / "average-00000012" / "model.safetensors")
    torch.testing.assert_close(found["target_embedding.weight"].double(), sum(parts) / 3)


def test_the_average_is_validated_with_its_own_weights(tiny: Config, tmp_path: Path) -> None:
    """Both the EMA and the average of checkpoints are used. Swapping them in does not increment autograd's version."""
    wishes = "train.max_steps=6 train.ema=0.9 train.average_last=3 train.keep_last=3 train.save_every=2"
    cfg = config_file.override(tiny, [*wishes.split(), "train.validate_every=6", "train.peak_rate=0.02"])
    train(cfg, tmp_path / "run", CPU)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (logged,) = [line["loss"] for line in lines if line["kind"] == "average"]
    loop = build_loop(cfg, tmp_path / "run", CPU, Ranks(), Stopwatch())
    assert loop.validator is not None
    weights = load_tensors(tmp_path / "run" / "checkpoints" / "average-00000006" / WEIGHTS)
    loop.trainer.average = None
    with torch.no_grad():
        for name, p in loop.trainer.model.named_parameters():
            p.copy_(weights[name])
    assert loop.validator.measure(0)["loss"] == pytest.approx(logged, rel=1e-5)


def test_the_ema_is_saved(tiny: Config, tmp_path: Path) -> None:
    train(config_file.override(tiny, ["train.ema=0.9"]), tmp_path / "run", CPU)
    found = tensors(tmp_path / "run", 12)
    name = "target_embedding.weight"
    assert not torch.equal(found[f"model.safetensors/{name}"], found[f"state.safetensors/weights.{name}"])


def damage(path: Path) -> None:
    content = bytearray((path / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (path / "model.safetensors").write_bytes(bytes(content))


def test_a_damaged_checkpoint_is_skipped(tiny: Config, tmp_path: Path) -> None:
    train(tiny, tmp_path / "whole", CPU)
    train(config_file.override(tiny, ["train.max_steps=9"]), tmp_path / "run", CPU)
    damage(tmp_path / "run" / "checkpoints" / "step-00000009")
    train(tiny, tmp_path / "run", CPU)
    assert_same(tensors(tmp_path / "whole", 12), tensors(tmp_path / "run", 12))
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        damage(path)
    with pytest.raises(CheckpointError, match="no checkpoint in .* can be used: .* model.safetensors is damaged"):
        train(config_file.override(tiny, ["train.max_steps=15"]), tmp_path / "run", CPU)


def test_every_variant_trains(tiny: Config, tmp_path: Path) -> None:
    overrides = [
        [
            "tokenizer.joint=false",
            "model.tied=none",
            "model.norm=pre",
            "model.activation=swish",
            "model.output_bias=true",
        ],
        ["model.tied=target", "model.decoder_start=pad", "train.precision=bfloat16", "train.schedule=linear"],
        ["train.validate_text=false", "data.test=null", "train.weight_decay=0.01", "train.schedule=constant"],
        ["data.valid=null", "train.tensorboard=false"],
    ]
    for i, each in enumerate(overrides):
        train(config_file.override(tiny, [*each, "train.max_steps=6"]), tmp_path / str(i), CPU)
        run = open_run(tmp_path / str(i))
        model, _ = load_model(run)
        assert model.cfg == run.config.model


def test_every_pair_is_trained_on_once_per_epoch_across_stops(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    original = Trainer.update

    def update(self: Any, step: int, cut: batching.CutUpdate[batching.Batch], rate: float) -> Any:
        seen.extend(i for batch in cut.batches for i in batch.pair_ids.tolist())
        return original(self, step, cut, rate)

    monkeypatch.setattr(Trainer, "update", update)
    steps = 0
    while len(seen) < 150:
        steps += 1
        cut = config_file.override(
            tiny, [f"train.max_steps={steps}", f"train.micro_batch_tokens={20 + 30 * (steps % 3)}"]
        )
        train(cut, tmp_path / "run", CPU)
    assert sorted(seen) == list(range(150))


def test_the_log_and_the_model_card_have_the_documented_content(tiny: Config, tmp_path: Path) -> None:
    train(tiny, tmp_path / "run", CPU)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("train", 4), ("valid", 6), ("train", 8), ("train", 12), ("valid", 12),
    ]  # fmt: skip
    wanted = "step epoch loss ppl rate grad_norm tokens_per_second real data_wait skipped tokens seconds seconds_left"
    assert set(wanted.split()) <= set(lines[0])
    assert {"loss", "ppl", "bleu", "chrf"} <= set(lines[1])
    card = (tmp_path / "run" / "README.md").read_text()
    assert "150 training pairs" in card
    assert "## Configuration" in card


def test_dry_run_writes_no_run_directory(tiny: Config, tmp_path: Path) -> None:
    before = threading.active_count()
    lines = dry_run(tiny, tmp_path / "run", CPU)
    text = "\n".join(lines)
    for word in ("parameters", "training pairs", "source (", "memory, estimate", "loss"):
        assert word in text
    assert not (tmp_path / "run").exists()
    assert threading.active_count() <= before + 4  # idle workers, but nothing that cuts batches


def test_an_average_of_damaged_checkpoints_is_refused(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformer.training.saving.undamaged", lambda paths: [])
    with pytest.raises(CheckpointError, match="no checkpoint in .* can be averaged: all are damaged"):
        train(config_file.override(tiny, ["train.average_last=2", "train.max_steps=3"]), tmp_path / "run", CPU)


def test_a_resumed_run_cuts_the_batches_of_before(tiny: Config, tmp_path: Path) -> None:
    """Whatever fits into the memory now: dropout depends on the batches. A size that did not fit stays too large."""
    auto = config_file.override(tiny, ["train.max_steps=3", "train.micro_batch_tokens=auto"])
    train(auto, tmp_path / "run", CPU)
    loop = build_loop(auto, tmp_path / "run", CPU, Ranks(), Stopwatch(), resume=True)
    before = loop.cutting.micro_batch_tokens
    loop.resume(loop.writer.restore(loop.run.checkpoints / "step-00000003"))
    assert loop.progress.batch_limits == {"batches on cpu x 1": before}
    assert loop.trainer.splitter.limit == math.inf
    loop.cutting.micro_batch_tokens, loop.trainer.splitter.limit = before - 1, 50
    loop._save()
    other = build_loop(auto, tmp_path / "run", CPU, Ranks(), Stopwatch(), resume=True)
    other.resume(other.writer.restore(loop.run.checkpoints / "step-00000003"))
    assert (other.cutting.micro_batch_tokens, other.trainer.splitter.limit) == (before - 1, 50)
    cfg = config_file.override(auto, ["train.micro_batch_tokens=77"])
    wished = build_loop(cfg, tmp_path / "run", CPU, Ranks(), Stopwatch(), resume=True)
    wished.resume(wished.writer.restore(loop.run.checkpoints / "step-00000003"))
    assert wished.cutting.micro_batch_tokens == 77
