"""`transformer average`: write a model whose weights are the mean of several checkpoints."""

from __future__ import annotations

import argparse

from transformer.cli.arguments import add_run, as_path, positive
from transformer.cli.terminal import command_line, say

HELP = "average the weights of the last checkpoints"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `average`."""
    add_run(parser)
    parser.add_argument(
        "--last", type=positive, required=True, metavar="N", help="number of newest checkpoints to average"
    )
    parser.add_argument("--output", type=as_path, metavar="DIR", help="model folder to write (default: RUN-average-N)")


def run(args: argparse.Namespace) -> int:
    """Write the averaged model and print how to use it."""
    from transformer.runs.averaging import average_run
    from transformer.runs.run import open_run

    folder, names = average_run(open_run(args.model), args.last, args.output)
    say(f"averaged {', '.join(names)}; use it with: {command_line('translate', folder)}")
    return 0
