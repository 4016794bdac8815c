"""sacreBLEU's test sets, downloaded on first use."""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from transformer import languages
from transformer.data.hub import PATIENCE
from transformer.data.lines import read_lines
from transformer.data.tables import first_line
from transformer.errors import DataError
from transformer.system.caches import can_be_made, temporary_cache


def testset_files(name: str, source: str, target: str) -> list[Path]:
    """Return the files of a sacreBLEU test set, downloaded on first use: the source and each reference.

    `source` and `target` may be codes of any form. Raises DataError with the reason if the set is not to be had.
    """
    import sacrebleu

    pair = find_testset(name, source, target)
    folder = _folder(sacrebleu.DATASETS[name])
    try:
        with _patience(), _log_of("sacrebleu") as complaints:
            files = [sacrebleu.get_source_file(name, pair), *sacrebleu.get_reference_files(name, pair)]
    except (Exception, SystemExit) as error:  # of networks, proxies, archives and XML, and sacreBLEU's own
        found = any(not file.endswith(".lock") for _, _, names in os.walk(folder) for file in names)
        rest = f"; if a download was interrupted, first remove {folder}" if found else ""
        raise DataError(
            f"test set {name} {pair} is not in sacreBLEU's cache and cannot be downloaded "
            f"({_reason(error, complaints)}); "
            f"run once with a network connection, or give the text with --source and --reference{rest}"
        ) from None
    return _check(name, pair, [Path(file) for file in files], folder)


def find_testset(name: str, source: str, target: str) -> str:
    """Return the language pair of a test set as sacreBLEU writes it. Raises DataError if there is no such set."""
    import sacrebleu

    known = sacrebleu.get_available_testsets()
    if name not in known:
        close = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {close[0]}?" if close else "see `sacrebleu --list`"
        raise DataError(f"sacreBLEU has no test set {name!r}; {hint}")
    pair = _langpair(sacrebleu.get_langpairs_for_testset(name), source, target)
    if pair is None:
        raise DataError(f"sacreBLEU's test set {name} has no language pair {source}-{target}")
    return pair


def _langpair(known: Iterable[str], source: str, target: str) -> str | None:
    """Return which of these pairs is that of two languages, whose codes may have another form."""
    wanted = [languages.parse(code).code for code in (source, target)]
    same = (pair for pair in known if [languages.parse(code).code for code in pair.split("-")] == wanted)
    return f"{source}-{target}" if f"{source}-{target}" in known else next(same, None)


def _check(name: str, pair: str, files: list[Path], folder: Path) -> list[Path]:
    """Return the files of a test set if there is a reference and all are of one length.

    sacreBLEU keeps and uses what an interrupted download has left (sacrebleu#16).
    """
    if len(files) < 2:
        raise DataError(f"sacreBLEU's test set {name} {pair} has no reference; another version of sacreBLEU may have")
    counts = {file.name: sum(1 for _ in read_lines(file)) for file in files}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{file} has {count}" for file, count in counts.items())
        raise DataError(
            f"test set {name} {pair} in sacreBLEU's cache is damaged: its files differ in their numbers of lines "
            f"({found}); remove {folder} to download it again"
        )
    return files


def _reason(error: BaseException, complaints: list[str]) -> str:
    if isinstance(error, SystemExit):  # which is how sacreBLEU ends after a wrong checksum
        return complaints[0] if complaints else "what was downloaded is something else"
    kind = "" if isinstance(error, OSError) or not str(error) else f"{type(error).__name__}: "
    return kind + first_line(error)


def _folder(dataset: Any) -> Path:
    """Return the folder in which sacreBLEU keeps a test set, after moving it if it could not be made."""
    folder = Path(dataset._outdir)
    if not folder.is_dir() and not can_be_made(folder):
        folder = temporary_cache() / "sacrebleu" / dataset.name
        dataset._outdir, dataset._rawdir = str(folder), str(folder / "raw")
    return folder


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Set the timeout of new sockets, as sacreBLEU sets none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def _log_of(library: str) -> Iterator[list[str]]:
    """Keep a library's log records off standard error, and yield the list of them."""
    logger, lines = logging.getLogger(library), []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        yield lines
    finally:
        logger.handlers, logger.propagate = before
