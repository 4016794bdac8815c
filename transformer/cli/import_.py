"""`transformer import`: make a run of a model of another program."""

from __future__ import annotations

import argparse

from transformer.cli.arguments import as_path
from transformer.cli.terminal import command_line, say

HELP = "make a run of a model of another program"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `import`."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="folder of Hugging Face transformers, CTranslate2 or Marian, zip of OPUS-MT, or name on the Hub",
    )
    parser.add_argument("folder", metavar="DIR", type=as_path, help="run directory to write")
    parser.add_argument(
        "--languages",
        nargs=2,
        metavar=("SOURCE", "TARGET"),
        help="codes of the languages, if the model does not say them",
    )
    parser.add_argument(
        "--tag", metavar=">>xx<<", help="tag to put before each source text, of a model for several target languages"
    )


def run(args: argparse.Namespace) -> int:
    """Write the run and print what was checked and how to use it."""
    from transformer.interchange.importing import import_model
    from transformer.interchange.sources import opened

    args.destination = str(args.folder)  # for an OSError without a file name
    languages = tuple(args.languages) if args.languages else None
    with opened(args.source) as (path, root):
        made = import_model(path, args.folder, languages, args.tag, args.source, root)
    cfg, data = made.run.config.model, made.run.config.data
    say(
        f"{made.kind}: {data.source} to {data.target}, {cfg.encoder_layers}+{cfg.decoder_layers} layers of width "
        f"{cfg.width}, {made.run.tokenizer.sizes[1]:,} pieces"
    )
    for note in made.notes:
        say(f"note: {note}")
    say(made.check)
    say(f"use it with: {command_line('translate', args.folder)}")
    return 0
