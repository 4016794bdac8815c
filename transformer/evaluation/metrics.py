"""The metrics. The table `METRICS` defines the name, computation and direction of each; a new metric is one entry.

Scores are computed by sacreBLEU on raw text against raw references, and come with the signature to reproduce them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformer.errors import ConfigError, DataError

RESAMPLES = 1000
"""Number of bootstrap resamples for the confidence interval."""


@dataclass(frozen=True)
class Metric:
    """A corpus-level metric."""

    label: str
    """The display name."""
    make: Callable[[str], Any]
    """Returns sacreBLEU's metric for a target language code."""
    higher_is_better: bool = True
    detail: Callable[[Any], str] = lambda _: ""
    """Returns the details of sacreBLEU's score to print."""


def _bleu(target: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    language = target.split("-")[0].split("_")[0]
    return BLEU(trg_lang=language if language == "zh" else "")


def _chrf(_: str) -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def _bleu_parts(score: Any) -> str:
    return f" ({'/'.join(f'{p:.1f}' for p in score.precisions)} BP {score.bp:.3f})"


METRICS: dict[str, Metric] = {
    "bleu": Metric("BLEU", _bleu, detail=_bleu_parts),
    "chrf": Metric("chrF", _chrf),
}
"""All metrics, by their names in JSON, logs and `train.select_by`."""


@dataclass(frozen=True)
class Score:
    """A corpus-level score with its signature."""

    label: str
    score: float
    signature: str
    interval: float | None
    """Half the width of the 95 % confidence interval (bootstrap), or None if it was not computed."""
    detail: str

    def __str__(self) -> str:
        spread = "" if self.interval is None else f" ± {self.interval:.2f}"
        return f"{self.label} {self.score:.2f}{spread}{self.detail}  {self.signature}"

    def as_json(self) -> dict[str, Any]:
        """Return the score as a JSON object."""
        plain = {"score": self.score, "signature": self.signature}
        return plain if self.interval is None else {**plain, "confidence": self.interval}


Scores = dict[str, Score]
"""The scores of a set of translations, by the names in `METRICS`."""


def score_corpus(
    translations: Sequence[str], references: Sequence[str], target: str = "", interval: bool = False
) -> Scores:
    """Score translations against one reference each with every metric. `target` is the language code.

    Raises DataError if their numbers differ or are zero.
    """
    if len(translations) != len(references):
        raise DataError(f"{len(translations)} translations cannot be scored against {len(references)} references")
    if not references:
        raise DataError("there is nothing to score: no references")
    return {
        name: _score(metric, metric.make(target), list(translations), list(references), interval)
        for name, metric in METRICS.items()
    }


def _score(metric: Metric, scorer: Any, translations: list[str], references: list[str], interval: bool) -> Score:
    plain = scorer.corpus_score(translations, [references])
    signature = str(scorer.get_signature().format(short=False))
    spread = _interval(scorer, translations, references) if interval else None
    return Score(metric.label, float(plain.score), signature, spread, metric.detail(plain))


def _interval(scorer: Any, translations: list[str], references: list[str]) -> float | None:
    """Return half the width of the 95 % confidence interval, or None if it cannot be computed."""
    if len(translations) < 2:
        return None
    try:
        return float(scorer.corpus_score(translations, [references], n_bootstrap=RESAMPLES)._ci)
    except TypeError:  # sacreBLEU 2.6 fails if some resamples score exactly zero
        return None


def in_words(scores: Mapping[str, float]) -> str:
    """Return the metrics among these values as text for the log: `BLEU 27.31  chrF 55.02`."""
    return "  ".join(f"{metric.label} {scores[name]:.2f}" for name, metric in METRICS.items() if name in scores)


def check_select_by(name: str) -> None:
    """Raise ConfigError unless `train.select_by` names the loss or a metric."""
    names = ["loss", *METRICS]
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
        raise ConfigError(f"train.select_by: unknown metric {name!r}; {hint}")


def merit(values: Mapping[str, float], select_by: str) -> float:
    """Return the validation score that `select_by` names, negated if lower is better."""
    higher_is_better = select_by != "loss" and METRICS[select_by].higher_is_better
    return values[select_by] if higher_is_better else -values[select_by]
