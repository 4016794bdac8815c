"""Translating held-out text and scoring it against its raw references."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from transformer import card, checkpoint, corpus, durable, prepare, runtime, scoring
from transformer.checkpoint import Run
from transformer.config import Config, CorpusConfig
from transformer.corpus import Pair
from transformer.errors import ConfigError, DataError
from transformer.scoring import Scores
from transformer.translator import Translator


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


def load_translator(
    path: Path, overrides: Iterable[str], device: torch.device, name: str | None = None
) -> tuple[Run, Translator, str]:
    """Return a run, its translator and its checkpoint's name; overrides may change decoding and text."""
    run = checkpoint.open_run(path)
    cfg = _override(run.config, overrides)
    model, path = checkpoint.load_model(run, name)
    translator = Translator(model.to(device), run.tokenizer, cfg.decode, cfg.data.max_length, device)
    return Run(run.path, cfg, run.tokenizer), translator, path.name


def _override(cfg: Config, overrides: Iterable[str]) -> Config:
    from transformer import config

    overrides = list(overrides)
    for text in overrides:
        if not text.startswith(("decode.", "data.")):
            raise ConfigError(f"{text} is decided when a run is trained; here only decode.* and data.* can be set")
    return config.override(cfg, overrides) if overrides else cfg


def text(
    run: Run, split: str, source: Path | None, reference: Path | None, testset: str | None
) -> tuple[str, list[Pair]]:
    """Return the name and the pairs of the text to evaluate on."""
    data = run.config.data
    if source is not None and testset is not None:
        raise ConfigError("--testset and --source are two ways to say what to evaluate on; give one")
    if source is not None and reference is not None:
        sources, references = corpus.read_text(source), corpus.read_text(reference)
        if len(sources) != len(references):
            raise DataError(f"{source} has {len(sources)} lines but {reference} has {len(references)}")
        if not sources:
            raise DataError(f"{source} is empty")
        return source.name, [Pair(s, r) for s, r in zip(sources, references, strict=True)]
    if testset is not None:
        return testset, prepare.held_out(CorpusConfig(testset=testset), data)
    chosen = {"valid": data.valid, "test": data.test}[split]
    if chosen is None:
        raise DataError(f"this run names no data.{split}; give --source and --reference, or --testset")
    return split, prepare.held_out(chosen, data)


def evaluate(translator: Translator, name: str, pairs: list[Pair], target: str) -> Evaluation:
    """Translate the sources and score the translations."""
    watch = runtime.Stopwatch()
    found = tqdm(
        translator.translate(pair.source for pair in pairs), total=len(pairs), unit=" lines", disable=None, leave=False
    )
    translations = [each[0].text for each in found]
    seconds = watch.seconds
    scores = scoring.corpus(translations, [pair.target for pair in pairs], target, interval=True)
    return Evaluation(name, translations, scores, seconds, translator.precision)


def keep(run: Run, evaluation: Evaluation) -> Path:
    """Write translations and scores into the run directory, and bring the model card up to date."""
    folder = run.path / "evaluations"
    folder.mkdir(exist_ok=True)
    stem = evaluation.name.replace("/", "-")
    found = {**evaluation.as_json(), "decode": vars(run.config.decode)}
    durable.write_text(folder / f"{stem}.json", json.dumps(found, indent=1) + "\n")
    durable.write_text(folder / f"{stem}.txt", "".join(line + "\n" for line in evaluation.translations))
    card.write(checkpoint.open_run(run.path))
    return folder / f"{stem}.txt"
