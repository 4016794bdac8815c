"""`transformer translate`: translate a file, a pipe or typed text line by line."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from transformer.cli.arguments import (
    add_checkpoint,
    add_device,
    add_json,
    add_run,
    as_path,
    is_override,
    open_translator,
    positive,
    together,
)
from transformer.cli.output import open_output, refuse_to_overwrite, status_of
from transformer.cli.terminal import hint
from transformer.errors import ConfigError
from transformer.paths import expanded
from transformer.runs.layout import own_files
from transformer.system.escaping import shown
from transformer.system.signals import exit_on_signals

if TYPE_CHECKING:
    from transformer.cli.arguments import Fellows
    from transformer.decoding.parts import Translation
    from transformer.decoding.translator import Translator
    from transformer.runs.run import Run
    from transformer.system.distributed import Ranks

HELP = "translate text"
WARNINGS = 10
"""Most lines to warn about individually if many have the same problem."""
log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `translate`."""
    add_run(parser)
    parser.add_argument(
        "overrides",
        metavar="FILE | KEY=VALUE",
        nargs="*",
        help="input file with one sentence per line (default or -: standard input), and settings such as decode.beam=8",
    )
    add_device(parser)
    add_checkpoint(parser)
    parser.add_argument(
        "-o", "--output", type=as_path, metavar="FILE", help="output file (default or -: standard output)"
    )
    parser.add_argument("--beam", type=positive, metavar="N", help="beam size; short for decode.beam=N")
    parser.add_argument(
        "--nbest",
        type=positive,
        default=1,
        metavar="N",
        help="print N lines for each line: its best different translations, and empty lines if there are fewer",
    )
    parser.add_argument("--scores", action="store_true", help="print the score and a tab before each translation")
    parser.add_argument(
        "--prefix", type=as_path, metavar="FILE", help="forced beginnings of the translations, one per input line"
    )
    parser.add_argument(
        "--tags", action="store_true", help="carry tags such as <b> over to the words that stand for those in them"
    )
    parser.add_argument(
        "--alignments",
        type=as_path,
        metavar="FILE",
        help="write the numbers of aligned words, such as 0-0 1-2, of each line of the output",
    )
    parser.add_argument(
        "--glossary", type=as_path, metavar="FILE", help="terms to translate as given: source<TAB>target on each line"
    )
    add_json(parser, " per input line")


def run(args: argparse.Namespace) -> int:
    """Translate FILE or standard input."""
    overrides = [text for text in args.overrides if is_override(text)]
    files = [text for text in args.overrides if not is_override(text)]
    if len(files) > 1:
        raise ConfigError(f"more than one input file: {files[0]!r} and {files[1]!r}; translate one at a time")
    if args.glossary is not None and (args.tags or args.alignments is not None):
        raise ConfigError("--glossary cannot be used with --tags or --alignments, which count the words of the line")
    if args.beam is not None:
        overrides.append(f"decode.beam={args.beam}")
    with together(args) as fellows:
        if fellows is not None and not fellows[0].first:
            return _help(overrides, args, fellows)
        return _read_and_translate(files, overrides, args, fellows)


def _read_and_translate(
    files: list[str], overrides: list[str], args: argparse.Namespace, fellows: Fellows | None
) -> int:
    path = None if not files or files[0] == "-" else expanded(files[0])
    output = None if str(args.output) == "-" else args.output
    source = _standard_input() if path is None else _open(path)
    try:
        read = _files_read(source, path, args)
        refuse_to_overwrite(output, read)
        _check_alignments(args, [*read, ("the output", status_of(sys.stdout if output is None else output))])
        with exit_on_signals() if output is not None else contextlib.nullcontext():
            return _translate(source, path, overrides, output, args, fellows)
    finally:
        if path is not None and not path.is_fifo():  # closing a pipe would wait for its writer
            source.close()


