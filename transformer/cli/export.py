"""`transformer export`: a model for another runtime, compared with ours before it is written."""

from __future__ import annotations

import argparse

from transformer.cli.arguments import Once, add_checkpoint, add_run, as_path, positive
from transformer.cli.terminal import say
from transformer.errors import ConfigError

HELP = "write a model for CTranslate2, Argos Translate, Hugging Face or Marian, proven to compute the same"
FORMATS = ("ctranslate2", "argos", "hugging-face", "marian")
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
    _add_push(parser)


def _add_push(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--push", metavar="NAME", action=Once, help="say what would be uploaded to the Hugging Face Hub as NAME"
    )
    parser.add_argument("--yes", action="store_true", help="upload it, with the token of `hf auth login` or HF_TOKEN")
    parser.add_argument("--private", action="store_true", help="make a repository that only you see, if there is none")


def run(args: argparse.Namespace) -> int:
    """Export the model, print where to and what was checked, and push it."""
    from transformer.interchange.push import check_name

    args.destination = str(args.folder)  # for an OSError without a file name
    if args.push is None and (args.yes or args.private):
        raise ConfigError("--yes and --private are for --push NAME")
    if args.push is not None:
        check_name(args.push)
    _export(args)
    if args.push is not None:
        _push(args)
    return 0


def _export(args: argparse.Namespace) -> None:
    from transformer.interchange.export import Choices, export_run
    from transformer.interchange.push import export_again

    choices = Choices(args.quantization, args.checkpoint, args.lines, args.licence, args.version)
    there = args.push is not None and args.folder.is_dir()  # as after the dry run
    found = (export_again if there else export_run)(args.model, args.folder, args.to, choices)
    say(f"{args.model}, {found.checkpoint}, exported to {args.to}: {found.folder}")
    for line in found.lines:
        say(f"  {line}")


def _push(args: argparse.Namespace) -> None:
    from transformer.interchange.push import files_to_push, push

    files = files_to_push(args.folder)
    say(f"{'to upload' if args.yes else 'would be uploaded'} to {args.push}:")
    for name, size in files:
        say(f"  {size:>13,}  {name}")
    if args.yes:
        say(f"uploaded: {push(args.folder, args.push, args.private)}")
    else:
        say("nothing was uploaded; the same command with --yes uploads this folder")
