"""Which corpora are trained on at which update: a function of the number of updates that are done.

An epoch ends where a corpus begins or ends, so that each epoch is an order of the same corpora.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

from transformer.data import corpus
from transformer.data.batching import drawn
from transformer.data.dataset import Dataset
from transformer.data_config import OF_DATASET, CorpusConfig, active, changes
from transformer.errors import DataError

log = logging.getLogger(__name__)


def distinct(corpora: Sequence[CorpusConfig]) -> tuple[tuple[CorpusConfig, ...], list[int]]:
    """Return the corpora to encode, and for each corpus its place among them.

    A corpus that is named again, with another weight and other updates, is encoded once. Without `from` and `until`
    each is encoded as often as it is named, as runs of older versions were.
    """
    plain = [replace(each, weight=1.0, from_=0, until=None) for each in corpora]
    timed = [alike for alike, each in zip(plain, corpora, strict=True) if (each.from_, each.until) != (0, None)]
    encoded: list[int] = []
    places = []
    for i, alike in enumerate(plain):
        before = [place for place, other in enumerate(encoded) if plain[other] == alike and alike in timed]
        places.append(before[0] if before else len(encoded))
        if not before:
            encoded.append(i)
    return tuple(corpora[i] for i in encoded), places


def scheduled(dataset: Dataset, corpora: Sequence[CorpusConfig], places: Sequence[int]) -> Dataset:
    """Return the dataset of distinct corpora with the weight and the updates of each corpus."""
    spans = [dataset.corpora[place][:2] for place in places]
    return replace(
        dataset,
        corpora=tuple((*span, each.weight) for span, each in zip(spans, corpora, strict=True)),
        updates=tuple((each.from_, each.until) for each in corpora),
    )


def phases(corpora: Sequence[CorpusConfig], steps: int) -> list[str]:
    """Return a line for each phase of a training: its updates and its corpora. Nothing if there is one phase only.

    Corpora that begin after the last update have a line too: `steps` may be few to stop there, or too few.
    """
    spans = [(each.from_, each.until) for each in corpora]
    starts = [0, *(change for change in changes(spans) if change < steps)]
    lines = []
    for start, end in zip(starts, [*starts[1:], steps], strict=True):
        named = [corpora[i] for i in active(spans, start)]
        words = [corpus.title(each) + (f" x {each.weight:g}" if each.weight != 1.0 else "") for each in named]
        lines.append(f"updates {start + 1:,} to {end:,}: {', '.join(words)}")
    unused = [corpus.title(each) for each in corpora if each.from_ >= steps]
    lines += [f"after update {steps:,}, so never: {', '.join(unused)}"] if unused else []
    return lines if len(lines) > 1 else []


def warn_of_unused(corpora: Sequence[CorpusConfig], steps: int) -> None:
    """Warn of corpora that begin after the last update, and of settings that are not for the kind of their corpus.

    They are no errors: a training may be meant to stop early, and settings were not always checked.
    """
    for each in corpora:
        for name in OF_DATASET:
            if each.dataset is None and getattr(each, name) != getattr(CorpusConfig, name):
                log.warning("%s: %s is for dataset, so it is ignored", corpus.title(each), name)
        if each.from_ >= steps:
            text = "%s is used from update %s on, and training ends at train.max_steps: %s, so it is never used"
            log.warning(text, corpus.title(each), f"{each.from_ + 1:,}", f"{steps:,}")


def check_phases(dataset: Dataset, corpora: Sequence[CorpusConfig], steps: int) -> None:
    """Raise DataError if a phase of a training has no pair, as filters and `data.duplicates` may leave none."""
    spans = [(each.from_, each.until) for each in corpora]
    for start in (0, *(change for change in changes(spans) if change < steps)):
        if not any(drawn(*each) for each in dataset.at(start)[0].corpora):
            names = " and ".join(corpus.title(corpora[i]) for i in active(spans, start))
            raise DataError(
                f"no pair is left for update {start + 1}, which uses {names}: "
                "filters, data.duplicates, data.overlap or a small weight have left none"
            )


def updates_per_epoch(dataset: Dataset, batch_tokens: int) -> int:
    """Return the approximate number of updates in an epoch."""
    target = dataset.lengths()[1] + 1
    tokens = sum(float(target[a:b].sum()) * weight for a, b, weight in dataset.corpora)
    return math.ceil(tokens / batch_tokens)
