"""Unusual inputs that users try first: one word, capitals, an address, a long paragraph. Made of the run's own text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from transformer.data.corpus import Pair
from transformer.data.scripts import script_of
from transformer.evaluation import faults
from transformer.evaluation.compare import sentence_scores
from transformer.evaluation.faults import Case
from transformer.evaluation.numbers import lost_numbers
from transformer.evaluation.words import words
from transformer.languages import script_without_blanks

INPUTS = 5
"""Sentences, and words, that a probe tries."""
SHORTEST, LONGEST = 4, 20
"""Words of the sentences that are chosen, or, in scripts without blanks, half as many characters."""
FREQUENT = 30
"""The most frequent words of four letters or more, of which some are tried."""
REPEATS = 50
STOPS = ".!?。！？।॥։؟።။"
DIGITS, PUNCTUATION = ("7", "42", "1984", "3.5", "10,000"), ("...", "!", "?!", "-", "***")
LINK, PLACEHOLDERS, EMOJI = "https://www.example.org/a?b=1", ("{name}", "%s", "<b>"), "\U0001f642"
ALIKE = 40.0
"""chrF between the translations of a sentence and of its variant, below which they are different ones."""
PARAGRAPH_WARN, PARAGRAPH_FAIL = 0.7, 0.5
"""Length of the translation of a paragraph, by that of its sentences one by one. Below, sentences are lost."""

Fault = tuple[str, str]
"""`fail` or `warn`, and what is wrong."""


@dataclass(frozen=True)
class Probe:
    """An unusual input, and what is expected of its translation."""

    name: str
    source: str
    judge: Callable[[Case, Sequence[str]], Fault | None]
    """Returns what is wrong, given the translation, and those of `others`."""
    others: tuple[str, ...] = ()
    """Usual inputs to compare with."""


TITLES = {
    "empty_line": "empty line",
    "word": "one word",
    "letter": "one letter",
    "digits": "digits only",
    "punctuation": "punctuation only",
    "capitals": "ALL CAPS",
    "title": "Title Case",
    "no_stop": "no full stop",
    "with_link": "web address in a sentence",
    "with_placeholder": "placeholder in a sentence",
    "with_emoji": "emoji in a sentence",
    "paragraph": "long paragraph",
    "repeats": f"one word {REPEATS} times",
}
"""The probes by name, with their names in words."""


def make_probes(sources: Sequence[str]) -> list[Probe]:
    """Return the probes, made of sentences and words of the source language. Those it has no use for are left out."""
    blank = "" if script_without_blanks(sources) else " "
    sentences, frequent = _sentences(sources, blank), _frequent(sources, blank)
    made = [Probe("empty_line", text, _stays_empty) for text in ("", "   ")]
    made += [Probe("word", text, _not_broken("fail")) for text in frequent]
    made += [Probe("letter", text, _not_broken("warn")) for text in _letters(sources)]
    made += [Probe("digits", text, _keeps_numbers) for text in DIGITS]
    made += [Probe("punctuation", text, _adds_no_words) for text in PUNCTUATION]
    for number, text in enumerate(sentences):
        bare = text.rstrip(STOPS).rstrip()
        stop = text[len(bare) :]
        variants = (("capitals", text.upper(), "warn"), ("title", text.title(), "warn"), ("no_stop", bare, "fail"))
        made += [Probe(name, each, _like_plain(how), (text,)) for name, each, how in variants if each not in ("", text)]
        made.append(Probe("with_link", f"{text} {LINK}", _keeps("addresses", faults.links)))
        made.append(Probe("with_emoji", f"{text} {EMOJI}", _keeps("emoji", faults.emoji)))
        place = PLACEHOLDERS[number % len(PLACEHOLDERS)]
        made.append(Probe("with_placeholder", f"{bare} {place}{stop}", _keeps("placeholders", faults.placeholders)))
    if sentences:
        made.append(Probe("paragraph", blank.join(sentences), _is_whole, tuple(sentences)))
    made += [Probe("repeats", blank.join([text] * REPEATS), _is_not_long) for text in frequent[:2]]
    return made


def _sentences(sources: Sequence[str], blank: str) -> list[str]:
    """Return sentences of usual length, from all over the text; if there are none, any lines."""
    factor = 1 if blank else 2
    fit = [
        text
        for text in map(str.strip, sources)
        if factor * SHORTEST <= len(words(text)) <= factor * LONGEST and not any(map(str.isdecimal, text))
    ]
    ended = [text for text in fit if text.endswith(tuple(STOPS))]
    chosen = list(dict.fromkeys((ended if len(ended) >= INPUTS else fit) or [text for text in sources if text.strip()]))
    return [chosen[place * len(chosen) // INPUTS] for place in range(INPUTS)] if len(chosen) > INPUTS else chosen


def _frequent(sources: Sequence[str], blank: str) -> list[str]:
    """Return frequent words, as they are written most often; in scripts without blanks, frequent pairs of letters.

    Pairs in Japanese are of ideographs or katakana, as pairs of hiragana are seldom words.
    """
    if blank:
        counts = Counter(word for text in sources for word in words(text) if word.isalpha() and len(word) > 3)
    else:
        pairs = (a + b for text in sources for a, b in pairwise(text) if script_of(a) == script_of(b) != "")
        counts = Counter(pair for pair in pairs if script_of(pair[0]) != "HIRAGANA")
    known = [word for word, _ in counts.most_common(FREQUENT)]
    return known[:: max(1, len(known) // INPUTS)][:INPUTS]


def _letters(sources: Sequence[str]) -> list[str]:
    counts = Counter(letter for text in sources for letter in text.lower() if letter.isalpha())
    return [letter for letter, _ in counts.most_common(3)]


def broken(case: Case) -> str | None:
    """Return what makes a translation useless, whatever its source means."""
    checks = {
        "empty": faults.empty,
        "repeats": faults.repeated,
        "too long": faults.too_long,
        "marks left": faults.leftovers,
        "wrong script": faults.wrong_script,
    }
    found = ((name, check(case)) for name, check in checks.items())
    return next((f"{name}: {note}".rstrip(": ") for name, note in found if note is not None), None)


def _not_broken(severity: str) -> Callable[[Case, Sequence[str]], Fault | None]:
    def judge(case: Case, _: Sequence[str]) -> Fault | None:
        note = broken(case)
        return (severity, note) if note else None

    return judge


def _stays_empty(case: Case, _: Sequence[str]) -> Fault | None:
    return ("fail", "the translation is not empty") if case.translation.strip() else None


def _keeps_numbers(case: Case, _: Sequence[str]) -> Fault | None:
    lost = lost_numbers(case.source, case.translation)
    return ("warn", f"lost: {', '.join(lost)}") if lost else None


def _adds_no_words(case: Case, _: Sequence[str]) -> Fault | None:
    return ("warn", "there are words in the translation") if any(map(str.isalnum, case.translation)) else None


def _like_plain(severity: str) -> Callable[[Case, Sequence[str]], Fault | None]:
    """A variant of a sentence must be translated like the sentence, apart from capitals."""

    def judge(case: Case, others: Sequence[str]) -> Fault | None:
        if note := broken(case):
            return severity, note
        (score,) = sentence_scores([case.translation.casefold()], [Pair("", others[0].casefold())])
        return ("warn", f"unlike the translation of the plain sentence: chrF {score:.0f}") if score < ALIKE else None

    return judge


def _keeps(what: str, check: Callable[[Case], str | None]) -> Callable[[Case, Sequence[str]], Fault | None]:
    def judge(case: Case, _: Sequence[str]) -> Fault | None:
        lost = check(case)
        return ("warn", f"{what} lost: {lost}") if lost else None

    return judge


def _is_whole(case: Case, others: Sequence[str]) -> Fault | None:
    """A paragraph must be about as long as its sentences translated one by one."""
    share = len(case.translation) / max(1, sum(map(len, others)))
    if share >= PARAGRAPH_WARN:
        return None
    severity = "fail" if share < PARAGRAPH_FAIL else "warn"
    return severity, f"{share:.0%} as long as its sentences translated one by one"


def _is_not_long(case: Case, _: Sequence[str]) -> Fault | None:
    if not case.translation.strip():
        return "warn", "empty"
    note = faults.too_long(case)
    return ("warn", f"too long: {note}") if note else None
