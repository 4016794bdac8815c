"""`transformer compare`: systems on the same text, with paired tests, differences and breakdowns."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transformer.cli.arguments import Once, add_device, add_files, add_json
from transformer.cli.terminal import say, sentences
from transformer.system.escaping import shown

if TYPE_CHECKING:
    from transformer.evaluation.breakdown import Table
    from transformer.evaluation.compare import Compared, Comparison, Difference, Span
    from transformer.evaluation.systems import Systems

HELP = "compare runs, checkpoints or files of translations on the same text"
SIGNIFICANT = 0.05
"""p-values below it are marked, as sacreBLEU does."""
RED, PLAIN = "\x1b[1;31m", "\x1b[0m"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `compare`."""
    parser.add_argument(
        "systems",
        metavar="SYSTEM",
        nargs="+",
        help="a run directory, RUN@CHECKPOINT, or a file with a translation a line; the first is the baseline",
    )
    parser.add_argument(
        "--split", choices=("valid", "test"), default="test", help="held-out text of the first run (default: test)"
    )
    add_files(parser, "text that was translated")
    parser.add_argument("--testset", metavar="NAME", action=Once, help="a sacreBLEU test set, such as wmt14/full")
    parser.add_argument(
        "--languages", nargs=2, metavar=("SOURCE", "TARGET"), default=(), help="language codes, if no run tells them"
    )
    parser.add_argument(
        "--metrics",
        metavar="NAME",
        nargs="+",
        action="extend",
        default=[],
        help="metrics beside BLEU and chrF: chrf++, ter, meteor, comet",
    )
    parser.add_argument(
        "--differences", type=int, default=5, metavar="N", help="sentences that differ most to print (default: 5)"
    )
    parser.add_argument("--no-tests", action="store_true", help="leave out the paired tests, which take seconds")
    parser.add_argument(
        "--breakdown", action="store_true", help="also by length, word frequency, numbers, names and unknown pieces"
    )
    add_device(parser)
    add_json(parser, "")


def run(args: argparse.Namespace) -> int:
    """Compare the systems and print what was found."""
    from transformer.evaluation.compare import compare
    from transformer.evaluation.systems import TextChoice, open_systems
    from transformer.system.device import resolve_device

    choice = TextChoice(args.split, args.source, args.reference, args.testset, args.languages)
    found = open_systems(args.systems, choice, resolve_device(args.device))
    comparison = compare(
        found.systems,
        found.text.pairs,
        found.target,
        differences=max(args.differences, 0),
        metrics=args.metrics,
        tests=not args.no_tests,
    )
    tables = _break_down(found) if args.breakdown else []
    if args.json:
        value = {"text": found.text.name, "text_sha256": found.text.sha256, **comparison.as_json()}
        value["origins"] = [dict(each.origin) for each in found.systems]
        if args.breakdown:
            names = (each.name for each in found.systems)
            value["breakdown"] = {
                name: [each.as_json() for each in own] for name, own in zip(names, tables, strict=True)
            }
        print(json.dumps(value))
        return 0
    _print(found, comparison, tables)
    return 0


def _break_down(found: Systems) -> list[list[Table]]:
    """Return the tables of each system."""
    from transformer.data.tokenizer import unseen_characters
    from transformer.evaluation.breakdown import break_down
    from transformer.evaluation.frequencies import word_frequencies

    more: dict[str, Any] = {"source_language": found.source}
    if found.run is not None:
        tokenizer = found.run.tokenizer
        more["frequencies"] = word_frequencies(found.run, found.text.pairs)
        more["unknown"] = lambda text: bool(unseen_characters(tokenizer, text, tokenizer.encode_source([text])[0]))
    return [break_down(found.text.pairs, each.translations, found.target, **more) for each in found.systems]


