"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformer.errors import ConfigError
from transformer.paths import expanded
from transformer.system.launcher import read_launch

if TYPE_CHECKING:
    import torch

    from transformer.decoding.translator import Translator
    from transformer.runs.run import Run
    from transformer.system.distributed import Ranks

    Fellows = tuple[Ranks, torch.device]

OVERRIDE = re.compile(r"^[a-z_]+(\.[a-z_]+)+=")
"""The beginning of a KEY=VALUE argument. Any other positional argument is a file."""


def is_override(text: str) -> bool:
    """Return whether a positional argument is KEY=VALUE, and not the name of a file."""
    return OVERRIDE.match(text) is not None and not os.path.lexists(text)


class Once(argparse.Action):
    """Stores an option's value and refuses a second one, which would silently replace the first."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Store the value."""
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option_string} is given twice")
        setattr(namespace, self.dest, values)


def as_path(text: str) -> Path:
    """Return the path of an argument. A shell expands `~` at its beginning only, not in --run=~/mine."""
    try:
        return expanded(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the argument RUN."""
    parser.add_argument("model", metavar="RUN", type=as_path, help="run directory")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option --device."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the option --checkpoint."""
    parser.add_argument("--checkpoint", metavar="NAME", help="checkpoint to use (default: the best)")


def add_json(parser: argparse.ArgumentParser, each: str) -> None:
    """Add the option --json; `each` completes its help, such as " per line"."""
    parser.add_argument("--json", action="store_true", help=f"print one JSON object{each}")


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the arguments KEY=VALUE."""
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help=f"setting to change, such as {example}")


def add_files(parser: argparse.ArgumentParser, source: str) -> None:
    """Add the options --source, whose help is given, and --reference, which may be repeated."""
    parser.add_argument("--source", type=as_path, metavar="FILE", action=Once, help=source)
    parser.add_argument(
        "--reference",
        type=as_path,
        metavar="FILE",
        action="append",
        default=[],
        help="its reference translation, line by line; repeat the option for several",
    )


def positive(text: str) -> int:
    """Return the text as a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def open_translator(
    args: argparse.Namespace, overrides: Iterable[str], checkpoint: str | None = None, fellows: Fellows | None = None
) -> tuple[Run, Translator, str]:
    """Return the run of the argument RUN, its translator on --device, and the name of the checkpoint used.

    Raises ConfigError in all processes if they have different ones.
    """
    with kept_objects():
        from transformer.decoding.loading import load_translator
        from transformer.system.device import resolve_device

        ranks, device = fellows or (None, resolve_device(args.device))
        opened, translator, used = load_translator(args.model, overrides, device, checkpoint)
    if ranks is not None:
        from transformer.decoding.shared import refuse_other_models
        from transformer.runs.checkpoint import weights_digest

        refuse_other_models(ranks, translator, weights_digest(opened.checkpoints / used))
    return opened, translator, used


@contextlib.contextmanager
def kept_objects() -> Iterator[None]:
    """Leave out the objects that are made here when garbage is collected, now and later, if torch is imported here.

    To go through those of torch alone takes longer than to translate a sentence.
    """
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def together(args: argparse.Namespace) -> Iterator[Fellows | None]:
    """Yield the processes that were started together and the device of this one, or None if it is alone."""
    if read_launch().count == 1:
        yield None
        return
    from transformer.system.device import resolve_device
    from transformer.system.distributed import joined

    with joined(resolve_device(args.device)) as fellows:
        yield fellows
