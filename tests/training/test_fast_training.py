"""The fast path of GPUs, with its code on a CPU: its gradients, its trust in compilers, and exact resumption."""

from __future__ import annotations

import itertools
import json
import logging
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.toy import CPU

from transformer import config_file
from transformer.config import Config
from transformer.model import kernels
from transformer.model.packed_rows import PackedRows
from transformer.runs.checkpoint import load_state, load_tensors
from transformer.system.clock import Stopwatch
from transformer.system.distributed import Ranks
from transformer.training.fast import FastPath, compiled, make_fast_path
from transformer.training.flat_weights import FlatWeights
from transformer.training.loop import TrainingLoop
from transformer.training.session import build_loop, train
from transformer.training.trainer import Trainer
from transformer.training.ways import Choice

Compiler = Callable[..., Any]


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the code for GPUs, without compiling or capturing."""
    monkeypatch.setattr(kernels, "on_gpu", lambda x: True)
    monkeypatch.setattr("transformer.training.trainer.make_fast_path", make(None))


def make(compiles: Compiler | None) -> Callable[..., FastPath]:
    return lambda model, weights, cfg, dtype: FastPath(model, weights, dtype, cfg.label_smoothing, compiles)


def build(cfg: Config, folder: Path, *settings: str) -> TrainingLoop:
    return build_loop(config_file.override(cfg, list(settings)), folder, CPU, Ranks(), Stopwatch())


NO_DROPOUT = ("model.dropout=0",)
DROPOUT = ("model.dropout=0.2", "model.attention_dropout=0.1", "model.activation_dropout=0.1")


def gradient(loop: TrainingLoop) -> tuple[torch.Tensor, float]:
    """Return the gradient of the first update, and its nll."""
    cut = next(loop.cut_updates())
    pending = loop.trainer.update(1, cut, 0.0)
    return loop.trainer.weights.gradients.clone(), float(pending.nll) / pending.tokens


def test_the_gradient_is_that_of_the_plain_path(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, nll = gradient(build(tiny, tmp_path / "run", *NO_DROPOUT))
    monkeypatch.setattr("transformer.training.trainer.make_fast_path", make(None))
    for micro in ("4096", "64"):  # one batch, and several
        loop = build(tiny, tmp_path / "run", *NO_DROPOUT, f"train.micro_batch_tokens={micro}", "data.max_length=63")
        loop.progress.mixed_updates = False  # the same pairs
        found, same_nll = gradient(loop)
        assert (len(next(loop.cut_updates()).batches) > 1) == (micro == "64")
        torch.testing.assert_close(found, wanted, atol=2e-6, rtol=1e-3)
        assert same_nll == pytest.approx(nll, rel=1e-5)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_training_resumes_bit_for_bit(tiny: Config, tmp_path: Path) -> None:
    cfg = config_file.override(tiny, [*DROPOUT, "train.max_steps=8", "train.ema=0.9", "train.subword_sampling=0.1"])
    train(cfg, tmp_path / "whole", CPU)
    train(config_file.override(cfg, ["train.max_steps=3"]), tmp_path / "parts", CPU)
    train(cfg, tmp_path / "parts", CPU)
    for file in ("model.safetensors", "state.safetensors"):
        whole, parts = (load_tensors(tmp_path / run / "checkpoints/step-00000008" / file) for run in ("whole", "parts"))
        assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_run_keeps_its_updates_where_it_is_resumed(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pairs of an update depend on where a run began, since rows are fuller with mixed updates, and no more."""
    seen: dict[str, list[list[int]]] = {}
    original = Trainer.update

    def update(self: Any, step: int, cut: Any, rate: float) -> Any:
        seen.setdefault(name, []).append(sorted(cut.update.pair_ids.tolist()))
        return original(self, step, cut, rate)

    monkeypatch.setattr(Trainer, "update", update)
    for name, began_on_gpu in (("gpu", True), ("gpu then cpu", True), ("cpu", False), ("cpu then gpu", False)):
        for steps, on_gpu in ((3, began_on_gpu), (8, began_on_gpu == ("then" not in name))):
            monkeypatch.setattr("transformer.training.trainer.make_fast_path", make(None) if on_gpu else make_fast_path)
            train(config_file.override(tiny, [f"train.max_steps={steps}"]), tmp_path / name, CPU)
    assert seen["gpu"] == seen["gpu then cpu"]
    assert seen["cpu"] == seen["cpu then gpu"]
    assert seen["gpu"] != seen["cpu"]


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("way", ["auto", "off"])
def test_training_with_cast_weights(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """The layers compute with weights in bfloat16; validation, checkpoints and the average have float32."""
    monkeypatch.setattr("transformer.training.trainer.FlatWeights", cast_weights)
    dropout: tuple[str, ...] = DROPOUT
    if way == "off":
        monkeypatch.setattr("transformer.training.trainer.make_fast_path", make_fast_path)
        dropout = NO_DROPOUT  # that of a GPU takes the generator of the GPU
    wishes = "train.precision=bfloat16 train.ema=0.9 train.validate_every=2 train.average_last=2 train.clip_norm=1"
    cfg = config_file.override(tiny, [*dropout, *wishes.split(), "train.max_steps=8", "decode.precision=bfloat16"])
    train(cfg, tmp_path / "whole", CPU)
    train(config_file.override(cfg, ["train.max_steps=3", "train.average_last=null"]), tmp_path / "parts", CPU)
    train(cfg, tmp_path / "parts", CPU)
    for file in ("model.safetensors", "state.safetensors"):
        whole, parts = (load_tensors(tmp_path / run / "checkpoints/step-00000008" / file) for run in ("whole", "parts"))
        assert all(torch.equal(whole[name], parts[name]) for name in whole)
        assert {each.dtype for each in whole.values()} == {torch.float32}
    losses = [json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    valid = [line["loss"] for line in losses if line["kind"] == "valid"]
    assert valid[-1] < valid[0]


def cast_weights(model: Any, cast: Any, *rest: Any) -> FlatWeights:
    return FlatWeights(model, torch.bfloat16, *rest)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_nothing_moves_after_the_first_updates(tiny: Config, tmp_path: Path) -> None:
    """A captured graph reads and writes the same memory each time."""
    loop = build(tiny, tmp_path / "run", *DROPOUT)
    updates = loop.cut_updates()
    path = loop.trainer.fast
    assert path is not None
    places = []
    for _ in range(4):
        loop.update(next(updates))
        assert path.block is not None
        tensors = [path.block, path.seeds_J, path.share, path.nll, *loop.trainer.weights.gradient_views]
        places.append([each.data_ptr() for each in [*tensors, *loop.trainer.parameters]])
        shapes = [batch.block.numel() for batch in next(updates).batches]
        assert set(shapes) == {path.block.numel()}
    assert all(each == places[0] for each in places)


def wrong(function: Compiler) -> Compiler:
    """Compile a layer to something a little different."""
    return lambda *args: function(*args) * 1.1 if "layer" in function.__name__ else function(*args)


def failing(function: Compiler) -> Compiler:
    def fail(*args: Any) -> Any:
        raise RuntimeError("no compiler was found\nsee the manual")

    return fail


@pytest.mark.parametrize(
    ("compiles", "said"),
    [
        (
            wrong,
            r"the fast path is not compiled: WrongResultError: its gradient is \d.\de-\d\d of the norm from float32",
        ),
        (failing, "the fast path is not compiled: RuntimeError: no compiler was found"),
        (lambda function: function, r"batches of \d+ rows of \d+ tokens: compiled"),
    ],
)
def test_a_compiler_is_trusted_only_with_the_right_result(
    tiny: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    compiles: Compiler,
    said: str,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("transformer.training.trainer.make_fast_path", make(None))
    wanted, nll = gradient(build(tiny, tmp_path / "run", *DROPOUT))
    monkeypatch.setattr("transformer.training.trainer.make_fast_path", make(compiles))
    caplog.clear()
    found, same_nll = gradient(build(tiny, tmp_path / "run", *DROPOUT))
    assert torch.equal(found, wanted)
    assert nll == same_nll
    messages = [record.getMessage() for record in caplog.records]
    assert any(re.match(said, line) for line in messages), messages
    assert not any("\n" in line for line in messages)


def test_a_batch_that_is_not_finite_proves_nothing(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """The next batch of the shape does."""
    monkeypatch.setattr("transformer.training.trainer.make_fast_path", make(lambda function: function))
    loop = build(tiny, tmp_path / "run", "data.max_length=63")
    updates, weights = loop.cut_updates(), loop.trainer.weights
    before = float(weights.weights[0])
    weights.weights[0] = math.nan
    loop.update(next(updates))
    assert not [line for line in said if "batches of" in line or "not compiled" in line]
    weights.weights[0] = before
    loop.update(next(updates))
    assert [line for line in said if line.endswith("compiled") or line.endswith("fused attention")]
    assert loop.take_statistics()["skipped"] == 1


def test_a_batch_that_does_not_fit_is_computed_in_parts(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr("transformer.training.trainer.make_fast_path", make(None))
    settings = (*NO_DROPOUT, "data.max_length=63", "train.micro_batch_tokens=4096", "train.batch_tokens=700")
    wanted, nll = gradient(build(tiny, tmp_path / "run", *settings))
    whole = PackedRows.loss

    def loss(self: PackedRows, planes: torch.Tensor, *args: Any) -> Any:
        if planes.shape[1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, planes, *args)

    monkeypatch.setattr(PackedRows, "loss", loss)
    found, same_nll = gradient(build(tiny, tmp_path / "run", *settings))
    torch.testing.assert_close(found, wanted, atol=2e-6, rtol=1e-3)
    assert same_nll == pytest.approx(nll, rel=1e-5)
    assert [line for line in said if re.match("out of memory: batches are computed [23] rows at a time", line)]


def test_attention_is_chosen_by_measurement_and_kept(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """Of the ways that are right and have the same bits each time, the fastest; after that, the one of before."""
    monkeypatch.setattr(kernels, "on_gpu", lambda x: True)
    monkeypatch.setattr("transformer.training.trainer.make_fast_path", make(lambda function: function))
    for fused, seconds in ((False, [0.5, 1.0]), (True, [1.0, 0.5])):
        times = iter(seconds)
        monkeypatch.setattr(Choice, "_seconds", lambda self, way, times=times: next(times))
        folder = tmp_path / str(fused)
        for steps in (2, 4):  # the second time nothing is measured
            train(config_file.override(tiny, [f"train.max_steps={steps}", "data.max_length=63"]), folder, CPU)
            assert any(line.endswith("fused attention" if fused else "tokens: compiled") for line in said)
            said.clear()
        state = load_state(folder / "checkpoints/step-00000004")
        assert state["progress"]["batch_limits"]["fused attention of 64 on cpu x 1"] == int(fused)


def test_a_kernel_with_other_bits_each_time_is_not_used(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr(kernels, "on_gpu", lambda x: True)
    monkeypatch.setattr("transformer.training.trainer.make_fast_path", make(lambda function: function))
    whole, calls = PackedRows.loss, itertools.count(1)

    def loss(self: PackedRows, *args: Any) -> Any:
        found = whole(self, *args)
        return replace(found, smoothed=found.smoothed * (1 + 1e-6 * next(calls))) if self.fused else found

    monkeypatch.setattr(PackedRows, "loss", loss)
    gradient(build(tiny, tmp_path / "run"))
    assert any(line.endswith("tokens: compiled") for line in said)
    sentence = (
        "the fast path is not compiled with fused attention: WrongResultError: its gradient has other bits each time"
    )
    assert sentence in said


def test_only_gpus_are_fast(tiny: Config, tmp_path: Path) -> None:
    """On a CPU batches as wide as their sentences are faster."""
    assert build(tiny, tmp_path / "run").trainer.fast is None


def test_an_update_without_a_batch_has_no_gradient(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformer.training.trainer.make_fast_path", make(None))
    loop = build(tiny, tmp_path / "run")
    cut = next(loop.cut_updates())
    loop.trainer.update(1, cut, 0.0)
    pending = loop.trainer.update(2, replace(cut, batches=[], positions=[]), 0.0)
    assert float(pending.nll) == float(loop.trainer.weights.gradients.abs().max()) == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler
@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor needs a compiler")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_compiler_of_torch_has_the_right_result(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], precision: str
) -> None:
    """Inductor, which also compiles for GPUs: here for the CPU."""
    torch._dynamo.reset()
    monkeypatch.setattr(kernels, "on_gpu", lambda x: True)
    monkeypatch.setattr("transformer.training.trainer.make_fast_path", make(compiled))
    loop = build(tiny, tmp_path / "run", *DROPOUT, f"train.precision={precision}", "train.micro_batch_tokens=4096")
    for cut in itertools.islice(loop.cut_updates(), 3):
        loop.update(cut)
    assert [line for line in said if re.fullmatch(r"batches of \d+ rows of \d+ tokens: compiled", line)]
    assert not [line for line in said if "the fast path is not" in line]
