"""`transformer score`: the log-probability that a model gives to translations."""

from __future__ import annotations

import argparse
import json

from transformer.cli.arguments import Once, add_device, add_json, add_overrides, add_run, as_path, open_translator

HELP = "print the length-normalized log-probability of given translations"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `score`."""
    add_run(parser)
    add_overrides(parser, "decode.length_penalty=0.6")
    add_device(parser)
    parser.add_argument(
        "--source", type=as_path, metavar="FILE", action=Once, required=True, help="source text, one sentence per line"
    )
    parser.add_argument(
        "--target", type=as_path, metavar="FILE", action=Once, required=True, help="its translation, line by line"
    )
    add_json(parser, " per line")


def run(args: argparse.Namespace) -> int:
    """Print one score per line."""
    from transformer.evaluation.texts import read_parallel

    rows = read_parallel(args.source, args.target)
    _, translator, _ = open_translator(args, args.overrides)
    for found in translator.score([source for source, _ in rows], [target for _, target in rows]):
        if args.json:
            values = {"score": round(found.score, 6), "log_prob": round(found.log_prob, 6)}
            print(json.dumps({**values, "tokens": len(found.ids) + 1}))
        else:
            print(f"{found.score:.6f}")
    return 0
