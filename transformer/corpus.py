"""Parallel text from wherever it lives, as pairs of raw strings; the one place that reaches the network."""

from __future__ import annotations

import bz2
import glob
import gzip
import hashlib
import io
import logging
import lzma
import os
import socket
import sys
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, NamedTuple

from transformer.config import CorpusConfig
from transformer.errors import DataError

OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
LONGEST_LINE = 1 << 24
"""Bytes, after decompression: what is longer is no line of text, and would fill the memory."""
PATIENCE = 10.0
"""Seconds to wait for an answer from the network."""

log = logging.getLogger(__name__)
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)


class Pair(NamedTuple):
    """A sentence and its translation, raw."""

    source: str
    target: str


def pairs(corpus: CorpusConfig, source: str, target: str, drop: bool = False) -> Iterator[Pair | None]:
    """Yield the corpus in order; with `drop`, None stands for a pair that is not UTF-8.

    `source` and `target` are language codes. Raises DataError for what cannot be read, for text that is not
    UTF-8 without `drop`, and, at the end, for two files of different length.
    """
    if corpus.files is not None:
        yield from _aligned(Path(corpus.files[0]), Path(corpus.files[1]), drop)
    elif corpus.tsv is not None:
        yield from _tsv(Path(corpus.tsv), drop)
    elif corpus.testset is not None:
        yield from _aligned(*_testset(corpus.testset, source, target), drop)
    else:
        yield from _columns(_dataset(corpus, source, target), source, target, title(corpus))


def check(corpus: CorpusConfig) -> None:
    """Raise DataError at once for local files that are not there, before any work is done."""
    for name in _local_files(corpus):
        if not Path(name).exists():
            raise DataError(f"no such file: {name}")
        if not Path(name).is_file():
            raise DataError(f"{name} is not a file that can be read twice")


def title(corpus: CorpusConfig) -> str:
    """Return a short name for the log and the model card."""
    if corpus.dataset is not None:
        return " ".join(filter(None, (corpus.dataset, corpus.name, corpus.split)))
    if corpus.testset is not None:
        return corpus.testset
    return " + ".join(Path(name).name for name in _local_files(corpus))


def identity(corpus: CorpusConfig) -> dict[str, Any]:
    """Return what decides the corpus's text: contents of local files, or name and revision of remote data."""
    known = {key: value for key, value in asdict(corpus).items() if value is not None and key != "weight"}
    digests = []
    for name in _local_files(corpus):
        with _plain(Path(name)) as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    if digests:
        known = {
            "kind": next(k for k in ("files", "tsv", "parquet", "json") if k in known),
            "sha256": digests,
        }
    return known


