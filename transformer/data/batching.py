"""The pairs of each update, their order, and the batches of tensors that an update is cut into.

An update is a pure function of (seed, epoch, index). How it is cut into batches changes speed only.
Shape letters: B sentences, S source positions, T target positions, N target tokens of a batch, R rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transformer.data.alignments import Guide
from transformer.data.dataset import Dataset
from transformer.data.ragged import Ragged, fill, spread
from transformer.errors import DataError
from transformer.system.distributed import Ranks
from transformer.system.threads import Prefetcher, prefetch

if TYPE_CHECKING:
    from transformer.data.reading import UpdateReader

SIMILAR_TOKENS = 2048
"""Target tokens within which neighbouring pairs should be similar in length: about the smallest batch that is cut."""
GROUPS = 12
"""Least number of groups of similar pairs in a mixed update. More would mix the lengths better, but then each update
would have long pairs, which need long rows."""
BANDS = 1.25
"""Factor on the number of length bands. 0.5, 1, 1.25, 2 and 3 give 94.4, 97.4, 97.9, 98.1 and 98.0 % real tokens on
Multi30k and 94.2, 96.1, 96.7, 97.4 and 97.7 % on Europarl (scripts/bench/length_bands.py). Changing it changes the
batches, so a run stopped in the middle of an epoch could not be resumed exactly."""
MORE_RUNS = 4
"""With several processes: how many more runs each worker may get until they are equal and within the limit."""
NEXT_ORDER_AT = 0.75
"""Part of an epoch after which the order of the next one is computed. Not earlier: it takes memory."""
ONE_PROCESS = Ranks()
Ints = NDArray[Any]
B = TypeVar("B")


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
    guide_BTS: Tensor | None = None
    """The share of attention that each target position should give to each source position, where words are aligned."""

    @property
    def tokens(self) -> int:
        """Number of target tokens, not counting padding."""
        return len(self.target_N)

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of the source and the target side."""
        return tuple(self.source_BS.shape), tuple(self.input_BT.shape)

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
            guide = None if self.guide_BTS is None else self.guide_BTS[rows, :longest, : source.shape[1]]
            ids = self.pair_ids[rows], source, self.input_BT[rows, :longest], self.target_N[mine]
            parts.append(Batch(*ids, places, real, guide))
        return parts[0], parts[1]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device. It goes there in one copy, of half the bytes, and nothing waits for it."""
        if device.type == "cpu":
            return self
        there = self.unpacked(self.packed(pin=device.type == "cuda").to(device, non_blocking=True).long())
        return there if self.guide_BTS is None else replace(there, guide_BTS=self.guide_BTS.to(device))

    def packed(self, pin: bool) -> Tensor:
        """Return the numbers of all tensors, end to end, as int32, in page-locked memory if asked for."""
        tensors = self.source_BS, self.input_BT, self.target_N, self.places_N
        buffer = torch.empty(sum(each.numel() for each in tensors), dtype=torch.int32, pin_memory=pin)
        return torch.cat([each.reshape(-1).int() for each in tensors], out=buffer)

    def unpacked(self, buffer: Tensor) -> Batch:
        """Return the batch with tensors that are views of a buffer, which has the numbers of `packed`."""
        tensors = self.source_BS, self.input_BT, self.target_N, self.places_N
        parts = buffer.split([each.numel() for each in tensors])
        source, inputs, target, places = (part.view(each.shape) for part, each in zip(parts, tensors, strict=True))
        return Batch(self.pair_ids, source, inputs, target, places, self.real)


@dataclass(frozen=True)
class Update:
    """The pairs of one update of the weights, and its position in training."""

    epoch: int
    index: int
    last: bool
    """Whether this is the last update of its epoch."""
    pair_ids: Ints
    """Ids of the pairs. Neighbours are similar in length, except where an update is mixed and a group ends."""
    mixed: bool = False
    """Whether this has groups of pairs of different lengths."""


def order(dataset: Dataset, batch_tokens: int, seed: int, epoch: int, mixed: bool = False) -> list[Ints]:
    """Return the updates of an epoch, each as ids of pairs.

    An update has pairs of similar length (section 5.1 of the paper), or, if `mixed`, about as many source tokens and as
    many pairs of each length as any other. Its choice of pairs and the order of updates are random.
    """
    rng = np.random.Philox(key=[seed, epoch])
    chosen = np.concatenate([_draw(*each, rng) for each in dataset.corpora])
    if not len(chosen):
        raise DataError("an epoch has no pair: the weights of data.train are too small for so little text")
    source, target = dataset.lengths()
    source, target = source[chosen], target[chosen] + 1
    ranked = arrange(source, target, target.sum() / min(batch_tokens, SIMILAR_TOKENS), rng.random_raw(len(chosen)))
    chosen, target = chosen[ranked], target[ranked]
    size = min(SIMILAR_TOKENS, max(1, batch_tokens // GROUPS)) if mixed else batch_tokens
    group = (np.cumsum(target) - target) // size
    groups = np.split(np.arange(len(chosen)), np.flatnonzero(np.diff(group)) + 1)
    shuffled = [groups[i] for i in np.argsort(rng.random_raw(len(groups)), kind="stable")]
    if mixed:
        places = np.concatenate(shuffled)
        mass = np.cumsum(target[places])
        count = math.ceil(mass[-1] / batch_tokens)  # equal parts: no small update is left at the end
        shuffled = np.split(places, np.searchsorted(mass, mass[-1] * np.arange(1, count) / count))
    return [chosen[each] for each in shuffled if len(each)]


def arrange(source: Ints, target: Ints, groups: float, tie: Ints) -> Ints:
    """Return an order in which neighbours are similar in both lengths, to be cut into about `groups` parts.

    Pairs are sorted by target length into about sqrt(groups) bands of equal size in tokens. Within a band they are
    sorted by source length, rising and falling in turn, so that neither side needs much padding.
    """
    ranked = sorted_by(tie, source, target)
    bands = max(1, round(BANDS * groups**0.5))
    mass = np.cumsum(target[ranked])
    band = np.empty(len(ranked), np.int64)
    band[ranked] = (mass - target[ranked]) * bands // max(1, mass[-1])
    return sorted_by(tie, np.where(band % 2, -source, source), band)


def sorted_by(*keys: Ints) -> Ints:
    """Return what `np.lexsort(keys)` does, in half the time where keys have a small range: those go into 16 bits."""
    ranked = np.arange(len(keys[0]))
    for key in keys:
        if len(key) and np.issubdtype(key.dtype, np.integer) and int(key.max()) - int(key.min()) < 1 << 16:
            key = (key - key.min()).astype(np.uint16)
        ranked = ranked[np.argsort(key[ranked], kind="stable")]
    return ranked


def drawn(start: int, end: int, weight: float) -> int:
    """Return how many pairs of one corpus an epoch has."""
    return int(weight) * (end - start) + _rest(start, end, weight)


def _rest(start: int, end: int, weight: float) -> int:
    """Return how many pairs the fractional part of a weight is."""
    return round((weight % 1) * (end - start))


def _draw(start: int, end: int, weight: float, rng: Any) -> Ints:
    """Return the pairs of one corpus for one epoch: each `weight` times, and a random share for the fractional part."""
    whole, rest = int(weight), _rest(start, end, weight)
    pairs = np.arange(start, end)
    drawn = rng.random_raw(len(pairs))  # also where none is needed: what is drawn next depends on it
    return np.concatenate(
        [np.tile(pairs, whole), pairs[np.argsort(drawn, kind="stable")[:rest]] if rest else pairs[:0]]
    )


def updates(
    dataset: Dataset, batch_tokens: int, seed: int, epoch: int, index: int, mixed: bool = False, step: int = 0
) -> Iterator[Update]:
    """Yield updates endlessly, starting at update `index` of `epoch`, after `step` updates since the training began.

    An epoch ends early where other corpora are used from then on. A thread computes the order of the next epoch
    meanwhile, so that training does not wait for it.
    """

    def ordered(number: int, step: int) -> Prefetcher:
        return prefetch(order(dataset.at(step)[0], batch_tokens, seed, each, mixed) for each in (number,))

    coming: Prefetcher | None = None
    while True:
        groups = next(coming or ordered(epoch, step))
        coming = None
        count = int(min(len(groups), index + dataset.at(step)[1] - step))
        step += count - index
        for i in range(index, count):
            if i == max(index, int(NEXT_ORDER_AT * count)):
                coming = ordered(epoch + 1, step)
            yield Update(epoch, i, i == count - 1, groups[i], mixed)
        epoch, index = epoch + 1, 0


@dataclass(frozen=True)
class CutUpdate(Generic[B]):
    """An update as one process computes it: that process's batches, and the size of the whole."""

    update: Update
    batches: list[B]
    """The batches of this process. There may be none."""
    positions: list[int]
    """The positions of `batches` among all batches of the update. They seed dropout."""
    count: int
    """Number of batches of all processes."""
    tokens: int
    """Number of target tokens of the whole update, not counting padding."""


