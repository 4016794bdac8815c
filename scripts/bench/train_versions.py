"""Compare the training speed of checkouts of this repository: old against new, alternating, in the same run.

    python scripts/bench/train_versions.py OLD NEW CONFIG [--rounds 5] [--updates 30] [section.key=value ...]

OLD and NEW are directories of checkouts. Each round trains each of them with the configuration, from the start, in a
process of its own. Printed are the target tokens per second without the first updates, and the ratios of new to old.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LOG_EVERY = 10


def main() -> None:
    """Train in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("settings", nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=30)
    args = parser.parse_intermixed_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds):
            speeds = {}
            for which in ("old", "new") if number % 2 == 0 else ("new", "old"):
                run = Path(folder, f"{which}-{number}")
                speeds[which] = train(getattr(args, which), args.config, run, args.updates, args.settings)
            ratios.append(speeds["new"] / speeds["old"])
            print(f"{speeds['old']:10,.0f} {speeds['new']:10,.0f} tokens/s  new / old {ratios[-1]:.3f}", flush=True)
    print(f"median of {len(ratios)} rounds: {statistics.median(ratios):.3f}")


def train(checkout: Path, config: Path, run: Path, updates: int, settings: list[str]) -> float:
    """Train with a checkout, and return the median target tokens per second of its log lines but the first."""
    wishes = [f"train.max_steps={updates}", f"train.log_every={LOG_EVERY}", "data.valid=null", *settings]
    command = [sys.executable, "-m", "transformer", "train", str(config.resolve()), "--run", str(run), *wishes]
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return statistics.median(line["tokens_per_second"] for line in lines[1:] if line["kind"] == "train")


if __name__ == "__main__":
    main()
