"""Output of the commands: standard streams, escaping for a terminal, the log."""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
import os
import platform
import shlex
import sys
from pathlib import Path

from transformer.system.escaping import shown
from transformer.system.progress_bar import show_bars

SCREEN = 4000
"""Longest log record or error sentence that is printed in full, in characters."""


def open_streams() -> None:
    """Replace closed standard streams; otherwise the next file to be opened would get their descriptor.

    The replacement of standard output is read-only, so writing to it is an error that is reported. Characters that a
    terminal's encoding lacks are escaped.
    """
    for name, mode in (("stdin", "r"), ("stdout", "r"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (as long as the process)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def use_utf8() -> None:
    """Start this process again in Python's UTF-8 mode if its locale has another encoding.

    Names of files and settings are UTF-8 then, as in a configuration. What is printed keeps the encoding of the
    terminal: characters that it lacks are escaped.
    """
    if sys.getfilesystemencoding() == "utf-8" or sys.flags.utf8_mode or not sys.orig_argv or not sys.executable:
        return
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    os.environ["PYTHONIOENCODING"] = f"{encoding}:backslashreplace"
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def is_utf8() -> bool:
    """Return whether what is printed on standard output is UTF-8."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return codecs.lookup(encoding).name == "utf-8"


def discard_output() -> None:
    """Discard what Python flushes to standard output at exit."""
    with contextlib.suppress(AttributeError, io.UnsupportedOperation):  # there is no output, or it is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def command_line(name: str, *args: object) -> str:
    """Return a command of this program to be pasted into a shell."""
    texts = [f"./{arg}" if isinstance(arg, Path) and str(arg).startswith("-") else str(arg) for arg in args]
    return shlex.join(["transformer", name, *texts])


def say(text: str) -> None:
    """Print text on standard output, with control characters escaped."""
    print(shown(text))


def sentences(count: int) -> str:
    """Return a number of sentences in words."""
    return "1 sentence" if count == 1 else f"{count} sentences"


def hint(text: str) -> None:
    """Print a line on standard error for an interactive user."""
    print(shown(text), file=sys.stderr)


def complain(command: str, sentence: str) -> None:
    """Print why a command failed, on one line."""
    print(_short(shown(f"transformer {command}: {sentence}").replace("\n", "\\n")), file=sys.stderr)


def start_log() -> None:
    """Send the log to standard error, each record with the time of day, and show bars there if it is a terminal."""
    logger = logging.getLogger("transformer")
    if not any(isinstance(handler, _Handler) for handler in logger.handlers):
        handler = _Handler()
        handler.setFormatter(_Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(logging.INFO)
    show_bars()


def warn_of_system() -> None:
    """Log what this operating system does not support."""
    if platform.system() == "Windows":
        logging.getLogger(__name__).warning(
            "Windows is not supported: nothing keeps two trainings out of one directory, the size of a model is not "
            "compared with the memory, and a power cut may cost a checkpoint; use WSL"
        )


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to standard error, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" in sys.modules and sys.stderr.isatty():
            from tqdm import tqdm

            tqdm.write(self.format(record), file=sys.stderr)
        else:
            self.stream = sys.stderr
            super().emit(record)


class _Formatter(logging.Formatter):
    """Escapes control characters, which may come from untrusted files."""

    def format(self, record: logging.LogRecord) -> str:
        return _short(shown(super().format(record)))


def _short(text: str) -> str:
    """Return the text, shortened in the middle if it is longer than SCREEN."""
    return text if len(text) <= SCREEN else f"{text[: SCREEN // 2]} … {text[-SCREEN // 2 :]}"
