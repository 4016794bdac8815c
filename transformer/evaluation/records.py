"""Evaluations that are kept in a run directory: a file of scores and one of translations each."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformer import atomic
from transformer.errors import TransformerError
from transformer.evaluation.evaluate import Evaluation
from transformer.evaluation.metrics import METRICS
from transformer.evaluation.model_card import write_model_card
from transformer.runs.layout import EVALUATIONS
from transformer.runs.run import Run, open_run

LONGEST_NAME = 150
"""Bytes of a text's name that the name of a file keeps. File systems allow 255 in all."""
IDENTITY = ("name", "languages", "checkpoint", "precision", "decode", "max_length", "device", "version")
"""What an evaluation is known by, beside the content of its text and the signatures of its scores."""
log = logging.getLogger(__name__)


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
        atomic.write_text(path, "".join(line + "\n" for line in evaluation.translations))
        atomic.write_text(folder / f"{stem}.json", record + "\n")
    return path


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
