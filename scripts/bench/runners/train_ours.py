"""Worker of bench/train.py: this repository's own Trainer, on the batches that it cuts itself."""

from __future__ import annotations

from pathlib import Path

import torch
from train_common import measure, read_job

from transformer import config, launch, runtime
from transformer.batching import Ahead


def main() -> None:
    """Do updates as `transformer train` does them: cut in a thread ahead, one after the other."""
    job = read_job()
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
