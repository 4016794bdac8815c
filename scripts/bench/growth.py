"""Measure how training throughput on CPU depends on the size of model, vocabulary, updates and sentences.

    python scripts/bench/growth.py [--rounds 3] [--threads N] [--write docs/benchmarks.md]

Varies one quantity at a time around 3+3 layers, width 256, 8,000 pieces, updates of 4,096 target tokens and sentences
of 16 tokens. Ids are random and all sentences have one length, so nothing is padding. Heads are 64 wide; the
feed-forward layer is four times as wide as the model. All points take turns, for several rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import plots
import torch
from common import machine, say
from tables import describe, shown_command
from train_data import training_flops

from transformer.config import Config, ModelConfig, TrainConfig
from transformer.data import batching
from transformer.data_config import DataConfig
from transformer.model.network import Transformer
from transformer.system.distributed import Ranks
from transformer.training.microbatch import micro_batch_tokens
from transformer.training.trainer import Trainer, make_trainer

CPU = torch.device("cpu")
PAD, BOS, EOS = 0, 2, 3


@dataclass(frozen=True)
class Point:
    """A model and its batches."""

    width: int = 256
    layers: int = 3
    vocabulary: int = 8000
    batch_tokens: int = 4096
    length: int = 16

    def flops(self) -> float:
        """Return the operations per target token."""
        return training_flops(self.layers, self.width, 4 * self.width, self.vocabulary, self.length, self.length)


AXES: dict[str, list[int]] = {
    "width": [64, 128, 256, 512, 1024],
    "layers": [1, 2, 3, 6, 12],
    "vocabulary": [1000, 4000, 8000, 16000, 32000],
    "batch_tokens": [256, 512, 1024, 2048, 4096, 8192, 16384],
    "length": [4, 8, 16, 32, 64, 128],
}
RATE = 1e-4
"""Learning rate; any small one, since only time is measured."""
TITLES = {
    "width": "model width",
    "layers": "layers on each side",
    "vocabulary": "pieces in the vocabulary",
    "batch_tokens": "target tokens per update",
    "length": "tokens per sentence",
}


def trainer(point: Point) -> Trainer:
    """Return a trainer of a model with random weights."""
    model = ModelConfig(
        width=point.width, heads=max(1, point.width // 64), feed_forward=4 * point.width,
        encoder_layers=point.layers, decoder_layers=point.layers,
    )  # fmt: skip
    cfg = Config(
        data=DataConfig(source="en", target="de", train=()),
        model=model,
        train=TrainConfig(batch_tokens=point.batch_tokens),
    )
    network = Transformer(model, (point.vocabulary, point.vocabulary), PAD, BOS, 256)
    return make_trainer(network, cfg, CPU, Ranks())


def random_update(point: Point, limit: int) -> batching.CutUpdate[batching.Batch]:
    """Return one update of random sentences, in the micro-batches of training."""
    rng = np.random.default_rng(1)
    rows, most = max(1, point.batch_tokens // point.length), max(1, limit // point.length)
    cut = []
    for first in range(0, rows, most):
        shape = min(most, rows - first), point.length
        source, target = rng.integers(4, point.vocabulary, (2, *shape))
        source[:, -1] = target[:, -1] = EOS
        inputs = np.concatenate([np.full((shape[0], 1), BOS), target[:, :-1]], axis=1)
        source_BS, input_BT, target_N = map(
            torch.from_numpy, (source, inputs, np.ascontiguousarray(target).reshape(-1))
        )
        places = torch.arange(len(target_N))
        cut.append(batching.Batch(np.arange(shape[0]), source_BS, input_BT, target_N, places, real=2 * len(target_N)))
    whole = batching.Update(0, 0, False, np.arange(rows))
    return batching.CutUpdate(whole, cut, list(range(len(cut))), len(cut), rows * point.length)


def speed(point: Point) -> float:
    """Return target tokens per second over at least two updates and half a second."""
    training = trainer(point)
    update = random_update(point, micro_batch_tokens(training.cfg, CPU))
    training.update(1, update, RATE)
    started, done = time.perf_counter(), 0
    while done < 2 or time.perf_counter() - started < 0.5:
        training.update(done + 2, update, RATE)
        done += 1
    return done * update.tokens / (time.perf_counter() - started)


def table(found: dict[Point, list[float]]) -> list[str]:
    """Return a table for each quantity."""
    lines = []
    for axis, values in AXES.items():
        lines += [
            f"| {TITLES[axis]} | target tokens/s | min–max | MFLOP per token | GFLOP/s |",
            "|---|---|---|---|---|",
        ]
        for value in values:
            point = replace(Point(), **{axis: value})
            speeds = found[point]
            middle, flops = statistics.median(speeds), point.flops()
            lines.append(
                f"| {value:,} | {middle:,.0f} | {min(speeds):,.0f}–{max(speeds):,.0f} | {flops / 1e6:,.1f} | "
                f"{middle * flops / 1e9:,.0f} |"
            )
        lines.append("")
    return lines


def main() -> None:
    """Measure all points in turns and print the tables; with a file, also write them and their plot there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: %(default)s")
    parser.add_argument("--write", type=Path, help="Markdown file to write tables and plot to")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    points = list(dict.fromkeys(replace(Point(), **{axis: v}) for axis, values in AXES.items() for v in values))
    found: dict[Point, list[float]] = {point: [] for point in points}
    for number in range(args.rounds):
        for point in points:
            found[point].append(speed(point))
            say(f"round {number + 1}: {point}: {found[point][-1]:,.0f} target tokens/s")
    results = {"command": shown_command("scripts/bench/growth.py", ["--write"]), "facts": machine(args.threads)}
    lines = [*describe(results), "", *table(found)]
    print("\n".join(lines))
    if args.write is not None:
        plots.write("bench_growth", lines, args.write)


if __name__ == "__main__":
    main()
