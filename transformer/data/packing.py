"""Batches of constant shape for GPUs: rows of a fixed length, each with several sentences.

A GPU is fast with shapes that it has seen before. The slots of a batch, rows times length, are the same for every
length, so that all but attention sees one shape for the whole training. The two sides of a sentence are in the same
row and have the same number there. Attention is masked by equality of these numbers.
Each plane is rows times length of a row, for the source and for the target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transformer.data.augmentation import Augmenter
from transformer.data.batching import ONE_PROCESS, CutUpdate, Update, order
from transformer.data.dataset import Dataset
from transformer.data.ragged import Ragged, spread
from transformer.data.reading import UpdateReader
from transformer.data.tokenizer import Tokenizer
from transformer.system.distributed import Ranks

Ints = NDArray[Any]
SHORTEST = 64
"""Length of the shortest rows. The others are twice as long, four times, and so on."""
SAMPLED_PAIRS, SAMPLED_UPDATES, CANDIDATES = 400_000, 60, 24
"""Most pairs and updates from which `choose_slots` finds the number of slots, and about how many numbers it tries."""
ATTENTION = 3000
"""Length of a row at which attention takes as long as all else. An estimate for the base model; not measured."""


@dataclass(frozen=True)
class PackedBatch:
    """Sentence pairs that go through the network together, several in a row. Padding is at the end of a row."""

    pair_ids: Ints
    """Ids of the sentence pairs, which are their indices in the dataset."""
    block: Tensor
    """All planes, int32, in the order of the properties below: seven times rows times length."""
    tokens: int
    """Number of target tokens, not counting padding."""
    real: int
    """Number of source and target tokens, not counting padding."""

    @property
    def source(self) -> Tensor:
        """Source ids, then eos, of each sentence; pad where there is nothing."""
        return self.block[0]

    @property
    def source_sentences(self) -> Tensor:
        """Which sentence of the row a source token belongs to, counted from 1; 0 where there is padding."""
        return self.block[1]

    @property
    def source_positions(self) -> Tensor:
        """Position of each source token in its sentence."""
        return self.block[2]

    @property
    def inputs(self) -> Tensor:
        """Decoder input: the start token, then the target ids, of each sentence; pad where there is nothing."""
        return self.block[3]

    @property
    def input_sentences(self) -> Tensor:
        """Which sentence of the row an input token belongs to, counted from 1; 0 where there is padding."""
        return self.block[4]

    @property
    def input_positions(self) -> Tensor:
        """Position of each input token in its sentence."""
        return self.block[5]

    @property
    def answers(self) -> Tensor:
        """The id to predict at each position: the target ids, then eos; pad where there is padding."""
        return self.block[6]

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of the source and the target side."""
        return tuple(self.block.shape[1:]), tuple(self.block.shape[1:])

    @property
    def padded(self) -> int:
        """Number of source and target tokens, counting padding."""
        return 2 * self.size

    @property
    def size(self) -> int:
        """Number of tokens of a side, counting padding."""
        return self.block[0].numel()


class RowPacker:
    """Packs updates into batches of `slots` tokens per side: rows of one of several lengths, chosen for each update."""

    def __init__(
        self,
        dataset: Dataset,
        tok: Tokenizer,
        start: int,
        slots: int,
        lengths: Sequence[int],
        sampling: float,
        seed: int,
        ranks: Ranks = ONE_PROCESS,
        augmenter: Augmenter | None = None,
    ) -> None:
        """`start` is the decoder's start token. `lengths` rise and divide `slots`. The longest holds every pair.

        `sampling` and `seed` are those of subword sampling; 0 disables it. A sample that is longer than the longest
        row is not used: its pair keeps the best segmentation.
        """
        assert all(slots % length == 0 for length in lengths)
        self.reader = UpdateReader(dataset, tok, sampling, seed, lengths[-1] - 1, augmenter)
        self.tok, self.start, self.slots, self.lengths, self.ranks = tok, start, slots, lengths, ranks

    def pack(self, update: Update) -> CutUpdate[PackedBatch]:
        """Return the batches that this process computes of an update. No other sentence is read.

        Sentences are dealt to the processes in turn, so that all have about as many tokens of each length. All have as
        many batches, unless there are fewer sentences than processes: `count` also counts the batches that are missing.
        """
        pairs, source, target = self.reader.read(update, self.slots)
        sizes = np.stack([source.lengths_R, target.lengths_R]) + 1
        count, rank = self.ranks.count, self.ranks.rank
        shares = [np.arange(each, len(pairs), count) for each in range(count)]
        length, parts, rows = find_rows([sizes[:, share] for share in shares], self.slots, self.lengths)
        part, row = rows[rank] % parts, rows[rank] // parts
        batches, positions = [], []
        for each in np.unique(part).tolist():
            here = np.flatnonzero(part == each)
            here = here[np.argsort(row[here], kind="stable")]
            chosen = shares[rank][here]
            batches.append(self._batch(pairs[chosen], source.take(chosen), target.take(chosen), row[here], length))
            positions.append(each * count + rank)
        return CutUpdate(update, batches, positions, parts * count, int(sizes[1].sum()))

    def _batch(self, pairs: Ints, source: Ragged, target: Ragged, row: Ints, length: int) -> PackedBatch:
        """Return the batch of these sentences, which are sorted by their rows."""
        pad, eos = self.tok.pad, self.tok.eos
        block = np.zeros((7, self.slots), np.int32)
        block[::3] = pad
        number = np.arange(len(row)) - np.searchsorted(row, row) + 1
        for side, first in ((source, 0), (target, 3)):
            ends = side.lengths_R + 1
            before = np.cumsum(ends) - ends
            begin = row * length + before - before[np.searchsorted(row, row)]
            places = spread(begin, ends)
            block[first + 1][places] = np.repeat(number, ends)
            block[first + 2][places] = np.arange(len(places)) - np.repeat(before, ends)
            answers = block[0 if side is source else 6]
            inner, flat = spread(begin, side.lengths_R), side.flat()
            answers[inner] = flat
            answers[begin + side.lengths_R] = eos
            if side is target:
                block[first][inner + 1] = flat
                block[first][begin] = self.start
        tokens = int(target.lengths_R.sum()) + len(pairs)
        real = tokens + int(source.lengths_R.sum()) + len(pairs)
        return PackedBatch(pairs, torch.from_numpy(block.reshape(7, -1, length)), tokens, real)


