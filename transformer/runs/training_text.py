"""The text that a run was trained on, wherever it is now."""

from __future__ import annotations

from pathlib import Path

from transformer import atomic
from transformer.data.corpus import made_corpus
from transformer.data_config import CorpusConfig
from transformer.runs.layout import REPORT
from transformer.runs.run import Run


def trained_corpora(run: Run) -> tuple[CorpusConfig, ...]:
    """Return the corpora of a run, with files in place of what models made, as far as its report names them."""
    corpora = run.config.data.train
    if all(each.synthetic is None for each in corpora):
        return corpora
    try:
        folders = iter([Path(each["folder"]) for each in atomic.read_json(run.path / REPORT)["synthetic"]])
        return tuple(each if each.synthetic is None else made_corpus(each, next(folders)) for each in corpora)
    except (OSError, ValueError, KeyError, TypeError, StopIteration, RuntimeError):
        return corpora
