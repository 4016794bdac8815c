"""Groups sentences of similar length into batches for decoding, and splits batches that do not fit into memory."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from transformer.config import ModelConfig
from transformer.data.tokenizer import Tokenizer
from transformer.decoding import transfer
from transformer.decoding.prefix import TextPrefix
from transformer.errors import DeviceError
from transformer.system.device import device_name
from transformer.system.memory import MemorySplitter

WINDOW = 2000
"""Number of lines that are sorted by length together. Not measured."""
WINDOW_CHARACTERS = 1 << 22
"""Characters that end a window early, so that long lines do not fill the memory."""
CPU_TOKENS, GPU_TOKENS = 10_240, 65_536
"""`decode.batch_tokens: auto` on a CPU and on a GPU, where at most as many as on a CPU are scored. Not measured."""
GPU_SHARE = 0.2
"""Share of the memory of a GPU that a batch may take with `decode.batch_tokens: auto`. Not measured."""
GPU_LENGTH = 32
"""On a GPU, a shorter sentence counts as this long, as its translation takes as much memory. Not measured."""


@dataclass(frozen=True)
class Piece:
    """A sentence to decode, or to score with a translation, as ids without eos."""

    source: list[int]
    prefix: TextPrefix | None = None
    """The forced beginning of the translation."""
    target: Sequence[int] = ()
    """The translation to score."""


@dataclass(frozen=True)
class PieceBatch:
    """Pieces that are decoded together."""

    pieces: list[Piece]
    beams: int
    """Hypotheses or samples per sentence that are decoded at once."""
    nbest: int
    """Number of translations to return per sentence."""

    @property
    def longest(self) -> int:
        """Tokens of the longest source, eos included."""
        return max(len(piece.source) for piece in self.pieces) + 1

    @property
    def tokens(self) -> int:
        """Source tokens, counting padding, times beams. `decode.batch_tokens` limits this."""
        return len(self.pieces) * self.longest * self.beams


def take_window(lines: Iterator[str]) -> list[str]:
    """Return the next lines to translate together."""
    window: list[str] = []
    characters = 0
    while len(window) < WINDOW and characters < WINDOW_CHARACTERS:
        for line in lines:
            window.append(line)
            characters += len(line)
            break
        else:
            break
    return window


def batch_tokens(setting: int | str, model: ModelConfig, vocabulary: int, device: torch.device) -> int:
    """Return `decode.batch_tokens`. `auto` does not depend on the memory that happens to be free."""
    if isinstance(setting, int):
        return setting
    if not transfer.on_gpu(device):
        return CPU_TOKENS
    # float32 keys and values of a token, and of four target positions; logits of a row in float32, three times
    each = 4 * (2 * 5 * model.decoder_layers * model.width + 3 * vocabulary // GPU_LENGTH)
    return max(1, int(min(GPU_TOKENS, GPU_SHARE * transfer.memory_of(device) / each)))


def cut_batches(lengths: Sequence[int], batch_tokens: int, workers: int) -> list[list[int]]:
    """Return the indices of sentences by decreasing length, in batches of at most `batch_tokens`, counting padding.

    The batches are about equal, and their number is a multiple of the workers: when 300 sentences were one batch, one
    of two cores was idle.
    """
    ranked = sorted(range(len(lengths)), key=lambda i: -lengths[i])

    def cut(most: int) -> list[list[int]]:
        batches, start = [], 0
        while start < len(ranked):
            end = start + max(1, most // max(1, lengths[ranked[start]]))
            batches.append(ranked[start:end])
            start = end
        return batches

    wanted = math.ceil(len(cut(batch_tokens)) / workers) * workers
    sizes = range(1, batch_tokens)
    return cut(1 + bisect.bisect_left(sizes, True, key=lambda most: len(cut(most)) <= wanted))


class DecodingSplitter(MemorySplitter[PieceBatch]):
    """Decodes a batch in halves where memory does not hold it; the translations are the same."""

    def __init__(self, device: torch.device, tokenizer: Tokenizer, setting: int | str, model: ModelConfig) -> None:
        """Take `decode.batch_tokens`, and the model by which `auto` is chosen."""
        super().__init__(device)
        self.tokenizer = tokenizer
        self._batch_tokens = batch_tokens(setting, model, tokenizer.sizes[1], device)

    def cut(self, pieces: Sequence[Piece], beams: int, workers: int) -> list[list[int]]:
        """Return the indices of pieces in batches to decode."""
        least = GPU_LENGTH if transfer.on_gpu(self.device) else 0
        lengths = [max(len(piece.source) + 1, least) * beams for piece in pieces]
        return cut_batches(lengths, self.batch_tokens, workers)

    def cut_to_score(self, pieces: Sequence[Piece]) -> list[list[int]]:
        """Return the indices of pieces in batches to score, of which all logits are kept in float32."""
        lengths = [max(len(piece.source), len(piece.target)) + 1 for piece in pieces]
        return cut_batches(lengths, min(self.batch_tokens, CPU_TOKENS), workers=1)

    @property
    def batch_tokens(self) -> int:
        """`decode.batch_tokens`, or half the size of the smallest batch that did not fit, if that is less."""
        return (
            self._batch_tokens if math.isinf(self.limit) else min(self._batch_tokens, self._half(int(self.limit) + 1))
        )

    @staticmethod
    def _half(size: int) -> int:
        return max(1, size // 2)

    def size(self, batch: PieceBatch) -> int:
        return batch.tokens

    def halves(self, batch: PieceBatch) -> tuple[PieceBatch, PieceBatch] | None:
        half = len(batch.pieces) // 2
        if not half:
            return None
        return replace(batch, pieces=batch.pieces[:half]), replace(batch, pieces=batch.pieces[half:])

    def too_large(self, batch: PieceBatch) -> DeviceError:
        text = self.tokenizer.source.decode(batch.pieces[0].source)[:60]
        return DeviceError(
            f"a sentence of {batch.longest} tokens, decoded with {batch.beams} hypotheses, does not fit into the "
            f"memory of {device_name(self.device)}: {text!r}; lower decode.beam or data.max_length"
        )

    def advice(self, size: int) -> str:
        return f"out of memory: decode.batch_tokens is lowered to {self._half(size)}; the results stay the same"
