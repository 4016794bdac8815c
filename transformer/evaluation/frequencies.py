"""How often the words of a text occur in the training text of a run. Counted once, and kept in the run directory."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformer import atomic
from transformer.data import corpus
from transformer.data.corpus import Pair
from transformer.data.curriculum import distinct
from transformer.data_config import CorpusConfig
from transformer.errors import DataError
from transformer.evaluation.words import words
from transformer.runs.layout import EVALUATIONS, REPORT, TEXTS
from transformer.runs.run import Run
from transformer.runs.training_text import trained_corpora

log = logging.getLogger(__name__)


def word_frequencies(run: Run, pairs: Sequence[Pair]) -> dict[str, int] | None:
    """Return how often each word of the references occurs in the target side of the run's training text.

    Reads the whole training text the first time. Returns None, with a warning, if it is gone or has changed.
    """
    wanted = {word for pair in pairs for word in words(pair.target)}
    report = _report(run)
    file = run.path / EVALUATIONS / TEXTS / f"{_digest(wanted, report)}.words.json"
    if (kept := _kept(file, wanted)) is not None:
        return kept
    counts, seen = dict.fromkeys(sorted(wanted), 0), 0
    expected = sum(each.get("read", 0) for each in report.get("corpora", ()))
    corpora, _ = distinct(trained_corpora(run))
    try:
        for pair in corpus.reading("counting words", corpora).over(_training_pairs(run, corpora)):
            seen += 1
            for word, count in Counter(words(pair.target)).items() if pair else ():
                if word in counts:
                    counts[word] += count
    except (DataError, OSError) as error:
        log.warning("no table of words by frequency: %s", error)
        return None
    if expected and seen != expected:
        log.warning("no table of words by frequency: the training text has %d pairs now, and had %d", seen, expected)
        return None
    _keep(file, counts)
    return counts


def _training_pairs(run: Run, corpora: Sequence[CorpusConfig]) -> Iterator[Any]:
    data = run.config.data
    for each in corpora:
        corpus.check_files(each)
    for each in corpora:
        yield from corpus.read_pairs(each, data.source, data.target, drop=True)


def _report(run: Run) -> dict[str, Any]:
    """Return what was read in training, or nothing if the file is missing or damaged."""
    try:
        found = atomic.read_json(run.path / REPORT)
        return {"fingerprint": found.get("fingerprint"), "corpora": [dict(each) for each in found["corpora"]]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _digest(wanted: set[str], report: Mapping[str, Any]) -> str:
    """Return what identifies the words and the training text."""
    known = json.dumps([report.get("fingerprint"), sorted(wanted)])
    return hashlib.sha256(known.encode()).hexdigest()[:16]


def _kept(file: Path, wanted: set[str]) -> dict[str, int] | None:
    try:
        found = atomic.read_json(file)
    except (OSError, ValueError):
        return None
    right = isinstance(found, dict) and found.keys() == wanted and all(isinstance(n, int) for n in found.values())
    return dict(found) if right else None


def _keep(file: Path, counts: Mapping[str, int]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(file, json.dumps(counts))
    except OSError as error:
        log.warning("the frequencies of words cannot be kept: %s", error)
