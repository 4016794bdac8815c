"""Whether a model can be shipped: faults of its translations of held-out text, and of unusual inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from transformer.data.corpus import Pair
from transformer.decoding.translator import Translator, shown
from transformer.evaluation.evaluate import kept_evaluation
from transformer.evaluation.evaluated_model import EvaluatedModel
from transformer.evaluation.health import Finding, check_outputs, make_cases, usual_ratio
from transformer.evaluation.metrics import score_corpus
from transformer.evaluation.probes import TITLES, Probe, make_probes
from transformer.evaluation.systems import TextChoice, text_to_check
from transformer.evaluation.texts import reference_columns
from transformer.runs.run import Run

LIMITS: dict[str, tuple[float, float | None]] = {
    "empty": (0.0, 0.01),
    "untranslated": (0.005, 0.05),
    "repeated": (0.0, 0.02),
    "long": (0.005, 0.05),
    "short": (0.005, 0.05),
    "script": (0.002, 0.02),
    "numbers": (0.1, 0.5),
    "brackets": (0.1, None),
    "quotes": (0.1, None),
    "leftovers": (0.0, 0.01),
    "links": (0.1, None),
    "placeholders": (0.1, None),
    "emoji": (0.1, None),
    "same": (0.005, 0.05),
}
"""Shares of faults above which there is a warning, and above which the check fails; None: it never does.

Beyond the second ones a user meets the fault within minutes: 1 of 100 lines is empty, or 1 of 50 a loop. They were
chosen, not measured. Human translations are below the first ones, or below 1 of 1,000 where those are 0, also if nobody
tells that they are the references: `scripts/health_rates.py` measures that; the rates are in docs/evaluation.md.
"""
FEWEST = 3
"""Lines with a fault that it takes to fail: of a short text, one or two are a large share."""
FIT_WARN, FIT_FAIL = 10.0, 5.0
"""chrF with the right references minus that with references of other lines. Below, translations do not fit."""
PROBE_FAIL = 0.5
"""Share of the inputs of a probe with a fault that fails, from which the probe fails. With fewer, it warns."""
OK, WARN, FAIL = "ok", "warn", "fail"
WARNINGS = {"unseen", "long line", "cut translation"}
"""All of `decoding.limits.Warnings`."""
MOST_PAIRS = 2000
"""Lines of the text from which sentences and words for the probes are taken."""


@dataclass(frozen=True)
class Row:
    """The result of one check."""

    name: str
    """A kind of `health.KINDS`, `fit`, or the name of a probe."""
    title: str
    verdict: str
    """`ok`, `warn` or `fail`."""
    count: int
    """Lines or inputs with the fault."""
    total: int
    note: str = ""
    """What is wrong with the first of them."""
    source: str = ""
    """The first of them, and its translation; of a probe without fault, its first input."""
    translation: str = ""


@dataclass(frozen=True)
class Check:
    """All checks of a model."""

    text: str
    """The name of the text."""
    lines: int
    checks: list[Row]
    """Of the translations of the text."""
    probes: list[Row]
    """Of unusual inputs."""

    @property
    def rows(self) -> list[Row]:
        """All rows."""
        return [*self.checks, *self.probes]

    @property
    def verdict(self) -> str:
        """The worst verdict of all."""
        found = {row.verdict for row in self.rows}
        return next((verdict for verdict in (FAIL, WARN) if verdict in found), OK)

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `check --json` prints."""
        return {"verdict": self.verdict, **asdict(self)}


def check_run(run: Run, translator: Translator, checkpoint: str, choice: TextChoice, lines: int = 500) -> Check:
    """Check a model on held-out text of its run.

    `run` has the settings that the translator uses, `checkpoint` is the name of the one it was loaded from. If an
    evaluation has kept the translations, they are used; else `lines` lines are translated. Without a split in `choice`
    the text is the test text, else the validation text, else the training text. Raises DataError if none is there.
    """
    text, data = text_to_check(run, choice), run.config.data
    kept = kept_evaluation(EvaluatedModel.loaded(run, translator, checkpoint), text)
    return check_model(
        translator,
        text.pairs,
        (data.source, data.target),
        name=text.name,
        lines=lines,
        translations=None if kept is None else kept.translations,
    )


