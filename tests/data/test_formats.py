"""A file is known by its first bytes: text is read, whatever compresses it, and other formats are refused by name."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import os
import re
import sqlite3
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import feather, parquet
from support.command import GREEDY, last_line_has, main, train

from transformer.data.formats import open_text, what_it_is
from transformer.data.lines import raw_lines, read_lines, read_text
from transformer.errors import DataError

TEXT = "".join(f"Zeile {number} mit Wörtern für den Test\n" for number in range(300))
SCRIPTS = {
    "Latin": "Hallo\n",
    "Russian": "Привет, мир, как дела\nхорошо\n" * 9,
    "Arabic": "مرحبا بالعالم\n" * 9,
    "Hindi": "नमस्ते दुनिया\n" * 9,
    "Chinese": "你好世界\n",
    "Chinese with low bytes of zero": "一二三\n" * 5,
    "Korean": "안녕하세요 세계\n" * 9,
    "emoji": "👍 ok 😀\n" * 5,
}


def filled(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def tar(layout: int = tarfile.USTAR_FORMAT, old: bool = False) -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with tarfile.open(fileobj=buffer, mode="w", format=layout) as archive:
            info = tarfile.TarInfo("corpus/train.en")
            info.size = len(TEXT.encode())
            archive.addfile(info, io.BytesIO(TEXT.encode()))

    content = bytearray(filled(write))
    if old:  # before POSIX, a header had no magic
        content[257:265] = bytes(8)
        content[148:156] = b"%06o\0 " % (sum(content[:148]) + 8 * 32 + sum(content[156:512]))
    return bytes(content)


def compressed(codec: str, content: bytes) -> bytes:
    buffer = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(buffer, codec) as stream:
        stream.write(content)
    return bytes(buffer.getvalue())


def zip_archive() -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("word/document.xml", TEXT)

    return filled(write)


def database() -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("create table pairs (en, de)")
        return connection.serialize()


TABLE = pyarrow.table({"en": ["one"], "de": ["eins"]})
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
    "zstd": lambda content: compressed("zstd", content),
    "lz4": lambda content: compressed("lz4", content),
    "pzstd": lambda content: b"\x50\x2a\x4d\x18\x04\0\0\0size" + compressed("zstd", content),
    "lz4 after a frame to skip": lambda content: b"\x5f\x2a\x4d\x18\x02\0\0\0xx" + compressed("lz4", content),
}
FORMATS: dict[str, tuple[bytes, str]] = {
    **{f"tar {layout}": (tar(layout), "a tar archive") for layout in (0, 1, 2)},
    "tar before POSIX": (tar(old=True), "a tar archive"),
    **{f"tar.{name}": (compress(tar()), "a tar archive") for name, compress in COMPRESSORS.items()},
    "zip": (zip_archive(), r"a zip archive \(perhaps docx, xlsx or odt\)"),
    "zip.gz": (gzip.compress(zip_archive()), "a zip archive"),
    "lz4 -l": (b"\x02\x21\x4c\x18\x05\0\0\0\x40one\n", "a legacy lz4 file"),
    "7z": (b"7z\xbc\xaf\x27\x1c\x00\x04", "a 7z archive"),
    "rar": (b"Rar!\x1a\x07\x01\x00", "a RAR archive"),
    "compress": (b"\x1f\x9d\x90ab", r"a file of compress \(.Z\)"),
    "zlib": (zlib.compress(TEXT.encode()), "zlib data"),
    "PDF": (b"%PDF-1.4\n%\xe2\xe3\n1 0 obj", "a PDF document"),
    "RTF": (b"{\\rtf1\\ansi hello}", "an RTF document"),
    "doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(40), "an old Office document"),
    "Parquet": (filled(lambda buffer: parquet.write_table(TABLE, buffer)), "a Parquet table"),
    "Feather": (filled(lambda buffer: feather.write_feather(TABLE, buffer)), "an Arrow table"),
    "SQLite": (database(), "an SQLite database"),
    "NumPy": (filled(lambda buffer: np.save(buffer, np.zeros(3))), "a NumPy array"),
    "PNG": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image"),
    "WAVE": (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0", "a WAVE recording"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
    "noise": (np.random.default_rng(1).bytes(3000), "not text in any encoding"),
    "ISO-2022-JP": ("これは日本語\n".encode("iso2022_jp"), "ISO-2022-JP text"),
    **{f"{name} with a mark": (TEXT.encode(name), f"{name.upper()} text") for name in ("utf-16", "utf-32")},
    **{
        f"{script} in {encoding}": (text.encode(encoding), f"{encoding.upper()} text")
        for script, text in SCRIPTS.items()
        for encoding in ("utf-16le", "utf-16be", "utf-32le", "utf-32be")
    },
    "a word in UTF-16": ("Hallo".encode("utf-16-le"), "UTF-16LE text"),
    "UTF-16 in gz": (gzip.compress(TEXT.encode("utf-16")), "UTF-16 text"),
    "gz in gz in gz in gz": (
        functools.reduce(lambda content, _: gzip.compress(content), range(4), b"a\n"), "compressed more than 3 times",
    ),
}  # fmt: skip
PLAIN = {
    **{script: text.encode() for script, text in SCRIPTS.items()},
    "Latin-1": TEXT.encode("latin-1"),
    "GBK": "我们今天去公园散步\n".encode("gbk") * 20,
    "Shift-JIS": "これは日本語の文章です。\n".encode("shift_jis") * 20,
    "KOI8-R": SCRIPTS["Russian"].encode("koi8-r"),
    "a few NUL bytes": TEXT.encode().replace(b"W", b"\0", 3),
    "names of formats": b"PAR1 is a gene.\nGGUF, RIFF, BZh, PK and OggS\n",
    "escapes": b"\x1b[31mred\x1b[0m\n" * 9,
    "nothing": b"",
}


def piped(content: bytes, slowly: bool = False) -> Any:
    """Return a pipe from which this can be read; its first bytes come one by one if `slowly`."""
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb", buffering=0) as file:
            try:
                for byte in content[:6] if slowly else b"":
                    file.write(bytes([byte]))
                file.write(content[6 if slowly else 0 :])
            except BrokenPipeError:
                pass

    threading.Thread(target=write, daemon=True).start()
    return os.fdopen(reader, "rb")


def opened(content: bytes, slowly: bool = True) -> list[Any]:
    return [io.BytesIO(content), piped(content), *([piped(content, slowly=True)] if slowly else [])]


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_not_text_is_refused_by_its_name(name: str) -> None:
    content, sentence = FORMATS[name]
    for stream in opened(content, slowly=not name.endswith("le")):  # their line ends have bytes behind LF
        with stream, pytest.raises(DataError, match=f"^x is {sentence}"):
            open_text(stream, "x").read()


@pytest.mark.parametrize("name", COMPRESSORS)
def test_compressed_text_is_read(name: str) -> None:
    compress = COMPRESSORS[name]
    for content, expected in ((compress(TEXT.encode()), TEXT), (gzip.compress(compress(TEXT.encode())), TEXT)):
        for stream in opened(content):
            with open_text(stream, "x") as text:
                assert text.read() == expected.encode()
    if name not in ("lzma", "lz4"):
        with open_text(io.BytesIO(2 * compress(TEXT.encode())), "x") as text:
            assert text.read() == 2 * TEXT.encode()
    noise = os.urandom(9000).hex().encode()
    with (
        pytest.raises(DataError, match="cannot be read to its end"),
        open_text(io.BytesIO(compress(noise)[:5000]), "x") as text,
    ):
        list(raw_lines(text, "x"))


@pytest.mark.parametrize("name", PLAIN)
def test_text_is_taken_for_text(name: str) -> None:
    assert what_it_is(PLAIN[name][:4096]) is None
    for stream in opened(PLAIN[name]):
        with open_text(stream, "x") as text:
            assert text.read() == PLAIN[name]


@pytest.mark.parametrize("name", ["tar.gz", "zip", "Parquet", "Russian in utf-16le", "noise", "PDF"])
def test_every_command_refuses_what_is_not_text(trained_run: Path, tmp_path: Path, name: str) -> None:
    content, sentence = FORMATS[name]
    bad, good = tmp_path / "bad", tmp_path / "good"
    bad.write_bytes(content)
    good.write_text("eins\n" * 300)
    for found in (
        main("translate", trained_run, bad, *GREEDY),
        main("translate", trained_run, *GREEDY, stdin=content),
        main("translate", trained_run, "--prefix", bad, *GREEDY, stdin=b"one\n"),
        main("evaluate", trained_run, "--source", bad, "--reference", good),
        main("evaluate", trained_run, "--source", good, "--reference", bad),
        main("score", trained_run, "--source", bad, "--target", good),
        train(tmp_path, f"{{files: ['{good}', '{bad}']}}", "data.undecodable=drop"),
        train(tmp_path, f"{{tsv: '{bad}'}}"),
        train(tmp_path, f"{{json: '{bad}'}}"),
    ):
        assert found.code == 1
        assert found.out == b""
        assert last_line_has(f" is {sentence}.*; ", found.err), found.err
        assert "data.undecodable" not in found.err


def test_compressed_standard_input_is_translated(trained_run: Path) -> None:
    for compress in COMPRESSORS.values():
        assert main("translate", trained_run, stdin=compress(b"one two\n")).out == b"zwei eins\n"


def test_text_in_another_encoding_is_to_be_converted_not_dropped(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes("für\tfor\n".encode("latin-1") * 20)
    found = train(tmp_path, f"{{tsv: '{path}'}}")
    assert last_line_has(
        "line 1 is not UTF-8, nor are most lines at its start; convert it from its encoding", found.err
    )


def test_nul_bytes_in_most_lines_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one\0\ntwo\0\nthree\n")
    with pytest.raises(DataError, match="x is not text: 2 of 3 lines have NUL bytes"):
        read_text(path)
    path.write_bytes(b"one\0\ntwo\nthree\n")
    assert read_text(path) == ["one\0", "two", "three"]


def test_lines_that_end_with_cr_alone_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one\rtwo\rthree\r")
    with pytest.raises(
        DataError, match=r"x: its lines end with CR alone; convert it, for example with: tr '\\r' '\\n'"
    ):
        list(read_lines(path))


def test_marks_of_joined_files_do_not_pile_up(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbf\xef\xbb\xbfone\n")
    assert read_text(tmp_path / "x") == ["one"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            b'<?xml version="1.0"?>\n<tmx version="1.4">\n',
            "an XML document (perhaps TMX); give TMX with data.*.tmx, or convert it to two text files",
        ),
        (b'<srcset setid="newstest2014" srclang="any">\n', "an SGML document (perhaps a test set of WMT); extract its"),
        (b"<!-- saved -->\n<head>\n", "an HTML page"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html>\n", "an HTML page, perhaps the answer of a web site instead of the file"),
        (b'{"en": "one", "de": "eins"}\n', "a table of JSON; give it with data.*.json"),
    ],
)
def test_markup_is_no_training_text(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=f"x is {re.escape(sentence)}"):
        read_text(tmp_path / "x")


def test_text_with_brackets_is_text(tmp_path: Path) -> None:
    text = ['{"%s" is a variable}', "<b>bold</b>", "[1]", "<documents>"]
    (tmp_path / "x").write_text("\n".join(text))
    assert read_text(tmp_path / "x") == text
