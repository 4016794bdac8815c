"""`transformer evaluate`: translate held-out text and score it against its references."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from transformer.cli.arguments import (
    Once,
    add_checkpoint,
    add_device,
    add_files,
    add_json,
    add_overrides,
    add_run,
    is_override,
    together,
)
from transformer.cli.terminal import say, sentences
from transformer.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from transformer.evaluation.evaluate import Evaluation, Scoring
    from transformer.evaluation.evaluated_model import EvaluatedModel
    from transformer.evaluation.texts import EvaluationText
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
    _add_modes(parser)
    parser.add_argument(
        "--samples", type=int, default=0, metavar="N", help="also print N translations with source and reference"
    )
    add_json(parser, " per text")


def _add_text(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--split", choices=("valid", "test"), default="test", help="held-out text of the configuration (default: test)"
    )
    add_files(parser, "text to translate, with --reference")
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
        metavar="NAME ...",
        action="append",
        default=[],
        help="metrics beside BLEU and chrF: chrf++, ter, meteor, comet",
    )
    parser.add_argument(
        "--tokenizer", metavar="NAME", action=Once, help="sacreBLEU's tokenizer for BLEU (default: by the language)"
    )
    parser.add_argument("--again", action="store_true", help="translate even if the translations are on disk")


def _add_modes(parser: argparse.ArgumentParser) -> None:
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument(
        "--checkpoints",
        metavar="NAME,...",
        action="append",
        help="evaluate these checkpoints, or `all`, and print a table of their scores",
    )
    modes.add_argument(
        "--robustness",
        action="store_true",
        help="also evaluate the text in capitals, with typos, without end marks, with emoji and tags",
    )
    modes.add_argument(
        "--verify",
        action="store_true",
        help="translate nothing; say whether the evaluations on disk and the model card still are what they say",
    )


def run(args: argparse.Namespace) -> int:
    """Translate and score; save the translations and scores, then print the scores. Or verify what was saved."""
    if (args.source is None) != (not args.reference):
        raise ConfigError("--source and --reference must be given together")
    if args.verify:
        return _verify(args)
    _sort_names(args)
    with together(args) as fellows:
        from transformer.evaluation.evaluated_model import end_help, help_evaluate
        from transformer.system.device import resolve_device

        ranks, device = fellows or (None, resolve_device(args.device))
        if ranks is not None and not ranks.first:
            help_evaluate(args.model, args.overrides, device, ranks)
            return 0
        _evaluate(args, ranks, device)
        if ranks is not None:
            end_help(ranks)
        return 0


def _sort_names(args: argparse.Namespace) -> None:
    """Give names that follow the first one after --testset or --metrics, and look like arguments, to that option."""
    from transformer.evaluation.metrics import METRICS

    names = [text for text in args.overrides if not is_override(text)]
    metrics = [text for text in names if args.metrics and set(_names([text])) <= METRICS.keys()]
    testsets = [text for text in names if args.testset and text not in metrics]
    args.overrides = [text for text in args.overrides if text not in (*metrics, *testsets)]
    args.metrics, args.testset = [*args.metrics, *metrics], [*args.testset, *testsets]


def _evaluate(args: argparse.Namespace, ranks: Ranks | None, device: torch.device) -> None:
    from transformer.evaluation.evaluate import Scoring, check_scoring
    from transformer.evaluation.evaluated_model import EvaluatedModel
    from transformer.evaluation.texts import read_evaluation_texts

    scoring = Scoring(tuple(_names(args.metrics)), args.tokenizer, args.again)
    if args.checkpoints and args.checkpoint:
        raise ConfigError("--checkpoint and --checkpoints exclude each other; give one")
    if args.samples and (args.checkpoints or args.robustness):
        raise ConfigError("--samples is for one checkpoint and one form of the text")
    model = EvaluatedModel(args.model, args.overrides, device, args.checkpoint, ranks=ranks)
    check_scoring(scoring, model.run.config.data.target)
    texts = read_evaluation_texts(model.run, args.split, args.source, args.reference, args.testset)
    if args.checkpoints:
        _curve(args, model, texts, scoring)
    elif args.robustness:
        _robustness(args, model, texts, scoring)
    else:
        _texts(args, model, texts, scoring)


def _names(lists: list[str]) -> list[str]:
    """Return the names in lists with commas."""
    return [name.strip() for names in lists for name in names.split(",") if name.strip()]


def _texts(args: argparse.Namespace, model: EvaluatedModel, texts: list[EvaluationText], scoring: Scoring) -> None:
    from transformer.evaluation.evaluate import evaluated
    from transformer.evaluation.tables import table_of_texts

    every: list[Evaluation] = []
    for text in texts:
        found = evaluated(model, text, scoring)  # which keeps it before anything is printed, which may fail
        every.append(found)
        if args.json:
            print(json.dumps(printed(found)), flush=True)
        else:
            say(("\n" if len(every) > 1 else "") + block(found, model.name))
            say_samples(found, args.samples)
    if len(every) > 1 and not args.json:
        say("\n" + table_of_texts(every))


def _curve(args: argparse.Namespace, model: EvaluatedModel, texts: list[EvaluationText], scoring: Scoring) -> None:
    """Evaluate several checkpoints, and print a table for each text."""
    from transformer.evaluation.curve import curve, evaluate_points, points
    from transformer.evaluation.evaluated_model import EvaluatedModel

    every = points(model.stored, _names(args.checkpoints))

    def load(name: str, plain: bool) -> EvaluatedModel:
        return EvaluatedModel(args.model, args.overrides, model.device, name, plain, model.ranks)

    rows = evaluate_points(every, load, texts, scoring)
    best = model.stored.pointer("best")
    for number, (text, row) in enumerate(zip(texts, rows, strict=True)):
        if args.json:
            say("\n".join(json.dumps(printed(found)) for found in row))
        else:
            say(("\n" if number else "") + f"{sentences(len(text.pairs))} of {text.name}")
            say(curve(every, row, best.name if best else None))


def _robustness(args: argparse.Namespace, model: EvaluatedModel, texts: list[EvaluationText], scoring: Scoring) -> None:
    """Evaluate the variants of each text, and print a table for each."""
    from transformer.evaluation.evaluate import evaluated
    from transformer.evaluation.robustness import table, variants_of

    data = model.run.config.data
    for number, text in enumerate(texts):
        variants = [text, *variants_of(text, data.source, data.target)]
        clean, *others = (evaluated(model, each, scoring) for each in variants)
        if args.json:
            say("\n".join(json.dumps(printed(found)) for found in (clean, *others)))
        else:
            say(("\n" if number else "") + f"{sentences(len(text.pairs))} of {text.name} with {model.name}")
            say(table(clean, others))


def _verify(args: argparse.Namespace) -> int:
    """Print what is found of each evaluation on disk; return 1 if something differs."""
    from transformer.evaluation.verify import verify
    from transformer.runs.run import open_run

    given = [*args.overrides, *args.testset, *args.metrics, *args.reference, args.checkpoint, args.tokenizer]
    if args.again or args.samples or any(given):
        raise ConfigError("--verify checks all evaluations on disk as they are; give only RUN and --json")
    verdicts = []
    for each in verify(open_run(args.model)):
        verdicts.append(each)
        if not args.json:
            lines = [*each.differences, *(f"unknown: {sentence}" for sentence in each.unknown)]
            say("\n  ".join([f"{each.file}: {'differs' if each.differences else 'as it says'}", *lines]))
    if len(verdicts) < 2 and not args.json:  # there is the model card alone, or not even that
        say("there is no evaluation to verify")
    wrong = any(each.differences for each in verdicts)
    if args.json:
        print(json.dumps({"verified": not wrong, "files": [each.as_json() for each in verdicts]}))
    return 1 if wrong else 0


def printed(found: Evaluation) -> dict[str, object]:
    """Return the JSON object of an evaluation; `translated` is there if it was translated before."""
    return {**found.as_json(), **({} if found.translated is None else {"translated": found.translated})}


def block(found: Evaluation, checkpoint: str) -> str:
    """Return what is printed of an evaluation: a line for each score, then what was translated, how and how fast."""
    from transformer.evaluation.tables import settings_in_words

    then = "" if found.translated is None else f" at {found.translated}"
    what = f"{sentences(len(found.translations))} of {found.name}"
    speed = f"in {found.seconds:.1f} s{then}" + (f" ({found.speed:.1f} a second)" if found.speed else "")
    how = settings_in_words({**found.origin, "precision": found.precision})
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
