"""The work of scripts/bench/gpu.py: sentences with the lengths of news text, and trainings on them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from transformer.config import Config, ModelConfig, TrainConfig
from transformer.data.dataset import Dataset, offsets
from transformer.data.prepare import Data
from transformer.data.tokenizer import Flat, Tokenizer
from transformer.data_config import DataConfig
from transformer.model.network import Transformer
from transformer.runs.run import Run
from transformer.system.clock import Stopwatch
from transformer.system.distributed import Ranks
from transformer.training.loop import TrainingLoop
from transformer.training.microbatch import micro_batch_tokens
from transformer.training.trainer import make_trainer

PAD, UNK, BOS, EOS = 0, 1, 2, 3
LONGEST = 120
"""Tokens of the longest sentence."""
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 operations per second, as the manufacturer states them."""


@dataclass(frozen=True)
class Work:
    """What is trained on which device."""

    device: torch.device
    vocabulary: int
    batch_tokens: int
    pairs: int
    model: ModelConfig
    updates: int
    """Updates that are computed before the clock starts, and at least as many while it runs."""
    seconds: float
    """Shortest time to measure."""

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU of NVIDIA."""
        return self.device.type == "cuda"


def full_work(device: torch.device) -> Work:
    """Return the base model of the paper, on sentences like those of WMT14."""
    return Work(device, 37_000, 25_000, 300_000, ModelConfig(), updates=24, seconds=5.0)


def tiny_work(device: torch.device) -> Work:
    """Return work that takes a CPU a second."""
    model = ModelConfig(width=32, heads=2, feed_forward=64, encoder_layers=1, decoder_layers=1)
    return Work(device, 500, 600, 300, model, updates=2, seconds=0.0)


def news(work: Work, pairs: int | None = None) -> Dataset:
    """Return random ids in sentences of log-normal length, 27 tokens on average; the source is a little shorter."""
    rng, count = np.random.default_rng(1), work.pairs if pairs is None else pairs
    target = np.clip(rng.lognormal(3.15, 0.6, count), 1, LONGEST).astype(int)
    source = np.clip(target * rng.normal(0.95, 0.15, count), 1, LONGEST).astype(int)
    left, right = (offsets(Flat(rng.integers(4, work.vocabulary, side.sum()), side)) for side in (source, target))
    report = {"fingerprint": "random"}
    return Dataset(*left, *right, rows=np.arange(count), corpora=((0, count, 1.0),), report=report)


def special_ids() -> Tokenizer:
    """Return what batches need of a tokenizer."""
    return cast(Tokenizer, SimpleNamespace(pad=PAD, unk=UNK, bos=BOS, eos=EOS))


def make_loop(
    work: Work, model: ModelConfig, dataset: Dataset, device: torch.device, mixed: bool, **train: Any
) -> TrainingLoop:
    """Return a training on these sentences, with random weights. `mixed` says which pairs form an update."""
    cfg = Config(
        data=DataConfig(source="en", target="de", train=()),
        model=model,
        train=TrainConfig(batch_tokens=work.batch_tokens, **train),
    )
    torch.manual_seed(1)
    network = Transformer(model, (work.vocabulary, work.vocabulary), PAD, BOS, LONGEST + 2)
    trainer = make_trainer(network, cfg, device, Ranks())
    run = Run(Path("nowhere"), cfg, special_ids())
    data = Data(run.tokenizer, dataset, None)
    loop = TrainingLoop(run, data, trainer, micro_batch_tokens(cfg, device), Stopwatch())
    loop.progress.mixed_updates = mixed
    return loop


def operations(model: ModelConfig, vocabulary: int, source: int, target: int) -> float:
    """Return the operations of matrix products with weights that an update of so many tokens needs."""
    square, wide = model.width**2, 2 * model.width * model.feed_forward
    encoder = model.encoder_layers * (4 * square + wide) + model.decoder_layers * 2 * square
    decoder = model.decoder_layers * (6 * square + wide) + vocabulary * model.width
    return 6.0 * (source * encoder + target * decoder)


def peak_operations(device: torch.device) -> float | None:
    """Return the operations per second of which a GPU is capable, or None if that is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def wait(device: torch.device) -> None:
    """Wait until the device has done all work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(device: torch.device, function: Callable[[], Any], times: int = 10, warm: int = 3) -> float:
    """Return the median time of a function on the device."""
    for _ in range(warm):
        function()
    wait(device)
    found = []
    for _ in range(times):
        if device.type == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            function()
            end.record()
            end.synchronize()
            found.append(begin.elapsed_time(end))
        else:
            started = time.perf_counter()
            function()
            found.append(1e3 * (time.perf_counter() - started))
    return round(float(np.median(found)), 4)
