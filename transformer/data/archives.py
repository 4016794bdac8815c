"""Pairs from a zip archive of two aligned text files, as OPUS has them. It is read in a stream and never unpacked."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from transformer import languages
from transformer.data.formats import open_text
from transformer.data.line_pairs import aligned_lines
from transformer.data.lines import lines_of, open_plain
from transformer.errors import DataError

DAMAGE = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError)
"""What zipfile raises for a damaged archive, an unknown compression, and an encrypted file."""
MOST_FILES = 10_000
LICENCES = ("LICENSE", "LICENCE", "LICENSE.txt", "COPYING")
LONGEST_LICENCE = 200
"""Characters of the licence that are kept."""


def read_zip(path: Path, source: str, target: str, drop: bool) -> Iterator[tuple[str, str] | None]:
    """Yield the pairs of an archive. `drop` is as in `corpus.read_pairs`."""
    with open_plain(path) as stream:
        archive = _opened(path, stream)
        names = texts_in(path, archive, source, target)
        try:
            with archive.open(names[0]) as left, archive.open(names[1]) as right:
                sides = [
                    (
                        Path(f"{path}/{name}"),
                        lines_of(open_text(io.BufferedReader(side), f"{path}/{name}"), f"{path}/{name}"),
                    )
                    for name, side in zip(names, (left, right), strict=True)
                ]
                yield from aligned_lines(sides[0], sides[1], drop)
        except DAMAGE as error:
            raise _damaged(path, error) from None


def check_zip(path: Path, source: str, target: str) -> str:
    """Return the first line of the licence in an archive, or nothing.

    Raises DataError if it has no two texts, or if one cannot be read to its end or fails its checksum.
    """
    with open_plain(path) as stream:
        archive = _opened(path, stream)
        for name in texts_in(path, archive, source, target):
            try:
                with archive.open(name) as file:
                    while file.read(1 << 20):
                        pass
            except DAMAGE as error:
                raise _damaged(path, error) from None
        for info in archive.infolist():
            if info.filename in LICENCES:
                try:
                    with archive.open(info) as file:
                        lines = file.read(1 << 14).decode("utf-8", "replace").splitlines()
                except DAMAGE:
                    return ""
                return next((line.strip()[:LONGEST_LICENCE] for line in lines if line.strip()), "")
    return ""


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read to its end: {error}")


def texts_in(path: Path, archive: zipfile.ZipFile, source: str, target: str) -> tuple[str, str]:
    """Return the names of the files with the two texts: those that end in the codes of the languages.

    `.en` serves for `en_GB`, but no other script does, and no file is both texts.
    """
    names = [info.filename for info in archive.infolist() if not info.is_dir() and not _of_macos(info.filename)]
    if len(names) > MOST_FILES:
        raise DataError(f"{path} has {len(names)} files, more than {MOST_FILES}")
    codes = {name: name.rpartition(".")[2] for name in names}
    found: list[str] = []
    for language, other in ((source, target), (target, source)):
        fitting = [name for name in names if codes[name] == language] or [
            name for name in names if codes[name] != other and languages.fits(codes[name], language)
        ]
        if len(fitting) != 1:
            listed = ", ".join(sorted(names)[:10])
            raise DataError(f"{path} has {len(fitting)} files that end in .{language}, not one; it has {listed}")
        found += fitting
    if found[0] == found[1]:
        raise DataError(f"{path} has one file for both {source} and {target}: {found[0]}")
    return found[0], found[1]


def _of_macos(name: str) -> bool:
    """Return whether a file is one that macOS adds to an archive."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith("._")


def _opened(path: Path, stream: io.BufferedReader) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(stream)
    except DAMAGE as error:
        raise DataError(f"{path} is not a zip archive that can be read: {error}") from None
