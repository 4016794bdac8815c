"""Corpora by their identifiers in mtdata (Gowda et al. 2021), through its package; kept as two files in the cache."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformer import atomic, languages
from transformer.data.line_pairs import aligned_files
from transformer.data.tables import first_line
from transformer.data_config import CorpusConfig
from transformer.errors import DataError
from transformer.system.caches import user_cache
from transformer.system.progress_bar import ProgressBar

IDENTIFIER = re.compile(r"[\w.]+-[\w.]+-[\w.]+-\w+-\w+")
FILES = ("source", "target")


def read_mtdata(
    corpus: CorpusConfig, source: str, target: str, drop: bool, *_rest: object
) -> Iterator[tuple[str, str] | None]:
    """Yield the pairs of a corpus, which is downloaded first. `drop` is as in `corpus.read_pairs`."""
    left, right = mtdata_files(corpus, source, target)
    return aligned_files(left, right, drop)


def mtdata_files(corpus: CorpusConfig, source: str, target: str) -> tuple[Path, Path]:
    """Return the texts of a corpus in the cache, source and target. Raises DataError if they cannot be had."""
    name = corpus.mtdata or ""
    if not IDENTIFIER.fullmatch(name):
        raise DataError(f"{name!r} is not an identifier of mtdata, such as Statmt-europarl-10-deu-eng")
    codes = [languages.parse(code).code for code in name.split("-")[-2:]]
    wanted = [languages.parse(code).code for code in (source, target)]
    if sorted(codes) != sorted(wanted):
        raise DataError(f"{name} of mtdata is in {' and '.join(codes)}, not in {source} and {target}")
    folder = user_cache() / "transformer" / "mtdata" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic.only_writer(folder.parent, wait=True):
        if atomic.damage(folder, deep=False) is not None:
            _make(folder, name)
    first, second = (folder / each for each in FILES)
    return (first, second) if codes == wanted else (second, first)


def _make(folder: Path, name: str) -> None:
    """Write the two texts of a corpus, line by line. Line ends inside a sentence become blanks."""
    with (
        atomic.new_folder(folder) as temporary,
        (temporary / FILES[0]).open("w", encoding="utf-8", newline="\n") as left,
        (temporary / FILES[1]).open("w", encoding="utf-8", newline="\n") as right,
    ):
        for pair in ProgressBar(f"reading {name}", unit="pairs").over(_pairs(name)):
            for text, file in zip(pair[:2], (left, right), strict=True):
                file.write(" ".join(str(text).splitlines()) + "\n")


def _pairs(name: str) -> Iterator[Any]:
    try:
        import mtdata
        from mtdata.cache import Cache
        from mtdata.entry import DatasetId
        from mtdata.index import INDEX
        from mtdata.parser import Parser
    except ImportError:
        raise DataError(
            "corpora of mtdata need the package mtdata: pip install 'transformer-translation[mtdata]'"
        ) from None
    try:
        identifier = DatasetId.parse(name)
        if identifier not in INDEX:
            raise DataError(f"mtdata has no corpus {name}; list those of a language with: mtdata list -l deu-eng")
        entry = INDEX[identifier]
        paths = Cache(mtdata.cache_dir).get_entry(entry)
        yield from Parser(paths, ext=entry.in_ext or None, ent=entry).read_segs(show_pbar=False)
    except (DataError, GeneratorExit):
        raise
    except Exception as error:  # of networks, archives and formats
        raise DataError(f"mtdata cannot read {name}: {first_line(error)}; run once with a network connection") from None
