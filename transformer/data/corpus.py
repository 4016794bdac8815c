"""Parallel text as pairs of raw strings. One table, KINDS, says how each kind of corpus is read."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from transformer.config import CORPUS_KINDS, CorpusConfig
from transformer.data import hub
from transformer.data.lines import open_plain, read_lines
from transformer.errors import DataError


class Pair(NamedTuple):
    """A sentence and its translation, as raw text."""

    source: str
    target: str

    @property
    def references(self) -> tuple[str, ...]:
        """All translations of the source that are known; `target` is the first."""
        return (self.target,)


class ReferencedPair(Pair):
    """A sentence of a test set with several translations. Training and the validation loss know the first only."""

    others: tuple[str, ...]

    def __new__(cls, source: str, target: str, *others: str) -> ReferencedPair:
        """Return the pair of a sentence and its translations."""
        pair = super().__new__(cls, source, target)
        pair.others = others
        return pair

    @property
    def references(self) -> tuple[str, ...]:
        """All translations of the source that are known; `target` is the first."""
        return (self.target, *self.others)


class Kind(NamedTuple):
    """One kind of corpus."""

    read: Callable[[CorpusConfig, str, str, bool], Iterator[Pair | None]]
    """Takes the corpus, the codes of both languages, and whether lines that are not UTF-8 are dropped."""
    local_files: Callable[[CorpusConfig], tuple[str, ...]]
    """The files whose content decides the text; none for remote data, which name and revision identify."""


def read_pairs(corpus: CorpusConfig, source: str, target: str, drop: bool = False) -> Iterator[Pair | None]:
    """Yield the pairs of a corpus in order. With `drop`, a pair that is not UTF-8 is None.

    `source` and `target` are language codes. Raises DataError if a file cannot be read, if text is not
    UTF-8 and `drop` is not set, and, at the end, if two files differ in length.
    """
    return KINDS[_kind(corpus)].read(corpus, source, target, drop)


def check_files(corpus: CorpusConfig) -> None:
    """Raise DataError for a local file that does not exist, before any work is done."""
    for name in _local_files(corpus):
        if not Path(name).exists():
            raise DataError(f"no such file: {name}")
        if not Path(name).is_file():
            raise DataError(f"{name} is not a regular file, so it cannot be read twice")


def title(corpus: CorpusConfig) -> str:
    """Return a short name for the log and the model card."""
    if local := _local_files(corpus):
        return " + ".join(Path(name).name for name in local)
    return corpus.testset or " ".join(filter(None, (corpus.dataset, corpus.name, corpus.split)))


def identity(corpus: CorpusConfig) -> dict[str, Any]:
    """Return what identifies the text of a corpus: digests of local files, or name and revision of remote data."""
    digests = []
    for name in _local_files(corpus):
        with open_plain(Path(name)) as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    if digests:
        return {"kind": _kind(corpus), "sha256": digests}
    return {key: value for key, value in asdict(corpus).items() if value is not None and key != "weight"}


def _kind(corpus: CorpusConfig) -> str:
    return next(kind for kind in CORPUS_KINDS if getattr(corpus, kind) is not None)


def _local_files(corpus: CorpusConfig) -> tuple[str, ...]:
    return tuple(str(Path(name).expanduser()) for name in KINDS[_kind(corpus)].local_files(corpus))


def _matching(patterns: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the files that match these patterns; a pattern without a match stands for itself."""
    each = (tuple(sorted(glob.glob(str(Path(pattern).expanduser())))) or (pattern,) for pattern in patterns or ())
    return tuple(name for names in each for name in names)


# ---- one reader for each kind ---------------------------------------------------------------------------


def _read_files(corpus: CorpusConfig, _source: str, _target: str, drop: bool) -> Iterator[Pair | None]:
    assert corpus.files is not None
    return _aligned(Path(corpus.files[0]), Path(corpus.files[1]), drop)


def _read_tsv(corpus: CorpusConfig, _source: str, _target: str, drop: bool) -> Iterator[Pair | None]:
    path = Path(corpus.tsv or "")
    for number, line in enumerate(read_lines(path), 1):
        if line is None:
            if not drop:
                raise _undecodable(path, number)
            yield None
            continue
        columns = line.split("\t")
        if len(columns) != 2:
            raise DataError(
                f"{path}, line {number} has {len(columns)} columns; expected source and target, separated by one tab"
            )
        yield Pair(*columns)


def _read_testset(corpus: CorpusConfig, source: str, target: str, drop: bool) -> Iterator[Pair | None]:
    sources, *references = hub.testset_files(corpus.testset or "", source, target)
    sides = (_aligned(sources, reference, drop) for reference in references)
    for pairs in zip(*sides, strict=True):
        if None in pairs:
            yield None
        else:
            yield ReferencedPair(*pairs[0], *(pair.target for pair in pairs[1:])) if len(pairs) > 1 else pairs[0]


def _read_dataset(corpus: CorpusConfig, source: str, target: str, _drop: bool) -> Iterator[Pair | None]:
    rows = hub.load_rows(corpus, title(corpus), source, target)
    return map(Pair._make, hub.read_columns(rows, source, target, title(corpus)))


def _read_local_rows(corpus: CorpusConfig, source: str, target: str, _drop: bool) -> Iterator[Pair | None]:
    check_files(corpus)
    rows = hub.load_local_rows(_kind(corpus), list(_local_files(corpus)), title(corpus))
    return map(Pair._make, hub.read_columns(rows, source, target, title(corpus)))


KINDS: dict[str, Kind] = {
    "files": Kind(_read_files, lambda corpus: corpus.files or ()),
    "tsv": Kind(_read_tsv, lambda corpus: (corpus.tsv or "",)),
    "dataset": Kind(_read_dataset, lambda corpus: ()),
    "parquet": Kind(_read_local_rows, lambda corpus: _matching(corpus.parquet)),
    "json": Kind(_read_local_rows, lambda corpus: _matching(corpus.json)),
    "testset": Kind(_read_testset, lambda corpus: ()),
}
"""By the names of CORPUS_KINDS."""


def _aligned(source: Path, target: Path, drop: bool) -> Iterator[Pair | None]:
    end = object()
    number = 0
    sides = zip_longest(read_lines(source), read_lines(target), fillvalue=end)
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


def _undecodable(path: Path, number: int) -> DataError:
    return DataError(
        f"{path}, line {number} is not UTF-8; fix it, or drop such lines from training with data.undecodable=drop"
    )
