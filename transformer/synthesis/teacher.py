"""The model, or the ensemble, that makes a synthetic corpus, and what identifies its translations."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch
from sacrebleu.metrics.chrf import CHRF

from transformer import atomic
from transformer.config import DecodeConfig
from transformer.data_config import BackTranslateConfig, DistillConfig
from transformer.decoding.limits import Warnings
from transformer.decoding.loading import changed, load_translator, open_member, trained_lengths
from transformer.decoding.parts import Translation
from transformer.decoding.translator import Translator, planned_precision
from transformer.errors import CheckpointError, ConfigError
from transformer.languages import parse
from transformer.runs.checkpoint import weights_digest
from transformer.runs.models import candidates, named_checkpoint
from transformer.runs.run import Run
from transformer.synthesis.recipe import Line, Recipe

FORMAT = 1
"""Version of what is made: a change of the program that changes the translations needs a new one."""
SPEED = ("batch_tokens", "fast", "instruction_set", "ensemble")
"""Settings of decoding that do not change translations, and the ensemble, which counts by its weights."""
SAMPLING = ("seed", "temperature", "top_k", "top_p")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """The runs that work together, each with the checkpoint to use."""

    runs: tuple[tuple[Run, Path], ...]

    @property
    def models(self) -> list[dict[str, str]]:
        """What identifies the models, and where they are."""
        return [
            {
                "run": str(run.path),
                "checkpoint": checkpoint.name,
                "weights": weights_digest(checkpoint),
                "tokenizer": run.tokenizer.fingerprint,
            }
            for run, checkpoint in self.runs
        ]

    @property
    def overrides(self) -> list[str]:
        """The settings in which the run is to differ from its own: that these models, and no others, are together."""
        names = [str(path) for _, path in self.runs[1:]]
        ensemble = json.dumps(names, ensure_ascii=False) if names else "null"
        return [f"decode.ensemble={ensemble}", "decode.instruction_set=auto"]

    @property
    def key(self) -> str:
        """What identifies the result: the text, the weights and all settings that it depends on."""
        raise NotImplementedError

    def precision(self, device: torch.device) -> str:
        """Return the precision of the computation on a device."""
        raise NotImplementedError

    def load(self, device: torch.device) -> Worker:
        """Return what works on lines on a device. Raises as `load_translator` does."""
        raise NotImplementedError

    def translator(self, device: torch.device) -> Translator:
        """Return the models on a device. Raises as `load_translator` does."""
        run, checkpoint = self.runs[0]
        return load_translator(run.path, self.overrides, device, checkpoint.name)[1]


class Worker(Protocol):
    """What makes rows of lines."""

    translator: Translator

    def rows(self, lines: Sequence[Line | None], first: int) -> tuple[list[tuple[str, ...]], Counter[str]]:
        """Return what these lines become, and how many lines were left out, by reason. `first` is the number of the
        first line."""


@dataclass(frozen=True)
class Teacher(Models):
    """The runs that translate together."""

    recipe: Recipe

    @property
    def overrides(self) -> list[str]:
        """The settings in which the run is to differ from its own."""
        asked = self.recipe.settings
        drawn = isinstance(asked, BackTranslateConfig) and asked.sampling
        found = [f"decode.beam={asked.beam}", f"decode.sampling={str(drawn).lower()}", "decode.mbr_samples=0"]
        if isinstance(asked, BackTranslateConfig) and drawn:
            found += [f"decode.temperature={asked.temperature}", f"decode.top_k={asked.top_k}"]
        return [*found, *super().overrides]

    @property
    def key(self) -> str:
        """What identifies the corpus: the text, the weights and all settings that its translations depend on."""
        run = changed(self.runs[0][0], self.overrides)
        lengths, decode = trained_lengths(run), run.config.decode
        skipped = (*SPEED, *(() if decode.draws else SAMPLING))
        values = {f.name: getattr(decode, f.name) for f in fields(DecodeConfig) if f.name not in skipped}
        defaults = {f.name: f.default for f in fields(DecodeConfig)}
        known = {
            "format": FORMAT,
            **self.recipe.asked,
            "models": [[each["weights"], each["tokenizer"]] for each in self.models],
            "decode": {key: value for key, value in values.items() if value != defaults[key]},
            "limits": [run.config.data.max_length, lengths and asdict(lengths), run.config.data.source],
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]

    def precision(self, device: torch.device) -> str:
        """Return the precision of decoding on a device."""
        cfg = changed(self.runs[0][0], self.overrides).config
        return planned_precision(cfg.model, cfg.decode, device)

    def load(self, device: torch.device) -> Translating:
        """Return what translates lines on a device. Raises as `load_translator` does."""
        translator = self.translator(device)
        return Translating(translator, self.recipe, translator.warnings())


def find_teacher(recipe: Recipe) -> Teacher:
    """Return the teacher of a corpus; no weights are read.

    Raises CheckpointError if a model is gone, and ConfigError if it translates between other languages.
    """
    found = open_models(recipe.models)
    for run, _ in found:
        _check_languages(run, recipe)
    return Teacher(found, recipe)


def open_models(names: Sequence[str]) -> tuple[tuple[Run, Path], ...]:
    """Return runs with the checkpoints to use. Raises CheckpointError if there is none."""
    found = (open_member(name) for name in names)
    return tuple((run, _checkpoint(run, checkpoint)) for run, checkpoint in found)


def codes(languages: Sequence[str]) -> list[str]:
    """Return language codes in one form."""
    return [parse(code).code for code in languages]


def _check_languages(run: Run, recipe: Recipe) -> None:
    data, wanted = run.config.data, recipe.languages
    if codes((data.source, data.target)) != codes(wanted):
        raise ConfigError(
            f"{recipe.dotted}.model: {run.path} translates from {data.source} to {data.target}, and here a model from "
            f"{wanted[0]} to {wanted[1]} is needed"
        )


def _checkpoint(run: Run, name: str | None) -> Path:
    """Return the checkpoint to use: the named one, else the best one that seems whole."""
    if name is not None:
        return named_checkpoint(run, name, deep=False)
    for each in candidates(run):
        if atomic.damage(each, deep=False) is None:
            return each
    raise CheckpointError(f"no checkpoint in {run.checkpoints} can be used")


@dataclass
class Translating:
    """Translates lines of a corpus."""

    translator: Translator
    recipe: Recipe
    warnings: Warnings

    def rows(self, lines: Sequence[Line | None], first: int) -> tuple[list[tuple[str, ...]], Counter[str]]:
        """Return the pairs, source and target, that these lines become, and how many lines were left out, by reason.

        `first` is the number of the first line. A line that has more tokens than `data.max_length` of the model is left
        out: it would be cut into sentences, and such pairs teach to leave sentences out.
        """
        translator, left_out = self.translator, Counter[str]()
        ids = translator.tokenizer.encode_source([line.text if line else "" for line in lines])
        texts = []
        for line, row in zip(lines, ids, strict=True):
            reason = "undecodable" if line is None else None if row else "empty"
            if len(row) > translator.max_length:
                reason = "too long"
            if reason:
                left_out[reason] += 1
            texts.append("" if reason or line is None else line.text)
        by_chrf = isinstance(self.recipe.settings, DistillConfig) and self.recipe.settings.pick == "chrf"
        nbest = translator.cfg.beam if by_chrf else 1
        pairs: list[tuple[str, ...]] = []
        for line, text, found in zip(
            lines, texts, translator.translate(texts, nbest, None, first, self.warnings), strict=True
        ):
            if not text or line is None:
                continue
            made = closest(found, line.reference) if by_chrf else found[0].text
            if made.strip():
                pairs.append((made, text) if self.recipe.backwards else (text, made))
            else:
                left_out["empty translation"] += 1
        return pairs, left_out


def closest(found: Sequence[Translation], reference: str) -> str:
    """Return the translation that has the highest chrF against a reference, of equal ones the first."""
    if not reference.strip():
        return found[0].text
    return max(found, key=lambda each: _chrf().sentence_score(each.text, [reference]).score).text


@cache
def _chrf() -> CHRF:
    return CHRF()


def known_models(models: Sequence[dict[str, Any]]) -> str:
    """Return models of a manifest in words."""
    return " + ".join(f"{Path(str(each['run'])).name}/{each['checkpoint']}" for each in models)
