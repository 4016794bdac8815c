"""`transformer tune`: the beam, length penalty and limit that translate held-out text best."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeVar

from transformer.cli.arguments import (
    add_checkpoint,
    add_device,
    add_files,
    add_json,
    add_overrides,
    add_run,
    open_translator,
    positive,
)
from transformer.cli.terminal import say
from transformer.errors import ConfigError, DataError

if TYPE_CHECKING:
    from transformer.data.corpus import Pair
    from transformer.evaluation.tuning import Trial, Tuning
    from transformer.runs.run import Run

HELP = "choose beam and length penalty on the validation text"
LINES = 1000
"""Sentences to translate with each setting by default."""
Value = TypeVar("Value")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tune`."""
    add_run(parser)
    add_overrides(parser, "decode.precision=float32")
    add_device(parser)
    add_checkpoint(parser)
    add_files(parser, "text to translate instead of the validation text, never a test set, with --reference")
    parser.add_argument("--beam", type=listed(positive), metavar="N,N", help="beams to try (default: 1,2,4,6,8)")
    parser.add_argument(
        "--length-penalty", type=listed(float), metavar="X,X", help="length penalties to try (default: 0 to 1.5)"
    )
    parser.add_argument(
        "--max-extra", type=listed(_extra), metavar="N,N", help="limits to try (default: auto,10,25,100)"
    )
    parser.add_argument(
        "--metric", default="bleu", choices=("bleu", "chrf", "chrf++", "ter"), help="what is best (default: bleu)"
    )
    parser.add_argument(
        "--lines", type=positive, default=LINES, metavar="N", help=f"sentences to translate (default: {LINES:,})"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the table, but keep the present settings")
    add_json(parser, "")


def listed(kind: Callable[[str], Value]) -> Callable[[str], list[Value]]:
    """Return the type of an option that takes values with commas between them."""

    def read(text: str) -> list[Value]:
        try:
            return [kind(part) for part in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers, such as 1,2") from None

    return read


def _extra(text: str) -> int | Literal["auto"]:
    return "auto" if text == "auto" else int(text)


def run(args: argparse.Namespace) -> int:
    """Print the table of settings and keep the best with the run."""
    from transformer import config_file
    from transformer.evaluation.texts import read_evaluation_text
    from transformer.evaluation.tuning import Grid, check_held_out, evenly, tune
    from transformer.runs.run import open_run
    from transformer.runs.tuning import TUNED, keep_tuning

    given = {"beams": args.beam, "penalties": args.length_penalty, "extras": args.max_extra}
    grid = Grid(**{name: values for name, values in given.items() if values is not None})
    for text in args.overrides:
        if text.startswith(tuple(f"decode.{key}=" for key in TUNED)):
            raise ConfigError(f"{text}: the values to try are those of --beam, --length-penalty and --max-extra")
    opened, translator, used = open_translator(args, args.overrides, args.checkpoint)
    for key, values in (("beam", grid.beams), ("length_penalty", grid.penalties), ("max_extra", grid.extras)):
        for value in values:  # refuses what is impossible now, instead of after the first hour
            config_file.override(opened.config, [f"decode.{key}={value}"])
    text = read_evaluation_text(opened, "valid", args.source, args.reference, None)
    pairs = evenly(text.pairs, args.lines)
    check_held_out(pairs, _test_pairs(opened))
    if not args.json:
        say(f"{len(pairs):,} of {len(text.pairs):,} sentences of {text.name}, {used}, {translator.precision}")
        say(HEADER)
    shown = (lambda trial: None) if args.json else _say_trial
    found = tune(translator, pairs, opened.config.data.target, args.metric, grid, shown)
    kept = None
    if not args.dry_run and found.best is not found.present:
        kept = keep_tuning(open_run(args.model), {**found.as_json(), "checkpoint": used})
    if args.json:
        print(json.dumps(found.as_json()))
    else:
        say("\n".join(_in_words(found, kept)))
    return 0


HEADER = f"{'beam':>5}  {'length penalty':>14}  {'max extra':>9}  {'BLEU':>6}  {'chrF':>6}  {'sentences/s':>11}"


def _say_trial(trial: Trial) -> None:
    settings, scores = trial.settings, trial.scores
    penalty = "-" if settings.beam == 1 else f"{settings.length_penalty:g}"
    speed = len(trial.translations) / max(trial.seconds, 1e-9)
    say(
        f"{settings.beam:5}  {penalty:>14}  {settings.max_extra:>9}  "
        f"{scores['bleu']:6.2f}  {scores['chrf']:6.2f}  {speed:11,.1f}"
    )


def _in_words(found: Tuning, kept: os.PathLike[str] | None) -> list[str]:
    """Return the result in lines of text."""
    from transformer.evaluation.metrics import METRICS

    best, present = found.best, found.present
    highest = found.highest
    settings = " ".join(f"decode.{key}={value}" for key, value in highest.tuned.items())
    if highest is present:
        return [f"best: the present settings, {settings}"]
    gain = highest.scores[found.metric] - present.scores[found.metric]
    chance = "" if found.p_value is None else f", p = {found.p_value:.3f} (paired bootstrap)"
    label = METRICS[found.metric].label
    lines = [f"best: {settings}: {gain:+.2f} {label} against the present settings{chance}"]
    if best is present:
        return [*lines, "the difference may be chance, so the present settings stay"]
    if largest := [key for key in ("beam", "length_penalty") if _is_largest(found, key)]:
        options = " and ".join(f"--{key.replace('_', '-')}" for key in largest)
        lines.append(f"{' and '.join(largest)}: the largest tried; larger may be better still, see {options}")
    if kept is not None:
        lines.append(
            f"kept in {kept}: `translate` and `evaluate` use it unless other settings are given; delete it to undo"
        )
    return lines


def _test_pairs(run: Run) -> list[Pair]:
    """Return the run's test text, or nothing if it has none or it is gone."""
    from transformer.evaluation.texts import read_evaluation_text

    if run.config.data.test is None:
        return []
    try:
        return read_evaluation_text(run, "test", None, [], None).pairs
    except DataError as error:
        logging.getLogger(__name__).warning("whether this is test text is not known: %s", error)
        return []


def _is_largest(found: Tuning, key: str) -> bool:
    """Return whether the best value of a setting is the largest of several that were tried."""
    tried = {each.tuned[key] for each in found.trials}
    return len(tried) > 1 and found.highest.tuned[key] == max(tried)