def _print(found: Systems, comparison: Comparison, tables: Sequence[Sequence[Table]]) -> None:
    from transformer.evaluation.tables import aligned, settings_in_words

    systems = comparison.systems
    labels = [score.label for score in systems[0].scores.values()]
    say(f"{sentences(comparison.sentences)} of {found.text.name}\n")
    scores = [[each.name, *(score.brief for score in each.scores.values())] for each in systems]
    say(f"{aligned(['', *labels], scores)}\n")
    say("\n".join(f"{score.label}  {score.signature}" for score in systems[0].scores.values()))
    decoded = [[each.name, settings_in_words(each.origin)] for each in found.systems if each.origin]
    if decoded:
        say("\n" + "\n".join(f"{name}: {settings}" for name, settings in decoded))
    if len(systems) > 1:
        _print_sentences(systems)
    if comparison.signatures:
        _print_tests(comparison)
    for difference in comparison.differences:
        _print_difference(difference, [each.name for each in systems])
    if tables:
        _print_tables(tables, [each.name for each in systems])


def _print_sentences(systems: Sequence[Compared]) -> None:
    from transformer.evaluation.tables import aligned

    say(f"\nSentences with a better or worse chrF than {systems[0].name}; equal: to two decimals\n")
    rows = [
        [each.name, *map(str, (each.wins, each.ties, each.losses)), f"{each.same} of them the same translation"]
        for each in systems[1:]
    ]
    say(aligned(["", "better", "equal", "worse", ""], rows))


def _print_tests(comparison: Comparison) -> None:
    from transformer.evaluation.tables import aligned

    first, *others = comparison.systems
    say(f"\np-values of the difference to {first.name} (sacreBLEU's paired tests; * below {SIGNIFICANT})\n")
    head = [f"{first.scores[name].label} {test}" for name in comparison.signatures for test in ("bootstrap", "random.")]
    rows = [
        [each.name, *(_p(p) for found in each.significance.values() for p in (found.bootstrap, found.randomisation))]
        for each in others
    ]
    say(f"{aligned(['', *head], rows)}\n")
    for name, both in comparison.signatures.items():
        say("\n".join(f"{first.scores[name].label}  {signature}" for signature in both.values()))


def _p(value: float) -> str:
    return f"{value:.4f}{'*' if value < SIGNIFICANT else ' '}"


def _print_difference(difference: Difference, names: Sequence[str]) -> None:
    """Print a sentence. The first translation is marked against the one whose score is farthest from its own."""
    from transformer.evaluation.compare import marked_words

    scores, lines = difference.scores, difference.translations
    farthest = max(range(1, len(lines)), key=lambda place: abs(scores[place] - scores[0]))
    spans = [marked_words(lines[0], lines[farthest])[0], *(marked_words(lines[0], line)[1] for line in lines[1:])]
    say(f"\nline {difference.line}")
    rows = [("source", "", shown(difference.source))] if difference.source else []
    rows += [("reference", "", shown(each)) for each in difference.references]
    rows += [(name, f"{score:.1f}", marked(each)) for name, score, each in zip(names, scores, spans, strict=True)]
    size = max(len(shown(name)) for name, _, _ in rows)
    for name, score, text in rows:
        print(f"  {shown(name):{size}}  {score:>5}  {text}")


def marked(spans: Sequence[Span]) -> str:
    """Return a line, with what differs in red on a terminal and else in brackets. Control characters are escaped."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    before, after = (RED, PLAIN) if colour else ("[", "]")
    return "".join(f"{before}{shown(each.text)}{after}" if each.differs else shown(each.text) for each in spans)


def _print_tables(tables: Sequence[Sequence[Table]], names: Sequence[str]) -> None:
    """Print the tables of all systems side by side."""
    from transformer.evaluation.metrics import METRICS
    from transformer.evaluation.tables import aligned

    for kind, *_ in zip(*tables, strict=True):
        alike = [next(each for each in own if each.name == kind.name) for own in tables]
        keys = list(dict.fromkeys(key for each in alike for row in each.rows for key in row.scores))
        titles = [METRICS[key].label if key in METRICS else key for key in keys]
        say(f"\n{kind.title}\n")
        head = ["", "sentences", *([kind.items] if kind.items else []), *(title for title in titles for _ in names)]
        rows = []
        for place, row in enumerate(kind.rows):
            counts = [str(row.sentences), *([str(row.items)] if kind.items else [])]
            scores = [each.rows[place].scores.get(key) for key in keys for each in alike]
            rows.append([row.label, *counts, *("" if score is None else f"{score:.1f}" for score in scores)])
        say(aligned(head, rows))
    if len(names) > 1:
        say(f"\nIn each group of columns, from left to right: {', '.join(names)}")
