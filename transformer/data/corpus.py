"""Parallel text as pairs of raw strings. One table, KINDS, says how each kind of corpus is read."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from transformer.data import hub, testsets
from transformer.data.lines import bytes_read, read_lines, sha256, undecodable
from transformer.data.tables import read_json, read_parquet
from transformer.data_config import CORPUS_KINDS, CorpusConfig
from transformer.errors import DataError
from transformer.paths import expanded, matching
from transformer.system.progress_bar import ProgressBar

SPREADSHEET = re.compile(r'"(?:[^"]|"")*"')
"""A field with quotes in it, as spreadsheets write it."""
log = logging.getLogger(__name__)


class Pair(NamedTuple):
    """A sentence and its translation, as raw text."""

    source: str
    target: str

    @property
    def references(self) -> tuple[str, ...]:
        """All translations of the source that are known; `target` is the first."""
        return (self.target,)

    def with_source(self, source: str) -> Pair:
        """Return the pair with another source text."""
        return Pair(source, self.target)


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

    def with_source(self, source: str) -> ReferencedPair:
        """Return the pair with another source text."""
        return ReferencedPair(source, self.target, *self.others)


class Kind(NamedTuple):
    """One kind of corpus."""

    read: Callable[[CorpusConfig, str, str, bool], Iterator[Pair | None]]
    """Takes the corpus, the codes of both languages, and whether lines that are not UTF-8 are dropped."""
    local_files: Callable[[CorpusConfig], tuple[str, ...]]
    """The files that the configuration names; none for data that is found by its name."""


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


def reading(what: str, corpora: Iterable[CorpusConfig]) -> ProgressBar:
    """Return the progress of reading corpora once. Its end is known if all are local files that are read as text."""
    names, start = [_local_files(corpus) for corpus in corpora if corpus.parquet is None], bytes_read()
    known = all(names) and all(map(os.path.isfile, chain(*names)))
    total = sum(map(os.path.getsize, chain(*names))) if known else 0
    return ProgressBar(what, unit="pairs", share=lambda: (bytes_read() - start) / total if total else None)


def title(corpus: CorpusConfig) -> str:
    """Return a short name for the log and the model card."""
    if local := _local_files(corpus):
        return " + ".join(Path(name).name for name in local)
    return corpus.testset or " ".join(filter(None, (corpus.dataset, corpus.name, corpus.split)))


def identity(corpus: CorpusConfig, source: str, target: str) -> dict[str, Any]:
    """Return what identifies the text of a corpus, whatever it is called: digests of its files, or its commit; its tag.

    `source` and `target` are language codes. Reads every file.
    """
    tag = {} if corpus.tag is None else {"tag": corpus.tag}
    return {**_text_identity(corpus, source, target), **tag}


def _text_identity(corpus: CorpusConfig, source: str, target: str) -> dict[str, Any]:
    if corpus.dataset is not None:
        return hub.dataset_identity(corpus, title(corpus))
    files: Iterable[str | Path] = _local_files(corpus)
    if corpus.testset is not None:
        files = testsets.testset_files(corpus.testset, source, target)
    return {"kind": _kind(corpus), "sha256": [sha256(Path(name)) for name in files]}


def former_identity(corpus: CorpusConfig) -> dict[str, Any] | None:
    """Return what identified a corpus in version 0.1 if it was not its content but its name, else None."""
    if _local_files(corpus):
        return None
    return {
        key: value for key, value in asdict(corpus).items() if value is not None and key not in ("weight", "augment")
    }


def _kind(corpus: CorpusConfig) -> str:
    return next(kind for kind in CORPUS_KINDS if getattr(corpus, kind) is not None)


def _local_files(corpus: CorpusConfig) -> tuple[str, ...]:
    return KINDS[_kind(corpus)].local_files(corpus)


# ---- one reader for each kind ---------------------------------------------------------------------------


def _read_files(corpus: CorpusConfig, _source: str, _target: str, drop: bool) -> Iterator[Pair | None]:
    assert corpus.files is not None
    return _aligned(Path(corpus.files[0]), Path(corpus.files[1]), drop)


def _read_tsv(corpus: CorpusConfig, source: str, target: str, drop: bool) -> Iterator[Pair | None]:
    path = Path(corpus.tsv or "")
    for number, line in enumerate(read_lines(path), 1):
        if line is None:
            if not drop:
                raise undecodable(path, f"{path}, line {number}")
            yield None
            continue
        columns = line.split("\t")
        if len(columns) != 2:
            raise DataError(
                f"{path}, line {number} has {len(columns)} columns; expected source and target, separated by one tab"
                f"{_advice(line, number)}"
            )
        if number == 1:
            _check_header(path, columns, source, target)
        if '"' in line and '""' in line and any(SPREADSHEET.fullmatch(column) for column in columns):
            _warn_once(f"{path} has fields in quotes, as spreadsheets write them; the quotes are read as text")
        yield Pair(*columns)


def _advice(line: str, number: int) -> str:
    """Return advice for a line that has not two columns."""
    if "\t" not in line and number == 1:
        return "; if it is CSV, save it with tabs"
    if line.count('"') % 2:
        return "; a field in quotes seems to have a line break or a tab in it"
    return ""


def _check_header(path: Path, columns: list[str], source: str, target: str) -> None:
    """Warn of a first line that names the columns. Raises DataError if it names them the other way round."""
    names = [column.strip().lower() for column in columns]
    if names == [target, source]:
        raise DataError(f"{path}: by its first line it has {target} before {source}; swap its columns")
    if names in ([source, target], ["source", "target"], ["src", "tgt"], ["src", "trg"]):
        _warn_once(f"{path}: its first line names the columns, and is read as a pair; remove it")


@functools.cache
def _warn_once(sentence: str) -> None:
    log.warning("%s", sentence)


def _read_testset(corpus: CorpusConfig, source: str, target: str, drop: bool) -> Iterator[Pair | None]:
    sources, *references = testsets.testset_files(corpus.testset or "", source, target)
    sides = (_aligned(sources, reference, drop) for reference in references)
    for pairs in zip(*sides, strict=True):
        if None in pairs:
            yield None
        else:
            yield ReferencedPair(*pairs[0], *(pair.target for pair in pairs[1:])) if len(pairs) > 1 else pairs[0]


def _read_dataset(corpus: CorpusConfig, source: str, target: str, drop: bool) -> Iterator[Pair | None]:
    pairs = hub.read_dataset(corpus, title(corpus), source, target, drop)
    return (texts and Pair._make(texts) for texts in pairs)


def _read_tables(corpus: CorpusConfig, source: str, target: str, drop: bool) -> Iterator[Pair | None]:
    check_files(corpus)
    read = read_parquet if corpus.parquet is not None else read_json
    empty = True
    for name in _local_files(corpus):
        for texts in read(Path(name), source, target, drop):
            empty = False
            yield texts and Pair._make(texts)
    if empty:
        raise DataError(f"{title(corpus)} is empty")


KINDS: dict[str, Kind] = {
    "files": Kind(_read_files, lambda corpus: tuple(str(expanded(name)) for name in corpus.files or ())),
    "tsv": Kind(_read_tsv, lambda corpus: (str(expanded(corpus.tsv or "")),)),
    "dataset": Kind(_read_dataset, lambda corpus: ()),
    "parquet": Kind(_read_tables, lambda corpus: matching(corpus.parquet or ())),
    "json": Kind(_read_tables, lambda corpus: matching(corpus.json or ())),
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
                raise undecodable(path := source if left is None else target, f"{path}, line {number}")
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
