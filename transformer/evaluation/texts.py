"""The text to evaluate on: two or more files, a test set, or a split of the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformer.data.corpus import Pair, ReferencedPair
from transformer.data.lines import read_text
from transformer.data.prepare import read_all_pairs
from transformer.data.testsets import find_testset
from transformer.data_config import CorpusConfig
from transformer.errors import ConfigError, DataError, TransformerError
from transformer.runs.run import Run, open_run


@dataclass(frozen=True)
class EvaluationText:
    """Sentences with their references."""

    name: str
    """File name of the source, name of the test set, or name of the split."""
    pairs: list[Pair]
    files: tuple[str, ...] = ()
    """The files of source and references, as they were given; none for a test set or a split."""

    @property
    def sources_sha256(self) -> str:
        """A digest of the sentences without their references."""
        return text_digest(Pair(pair.source, "") for pair in self.pairs)

    @property
    def sha256(self) -> str:
        """A digest of the sentences and their references."""
        return text_digest(self.pairs)


def text_digest(pairs: Iterable[Pair]) -> str:
    """Return the SHA-256 of sentences and their references."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(json.dumps([pair.source, *pair.references]).encode() + b"\n")
    return digest.hexdigest()


def read_evaluation_text(
    run: Run, split: str, source: Path | None, references: Sequence[Path], testset: str | None
) -> EvaluationText:
    """Return the text to evaluate on. Raises ConfigError if options exclude each other, and DataError for bad text."""
    data = run.config.data
    if source is not None and testset is not None:
        raise ConfigError("--testset and --source exclude each other; give one")
    if (source is None) != (not references):
        raise ConfigError("--source and --reference must be given together")
    if source is not None:
        return EvaluationText(source.name, _read_files(source, references), tuple(map(str, (source, *references))))
    if testset is not None:
        return EvaluationText(testset, read_all_pairs(CorpusConfig(testset=testset), data))
    chosen = {"valid": data.valid, "test": data.test}[split]
    if chosen is None:
        raise DataError(f"this run has no data.{split}; give --source and --reference, or --testset")
    return EvaluationText(split, read_all_pairs(chosen, data))


def read_evaluation_texts(
    run: Run, split: str, source: Path | None, references: Sequence[Path], testsets: Sequence[str]
) -> list[EvaluationText]:
    """Return the texts to evaluate on: those of all test sets, in order, or the one that the other options name.

    Raises what `read_evaluation_text` raises.
    """
    for name in testsets:  # before the first of them is downloaded
        find_testset(name, run.config.data.source, run.config.data.target)
    names: list[str | None] = [*dict.fromkeys(testsets)] or [None]
    return [read_evaluation_text(run, split, source, references, name) for name in names]


def reference_columns(pairs: Sequence[Pair]) -> list[list[str | None]]:
    """Return lists of references, each with one for every pair, or None where a pair has fewer.

    An empty line in one of several references means that there is none.
    """
    rows = [tuple(filter(None, pair.references)) or ("",) for pair in pairs]
    most = max(map(len, rows), default=1)
    return [[row[place] if place < len(row) else None for row in rows] for place in range(most)]


def read_parallel(source: Path, *others: Path) -> list[tuple[str, ...]]:
    """Return the rows of text files that are aligned line by line. Raises DataError if they differ in length."""
    columns = [read_text(path) for path in (source, *others)]
    for path, column in zip(others, columns[1:], strict=True):
        if len(column) != len(columns[0]):
            raise DataError(f"{source} has {len(columns[0])} lines but {path} has {len(column)}")
    return list(zip(*columns, strict=True))


def _read_files(source: Path, references: Sequence[Path]) -> list[Pair]:
    rows = read_parallel(source, *references)
    if not rows:
        raise DataError(f"{source} is empty")
    return [ReferencedPair(*row) if len(references) > 1 else Pair(*row) for row in rows]


def read_again(run: Path, values: Mapping[str, Any]) -> list[Pair] | None:
    """Return the text that a record's values name, if it can be read without a network, which may have changed since.

    It was read from files, or it is a split of the run.
    """
    try:
        files = [Path(file) for file in values["text"].get("files") or ()]
        if len(files) > 1:
            return _read_files(files[0], files[1:])
        data = open_run(run).config.data
        split = {"valid": data.valid, "test": data.test}.get(str(values["name"]))
        return None if split is None or not (split.files or split.tsv) else read_all_pairs(split, data)
    except (OSError, TransformerError):
        return None
