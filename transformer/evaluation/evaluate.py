"""Translating held-out text and scoring it against its raw references."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from transformer import atomic
from transformer.config import CorpusConfig
from transformer.data import corpus
from transformer.data.lines import read_text
from transformer.data.prepare import read_all_pairs
from transformer.decoding.translator import Translator
from transformer.errors import ConfigError, DataError
from transformer.evaluation.metrics import Scores, score_corpus
from transformer.evaluation.model_card import write_model_card
from transformer.runs.run import Run, open_run
from transformer.system.clock import Stopwatch


@dataclass(frozen=True)
class Evaluation:
    """What came out, and how long it took."""

    name: str
    """Of the text."""
    translations: list[str]
    scores: Scores
    seconds: float
    """Of translating, loading not counted."""
    precision: str
    """Of the arithmetic that translated, by name."""

    def as_json(self) -> dict[str, Any]:
        """Return what `evaluate --json` prints."""
        return {
            "name": self.name,
            "bleu": self.scores.bleu.as_json(),
            "chrf": self.scores.chrf.as_json(),
            "sentences": len(self.translations),
            "seconds": round(self.seconds, 3),
            "precision": self.precision,
        }


def test_text(
    run: Run, split: str, source: Path | None, reference: Path | None, testset: str | None
) -> tuple[str, list[corpus.Pair]]:
    """Return the name and the pairs of the text to evaluate on."""
    data = run.config.data
    if source is not None and testset is not None:
        raise ConfigError("--testset and --source are two ways to say what to evaluate on; give one")
    if source is not None and reference is not None:
        sources, references = read_text(source), read_text(reference)
        if len(sources) != len(references):
            raise DataError(f"{source} has {len(sources)} lines but {reference} has {len(references)}")
        if not sources:
            raise DataError(f"{source} is empty")
        return source.name, [corpus.Pair(s, r) for s, r in zip(sources, references, strict=True)]
    if testset is not None:
        return testset, read_all_pairs(CorpusConfig(testset=testset), data)
    chosen = {"valid": data.valid, "test": data.test}[split]
    if chosen is None:
        raise DataError(f"this run names no data.{split}; give --source and --reference, or --testset")
    return split, read_all_pairs(chosen, data)


def evaluate(translator: Translator, name: str, pairs: list[corpus.Pair], target: str) -> Evaluation:
    """Translate the sources and score the translations."""
    watch = Stopwatch()
    found = tqdm(
        translator.translate(pair.source for pair in pairs), total=len(pairs), unit=" lines", disable=None, leave=False
    )
    translations = [each[0].text for each in found]
    seconds = watch.seconds
    scores = score_corpus(translations, [pair.target for pair in pairs], target, interval=True)
    return Evaluation(name, translations, scores, seconds, translator.precision)


def keep(run: Run, evaluation: Evaluation) -> Path:
    """Write translations and scores into the run directory, and bring the model card up to date."""
    folder = run.path / "evaluations"
    folder.mkdir(exist_ok=True)
    stem = evaluation.name.replace("/", "-")
    found = {**evaluation.as_json(), "decode": vars(run.config.decode)}
    atomic.write_text(folder / f"{stem}.json", json.dumps(found, indent=1) + "\n")
    atomic.write_text(folder / f"{stem}.txt", "".join(line + "\n" for line in evaluation.translations))
    write_model_card(open_run(run.path))
    return folder / f"{stem}.txt"
