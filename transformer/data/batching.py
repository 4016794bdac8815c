"""The pairs of each update, their order, and the batches of tensors that an update is cut into.

An update is a pure function of (seed, epoch, index). How it is cut into batches changes speed only.
Shape letters: B sentences, S source positions, T target positions, N target tokens of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transformer.data.dataset import Dataset
from transformer.data.tokenizer import Tokenizer
from transformer.errors import DataError

SIMILAR_TOKENS = 2048
"""Target tokens within which neighbouring pairs should be similar in length: about the smallest batch that is cut."""
BANDS = 1.25
"""Factor on the number of length bands. 0.5, 1, 1.25, 2 and 3 give 94.4, 97.4, 97.9, 98.1 and 98.0 % real tokens on
Multi30k and 94.2, 96.1, 96.7, 97.4 and 97.7 % on Europarl (scripts/bench/length_bands.py). Changing it changes the
batches, so a run stopped in the middle of an epoch could not be resumed exactly."""
Ints = NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """Sentence pairs that go through the network together, padded to the longest."""

    pair_ids: Ints
    """Ids of the sentence pairs, which are their indices in the dataset."""
    source_BS: Tensor
    """Source ids, then eos."""
    input_BT: Tensor
    """Decoder input: the start token, then the target ids."""
    target_N: Tensor
    """The id to predict at each real position: each sentence's target ids, then eos."""
    places_N: Tensor
    """Indices of the real positions in the flattened `input_BT`."""
    real: int
    """Number of source and target tokens, not counting padding."""

    @property
    def tokens(self) -> int:
        """Number of target tokens, not counting padding."""
        return len(self.target_N)

    @property
    def padded(self) -> int:
        """Number of source and target tokens, counting padding."""
        return self.source_BS.numel() + self.input_BT.numel()

    @property
    def size(self) -> int:
        """Number of tokens of the larger side, counting padding."""
        return max(self.source_BS.numel(), self.input_BT.numel())

    def halves(self, pad: int) -> tuple[Batch, Batch]:
        """Return the two halves of the batch, each padded to its own longest sentence."""
        middle, width = len(self.pair_ids) // 2, self.input_BT.shape[1]
        row_N, column_N = self.places_N // width, self.places_N % width
        parts = []
        for rows in (slice(0, middle), slice(middle, None)):
            mine = (row_N >= middle) == (rows.start == middle)
            source = self.source_BS[rows, : int((self.source_BS[rows] != pad).sum(1).max())]
            longest = int(column_N[mine].max()) + 1
            places = (row_N[mine] - rows.start) * longest + column_N[mine]
            real = int((source != pad).sum()) + len(places)
            parts.append(
                Batch(self.pair_ids[rows], source, self.input_BT[rows, :longest], self.target_N[mine], places, real)
            )
        return parts[0], parts[1]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        if device.type == "cpu":
            return self
        tensors = (self.source_BS, self.input_BT, self.target_N, self.places_N)
        source, inputs, target, places = (t.pin_memory().to(device, non_blocking=True) for t in tensors)
        return Batch(self.pair_ids, source, inputs, target, places, self.real)


@dataclass(frozen=True)
class Update:
    """The pairs of one update of the weights, and its position in training."""

    epoch: int
    index: int
    last: bool
    """Whether this is the last update of its epoch."""
    pair_ids: Ints
    """Ids of the pairs; neighbours are similar in length."""


def order(dataset: Dataset, batch_tokens: int, seed: int, epoch: int) -> list[Ints]:
    """Return the updates of an epoch, each as ids of pairs.

    An update has pairs of similar length (section 5.1 of the paper). Its choice of pairs and the order of updates are
    random.
    """
    rng = np.random.Philox(key=[seed, epoch])
    chosen = np.concatenate([_draw(*each, rng) for each in dataset.corpora])
    if not len(chosen):
        raise DataError("an epoch has no pair: the weights of data.train are too small for so little text")
    source, target = dataset.lengths()
    source, target = source[chosen], target[chosen] + 1
    ranked = arrange(source, target, target.sum() / min(batch_tokens, SIMILAR_TOKENS), rng.random_raw(len(chosen)))
    chosen, target = chosen[ranked], target[ranked]
    group = (np.cumsum(target) - target) // batch_tokens
    cuts = np.flatnonzero(np.diff(group)) + 1
    updates = np.split(chosen, cuts)
    return [updates[i] for i in np.argsort(rng.random_raw(len(updates)), kind="stable")]


def arrange(source: Ints, target: Ints, groups: float, tie: Ints) -> Ints:
    """Return an order in which neighbours are similar in both lengths, to be cut into about `groups` parts.

    Pairs are sorted by target length into about sqrt(groups) bands of equal size in tokens. Within a band they are
    sorted by source length, rising and falling in turn, so that neither side needs much padding.
    """
    ranked = np.lexsort((tie, source, target))
    bands = max(1, round(BANDS * groups**0.5))
    mass = np.cumsum(target[ranked])
    band = np.empty(len(ranked), np.int64)
    band[ranked] = (mass - target[ranked]) * bands // max(1, mass[-1])
    return np.lexsort((tie, np.where(band % 2, -source, source), band))


def _by_length(source: Sequence[Any], target: Sequence[Any], limit: int) -> Ints:
    """Return an order of sentences in which neighbours are similar in length, for batches of `limit` tokens."""
    lengths = np.array([(len(s) + 1, len(t) + 1) for s, t in zip(source, target, strict=True)])
    return arrange(lengths[:, 0], lengths[:, 1], lengths.max(1).sum() / limit, np.zeros(len(lengths)))