def check_model(
    translator: Translator,
    pairs: Sequence[Pair],
    languages: tuple[str, str],
    *,
    name: str = "",
    lines: int = 500,
    translations: Sequence[str] | None = None,
) -> Check:
    """Check a model on a text and on unusual inputs made of it.

    `languages` are the codes of source and target. `translations` are those of all pairs; without them `lines` lines
    from all over the text are translated.
    """
    chosen = list(pairs)
    if translations is None and len(chosen) > lines:
        chosen = [chosen[place * len(chosen) // lines] for place in range(lines)]
    if translations is None:
        translations = _translate(translator, [pair.source for pair in chosen])
    probes = make_probes([pair.source for pair in pairs[:MOST_PAIRS]])
    inputs = list(dict.fromkeys(text for probe in probes for text in (probe.source, *probe.others)))
    outputs = dict(zip(inputs, _translate(translator, inputs, quiet=True), strict=True))
    ratio = usual_ratio([pair.source for pair in pairs], [pair.target for pair in pairs])
    return Check(
        name, len(chosen), check_text(chosen, translations, languages), judge(probes, outputs, languages, ratio)
    )


def check_text(pairs: Sequence[Pair], translations: Sequence[str], languages: tuple[str, str]) -> list[Row]:
    """Return the checks of translations of a text."""
    references = [pair.references for pair in pairs]
    findings = check_outputs([pair.source for pair in pairs], translations, references, *languages, examples=1)
    return [_fit(pairs, translations, languages[1]), *map(_row, findings)]


def judge(
    probes: Sequence[Probe], translations: dict[str, str], languages: tuple[str, str], ratio: float = 1.0
) -> list[Row]:
    """Return a row for each kind of probe, given the translations of all inputs."""
    rows = []
    for name, title in TITLES.items():
        own = [probe for probe in probes if probe.name == name]
        if not own:
            continue
        sources = [probe.source for probe in own]
        outputs = [translations[source] for source in sources]
        cases = make_cases(sources, outputs, None, *languages, ratio=ratio)
        faults = [
            probe.judge(case, [translations[other] for other in probe.others])
            for probe, case in zip(own, cases, strict=True)
        ]
        fails, wrong = sum(fault is not None and fault[0] == FAIL for fault in faults), list(filter(None, faults))
        verdict = FAIL if fails >= PROBE_FAIL * len(own) else WARN if wrong else OK
        worst = min(range(len(own)), key=lambda place: _rank(faults[place]))
        note = (faults[worst] or ("", ""))[1]
        rows.append(Row(name, title, verdict, len(wrong), len(own), note, sources[worst], outputs[worst]))
    return rows


def _rank(fault: tuple[str, str] | None) -> int:
    return 2 if fault is None else (FAIL, WARN).index(fault[0])


def _translate(translator: Translator, lines: Sequence[str], quiet: bool = False) -> list[str]:
    """Return the translations of lines. `quiet` is for lines that the user does not know: warnings would name them."""
    warnings = translator.warnings()
    warnings.given |= WARNINGS if quiet else set()
    found = translator.translate(lines, warnings=warnings)
    return [nbest[0].text for nbest in shown(translator, found, len(lines))]


def _row(finding: Finding) -> Row:
    """Return the verdict on a kind of fault."""
    warn, fail = LIMITS[finding.kind]
    share = finding.count / max(1, finding.total)
    failed = fail is not None and share > fail and finding.count >= FEWEST
    verdict = FAIL if failed else WARN if share > warn else OK
    if not finding.examples:
        return Row(finding.kind, finding.title, verdict, finding.count, finding.total)
    first = finding.examples[0]
    note = f"line {first.line}" + (f": {first.note}" if first.note else "")
    return Row(
        finding.kind, finding.title, verdict, finding.count, finding.total, note, first.source, first.translation
    )


def _fit(pairs: Sequence[Pair], translations: Sequence[str], target: str) -> Row:
    """Return whether translations fit their own references better than those of other lines."""
    title = "unrelated to the source"
    if len(pairs) < 2 * FEWEST:
        return Row("fit", title, OK, 0, len(pairs))
    other = [*pairs[len(pairs) // 2 :], *pairs[: len(pairs) // 2]]
    own, chance = (score_corpus(translations, reference_columns(each), target)["chrf"].score for each in (pairs, other))
    verdict = FAIL if own - chance < FIT_FAIL else WARN if own - chance < FIT_WARN else OK
    note = f"chrF {own:.1f} with their references, {chance:.1f} with those of other lines"
    return Row("fit", title, verdict, 0 if verdict == OK else len(pairs), len(pairs), note)
