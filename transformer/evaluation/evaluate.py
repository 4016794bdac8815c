"""Evaluation: translate a text and score the translations against raw references."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from transformer import __version__
from transformer.data.corpus import Pair
from transformer.decoding.batches import WINDOW
from transformer.decoding.shared import translate_shared
from transformer.decoding.translator import Translation, Translator
from transformer.evaluation.checks import check_forms, check_text
from transformer.evaluation.metrics import Scores, score_corpus
from transformer.evaluation.texts import EvaluationText, reference_columns
from transformer.runs.checkpoint import weights_digest
from transformer.runs.run import Run
from transformer.system.clock import Stopwatch
from transformer.system.distributed import Ranks


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

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `evaluate --json` prints. With the time, it is kept in the run directory."""
        return {
            "name": self.name,
            **{name: score.as_json() for name, score in self.scores.items()},
            "sentences": len(self.translations),
            "seconds": round(self.seconds, 3),
            "precision": self.precision,
            **self.origin,
        }


def evaluate(
    run: Run,
    translator: Translator,
    checkpoint: str,
    text: EvaluationText,
    progress: bool = False,
    ranks: Ranks | None = None,
) -> Evaluation:
    """Translate the sources and score the translations, with confidence intervals.

    `run` has the settings that are used, `checkpoint` is the name of the one that the translator was loaded from.
    `progress` shows a progress bar if standard error is a terminal. The first of several processes calls this, the
    others `help_evaluate`.
    """
    origin = _origin(run, translator, checkpoint, text)  # first: a training may remove the checkpoint meanwhile
    check_text(text.pairs)
    watch = Stopwatch()
    sources = [pair.source for pair in text.pairs]
    found = tqdm(
        translator.translate(sources) if ranks is None else _shared(translator, sources, ranks),
        total=len(sources),
        unit=" lines",
        disable=None if progress else True,
        leave=False,
    )
    translations = [nbest[0].text for nbest in found]
    seconds = watch.seconds
    check_forms(translations, text.pairs)
    scores = score_corpus(translations, reference_columns(text.pairs), run.config.data.target, interval=True)
    return Evaluation(text.name, translations, scores, seconds, translator.precision, origin, text.pairs)


def help_evaluate(translator: Translator, ranks: Ranks) -> None:
    """Translate a share of the text that the first process evaluates on."""
    for _ in _shared(translator, [], ranks):
        pass


def _shared(translator: Translator, sources: list[str], ranks: Ranks) -> Iterator[list[Translation]]:
    """Yield the translations of the first process's sources."""
    sources, warnings = ranks.of_first(lambda: sources), translator.warnings()
    size = WINDOW * ranks.count
    for start in range(0, len(sources), size):
        lines = sources[start : start + size]
        yield from translate_shared(translator, lines, ranks, first=start + 1, warnings=warnings)


def _origin(run: Run, translator: Translator, checkpoint: str, text: EvaluationText) -> dict[str, Any]:
    data = run.config.data
    return {
        "text": {"sha256": text.sha256, "files": list(text.files)},
        "languages": [data.source, data.target],
        "checkpoint": {"name": checkpoint, "sha256": weights_digest(run.checkpoints / checkpoint)},
        "decode": dict(vars(run.config.decode)),
        "max_length": data.max_length,
        "device": translator.device.type,
        "version": __version__,
    }
