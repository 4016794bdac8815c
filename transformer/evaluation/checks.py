"""Warnings about texts whose scores would mislead."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable, Sequence

from transformer.data.corpus import Pair

MANY, SOME = 0.5, 0.01
"""Shares of sentences above which a warning is logged. They were chosen, not measured."""
log = logging.getLogger(__name__)


def check_text(pairs: Sequence[Pair]) -> None:
    """Warn of references that are empty, look tokenized, or are the sources."""
    total = len(pairs)
    empty = sum(bool(pair.source.strip()) and not "".join(pair.references).strip() for pair in pairs)
    if empty > SOME * total:
        log.warning(
            "%d of %d sentences have an empty reference: "
            "BLEU counts all words of their translations as wrong, and chrF ignores them",
            empty,
            total,
        )
    tokenized = sum(pair.target.rstrip().endswith((" .", " 。")) for pair in pairs)
    if tokenized > MANY * total:
        log.warning(
            "%d of %d references have a blank before the full stop: they look tokenized, "
            "and scores against such text cannot be compared with others",
            tokenized,
            total,
        )
    equal = sum(bool(pair.source.strip()) and pair.source == pair.target for pair in pairs)
    if equal > MANY * total:
        log.warning("%d of %d references equal their sources: is this the right file?", equal, total)


def check_forms(translations: Sequence[str], pairs: Sequence[Pair]) -> None:
    """Warn if accents or syllables are composed in the translations and decomposed in the references, or vice versa.

    Text that looks the same then counts as different.
    """
    ours, theirs = _decomposed(translations), _decomposed(pair.target for pair in pairs)
    if abs(ours - theirs) > max(SOME * len(pairs), min(ours, theirs)):
        log.warning(
            "%d of %d references and %d of the translations are not in Unicode's composed form (NFC): "
            "text that looks the same counts as different",
            theirs,
            len(pairs),
            ours,
        )


def _decomposed(lines: Iterable[str]) -> int:
    return sum(not unicodedata.is_normalized("NFC", line) for line in lines)
