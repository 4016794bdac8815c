"""Worker of bench/train.py: the training loop of this repository, on its own batches."""

from __future__ import annotations

from pathlib import Path

import torch
from train_common import measure, start

from transformer import config_file
from transformer.system.clock import Stopwatch
from transformer.system.distributed import Ranks
from transformer.system.threads import prefetch
from transformer.training.session import build_loop


def main() -> None:
    """Run updates as `transformer train` does, with batches prefetched in a thread."""
    job = start()
    cfg = config_file.override(config_file.load(Path(job["config"])), [f"train.precision={job['precision']}"])
    loop = build_loop(cfg, Path(job["folder"]) / "run", torch.device("cpu"), Ranks(), Stopwatch())
    prefetched = prefetch(loop.cut_updates())

    def update(_: int) -> int:
        cut = next(prefetched)
        loop.update(cut)
        return int(cut.tokens)

    measure(job, update)
    prefetched.close()


if __name__ == "__main__":
    main()