def find_rows(shares: Sequence[Ints], slots: int, lengths: Sequence[int]) -> tuple[int, int, list[Ints]]:
    """Return the length of rows, the number of batches of each process, and the row of each sentence.

    `shares` are the lengths of each process's sentences, (2, sentences). Rows count through all batches of a process:
    row r is in batch r % batches. There are as few batches as possible, then the shortest rows, whose attention is
    the cheapest.
    """
    parts = max(1, *(math.ceil(int(share.sum(1).max()) / slots) for share in shares))
    while True:
        for length in lengths:
            rows = [_place(share, parts * (slots // length), length) for share in shares]
            if all(each is not None for each in rows):
                return length, parts, [each for each in rows if each is not None]
        parts += 1


def _place(sizes: Ints, rows: int, length: int) -> Ints | None:
    """Return the row of each sentence, or None if they do not fit. `sizes` are the lengths of both sides.

    Sentences are placed from the longest to the shortest, in rounds: as many as there are rows, the longest into the
    emptiest row. Then each that did not fit goes into the first row that has room.
    """
    longest = sizes.max(0, initial=1)
    if longest.max(initial=0) > length or len(longest) > rows * (length // longest.min(initial=length)):
        return None
    row, free, failed = np.zeros(len(longest), np.int64), np.full((2, rows), length), []
    left = np.argsort(-longest, kind="stable")
    while len(left):
        now, left = left[:rows], left[rows:]
        emptiest = np.argsort(-free.min(0), kind="stable")[: len(now)]
        fits = (sizes[:, now] <= free[:, emptiest]).all(0)
        row[now[fits]] = emptiest[fits]
        free[:, emptiest[fits]] -= sizes[:, now[fits]]
        failed += now[~fits].tolist()
    if len(failed) > rows:
        return None
    for each in failed:
        room = np.flatnonzero((free >= sizes[:, each, None]).all(0))
        if not len(room):
            return None
        row[each] = room[0]
        free[:, row[each]] -= sizes[:, each]
    return row


def choose_lengths(max_length: int) -> tuple[int, ...]:
    """Return the lengths of rows of which the longest holds a side of `max_length` tokens and eos."""
    lengths = [SHORTEST]
    while lengths[-1] < max_length + 1:
        lengths.append(2 * lengths[-1])
    return tuple(lengths)


def choose_slots(dataset: Dataset, batch_tokens: int, ranks: int, lengths: Sequence[int], mixed: bool = False) -> int:
    """Return the number of slots per side with which an epoch takes the least work: slots, batches, long rows.

    That is found from a sample of its updates, of which nearly all become one batch a process. It depends on the data
    and the settings only, so that a run that is resumed finds the same.
    """
    dataset = _every(dataset, math.ceil(len(dataset) / SAMPLED_PAIRS))
    updates = order(dataset, batch_tokens, 0, 0, mixed)
    step = max(1, len(updates) // SAMPLED_UPDATES)
    source, target = dataset.lengths()
    sampled = [np.stack([source[pairs], target[pairs]])[:, ::ranks] + 1 for pairs in updates[::step]]
    least = max(1, math.ceil(0.95 * batch_tokens / ranks / lengths[-1]))
    candidates = [lengths[-1] * each for each in range(least, 2 * least + 1, max(1, least // CANDIDATES))]

    def work(slots: int) -> float:
        shapes = [find_rows([sizes], slots, lengths)[:2] for sizes in sampled]
        return slots * sum(parts * (1 + length / ATTENTION) for length, parts in shapes)

    return min(candidates, key=work)


def _every(dataset: Dataset, n: int) -> Dataset:
    """Return every n-th pair of each corpus."""
    corpora = tuple((-(-start // n), -(-end // n), weight) for start, end, weight in dataset.corpora)
    return replace(dataset, rows=dataset.rows[::n], corpora=corpora)
