"""`transformer report`: one page that shows what runs were trained on, how, and how well they translate."""

from __future__ import annotations

import argparse
import logging
import os
import stat
import sys
from pathlib import Path

from transformer.cli.arguments import Once, add_device, as_path, positive
from transformer.cli.terminal import say
from transformer.errors import ConfigError

HELP = "make one page of a run, or of several side by side"
NAME = "report.html"
log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `report`."""
    parser.add_argument("models", metavar="RUN", type=as_path, nargs="+", help="run directory")
    parser.add_argument(
        "-o",
        dest="output",
        type=as_path,
        metavar="FILE",
        action=Once,
        help=f"file of the page (default: RUN/{NAME}; of several runs {NAME})",
    )
    parser.add_argument(
        "--text", metavar="NAME", action=Once, help="evaluated text to show (default: the test set that most runs have)"
    )
    parser.add_argument(
        "--sentence",
        type=positive,
        metavar="N",
        action="append",
        default=[],
        help="line whose attention is shown; repeat the option for several (default: some of all qualities)",
    )
    parser.add_argument(
        "--figures", type=as_path, metavar="DIR", action=Once, help="also write the charts as SVG and PNG"
    )
    parser.add_argument("--evaluate", action="store_true", help="first evaluate the runs that have no evaluation")
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Write the page and print its name."""
    from transformer.cli.output import open_output, refuse_to_overwrite, status_of
    from transformer.evaluation.report.build import build_report, check_figures, write_figures
    from transformer.evaluation.report.style import matplotlib
    from transformer.runs.layout import EVALUATIONS, own_files
    from transformer.runs.run import open_run

    matplotlib()  # a mistake is reported before anything is evaluated
    runs: list[Path] = args.models
    for place, path in enumerate(runs):
        open_run(path)
        if path.resolve() in [other.resolve() for other in runs[:place]]:
            raise ConfigError(f"{path} is given twice")
    output = args.output or (runs[0] / NAME if len(runs) == 1 else Path(NAME))
    files = [(path, each) for path in runs for each in (*own_files(path), *(path / EVALUATIONS).rglob("*"))]
    refuse_to_overwrite(output, [(f"a file of {path}", status_of(each)) for path, each in files], "report")
    _check_output(output)
    if args.figures is not None:
        check_figures(args.figures)
    if args.evaluate:
        for path in runs:
            _evaluate(path, args.device)
    report = build_report(runs, args.text, args.sentence)
    with open_output(output) as file:
        file.write(report.html.encode())
    if args.figures is not None:
        log.info("%d figures written to %s", len(write_figures(report, args.figures)), args.figures)
    if str(output) != "-":
        say(f"report written to {output}")
    return 0


def _check_output(output: Path) -> None:
    """Raise ConfigError if there is something else than a report, or no folder for one."""
    from transformer.cli.output import status_of
    from transformer.evaluation.report.page import is_page

    if str(output) == "-":
        return
    if output.is_dir():
        raise ConfigError(f"{output} is a folder; give a file with -o")
    if not output.parent.is_dir():
        raise ConfigError(f"the folder {output.parent} does not exist; make it, or choose another name with -o")
    status = status_of(output)
    if status is None or not stat.S_ISREG(status.st_mode) or not status.st_size:
        return
    streams = [status_of(stream) for stream in (sys.stdout, sys.stderr)]  # such as /dev/stdout
    if any(each is not None and os.path.samestat(status, each) for each in streams):
        return
    if not is_page(output):
        raise ConfigError(f"{output} exists and is no report; choose another name with -o")


def _evaluate(path: Path, device: str) -> None:
    """Evaluate a run on its test set, or else its validation set, and keep that, if nothing with its text is kept."""
    from transformer import api
    from transformer.evaluation.records import read_records
    from transformer.runs.run import open_run

    if not any(record.pairs is not None for record in read_records(path)):
        api.evaluate(
            path, split="valid" if open_run(path).config.data.test is None else "test", device=device, save=True
        )