def _check_alignments(args: argparse.Namespace, used: list[tuple[str, Any]]) -> None:
    """Raise ConfigError if the file of `--alignments` is used otherwise, or would not have the lines of the output."""
    if args.alignments is None:
        return
    if args.json:
        raise ConfigError("--alignments writes a line for each line of the output, which --json does not have")
    same = args.output is not None and args.alignments.absolute() == args.output.absolute()
    if same or str(args.alignments) == "-":
        raise ConfigError("--alignments needs a file of its own")
    refuse_to_overwrite(args.alignments, used, "alignments")


def _files_read(source: IO[bytes], path: Path | None, args: argparse.Namespace) -> list[tuple[str, Any]]:
    """Return what the output must not be: in words, and its status."""
    found = [("the input file", status_of(source if path is None else path))]
    if args.prefix is not None:
        found.append(("the file of --prefix", status_of(args.prefix)))
    if args.glossary is not None:
        found.append(("the file of --glossary", status_of(args.glossary)))
    return [*found, *((f"a file of {args.model}", status_of(each)) for each in own_files(args.model))]


def _help(overrides: list[str], args: argparse.Namespace, fellows: Fellows) -> int:
    """Translate a share of the lines that the first process reads."""
    _, translator, _ = open_translator(args, overrides, args.checkpoint, fellows)
    for _ in _stream(translator, iter(()), args.nbest, None, fellows[0]):
        pass
    return 0


def _translate(
    source: IO[bytes],
    path: Path | None,
    overrides: list[str],
    output: Path | None,
    args: argparse.Namespace,
    fellows: Fellows | None,
) -> int:
    """Translate the lines of `source`, which is the open file at `path`, or standard input if `path` is None."""
    prefixes = None
    if args.prefix is not None:
        with _open(args.prefix) as file:
            prefixes = list(_text_lines(file, str(args.prefix)))
    typed = path is None and sys.stdin.isatty()
    with open_output(output) as out:
        opened, translator, _ = open_translator(args, overrides, args.checkpoint, fellows)
        translator.check(args.nbest)
        annotate = _annotation(opened, args)
        carries = args.tags or args.alignments is not None
        if typed and sys.stdout.isatty() and output is None and fellows is None and not carries:
            return _prompt(opened, translator, args, annotate)
        if typed:
            hint("Type the text to translate, one sentence per line; end with Ctrl-D.")
        show = shown if output is None and sys.stdout.isatty() else str
        lines, ranks = _text_lines(source, "input"), fellows and fellows[0]
        with _carried(opened, translator, lines, args) as (lines, carry):
            for found in _stream(translator, map(annotate, lines), args.nbest, prefixes, ranks):
                out.write(show(_format(carry(found), args)).encode("utf-8"))
                out.flush()
    return 0


Carry = Callable[[list["Translation"]], list["Translation"]]


@contextlib.contextmanager
def _carried(
    run: Run, translator: Translator, lines: Iterator[str], args: argparse.Namespace
) -> Iterator[tuple[Iterator[str], Carry]]:
    """Yield the lines to translate, and what carries their tags over and writes their alignments, where asked for."""
    if not args.tags and args.alignments is None:
        yield lines, lambda found: found
        return
    from transformer.decoding.carrying import Carrier

    carrier = Carrier(translator, run.config.train.guided_alignment > 0, args.tags)
    with open_output(args.alignments) if args.alignments is not None else contextlib.nullcontext() as file:

        def carry(found: list[Translation]) -> list[Translation]:
            carried, links = carrier.carry(found, file is not None)
            if file is not None:
                rows = [" ".join(map(str, each)) + "\n" for each in links]
                file.write("".join(rows + ["\n"] * (args.nbest - len(rows))).encode())
            return carried

        yield carrier.read(lines), carry


def _annotation(opened: Run, args: argparse.Namespace) -> Callable[[str], str]:
    """Return what writes the translations of terms into a line, or leaves it where there is no glossary.

    Raises ConfigError for a run that was trained without one.
    """
    if args.glossary is None:
        return str
    from transformer.data.glossary import Glossary, read_glossary

    if not opened.tokenizer.takes_terms:
        raise ConfigError(f"{opened.path} was trained without a glossary, so it cannot use one: see augment.glossary")
    return Glossary(read_glossary(args.glossary)).annotate


