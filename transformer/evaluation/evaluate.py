"""Evaluation: translate a text, unless that was done before, and score the translations against raw references."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from transformer.data.corpus import Pair
from transformer.evaluation.checks import check_forms, check_text
from transformer.evaluation.evaluated_model import EvaluatedModel
from transformer.evaluation.metrics import METRICS, Scores, check_metrics, make_task, score_corpus
from transformer.evaluation.records import find_translations, keep_evaluation, translations_digest
from transformer.evaluation.texts import EvaluationText, reference_columns
from transformer.system.clock import Stopwatch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Translations of a text, their scores, and the time that translating took."""

    name: str
    """Name of the text."""
    translations: list[str]
    scores: Scores
    """Scores by the names in `metrics.METRICS`."""
    seconds: float
    """Time of translating, without loading the model."""
    precision: str
    """Precision of decoding, by its name in the configuration."""
    origin: dict[str, Any] = field(default_factory=dict)
    """Text, languages, checkpoint, settings, device and version, by their names in JSON."""
    pairs: Sequence[Pair] = ()
    """The sentences with their references."""
    translated: str | None = None
    """When it was translated, in ISO 8601, if the translations were taken from a record; `seconds` are of then."""

    @property
    def speed(self) -> float:
        """Sentences that were translated a second."""
        seconds = round(self.seconds, 3)  # as it is kept
        return len(self.translations) / seconds if seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `evaluate --json` prints. With the time, it is kept in the run directory."""
        return {
            "name": self.name,
            **{name: score.as_json() for name, score in self.scores.items()},
            "sentences": len(self.translations),
            "seconds": round(self.seconds, 3),
            "sentences_per_second": round(self.speed, 3),
            "precision": self.precision,
            **self.origin,
            "translations": {"sha256": translations_digest(self.translations)},
        }


@dataclass(frozen=True)
class Scoring:
    """How translations are scored and kept."""

    metrics: tuple[str, ...] = ()
    """Metrics beside the usual ones."""
    tokenizer: str | None = None
    """sacreBLEU's name of the tokenizer of BLEU; None: the one for the language."""
    again: bool = False
    """Whether to translate even if the translations are on disk."""
    keep: bool = True
    """Whether scores and translations are written into the run directory."""


def check_scoring(scoring: Scoring, target: str) -> None:
    """Raise TransformerError if a metric or the tokenizer cannot be used here. Models of metrics are downloaded."""
    task = make_task(target, tokenizer=scoring.tokenizer)
    for name in check_metrics(scoring.metrics):
        if not METRICS[name].selects:
            METRICS[name].make(task)


def evaluated(model: EvaluatedModel, text: EvaluationText, scoring: Scoring | None = None) -> Evaluation:
    """Return the evaluation of a text, with confidence intervals.

    If the run directory has translations of the same text with the same weights, settings, precision, device and
    version, they are scored, and the model is not loaded; that is logged. `scoring` says what else. Of several
    processes only the first calls this; the others call `help_evaluate`.
    """
    scoring = scoring or Scoring()
    check_scoring(scoring, model.run.config.data.target)
    check_text(text.pairs)
    found = None if scoring.again else kept_evaluation(model, text)
    if found is None:
        found = _translated(model, text, scoring)
        check_forms(found.translations, text.pairs)
    scores = score_corpus(
        found.translations,
        reference_columns(text.pairs),
        model.run.config.data.target,
        interval=True,
        metrics=scoring.metrics,
        tokenizer=scoring.tokenizer,
        sources=[pair.source for pair in text.pairs],
    )
    found = replace(found, scores=scores)
    if scoring.keep:
        keep_evaluation(model.stored, found)
    return found


def kept_evaluation(model: EvaluatedModel, text: EvaluationText) -> Evaluation | None:
    """Return the evaluation, without scores, whose translations are on disk."""
    origin, precision = model.origin(text), model.precision
    record = find_translations(model.stored.path, {**origin, "precision": precision})
    if record is None:
        return None
    seconds, time = record.values["seconds"], str(record.values.get("time", ""))
    log.info("%s was translated before: scoring %s", text.name, record.path.stem + ".txt")
    return Evaluation(text.name, record.translations, {}, seconds, precision, origin, text.pairs, time)


def _translated(model: EvaluatedModel, text: EvaluationText, scoring: Scoring) -> Evaluation:
    """Return the evaluation, without scores, after translating the text."""
    expected = model.checkpoint
    model.load()
    other = model.checkpoint != expected and model.ranks is None and not scoring.again  # the best was damaged
    if other and (found := kept_evaluation(model, text)):
        return found
    origin = model.origin(text)  # first: a training may remove the checkpoint meanwhile
    watch = Stopwatch()
    translations = model.translate([pair.source for pair in text.pairs])
    return Evaluation(text.name, translations, {}, watch.seconds, model.precision, origin, text.pairs)
