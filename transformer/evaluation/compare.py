"""Several systems on the same text: scores, sacreBLEU's paired tests, and the sentences that differ most."""

from __future__ import annotations

import difflib
import functools
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from transformer.data.corpus import Pair
from transformer.errors import ConfigError, DataError
from transformer.evaluation.metrics import METRICS, Scores, check_metrics, make_task, score_corpus
from transformer.evaluation.scorers import SacreBleu
from transformer.evaluation.texts import reference_columns
from transformer.evaluation.words import tokens
from transformer.system.memory import memory_of_this_machine
from transformer.system.progress_bar import ProgressBar

TIE = 0.005
"""Sentences tie if their chrF differs by no more than this: the scores are equal to two decimals."""
LONGEST_MARKED = 1000
"""Words of a line in which single words are marked. The time of finding them grows with the square."""
TESTS = {"bs": "bootstrap", "ar": "randomisation"}
"""Both paired tests, by sacreBLEU's name: paired bootstrap resampling and paired approximate randomisation."""

TEST_MEMORY = 120_000
"""Bytes for each sentence that sacreBLEU's paired tests hold at once: all resamples are one array (sacrebleu#161)."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class System:
    """A system: its name, and its translation of each sentence."""

    name: str
    translations: Sequence[str]
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Checkpoint, settings and precision, by their names in the JSON of an evaluation; empty if unknown."""


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
    metrics: Iterable[str] = (),
    tests: bool = True,
) -> Comparison:
    """Compare systems on the same text; the first is the baseline of the paired tests.

    `target_language` is a code of any form. `differences` is the number of sentences to return. `metrics`
    are more than the usual ones; the tests are of those of sacreBLEU. `tests` runs them, which takes seconds for each
    system. Raises DataError if a system has another number of lines than the text, and ConfigError if two systems have
    the same name.
    """
    names = check_metrics(metrics)
    _check(systems, pairs)
    columns, sources = reference_columns(pairs), [pair.source for pair in pairs]
    with ProgressBar("comparing", 2 * len(systems) - 1, "parts") as bar:
        scores: list[Scores] = []
        for each in systems:
            scores.append(
                score_corpus(each.translations, columns, target_language, interval=True, metrics=names, sources=sources)
            )
            bar.advance()
        tested = tests and len(systems) > 1 and _enough_memory(pairs)
        tester = _Tester(systems[0], pairs, target_language, names) if tested else None
        significance: list[dict[str, Significance]] = [{}]
        for each in systems[1:]:
            significance.append(tester.significance(each) if tester else {})
            bar.advance()
    chrf = [sentence_scores(each.translations, pairs) for each in systems]
    compared = [
        _outcome(each, own, found, systems[0], chrf[0], better)
        for each, own, found, better in zip(systems, scores, significance, chrf, strict=True)
    ]
    signatures = tester.signatures if tester else {}
    return Comparison(len(pairs), compared, signatures, _differences(systems, pairs, chrf, differences))


def sentence_scores(translations: Sequence[str], pairs: Sequence[Pair]) -> list[float]:
    """Return the chrF of each sentence, from 0 to 100. With several references, it is that of the best."""
    from sacrebleu.metrics.chrf import CHRF

    scorer = CHRF()
    return [
        float(scorer.sentence_score(line, [text for text in pair.references if text] or [""]).score)
        for line, pair in zip(translations, pairs, strict=True)
    ]


def marked_words(one: str, other: str) -> tuple[list[Span], list[Span]]:
    """Return both lines in pieces, and which of them differ. Lines without blanks are compared by characters."""
    sides = tokens(one), tokens(other)
    if max(map(len, sides)) > 2 * LONGEST_MARKED:  # about half of the tokens are blanks
        return [Span(one, one != other)], [Span(other, one != other)]
    kept = [[place for place, token in enumerate(side) if not token.isspace()] for side in sides]
    texts = [[side[place] for place in places] for side, places in zip(sides, kept, strict=True)]
    matcher = difflib.SequenceMatcher(None, texts[0], texts[1], autojunk=False)
    same = [
        {kept[side][block[side] + i] for block in matcher.get_matching_blocks() for i in range(block.size)}
        for side in (0, 1)
    ]
    return _spans(sides[0], same[0]), _spans(sides[1], same[1])