def _raw_lines(stream: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield the bytes of each line.

    Lines end at LF alone; one CR before it and a byte-order mark at the very start are not text.
    """
    try:
        for number, raw in enumerate(iter(lambda: stream.readline(LONGEST_LINE + 1), b"")):
            if len(raw) > LONGEST_LINE:
                raise DataError(f"{name}, line {number + 1} is longer than {LONGEST_LINE >> 20} MiB, so it is not text")
            raw = raw.removesuffix(b"\n").removesuffix(b"\r")
            yield raw.removeprefix(b"\xef\xbb\xbf") if number == 0 else raw
    except DAMAGE as error:
        raise DataError(f"{name} cannot be read to its end: {error}") from None


def decode_lines(stream: Iterable[bytes]) -> Iterator[str | None]:
    """Yield each line as text, or None where it is not UTF-8."""
    for raw in stream:
        try:
            yield raw.decode("utf-8")
        except UnicodeDecodeError:
            yield None


def lenient_lines(stream: IO[bytes], name: str) -> Iterator[tuple[str, bool]]:
    """Yield the text of each line, U+FFFD in place of what is not UTF-8, and whether all of it was."""
    for raw in _raw_lines(stream, name):
        text = raw.decode("utf-8", "replace")
        yield text, "\ufffd" not in text or text.encode("utf-8") == raw


def lines(path: Path) -> Iterator[str | None]:
    """Yield the lines of a text file, plain or compressed; None where a line is not UTF-8."""
    with open_bytes(path) as stream:
        yield from decode_lines(_raw_lines(stream, str(path)))


def read_text(path: Path) -> list[str]:
    """Return all lines of a text file; raises DataError where one is not UTF-8."""
    found = []
    for number, line in enumerate(lines(path), 1):
        if line is None:
            raise DataError(f"{path}, line {number} is not UTF-8")
        found.append(line)
    return found


def _aligned(source: Path, target: Path, drop: bool) -> Iterator[Pair | None]:
    end = object()
    number = 0
    sides = zip_longest(lines(source), lines(target), fillvalue=end)
    for number, (left, right) in enumerate(sides, 1):
        if left is end or right is end:
            break
        if left is None or right is None:
            if not drop:
                raise _undecodable(source if left is None else target, number)
            yield None
        else:
            yield Pair(left, right)  # type: ignore[arg-type]
    else:
        return
    longer = number + sum(1 for _ in sides)
    counts = (number - 1, longer) if left is end else (longer, number - 1)
    raise DataError(
        f"{source} has {counts[0]} lines but {target} has {counts[1]}: "
        "line i of one must be the translation of line i of the other"
    )


def _tsv(path: Path, drop: bool) -> Iterator[Pair | None]:
    for number, line in enumerate(lines(path), 1):
        if line is None:
            if not drop:
                raise _undecodable(path, number)
            yield None
            continue
        columns = line.split("\t")
        if len(columns) != 2:
            raise DataError(
                f"{path}, line {number} has {len(columns)} columns; expected source and target with one tab between"
            )
        yield Pair(*columns)


def _undecodable(path: Path, number: int) -> DataError:
    return DataError(
        f"{path}, line {number} is not UTF-8; mend it, or leave such lines out of training with data.undecodable=drop"
    )


def _local_files(corpus: CorpusConfig) -> tuple[str, ...]:
    found = corpus.files or ((corpus.tsv,) if corpus.tsv else ())
    for pattern in corpus.parquet or corpus.json or ():
        found += tuple(sorted(glob.glob(str(Path(pattern).expanduser())))) or (pattern,)
    return tuple(str(Path(name).expanduser()) for name in found)


def _plain(path: Path) -> io.BufferedReader:
    path = path.expanduser()
    if not path.exists():
        raise DataError(f"no such file: {path}")
    if not (path.is_file() or path.is_fifo() or path.is_char_device()):
        raise DataError(f"{path} is not a file")
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def open_bytes(path: Path) -> IO[bytes]:
    """Open for reading bytes; what a file is, its first bytes say, not its name."""
    plain = _plain(path)
    head = plain.peek(6)[:6]
    for magic, opener in OPENERS.items():
        if head.startswith(magic):
            if not path.expanduser().is_file():  # a pipe can be opened but once
                piped: IO[bytes] = opener(plain, "rb")
                return piped
            plain.close()
            opened: IO[bytes] = opener(path.expanduser(), "rb")
            return opened
    return plain


# ---- text by name ---------------------------------------------------------------------------------------


def _testset(name: str, source: str, target: str) -> tuple[Path, Path]:
    """Return the files of a sacreBLEU test set, downloaded on first use."""
    import sacrebleu

    pair = f"{source}-{target}"
    known = sacrebleu.get_available_testsets()
    if name not in known:
        raise DataError(f"sacreBLEU has no test set {name!r}; see `sacrebleu --list`")
    if pair not in sacrebleu.get_langpairs_for_testset(name):
        raise DataError(f"sacreBLEU's test set {name} has no language pair {pair}")
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)  # sacreBLEU would wait for ever
    try:
        found = sacrebleu.get_source_file(name, pair), sacrebleu.get_reference_files(name, pair)[0]
    except (OSError, EOFError, SystemExit) as error:
        raise DataError(
            f"test set {name} {pair} is not in sacreBLEU's folder and cannot be downloaded ({error}); "
            "run once with a network, or give the text with --source and --reference"
        ) from None
    finally:
        socket.setdefaulttimeout(patience)
    return Path(found[0]), Path(found[1])


def _dataset(corpus: CorpusConfig, source: str, target: str) -> Any:
    """Return rows from Hugging Face `datasets`, memory-mapped by it."""
    files = corpus.parquet or corpus.json
    if files is None:
        _without_waiting()
    import datasets

    if files is not None:
        check(corpus)
        kind = "parquet" if corpus.parquet else "json"
        local = {"train": list(_local_files(corpus))}
        try:
            return datasets.load_dataset(kind, data_files=local, split="train")
        except (datasets.exceptions.DatasetGenerationError, ValueError, OSError, RuntimeError, StopIteration) as error:
            reason = "it is empty" if isinstance(error, StopIteration) else _first_line(error)
            raise DataError(f"cannot read {title(corpus)} as {kind}: {reason}") from None
    assert corpus.dataset is not None
    name, revision = corpus.dataset, corpus.revision
    try:
        rows = datasets.load_dataset(name, corpus.name, split=corpus.split, revision=revision)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise DataError(f"no such dataset on the Hugging Face Hub, or no access to it: {_first_line(error)}") from None
    except OSError as error:
        raise DataError(
            f"cannot download {title(corpus)}: {_first_line(error)}; "
            "run once with a network, or use files of your own with data.*.files"
        ) from None
    except (ValueError, RuntimeError) as error:
        hint = _order_hint(corpus, source, target)
        raise DataError(f"cannot load {title(corpus)}: {_first_line(error)}{hint}") from None
    commit = Path(rows.cache_files[0]["filename"]).parent.name if rows.cache_files else ""
    if revision is not None and len(revision) == 40 and commit != revision:  # offline, any cached commit is taken
        raise DataError(
            f"{title(corpus)}: revision {revision} is not downloaded, only {commit}; run once with a network"
        )
    return rows


def _without_waiting() -> None:
    """Let `datasets` use what it has downloaded where the Hub cannot be reached.

    Without this it tries again for half a minute. It reads the variable when imported, which is why this is
    the one place that sets one.
    """
    endpoint = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    host, port = endpoint.hostname or "", endpoint.port or (443 if endpoint.scheme == "https" else 80)
    if "datasets" in sys.modules or (urllib.request.getproxies() and not urllib.request.proxy_bypass(host)):
        return
    try:
        socket.create_connection((host, port), PATIENCE).close()
    except OSError as error:
        log.warning(
            "%s cannot be reached (%s): only what was downloaded before is used",
            host,
            error.strerror or error,
        )
        os.environ["HF_HUB_OFFLINE"] = "1"


def _order_hint(corpus: CorpusConfig, source: str, target: str) -> str:
    if corpus.name in (f"{source}-{target}", f"{target}-{source}"):
        other = "-".join(reversed(corpus.name.split("-")))
        return f" (a pair has one name for both directions: try {other})"
    return ""


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def _columns(rows: Any, source: str, target: str, name: str) -> Iterator[Pair]:
    """Yield pairs from `{"translation": {"de": …, "en": …}}` or from one column per language."""
    columns = rows.column_names
    nested = "translation" in columns
    if not nested and not {source, target} <= set(columns):
        raise DataError(f"{name} has columns {', '.join(columns)}; expected translation, or {source} and {target}")
    for batch in rows.iter(batch_size=1000):
        if nested:
            first = batch["translation"][0]
            if not isinstance(first, dict) or not {source, target} <= set(first):
                known = ", ".join(sorted(first)) if isinstance(first, dict) else "none"
                raise DataError(f"{name} holds the languages {known}, not {source} and {target}")
            sides = ([(row or {}).get(side) for row in batch["translation"]] for side in (source, target))
        else:
            sides = (batch[side] for side in (source, target))
        for both in zip(*sides, strict=True):
            if not all(side is None or isinstance(side, str) for side in both):
                raise DataError(f"{name} holds something else than text, such as {both!r:.60}")
            yield Pair(both[0] or "", both[1] or "")
