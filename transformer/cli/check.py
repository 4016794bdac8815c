"""`transformer check`: whether a model can be shipped."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from transformer.cli.arguments import (
    add_checkpoint,
    add_device,
    add_files,
    add_json,
    add_overrides,
    add_run,
    open_translator,
    positive,
)
from transformer.cli.terminal import say
from transformer.system.escaping import shown

if TYPE_CHECKING:
    from transformer.evaluation.check import Check, Row

HELP = "look for faults of a model's translations; exits with 1 if it should not be shipped"
LONGEST = 200
"""Characters of an example that are printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check`."""
    add_run(parser)
    add_overrides(parser, "decode.beam=5")
    add_device(parser)
    add_checkpoint(parser)
    parser.add_argument(
        "--split", choices=("valid", "test"), help="held-out text of the configuration (default: test, else valid)"
    )
    add_files(parser, "text to check, with --reference")
    parser.add_argument(
        "--lines", type=positive, default=500, metavar="N", help="lines to translate if none are kept (default: 500)"
    )
    add_json(parser, "")


def run(args: argparse.Namespace) -> int:
    """Check the model, print what was found, and return 1 if it failed."""
    from transformer.evaluation.check import FAIL, check_run
    from transformer.evaluation.systems import TextChoice

    opened, translator, used = open_translator(args, args.overrides, args.checkpoint)
    choice = TextChoice(args.split or "", args.source, args.reference)
    found = check_run(opened, translator, used, choice, args.lines)
    if args.json:
        print(json.dumps({"checkpoint": used, **found.as_json()}))
    else:
        _print(found, used)
    return 1 if found.verdict == FAIL else 0


def _print(found: Check, checkpoint: str) -> None:
    say(f"{found.lines} lines of {found.text}, translated by {checkpoint}\n")
    say(_table("translations", found.checks))
    say(f"\n{_table('unusual inputs', found.probes)}")
    for row in sorted(found.rows, key=lambda row: row.verdict != "fail"):
        if row.verdict != "ok":
            say(f"\n{row.verdict}: {row.title}{f', {row.note}' if row.note else ''}")
            if row.source or row.translation:
                say(f"  input   {_shortened(row.source)}")
                say(f"  output  {_shortened(row.translation)}")
    counts = {verdict: sum(row.verdict == verdict for row in found.rows) for verdict in ("fail", "warn")}
    words = {"ok": "nothing found", "warn": "could be shipped, with these faults", "fail": "should not be shipped"}
    say(f"\n{found.verdict}: {counts['fail']} failed, {counts['warn']} warnings; {words[found.verdict]}")


def _table(title: str, rows: Sequence[Row]) -> str:
    from transformer.evaluation.tables import aligned

    cells = [[row.title, f"{row.count} of {row.total}" if row.total else "none there", row.verdict] for row in rows]
    return aligned([title, "faults", "verdict"], cells)


def _shortened(text: str) -> str:
    plain = shown(text)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…"
