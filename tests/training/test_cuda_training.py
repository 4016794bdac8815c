"""Training on CUDA against training on a CPU. Skipped where there is no GPU.

`TRANSFORMER_TEST_DEVICE=cpu` runs all but what only a GPU has, to see that the tests themselves are right.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch
from support.toy import CPU, assert_same
from torch import Tensor

from transformer import config_file
from transformer.config import Config
from transformer.runs.checkpoint import load_tensors
from transformer.runs.run import open_run
from transformer.system.clock import Stopwatch
from transformer.system.device import resolve_device
from transformer.system.distributed import Ranks
from transformer.training.loop import TrainingLoop
from transformer.training.session import build_loop, train
from transformer.training.trainer import Trainer

NAME = os.environ.get("TRANSFORMER_TEST_DEVICE", "cuda")
GPU = NAME != "cpu"
pytestmark = pytest.mark.skipif(GPU and not torch.cuda.is_available(), reason="needs CUDA")
LIMITS = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 2e-2}
"""Largest distance from float32 on a CPU, relative to the norm: of loss, gradient, and weights after updates."""
WAYS = ["train.fast=off", "train.fast=auto"]
precisions = pytest.mark.parametrize("precision", ["float32", "bfloat16", *(["float16"] if GPU else [])])
ways = pytest.mark.parametrize("way", WAYS)


def build(cfg: Config, folder: Path, *settings: str, on_cpu: bool = False) -> TrainingLoop:
    cfg = config_file.override(cfg, ["train.micro_batch_tokens=auto", "train.max_steps=600", *settings])
    loop = build_loop(cfg, folder, CPU if on_cpu else resolve_device(NAME), Ranks(), Stopwatch())
    loop.progress.mixed_updates = False  # the same pairs on each device
    return loop


def distance(found: Tensor, wanted: Tensor) -> float:
    return float((found.double().cpu() - wanted.double()).norm() / wanted.double().norm())


def gradients(loop: TrainingLoop) -> tuple[Tensor, float]:
    """Do one update, and return its gradient without the scale of the loss, and its nll."""
    pending = loop.trainer.update(1, next(loop.cut_updates()), 0.0)
    return loop.trainer.weights.gradients.clone(), float(pending.nll)


@ways
@precisions
def test_loss_gradient_and_updates_are_those_of_the_cpu(tiny: Config, tmp_path: Path, precision: str, way: str) -> None:
    settings = ("model.dropout=0", "train.ema=0.9", "train.clip_norm=1.0", "train.warmup_steps=2", way)
    exact = build(tiny, tmp_path / "run", *settings, on_cpu=True)
    loop = build(tiny, tmp_path / "run", *settings, f"train.precision={precision}")
    (wanted, wanted_nll), (found, nll) = gradients(exact), gradients(loop)
    assert nll == pytest.approx(wanted_nll, rel=LIMITS[precision])
    assert distance(found, wanted) < LIMITS[precision]
    exact, loop = (
        build(tiny, tmp_path / "run", *settings, on_cpu=True),
        build(tiny, tmp_path / "run", *settings, f"train.precision={precision}"),
    )
    for _ in range(6):
        for each in (exact, loop):
            each.update(next(each.cut_updates()))
    assert loop.trainer.average is not None
    assert exact.trainer.average is not None
    matrices = exact.trainer.weights.matrices
    pairs = [
        (each.trainer.weights.weights, each.trainer.average.average) for each in (loop, exact) if each.trainer.average
    ]
    for mine, theirs in zip(*pairs, strict=True):
        assert distance(mine[:matrices], theirs[:matrices]) < LIMITS[precision]


@ways
@precisions
def test_a_bad_update_changes_nothing(
    tiny: Config, tmp_path: Path, precision: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = build(tiny, tmp_path / "run", f"train.precision={precision}", "train.ema=0.9", way)
    updates = loop.cut_updates()
    for _ in range(2):
        loop.update(next(updates))
    weights, optimizer = loop.trainer.weights, loop.trainer.optimizer
    states = [value for p in optimizer.state for value in optimizer.state[p].values()]
    before = [each.clone() for each in (weights.weights, *states)]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_seeds", poisoned(Trainer._seeds, weights.weights))
        loop.update(next(updates))
    weights.weights[0] = before[0][0]
    assert all(torch.equal(*each) for each in zip(before, (weights.weights, *states), strict=True))
    weights.changed()
    loop.update(next(updates))
    assert loop.take_statistics()["skipped"] == 1
    assert not torch.equal(before[0], weights.weights)


def poisoned(original: object, weights: Tensor) -> object:
    """Return a function that makes a weight NaN before an update computes its gradient."""

    def seeds(self: Trainer, *args: object) -> object:
        weights[0] = float("nan")
        self.weights.changed()
        return original(self, *args)  # type: ignore[operator]

    return seeds


@ways
def test_an_update_waits_for_nothing(tiny: Config, tmp_path: Path, way: str) -> None:
    loop = build(tiny, tmp_path / "run", "train.ema=0.9", "train.clip_norm=1.0", way)
    updates = loop.cut_updates()
    for _ in range(3):
        loop.update(next(updates))
    if GPU:
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
    try:
        loop.update(next(updates))
    finally:
        if GPU:
            torch.cuda.set_sync_debug_mode("default")


@ways
@precisions
def test_the_same_gradient_has_the_same_bits(tiny: Config, tmp_path: Path, precision: str, way: str) -> None:
    rates = ("model.dropout=0.2", "model.attention_dropout=0.1", "model.activation_dropout=0.1")
    loop = build(tiny, tmp_path / "run", f"train.precision={precision}", *rates, way)
    names = list(loop.trainer.weights.parameters)
    found = []
    for _ in range(3):  # the fast path is proven, captured and replayed
        nll = gradients(loop)[1]
        found.append((nll, [each.clone() for each in loop.trainer.weights.gradient_views]))
    for nll, views in found[1:]:
        assert nll == found[0][0]
        assert [
            name for name, one, other in zip(names, views, found[0][1], strict=True) if not torch.equal(one, other)
        ] == []


@ways
def test_training_resumes_bit_for_bit(tiny: Config, tmp_path: Path, way: str) -> None:
    device = resolve_device(NAME)
    cfg = config_file.override(tiny, ["train.micro_batch_tokens=auto", "train.max_steps=8", "train.ema=0.9", way])
    train(cfg, tmp_path / "whole", device)
    train(config_file.override(cfg, ["train.max_steps=3"]), tmp_path / "parts", device)
    train(cfg, tmp_path / "parts", device)
    for file in ("model.safetensors", "state.safetensors"):
        whole, parts = (load_tensors(tmp_path / run / "checkpoints/step-00000008" / file) for run in ("whole", "parts"))
        assert_same(whole, parts)
    assert open_run(tmp_path / "parts").steps()


@pytest.mark.skipif(not GPU, reason="needs CUDA")
def test_out_of_memory_splits_batches(tiny: Config, tmp_path: Path, said: list[str]) -> None:
    """The gradient is the same, up to rounding. Of the plain path: a graph that is replayed allocates nothing."""
    sizes = ("model.width=256", "model.feed_forward=1024", "train.batch_tokens=4000")
    settings = ("model.dropout=0", "train.precision=float32", *sizes, "train.fast=off")
    first = build(tiny, tmp_path / "run", *settings)
    first.trainer.update(1, next(first.cut_updates()), 0.0)  # allocates workspaces and Adam's state
    base = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    wanted, _ = gradients(first)
    needed = torch.cuda.max_memory_allocated() - base
    loop = build(tiny, tmp_path / "run", *settings)
    del first
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    most = torch.cuda.memory_reserved() + 0.6 * needed
    torch.cuda.set_per_process_memory_fraction(most / torch.cuda.get_device_properties(0).total_memory)
    try:
        found, _ = gradients(loop)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert distance(found, wanted.cpu()) < 1e-4
    assert [line for line in said if "out of memory" in line]
