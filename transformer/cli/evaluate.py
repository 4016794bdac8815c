"""`transformer evaluate`: translate held-out text and score it against its references."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from transformer.cli.arguments import add_checkpoint, add_device, add_json, add_overrides, add_run, open_translator
from transformer.cli.terminal import say
from transformer.errors import ConfigError, TransformerError

HELP = "translate a test set and score the translations"
log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate`."""
    add_run(parser)
    add_overrides(parser, "decode.beam=5")
    add_device(parser)
    add_checkpoint(parser)
    parser.add_argument(
        "--split", choices=("valid", "test"), default="test", help="held-out text of the configuration (default: test)"
    )
    parser.add_argument("--source", type=Path, metavar="FILE", help="text to translate, with --reference")
    parser.add_argument("--reference", type=Path, metavar="FILE", help="its reference translation, line by line")
    parser.add_argument("--testset", metavar="NAME", help="a sacreBLEU test set, such as wmt14/full")
    parser.add_argument(
        "--samples", type=int, default=0, metavar="N", help="also print N translations with source and reference"
    )
    add_json(parser, "")


def run(args: argparse.Namespace) -> int:
    """Translate and score; print the scores and save them with the translations."""
    if (args.source is None) != (args.reference is None):
        raise ConfigError("--source and --reference must be given together")
    from transformer.evaluation.evaluate import evaluate, read_evaluation_text, save_evaluation

    opened, translator, used = open_translator(args, args.overrides, args.checkpoint)
    name, pairs = read_evaluation_text(opened, args.split, args.source, args.reference, args.testset)
    found = evaluate(translator, name, pairs, opened.config.data.target, progress=True)
    if args.json:
        print(json.dumps(found.as_json()))
    else:
        say("\n".join(map(str, found.scores.values())))
        say(f"{len(pairs)} sentences of {name} in {found.seconds:.1f} s with {used}")
    try:
        log.info("translations written to %s", save_evaluation(opened, found))
    except (OSError, TransformerError) as error:
        log.warning("translations and scores cannot be saved in %s: %s", opened.path, error)
    if args.json:
        return 0
    for i in range(min(args.samples, len(pairs))):
        pick = i * len(pairs) // args.samples
        sample = (pairs[pick].source, found.translations[pick], pairs[pick].target)
        say("\n  source       {}\n  translation  {}\n  reference    {}".format(*sample))
    return 0
