"""Knows by the first bytes of a file what it is: text, compressed text, or a format that is refused by its name."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import json
import lzma
import re
import unicodedata
import zlib
from collections.abc import Callable
from typing import Any

from transformer.errors import DataError

HEAD = 4096
"""Number of first bytes by which a format is known."""
DEEPEST = 3
"""Layers of compression above which a file is refused."""
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a damaged or truncated compressed file raises."""
MOST_CONTROLS, KINDS_OF_CONTROLS = 0.02, 4
"""Share of control bytes, and number of different ones, above which bytes are no text: random bytes have 0.1 and 24."""


def _with_arrow(codec: str) -> Callable[[Any], Any]:
    def opener(stream: Any) -> Any:
        import pyarrow

        return pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, "r"), codec)

    return opener


OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"]\x00\x00": lzma.open,
    b"\x28\xb5\x2f\xfd": _with_arrow("zstd"),
    b"\x04\x22\x4d\x18": _with_arrow("lz4"),
    **{b"BZh%d1AY&SY" % level: bz2.open for level in range(1, 10)},
    **{b"BZh%d\x17rE8P\x90" % level: bz2.open for level in range(1, 10)},
}
"""How compressed text is opened, by its first bytes."""
SKIPPABLE = b"\x2a\x4d\x18"
"""What follows the first byte, 0x50 to 0x5f, of a frame that readers of zstd and lz4 skip. pzstd begins with one."""
UNPACK = "unpack it first"
AS_TEXT = "save it as plain text in UTF-8"
TABLE = "give tables with data.*.parquet or data.*.json"
MODEL = "it holds no text"
SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (
        0,
        b"PK\x03\x04",
        "a zip archive (perhaps docx, xlsx or odt)",
        f"{UNPACK}, or {AS_TEXT}, or give an archive with data.*.zip",
    ),
    (0, b"PK\x05\x06", "an empty zip archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"!<arch>\n", "an ar archive", UNPACK),
    (0, b"MSCF\x00", "a cabinet archive", UNPACK),
    (0, b"\x1f\x9d", "a file of compress (.Z)", UNPACK),
    (0, b"\x1f\xa0", "a file of compress (.Z)", UNPACK),
    (0, b"LZIP\x01", "an lzip file", UNPACK),
    (0, b"\x02\x21\x4c\x18", "a legacy lz4 file (lz4 -l)", UNPACK),
    (0, b"\x89LZO", "an lzop file", UNPACK),
    (0, b"\xff\x06\x00\x00sNaPpY", "a snappy file", UNPACK),
    (0, b"x\x9c", "zlib data", UNPACK),
    (0, b"x\xda", "zlib data", UNPACK),
    (0, b"%PDF-", "a PDF document", AS_TEXT),
    (0, b"{\\rtf", "an RTF document", AS_TEXT),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (doc, xls or ppt)", AS_TEXT),
    (0, b"%!PS", "a PostScript document", AS_TEXT),
    (0, b"PAR1", "a Parquet table", TABLE),
    (0, b"ARROW1", "an Arrow table", f"convert it; {TABLE}"),
    (0, b"\xff\xff\xff\xff", "an Arrow stream", f"convert it; {TABLE}"),
    (0, b"Obj\x01", "an Avro table", f"convert it; {TABLE}"),
    (0, b"SQLite format 3\x00", "an SQLite database", f"export it; {TABLE}"),
    (0, b"\x89HDF\r\n", "an HDF5 file", MODEL),
    (0, b"\x93NUMPY", "a NumPy array", MODEL),
    (0, b"GGUF", "a GGUF model", MODEL),
    *((0, b"\x80%c" % version, "a file of Python objects", MODEL) for version in range(2, 6)),
    (0, b"\x89PNG\r\n", "a PNG image", MODEL),
    (0, b"\xff\xd8\xff", "a JPEG image", MODEL),
    (0, b"GIF87a", "a GIF image", MODEL),
    (0, b"GIF89a", "a GIF image", MODEL),
    (0, b"II*\x00", "a TIFF image", MODEL),
    (0, b"MM\x00*", "a TIFF image", MODEL),
    (8, b"WEBP", "a WebP image", MODEL),
    (8, b"WAVEfmt", "a WAVE recording", MODEL),
    (4, b"ftyp", "a film or an image (MP4, HEIC)", MODEL),
    (0, b"OggS\x00", "an Ogg recording", MODEL),
    (0, b"fLaC\x00", "a FLAC recording", MODEL),
    (0, b"ID3\x02", "an MP3 recording", MODEL),
    (0, b"ID3\x03", "an MP3 recording", MODEL),
    (0, b"ID3\x04", "an MP3 recording", MODEL),
    (0, b"\x7fELF", "a program", MODEL),
    (0, b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS, not the file itself", "run `git lfs pull`"),
)
"""Place and bytes of a format, its name, and advice. No bytes go beyond the first line end, as a pipe may hold no more
yet. Letters and digits alone could be text, unless a NUL follows."""
SGML = re.compile(rb"<(srcset|refset|tstset|mteval|dataset|doc)\b")
HTML = re.compile(rb"(<!--.*?(-->|$)\s*)*<(!doctype html|html|head|body|meta|title)\b", re.DOTALL)
BLANKS, FEWEST_BLANKS = " \n", 0.6
"""In UTF-16 and UTF-32, more than this share of the bytes of blanks and line feeds have NUL bytes beside them."""
MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def open_text(stream: Any, name: str, any_encoding: bool = False) -> io.BufferedReader:
    """Return a stream of text, decompressed. `stream` is at its start; it may be a pipe.

    Raises DataError with the format's name if the bytes are not text in UTF-8, or, with `any_encoding`, not text.
    """
    for _ in range(DEEPEST + 1):
        try:
            head, stream = _peek(stream)
        except DAMAGE as error:
            raise unreadable(name, error) from None
        if not (any_encoding and (_unmarked(head) or any(head.startswith(mark) for mark, _ in MARKS))):
            refuse(head, name)
        opener = _opener(head)
        if opener is None:
            return stream
        stream = _Above(opener(stream), stream)
    raise DataError(f"{name} is compressed more than {DEEPEST} times; {UNPACK}")


def _opener(head: bytes) -> Callable[[Any], Any] | None:
    """Return how compressed text with these first bytes is opened; None if it is not compressed."""
    place = 0
    while head[place + 1 : place + 4] == SKIPPABLE and head[place] >> 4 == 5 and place < len(head):
        place += 8 + int.from_bytes(head[place + 4 : place + 8], "little")
    beyond = place and place >= len(head)  # pzstd's frame is short; zstd is the more usual of the two
    start = b"\x28\xb5\x2f\xfd" if beyond else head[place:]
    return next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), None)