def _draw(start: int, end: int, weight: float, rng: Any) -> Ints:
    """Return the pairs of one corpus for one epoch: each `weight` times, and a random share for the fractional part."""
    whole, rest = int(weight), round((weight % 1) * (end - start))
    pairs = np.arange(start, end)
    return np.concatenate([np.tile(pairs, whole), pairs[np.argsort(rng.random_raw(len(pairs)), kind="stable")[:rest]]])


def updates(dataset: Dataset, batch_tokens: int, seed: int, epoch: int, index: int) -> Iterator[Update]:
    """Yield updates endlessly, starting at update `index` of `epoch`."""
    while True:
        groups = order(dataset, batch_tokens, seed, epoch)
        for i in range(index, len(groups)):
            yield Update(epoch, i, i == len(groups) - 1, groups[i])
        epoch, index = epoch + 1, 0


def updates_per_epoch(dataset: Dataset, batch_tokens: int) -> int:
    """Return the approximate number of updates in an epoch."""
    target = dataset.lengths()[1] + 1
    tokens = sum(float(target[a:b].sum()) * weight for a, b, weight in dataset.corpora)
    return math.ceil(tokens / batch_tokens)


class BatchCutter:
    """Cuts updates into batches of at most `limit` tokens per side, counting padding."""

    def __init__(self, dataset: Dataset, tok: Tokenizer, start: int, limit: int, sampling: float, seed: int) -> None:
        """`start` is the decoder's start token. `sampling` and `seed` are those of subword sampling; 0 disables it."""
        self.dataset, self.tok, self.start, self.limit = dataset, tok, start, limit
        self.sampling, self.seed = sampling, seed

    def cut(self, update: Update) -> list[Batch]:
        """Return the batches of an update."""
        pairs = update.pair_ids
        source, target = self.dataset.ids(pairs)
        if self.sampling:
            source, target = self._sample(source, target, update)
            ranked = _by_length(source, target, self.limit)  # the update is sorted by the lengths without sampling
            pairs, source, target = pairs[ranked], [source[i] for i in ranked], [target[i] for i in ranked]
        longest = np.array([max(len(s), len(t)) + 1 for s, t in zip(source, target, strict=True)])
        return [self._batch(pairs, source, target, chosen) for chosen in _cut(longest, self.limit)]

    def _sample(self, source: list[Ints], target: list[Ints], update: Update) -> tuple[list[Any], list[Any]]:
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
            kept.append([old if tok.unk in old or not new else new for old, new in zip(olds, news, strict=True)])
        return kept[0], kept[1]

    def _batch(self, pairs: Ints, source: Sequence[Any], target: Sequence[Any], chosen: Ints) -> Batch:
        pad, eos = self.tok.pad, self.tok.eos
        sources = [source[i] for i in chosen]
        targets = [target[i] for i in chosen]
        source_BS = rectangle(sources, pad, last=eos)
        input_BT = rectangle(targets, pad, first=self.start)
        ends = np.array([len(t) + 1 for t in targets])
        real_BT = np.arange(input_BT.shape[1]) < ends[:, None]
        answers_BT = rectangle(targets, pad, last=eos)
        return Batch(
            pairs[chosen],
            torch.from_numpy(source_BS),
            torch.from_numpy(input_BT),
            torch.from_numpy(answers_BT[real_BT]),
            torch.from_numpy(np.flatnonzero(real_BT)),
            real=int(ends.sum()) + sum(len(s) + 1 for s in sources),
        )


def rectangle(rows: Sequence[Any], pad: int, first: int | None = None, last: int | None = None) -> Ints:
    """Return rows of ids as one padded array, with the token `first` before and `last` after each row if given."""
    extra = (first is not None) + (last is not None)
    lengths = np.array([len(row) + extra for row in rows])
    filled = np.full((len(rows), int(lengths.max(initial=0))), pad, np.int64)
    begin = 0 if first is None else 1
    columns = np.arange(filled.shape[1])
    text = (columns >= begin) & (columns < begin + (lengths - extra)[:, None])
    filled[text] = np.concatenate([np.asarray(row, np.int64) for row in rows]) if len(rows) else []
    if first is not None:
        filled[:, 0] = first
    if last is not None:
        filled[np.arange(len(rows)), lengths - 1] = last
    return filled


def _cut(longest: Ints, limit: int) -> list[Ints]:
    """Cut an update into runs of neighbours of at most `limit` tokens, counting padding, or of one sentence.

    If the limit allows it, the runs are about equal and their number is even, for two workers.
    """
    runs = list(_fill(longest, limit))
    count = 2 * math.ceil(len(runs) / 2)
    if len(runs) == 1 or count > len(longest):
        return runs
    mass = np.cumsum(longest)
    cuts = np.searchsorted(mass, mass[-1] * np.arange(1, count) / count)
    equal = [run for run in np.split(np.arange(len(longest)), cuts) if len(run)]
    fits = all(longest[run].max() * len(run) <= limit or len(run) == 1 for run in equal)
    return equal if fits else runs


def _fill(longest: Ints, limit: int) -> Iterator[Ints]:
    """Yield runs, each with as many sentences as the limit allows."""
    start, widest = 0, 0
    for end, length in enumerate(longest.tolist()):
        widest = max(widest, length)
        if end > start and widest * (end - start + 1) > limit:
            yield np.arange(start, end)
            start, widest = end, length
    yield np.arange(start, len(longest))
