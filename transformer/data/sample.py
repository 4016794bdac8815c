"""A random sample of the training text, which is read again from the corpora instead of being held in memory."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import compress

from transformer.data.corpus import Pair
from transformer.system.progress_bar import ProgressBar


class Sample:
    """Pairs that were drawn at random, in the order of the text. Each iteration reads the text."""

    def __init__(self, read: Callable[[], Iterable[Pair]], size: int, seed: int, progress: ProgressBar) -> None:
        """Draw up to `size` of the pairs that `read` yields, by reservoir sampling. Takes one byte a pair."""
        self._read = read
        rng = random.Random(seed)
        chosen = array("q")
        self.total = 0
        """Number of all pairs."""
        for _ in progress.over(read()):
            if self.total < size:
                chosen.append(self.total)
            elif (place := int(rng.random() * (self.total + 1))) < size:
                chosen[place] = self.total
            self.total += 1
        self._taken = bytearray(self.total)
        for index in chosen:
            self._taken[index] = 1
        self._size = len(chosen)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Pair]:
        return compress(self._read(), self._taken)
