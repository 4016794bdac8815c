"""Reads lines of text: line ends, decompression, and bytes that are not UTF-8."""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from transformer.data.formats import DAMAGE, HEAD, in_another_encoding, markup, open_text, unreadable
from transformer.errors import DataError
from transformer.paths import expanded

LONGEST_LINE = 1 << 24
"""Bytes of a decompressed line above which a file is refused: it is not text, and the line could fill the memory."""
BLOCK = 16
"""Lines that are decoded at once, which is faster than one by one."""
MARK = b"\xef\xbb\xbf"
"""The byte-order mark of UTF-8."""
log = logging.getLogger(__name__)


def raw_lines(stream: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield the bytes of each line of an opened text.

    Lines end at LF only. A CR before the LF is removed, and so are byte-order marks at the start of the file.
    """
    read = functools.partial(stream.readline, LONGEST_LINE + 1)
    try:
        lines = iter(read, b"")
        for raw in itertools.islice(lines, 1):
            while raw.startswith(MARK):
                raw = raw.removeprefix(MARK)
            lines = itertools.chain((raw,), lines)
        for number, raw in enumerate(lines, 1):
            if len(raw) > LONGEST_LINE:
                raise DataError(f"{name}, line {number} is longer than {LONGEST_LINE >> 20} MiB, so it is not text")
            yield raw.removesuffix(b"\n").removesuffix(b"\r")
    except DAMAGE as error:
        raise unreadable(name, error) from None


def decode_lines(raw_lines: Iterable[bytes], name: str) -> Iterator[str | None]:
    """Yield each line as text, or None if it is not UTF-8.

    Raises DataError at the end if most lines have a NUL byte.
    """
    number = with_nul = 0
    lines = iter(raw_lines)
    while block := list(itertools.islice(lines, BLOCK)):
        number += len(block)
        whole = b"\n".join(block)
        if b"\0" in whole:
            with_nul += sum(b"\0" in raw for raw in block)
        try:
            yield from whole.decode("utf-8").split("\n")
        except UnicodeDecodeError:
            yield from map(_text, block)
    if 2 * with_nul > number:
        raise DataError(f"{name} is not text: {with_nul} of {number} lines have NUL bytes")


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def lenient_lines(stream: IO[bytes], name: str) -> Iterator[tuple[str, bool]]:
    """Yield the text of each line, with U+FFFD for bytes that are not UTF-8, and whether the line was valid UTF-8.

    Raises DataError if the stream is not text. Compressed text is decompressed.
    """
    for raw in raw_lines(open_text(stream, name), name):
        text = raw.decode("utf-8", "replace")
        yield text, "\ufffd" not in text or text.encode("utf-8") == raw


def read_lines(path: Path) -> Iterator[str | None]:
    """Yield the lines of a plain or compressed text file, or None for a line that is not UTF-8.

    Raises DataError if it is not text with a sentence a line.
    """
    with open_bytes(path) as stream:
        yield from lines_of(stream, str(path))


def lines_of(stream: io.BufferedReader, name: str) -> Iterator[str | None]:
    """Yield the lines of a stream that `open_text` has returned, as `read_lines` does."""
    head = stream.peek(HEAD)[:HEAD]
    if found := markup(head):
        raise DataError(f"{name} is {found[0]}; {found[1]}")
    if b"\n" not in head and head.count(b"\r") > 1:
        raise DataError(f"{name}: its lines end with CR alone; convert it, for example with: tr '\\r' '\\n'")
    yield from decode_lines(raw_lines(stream, name), name)


def read_text(path: Path) -> list[str]:
    """Return all lines of a text file. Raises DataError if one is not UTF-8."""
    found = []
    for number, line in enumerate(read_lines(path), 1):
        if line is None:
            raise DataError(f"{path}, line {number} is not UTF-8{_other_encoding(path)}")
        found.append(line)
    return found


def undecodable(path: Path | None, place: str) -> DataError:
    """Return the error for training text that is not UTF-8: the place in words, and the file."""
    advice = "; fix it, or drop such lines from training with data.undecodable=drop"
    return DataError(f"{place} is not UTF-8{(path and _other_encoding(path)) or advice}")


def _other_encoding(path: Path) -> str:
    """Return advice to convert a file most of whose first lines are not UTF-8, else nothing."""
    if not expanded(path).is_file():
        return ""
    with open_bytes(path) as stream:
        if not in_another_encoding(stream.peek(HEAD)[:HEAD]):
            return ""
    return ", nor are most lines at its start; convert it from its encoding, for example with iconv"


class _Counted(io.FileIO):
    """A file that counts the bytes that are read of all such files."""

    def readinto(self, buffer: Any, /) -> int | None:
        global _bytes_read
        count = super().readinto(buffer)
        _bytes_read += count or 0
        return count


_bytes_read = 0


def bytes_read() -> int:
    """Return how many bytes of files this process has read as text. Two values tell how far one reading is."""
    return _bytes_read


def open_plain(path: Path) -> io.BufferedReader:
    """Open a file, pipe or device for reading its raw bytes. Raises DataError if that is impossible."""
    path = expanded(path)
    if not path.exists():
        raise DataError(f"no such file: {path}")
    if not (path.is_file() or path.is_fifo() or path.is_char_device()):
        raise DataError(f"{path} is not a file")
    try:
        return io.BufferedReader(_Counted(path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal. Raises DataError if it cannot be read."""
    with open_plain(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def open_bytes(path: Path, any_encoding: bool = False) -> io.BufferedReader:
    """Open a file for reading its decompressed bytes. Formats are known by the first bytes, not by the name.

    Raises DataError if it is not text in UTF-8; with `any_encoding`, the caller finds that out.
    """
    plain = open_plain(path)
    try:
        return open_text(plain, str(path), any_encoding)
    except DataError:
        plain.close()
        raise


@functools.cache
def warn_once(sentence: str) -> None:
    """Log a warning about a text, once in a process: a text is read several times."""
    log.warning("%s", sentence)
