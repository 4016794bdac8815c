"""The entry point of the command line: runs a command, reports errors as one sentence, returns an exit code."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from transformer import __version__
from transformer.cli import terminal
from transformer.cli.commands import COMMANDS
from transformer.errors import EXIT_INTERRUPTED, TransformerError
from transformer.system import signals


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    terminal.open_streams()
    args = parse(argv)
    try:
        terminal.start_log()
        terminal.warn_of_system()
        _check_working_directory()
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except TransformerError as error:
        terminal.complain(args.command, str(error))
        return error.exit_code
    except ImportError as error:
        if (error.name or "").startswith("transformer"):
            raise
        terminal.complain(args.command, f"a library cannot be loaded: {error}")
        return 1
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        terminal.complain(args.command, f"out of memory {str(error).partition(chr(10))[0]}".strip())
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        terminal.discard_output()
        return 0
    except OSError as error:
        where = error.filename or args.destination
        closed = isinstance(error, io.UnsupportedOperation)
        terminal.complain(args.command, f"{where} is closed" if closed else f"{error.strerror or error}: {where}")
        if error.filename is None:
            terminal.discard_output()
        return 1


def _check_working_directory() -> None:
    """Raise TransformerError if the working directory has been deleted. MKL would end the process (pip#4255)."""
    try:
        os.getcwd()
    except OSError as error:
        raise TransformerError(f"the working directory is gone: {error.strerror}; change to one that exists") from None


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    from transformer.system.memory import is_out_of_memory

    return is_out_of_memory(error)


def command(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its exit code.

    If a large library was used, Python does not take its objects apart: of torch's alone that takes a third of the time
    of importing it. And pyarrow's threads may abort a process after all its work is done (apache/arrow#34314).
    """
    terminal.use_utf8()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, or another's
        signal.signal(signal.SIGINT, signals.interrupt)
    try:
        code = main(argv)
    except Exception:  # a fault of this program
        traceback.print_exc()
        code = 1
    if distributed := sys.modules.get("transformer.system.distributed"):
        distributed.end_at_once(code)
    if not {"torch", "pyarrow"} & sys.modules.keys():
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="transformer",
        description="Train, evaluate and use encoder-decoder translation models.",
        epilog="start with:  transformer train configs/quickstart.yaml",
    )
    top.add_argument("--version", action="version", version=f"transformer {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, each in COMMANDS.items():
        description = f"{each.HELP[0].upper()}{each.HELP[1:]}."
        below = commands.add_parser(name, help=each.HELP, description=description)
        below.set_defaults(run=each.run, refuse=below.error, destination="standard output")
        each.add_arguments(below)
    return top


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed arguments. Positional ones may come before, between and after the options."""
    args, rest = parser().parse_known_args(argv)
    more: list[str] | None = getattr(args, "overrides", None)
    if wrong := [text for text in rest if more is None or (text.startswith("-") and text != "-")]:
        args.refuse(f"unrecognized arguments: {' '.join(wrong)}")
    if more is not None:
        more.extend(rest)
    return args
