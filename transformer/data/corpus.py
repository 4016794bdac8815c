"""Parallel text as pairs of raw strings. One table, KINDS, says how each kind of corpus is read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from transformer.data import hub, testsets
from transformer.data.archives import read_zip
from transformer.data.line_pairs import Texts, aligned_files
from transformer.data.lines import bytes_read, sha256
from transformer.data.mtdata_package import mtdata_files, read_mtdata
from transformer.data.opus import opus_file, read_opus
from transformer.data.tables import read_json, read_parquet
from transformer.data.tmx import read_tmx
from transformer.data.tsv import read_tsv
from transformer.data_config import CORPUS_KINDS, SYNTHETIC_KINDS, CorpusConfig, MadeCorpus, TextConfig
from transformer.errors import DataError
from transformer.paths import expanded, matching
from transformer.system.progress_bar import ProgressBar


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

    read: Callable[[CorpusConfig, str, str, bool, Counter[str]], Iterator[Texts] | Iterator[Pair | None]]
    """Takes the corpus, the codes of both languages, whether lines that are not UTF-8 are dropped, and where to count
    what is no pair."""
    local_files: Callable[[CorpusConfig], tuple[str, ...]] = lambda corpus: ()
    """The files that the configuration names; none for data that is found by its name."""
    is_text: bool = True
    """Whether the local files are read as text from their first byte to the last, so that progress can be told."""


def read_pairs(
    corpus: CorpusConfig, source: str, target: str, drop: bool = False, left_out: Counter[str] | None = None
) -> Iterator[Pair | None]:
    """Yield the pairs of a corpus in order. With `drop`, a pair that is not UTF-8 is None.

    `source` and `target` are language codes. `left_out` counts, by reason, what is no pair. Raises DataError if a file
    cannot be read, if text is not UTF-8 and `drop` is not set, and, at the end, if two files differ in length.
    """
    texts = KINDS[_kind(corpus)].read(corpus, source, target, drop, Counter() if left_out is None else left_out)
    return (each if each is None or isinstance(each, Pair) else Pair(*each) for each in texts)


def check_files(corpus: CorpusConfig) -> None:
    """Raise DataError for a local file that does not exist, before any work is done."""
    for name in (*local_files(corpus), *_further_files(corpus)):
        if not Path(name).exists():
            raise DataError(f"no such file: {name}")
        if not Path(name).is_file():
            raise DataError(f"{name} is not a regular file, so it cannot be read twice")


def _further_files(corpus: CorpusConfig) -> Iterator[str]:
    """Yield the files that a corpus needs beside its text."""
    scores = None if corpus.filters is None else corpus.filters.score
    terms = None if corpus.augment is None else corpus.augment.glossary
    for name in (corpus.alignments, None if scores is None else scores.file, None if terms is None else terms.file):
        if name is not None:
            yield str(expanded(name))


def reading(what: str, corpora: Iterable[CorpusConfig]) -> ProgressBar:
    """Return the progress of reading corpora once. Its end is known if all are local files that are read as text."""
    corpora, start = list(corpora), bytes_read()
    names = [local_files(corpus) for corpus in corpora if corpus.parquet is None]
    known = all(KINDS[_kind(corpus)].is_text for corpus in corpora) and all(names)
    known = known and all(map(os.path.isfile, chain(*names)))
    total = sum(map(os.path.getsize, chain(*names))) if known else 0
    return ProgressBar(what, unit="pairs", share=lambda: (bytes_read() - start) / total if total else None)


def title(corpus: CorpusConfig) -> str:
    """Return a short name for the log and the model card."""
    if isinstance(corpus, MadeCorpus):
        return corpus.title
    if local := local_files(corpus):
        return " + ".join(Path(name).name for name in local)
    if corpus.opus is not None:
        return f"OPUS {corpus.opus} {corpus.version or 'latest'}"
    return corpus.testset or corpus.mtdata or " ".join(filter(None, (corpus.dataset, corpus.name, corpus.split)))


SIDES = ("source.txt", "target.txt")
"""The files of a corpus that a model has made."""


def made_corpus(corpus: CorpusConfig, folder: Path, name: str = "") -> MadeCorpus:
    """Return a corpus that a model has made in a folder. Its title is `name`, or that of the text."""
    return with_files(corpus, (folder / SIDES[0], folder / SIDES[1]), name or title(corpus))


def with_files(corpus: CorpusConfig, files: tuple[Path, Path], name: str) -> MadeCorpus:
    """Return a corpus with two files in place of what a model is to make."""
    return with_text(corpus, TextConfig(files=tuple(map(str, files))), name)


def with_text(corpus: CorpusConfig, text: TextConfig, name: str) -> MadeCorpus:
    """Return a corpus with a text that is there in place of what a model is to make."""
    kept = {key: value for key, value in vars(corpus).items() if key not in SYNTHETIC_KINDS}
    return MadeCorpus(**{**kept, **_fields(text)}, title=name)


def as_corpus(text: TextConfig) -> CorpusConfig:
    """Return a text as a corpus of its own."""
    return CorpusConfig(**_fields(text))


def _fields(text: TextConfig) -> dict[str, Any]:
    return {field.name: getattr(text, field.name) for field in fields(TextConfig)}


def origin(corpus: CorpusConfig, source: str, target: str) -> dict[str, Any]:
    """Return where the text of a corpus was downloaded from: address, version, licence and SHA-256. Else nothing."""
    return opus_file(corpus, source, target)[1] if corpus.opus is not None else {}


def identity(corpus: CorpusConfig, source: str, target: str) -> dict[str, Any]:
    """Return what identifies the text of a corpus, whatever it is called: digests of its files, or its commit; its tag.

    `source` and `target` are language codes. Reads every file.
    """
    tag = {} if corpus.tag is None else {"tag": corpus.tag}
    return {**text_identity(corpus, source, target), **tag}


def text_identity(corpus: CorpusConfig, source: str, target: str) -> dict[str, Any]:
    """Return what `identity` does, but for the tag."""
    if corpus.dataset is not None:
        return hub.dataset_identity(corpus, title(corpus))
    if corpus.opus is not None:
        return {"kind": "zip", "sha256": [opus_file(corpus, source, target)[1]["sha256"]]}
    files: Iterable[str | Path] = local_files(corpus)
    if corpus.testset is not None:
        files = testsets.testset_files(corpus.testset, source, target)
    if corpus.mtdata is not None:
        files = mtdata_files(corpus, source, target)
    how = {key: value for key in ("columns", "tmx_tags") if (value := getattr(corpus, key)) is not None}
    return {"kind": _kind(corpus), "sha256": [sha256(Path(name)) for name in files], **how}


FORMER = ("dataset", "testset", "name", "split", "revision", "tag")
"""What identified a corpus without local files in version 0.1, which had no tags."""


def former_identity(corpus: CorpusConfig) -> dict[str, Any] | None:
    """Return what identified a corpus in version 0.1 if it was not its content but its name, else None."""
    if corpus.dataset is None and corpus.testset is None:
        return None
    return {key: value for key in FORMER if (value := getattr(corpus, key)) is not None}


def _kind(corpus: CorpusConfig) -> str:
    return next(kind for kind in CORPUS_KINDS if getattr(corpus, kind) is not None)


def local_files(corpus: CorpusConfig) -> tuple[str, ...]:
    """Return the files of the text that the configuration names; none for data that is found by its name."""
    return KINDS[_kind(corpus)].local_files(corpus)


# ---- one reader for each kind ---------------------------------------------------------------------------


def _read_files(corpus: CorpusConfig, _source: str, _target: str, drop: bool, *_: object) -> Iterator[Texts]:
    left, right = local_files(corpus)
    return aligned_files(Path(left), Path(right), drop)


def _read_tsv(corpus: CorpusConfig, source: str, target: str, drop: bool, *_: object) -> Iterator[Texts]:
    return read_tsv(Path(local_files(corpus)[0]), corpus.columns, source, target, drop)


def _read_zip(corpus: CorpusConfig, source: str, target: str, drop: bool, *_: object) -> Iterator[Texts]:
    return read_zip(Path(local_files(corpus)[0]), source, target, drop)


def _read_tmx(corpus: CorpusConfig, source: str, target: str, _drop: bool, left_out: Counter[str]) -> Iterator[Texts]:
    return read_tmx(Path(local_files(corpus)[0]), source, target, corpus.tmx_tags == "keep", left_out)


def _read_testset(corpus: CorpusConfig, source: str, target: str, drop: bool, *_: object) -> Iterator[Pair | None]:
    sources, *references = testsets.testset_files(corpus.testset or "", source, target)
    sides = (aligned_files(sources, reference, drop) for reference in references)
    for pairs in zip(*sides, strict=True):
        if None in pairs:
            yield None
        else:
            yield ReferencedPair(*pairs[0], *(pair[1] for pair in pairs[1:])) if len(pairs) > 1 else Pair(*pairs[0])


def _read_dataset(corpus: CorpusConfig, source: str, target: str, drop: bool, *_: object) -> Iterator[Texts]:
    return hub.read_dataset(corpus, title(corpus), source, target, drop)


def _read_tables(corpus: CorpusConfig, source: str, target: str, drop: bool, *_: object) -> Iterator[Texts]:
    check_files(corpus)
    read = read_parquet if corpus.parquet is not None else read_json
    empty = True
    for name in local_files(corpus):
        for texts in read(Path(name), source, target, drop):
            empty = False
            yield texts
    if empty:
        raise DataError(f"{title(corpus)} is empty")


def _read_synthetic(corpus: CorpusConfig, _source: str, _target: str, _drop: bool, *_: object) -> Iterator[Pair | None]:
    raise DataError(f"the translations of {title(corpus)} are made by `train`, which alone reads them")


def _texts(corpus: CorpusConfig) -> tuple[str, ...]:
    if corpus.distill is not None:
        return local_files(as_corpus(corpus.distill))
    made = corpus.back_translate or corpus.forward
    return matching(made.text) if made is not None else ()


KINDS: dict[str, Kind] = {
    "files": Kind(_read_files, lambda corpus: tuple(str(expanded(name)) for name in corpus.files or ())),
    "tsv": Kind(_read_tsv, lambda corpus: (str(expanded(corpus.tsv or "")),)),
    "dataset": Kind(_read_dataset),
    "parquet": Kind(_read_tables, lambda corpus: matching(corpus.parquet or ())),
    "json": Kind(_read_tables, lambda corpus: matching(corpus.json or ())),
    "testset": Kind(_read_testset),
    "opus": Kind(read_opus),
    "zip": Kind(_read_zip, lambda corpus: (str(expanded(corpus.zip or "")),), is_text=False),
    "tmx": Kind(_read_tmx, lambda corpus: (str(expanded(corpus.tmx or "")),)),
    "mtdata": Kind(read_mtdata),
    "back_translate": Kind(_read_synthetic, _texts),
    "distill": Kind(_read_synthetic, _texts),
    "forward": Kind(_read_synthetic, _texts),
}
"""By the names of CORPUS_KINDS."""
