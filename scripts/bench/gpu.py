"""All that a GPU can tell about this repository, in one command: correctness, speed, memory, and which kernels.

python scripts/bench/gpu.py --out gpu

Stages come in the order of what must be known first. One that would not end within the budget is left out, and one
that fails ends alone. `gpu.json`, `gpu.md` (tables for docs/benchmarks.md) and tables of the profiler are written into
the folder. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from gpu_checks import correct, laws
from gpu_decoding import measurements
from gpu_generate import generate
from gpu_kernels import attention, loss, machine, products
from gpu_report import Report
from gpu_training import first_update, ratios, torch_transformer, train
from gpu_work import Work, full_work, tiny_work

from transformer.system.device import resolve_device

BUDGET = 440
"""Seconds. The command takes less than eight minutes."""


def stages(work: Work, report: Report, tiny: bool) -> dict[str, tuple[float, Callable[[], None]]]:
    """Return each stage with the seconds that it takes about on a GPU. These are estimates."""
    return {
        "machine": (5, lambda: machine(work, report)),
        "correct": (60, lambda: correct(work, report)),
        "laws": (40, lambda: laws(work, report)),
        "train": (80, lambda: train(work, report)),
        "train.torch": (10, lambda: torch_transformer(work, report, compiled=False)),
        "train.compiled": (60, lambda: torch_transformer(work, report, compiled=True)),
        "train.ratios": (0, lambda: ratios(report)),
        "decode": (50, lambda: decode(work, report, tiny)),
        "decode.generate": (20, lambda: generate(work, report, tiny)),
        "first_update": (90, lambda: first_update(work, report, tiny)),
        "products": (10, lambda: products(work, report)),
        "attention": (40, lambda: attention(work, report)),
        "loss": (15, lambda: loss(work, report)),
    }


def decode(work: Work, report: Report, tiny: bool) -> None:
    """Measure decoding with random weights, the plain and the fast way by turns."""
    for found in measurements(work.device, tiny):
        fast = found.pop("fast")
        report.say(f"decoding, {'fast' if fast else 'plain'}", **found)


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="folder for the results; default: %(default)s")
    parser.add_argument("--device", default="cuda", help="default: %(default)s")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds; default: %(default)s")
    parser.add_argument("--stages", default="", help="only these, separated by commas")
    parser.add_argument("--tiny", action="store_true", help="a tiny model: shows that everything runs")
    args = parser.parse_args()
    device = resolve_device(args.device)
    report = Report(args.out, args.budget)
    work = (tiny_work if args.tiny else full_work)(device)
    known = stages(work, report, args.tiny)
    chosen = args.stages.split(",") if args.stages else list(known)
    if unknown := set(chosen) - known.keys():
        parser.error(f"no stages of these names: {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    for name in chosen:
        seconds, stage = known[name]
        report.run(name, 0 if args.tiny else seconds, stage)
    report.write()
    print(f"written: {args.out / 'gpu.json'}, {args.out / 'gpu.md'}", file=sys.stderr)


if __name__ == "__main__":
    main()
