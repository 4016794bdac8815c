"""The model, or the ensemble, that scores the pairs of a corpus for a filter, and what identifies its scores."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from transformer.decoding.limits import Warnings
from transformer.decoding.loading import changed
from transformer.decoding.translator import Translator
from transformer.errors import ConfigError
from transformer.synthesis.recipe import Line, Scoring
from transformer.synthesis.teacher import Models, codes, open_models

FORMAT = 1
"""Version of the scores: a change of the program that changes them needs a new one."""
NONE, WORST = "inf", "-inf"
"""The scores of a line that is not UTF-8, which `data.undecodable` drops, and of a pair too long to be scored."""


@dataclass(frozen=True)
class Scorer(Models):
    """The runs that score together."""

    backwards: bool
    """Whether they translate from the target to the source language of the pairs, and so score the other way round."""
    scoring: Scoring

    @property
    def overrides(self) -> list[str]:
        """The settings in which the run is to differ from its own: scores are always computed in float32."""
        return [*super().overrides, "decode.precision=float32"]

    @property
    def key(self) -> str:
        """What identifies the scores: the text, the weights and the settings that they depend on."""
        known = {
            "format": FORMAT,
            **self.scoring.asked,
            "models": [[each["weights"], each["tokenizer"]] for each in self.models],
            "backwards": self.backwards,
            "length_penalty": changed(self.runs[0][0], self.overrides).config.decode.length_penalty,
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]

    def precision(self, device: torch.device) -> str:
        """Return the precision of scores, which is the same on all devices."""
        return "float32"

    def load(self, device: torch.device) -> ScoringPairs:
        """Return what scores pairs on a device. Raises as `load_translator` does."""
        translator = self.translator(device)
        return ScoringPairs(translator, self.backwards, translator.warnings())


def find_scorer(scoring: Scoring) -> Scorer:
    """Return what scores a corpus; no weights are read.

    Raises CheckpointError if a model is gone, and ConfigError if it is not of these languages.
    """
    runs = open_models(scoring.models)
    wanted = codes((scoring.data.source, scoring.data.target))
    pairs = [[run.config.data.source, run.config.data.target] for run, _ in runs]
    for (run, _), pair in zip(runs, pairs, strict=True):
        if codes(pair) not in (wanted, wanted[::-1]):
            raise ConfigError(
                f"{scoring.dotted}.model: {run.path} translates from {pair[0]} to {pair[1]}, and here a model between "
                f"{scoring.data.source} and {scoring.data.target} is needed"
            )
        if codes(pair) != codes(pairs[0]):
            raise ConfigError(f"{scoring.dotted}.model: {runs[0][0].path} and {run.path} are of opposite directions")
    return Scorer(runs, codes(pairs[0]) != wanted, scoring)


@dataclass
class ScoringPairs:
    """Scores pairs."""

    translator: Translator
    backwards: bool
    warnings: Warnings

    def rows(self, lines: Sequence[Line | None], first: int) -> tuple[list[tuple[str, ...]], Counter[str]]:
        """Return the score of each line as `transformer score` prints it. None is left out.

        `first` is the number of the first line. What is too long to be scored is worst.
        """
        fit = [line if line is not None and self._fits(line) else None for line in lines]
        sides = [line.text if line else "" for line in fit], [line.reference if line else "" for line in fit]
        scored = self.translator.score(*self._turned(sides), first, self.warnings)
        rows: list[tuple[str, ...]] = []
        for line, fitting, found in zip(lines, fit, scored, strict=True):
            rows.append((f"{found.score:.6f}" if fitting else NONE if line is None else WORST,))
        return rows, Counter()

    def _fits(self, line: Line) -> bool:
        tok, most = self.translator.tokenizer, self.translator.most_scored
        source, target = self._turned(([line.text], [line.reference]))
        return len(tok.encode_source(source)[0]) <= most and len(tok.encode_target(target)[0]) <= most

    def _turned(self, sides: tuple[list[str], list[str]]) -> tuple[list[str], list[str]]:
        """Return the source and the target side of the model."""
        return (sides[1], sides[0]) if self.backwards else sides
