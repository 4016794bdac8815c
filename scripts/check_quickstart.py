#!/usr/bin/env python3
"""Translate what newcomers type first and count how many translations are right.

    python scripts/check_quickstart.py [RUN] [--at-least 0.9]

RUN is a trained run directory (default runs/quickstart).  The sentences and their right translations are those of
quickstart_examples.tsv.  Prints every wrong one, then the count; the exit code is 1 where too few are right.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from make_quickstart_corpus import examples


def translate(run: str, sentences: Sequence[str]) -> list[str]:
    """Translate with the `transformer` command of this Python."""
    command = [sys.executable, "-m", "transformer", "translate", run]
    done = subprocess.run(command, input="\n".join(sentences) + "\n", check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()


def main(argv: Sequence[str] | None = None) -> int:
    """Translate, compare and count."""
    parser = argparse.ArgumentParser(description="Count the right translations of what newcomers type first.")
    parser.add_argument("run", nargs="?", default="runs/quickstart")
    parser.add_argument("--at-least", type=float, default=0.9, help="share that must be right (default 0.9)")
    args = parser.parse_args(argv)
    rows = examples()
    right = 0
    for (english, *accepted), found in zip(rows, translate(args.run, [row[0] for row in rows]), strict=True):
        right += found in accepted
        if found not in accepted:
            print(f"wrong: {english} -> {found} (right: {accepted[0]})")
    print(f"{right} of {len(rows)} right ({right / len(rows):.1%})")
    return 0 if right >= args.at_least * len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
