"""How updates are cut into batches, rectangles or packed rows, and the sizes that a checkpoint keeps for that."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from transformer.data import batching
from transformer.data.alignments import Guide
from transformer.data.augmentation import Augmenter, make_augmenter
from transformer.data.batching import BatchCutter, CutUpdate
from transformer.data.curriculum import updates_per_epoch
from transformer.data.packing import RowPacker, choose_lengths, choose_slots
from transformer.data.prepare import Data
from transformer.data.reading import UpdateReader
from transformer.runs.progress import Progress
from transformer.training.microbatch import parts_at_a_time
from transformer.training.trainer import Trainer


class Cutting:
    """Cuts the updates of a training. The same sizes give the same batches, and so the same dropout."""

    def __init__(self, trainer: Trainer, data: Data, micro_batch_tokens: int) -> None:
        """`micro_batch_tokens` is per side of a batch."""
        self.trainer, self.data, self.cfg = trainer, data, trainer.cfg
        self.micro_batch_tokens = micro_batch_tokens
        self.slots = 0
        """Positions per side of a batch of packed rows. 0 until it is chosen."""
        self._per_epoch: dict[float, int] = {}

    def updates_per_epoch(self, step: int) -> int:
        """Return the approximate number of updates in an epoch of the corpora that are used after so many updates."""
        dataset, end = self.data.train.at(step)
        if end not in self._per_epoch:
            self._per_epoch[end] = updates_per_epoch(dataset, self.cfg.train.batch_tokens)
        return self._per_epoch[end]

    def resume(self, progress: Progress) -> None:
        """Take the sizes of a checkpoint, if they are of the same kind of device and number of processes."""
        if self.cfg.train.micro_batch_tokens == "auto":
            self.micro_batch_tokens = progress.batch_limits.get(self._setting(), self.micro_batch_tokens)
            self.slots = progress.batch_limits.get(self._setting("rows"), 0)
        if (fast := self.trainer.fast) is not None:
            for length in choose_lengths(self.cfg.data.max_length):
                if (fused := progress.batch_limits.get(self._setting(f"fused attention of {length}"))) is not None:
                    fast.fused[length] = bool(fused)
        self.trainer.splitter.limit = progress.fitting.get(self._setting(), math.inf)

    def record(self, progress: Progress) -> None:
        """Keep the sizes for a checkpoint."""
        progress.batch_limits[self._setting()] = self.micro_batch_tokens
        if self.slots:
            progress.batch_limits[self._setting("rows")] = self.slots
        for length, fused in self.trainer.fast.fused.items() if self.trainer.fast is not None else ():
            progress.batch_limits[self._setting(f"fused attention of {length}")] = int(fused)
        if self.trainer.splitter.limit < math.inf:
            progress.fitting[self._setting()] = int(self.trainer.splitter.limit)

    def _setting(self, what: str = "batches") -> str:
        return f"{what} on {self.trainer.device.type} x {self.trainer.ranks.count}"

    def updates(self, progress: Progress) -> Iterator[CutUpdate[Any]]:
        """Yield the updates from this progress on, cut into batches."""
        cfg, trainer = self.cfg.train, self.trainer
        mixed = progress.mixed_updates
        cut = self._packer(mixed).pack if trainer.fast is not None else self._cutter().cut
        place = progress.epoch, progress.index, mixed, progress.step
        for update in batching.updates(self.data.train, cfg.batch_tokens, cfg.seed, *place):
            yield cut(update)

    def _cutter(self) -> BatchCutter:
        cfg, trainer = self.cfg.train, self.trainer
        reader = UpdateReader(
            self.data.train, self.data.tokenizer, cfg.subword_sampling, cfg.seed, augmenter=self._augmenter()
        )
        workers = parts_at_a_time(trainer.device)
        guide = Guide(self.data.tokenizer) if cfg.guided_alignment else None
        return BatchCutter(reader, trainer.model.start_id, self.micro_batch_tokens, trainer.ranks, workers, guide)

    def _augmenter(self) -> Augmenter | None:
        return make_augmenter(self.cfg.data, self.data.train, self.data.tokenizer, self.cfg.train.seed)

    def _packer(self, mixed: bool) -> RowPacker:
        cfg, trainer, lengths = self.cfg.train, self.trainer, choose_lengths(self.cfg.data.max_length)
        if not self.slots:
            wanted = choose_slots(self.data.train, cfg.batch_tokens, trainer.ranks.count, lengths, mixed)
            most = max(1, self.micro_batch_tokens // lengths[-1]) * lengths[-1]
            self.slots = min(wanted, most)
        tok, start = self.data.tokenizer, trainer.model.start_id
        sampling = (cfg.subword_sampling, cfg.seed)
        return RowPacker(self.data.train, tok, start, self.slots, lengths, *sampling, trainer.ranks, self._augmenter())
