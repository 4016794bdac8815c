"""How full packed rows are on real text, and how long it takes to cut an update (transformer/data/packing.py).

python scripts/bench/packed_rows.py train.en train.de
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transformer.config import TokenizerConfig
from transformer.data import batching
from transformer.data.batching import BatchCutter
from transformer.data.corpus import Pair
from transformer.data.dataset import Dataset, from_pairs
from transformer.data.packing import RowPacker, choose_lengths, choose_slots
from transformer.data.reading import UpdateReader
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.evaluation.texts import read_parallel
from transformer.system.distributed import Ranks

UPDATES, LONGEST = 150, 256
LOADS = ((25_000, 1), (100_000, 8))
"""Target tokens of an update, and processes."""


def cut(function: Callable[[batching.Update], Any], updates: list[batching.Update]) -> tuple[list[Any], float]:
    """Return the batches of updates, and the median milliseconds that an update takes."""
    found, seconds = [], []
    for update in updates:
        started = time.perf_counter()
        found.append(function(update))
        seconds.append(time.perf_counter() - started)
    return found, 1e3 * statistics.median(seconds)


def rows(dataset: Dataset, tok: Tokenizer) -> Iterator[str]:
    """Yield a line of the table for each load and way of cutting."""
    lengths = choose_lengths(LONGEST)
    for tokens, ranks in LOADS:
        cutter = BatchCutter(UpdateReader(dataset, tok, 0.0, 1), tok.bos, 10**9, Ranks(0, ranks), 1)
        for name, mixed in (("rectangles", False), ("packed rows", False), ("packed rows, mixed", True)):
            updates = list(itertools.islice(batching.updates(dataset, tokens, 1, 0, 0, mixed), UPDATES))
            updates = [update for update in updates if update.epoch == 0 and not update.last]
            started = time.perf_counter()
            slots = choose_slots(dataset, tokens, ranks, lengths, mixed)
            chosen = time.perf_counter() - started
            packer = RowPacker(dataset, tok, tok.bos, slots, lengths, 0.0, 1, Ranks(0, ranks))
            function: Callable[[batching.Update], Any] = packer.pack if name.startswith("packed") else cutter.cut
            found, taken = cut(function, updates)
            batches = [batch for each in found for batch in each.batches]
            one = sum(len(each.batches) == 1 for each in found) / len(found)
            real = sum(batch.real for batch in batches) / sum(batch.padded for batch in batches)
            target = sum(batch.tokens for batch in batches) / sum(batch.padded / 2 for batch in batches)
            wide = sum(batch.shapes[1][1] for batch in batches) / len(batches)
            more = f"{slots:,} | {wide:.0f} | {target:.1%} | {chosen:.1f}"
            more = more if name.startswith("packed") else "– | – | – | –"
            yield f"| {tokens:,} / {ranks} | {name} | {one:.1%} | {real:.1%} | {taken:.2f} | {more} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="source text")
    parser.add_argument("target", type=Path, help="its translation, line by line")
    parser.add_argument("--pairs", type=int, default=300_000, help="use the first N pairs; default: %(default)s")
    parser.add_argument("--vocabulary", type=int, default=16_000, help="pieces; default: %(default)s")
    args = parser.parse_args()
    pairs = [Pair(*row) for row in read_parallel(args.source, args.target)[: args.pairs] if all(map(str.strip, row))]
    tok = learn_tokenizer(pairs[:100_000], TokenizerConfig(vocab_size=args.vocabulary))
    whole = from_pairs(pairs, tok)
    short = (whole.lengths()[0] <= LONGEST) & (whole.lengths()[1] <= LONGEST)
    kept = whole.rows[short]
    dataset = Dataset(
        whole.source_ids, whole.source_starts, whole.target_ids, whole.target_starts, kept, ((0, len(kept), 1.0),), {}
    )
    print(f"{len(kept):,} pairs of {args.source.name} and {args.target.name}\n")
    print("| tokens / processes | cut into | one batch | real | ms | slots | row | real, target | choosing, s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows(dataset, tok):
        print(row, flush=True)


if __name__ == "__main__":
    main()
