"""Scores that another program has given to the pairs of a corpus, and which pairs they drop."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transformer.data.corpus import Pair, title
from transformer.data.lines import read_lines
from transformer.data.tsv import column_number, names_of_columns
from transformer.data_config import CorpusConfig, ScoreConfig
from transformer.errors import DataError
from transformer.paths import expanded


def kept_by_score(
    pairs: Iterator[Pair | None], corpus: CorpusConfig, cfg: ScoreConfig
) -> Iterator[tuple[bool, Pair | None]]:
    """Yield each pair with whether its score is good enough. Raises DataError for other numbers of scores and pairs."""
    good = good_scores(read_scores(corpus, cfg), cfg)
    number = 0
    for number, pair in enumerate(pairs, 1):
        if number <= len(good):
            yield bool(good[number - 1]), pair
    if number != len(good):
        raise DataError(f"{_place(corpus, cfg)} has {len(good)} scores, but {title(corpus)} has {number} pairs")


def good_scores(scores: NDArray[np.float64], cfg: ScoreConfig) -> NDArray[np.bool_]:
    """Return which scores are good enough. Of equal scores the earlier ones count as worse."""
    good = np.ones(len(scores), bool)
    if cfg.at_least is not None:
        good &= scores >= cfg.at_least
    if cfg.drop_worst is not None:
        good[np.argsort(scores, kind="stable")[: math.floor(cfg.drop_worst * len(scores))]] = False
    return good


def read_scores(corpus: CorpusConfig, cfg: ScoreConfig) -> NDArray[np.float64]:
    """Return the score of each pair of a corpus. Raises DataError if one is no number."""
    path, found = _place(corpus, cfg), array("d")
    lines = enumerate(read_lines(path), 1)
    place = None
    if cfg.column is not None:
        header = cfg.file is None and any(not each.isdecimal() for each in (*(corpus.columns or ()), cfg.column))
        names = names_of_columns(path, next(lines, (0, ""))[1]) if header else None
        place = column_number(path, cfg.column, names)
    for number, line in lines:
        if line is None and cfg.file is None:  # the pair is not UTF-8, and refused or dropped as such
            found.append(math.inf)
            continue
        columns = (line or "").split("\t") if place is not None else [line or ""]
        text = columns[place or 0] if (place or 0) < len(columns) else ""
        try:
            score = float(text)
        except ValueError:
            score = math.nan
        if math.isnan(score):
            raise DataError(f"{path}, line {number}: {text[:40]!r} is not a score")
        found.append(score)
    return np.frombuffer(found, np.float64) if found else np.zeros(0)


def _place(corpus: CorpusConfig, cfg: ScoreConfig) -> Path:
    return expanded(cfg.file if cfg.file is not None else corpus.tsv or "")
