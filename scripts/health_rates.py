"""Measure how often the health check calls good translations faulty: human ones, as if they were a model's.

    python scripts/health_rates.py SOURCE TARGET SOURCE_LANGUAGE TARGET_LANGUAGE [--lines N] [--examples N]

SOURCE and TARGET are text files, aligned line by line. The check is not told that the translations are the references.
Prints one line for each kind of fault that was found, with examples.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from transformer.evaluation.health import check_outputs
from transformer.evaluation.texts import read_parallel


def main(argv: Sequence[str] | None = None) -> None:
    """Check the translations and print the rates."""
    parser = argparse.ArgumentParser(description="Rates of false alarms of the health check.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("languages", nargs=2, metavar="LANGUAGE")
    parser.add_argument("--lines", type=int, default=20_000, help="of the beginning of the files (default: 20,000)")
    parser.add_argument("--examples", type=int, default=0)
    args = parser.parse_args(argv)
    sources, targets = zip(*read_parallel(args.source, args.target)[: args.lines], strict=True)
    print(f"{len(sources):,} lines of {args.target.name}")
    for each in check_outputs(sources, targets, None, *args.languages, examples=args.examples):
        if each.count:
            print(f"  {each.title:38} {each.count:5} of {each.total:6}  {each.count / each.total:.2%}")
        for example in each.examples:
            print(f"    {example.line}: {example.note}\n      {example.source}\n      {example.translation}")


if __name__ == "__main__":
    main()