def _spans(line: list[str], same: set[int]) -> list[Span]:
    """Join tokens to spans. Blanks between two words that differ belong to them."""
    differs = [place not in same and not token.isspace() for place, token in enumerate(line)]
    for place, token in enumerate(line[1:-1], 1):
        differs[place] |= token.isspace() and differs[place - 1] and differs[place + 1]
    groups = itertools.groupby(zip(line, differs, strict=True), key=lambda each: each[1])
    return [Span("".join(token for token, _ in group), differ) for differ, group in groups]


def _check(systems: Sequence[System], pairs: Sequence[Pair]) -> None:
    if not systems:
        raise ConfigError("there is no system to compare")
    for number, each in enumerate(systems):
        if len(each.translations) != len(pairs):
            raise DataError(f"{each.name} has {len(each.translations)} lines, but the text has {len(pairs)} sentences")
        if any(each.name == other.name for other in systems[:number]):
            raise ConfigError(f"two systems are called {each.name}")


def _enough_memory(pairs: Sequence[Pair]) -> bool:
    """Return whether the paired tests can be run, and warn if not."""
    memory, needed = memory_of_this_machine(), len(pairs) * TEST_MEMORY
    if memory is None or needed < memory / 2:
        return True
    log.warning(
        "the paired tests are left out: for %d sentences they need %.0f MB of memory, more than half of what there is",
        len(pairs),
        needed / 1e6,
    )
    return False


class _Tester:
    """sacreBLEU's paired tests of systems against the first one."""

    def __init__(self, first: System, pairs: Sequence[Pair], target_language: str, names: Sequence[str]) -> None:
        self.first, self.columns = first, reference_columns(pairs)
        task = make_task(target_language, (text for column in self.columns for text in column if text))
        makers = {name: functools.partial(METRICS[name].make, task) for name in names}
        self.makers = {name: make for name, make in makers.items() if isinstance(make(), SacreBleu)}
        self.signatures: dict[str, dict[str, str]] = {name: {} for name in self.makers}

    def significance(self, system: System) -> dict[str, Significance]:
        """Return the p-values of the difference between a system and the first, by metric."""
        both = {test: self._p_values(system, test) for test in TESTS}
        return {name: Significance(both["bs"][name], both["ar"][name]) for name in self.makers}

    def _p_values(self, system: System, test: str) -> dict[str, float]:
        from sacrebleu.significance import PairedTest

        metrics: dict[str, Any] = {name: make().metric for name, make in self.makers.items()}  # type: ignore[attr-defined]
        named = [(each.name, each.translations) for each in (self.first, system)]
        columns: Any = self.columns  # None where a sentence has fewer references
        signatures, results = PairedTest(named, metrics, columns, test)()
        del results["System"]  # what is left is by sacreBLEU's names, such as chrF2, in our order
        for name, signature in zip(self.makers, signatures.values(), strict=True):
            self.signatures[name][TESTS[test]] = str(signature.format(short=False))
        found: list[Any] = [column[1] for column in results.values()]
        return {name: float(result.p_value) for name, result in zip(self.makers, found, strict=True)}


def _outcome(
    system: System,
    scores: Scores,
    significance: dict[str, Significance],
    first: System,
    before: list[float],
    after: list[float],
) -> Compared:
    """Compare the sentences of a system with those of the first one."""
    changes = [b - a for a, b in zip(before, after, strict=True)]
    wins, losses = sum(change > TIE for change in changes), sum(change < -TIE for change in changes)
    same = sum(a == b for a, b in zip(first.translations, system.translations, strict=True))
    return Compared(system.name, scores, significance, wins, len(changes) - wins - losses, losses, same)


def _differences(
    systems: Sequence[System], pairs: Sequence[Pair], chrf: Sequence[Sequence[float]], most: int
) -> list[Difference]:
    """Return the sentences whose scores are farthest apart; of the same distance, the earlier."""
    rows = list(zip(*chrf, strict=True))
    spread = [max(row) - min(row) for row in rows]
    order = sorted((place for place in range(len(rows)) if spread[place] > TIE), key=lambda place: -spread[place])
    return [
        Difference(
            line=place + 1,
            source=pairs[place].source,
            references=pairs[place].references,
            translations=tuple(each.translations[place] for each in systems),
            scores=rows[place],
        )
        for place in order[:most]
    ]
