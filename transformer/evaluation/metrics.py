"""The metrics. The table `METRICS` defines the name, computation and direction of each; a new metric is one entry.

Scores are computed on raw text against raw references, by sacreBLEU where it has the metric, and come with the
signature to reproduce them. BLEU counts words, or characters in languages that are written without blanks.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transformer import languages
from transformer.errors import ConfigError, DataError
from transformer.evaluation.scorers import Comet, Meteor, Scorer, Task, bleu, chrf, chrf_plus_plus, ter

RESAMPLES, SEED = 1000, 12345
"""Number of bootstrap resamples for the confidence interval, and sacreBLEU's seed for them."""


@dataclass(frozen=True)
class Metric:
    """A corpus-level metric."""

    label: str
    """The display name."""
    make: Callable[[Task], Scorer]
    """Returns what computes it. Raises TransformerError if a package or its data is missing."""
    higher_is_better: bool = True
    usual: bool = False
    """Whether it is always computed, also in validations; the others are computed where they are asked for."""
    selects: bool = True
    """Whether it can select checkpoints: it needs no other package or data, and takes seconds on a CPU."""


METRICS: dict[str, Metric] = {
    "bleu": Metric("BLEU", bleu, usual=True),
    "chrf": Metric("chrF", chrf, usual=True),
    "chrf++": Metric("chrF++", chrf_plus_plus),
    "ter": Metric("TER", ter, higher_is_better=False),
    "meteor": Metric("METEOR", Meteor, selects=False),
    "comet": Metric("COMET", Comet, selects=False),
}
"""All metrics, by their names in JSON, logs, `--metrics` and `train.select_by`."""


@dataclass(frozen=True)
class Score:
    """A corpus-level score with its signature."""

    label: str
    score: float
    signature: str
    interval: float | None
    """Half the width of the 95 % confidence interval (bootstrap), or None if it was not computed."""
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.label} {self.brief}{self.detail}  {self.signature}"

    @property
    def brief(self) -> str:
        """The score and its interval as text."""
        return f"{self.score:.2f}" + ("" if self.interval is None else f" ± {self.interval:.2f}")

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
    metrics: Iterable[str] = (),
    tokenizer: str | None = None,
    sources: Sequence[str] | None = None,
) -> Scores:
    """Score translations against their references with the usual metrics and with those in `metrics`.

    `target` is the language code, in any form. `portable` uses only tokenizers that each machine has. `tokenizer` is
    sacreBLEU's name of another one for BLEU. Only COMET needs the `sources`. Raises DataError if numbers differ or are
    zero, and TransformerError if something is missing for a metric.
    """
    names = check_metrics(metrics)
    columns = _columns(translations, references)
    task = make_task(target, (text for column in columns for text in column if text), portable, tokenizer, sources)
    return {name: _score(METRICS[name], task, translations, columns, interval) for name in names}


def _columns(translations: Sequence[str], references: References) -> list[list[Any]]:
    """Return the lists of references, each with one for every translation, or None."""
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
    return columns


def make_task(
    target: str,
    references: Iterable[str] = (),
    portable: bool = False,
    tokenizer: str | None = None,
    sources: Sequence[str] | None = None,
) -> Task:
    """Return what the metrics need to know. Raises ConfigError if sacreBLEU does not have or cannot use `tokenizer`."""
    if tokenizer is not None:
        _check_tokenizer(tokenizer)
    script = _script(target, references)
    return Task(tokenizer or _tokenizer_of(target, script, portable), languages.parse(target).code, script, sources)


def choose_tokenizer(target: str, references: Iterable[str], portable: bool = False) -> str:
    """Return the name of sacreBLEU's tokenizer for a language, by its code, and if that does not tell by the text.

    Japanese and Korean are analysed by MeCab where it is installed, unless the choice must be `portable`.
    """
    return _tokenizer_of(target, _script(target, references), portable)


def _script(target: str, references: Iterable[str]) -> str:
    """Return the script of a language if it is Korean or written without blanks between words."""
    _, script = languages.parse(target)
    if script != languages.KOREAN and script not in languages.WITHOUT_BLANKS:
        return languages.script_without_blanks(references)
    return script


