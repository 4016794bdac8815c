"""Reads lines of text: line ends, decompression, and bytes that are not UTF-8."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from transformer.errors import DataError

OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
LONGEST_LINE = 1 << 24
"""Bytes of a decompressed line above which a file is refused: it is not text, and the line could fill the memory."""
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)


def _raw_lines(stream: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield the bytes of each line.

    Lines end at LF only. A CR before the LF is removed, and so is a byte-order mark at the start of the file.
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
    """Yield each line as text, or None if it is not UTF-8."""
    for raw in stream:
        try:
            yield raw.decode("utf-8")
        except UnicodeDecodeError:
            yield None


def lenient_lines(stream: IO[bytes], name: str) -> Iterator[tuple[str, bool]]:
    """Yield the text of each line, with U+FFFD for bytes that are not UTF-8, and whether the line was valid UTF-8."""
    for raw in _raw_lines(stream, name):
        text = raw.decode("utf-8", "replace")
        yield text, "\ufffd" not in text or text.encode("utf-8") == raw


def read_lines(path: Path) -> Iterator[str | None]:
    """Yield the lines of a plain or compressed text file, or None for a line that is not UTF-8."""
    with open_bytes(path) as stream:
        yield from decode_lines(_raw_lines(stream, str(path)))


def read_text(path: Path) -> list[str]:
    """Return all lines of a text file. Raises DataError if one is not UTF-8."""
    found = []
    for number, line in enumerate(read_lines(path), 1):
        if line is None:
            raise DataError(f"{path}, line {number} is not UTF-8")
        found.append(line)
    return found


def open_plain(path: Path) -> io.BufferedReader:
    """Open a file, pipe or device for reading its raw bytes. Raises DataError if that is impossible."""
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
    """Open a file for reading its decompressed bytes. Compression is detected by the first bytes, not by the name."""
    plain = open_plain(path)
    head = plain.peek(6)[:6]
    for magic, opener in OPENERS.items():
        if head.startswith(magic):
            if not path.expanduser().is_file():  # a pipe cannot be opened a second time
                piped: IO[bytes] = opener(plain, "rb")
                return piped
            plain.close()
            opened: IO[bytes] = opener(path.expanduser(), "rb")
            return opened
    return plain
