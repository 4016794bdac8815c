"""What a dry run says of the text and the scores that models are to make. Nothing is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from transformer.data import corpus
from transformer.data_config import CorpusConfig, DataConfig
from transformer.synthesis.making import counts, find_finished, find_models, parts_of, with_scores, with_texts
from transformer.synthesis.parts import read_manifest
from transformer.synthesis.recipe import recipe, scoring

TEXT, SCORES = "synthetic corpus  ", "scores            "
"""What a line begins with."""


def look_ahead(data: DataConfig, cache: Path) -> tuple[DataConfig, list[str]]:
    """Return the data for a dry run, and lines that say what there is to translate. Nothing is translated.

    In place of a corpus that is yet to be made there is its text, as both sides unless it has two. Filters would
    compare such a text with itself, so they are left out then, and so is a filter whose scores are yet to be made.
    """
    data, said = _look_at_texts(data, cache)
    train = list(data.train)
    for i, each in enumerate(data.train):
        wanted = scoring(data, i)
        if wanted is None:
            continue
        assert each.filters is not None
        if (key := find_finished(wanted, cache)) is not None:
            folder = cache / f"{wanted.prefix}{key}"
            train[i] = with_scores(each, {"folder": str(folder)})
            said.append(f"{SCORES}{wanted.title}: made already, {counts(read_manifest(folder) or {})}")
            continue
        parts = parts_of(wanted, cache / f"{wanted.prefix}{find_models(wanted).key}")
        todo = sum(map(parts.lines, parts.missing()))
        said.append(
            f"{SCORES}{wanted.title}: {todo:,} of {parts.total:,} pairs to score; the dry run drops none of them"
        )
        train[i] = replace(each, filters=replace(each.filters, score=None))
    return replace(data, train=tuple(train)), said


def _look_at_texts(data: DataConfig, cache: Path) -> tuple[DataConfig, list[str]]:
    """Do what `look_ahead` does for the corpora that models make."""
    train: list[CorpusConfig] = []
    said = []
    for i, each in enumerate(data.train):
        wanted = recipe(data, i)
        if wanted is None:
            train.append(each)
            continue
        if (key := find_finished(wanted, cache)) is not None:
            folder = cache / f"{wanted.prefix}{key}"
            train.append(with_texts(each, {"name": wanted.title, "folder": str(folder)}))
            said.append(f"{TEXT}{wanted.title}: made already, {counts(read_manifest(folder) or {})}")
            continue
        parts = parts_of(wanted, cache / f"{wanted.prefix}{find_models(wanted).key}")
        todo = sum(map(parts.lines, parts.missing()))
        rest = "" if wanted.pairs or each.filters is None else ", as both sides and without filters"
        ahead = f"{todo:,} of {parts.total:,} lines to translate; the dry run has the text instead{rest}"
        said.append(f"{TEXT}{wanted.title}: {ahead}")
        if wanted.pairs is not None:
            train.append(corpus.with_text(each, wanted.pairs, wanted.title))
            continue
        stand_in = replace(each, filters=None)
        train += [corpus.with_files(stand_in, (file, file), wanted.title) for file in map(Path, wanted.files)]
    return replace(data, train=tuple(train)), said
