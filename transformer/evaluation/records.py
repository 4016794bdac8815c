"""Evaluations that are kept in a run directory: scores, translations, and the text with its references."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformer import atomic
from transformer.data.corpus import Pair, ReferencedPair
from transformer.errors import TransformerError
from transformer.evaluation.metrics import METRICS
from transformer.evaluation.model_card import write_model_card
from transformer.evaluation.texts import read_again, text_digest
from transformer.runs.layout import EVALUATIONS, TEXTS
from transformer.runs.run import Run, open_run

if TYPE_CHECKING:
    from transformer.evaluation.evaluate import Evaluation

LONGEST_NAME = 150
"""Bytes of a text's name that the name of a file keeps. File systems allow 255 in all."""
IDENTITY = ("name", "languages", "checkpoint", "precision", "decode", "max_length", "device", "version")
"""What an evaluation is known by, beside the content of its text and the signatures of its scores."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """An evaluation that was read from a run directory."""

    path: Path
    """The file of the scores; the translations are beside it, as `.txt`."""
    values: dict[str, Any]
    """What the file has: the JSON of `evaluate --json`, and the time."""
    translations: list[str]
    pairs: list[Pair] | None
    """The sentences with their references, or None if a version before 0.4 did not keep them and they are gone."""


def read_records(run: Path) -> list[Record]:
    """Return the evaluations in a run directory, newest last. Those that are damaged are skipped with a warning."""
    found = []
    for path in sorted((run / EVALUATIONS).glob("*.json")):
        try:
            found.append(read_record(run, path))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else error
            log.warning("%s is no evaluation that can be read: %s", path, reason)
    return sorted(found, key=lambda record: str(record.values.get("time", "")))  # versions before 0.2 kept no time


def read_record(run: Path, path: Path) -> Record:
    """Return the evaluation in a file. Raises OSError, ValueError, KeyError, TypeError or AttributeError for others."""
    values = atomic.read_json(path)
    if not isinstance(values, dict) or not METRICS.keys() & values.keys():
        raise ValueError("it has no score")
    translations, sentences = _read_lines(path.with_suffix(".txt")), values["sentences"]
    if len(translations) != sentences:
        raise ValueError(f"there are {len(translations)} translations of {sentences} sentences")
    return Record(path, values, translations, _text_of(run, values, len(translations)))


def _read_lines(path: Path) -> list[str]:
    """Return the lines of a file that ends each with LF. Any other control character is text."""
    if path.is_symlink():
        raise ValueError(f"{path.name} is a link")
    *lines, rest = path.read_bytes().decode("utf-8", "replace").split("\n")
    return [*lines, rest] if rest else lines


def _text_of(run: Path, values: Mapping[str, Any], sentences: int) -> list[Pair] | None:
    """Return the text of an evaluation, as it was kept, or read again if it still is the same."""
    digest = values.get("text", {}).get("sha256")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        return None
    file = _text_file(run, digest)
    try:
        rows = [json.loads(line) for line in _read_lines(file)] if file.exists() else []
        pairs = [_pair(row["source"], row["references"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        log.warning("%s cannot be read: %s", file, error)
        pairs = []
    if len(pairs) == sentences and text_digest(pairs) == digest:
        return pairs
    if pairs:
        log.warning("%s is damaged: it is not the text that was translated", file)
    again = read_again(run, values)
    return again if again is not None and text_digest(again) == digest else None


def _pair(source: str, references: Sequence[str]) -> Pair:
    if not references or not all(isinstance(text, str) for text in (source, *references)):
        raise TypeError("a sentence without text")
    return Pair(source, *references) if len(references) == 1 else ReferencedPair(source, *references)


def _text_file(run: Path, digest: str) -> Path:
    return run / EVALUATIONS / TEXTS / f"{digest[:16]}.jsonl"


def keep_evaluation(run: Run, evaluation: Evaluation) -> Path | None:
    """Write an evaluation into the run directory and update the model card. Return the file of the translations.

    What cannot be written is logged as a warning, so that the scores are not lost; then None is returned.
    """
    try:
        path = _write(run, evaluation)
    except (OSError, TransformerError) as error:
        log.warning("translations and scores cannot be saved in %s: %s", run.path, error)
        return None
    log.info("translations written to %s", path)
    try:
        with atomic.only_writer(path.parent, wait=True):  # so that the last of several writers sees all records
            write_model_card(open_run(run.path))
    except OSError as error:
        log.warning("README.md was not written: %s", error)
    except TransformerError as error:
        log.warning("%s", error)
    return path


def _write(run: Run, evaluation: Evaluation) -> Path:
    folder = run.path / EVALUATIONS
    folder.mkdir(exist_ok=True)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record = json.dumps({**evaluation.as_json(), "time": now}, indent=1)
    with atomic.only_writer(folder, wait=True):
        stem = _free_name(folder, evaluation.name, identity(json.loads(record)))
        path = folder / f"{stem}.txt"
        _write_pairs(run.path, evaluation.pairs)
        atomic.write_text(path, "".join(line + "\n" for line in evaluation.translations))
        atomic.write_text(folder / f"{stem}.json", record + "\n")
    return path


def _write_pairs(run: Path, pairs: Sequence[Pair]) -> None:
    """Keep the text of an evaluation, a JSON object a line; once, however many evaluations it has."""
    if not pairs:
        return
    file = _text_file(run, text_digest(pairs))
    file.parent.mkdir(exist_ok=True)
    lines = (json.dumps({"source": pair.source, "references": pair.references}) + "\n" for pair in pairs)
    atomic.write_text(file, "".join(lines))


def identity(record: Mapping[str, Any]) -> str:
    """Return a digest of what makes an evaluation the same as another: all that its translations and scores depend on.

    Records of versions before 0.3 do not tell it; theirs is of what they have, and equals no other.
    """
    known = {key: record.get(key) for key in IDENTITY}
    known["text"] = record.get("text", {}).get("sha256")
    known["signatures"] = {name: record.get(name, {}).get("signature") for name in METRICS}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _free_name(folder: Path, name: str, key: str) -> str:
    """Return the name of the text if no other evaluation has it, else the name and the beginning of `key`."""
    stem = re.sub(r'[/\\:*?"<>|\x00-\x1f\x7f]', "-", name).lstrip(".") or "text"
    while len(os.fsencode(stem)) > LONGEST_NAME:
        stem = stem[:-1]
    files = [folder / f"{stem}{suffix}" for suffix in (".json", ".txt")]
    if any(map(os.path.lexists, files)) and _identity_of(files[0]) != key:
        return f"{stem}-{key[:8]}"
    return stem


def _identity_of(file: Path) -> str | None:
    """Return the identity of the evaluation in a file, or None if there is none in it."""
    try:
        return identity(atomic.read_json(file))
    except (OSError, ValueError, AttributeError):
        return None
