"""Share of real tokens in batches for several numbers of length bands (`BANDS` in transformer/data/batching.py).

python scripts/bench/length_bands.py --source train.en --target train.de
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from transformer.config import TokenizerConfig
from transformer.data import batching
from transformer.data.batching import BatchCutter
from transformer.data.corpus import Pair
from transformer.data.dataset import Dataset, from_pairs
from transformer.data.reading import UpdateReader
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.evaluation.texts import read_parallel

UPDATES, BATCH_TOKENS, LIMIT = 60, 4096, 1178
"""LIMIT is the value of `train.micro_batch_tokens: auto` for such updates and a width of 512."""


def real_share(dataset: Dataset, tok: Tokenizer) -> float:
    """Return the share of tokens in the first updates that are not padding."""
    cutter = BatchCutter(UpdateReader(dataset, tok, 0.0, 1), tok.bos, LIMIT)
    updates = itertools.islice(batching.updates(dataset, BATCH_TOKENS, 1, 0, 0), UPDATES)
    batches = [batch for update in updates for batch in cutter.cut(update).batches]
    return sum(batch.real for batch in batches) / sum(batch.padded for batch in batches)


def main() -> None:
    """Print a line for each number of bands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=29_000)
    args = parser.parse_args()
    pairs = [
        Pair(*row) for row in read_parallel(args.source, args.target)[: args.pairs] if row[0].strip() and row[1].strip()
    ]
    tok = learn_tokenizer(pairs, TokenizerConfig(vocab_size=8000))
    dataset = from_pairs(pairs, tok)
    for factor in (0.5, 1.0, 1.25, 1.5, 2.0, 3.0):
        batching.BANDS = factor
        print(f"{factor:4.2f}  {real_share(dataset, tok):.1%} real tokens")


if __name__ == "__main__":
    main()
