"""Faults of an exported model's translations in its own runtime: what `transformer check` looks for."""

from __future__ import annotations

from collections.abc import Sequence

from transformer.data.corpus import Pair
from transformer.data.tokenizer import Tokenizer
from transformer.evaluation.check import FAIL, WARN, Row, check_text, judge
from transformer.evaluation.health import usual_ratio
from transformer.evaluation.probes import make_probes
from transformer.interchange.proof import Runtime, tagged

WHOLE = ("paragraph",)
"""Probes for what runtimes leave to their users: to divide text into sentences."""
LENGTH = 100
"""Most tokens of a translation."""


def check_translations(runtime: Runtime, tok: Tokenizer, pairs: Sequence[Pair], codes: tuple[str, str]) -> list[Row]:
    """Return the checks of translations of a text and of unusual inputs made of it, by greedy search.

    `codes` are those of source and target.
    """
    sources, targets = [pair.source for pair in pairs], [pair.target for pair in pairs]
    probes = [probe for probe in make_probes(sources) if probe.name not in WHOLE]
    inputs = [text for probe in probes for text in (probe.source, *probe.others)]
    texts = list(dict.fromkeys([*sources, *inputs]))
    found = dict(zip(texts, _translate(runtime, tok, texts), strict=True))
    rows = judge(probes, found, codes, usual_ratio(sources, targets))
    return [*check_text(pairs, [found[text] for text in sources], codes), *rows]


def in_words(rows: Sequence[Row]) -> str:
    """Return the verdicts on one line."""
    parts = []
    for verdict, name in ((FAIL, "failed"), (WARN, "warnings")):
        if titles := [row.title for row in rows if row.verdict == verdict]:
            parts.append(f"{len(titles)} {name} ({', '.join(titles)})")
    return f"{len(rows)} checks of its translations: {'; '.join(parts) or 'nothing found'}"


def _translate(runtime: Runtime, tok: Tokenizer, texts: Sequence[str]) -> list[str]:
    """Return the translations of texts, in the runtime's own ids. An empty text has an empty one."""
    rows = runtime.encode(tagged(tok, texts))
    full = [place for place, row in enumerate(rows) if row and texts[place].strip()]
    found = [""] * len(texts)
    decoded = runtime.decode(runtime.search([rows[place] for place in full], 1, LENGTH))
    for place, text in zip(full, decoded, strict=True):
        found[place] = tok.rules[1].decoded(text)
    return found
