"""Worker of bench/train.py: the Trainer of this repository, on its own batches."""

from __future__ import annotations

from pathlib import Path

import torch
from train_common import measure, start

from transformer import config, launch, runtime
from transformer.batching import Ahead


def main() -> None:
    """Run updates as `transformer train` does, with batches prefetched in a thread."""
    job = start()
    cfg = config.override(config.load(Path(job["config"])), [f"train.precision={job['precision']}"])
    trainer, _ = launch.build(cfg, Path(job["folder"]) / "run", torch.device("cpu"), runtime.Ranks(), keep=False)
    ahead = Ahead(trainer.cut_updates())

    def update(_: int) -> int:
        _, batches = next(ahead)
        trainer.model.train()
        trainer.update(batches)
        return sum(batch.tokens for batch in batches)

    measure(job, update)
    ahead.close()


if __name__ == "__main__":
    main()
