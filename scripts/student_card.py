"""Measure models for a table of teachers and students. Prints a Markdown table with a row for each run.

    python scripts/student_card.py runs/teacher runs/student [--lines 500]

BLEU and chrF are those of `transformer evaluate` on `data.test` of each run, with the run's own settings. Sentences per
second are those of the first lines of that text on one core of the CPU, after the model is loaded, the best of three
rounds. MB are 10^6 bytes of weights, in float32 as they are on disk.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch

import transformer
from transformer.decoding.loading import load_translator
from transformer.runs.checkpoint import WEIGHTS

ROUNDS = 3
HEAD = "| model | layers | width | parameters | MB | sentences/s on one core | BLEU | chrF |\n" + "|---" * 8 + "|"


def row(path: Path, lines: int) -> str:
    """Return the row of a run."""
    found = transformer.evaluate(path, device="cpu", save=True)
    torch.set_num_threads(1)
    run, translator, used = load_translator(path, [], torch.device("cpu"))
    text = [pair.source for pair in found.pairs[:lines]]
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        list(translator.translate(text))
        seconds.append(time.perf_counter() - start)
    model = run.config.model
    cells = (
        f"{run.name} ({translator.precision}, beam {run.config.decode.beam})",
        f"{model.encoder_layers}+{model.decoder_layers}",
        f"{model.width}",
        f"{sum(each.numel() for each in translator.model.parameters()) / 1e6:.1f} M",
        f"{(run.checkpoints / used / WEIGHTS).stat().st_size / 1e6:.0f}",
        f"{len(text) / min(seconds):.1f}",
        *(f"{found.scores[name].score:.1f}" for name in ("bleu", "chrf")),
    )
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Size, speed and quality of models as a Markdown table.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--lines", type=int, default=500, help="to measure the speed with (default: 500)")
    args = parser.parse_args(argv)
    print(HEAD)
    for path in args.runs:
        print(row(path, args.lines), flush=True)


if __name__ == "__main__":
    main()
