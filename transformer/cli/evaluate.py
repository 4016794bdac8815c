"""`transformer evaluate`: translate held-out text and score it against its references."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from transformer.cli.arguments import (
    Once,
    add_checkpoint,
    add_device,
    add_json,
    add_overrides,
    add_run,
    as_path,
    open_translator,
    together,
)
from transformer.cli.terminal import say
from transformer.errors import ConfigError

if TYPE_CHECKING:
    from transformer.cli.arguments import Fellows

HELP = "translate a test set and score the translations"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate`."""
    add_run(parser)
    add_overrides(parser, "decode.beam=5")
    add_device(parser)
    add_checkpoint(parser)
    parser.add_argument(
        "--split", choices=("valid", "test"), default="test", help="held-out text of the configuration (default: test)"
    )
    parser.add_argument(
        "--source", type=as_path, metavar="FILE", action=Once, help="text to translate, with --reference"
    )
    parser.add_argument(
        "--reference",
        type=as_path,
        metavar="FILE",
        action="append",
        default=[],
        help="its reference translation, line by line; repeat the option for several",
    )
    parser.add_argument(
        "--testset",
        metavar="NAME",
        action=Once,
        help="a sacreBLEU test set, such as wmt14/full, with all its references",
    )
    parser.add_argument(
        "--samples", type=int, default=0, metavar="N", help="also print N translations with source and reference"
    )
    add_json(parser, "")


def run(args: argparse.Namespace) -> int:
    """Translate and score; save the translations and scores, then print the scores."""
    if (args.source is None) != (not args.reference):
        raise ConfigError("--source and --reference must be given together")
    with together(args) as fellows:
        return _evaluate(args, fellows)


def _evaluate(args: argparse.Namespace, fellows: Fellows | None) -> int:
    from transformer.evaluation.evaluate import evaluate, help_evaluate
    from transformer.evaluation.records import keep_evaluation
    from transformer.evaluation.texts import read_evaluation_text

    opened, translator, used = open_translator(args, args.overrides, args.checkpoint, fellows)
    ranks = fellows and fellows[0]
    if ranks is not None and not ranks.first:
        help_evaluate(translator, ranks)
        return 0
    text = read_evaluation_text(opened, args.split, args.source, args.reference, args.testset)
    found = evaluate(opened, translator, used, text, progress=True, ranks=ranks)
    keep_evaluation(opened, found)  # before anything is printed, which may fail
    if args.json:
        print(json.dumps(found.as_json()))
        return 0
    say("\n".join(map(str, found.scores.values())))
    say(f"{len(text.pairs)} sentences of {text.name} in {found.seconds:.1f} s with {used}")
    samples = min(args.samples, len(text.pairs))
    for i in range(samples):
        pick = i * len(text.pairs) // samples
        pair = text.pairs[pick]
        say(f"\n  source       {pair.source}\n  translation  {found.translations[pick]}")
        say("\n".join(f"  reference    {reference}" for reference in pair.references))
    return 0
