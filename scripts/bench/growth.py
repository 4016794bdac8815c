"""Measure how training speed on CPU goes with the size of model, vocabulary, updates and sentences.

    python scripts/bench/growth.py [--rounds 3] [--threads N] [--write docs/benchmarks.md]

One quantity is varied at a time around a middle: 3+3 layers, width 256, 8,000 pieces, updates of 4,096 target
tokens, sentences of 16 tokens. Ids are random and all sentences of one length, so that nothing is padding. Heads are
64 wide and the feed-forward layer four times the model. All points are measured in turns, several rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from train import put_between, say, training_flops

from transformer import runtime
from transformer.batching import Batch
from transformer.checkpoint import Run
from transformer.config import Config, DataConfig, ModelConfig, TrainConfig
from transformer.model import Transformer
from transformer.train import Trainer, micro_batch_tokens

BEGIN, END = "<!-- bench_growth:begin -->", "<!-- bench_growth:end -->"
CPU = torch.device("cpu")
PAD, BOS, EOS = 0, 2, 3


@dataclass(frozen=True)
class Point:
    """What is trained."""

    width: int = 256
    layers: int = 3
    vocabulary: int = 8000
    batch_tokens: int = 4096
    length: int = 16

    def flops(self) -> float:
        """Return the operations for each target token."""
        return training_flops(self.layers, self.width, 4 * self.width, self.vocabulary, self.length, self.length)


AXES: dict[str, list[int]] = {
    "width": [64, 128, 256, 512, 1024],
    "layers": [1, 2, 3, 6, 12],
    "vocabulary": [1000, 4000, 8000, 16000, 32000],
    "batch_tokens": [256, 512, 1024, 2048, 4096, 8192, 16384],
    "length": [4, 8, 16, 32, 64, 128],
}
TITLES = {
    "width": "model width",
    "layers": "layers on each side",
    "vocabulary": "pieces in the vocabulary",
    "batch_tokens": "target tokens an update",
    "length": "tokens a sentence",
}


def trainer(point: Point) -> Trainer:
    """Return a trainer of a model of random weights."""
    model = ModelConfig(
        width=point.width, heads=max(1, point.width // 64), feed_forward=4 * point.width,
        encoder_layers=point.layers, decoder_layers=point.layers,
    )  # fmt: skip
    cfg = Config(
        data=DataConfig(source="en", target="de", train=()),
        model=model,
        train=TrainConfig(batch_tokens=point.batch_tokens),
    )
    sizes = point.vocabulary, point.vocabulary
    anything: Any = None  # no text, hence no tokenizer and no dataset
    network = Transformer(model, sizes, PAD, BOS, 256)
    return Trainer(Run(Path(), cfg, anything), network, anything, CPU, runtime.Ranks())


def batches(point: Point, limit: int) -> list[Batch]:
    """Return one update of random sentences, cut as training would."""
    chance = np.random.default_rng(1)
    rows, most = max(1, point.batch_tokens // point.length), max(1, limit // point.length)
    cut = []
    for first in range(0, rows, most):
        shape = min(most, rows - first), point.length
        source, target = chance.integers(4, point.vocabulary, (2, *shape))
        source[:, -1] = target[:, -1] = EOS
        inputs = np.concatenate([np.full((shape[0], 1), BOS), target[:, :-1]], axis=1)
        source_BS, input_BT, target_N = map(
            torch.from_numpy, (source, inputs, np.ascontiguousarray(target).reshape(-1))
        )
        places = torch.arange(len(target_N))
        cut.append(Batch(np.arange(shape[0]), source_BS, input_BT, target_N, places, real=2 * len(target_N)))
    return cut


def speed(point: Point) -> float:
    """Return target tokens a second of some updates."""
    training = trainer(point)
    training.model.train()
    update = batches(point, micro_batch_tokens(training.cfg, CPU))
    training.update(update)
    started, done = time.perf_counter(), 0
    while done < 2 or time.perf_counter() - started < 0.5:
        training.update(update)
        done += 1
    return done * sum(batch.tokens for batch in update) / (time.perf_counter() - started)


def table(found: dict[Point, list[float]]) -> list[str]:
    """Return a table for each axis."""
    lines = []
    for axis, values in AXES.items():
        lines += [f"| {TITLES[axis]} | target tokens/s | min–max | MFLOP a token | GFLOP/s |", "|---|---|---|---|---|"]
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


def plot(found: dict[Point, list[float]], path: Path) -> bool:
    """Draw speed and arithmetic along each axis, if matplotlib is there."""
    try:
        import matplotlib.figure
    except ImportError:
        say("No plot: matplotlib is not installed (pip install matplotlib).")
        return False
    figure = matplotlib.figure.Figure(figsize=(15, 6), layout="constrained")
    panels = figure.subplots(2, len(AXES), sharex="col", sharey="row")
    for column, (axis, values) in enumerate(AXES.items()):
        points = [replace(Point(), **{axis: value}) for value in values]
        middle = [statistics.median(found[point]) for point in points]
        panels[0, column].plot(values, middle, "o-")
        panels[1, column].plot(values, [m * point.flops() / 1e9 for m, point in zip(middle, points, strict=True)], "o-")
        panels[1, column].set_xlabel(TITLES[axis])
        panels[0, column].set_xscale("log", base=2)
        panels[0, column].set_yscale("log", base=10)
        for each in panels[:, column]:
            each.grid(alpha=0.3)
    panels[0, 0].set_ylabel("target tokens/s")
    panels[1, 0].set_ylabel("GFLOP/s")
    panels[1, 0].set_ylim(bottom=0)
    figure.savefig(path, metadata={"Date": None})
    return True


def main() -> None:
    """Measure all points in turns, print, and put the tables between the marks of a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", type=Path, help="a Markdown file to put the tables into")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    points = list(dict.fromkeys(replace(Point(), **{axis: v}) for axis, values in AXES.items() for v in values))
    found: dict[Point, list[float]] = {point: [] for point in points}
    for number in range(args.rounds):
        for point in points:
            found[point].append(speed(point))
            say(f"round {number + 1}: {point}: {found[point][-1]:,.0f} target tokens/s")
    lines = table(found)
    print("\n".join(lines))
    if args.write is not None:
        if plot(found, args.write.parent / "bench_growth.svg"):
            lines += ["![Speed and arithmetic along each axis](bench_growth.svg)", ""]
        put_between(BEGIN, END, lines, args.write)


if __name__ == "__main__":
    main()