def _tokenizer_of(target: str, script: str, portable: bool) -> str:
    language, _ = languages.parse(target)
    if language in ("ja", "ko") and script:
        name = f"{language}-mecab"
        return name if not portable and _is_installed(name) else "char"
    if script == languages.CHINESE:
        return "zh"
    return "char" if script else "13a"


def _is_installed(tokenizer: str) -> bool:
    try:
        bleu(Task(tokenizer))
    except (RuntimeError, AssertionError):  # no MeCab, or another dictionary than sacreBLEU's
        return False
    return True


def _check_tokenizer(name: str) -> None:
    from sacrebleu.metrics.bleu import BLEU

    known = list(BLEU.TOKENIZERS)
    if name not in known:
        raise ConfigError(f"sacreBLEU does not know the tokenizer {name!r}; {_hint(name, known)}")
    try:
        bleu(Task(name))
    except (Exception, SystemExit) as error:  # of networks, of MeCab, and sacreBLEU's own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"tokenizer {name} cannot be used here ({reason}); if its model has to be downloaded, "
            "run once with a network connection"
        ) from None


def tokenizer_in(signature: str) -> str | None:
    """Return the name of the tokenizer in a signature of BLEU; that of MeCab has its version there."""
    from sacrebleu.metrics.bleu import BLEU

    used = dict(part.partition(":")[::2] for part in signature.split("|")).get("tok", "")
    return max((name for name in BLEU.TOKENIZERS if used.startswith(name)), key=len, default=None)


def _score(
    metric: Metric, task: Task, translations: Sequence[str], references: list[list[Any]], interval: bool
) -> Score:
    from sacrebleu.utils import sum_of_lists

    scorer = metric.make(task)
    stats = scorer.statistics(translations, references)
    score, detail = scorer.compute(sum_of_lists(stats))
    spread = _interval(scorer, stats) if interval else None
    return Score(metric.label, score, scorer.signature, spread, detail)


def _interval(scorer: Scorer, stats: Sequence[Sequence[float]]) -> float | None:
    """Return half the width of the 95 % confidence interval, or None for a single sentence.

    The resamples are those of sacreBLEU, which holds all of them in memory at once and fails if some score zero.
    """
    if len(stats) < 2:
        return None
    table, rng = np.array(stats, dtype=np.float64), np.random.default_rng(SEED)
    sums = (table[rng.choice(len(table), size=len(table))].sum(0) for _ in range(RESAMPLES))
    scores = sorted(scorer.compute(each)[0] for each in sums)
    tail = RESAMPLES // 40
    return 0.5 * (scores[RESAMPLES - tail - 1] - scores[tail])


def in_words(scores: Mapping[str, float]) -> str:
    """Return the metrics among these values as text for the log: `BLEU 27.31  chrF 55.02`."""
    return "  ".join(f"{metric.label} {scores[name]:.2f}" for name, metric in METRICS.items() if name in scores)


def check_metrics(names: Iterable[str]) -> list[str]:
    """Return the usual metrics and these, in the order of the table. Raises ConfigError for a name that it lacks."""
    wanted = list(names)
    for name in wanted:
        if name not in METRICS:
            raise ConfigError(f"unknown metric {name!r}; {_hint(name, list(METRICS))}")
    return [name for name, metric in METRICS.items() if metric.usual or name in wanted]


def check_select_by(name: str) -> None:
    """Raise ConfigError unless `train.select_by` names the loss or a metric that can select checkpoints."""
    names = ["loss", *(each for each, metric in METRICS.items() if metric.selects)]
    if name not in names:
        raise ConfigError(f"train.select_by: unknown metric {name!r}; {_hint(name, names)}")


def _hint(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"


def merit(values: Mapping[str, float], select_by: str) -> float:
    """Return the validation score that `select_by` names, negated if lower is better."""
    higher_is_better = select_by != "loss" and METRICS[select_by].higher_is_better
    return values[select_by] if higher_is_better else -values[select_by]
