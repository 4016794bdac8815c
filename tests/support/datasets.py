"""Datasets of sentences that have lengths and no meaning."""

from __future__ import annotations

import random

import numpy as np

from transformer.data.dataset import Dataset, offsets
from transformer.data.tokenizer import Flat


def dataset(lengths: list[tuple[int, int]], weights: tuple[float, ...] = (1.0,)) -> Dataset:
    """Return a dataset whose pair i has these numbers of source and target ids, in corpora of equal size."""
    source, target = (
        offsets(Flat(np.repeat(10 + np.arange(len(side)) % 50, side), np.array(side)))
        for side in zip(*lengths, strict=True)
    )
    ends = np.linspace(0, len(lengths), len(weights) + 1).astype(int)
    corpora = tuple((int(a), int(b), w) for a, b, w in zip(ends[:-1], ends[1:], weights, strict=True))
    return Dataset(*source, *target, rows=np.arange(len(lengths)), corpora=corpora, report={})


def sentences(count: int, seed: int = 1) -> list[tuple[int, int]]:
    """Return lengths distributed as in real text: log-normal, with correlated sides."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        source = max(1, min(200, round(rng.lognormvariate(2.8, 0.6))))
        made.append((source, max(1, round(source * rng.lognormvariate(0.05, 0.2)))))
    return made
