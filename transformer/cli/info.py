"""`transformer info`: print the contents of a run or model folder."""

from __future__ import annotations

import argparse
import json

from transformer.cli.arguments import add_json, add_run
from transformer.cli.terminal import say

HELP = "print a summary of a run or model folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `info`."""
    add_run(parser)
    add_json(parser, "")


def run(args: argparse.Namespace) -> int:
    """Print the summary."""
    from transformer.runs.run import open_run
    from transformer.runs.summary import format_summary, summarize

    found = summarize(open_run(args.model))
    say(json.dumps(found) if args.json else format_summary(found))
    return 0