class BatchCutter:
    """Cuts updates into batches of at most `limit` tokens per side, counting padding."""

    def __init__(
        self,
        reader: UpdateReader,
        start: int,
        limit: int,
        ranks: Ranks = ONE_PROCESS,
        workers: int = 2,
        guide: Guide | None = None,
    ) -> None:
        """`start` is the decoder's start token. `workers` are the batches that a process computes at a time.

        `guide` spreads the word alignments of the dataset over the pieces of batches.
        """
        self.guide = guide
        self.reader, self.tok, self.start, self.limit = reader, reader.tok, start, limit
        self.ranks, self.workers = ranks, workers

    def cut(self, update: Update) -> CutUpdate[Batch]:
        """Return the batches that this process computes of an update. No other sentence is read."""
        pairs, source, target = self.reader.read(update, self.limit)
        lengths = source.lengths_R + 1, target.lengths_R + 1
        runs = cut_runs(*lengths, self.limit, self.ranks.count, self.workers)
        positions = list(range(len(runs)))[self.ranks.rank :: self.ranks.count]
        batches = [
            self._batch(pairs[run], source.take(run), target.take(run), update.epoch)
            for run in (runs[i] for i in positions)
        ]
        return CutUpdate(update, batches, positions, len(runs), int(target.lengths_R.sum()) + len(pairs))

    def _batch(self, pairs: Ints, source: Ragged, target: Ragged, epoch: int) -> Batch:
        pad, eos = self.tok.pad, self.tok.eos
        source_BS = fill(source.flat(), source.lengths_R, pad, last=eos)
        flat, ends = target.flat(), target.lengths_R + 1
        input_BT = fill(flat, target.lengths_R, pad, first=self.start)
        places = spread(np.arange(len(pairs)) * input_BT.shape[1], ends)
        target_N = np.full(len(places), eos, np.int64)
        target_N[spread(np.cumsum(ends) - ends, target.lengths_R)] = flat
        return Batch(
            pairs,
            torch.from_numpy(source_BS),
            torch.from_numpy(input_BT),
            torch.from_numpy(target_N),
            torch.from_numpy(places),
            real=len(places) + int(source.lengths_R.sum()) + len(pairs),
            guide_BTS=self._guide(pairs, source, target, epoch),
        )

    def _guide(self, pairs: Ints, source: Ragged, target: Ragged, epoch: int) -> Tensor | None:
        """Return how the target should attend to the source, if that is known. Of pairs that are changed it is not."""
        links = None if self.guide is None else self.reader.dataset.links_of(pairs)
        if self.guide is None or links is None:
            return None
        if (augmenter := self.reader.augmenter) is not None:
            links = replace(links, lengths_R=links.lengths_R * ~augmenter.touches(pairs, epoch))
        return torch.from_numpy(self.guide.weights(source, target, links))


