"""The same text as people also write it: in capitals, with typos, without full stop, with an emoji or a tag."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from transformer import languages
from transformer.data.corpus import Pair, ReferencedPair
from transformer.decoding.sentences import ENDS, continues
from transformer.evaluation.evaluate import Evaluation
from transformer.evaluation.tables import aligned
from transformer.evaluation.texts import EvaluationText

SEED = 1
LETTERS_A_TYPO = 40
"""Letters of a line for each typo. Every line of some letters has one. The number was chosen, not measured."""
EMOJI = "\U0001f642"
TURKIC = ("tr", "az", "crh", "kk", "tt")
"""Languages that write the capital of i with a dot, and the small letter of I without one; in Latin script only."""
SPACING_VOWELS = "\u0e33\u0eb3"
"""Vowels of Thai and Lao that belong to the character before them, though Unicode calls them letters."""


@dataclass(frozen=True)
class Variant:
    """A way to change each line of a text."""

    name: str
    source: Callable[[str, str, int], str]
    """Takes a line, its language and its number. Returns the line of the variant."""
    reference: Callable[[str, str, int], str] | None = None
    """The same for a reference: what a translation that follows the change looks like. None: nobody knows."""
    needs_case: bool = False


def upper(text: str, language: str, _: int = 0) -> str:
    """Return the text in capital letters. The capital of the Turkish i has a dot, and that of ß is SS."""
    return (text.replace("i", "İ") if _is_turkic(language) else text).upper()


def lower(text: str, language: str, _: int = 0) -> str:
    """Return the text in small letters."""
    dotted = text.replace("I\u0307", "i").replace("İ", "i").replace("I", "ı")
    return (dotted if _is_turkic(language) else text).lower()


def title(text: str, language: str, _: int = 0) -> str:
    """Return the text with a capital at the beginning of each word, also after a hyphen; the rest stays."""
    small = "İ" if _is_turkic(language) else "I"

    def capital(found: re.Match[str]) -> str:
        return found[1] + (small if found[2] == "i" else found[2].title())

    return re.sub(r"((?:^|[\s\-–—/])[^\w\s]*)([^\W\d_])", capital, text)


def _is_turkic(language: str) -> bool:
    return languages.parse(language).code in TURKIC


def characters(text: str) -> list[str]:
    """Return the characters of a text as a reader sees them: letters with their marks, whole emoji."""
    found: list[str] = []
    for place, each in enumerate(text):
        if place and (continues(text, place) or each in SPACING_VOWELS):
            found[-1] += each
        else:
            found.append(each)
    return found


def typos(text: str, _: str = "", number: int = 0) -> str:
    """Return the text with some letters exchanged, left out or doubled inside words.

    They depend on the seed, on the number of the line and on its text only.
    """
    rng = random.Random(f"{SEED} {number} {text}")
    shown = characters(text)
    letters = [bool(each) and each[0].isalpha() for each in shown]
    inside = [i for i in range(1, len(shown) - 1) if letters[i - 1] and letters[i] and letters[i + 1]]
    count = max(1, sum(letters) // LETTERS_A_TYPO)
    for place in sorted(rng.sample(inside, min(count, len(inside))), reverse=True):  # from the end: places stay valid
        _spoil(shown, place, rng.randrange(3))
    return "".join(shown)


def _spoil(shown: list[str], place: int, kind: int) -> None:
    if kind == 0 and shown[place] != shown[place + 1]:
        shown[place], shown[place + 1] = shown[place + 1], shown[place]
    elif kind == 1:
        del shown[place]
    else:
        shown.insert(place, shown[place])


def without_end(text: str, *_: object) -> str:
    """Return the text without the marks that end its last sentence. Quotes and brackets after them stay."""
    found = next(reversed([*ENDS.finditer(text)]), None)
    if found is None or found.end() < len(text.rstrip()) or not any(map(str.isalnum, text[: found.start()])):
        return text
    return text[: found.start("mark")].rstrip() + text[found.end("mark") :]


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
