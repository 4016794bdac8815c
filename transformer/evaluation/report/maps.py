"""The attention of the runs over the same few sentences, as much of it as keeps the page light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformer.errors import CheckpointError, ConfigError, TransformerError
from transformer.evaluation.report.attention import Drawn, Sentence, choose, draw
from transformer.evaluation.report.facts import BAD
from transformer.evaluation.report.text import printable
from transformer.evaluation.report.translated import Shown, Translated
from transformer.model.network import Transformer
from transformer.runs.checkpoint import weights_digest
from transformer.runs.models import load_model
from transformer.system.memory import enough_memory

MOST_BYTES = 600_000
"""Bytes of the attention of all runs in a page."""
LONGEST_WORD = 20
"""Letters of a word in the picture of the alignment."""
LETTER = 7.4
"""Units of a picture that a letter takes."""


@dataclass(frozen=True)
class Maps:
    """The attention of a run, or why there is none."""

    translated: Translated
    drawn: list[Drawn]
    note: str | None


def attention_of(shown: Shown, lines: Sequence[int], count: int) -> list[Maps]:
    """Return the attention of each run over the sentences with these line numbers, or over `count` of all qualities.

    Raises ConfigError for a line that the text does not have.
    """
    for line in lines:
        if line > len(shown.pairs):
            raise ConfigError(f"there is no sentence {line}: {shown.name} has {len(shown.pairs):,} sentences")
    first = shown.systems[0]
    if not lines and count:
        everything = _sentences(shown, first, range(1, len(shown.pairs) + 1))
        lines = [each.line for each in choose(everything, first.scores, first.facts.run.tokenizer, count)]
    share = MOST_BYTES // len(shown.systems)
    return [_maps(each, _sentences(shown, each, lines), share) for each in shown.systems] if lines else []


def _sentences(shown: Shown, system: Translated, lines: Sequence[int]) -> list[Sentence]:
    return [Sentence(line, shown.pairs[line - 1].source, system.record.translations[line - 1]) for line in lines]


def _maps(system: Translated, sentences: list[Sentence], most: int) -> Maps:
    try:
        model, note = _model(system)
    except TransformerError as error:
        return Maps(system, [], f"no attention can be shown: {error}.")
    drawn, used = [], 0
    for each in draw(model, system.facts.run.tokenizer, sentences):
        if used + each.size <= most:
            drawn.append(each)
            used += each.size
    if left := len(sentences) - len(drawn):
        note = " ".join(
            filter(None, (note, f"the attention over {left} sentences is left out, to keep the page light."))
        )
    return Maps(system, drawn, note)


def _model(system: Translated) -> tuple[Transformer, str | None]:
    """Return the model that translated, or the best one with a note if it is gone or has other weights."""
    run, wanted = system.facts.run, system.record.values.get("checkpoint")
    name = wanted.get("name") if isinstance(wanted, dict) else None
    with enough_memory(f"the model in {run.path} does not fit"):
        try:
            if isinstance(wanted, dict) and weights_digest(run.checkpoints / str(name)) == wanted.get("sha256"):
                return load_model(run, str(name))[0], None
        except (*BAD, CheckpointError):
            pass
        model, used = load_model(run)
    return model, f"the attention is that of {used.name}: the checkpoint that translated the text is no more."


def drawing(each: Drawn) -> dict[str, Any]:
    """Return the word alignment of a sentence, to be drawn by the template."""
    source, target = ([_short(word, LONGEST_WORD) for word in side] for side in (each.source_words, each.target_words))
    links = [f"{word} – {source[row.index(max(row))]}" for word, row in zip(target, each.alignment, strict=True) if row]
    return {
        "line": each.line,
        "short": _short(" ".join(each.source_words), 70),
        "source": source,
        "target": target,
        "rows": each.alignment,
        "left": round(10 + LETTER * max(map(len, target), default=0)),
        "top": round(14 + 0.85 * LETTER * max(map(len, source), default=0)),
        "words": ", ".join(links),
    }


def _short(text: str, longest: int) -> str:
    text = printable(text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
