"""`transformer export`: a model for another runtime, compared with ours before it is written."""

from __future__ import annotations

import argparse

from transformer.cli.arguments import Once, add_checkpoint, add_run, as_path, positive
from transformer.cli.terminal import say

HELP = "write a model for CTranslate2, Argos Translate or Hugging Face, proven to compute the same"
FORMATS = ("ctranslate2", "argos", "hugging-face")
QUANTIZATIONS = ("int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `export`."""
    add_run(parser)
    parser.add_argument("folder", metavar="DIR", type=as_path, help="new folder to write")
    parser.add_argument("--to", required=True, choices=FORMATS, action=Once, help="the runtime that shall use it")
    parser.add_argument(
        "--quantization",
        choices=QUANTIZATIONS,
        action=Once,
        help="type of the weights, for ctranslate2 and argos (default: float32)",
    )
    add_checkpoint(parser)
    parser.add_argument(
        "--lines", type=positive, default=100, metavar="N", help="sentences to compare on (default: 100)"
    )
    parser.add_argument(
        "--licence", "--license", metavar="ID", action=Once, help="the model's licence for its card, such as cc-by-4.0"
    )
    parser.add_argument("--version", default="1.0", metavar="X.Y", help="version of an Argos package (default: 1.0)")


def run(args: argparse.Namespace) -> int:
    """Export the model, and print where to and what was checked."""
    from transformer.interchange.export import Choices, export_run

    choices = Choices(args.quantization, args.checkpoint, args.lines, args.licence, args.version)
    found = export_run(args.model, args.folder, args.to, choices)
    say(f"{args.model}, {found.checkpoint}, exported to {args.to}: {found.folder}")
    for line in found.lines:
        say(f"  {line}")
    return 0
