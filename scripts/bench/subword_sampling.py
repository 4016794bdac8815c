"""Milliseconds that subword sampling takes per update, against SentencePiece's own sampling.

    python scripts/bench/subword_sampling.py SOURCE TARGET [--kind bpe] [--vocab 8000] [--strength 0.1] [--rounds 5]

The two take turns, and each round samples the same updates of 4,096 target tokens. Ours keeps segmentations from round
to round, as it does in training; `first` is the round in which it begins with none.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from transformer.config import TokenizerConfig
from transformer.data.lines import read_text
from transformer.data.text import clean
from transformer.data.tokenizer import Tokenizer, learn_tokenizer

Update = tuple[list[str], list[str]]


def main() -> None:
    """Measure both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--kind", choices=["bpe", "unigram"], default="bpe")
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--strength", type=float, default=0.1)
    parser.add_argument("--tokens", type=int, default=4096, help="target tokens of an update")
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    pairs = list(zip(read_text(args.source), read_text(args.target), strict=True))
    tok = learn_tokenizer(pairs, TokenizerConfig(kind=args.kind, vocab_size=args.vocab))
    updates = list(itertools.islice(cut(pairs, tok, args.tokens), args.updates))
    print(f"{len(updates)} updates, {sum(len(s) for s, _ in updates) / len(updates):.0f} pairs each on average")
    times: dict[str, list[float]] = {"ours": [], "sentencepiece": []}
    print(f"{'round':>6} {'ours':>8} {'sentencepiece':>14}   ms per update")
    for number in range(args.rounds + 1):
        for name, sample in (("ours", tok.sample), ("sentencepiece", lambda *how: sentencepiece_sample(tok, *how))):
            times[name].append(measure(sample, updates, args.strength, number))
        print(f"{number or 'first':>6} {times['ours'][-1]:8.2f} {times['sentencepiece'][-1]:14.2f}")
    ours, theirs = (statistics.median(found[1:]) for found in times.values())
    print(f"median {ours:8.2f} {theirs:14.2f}   ratio {ours / theirs:.2f}")


def cut(pairs: Iterable[tuple[str, str]], tok: Tokenizer, tokens: int) -> Iterator[Update]:
    """Yield updates of at least this many target tokens, end of sentence included."""
    sources: list[str] = []
    targets: list[str] = []
    size = 0
    for source, target in pairs:
        sources.append(source)
        targets.append(target)
        size += len(tok.encode_target([target])[0]) + 1
        if size >= tokens:
            yield sources, targets
            sources, targets, size = [], [], 0


def sentencepiece_sample(tok: Tokenizer, sources: list[str], targets: list[str], strength: float, seed: int) -> None:
    """Draw with SentencePiece, whose generator nobody can seed for another process."""
    for side, texts in ((tok.source, sources), (tok.target, targets)):
        for text in texts:
            side.encode(clean(text), enable_sampling=True, alpha=strength, nbest_size=-1)


def measure(sample: Callable[..., object], updates: list[Update], strength: float, number: int) -> float:
    """Return the milliseconds of processor time per update."""
    began = time.process_time()
    for i, (sources, targets) in enumerate(updates):
        sample(sources, targets, strength, number * len(updates) + i)
    return (time.process_time() - began) * 1000 / len(updates)


if __name__ == "__main__":
    main()
