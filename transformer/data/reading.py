"""Reads the pairs of an update: their ids as they are on disk, or changed and segmented at random.

What a pair becomes is a pure function of the seed, the epoch and the pair, and of the update for subword sampling.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformer.data.augmentation import Augmenter
from transformer.data.batching import Update, arrange
from transformer.data.dataset import Dataset
from transformer.data.ragged import Ragged, from_rows
from transformer.data.tokenizer import Tokenizer

Ints = NDArray[Any]


def _by_length(source: Ragged, target: Ragged, limit: int) -> Ints:
    """Return an order of sentences in which neighbours are similar in length, for batches of `limit` tokens."""
    left, right = source.lengths_R + 1, target.lengths_R + 1
    return arrange(left, right, np.maximum(left, right).sum() / limit, np.zeros(len(left)))


class UpdateReader:
    """Reads the sentences of updates, changed and segmented at random if asked for."""

    def __init__(
        self,
        dataset: Dataset,
        tok: Tokenizer,
        sampling: float,
        seed: int,
        longest: float = math.inf,
        augmenter: Augmenter | None = None,
    ) -> None:
        """`sampling` and `seed` are those of subword sampling; 0 disables it. `augmenter` changes pairs before that.

        A sentence keeps its best segmentation where the sampled one has more than `longest` ids.
        """
        self.dataset, self.tok, self.sampling, self.seed, self.longest = dataset, tok, sampling, seed, longest
        self.augmenter = augmenter

    def read(self, update: Update, tokens: int) -> tuple[Ints, Ragged, Ragged]:
        """Return the pair ids, the source ids and the target ids of an update.

        Neighbours are similar in length, to be cut into batches of so many tokens. No id is read yet, unless they are
        changed or sampled.
        """
        pairs = update.pair_ids
        source, target = self.dataset.ids(pairs)
        changes = self.augmenter is not None or self.sampling > 0
        if self.augmenter is not None:
            source, target = self.augmenter.augment(pairs, source, target, update.epoch)
        if self.sampling:
            source, target = self._sample(source, target, update)
        if changes or update.mixed:  # the new lengths are others than those that the update is sorted by
            ranked = _by_length(source, target, tokens)
            pairs, source, target = pairs[ranked], source.take(ranked), target.take(ranked)
        return pairs, source, target

    def _sample(self, source: Ragged, target: Ragged, update: Update) -> tuple[Ragged, Ragged]:
        """Return a random segmentation of each sentence, drawn from its normalized text."""
        seed = np.random.SeedSequence([self.seed, update.epoch, update.index]).generate_state(1)[0]
        tok = self.tok
        texts = (
            tok.source.decode([ids.tolist() for ids in source]),
            tok.target.decode([ids.tolist() for ids in target]),
        )
        drawn = tok.sample(*texts, self.sampling, int(seed) & 0x7FFFFFFF)
        kept = []
        for olds, news in zip((source, target), drawn, strict=True):
            chosen = [
                old if tok.unk in old or not new or len(new) > self.longest else new
                for old, new in zip(olds, news, strict=True)
            ]
            kept.append(from_rows(chosen))
        return kept[0], kept[1]
