"""Evaluation: translate a text and score the translations against raw references."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from transformer import atomic
from transformer.config import CorpusConfig
from transformer.data.corpus import Pair
from transformer.data.prepare import read_aligned, read_all_pairs
from transformer.decoding.translator import Translator
from transformer.errors import ConfigError, DataError
from transformer.evaluation.metrics import Scores, score_corpus
from transformer.evaluation.model_card import write_model_card
from transformer.runs.run import Run, open_run
from transformer.system.clock import Stopwatch


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

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `evaluate --json` prints."""
        return {
            "name": self.name,
            **{name: score.as_json() for name, score in self.scores.items()},
            "sentences": len(self.translations),
            "seconds": round(self.seconds, 3),
            "precision": self.precision,
        }


def read_evaluation_text(
    run: Run, split: str, source: Path | None, reference: Path | None, testset: str | None
) -> tuple[str, list[Pair]]:
    """Return the name and the pairs of the text to evaluate on: two files, a test set, or a split of the run."""
    data = run.config.data
    if source is not None and testset is not None:
        raise ConfigError("--testset and --source exclude each other; give one")
    if source is not None and reference is not None:
        return source.name, read_aligned(source, reference)
    if testset is not None:
        return testset, read_all_pairs(CorpusConfig(testset=testset), data)
    chosen = {"valid": data.valid, "test": data.test}[split]
    if chosen is None:
        raise DataError(f"this run has no data.{split}; give --source and --reference, or --testset")
    return split, read_all_pairs(chosen, data)


def evaluate(translator: Translator, name: str, pairs: list[Pair], target: str, progress: bool = False) -> Evaluation:
    """Translate the sources and score the translations, with confidence intervals.

    `target` is the language code. `progress` shows a progress bar if standard error is a terminal.
    """
    watch = Stopwatch()
    found = tqdm(
        translator.translate(pair.source for pair in pairs),
        total=len(pairs),
        unit=" lines",
        disable=None if progress else True,
        leave=False,
    )
    translations = [nbest[0].text for nbest in found]
    seconds = watch.seconds
    scores = score_corpus(translations, [pair.target for pair in pairs], target, interval=True)
    return Evaluation(name, translations, scores, seconds, translator.precision)


def save_evaluation(run: Run, evaluation: Evaluation) -> Path:
    """Write translations and scores into the run directory and update the model card; return the translations' file."""
    folder = run.path / "evaluations"
    folder.mkdir(exist_ok=True)
    stem = evaluation.name.replace("/", "-")
    found = {**evaluation.as_json(), "decode": vars(run.config.decode)}
    atomic.write_text(folder / f"{stem}.json", json.dumps(found, indent=1) + "\n")
    atomic.write_text(folder / f"{stem}.txt", "".join(line + "\n" for line in evaluation.translations))
    write_model_card(open_run(run.path))
    return folder / f"{stem}.txt"
