"""Filters of training corpora: which pairs are dropped by their text, counted, with examples. All are off by default.

Each filter is an entry of FILTERS: what it finds, and a function that makes its rule of setting and languages.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, NamedTuple
from unicodedata import category, decimal

from transformer.data.alignments import with_alignments
from transformer.data.corpus import Pair, read_pairs
from transformer.data.lines import sha256
from transformer.data.scores import kept_by_score
from transformer.data.scripts import script_of, scripts_of_language
from transformer.data_config import CorpusConfig, FilterConfig, ScoreConfig
from transformer.errors import ConfigError
from transformer.paths import expanded

EXAMPLES, LONGEST = 3, 200
"""Pairs that are kept as examples of a filter, and the characters of a side that are kept."""
FEWEST_CAPITALS = 3
"""Letters from which a text can be in capitals: `OK` and `TV` are words."""
DIGITS, BLANKS = re.compile(r"\d"), re.compile(r"\s+")
NOT_LETTERS, NOT_MARKS = re.compile(r"[\W\d_]+"), re.compile(r"[\w\x00-\xff]+")
"""What is no letter, and what is no mark on a letter, such as a vowel of Devanagari: these are no word characters."""
CLOSING = re.compile(r"[\s\"'”’»«›)\]}」』]+$")
END_MARKS = {
    mark: kind
    for kind, marks in {"stop": ".。．｡।۔။።…", "question": "?？؟⸮;", "exclamation": "!！", "colon": ":："}.items()
    for mark in marks
}
"""What a mark at the end means. The Greek question mark is U+037E, which NFC makes a semicolon."""
Rule = Callable[[str, str], bool]
"""Takes both sides of a pair; returns whether it is dropped."""


log = logging.getLogger(__name__)


class Filter(NamedTuple):
    """One filter."""

    finds: str
    """What it drops, in words for the log and for tables."""
    make: Callable[[Any, str, str], Rule]
    """Takes the setting and the codes of both languages."""


def same_text(source: str, target: str) -> bool:
    """Return whether the two sides are one text."""
    return source == target


def other_digits(source: str, target: str) -> bool:
    """Return whether the sides differ in their digits, in whatever order."""
    return sorted(map(decimal, DIGITS.findall(source))) != sorted(map(decimal, DIGITS.findall(target)))


def share_of_letters(text: str) -> float:
    """Return the share of letters, with their marks, among the characters that are not blanks; 0 if there are none."""
    solid = BLANKS.sub("", text)
    letters = len(NOT_LETTERS.sub("", solid))
    if not solid.isascii():
        letters += sum(category(character)[0] == "M" for character in NOT_MARKS.sub("", solid))
    return letters / len(solid) if solid else 0.0


def share_in_scripts(text: str, scripts: frozenset[str]) -> float:
    """Return the share of the letters of a text that are in these scripts; 1 if it has no letters."""
    if {script_of(character) for character in set(text)} - {""} <= scripts:
        return 1.0
    counts = Counter(text)
    letters = {character: script for character in counts if (script := script_of(character))}
    total = sum(counts[character] for character in letters)
    return sum(counts[each] for each, script in letters.items() if script in scripts) / total if total else 1.0


def in_capitals(text: str) -> bool:
    """Return whether all letters of a text that has some are capitals."""
    return text.isupper() and sum(map(str.isupper, text)) >= FEWEST_CAPITALS


def capitals_differ(source: str, target: str) -> bool:
    """Return whether one side is in capitals, and the other has small letters."""
    return (in_capitals(source) and any(map(str.islower, target))) or (
        in_capitals(target) and any(map(str.islower, source))
    )


def end_mark(text: str) -> str:
    """Return what kind of mark ends a text, before quotes and brackets that close it; "" if none does."""
    return END_MARKS.get(CLOSING.sub("", text)[-1:], "")


def end_marks_differ(source: str, target: str) -> bool:
    """Return whether the sides end in different kinds of marks."""
    return end_mark(source) != end_mark(target)


def skeleton(text: str) -> str:
    """Return a text without case, numbers, punctuation and blanks; the text itself if that leaves nothing."""
    return NOT_LETTERS.sub("", text.casefold()) or text


def _few_letters(least: float, _source: str, _target: str) -> Rule:
    return lambda source, target: min(share_of_letters(source), share_of_letters(target)) < least


def _other_script(least: float, *languages: str) -> Rule:
    left, right = map(scripts_of_language, languages)
    for language, scripts in zip(languages, (left, right), strict=True):
        if not scripts:
            raise ConfigError(
                f"data.train.filters.script: the script of {language} is not known; write it as {language}-Latn"
            )
    return lambda source, target: min(share_in_scripts(source, left), share_in_scripts(target, right)) < least


def _characters(bounds: tuple[int, int], _source: str, _target: str) -> Rule:
    least, most = bounds
    return lambda source, target: not (least <= len(source) <= most and least <= len(target) <= most)


def _near_duplicates(_setting: str, _source: str, _target: str) -> Rule:
    seen: set[int] = set()

    def rule(source: str, target: str) -> bool:
        both = f"{skeleton(source)}\0{skeleton(target)}".encode("utf-8", "surrogatepass")
        key = int.from_bytes(hashlib.blake2b(both, digest_size=8).digest())
        before = len(seen)
        seen.add(key)
        return len(seen) == before

    return rule


def _always(rule: Rule) -> Callable[[Any, str, str], Rule]:
    return lambda _setting, _source, _target: rule


FILTERS = {
    "identical": Filter("both sides identical", _always(same_text)),
    "digits": Filter("digits differ", _always(other_digits)),
    "letters": Filter("few letters", _few_letters),
    "script": Filter("other script", _other_script),
    "case": Filter("capitals differ", _always(capitals_differ)),
    "end_mark": Filter("end marks differ", _always(end_marks_differ)),
    "characters": Filter("number of characters", _characters),
    "near_duplicates": Filter("near-duplicates", _near_duplicates),
}
"""By the settings of FilterConfig, in the order in which they are asked. Scores are asked before them."""
LOW_SCORE = "low score"
FINDINGS = (LOW_SCORE, *(each.finds for each in FILTERS.values()))
"""What filters find, in words."""


class FilteredPairs:
    """The pairs of a corpus that its filters keep. It is iterated over once; then it knows what was dropped."""

    def __init__(self, corpus: CorpusConfig, source: str, target: str, drop: bool, aligned: bool = False) -> None:
        """Take what `read_pairs` takes, and whether the pairs should have their word alignments.

        Raises ConfigError for a filter that cannot be used for these languages.
        """
        self._how = corpus, source, target, drop
        self._alignments = corpus.alignments if aligned else None
        self.dropped: Counter[str] = Counter()
        """Pairs that were dropped, by what the filter finds, and what is no pair, by reason."""
        self.examples: dict[str, list[tuple[str, str]]] = {}
        """Some of them, shortened."""
        filters = corpus.filters or FilterConfig()
        set_here = ((name, each, getattr(filters, name)) for name, each in FILTERS.items())
        self._rules = [
            (each.finds, each.make(setting, source, target))
            for _, each, setting in set_here
            if setting is not None and setting != "keep"
        ]
        self._score = filters.score

    def __iter__(self) -> Iterator[Pair | None]:
        """Yield the pairs, or None for one that is not UTF-8. Raises DataError as `read_pairs` does."""
        pairs = read_pairs(*self._how, self.dropped)
        if self._alignments is not None:
            pairs = with_alignments(pairs, expanded(self._alignments))
        return self._kept(pairs) if self._rules or self._score else pairs

    def log_examples(self, name: str) -> list[dict[str, Any]]:
        """Log examples of what was dropped from a corpus of this name, and return them."""
        for finds, pairs in self.examples.items():
            for source, target in pairs:
                log.info("%s: dropped, %s: %s ||| %s", name, finds, source, target)
        return [{"corpus": name, "filter": finds, "pairs": pairs} for finds, pairs in self.examples.items()]

    def _kept(self, pairs: Iterator[Pair | None]) -> Iterator[Pair | None]:
        if self._score is not None:
            pairs = self._by_score(pairs)
        for pair in pairs:
            if pair is not None:
                source, target = pair.source.strip(), pair.target.strip()
                found = next((finds for finds, rule in self._rules if rule(source, target)), None)
                if found is not None:
                    self._drop(found, source, target)
                    continue
            yield pair

    def _by_score(self, pairs: Iterator[Pair | None]) -> Iterator[Pair | None]:
        assert self._score is not None
        for good, pair in kept_by_score(pairs, self._how[0], self._score):
            if good or pair is None:
                yield pair
            else:
                self._drop(LOW_SCORE, pair.source.strip(), pair.target.strip())

    def _drop(self, finds: str, source: str, target: str) -> None:
        self.dropped[finds] += 1
        examples = self.examples.setdefault(finds, [])
        if len(examples) < EXAMPLES:
            examples.append((source[:LONGEST], target[:LONGEST]))


def filters_identity(corpus: CorpusConfig) -> dict[str, Any]:
    """Return what identifies the filters of a corpus: the settings that are not the default, and the scores' digest."""
    settings = {key: value for key, value in _set(corpus.filters).items() if key != "score"}
    if corpus.filters is not None and corpus.filters.score is not None:
        score = _set(corpus.filters.score)
        if "file" in score:
            score["file"] = sha256(expanded(score["file"]))
        settings["score"] = score
    return {"filters": settings} if settings else {}


def _set(section: FilterConfig | ScoreConfig | None) -> dict[str, Any]:
    """Return the settings of a section that are not the default."""
    found = {} if section is None else {f: getattr(section, f.name) for f in fields(section)}
    return {f.name: value for f, value in found.items() if value != f.default}
