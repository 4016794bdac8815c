"""The same text as people also write it: in capitals, with typos, without full stop, with an emoji or a tag."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from transformer.data.changes import characters, lower, places_of_typos, spoil, title, upper, without_end
from transformer.data.corpus import Pair, ReferencedPair
from transformer.evaluation.evaluate import Evaluation
from transformer.evaluation.tables import aligned
from transformer.evaluation.texts import EvaluationText

SEED = 1
EMOJI = "\U0001f642"


@dataclass(frozen=True)
class Variant:
    """A way to change each line of a text."""

    name: str
    source: Callable[[str, str, int], str]
    """Takes a line, its language and its number. Returns the line of the variant."""
    reference: Callable[[str, str, int], str] | None = None
    """The same for a reference: what a translation that follows the change looks like. None: nobody knows."""
    needs_case: bool = False


def typos(text: str, _: str = "", number: int = 0) -> str:
    """Return the text with some letters exchanged, left out or doubled inside words.

    They depend on the seed, on the number of the line and on its text only.
    """
    rng = random.Random(f"{SEED} {number} {text}")
    shown = characters(text)
    inside, count = places_of_typos(shown)
    for place in sorted(rng.sample(inside, min(count, len(inside))), reverse=True):  # from the end: places stay valid
        spoil(shown, place, rng.randrange(3))
    return "".join(shown)


def with_emoji(text: str, *_: object) -> str:
    """Return the text with an emoji at its end."""
    return f"{text} {EMOJI}" if text.strip() else text


def with_tag(text: str, *_: object) -> str:
    """Return the text inside an inline tag."""
    return f"<b>{text}</b>" if text.strip() else text


VARIANTS = (
    Variant("upper case", upper, upper, needs_case=True),
    Variant("lower case", lower, lower, needs_case=True),
    Variant("title case", title, title, needs_case=True),
    Variant("typos", typos),
    Variant("no end mark", without_end, without_end),
    Variant("emoji", with_emoji, with_emoji),
    Variant("tag", with_tag, with_tag),
)


def _has_case(lines: Iterable[str]) -> bool:
    """Return whether most letters of these lines are capital or small ones."""
    letters = [each for line in lines for each in line if each.isalpha()]
    return 2 * sum(each.islower() or each.isupper() for each in letters) > len(letters)


def vary(text: EvaluationText, variant: Variant, source: str, target: str) -> EvaluationText | None:
    """Return the text in a variant, or None if that changes nothing, or case in a script without it.

    A translation may follow the change, or write as usual: of each reference both forms count. `source` and `target`
    are language codes.
    """
    if variant.needs_case and not _has_case(pair.source for pair in text.pairs):
        return None
    pairs, changes = [], 0
    for number, pair in enumerate(text.pairs, 1):
        line = variant.source(pair.source, source, number)
        changes += line != pair.source
        references = list(pair.references)
        if variant.reference is not None and line != pair.source:
            references += [variant.reference(each, target, number) if each else each for each in references]
        first, *others = dict.fromkeys(references)
        pairs.append(ReferencedPair(line, first, *others) if others else Pair(line, first))
    return EvaluationText(f"{text.name}, {variant.name}", pairs) if changes else None


def variants_of(text: EvaluationText, source: str, target: str) -> list[EvaluationText]:
    """Return the text in each variant that changes it."""
    return [found for each in VARIANTS if (found := vary(text, each, source, target)) is not None]


def table(clean: Evaluation, found: Sequence[Evaluation]) -> str:
    """Return a line for each variant, with its scores and their differences to those of the clean text."""
    sources = [pair.source for pair in clean.pairs]
    names = list(clean.scores)
    rows = [["clean", "", *(cell for name in names for cell in (clean.scores[name].brief, ""))]]
    for each in found:
        changed = sum(pair.source != source for pair, source in zip(each.pairs, sources, strict=True))
        cells = []
        for name in names:
            cells += [each.scores[name].brief, f"{each.scores[name].score - clean.scores[name].score:+.2f}"]
        rows.append([each.name.removeprefix(f"{clean.name}, "), str(changed), *cells])
    head = [cell for score in clean.scores.values() for cell in (score.label, "change")]
    return aligned([clean.name, "lines changed", *head], rows)
