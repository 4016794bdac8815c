"""Several systems on the same text: scores, sacreBLEU's paired tests, and the sentences that differ most."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from transformer.data.corpus import Pair
from transformer.errors import ConfigError, DataError
from transformer.evaluation.metrics import METRICS, Scores, choose_tokenizer, score_corpus
from transformer.evaluation.texts import reference_columns
from transformer.evaluation.words import tokens

TIE = 0.005
"""Sentences tie if their chrF differs by no more than this: the scores are equal to two decimals."""
LONGEST_MARKED = 1000
"""Words of a line in which single words are marked. The time of finding them grows with the square."""
TESTS = {"bs": "bootstrap", "ar": "randomisation"}
"""Both paired tests, by sacreBLEU's name: paired bootstrap resampling and paired approximate randomisation."""


@dataclass(frozen=True)
class System:
    """A system: its name, and its translation of each sentence."""

    name: str
    translations: Sequence[str]


@dataclass(frozen=True)
class Significance:
    """How likely a difference to the first system is to be chance, by one metric."""

    bootstrap: float
    """p-value of paired bootstrap resampling (Koehn 2004), 1,000 resamples."""
    randomisation: float
    """p-value of paired approximate randomisation (Riezler and Maxwell 2005), 10,000 trials."""


@dataclass(frozen=True)
class Compared:
    """A system with its scores, and its comparison with the first system."""

    name: str
    scores: Scores
    """Scores with intervals and signatures, by the names in `metrics.METRICS`."""
    significance: dict[str, Significance]
    """By the names in `metrics.METRICS`; empty for the first system, or if the tests were left out."""
    wins: int
    """Sentences with a better chrF than the first system's."""
    ties: int
    """Sentences whose chrF equals the first system's to two decimals."""
    losses: int
    same: int
    """Sentences whose translation is the first system's, letter by letter. All of them are ties."""


@dataclass(frozen=True)
class Difference:
    """A sentence that the systems translate differently."""

    line: int
    """Its number in the text, from 1."""
    source: str
    references: tuple[str, ...]
    translations: tuple[str, ...]
    """One of each system."""
    scores: tuple[float, ...]
    """The sentence chrF of each."""


@dataclass(frozen=True)
class Comparison:
    """The comparison of several systems, the first of which is the baseline."""

    sentences: int
    systems: list[Compared]
    signatures: dict[str, dict[str, str]]
    """sacreBLEU's signatures of both tests by metric: `signatures["bleu"]["bootstrap"]`."""
    differences: list[Difference]
    """The sentences whose chrF differs most between two systems, largest difference first."""

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `compare --json` prints."""
        systems = [
            {
                "name": each.name,
                **{name: score.as_json() for name, score in each.scores.items()},
                "p": {name: asdict(found) for name, found in each.significance.items()},
                "sentence_chrf": {"wins": each.wins, "ties": each.ties, "losses": each.losses, "same": each.same},
            }
            for each in self.systems
        ]
        return {
            "sentences": self.sentences,
            "systems": systems,
            "signatures": self.signatures,
            "differences": [asdict(each) for each in self.differences],
        }


class Span(NamedTuple):
    """A piece of a line. The pieces of a line joined are the line."""

    text: str
    differs: bool


def compare(
    systems: Sequence[System],
    pairs: Sequence[Pair],
    target_language: str = "",
    *,
    differences: int = 10,
    tests: bool = True,
    advance: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Compare systems on the same text; the first is the baseline of the paired tests.

    `target_language` is a code of any form. `differences` is the number of sentences to return. `tests` runs the
    paired tests, which take seconds for each system. `advance` is called with the name of each part of the work
    before it begins. Raises DataError if a system has another number of lines than the text, and ConfigError if two
    systems have one name.
    """
    raise NotImplementedError


def sentence_scores(translations: Sequence[str], pairs: Sequence[Pair]) -> list[float]:
    """Return the chrF of each sentence, from 0 to 100."""
    raise NotImplementedError


def marked_words(one: str, other: str) -> tuple[list[Span], list[Span]]:
    """Return both lines in pieces, and which of them differ. Lines without blanks are compared by characters."""
    raise NotImplementedError