def unreadable(name: str, error: BaseException) -> DataError:
    """Return the error for a damaged file."""
    return DataError(f"{name} cannot be read to its end: {error}")


def refuse(head: bytes, name: str) -> None:
    """Raise DataError if these first bytes are those of a format that is neither text nor compressed text."""
    if found := what_it_is(head):
        raise DataError(f"{name} is {found[0]}; {found[1]}")


def what_it_is(head: bytes) -> tuple[str, str] | None:
    """Return the name of a format that is not text, with advice; None for text, compressed or not."""
    if encoding := next((encoding for mark, encoding in MARKS if head.startswith(mark)), None):
        return _encoded(encoding)
    for place, magic, name, advice in SIGNATURES:
        if head.startswith(magic, place) and (b"\0" in head or not magic.isalnum()):
            return name, advice
    if _is_tar(head):
        return "a tar archive", UNPACK
    if _opener(head) is not None:
        return None
    if encoding := _unmarked(head):
        return _encoded(encoding)
    controls = _controls(head)
    if len(controls) > MOST_CONTROLS * len(head) and len(set(controls)) >= KINDS_OF_CONTROLS:
        return "not text in any encoding", "give plain text in UTF-8"
    return None


def markup(head: bytes) -> tuple[str, str] | None:
    """Return the name of a format that is text but does not hold a sentence a line, with advice; else None."""
    start = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if start.startswith((b"<?xml", b"<tmx", b"<!doctype tmx")):
        return "an XML document (perhaps TMX)", "give TMX with data.*.tmx, or convert it to two text files or a table"
    if SGML.match(start):
        return "an SGML document (perhaps a test set of WMT)", "extract its text, for example with sacrebleu"
    if HTML.match(start):
        return "an HTML page, perhaps the answer of a web site instead of the file", "download it anew"
    first = head.split(b"\n")[0]
    if first.startswith(b'{"') and first.rstrip().endswith(b"}"):
        with contextlib.suppress(ValueError, RecursionError):
            json.loads(first)
            return "a table of JSON", "give it with data.*.json"
    return None


