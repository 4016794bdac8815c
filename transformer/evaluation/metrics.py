"""The metrics. The table `METRICS` defines the name, computation and direction of each; a new metric is one entry.

Scores are computed by sacreBLEU on raw text against raw references, and come with the signature to reproduce them.
BLEU counts words, or characters in languages that are written without blanks.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transformer import languages
from transformer.errors import ConfigError, DataError

RESAMPLES, SEED = 1000, 12345
"""Number of bootstrap resamples for the confidence interval, and sacreBLEU's seed for them."""


@dataclass(frozen=True)
class Metric:
    """A corpus-level metric."""

    label: str
    """The display name."""
    make: Callable[[str], Any]
    """Returns sacreBLEU's metric for one of sacreBLEU's tokenizers, which only some metrics use."""
    higher_is_better: bool = True
    detail: Callable[[Any], str] = lambda _: ""
    """Returns the details of sacreBLEU's score to print."""


def _bleu(tokenizer: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenizer, force=True)  # without force it may print advice to standard error


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


References = Sequence[str] | Sequence[Sequence[str | None]]
"""One reference for each translation, or several lists of them, as in sacreBLEU; None where a list has none."""


def score_corpus(
    translations: Sequence[str],
    references: References,
    target: str = "",
    interval: bool = False,
    portable: bool = False,
) -> Scores:
    """Score translations against their references with every metric. `target` is the language code, in any form.

    `portable` uses only tokenizers that each machine has. Raises DataError if numbers differ or are zero.
    """
    if isinstance(translations, str) or isinstance(references, str):
        raise TypeError("translations and references must be lists of strings, not strings")
    several = len(references) > 0 and not isinstance(references[0], str)
    columns: list[list[Any]] = [list(column) for column in references] if several else [list(references)]
    for column in columns:
        if len(translations) != len(column):
            raise DataError(f"{len(translations)} translations cannot be scored against {len(column)} references")
    if not translations:
        raise DataError("there is nothing to score: no references")
    for number, row in enumerate(zip(*columns, strict=True), 1):
        if all(text is None for text in row):
            raise DataError(f"sentence {number} has no reference")
    tokenizer = choose_tokenizer(target, (text for column in columns for text in column if text), portable)
    return {
        name: _score(metric, metric.make(tokenizer), translations, columns, interval)
        for name, metric in METRICS.items()
    }


def choose_tokenizer(target: str, references: Iterable[str], portable: bool = False) -> str:
    """Return the name of sacreBLEU's tokenizer for a language, by its code, and if that does not tell by the text.

    Japanese and Korean are analysed by MeCab where it is installed, unless the choice must be `portable`.
    """
    language, script = languages.parse(target)
    if script != languages.KOREAN and script not in languages.WITHOUT_BLANKS:
        script = languages.script_without_blanks(references)
    if language in ("ja", "ko") and script:
        name = f"{language}-mecab"
        return name if not portable and _is_installed(name) else "char"
    if script == languages.CHINESE:
        return "zh"
    return "char" if script else "13a"


def _is_installed(tokenizer: str) -> bool:
    try:
        _bleu(tokenizer)
    except (RuntimeError, AssertionError):  # no MeCab, or another dictionary than sacreBLEU's
        return False
    return True


def _score(
    metric: Metric, scorer: Any, translations: Sequence[str], references: list[list[Any]], interval: bool
) -> Score:
    stats = scorer._extract_corpus_statistics(translations, references)
    plain = scorer._aggregate_and_compute(stats)
    signature = str(scorer.get_signature().format(short=False))
    spread = _interval(scorer, stats) if interval else None
    return Score(metric.label, float(plain.score), signature, spread, metric.detail(plain))


def _interval(scorer: Any, stats: list[list[float]]) -> float | None:
    """Return half the width of the 95 % confidence interval, or None for a single sentence.

    The resamples are those of sacreBLEU, which holds all of them in memory at once and fails if some score zero.
    """
    if len(stats) < 2:
        return None
    table, rng = np.array(stats, dtype=np.float64), np.random.default_rng(SEED)
    sums = (table[rng.choice(len(table), size=len(table))].sum(0) for _ in range(RESAMPLES))
    scores = sorted(float(scorer._compute_score_from_stats(each).score) for each in sums)
    tail = RESAMPLES // 40
    return 0.5 * (scores[RESAMPLES - tail - 1] - scores[tail])


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