def cut_runs(source: Ints, target: Ints, limit: int, processes: int = 1, workers: int = 2) -> list[Ints]:
    """Cut an update into runs of neighbours of at most `limit` tokens, counting padding, or of one sentence.

    `source` and `target` are lengths with eos. If the limit allows it, the runs are about equal in tokens, and their
    number is a multiple of processes x workers. One process does not cut what is within the limit. With too few
    sentences for several processes, each run is one sentence.
    """
    longest = np.maximum(source, target)
    runs, step = _fill(longest, limit), processes * workers
    if processes == 1 and len(runs) == 1:
        return runs
    least = step * math.ceil(len(runs) / step)
    if least > len(longest):
        return runs if processes == 1 else np.split(np.arange(len(longest)), len(longest))
    most = least if processes == 1 else min(least + MORE_RUNS * step, len(longest))
    tokens = longest if processes == 1 else source + target  # the former so that old runs are resumed exactly
    for count in range(least, most + 1, step):
        equal = _equal(tokens, count, none_empty=processes > 1)
        if all(longest[run].max() * len(run) <= limit or len(run) == 1 for run in equal):
            return equal
    return runs if processes == 1 else [run[part] for run in equal for part in _fill(longest[run], limit)]


def _equal(tokens: Ints, count: int, none_empty: bool) -> list[Ints]:
    """Cut an update into runs of neighbours that are about equal in tokens: `count`, or fewer if some are empty."""
    mass = np.cumsum(tokens)
    cuts = np.searchsorted(mass, mass[-1] * np.arange(1, count) / count)
    if none_empty:  # of a process without a batch the others would wait for nothing
        place = np.arange(1, count)
        cuts = np.maximum.accumulate(np.maximum(cuts, place) - place) + place
        cuts = np.minimum(cuts, len(tokens) - count + place)
    return [run for run in np.split(np.arange(len(tokens)), cuts) if len(run)]


def _fill(longest: Ints, limit: int) -> list[Ints]:
    """Cut an update into runs, each with as many sentences as the limit allows."""
    runs, start = [], 0
    while start < len(longest):
        widest = np.maximum.accumulate(longest[start : start + limit])
        size = np.searchsorted(widest * np.arange(1, len(widest) + 1), limit, side="right")
        runs.append(np.arange(start, start + max(1, int(size))))
        start = int(runs[-1][-1]) + 1
    return runs
