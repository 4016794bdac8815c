"""The table of commands. A new command is a file beside this one and a line here."""

from __future__ import annotations

import argparse
from typing import Protocol

from transformer.cli import average, evaluate, info, score, train, translate


class Command(Protocol):
    """What the module of a command has. It imports torch, and all that is slow to import, inside `run` only."""

    HELP: str
    """What the command does, for the list of commands."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments and options."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit code."""


COMMANDS: dict[str, Command] = {
    "train": train,
    "translate": translate,
    "evaluate": evaluate,
    "score": score,
    "average": average,
    "info": info,
}
"""In the order of `transformer --help`."""
