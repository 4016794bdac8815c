"""Whether text, weights, settings, translations, scores and model card of a run still are what they say."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformer import atomic
from transformer.errors import TransformerError
from transformer.evaluation.evaluated_model import translation_settings
from transformer.evaluation.metrics import METRICS, Score, score_corpus, tokenizer_in
from transformer.evaluation.model_card import scores_in_card
from transformer.evaluation.records import DAMAGED, Record, read_record, translations_digest
from transformer.evaluation.texts import read_again, reference_columns, text_digest
from transformer.runs.checkpoint import TENSORS, WEIGHTS
from transformer.runs.layout import EVALUATIONS
from transformer.runs.run import Run

CLOSE = 1e-6
"""Differences of scores that other versions of numpy may cause."""


@dataclass(frozen=True)
class Verdict:
    """What was found of one evaluation, or of the model card."""

    file: str
    """Its path in the run directory."""
    differences: tuple[str, ...]
    """A sentence for each thing that is not what it says."""
    unknown: tuple[str, ...] = ()
    """A sentence for each thing that cannot be checked."""

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object of it."""
        return {"file": self.file, "differences": list(self.differences), "unknown": list(self.unknown)}


def verify(run: Run) -> Iterator[Verdict]:
    """Yield what is found of each evaluation of a run, and at last of the model card."""
    digest = functools.cache(atomic.sha256)  # many evaluations may be of the same weights
    for path in sorted((run.path / EVALUATIONS).glob("*.json")):
        name = str(path.relative_to(run.path))
        try:
            record = read_record(run.path, path)
        except DAMAGED as error:
            yield Verdict(name, (f"it cannot be read: {error}",))
            continue
        try:
            found = [*_text(run, record), *_checkpoint(run, record, digest), *_settings(run, record), *_scores(record)]
        except DAMAGED as error:
            found = [(True, f"it has an unknown format: {error!r}")]
        yield Verdict(name, _those(found, True), _those(found, False))
    yield _card(run)


Finding = tuple[bool, str]
"""Whether something differs, or cannot be checked, and the sentence that says so."""


def _those(found: list[Finding], differ: bool) -> tuple[str, ...]:
    return tuple(sentence for each, sentence in found if each == differ)


def _text(run: Run, record: Record) -> Iterator[Finding]:
    """Compare the text that was kept, and that of the files or the split, with the digest."""
    digest = record.values.get("text", {}).get("sha256")
    if digest is None:
        yield False, "it does not say what text it is of"
        return
    if record.pairs is None:
        yield True, "the text with its references is gone or has changed"
        return
    now = read_again(run.path, record.values)
    if now is not None and text_digest(now) != digest:
        files = ", ".join(map(str, record.values["text"].get("files", ())))
        yield True, f"{files or 'data.' + str(record.values['name'])} has another text now"


def _checkpoint(run: Run, record: Record, digest: Callable[[Path], str]) -> Iterator[Finding]:
    """Compare the weights with their digest."""
    checkpoint = record.values.get("checkpoint")
    if checkpoint is None:
        yield False, "it does not say of which checkpoint it is"
        return
    name = str(checkpoint["name"])
    file = run.checkpoints / name / (TENSORS if checkpoint.get("weights") == "plain" else WEIGHTS)
    if name in (".", "..") or file.parent.parent != run.checkpoints or not file.is_file() or file.is_symlink():
        yield True, f"there is no checkpoint {name} any more"
    elif digest(file) != checkpoint["sha256"]:
        yield True, f"checkpoint {name} has other weights now"


def _settings(run: Run, record: Record) -> Iterator[Finding]:
    """Compare what the evaluation did not change with the settings of the run."""
    values, data = record.values, run.config.data
    if "languages" in values and values["languages"] != [data.source, data.target]:
        yield True, f"data.source and data.target are {data.source} and {data.target} now"
    if "changed" not in values:
        yield False, "it does not say which settings were the run's own"
        return
    used = {
        **{f"decode.{key}": each for key, each in values["decode"].items()},
        "data.max_length": values["max_length"],
    }
    own = json.loads(json.dumps(translation_settings(run)))  # lists for tuples, as in a file
    for key in used:
        if key not in values["changed"] and used[key] != own.get(key):
            yield True, f"{key} of the run was {used[key]} and is {own.get(key)} now"


def _scores(record: Record) -> Iterator[Finding]:
    """Compare the translations with their digest, and each score with that of the translations."""
    kept = record.values.get("translations", {}).get("sha256")
    if kept is None:
        yield False, "there is no digest of its translations"
    elif kept != translations_digest(record.translations):
        yield True, "its translations have changed"
    if record.pairs is None:
        return
    for name in METRICS:
        if name in record.values:
            yield from _score(record, name)


def _score(record: Record, name: str) -> Iterator[Finding]:
    old, label = record.values[name], METRICS[name].label
    try:
        now = _again(record, name)
    except TransformerError as error:
        yield False, f"{label} cannot be computed here: {error}"
        return
    spread = now.interval is None or "confidence" not in old or abs(old["confidence"] - now.interval) < CLOSE
    if abs(old["score"] - now.score) < CLOSE and spread:
        return
    by = "" if old["signature"] == now.signature else f", by {now.signature}"
    yield True, f"{label} is {now.brief}{by}, not {Score(label, old['score'], '', old.get('confidence')).brief}"


def _again(record: Record, name: str) -> Score:
    """Return a score of the translations, by the tokenizer in the signature of the old one."""
    pairs = record.pairs or []
    found = score_corpus(
        record.translations,
        reference_columns(pairs),
        str(record.values.get("languages", ["", ""])[1]),
        interval="confidence" in record.values[name],
        metrics=[name],
        tokenizer=tokenizer_in(str(record.values["bleu"]["signature"])) if name == "bleu" else None,
        sources=[pair.source for pair in pairs],
    )
    return found[name]


def _card(run: Run) -> Verdict:
    """Compare the table of the model card with the evaluations."""
    file = run.path / "README.md"
    try:
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
        rows = scores_in_card(run)
    except (TransformerError, *DAMAGED):
        return Verdict("README.md", (), ("its table cannot be made anew: see the evaluations",))
    there = [line for line in text.partition("## Scores")[2].partition("\n## ")[0].splitlines() if line.startswith("|")]
    now = [line for line in rows.splitlines() if line.startswith("|")]
    if there == now:
        return Verdict("README.md", ())
    missing, more = len(set(now) - set(there)), len(set(there) - set(now))
    return Verdict("README.md", (f"its table lacks {missing} lines of the evaluations and has {more} others",))