def in_another_encoding(head: bytes) -> bool:
    """Return whether most of these lines, and ten at least, are not UTF-8."""
    lines = head.split(b"\n")
    broken = sum(not _is_utf8(line) for line in lines)
    return broken >= 10 and 2 * broken > len(lines)


_NO_CONTROLS = bytes({*range(32, 256), *b"\t\n\v\f\r\b\x1b"})


def _controls(head: bytes) -> bytes:
    """Return the control bytes among these that text does not have."""
    return head.translate(None, _NO_CONTROLS)


def _encoded(encoding: str) -> tuple[str, str]:
    return f"{encoding} text, not UTF-8", f"convert it, for example with: iconv -f {encoding} -t UTF-8"


def _is_utf8(head: bytes) -> bool:
    """Return whether bytes are UTF-8, which may end inside a character."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _is_tar(head: bytes) -> bool:
    """Return whether the checksum in a tar header holds, which is so in old archives as well."""
    if len(head) < 512 or b"\0" not in head[:512]:
        return False
    try:
        stated = int(head[148:156].strip(b" \0"), 8)
    except ValueError:
        return False
    return stated == sum(head[:148]) + 8 * 32 + sum(head[156:512])


def _unmarked(head: bytes) -> str | None:
    """Return the encoding of text in UTF-16 or UTF-32 without a mark, or ISO-2022-JP; else None."""
    if any(shift in head for shift in (b"\x1b$B", b"\x1b$@", b"\x1b(J")):
        return "ISO-2022-JP"
    lines = head.split(b"\n")
    if sum(b"\0" in line for line in lines) * 2 < len(lines):
        return None  # in these encodings the line ends have NUL bytes
    for encoding, width, zero in (("UTF-32LE", 4, 3), ("UTF-32BE", 4, 0), ("UTF-16LE", 2, 1), ("UTF-16BE", 2, 0)):
        if head[zero::width].count(0) * 2 < head.count(0) * (1 if width == 2 else 0.5):
            continue
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(head)
        except UnicodeDecodeError:
            continue
        blanks = sum(head.count(ord(blank)) for blank in BLANKS)
        if blanks:
            certain = sum(text.count(blank) for blank in BLANKS) > FEWEST_BLANKS * blanks
        else:
            certain = len(text) > 2 and head.count(0) > len(head) / 3
        if certain and all(map(_plausible, text)):
            return encoding
    return None


def _plausible(letter: str) -> bool:
    return letter in "\n\r\t" or unicodedata.category(letter) not in ("Cc", "Cn", "Co", "Cs")


# ---- streams --------------------------------------------------------------------------------------------


class _Above(io.BufferedReader):
    """A buffered stream over another, which it closes as well."""

    def __init__(self, stream: Any, below: Any) -> None:
        super().__init__(stream, 1 << 16)
        self._below = below

    def close(self) -> None:
        super().close()
        self._below.close()


class _Again(io.RawIOBase):
    """A stream whose first bytes were read and come again."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._head:
            return int(self._rest.readinto1(buffer))
        part, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def _peek(stream: Any) -> tuple[bytes, Any]:
    """Return the first bytes of a stream, and a stream that still has them.

    A pipe may hold less than a line yet. As a writer may wait for the answer to a line, it is read to the first line
    end only.
    """
    if not hasattr(stream, "peek"):
        stream = io.BufferedReader(stream)
    head = stream.peek(HEAD)[:HEAD]
    if len(head) >= 512 or b"\n" in head or stream.seekable():
        return head, stream
    head = stream.readline(HEAD)
    return head, _Above(_Again(head, stream), stream)
