"""BLEU and chrF as sacreBLEU computes them, of raw text against raw references, with their signatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from transformer.errors import DataError

RESAMPLES = 1000


@dataclass(frozen=True)
class Score:
    """A corpus score with what it takes to reproduce it."""

    name: str
    score: float
    signature: str
    interval: float | None
    """Half the width of the 95 % confidence interval (bootstrap); None where it was not asked for."""
    detail: str

    def __str__(self) -> str:
        spread = "" if self.interval is None else f" ± {self.interval:.2f}"
        return f"{self.name} {self.score:.2f}{spread}{self.detail}  {self.signature}"

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        found = {"score": self.score, "signature": self.signature}
        return found if self.interval is None else {**found, "confidence": self.interval}


@dataclass(frozen=True)
class Scores:
    """The scores of one set of translations."""

    bleu: Score
    chrf: Score


def score_corpus(
    translations: Sequence[str], references: Sequence[str], target: str = "", interval: bool = False
) -> Scores:
    """Score translations against one reference each; `target` is the language code, for its tokenisation.

    Raises DataError where their numbers differ, and where there are none.
    """
    if len(translations) != len(references):
        raise DataError(f"{len(translations)} translations cannot be scored against {len(references)} references")
    if not references:
        raise DataError("there is nothing to score: no references")
    language = target.split("-")[0].split("_")[0]
    bleu = BLEU(trg_lang=language if language in ("zh",) else "")
    return Scores(
        _score("BLEU", bleu, translations, references, interval),
        _score("chrF", CHRF(), translations, references, interval),
    )


def _score(name: str, metric: Any, translations: Sequence[str], references: Sequence[str], interval: bool) -> Score:
    plain = metric.corpus_score(list(translations), [list(references)])
    signature = metric.get_signature().format(short=False)
    detail = f" ({'/'.join(f'{p:.1f}' for p in plain.precisions)} BP {plain.bp:.3f})" if name == "BLEU" else ""
    spread = _interval(metric, list(translations), [list(references)]) if interval else None
    return Score(name, float(plain.score), str(signature), spread, detail)


def _interval(metric: Any, translations: list[str], references: list[list[str]]) -> float | None:
    """Return half the width of the 95 % confidence interval, or None where there is none."""
    if len(translations) < 2:
        return None
    try:
        return float(metric.corpus_score(translations, references, n_bootstrap=RESAMPLES)._ci)
    except TypeError:  # sacreBLEU 2.6 cannot average where some resamples score exactly zero
        return None
