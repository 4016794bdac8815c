"""Evaluations that are kept in a run directory: scores, translations, and the text with its references."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformer import atomic
from transformer.config import DecodeConfig
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
DEFAULTS = vars(DecodeConfig())
DECODED = ("languages", "precision", "decode", "max_length", "device", "version")
"""What translations depend on, beside the sentences and the weights."""
DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError)
"""What `read_record` raises for what is no evaluation."""
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
    """The sentences with their references, or None if version 0.4 or before did not keep them and they are gone."""


def read_records(run: Path) -> list[Record]:
    """Return the evaluations in a run directory, newest last. Those that are damaged are skipped with a warning."""
    found = []
    for path in sorted((run / EVALUATIONS).glob("*.json")):
        try:
            found.append(read_record(run, path))
        except DAMAGED as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else error
            log.warning("%s is no evaluation that can be read: %s", path, reason)
    return sorted(found, key=_time)


def find_translations(run: Path, origin: Mapping[str, Any]) -> Record | None:
    """Return the newest evaluation that has translations of this origin, whatever text and checkpoint are called.

    The references do not matter. `origin` has the names of a record's values. Evaluations of versions before 0.3 do not
    tell their origin.
    """
    paths = {*_files(run / EVALUATIONS, origin, _decoded), *_files(run / EVALUATIONS, origin, _decoded_sources)}
    found = (record for path in sorted(paths) if (record := _sound(run, path)) is not None)
    return max(found, key=_time, default=None)


def _files(
    folder: Path, origin: Mapping[str, Any], key: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> Iterator[Path]:
    """Yield the files of scores that have this key of an origin."""
    wanted = key(origin)
    for path in sorted(folder.glob("*.json")):
        values = _values(path)
        if values is not None and key(values) == wanted:
            yield path


def _values(path: Path) -> dict[str, Any] | None:
    """Return the content of a file of scores, or None if it is none."""
    try:
        values = atomic.read_json(path)
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) and METRICS.keys() & values.keys() else None


def _decoded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the translations of an evaluation depend on."""
    text, checkpoint = values.get("text"), values.get("checkpoint")
    known = {key: values.get(key) for key in DECODED}
    known["text"] = text.get("sha256") if isinstance(text, dict) else None
    if isinstance(known["decode"], Mapping):  # a setting that is newer than a record does not make another of it
        known["decode"] = {key: value for key, value in known["decode"].items() if DEFAULTS.get(key, ...) != value}
    if isinstance(checkpoint, dict):
        known["checkpoint"] = {key: value for key, value in checkpoint.items() if key != "name"}
    return json.loads(json.dumps(known))  # lists for tuples, as in a file


def _decoded_sources(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what translations depend on by their sources alone, which version 0.4 and before do not tell."""
    text = values.get("text")
    sources = text.get("sources_sha256") if isinstance(text, dict) else None
    return {**_decoded(values), "text": sources or object()}


def _sound(run: Path, path: Path) -> Record | None:
    """Return the evaluation in a file if its translations are what was kept."""
    try:
        record = read_record(run, path)
        kept = record.values.get("translations", {}).get("sha256")
        whole = kept in (None, translations_digest(record.translations))
        float(record.values["seconds"])
    except DAMAGED as error:
        log.warning("%s is no evaluation that can be read: %s", path, error)
        return None
    if not whole:
        log.warning("%s has changed since it was written, so it is not used", path.with_suffix(".txt"))
    return record if whole else None


def _time(record: Record) -> str:
    return str(record.values.get("time", ""))  # versions before 0.2 kept no time


def translations_digest(translations: Iterable[str]) -> str:
    """Return the SHA-256 of the file of these translations."""
    digest = hashlib.sha256()
    for line in translations:
        digest.update(line.encode("utf-8", "replace") + b"\n")
    return digest.hexdigest()


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
    if evaluation.translated is None:  # else they were there
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
    values = json.loads(json.dumps({**evaluation.as_json(), "time": evaluation.translated or now}))
    with atomic.only_writer(folder, wait=True):
        own = _own_file(folder, values)
        if own is not None:
            values = _merged(own, values)
        path = own or folder / f"{_free_name(folder, evaluation.name, identity(values))}.json"
        _write_pairs(run.path, evaluation.pairs)
        atomic.write_text(path.with_suffix(".txt"), "".join(line + "\n" for line in evaluation.translations))
        atomic.write_text(path, json.dumps(values, indent=1) + "\n")
    return path.with_suffix(".txt")


def _own_file(folder: Path, values: Mapping[str, Any]) -> Path | None:
    """Return the file of the same evaluation: of the same origin and names, and no score has another signature."""
    names = (values["name"], values.get("checkpoint"))
    if values.get("text") is None:
        return None
    for path in _files(folder, values, _decoded):
        old = _values(path) or {}
        both = METRICS.keys() & old.keys() & values.keys()
        if (old.get("name"), old.get("checkpoint")) == names and all(
            old[each].get("signature") == values[each]["signature"] for each in both
        ):
            return path
    return None


def _merged(own: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of an evaluation, with scores that its file has in addition, if the translations are equal."""
    old = _values(own) or {}
    before = old.get("translations", {}).get("sha256") or _digest_on_disk(own.with_suffix(".txt"))
    if before == values["translations"]["sha256"]:
        others = {name: old[name] for name in METRICS if name in old}
        scores = {name: {**others, **values}[name] for name in METRICS if name in {**others, **values}}
        return {"name": values["name"], **scores, **{key: each for key, each in values.items() if key not in scores}}
    if before is not None:
        log.warning("%s is replaced: the same evaluation has other translations now", own.with_suffix(".txt"))
    return values


def _digest_on_disk(file: Path) -> str | None:
    """Return the digest of translations whose evaluation does not have it: that of version 0.4 or before."""
    return atomic.sha256(file) if file.is_file() else None


def _write_pairs(run: Path, pairs: Sequence[Pair]) -> None:
    """Keep the text of an evaluation, a JSON object a line; once, however many evaluations it has."""
    if not pairs:
        return
    file = _text_file(run, text_digest(pairs))
    file.parent.mkdir(exist_ok=True)
    lines = (json.dumps({"source": pair.source, "references": pair.references}) + "\n" for pair in pairs)
    atomic.write_text(file, "".join(lines))


def identity(record: Mapping[str, Any]) -> str:
    """Return a digest of what makes an evaluation another than those of the same name."""
    known = {**_decoded(record), "name": record.get("name"), "checkpoint": record.get("checkpoint")}
    known["signatures"] = {name: record[name].get("signature") for name in METRICS if name in record}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _free_name(folder: Path, name: str, key: str) -> str:
    """Return the name of the text if no other file has it, else the name and the beginning of `key`."""
    stem = re.sub(r'[/\\:*?"<>|\x00-\x1f\x7f]', "-", name).lstrip(".") or "text"
    while len(os.fsencode(stem)) > LONGEST_NAME:
        stem = stem[:-1]
    names = (stem, *(f"{stem}-{key[:digits]}" for digits in (8, 16, 64)))
    return next(
        each for each in names if not any(os.path.lexists(folder / f"{each}{end}") for end in (".json", ".txt"))
    )
