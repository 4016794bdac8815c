"""The command line: reads arguments, prints, and sets the exit code. The one place that does."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from transformer import __version__, config_file
from transformer.decoding.translator import Translation, Translator
from transformer.errors import ConfigError, TransformerError

log = logging.getLogger(__name__)
INTERRUPTED, TERMINATED = 130, 143
OVERRIDE = re.compile(r"^[a-z_]+(\.[a-z_]+)+=")
HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal would obey or reorder, and what cannot be written at all."""
WARNINGS, SCREEN = 10, 4000
"""Lines named one by one where many have the same fault; characters of a log record or sentence."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _open_streams()
    args = parse(argv)
    try:
        _start_log()
        code: int = args.run(args)
        if sys.stdout is not None:  # which is closed where it is None
            sys.stdout.flush()
        return code
    except TransformerError as error:
        _complain(args, str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python flushes at exit goes nowhere
        return 0
    except OSError as error:
        prints = args.command != "train" or args.print_config or args.dry_run
        writes = "standard output" if prints else "the run directory"
        where = error.filename or writes
        closed = isinstance(error, io.UnsupportedOperation)
        _complain(args, f"{where} is closed" if closed else f"{error.strerror or error}: {where}")
        if error.filename is None and sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def command(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave the process with its exit code.

    Where pyarrow was used, it leaves without Python's own tidying up: there, threads of pyarrow may abort a process
    that has done all its work (apache/arrow#34314).
    """
    code = main(argv)
    if "pyarrow" not in sys.modules:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.flush()
    os._exit(code)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; those without a name may stand before, between and behind the options."""
    top = parser()
    args, rest = top.parse_known_args(argv)
    more: list[str] | None = getattr(args, "overrides", None)
    if wrong := [text for text in rest if more is None or (text.startswith("-") and text != "-")]:
        top.error(f"unrecognized arguments: {' '.join(wrong)}")
    if more is not None:
        more.extend(rest)
    return args


def _open_streams() -> None:
    """Replace standard streams that are closed, else the next file opened would be taken for one."""
    for name, mode in (("stdin", "r"), ("stdout", "r"), ("stderr", "w")):  # who writes to this stdout is told so
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (as long as the process)


def shown(text: str) -> str:
    """Return the text with what a terminal would obey spelled out, as JSON and Python do."""
    return HIDDEN.sub(lambda m: f"\\u{ord(m[0]):04x}" if ord(m[0]) > 0x7E else f"\\x{ord(m[0]):02x}", text)


def _short(text: str) -> str:
    """Return the text without the middle where it would fill a screen."""
    return text if len(text) <= SCREEN else f"{text[: SCREEN // 2]} … {text[-SCREEN // 2 :]}"


def _complain(args: argparse.Namespace, sentence: str) -> None:
    print(_short(shown(f"transformer {args.command}: {sentence}").replace("\n", "\\n")), file=sys.stderr)


def _say(text: str) -> None:
    """Print for a person; text to go on with is printed as it is, except on a terminal."""
    print(shown(text))


def _start_log() -> None:
    """Send the log to standard error, one line per record with the time of day."""
    logger = logging.getLogger("transformer")
    if not any(isinstance(handler, _Handler) for handler in logger.handlers):
        handler = _Handler()
        handler.setFormatter(_Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(logging.INFO)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes above a progress bar, where one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" in sys.modules and sys.stderr.isatty():
            from tqdm import tqdm

            tqdm.write(self.format(record), file=sys.stderr)
        else:
            self.stream = sys.stderr
            super().emit(record)


class _Formatter(logging.Formatter):
    """Shows control characters of text from elsewhere instead of letting a terminal obey them."""

    def format(self, record: logging.LogRecord) -> str:
        return _short(shown(super().format(record)))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="transformer",
        description="Train, evaluate and use encoder-decoder translation models.",
        epilog="start with:  transformer train configs/quickstart.yaml",
    )
    top.add_argument("--version", action="version", version=f"transformer {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _train_arguments(_command(commands, "train", _train, "train a model, or go on with a run"))
    _translate_arguments(_command(commands, "translate", _translate, "translate text"))
    _evaluate_arguments(_command(commands, "evaluate", _evaluate, "score translations by BLEU and chrF"))
    scored = _command(commands, "score", _score, "tell how probable given translations are")
    scored.add_argument("model", metavar="RUN", type=Path, help="run directory")
    scored.add_argument("--source", type=Path, required=True, help="source text, one sentence per line")
    scored.add_argument("--target", type=Path, required=True, help="its translation, line by line")
    scored.add_argument("--json", action="store_true", help="print one JSON object per line")
    _overrides(scored, "decode.length_penalty=0.6")
    averaged = _command(commands, "average", _average, "average the weights of checkpoints")
    averaged.add_argument("model", metavar="RUN", type=Path, help="run directory")
    averaged.add_argument("--last", type=_positive, required=True, metavar="N", help="newest checkpoints to average")
    averaged.add_argument("--output", type=Path, metavar="DIR", help="model folder to write (default: RUN-average-N)")
    told = _command(commands, "info", _info, "tell what is in a run or model folder")
    told.add_argument("model", metavar="RUN", type=Path, help="run directory")
    told.add_argument("--json", action="store_true", help="print one JSON object")
    return top


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], purpose: str
) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=purpose, description=purpose[0].upper() + purpose[1:] + "."
    )
    made.set_defaults(run=run)
    if name not in ("average", "info"):
        made.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    return made


def _overrides(command: argparse.ArgumentParser, example: str) -> None:
    command.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help=f"setting to change, such as {example}")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _train_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", metavar="CONFIG", type=Path, help="YAML file that says what to train")
    _overrides(command, "train.max_steps=1000")
    command.add_argument(
        "--run", dest="folder", type=Path, metavar="DIR", help="run directory (default: runs/<config name>)"
    )
    command.add_argument("--fresh", action="store_true", help="start over; what is in the run directory is moved aside")
    command.add_argument(
        "--dry-run", action="store_true", help="build everything, do one update, tell sizes and memory"
    )
    command.add_argument("--print-config", action="store_true", help="print the resolved configuration and stop")


def _translate_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="RUN", type=Path, help="run directory")
    command.add_argument(
        "overrides",
        metavar="FILE | KEY=VALUE",
        nargs="*",
        help="text, one sentence per line (default or -: standard input), and settings such as decode.beam=8",
    )
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write (default: standard output)")
    command.add_argument("--beam", type=_positive, metavar="N", help="the same as decode.beam=N")
    command.add_argument(
        "--nbest",
        type=_positive,
        default=1,
        metavar="N",
        help="N best translations of each line, a line each",
    )
    command.add_argument("--scores", action="store_true", help="put the score and a tab before each translation")
    command.add_argument(
        "--prefix", type=Path, metavar="FILE", help="what each translation must begin with, line by line"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object per input line")
    command.add_argument("--checkpoint", metavar="NAME", help="checkpoint to use (default: the best)")


def _evaluate_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="RUN", type=Path, help="run directory")
    _overrides(command, "decode.beam=5")
    command.add_argument(
        "--split", choices=("valid", "test"), default="test", help="text that the run names (default: test)"
    )
    command.add_argument("--source", type=Path, metavar="FILE", help="text to translate, with --reference")
    command.add_argument("--reference", type=Path, metavar="FILE", help="its reference translation, line by line")
    command.add_argument("--testset", metavar="NAME", help="a sacreBLEU test set, such as wmt14/full")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument("--checkpoint", metavar="NAME", help="checkpoint to use (default: the best)")
    command.add_argument(
        "--samples",
        type=int,
        default=0,
        metavar="N",
        help="also print N translations with source and reference",
    )


def _train(args: argparse.Namespace) -> int:
    cfg = config_file.load(args.config, args.overrides)
    if args.print_config:
        _say(config_file.dump(cfg).removesuffix("\n"))
        return 0
    folder = args.folder or _run_folder(args.config)
    with _starting():
        from transformer.system.device import resolve_device
        from transformer.training.dry_run import dry_run
        from transformer.training.session import train

        device = resolve_device(args.device)
        if args.dry_run:
            _say("\n".join(dry_run(cfg, folder, device)))
            return 0
        why = train(cfg, folder, device, args.fresh)
    command = shlex.join(["transformer", "train", str(args.config), *args.overrides, "--run", str(folder)])
    match why:
        case "interrupted" | "terminated":
            log.info("%s and saved; go on with: %s", why, command)
            return INTERRUPTED if why == "interrupted" else TERMINATED
        case "time limit":
            log.info("stopped at the time limit and saved; go on with: %s", command)
        case _:
            log.info("finished: %s; next: transformer evaluate %s", why, folder)
    return 0


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Let SIGTERM end the process tidily, and SIGUSR1 do nothing, while there is nothing to save.

    Training itself notes these signals; this is for what comes before and after it.
    """

    def end(*_: object) -> NoReturn:
        raise SystemExit(TERMINATED)

    wanted: dict[str, Any] = {"SIGTERM": end, "SIGUSR1": signal.SIG_IGN}
    here = threading.current_thread() is threading.main_thread()
    before = {n: signal.signal(getattr(signal, n), f) for n, f in wanted.items() if here and hasattr(signal, n)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _run_folder(path: Path) -> Path:
    """Return the run directory of a configuration: `runs/<its name>`, or where it lies if that is a run."""
    if path.name == "config.yaml" and (path.parent / "checkpoints").is_dir():
        return path.parent
    return Path("runs") / path.name.removesuffix(".yaml").removesuffix(".yml")


def _translator(
    args: argparse.Namespace, overrides: Iterable[str], name: str | None = None
) -> tuple[Any, Translator, str]:
    from transformer.decoding.loading import load_translator
    from transformer.system.device import resolve_device

    return load_translator(args.model, overrides, resolve_device(args.device), name)


def _translate(args: argparse.Namespace) -> int:
    overrides = [text for text in args.overrides if OVERRIDE.match(text)]
    files = [text for text in args.overrides if not OVERRIDE.match(text)]
    if len(files) > 1:
        raise ConfigError(f"one file at a time: {files[1]!r} is one too many")
    if args.beam is not None:
        overrides.append(f"decode.beam={args.beam}")
    stdin = not files or files[0] == "-"
    source = _standard_input() if stdin else _open(Path(files[0]))
    try:
        return _translate_from(source, Path(files[0]) if not stdin else None, overrides, args)
    finally:
        if not stdin and not Path(files[0]).is_fifo():  # to close a pipe is to wait for who writes into it
            source.close()


def _translate_from(source: Any, path: Path | None, overrides: list[str], args: argparse.Namespace) -> int:
    """Translate what can be read from `source`, which is the file at `path` unless that is None."""
    prefixes = None
    if args.prefix is not None:
        with _open(args.prefix) as file:
            prefixes = list(_text_lines(file, str(args.prefix)))
    _, translator, _ = _translator(args, overrides, args.checkpoint)
    translator.check(args.nbest)
    if path is None and sys.stdin.isatty() and sys.stdout.isatty() and args.output is None:
        return _prompt(translator, args)
    show = shown if args.output is None and sys.stdout.isatty() else str
    with _output(args.output, path) as out:
        for found in _stream(translator, _text_lines(source, "input"), args.nbest, prefixes):
            out.write(show(_lines(found, args)).encode("utf-8"))
            out.flush()
    return 0


def _standard_input() -> Any:
    """Return standard input as bytes, apart from Python's own: a thread may still be reading it at the end."""
    try:
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    except (AttributeError, OSError):  # not a real file, as in tests
        return sys.stdin.buffer


@contextlib.contextmanager
def _output(path: Path | None, source: Path | None) -> Iterator[Any]:
    """Give the file to write to, or standard output, which stays open."""
    if path is None:
        yield sys.stdout.buffer
        return
    if source is not None and path.exists() and path.samefile(source):
        raise ConfigError(f"{path} is the text to translate; write the translation to another file")
    with path.open("wb") as file:
        yield file


def _stream(
    translator: Translator, lines: Iterator[str], best: int, prefixes: list[str] | None
) -> Iterator[list[Translation]]:
    """Translate whatever has been read so far, and meanwhile read on; so a pipe gets answers before it ends."""
    from tqdm import tqdm

    from transformer.decoding.translator import WINDOW
    from transformer.system.threads import prefetch

    pass

    ahead, done = prefetch(lines, WINDOW), 0
    with tqdm(unit=" lines", disable=None, leave=False) as bar:
        while ready := ahead.take(WINDOW):
            begin = prefixes[done : done + len(ready)] if prefixes is not None else None
            for found in translator.translate(ready, best, begin, first=done + 1):
                yield found
                bar.update()
            done += len(ready)
    if prefixes is not None and len(prefixes) > done:
        log.warning("%d prefixes are left over: there are more of them than lines", len(prefixes) - done)


def _prompt(translator: Translator, args: argparse.Namespace) -> int:
    """Translate what is typed, line by line, until the end of input."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (gives `input` editing and history)
    sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal's
    print("Type a sentence; an empty line or Ctrl-D ends.", file=sys.stderr)
    while True:
        try:
            line = input("> ")
        except EOFError:
            print(file=sys.stderr)
            return 0
        if not line.strip():
            return 0
        for found in translator.translate([line], args.nbest):
            print(shown(_lines(found, args)), end="", flush=True)


def _lines(found: list[Translation], args: argparse.Namespace) -> str:
    """Return what is printed for one input line."""
    if args.json:
        entries = [{"text": t.text, "score": round(t.score, 6), "log_prob": round(t.log_prob, 6)} for t in found]
        return json.dumps({"translations": entries}, ensure_ascii=False) + "\n"
    return "".join(f"{t.score:.6f}\t{t.text}\n" if args.scores else f"{t.text}\n" for t in found)


def _open(path: Path) -> Any:
    from transformer.data.lines import open_bytes

    return open_bytes(path)


def _text_lines(stream: Any, name: str) -> Iterator[str]:
    """Yield lines of text; bytes that are not UTF-8 become U+FFFD, with a warning."""
    from transformer.data.lines import lenient_lines
    from transformer.data.tokenizer import CONTROLS

    broken = cleaned = 0
    for number, (line, whole) in enumerate(lenient_lines(stream, name), 1):
        broken += not whole
        if not whole and broken <= WARNINGS:
            log.warning("%s, line %d is not UTF-8: what cannot be read became U+FFFD", name, number)
        if not line.isprintable() and CONTROLS.search(line):
            cleaned += 1
            if cleaned == 1:
                log.warning("%s, line %d has control characters: the model reads a space in their place", name, number)
        yield line
    for count, what in ((broken, "are not UTF-8"), (cleaned, "have control characters")):
        if count > 1:
            log.warning("%s: %d lines %s", name, count, what)


def _evaluate(args: argparse.Namespace) -> int:
    if (args.source is None) != (args.reference is None):
        raise ConfigError("--source and --reference go together")
    from transformer.errors import TransformerError
    from transformer.evaluation.evaluate import evaluate, keep, read_evaluation_text

    run, translator, used = _translator(args, args.overrides, args.checkpoint)
    name, pairs = read_evaluation_text(run, args.split, args.source, args.reference, args.testset)
    found = evaluate(translator, name, pairs, run.config.data.target)
    if args.json:
        print(json.dumps(found.as_json()))
    else:
        _say("\n".join(map(str, found.scores.values())))
        _say(f"{len(pairs)} sentences of {name} in {found.seconds:.1f} s with {used}")
    try:
        log.info("translations in %s", keep(run, found))
    except (OSError, TransformerError) as error:
        log.warning("translations and scores could not be kept in %s: %s", run.path, error)
    if args.json:
        return 0
    for i in range(min(args.samples, len(pairs))):
        pick = i * len(pairs) // args.samples
        sample = (pairs[pick].source, found.translations[pick], pairs[pick].target)
        _say("\n  source       {}\n  translation  {}\n  reference    {}".format(*sample))
    return 0


def _score(args: argparse.Namespace) -> int:
    from transformer.data.lines import read_text
    from transformer.errors import DataError

    sources, targets = read_text(args.source), read_text(args.target)
    if len(sources) != len(targets):
        raise DataError(f"{args.source} has {len(sources)} lines but {args.target} has {len(targets)}")
    _, translator, _ = _translator(args, args.overrides)
    for found in translator.score(sources, targets):
        if args.json:
            print(
                json.dumps(
                    {
                        "score": round(found.score, 6),
                        "log_prob": round(found.log_prob, 6),
                        "tokens": len(found.ids) + 1,
                    }
                )
            )
        else:
            print(f"{found.score:.6f}")
    return 0


def _average(args: argparse.Namespace) -> int:
    from transformer.errors import CheckpointError
    from transformer.runs.averaging import average_weights
    from transformer.runs.checkpoint import load_state, save_checkpoint
    from transformer.runs.run import create_run, open_run

    run = open_run(args.model)
    steps = run.steps()[-args.last :]
    if len(steps) < args.last:
        raise CheckpointError(
            f"{args.model} keeps {len(steps)} checkpoints, fewer than {args.last}; see train.keep_last"
        )
    path = run.path.resolve()
    folder = args.output or path.with_name(f"{path.name}-average-{args.last}")
    if folder.exists():
        raise CheckpointError(f"{folder} exists already; name another with --output")
    weights = average_weights(run, steps)
    state = {**load_state(steps[-1]), "averaged": [step.name for step in steps]}
    made = create_run(folder, run.config, run.tokenizer)
    path = made.checkpoints / f"average-{steps[-1].name.removeprefix('step-')}"
    save_checkpoint(path, weights, None, state)
    made.point("best", path)
    _say(f"averaged {', '.join(step.name for step in steps)}; use it with: transformer translate {folder}")
    return 0


def _info(args: argparse.Namespace) -> int:
    from transformer.runs.run import open_run
    from transformer.runs.summary import format_summary, summarize

    found = summarize(open_run(args.model))
    _say(json.dumps(found) if args.json else format_summary(found))
    return 0