def _standard_input() -> IO[bytes]:
    """Return a binary stream of standard input. It is not Python's own, as a thread may still be reading it at exit."""
    try:
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    except (AttributeError, OSError):  # not a real file, as in tests
        return sys.stdin.buffer


def _stream(
    translator: Translator, lines: Iterator[str], nbest: int, prefixes: list[str] | None, ranks: Ranks | None
) -> Iterator[list[Translation]]:
    """Translate the lines read so far while more are being read, so that a pipe gets translations before it ends.

    Of several processes, the first reads lines and prefixes, and all translate.
    """
    from tqdm import tqdm

    from transformer.decoding.batches import WINDOW
    from transformer.decoding.shared import translate_shared
    from transformer.system.distributed import Ranks
    from transformer.system.threads import prefetch

    ranks = ranks or Ranks()
    window = WINDOW * ranks.count
    ahead, done, warnings = prefetch(lines, window), 0, translator.warnings()

    def take() -> tuple[list[str], list[str] | None]:
        ready = ahead.take(window)
        return ready, prefixes[done : done + len(ready)] if prefixes is not None else None

    with tqdm(unit=" lines", disable=None if ranks.first else True, leave=False) as bar:
        while (taken := ranks.of_first(take))[0]:
            ready, begin = taken
            for found in translate_shared(translator, ready, ranks, nbest, begin, done + 1, warnings):
                yield found
                bar.update()
            done += len(ready)
    if prefixes is not None and len(prefixes) > done:
        log.warning("%d prefixes are unused: there are more prefixes than lines", len(prefixes) - done)


def _prompt(opened: Run, translator: Translator, args: argparse.Namespace, annotate: Callable[[str], str]) -> int:
    """Translate typed lines one by one until the end of input."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (gives `input` editing and history)
    sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal's
    data = opened.config.data
    hint(f"{opened.name} translates from {data.source} to {data.target}.")
    hint("Type a sentence and press Enter; an empty line or Ctrl-D ends.")
    while True:
        try:
            line = input("> ")
        except EOFError:
            hint("")
            return 0
        if not line.strip():
            return 0
        for found in translator.translate([annotate(line)], args.nbest):
            print(shown(_format(found, args)), end="", flush=True)


def _format(found: list[Translation], args: argparse.Namespace) -> str:
    """Return the output for one input line."""
    if args.json:
        entries = [{"text": t.text, "score": round(t.score, 6), "log_prob": round(t.log_prob, 6)} for t in found]
        return json.dumps({"translations": entries}, ensure_ascii=False) + "\n"
    lines = [f"{t.score:.6f}\t{t.text}\n" if args.scores else f"{t.text}\n" for t in found]
    return "".join(lines + ["\n"] * (args.nbest - len(lines)))


def _open(path: Path) -> IO[bytes]:
    from transformer.data.lines import open_bytes

    return open_bytes(path)


def _text_lines(stream: Any, name: str) -> Iterator[str]:
    """Yield lines of text. Bytes that are not UTF-8 become U+FFFD, with a warning."""
    from transformer.data.lines import lenient_lines
    from transformer.data.text import CONTROLS

    broken = cleaned = 0
    for number, (line, whole) in enumerate(lenient_lines(stream, name), 1):
        broken += not whole
        if not whole and broken <= WARNINGS:
            log.warning("%s, line %d is not UTF-8: invalid bytes were replaced by U+FFFD", name, number)
        if not line.isprintable() and CONTROLS.search(line):
            cleaned += 1
            if cleaned == 1:
                log.warning("%s, line %d has control characters, which are read as spaces", name, number)
        yield line
    for count, what in ((broken, "are not UTF-8"), (cleaned, "have control characters")):
        if count > 1:
            log.warning("%s: %d lines %s", name, count, what)
