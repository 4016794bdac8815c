"""Tunes beam, length penalty and the limit of the length on held-out text, by a metric."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from transformer import __version__
from transformer.config import DecodeConfig
from transformer.data.corpus import Pair
from transformer.decoding.translator import Translator, with_settings
from transformer.errors import ConfigError, DataError
from transformer.evaluation.compare import System, compare
from transformer.evaluation.metrics import METRICS, score_corpus
from transformer.evaluation.texts import reference_columns, text_digest
from transformer.runs.tuning import TUNED
from transformer.system.clock import Stopwatch

BEAMS: tuple[int, ...] = (1, 2, 4, 6, 8)
PENALTIES: tuple[float, ...] = (0.0, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5)
EXTRAS: tuple[int | Literal["auto"], ...] = ("auto", 10, 25, 100)
"""The settings that are tried by default. Larger beams hardly ever translate better (Koehn and Knowles 2017)."""
CHANCE = 0.05
"""A p-value from which a difference counts as chance, so that the present settings stay."""
MOST_TEST = 0.5
"""Share of sentences that may be in the test text, as short ones are by chance. Not measured."""


@dataclass(frozen=True)
class Grid:
    """The settings to try."""

    beams: Sequence[int] = BEAMS
    penalties: Sequence[float] = PENALTIES
    extras: Sequence[int | Literal["auto"]] = EXTRAS


@dataclass(frozen=True)
class Trial:
    """The translations with some settings, and their scores."""

    settings: DecodeConfig
    translations: list[str]
    scores: dict[str, float]
    """By the names in `metrics.METRICS`."""
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the settings and scores as a JSON object."""
        return {**self.tuned, **self.scores, "seconds": round(self.seconds, 3)}

    @property
    def tuned(self) -> dict[str, Any]:
        """The settings that are tuned."""
        return {key: getattr(self.settings, key) for key in TUNED}


@dataclass(frozen=True)
class Tuning:
    """What was tried on a text, and what of it is best."""

    metric: str
    """By its name in `metrics.METRICS`."""
    trials: list[Trial]
    """In the order tried; the first has the present settings."""
    best: Trial
    """The one to use: that with the best score, or the present settings if the difference may be chance."""
    highest: Trial
    """The one with the best score."""
    p_value: float | None
    """That of the difference between the best score and the present settings, by paired bootstrap; None if they are the
    same. The best of many was chosen by the same text, so it is too low."""
    text: str
    """The SHA-256 of the text."""

    @property
    def present(self) -> Trial:
        """The trial with the present settings."""
        return self.trials[0]

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that is kept in the run directory."""
        return {
            "decode": self.best.tuned,
            "present": self.present.tuned,
            "metric": self.metric,
            "p": self.p_value,
            "text": {"sha256": self.text, "sentences": len(self.best.translations)},
            "trials": [each.as_json() for each in self.trials],
            "version": __version__,
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }


def tune(
    translator: Translator,
    pairs: Sequence[Pair],
    target: str,
    metric: str = "bleu",
    grid: Grid | None = None,
    shown: Callable[[Trial], None] = lambda trial: None,
) -> Tuning:
    """Translate `pairs` with all beams and length penalties, and with all limits at the best of these.

    `target` is the language code. `shown` gets each trial as soon as it is done. The present settings stay unless
    others are better beyond chance. Of equally good ones those with the smaller beam win. A limit is changed only if
    that too is better beyond chance. Raises ConfigError if the settings draw translations at random.
    """
    if translator.cfg.draws:
        raise ConfigError("there is no beam to tune: decode.sampling and decode.mbr_samples draw at random")
    references, sources = reference_columns(pairs), [pair.source for pair in pairs]
    trials: list[Trial] = []
    warnings = translator.warnings()  # once, not with each trial

    def attempt(settings: DecodeConfig) -> None:
        if any(_same(settings, each.settings) for each in trials):
            return
        changed, watch = with_settings(translator, settings), Stopwatch()
        translations = [best[0].text for best in changed.translate(sources, warnings=warnings)]
        seconds = watch.seconds
        scores = score_corpus(translations, references, target, metrics=[metric])
        trials.append(Trial(settings, translations, {name: each.score for name, each in scores.items()}, seconds))
        shown(trials[-1])

    def p_value(trial: Trial, than: Trial) -> float | None:
        if trial.translations == than.translations:
            return None
        systems = [System("than", than.translations), System("trial", trial.translations)]
        compared = compare(systems, pairs, target, differences=0, metrics=[metric])
        return compared.systems[1].significance[metric].bootstrap

    for settings in _settings(translator.cfg, grid or Grid()):
        attempt(settings)
    highest, present = _best(trials, metric), trials[0]
    for extra in (grid or Grid()).extras:
        attempt(replace(highest.settings, max_extra=extra))
    other = _best([highest, *trials], metric)
    if other is not highest and (p_value(other, highest) or 1.0) < CHANCE:  # a limit that changes little may cut others
        highest = other
    chance = p_value(highest, present)
    best = highest if chance is not None and chance < CHANCE else present
    return Tuning(metric, trials, best, highest, chance, text_digest(pairs))


def check_held_out(pairs: Sequence[Pair], test: Sequence[Pair]) -> None:
    """Raise DataError if there is nothing to score, or ConfigError if many of the sentences are in the test text."""
    if not any(pair.source.strip() and pair.target.strip() for pair in pairs):
        raise DataError("there is nothing to score: every sentence or every reference is empty")
    sources = {pair.source for pair in test}
    known = sum(pair.source in sources for pair in pairs)
    if known > MOST_TEST * len(pairs):
        raise ConfigError(
            f"{known} of {len(pairs)} sentences are in the test text: with settings that were tuned on it, "
            "its scores would be too good; tune on other text"
        )


def evenly(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """Return `count` pairs from all parts of a text, or all if there are fewer."""
    if len(pairs) <= count:
        return list(pairs)
    return [pairs[i * len(pairs) // count] for i in range(count)]


def _settings(present: DecodeConfig, grid: Grid) -> Iterator[DecodeConfig]:
    """Yield the present settings, then all others."""
    yield present
    for beam in sorted(grid.beams):
        for penalty in _penalties(beam, grid.penalties):
            yield replace(present, beam=beam, length_penalty=penalty)


def _penalties(beam: int, penalties: Iterable[float]) -> list[float]:
    """Return the length penalties to try with a beam: greedy search does not depend on it."""
    return sorted(penalties)[: 1 if beam == 1 else None]


def _same(one: DecodeConfig, other: DecodeConfig) -> bool:
    """Return whether two settings translate alike."""
    if one.beam == other.beam == 1:
        one = replace(one, length_penalty=other.length_penalty)
    return one == other


def _best(trials: Sequence[Trial], metric: str) -> Trial:
    """Return the best trial by a metric: the first of equally good ones."""
    sign = 1 if METRICS[metric].higher_is_better else -1
    return max(trials, key=lambda each: sign * each.scores[metric])
