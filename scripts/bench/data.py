"""Measure the data pipeline of training: preparation, time to the first update, and waiting for batches.

    python scripts/bench/data.py SOURCE TARGET [--pairs 200000] [--rounds 5]

Reads the first pairs of two aligned files, plain or compressed, and prints one table:

- preparation, in turns with SentencePiece's own multi-threaded encoding, which only makes ids in memory
- seconds from the command to the first update, with prepared text
- for a small and a base model, the share of real tokens, and the share of an update spent waiting for its batch
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from transformer import config_file
from transformer.config import Config
from transformer.data import batching, corpus
from transformer.data.prepare import find_or_learn_tokenizer, prepare_pairs
from transformer.data.reading import UpdateReader
from transformer.data_config import CorpusConfig
from transformer.system.clock import Stopwatch
from transformer.system.distributed import Ranks
from transformer.system.threads import prefetch
from transformer.training.microbatch import micro_batch_tokens
from transformer.training.session import build_loop

CPU = torch.device("cpu")
MODELS = {
    "small": "{width: 256, heads: 4, feed_forward: 1024, encoder_layers: 3, decoder_layers: 3}",
    "base": "{width: 512, heads: 8, feed_forward: 2048, encoder_layers: 6, decoder_layers: 6}",
}


def preparation(cfg: Config, texts: list[list[str]], folder: Path, rounds: int) -> Iterator[str]:
    """Yield rows about SentencePiece alone and about preparation from files to files."""
    tok = find_or_learn_tokenizer(cfg, folder)
    alone, ours = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        for side, lines in zip((tok.source, tok.target), texts, strict=True):
            side.encode(lines, num_threads=os.cpu_count() or 1)
        alone.append(len(texts[0]) / (time.perf_counter() - started))
        for kept in folder.glob("pairs-*"):
            shutil.rmtree(kept)
        started = time.perf_counter()
        prepare_pairs(cfg, tok, [], folder)
        ours.append(len(texts[0]) / (time.perf_counter() - started))
    ratios = sorted(b / a for a, b in zip(alone, ours, strict=True))
    yield f"| SentencePiece's encode, {os.cpu_count()} threads, pairs/s | {statistics.median(alone):,.0f} |"
    yield f"| preparation, from files to files, pairs/s | {statistics.median(ours):,.0f} |"
    yield f"| ratio, median (minimum–maximum) | {statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f}) |"


def start(path: Path, folder: Path, rounds: int) -> Iterator[str]:
    """Yield a row with the seconds from the command to the first update."""
    seconds = []
    for number in range(rounds):
        command = [sys.executable, "-m", "transformer", "train", str(path), "--run", str(folder / f"run{number}")]
        started = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        assert process.stderr is not None
        for line in process.stderr:
            if "step 1 " in line:
                seconds.append(time.perf_counter() - started)
        process.wait()
    yield f"| from the command to the first update, prepared, seconds | {statistics.median(seconds):.2f} |"


def batches(cfg: Config, name: str, folder: Path, count: int) -> Iterator[str]:
    """Yield rows about the share of real tokens and the share of time spent waiting."""
    loop = build_loop(cfg, folder / name, CPU, Ranks(), Stopwatch())
    dataset, start = loop.data.train, loop.trainer.model.start_id
    cut = batching.BatchCutter(UpdateReader(dataset, loop.run.tokenizer, 0.0, 1), start, micro_batch_tokens(cfg, CPU))
    updates = batching.updates(dataset, cfg.train.batch_tokens, 1, 0, 0)
    found = [batch for update in itertools.islice(updates, 200) for batch in cut.cut(update).batches]
    share = sum(batch.real for batch in found) / sum(batch.padded for batch in found)
    yield f"| {name}: real tokens, 200 updates | {share:.1%} |"
    prefetched = prefetch(loop.cut_updates())
    for number in range(count + 1):
        loop.take_and_update(prefetched)
        if number == 0:
            loop.take_statistics()  # the first one waits until the epoch is shuffled
    values = loop.take_statistics()
    prefetched.close()
    yield f"| {name}: share of an update's time waiting for its batch, {count} updates | {values['data_wait']:.2%} |"


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="source text")
    parser.add_argument("target", type=Path, help="its translation, line by line")
    parser.add_argument("--pairs", type=int, default=200_000, help="use the first N pairs; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    args = parser.parse_args()
    files = CorpusConfig(files=(str(args.source), str(args.target)))
    pairs = [pair for pair in itertools.islice(corpus.read_pairs(files, "en", "xx"), args.pairs) if pair is not None]
    texts = [[pair[side] for pair in pairs] for side in (0, 1)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side, lines in enumerate(texts):
            (folder / f"text.{side}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        path = folder / "config.yaml"
        path.write_text(
            f"data: {{source: en, target: xx, max_length: 200, "
            f"train: {{files: ['{folder}/text.0', '{folder}/text.1']}}}}\n"
            f"tokenizer: {{vocab_size: 8000}}\nmodel: {MODELS['small']}\n"
            "train: {max_steps: 1, batch_tokens: 4096, log_every: 1}\n"
        )
        cfg = config_file.load(path)
        print(f"| {len(pairs):,} pairs of {args.source.name} and {args.target.name} | |\n|---|---|")
        for row in preparation(cfg, texts, folder / "prepared", args.rounds):
            print(row, flush=True)
        for row in start(path, folder, args.rounds):
            print(row, flush=True)
        for model, count in (("small", 30), ("base", 6)):
            for row in batches(config_file.override(cfg, [f"model={MODELS[model]}"]), model, folder, count):
                print(row, flush=True)


if __name__ == "__main__":
    main()
