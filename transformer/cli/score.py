"""`transformer score`: the log-probability that a model gives to translations."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from transformer.cli.arguments import add_device, add_json, add_overrides, add_run, open_translator
from transformer.errors import DataError

HELP = "print the length-normalized log-probability of given translations"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `score`."""
    add_run(parser)
    add_overrides(parser, "decode.length_penalty=0.6")
    add_device(parser)
    parser.add_argument("--source", type=Path, metavar="FILE", required=True, help="source text, one sentence per line")
    parser.add_argument("--target", type=Path, metavar="FILE", required=True, help="its translation, line by line")
    add_json(parser, " per line")


def run(args: argparse.Namespace) -> int:
    """Print one score per line."""
    from transformer.data.lines import read_text

    sources, targets = read_text(args.source), read_text(args.target)
    if len(sources) != len(targets):
        raise DataError(f"{args.source} has {len(sources)} lines but {args.target} has {len(targets)}")
    _, translator, _ = open_translator(args, args.overrides)
    for found in translator.score(sources, targets):
        if args.json:
            values = {"score": round(found.score, 6), "log_prob": round(found.log_prob, 6)}
            print(json.dumps({**values, "tokens": len(found.ids) + 1}))
        else:
            print(f"{found.score:.6f}")
    return 0
