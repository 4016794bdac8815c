"""The table of commands. A new command is a file in this folder and a line in this table."""

from __future__ import annotations

import argparse
from typing import Protocol

from transformer.cli import (
    average,
    check,
    compare,
    evaluate,
    export,
    import_,
    info,
    report,
    score,
    serve,
    train,
    translate,
    tune,
)


class Command(Protocol):
    """The module of a command. It imports torch and other slow modules inside `run` only."""

    HELP: str
    """What the command does, for the list of commands."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments and options."""

    def run(self, args: argparse.Namespace) -> int:
        """Run the command and return the exit code."""


COMMANDS: dict[str, Command] = {
    "train": train,
    "translate": translate,
    "evaluate": evaluate,
    "tune": tune,
    "compare": compare,
    "check": check,
    "report": report,
    "serve": serve,
    "score": score,
    "average": average,
    "export": export,
    "import": import_,
    "info": info,
}
"""In the order of `transformer --help`."""
