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
    is_override,
    together,
)
from transformer.cli.terminal import say
from transformer.errors import ConfigError

if TYPE_CHECKING:
    from transformer.evaluation.evaluate import Evaluation
    from transformer.system.distributed import Ranks

HELP = "translate a test set and score the translations"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate`."""
    add_run(parser)
    add_overrides(parser, "decode.beam=5")
    add_device(parser)
    add_checkpoint(parser)
    _add_text(parser)
    _add_scoring(parser)
    parser.add_argument(
        "--samples", type=int, default=0, metavar="N", help="also print N translations with source and reference"
    )
    add_json(parser, " per text")


def _add_text(parser: argparse.ArgumentParser) -> None:
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
        metavar="NAME ...",
        action="append",
        default=[],
        help="one or several of sacreBLEU's test sets, such as wmt14/full wmt15, with all their references",
    )


def _add_scoring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics",
        metavar="NAME,...",
        action="append",
        default=[],
        help="metrics beside BLEU and chrF: chrf++, ter, meteor, comet",
    )
    parser.add_argument(
        "--tokenizer", metavar="NAME", action=Once, help="sacreBLEU's tokenizer for BLEU (default: by the language)"
    )
    parser.add_argument("--again", action="store_true", help="translate even if the translations are on disk")


def run(args: argparse.Namespace) -> int:
    """Translate and score; save the translations and scores, then print the scores."""
    if (args.source is None) != (not args.reference):
        raise ConfigError("--source and --reference must be given together")
    args.overrides, args.testset = _sorted(args.overrides, args.testset)
    with together(args) as fellows:
        from transformer.evaluation.evaluated_model import end_help, help_evaluate

        if fellows is None:
            return _evaluate(args, None)
        ranks, device = fellows
        if not ranks.first:
            help_evaluate(args.model, args.overrides, device, ranks)
            return 0
        code = _evaluate(args, ranks)
        end_help(ranks)
        return code


def _sorted(words: list[str], testsets: list[str]) -> tuple[list[str], list[str]]:
    """Return the arguments KEY=VALUE, and the test sets: those after the first of --testset are words of their own."""
    names = [text for text in words if testsets and not is_override(text)]
    return [text for text in words if text not in names], [*testsets, *names]


def _evaluate(args: argparse.Namespace, ranks: Ranks | None) -> int:
    from transformer.evaluation.evaluate import Scoring, check_scoring, evaluated
    from transformer.evaluation.evaluated_model import EvaluatedModel
    from transformer.evaluation.tables import table_of_texts
    from transformer.evaluation.texts import read_evaluation_texts
    from transformer.system.device import resolve_device

    metrics = tuple(name.strip() for names in args.metrics for name in names.split(","))
    scoring = Scoring(metrics, args.tokenizer, args.again, progress=True)
    system = EvaluatedModel(args.model, args.overrides, resolve_device(args.device), args.checkpoint, ranks=ranks)
    check_scoring(scoring, system.run.config.data.target)
    texts = read_evaluation_texts(system.run, args.split, args.source, args.reference, args.testset)
    every = []
    for text in texts:
        found = evaluated(system, text, scoring)  # which keeps it before anything is printed, which may fail
        every.append(found)
        if args.json:
            print(json.dumps(printed(found)), flush=True)
        else:
            say(("\n" if len(every) > 1 else "") + block(found, system.name))
            say_samples(found, args.samples)
    if len(every) > 1 and not args.json:
        say("\n" + table_of_texts(every))
    return 0


def printed(found: Evaluation) -> dict[str, object]:
    """Return the JSON object of an evaluation; `translated` is there if it was translated before."""
    return {**found.as_json(), **({} if found.translated is None else {"translated": found.translated})}


def block(found: Evaluation, checkpoint: str) -> str:
    """Return what is printed of an evaluation: a line for each score, then what was translated, how and how fast."""
    then = "" if found.translated is None else f" at {found.translated}"
    what = f"{len(found.translations)} sentences of {found.name}"
    speed = f"in {found.seconds:.1f} s{then} ({found.speed:.1f} a second)"
    values = {**found.origin["decode"], "max_length": found.origin["max_length"]}
    settings = " ".join(f"{key}={value}" for key, value in values.items())
    how = f"{found.precision} on {found.origin['device']}, {settings}"
    return "\n".join([*map(str, found.scores.values()), f"{what} {speed} with {checkpoint}", how])


def say_samples(found: Evaluation, most: int) -> None:
    """Print some translations with source and references, from the whole text."""
    count = len(found.pairs)
    samples = min(most, count)
    for i in range(samples):
        pick = i * count // samples
        pair = found.pairs[pick]
        say(f"\n  source       {pair.source}\n  translation  {found.translations[pick]}")
        say("\n".join(f"  reference    {reference}" for reference in pair.references))
