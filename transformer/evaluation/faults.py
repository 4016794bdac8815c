"""The faults of translations that can be told without a model: a function each, which returns what is wrong."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from transformer.data.placeholders import BRACES, ELEMENT, MAILBOX, PAGE, PRINTF, UNDERSCORED
from transformer.data.scripts import script_of
from transformer.evaluation.numbers import lost_numbers, numbers
from transformer.evaluation.words import words

COPIED, FEWEST = 0.7, 4
"""A line is untranslated if so much of it is from the source, of at least so many words without a capital."""
LOOP, WORD_LOOP, LONGEST_LOOP = 3, 4, 30
"""Repeats of a phrase, and of a single word, that are a loop; and the longest phrase that is looked for, in words."""
LETTER_LOOP = re.compile(r"(\w{1,4}?)\1{7,}")
"""Letters or digits that are repeated inside a word."""
TOO_LONG, TOO_SHORT, SLACK = 2.5, 0.3, 25
"""A translation is too long or short beyond these multiples of the expected length, and so many characters."""
FOREIGN, FOREIGN_LATIN, FOREIGN_LETTERS = 0.1, 0.5, 3
"""Share of letters of another script that is a fault; of Latin letters, which are written among all scripts; and how
many letters it takes."""
SPELLED = 100
"""Numbers up to this are often spelled out, and so are larger ones of which only two digits are not 0."""
CLOCK = re.compile(r"\d[:.h]\d\d\b|\b[ap]\.?m\b|\bUhr\b|[時时点點시]")
"""What shows that small numbers are times of day, which languages count differently: 2 p.m. is 14 Uhr."""
LEFT = re.compile(r"@@|▁|⁇|<unk>|</?s>|<pad>|<0x[0-9A-Fa-f]{2}>|\ufffd|&(?:amp|lt|gt|quot|apos|nbsp|#\d{1,6});")
LINK = re.compile(f"{PAGE}|{MAILBOX}")
PLACEHOLDER = re.compile(
    "|".join((ELEMENT, BRACES, PRINTF, UNDERSCORED, r"\{[\w.:]{1,20}(?: [\w.:]{1,20}){1,3}\}", r"%\d\b"))
)
"""What `tokenizer.placeholders` copies, but for addresses and entities, which are faults of their own; also
`{first name}` and `%1`, which it does not copy."""
EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf]")
QUOTES = re.compile("[\"“”„‟«»「」『』‹›]|(?<!\\w)['‘‚](?=\\w)|(?<=\\w)['’](?!\\w)|''|``")
DOUBLE = re.compile('["“”„‟«»「」『』]')
NOT_BRACKETS = re.compile(r"^\s*[\w.]{1,4}\)|[:;=8][-o']?[()\[\]](?=\s|$)")
"""What has brackets without being in them: the numbers of lists, and faces."""
HAN_NUMBERS = re.compile("[万萬億亿兆만억조]")
"""Units of Chinese, Japanese and Korean: a million is 100万."""


@dataclass(frozen=True)
class Case:
    """A translation to be judged."""

    source: str
    translation: str
    references: tuple[str, ...]
    """Empty if there are none."""
    ratio: float
    """Characters of a translation for each of its source, as is usual in this text."""
    scripts: frozenset[str]
    """The scripts of the target language, or none if they are not known."""

    @cached_property
    def words(self) -> list[str]:
        """The words of the translation."""
        return words(self.translation)


def empty(case: Case) -> str | None:
    """Nothing is translated, though the source has letters."""
    return "" if not case.translation.strip() and any(map(str.isalnum, case.source)) else None


def untranslated(case: Case) -> str | None:
    """Most words are the source's. Words with capitals, which may be names, count only if there are no others."""
    share = _copied(case.source, case.translation)
    if share < COPIED or any(_copied(case.source, text) > share / 2 for text in case.references):
        return None
    return "equal to the source" if case.source == case.translation else f"{share:.0%} of the words are the source's"


def repeated(case: Case) -> str | None:
    """A word or phrase is repeated over and over, more often than in the source and the references."""
    if (letters := LETTER_LOOP.search(case.translation)) and not any(
        map(LETTER_LOOP.search, (case.source, *case.references))
    ):
        return f"{len(letters[0]) // len(letters[1])} times: {letters[1]}"
    phrase, times = loop(case.words)
    if not phrase:
        return None
    usual = [loop(words(text))[1] for text in (case.source, *case.references)]
    return None if times <= max(usual) else f"{times} times: {phrase}"


def loop(line: list[str]) -> tuple[str, int]:
    """Return the phrase that is repeated most often without a gap, and how often, or "" and 1."""
    best, times, count = "", 1, len(line)
    if len(set(line)) > count - LOOP + 1:
        return best, times
    for size in range(1, min(LONGEST_LOOP, count // LOOP) + 1):
        run = 0
        for place in range(size, count):
            run = run + 1 if line[place] == line[place - size] else 0
            repeats = run // size + 1
            if repeats >= (WORD_LOOP if size == 1 else LOOP) and repeats > times:
                best, times = " ".join(line[place - size + 1 : place + 1]), repeats
    return best, times


def too_long(case: Case) -> str | None:
    """The translation is much longer than its source, and than its references."""
    most = max([case.ratio * len(case.source), *map(len, case.references)]) * TOO_LONG + SLACK
    return _lengths(case) if len(case.translation) > most else None


def too_short(case: Case) -> str | None:
    """The translation is much shorter than its source, and than its references."""
    least = min([case.ratio * len(case.source), *map(len, case.references)]) * TOO_SHORT
    short = len(case.translation) < least and least / TOO_SHORT - len(case.translation) > SLACK
    return _lengths(case) if short and case.translation.strip() else None


def wrong_script(case: Case) -> str | None:
    """Letters are of another script than the target language's. Names that were copied do not count."""
    if not case.scripts:
        return None
    known = {word for text in case.references for word in words(text)}
    known |= {word for word in words(case.source) if word[0].isupper() or any(map(str.isdigit, word))}
    scripts = [script_of(letter) for word in case.words if word not in known for letter in word]
    foreign = Counter(script for script in scripts if script and script not in case.scripts)
    total, latin = sum(map(bool, scripts)), foreign["LATIN"]
    others = foreign.total() - latin
    wrong = others > FOREIGN * total or others + latin > FOREIGN_LATIN * total
    if not wrong or others + latin < FOREIGN_LETTERS:
        return None
    return ", ".join(f"{count} letters {name.lower()}" for name, count in foreign.most_common(3))


def numbers_changed(case: Case) -> str | None:
    """A number of the source is not in the translation, nor missing in a reference. Small ones may be spelled out."""
    lost = lost_numbers(case.source, case.translation)
    if not lost or HAN_NUMBERS.search(case.source + case.translation):
        return None
    new = lost_numbers(case.translation, case.source)
    for text in case.references:
        lost, new = lost & numbers(text), new - numbers(text)
    if CLOCK.search(case.source):
        lost = Counter({number: count for number, count in lost.items() if float(number.split(".")[0]) >= 60})
    if not lost or (not new and all(map(_is_spelled, lost))):
        return None
    return f"{_listed(lost)} → {_listed(new) or 'nothing'}"


def _is_spelled(number: str) -> bool:
    """Return whether a number is likely to be written in words."""
    return number.isdigit() and (int(number[:9]) <= SPELLED or len(number.rstrip("0")) <= 2)


def brackets(case: Case) -> str | None:
    """Brackets are not balanced, or lost though all references have them. The source must have balanced ones."""
    before, after = _brackets(case.source), _brackets(case.translation)
    if before["("] != before[")"]:
        return None
    if after["("] != after[")"]:
        return f"{after['(']} opened, {after[')']} closed"
    lost = before["("] and not after["("] and case.references and all(_brackets(text) for text in case.references)
    return f"{before['(']} in the source, none here" if lost else None


def quotes(case: Case) -> str | None:
    """Quotation marks are not in pairs, though those of the source are, or lost though all references have them."""
    before, after = len(DOUBLE.findall(case.source)), len(DOUBLE.findall(case.translation))
    if before % 2 == 0 and after % 2:
        return f"{after} marks"
    lost = before > 1 and case.references and not QUOTES.search(case.translation)
    return f"{before} in the source, none here" if lost and all(map(QUOTES.search, case.references)) else None


def leftovers(case: Case) -> str | None:
    """Marks of the vocabulary or of preparing text are left, such as `@@` or `<unk>`."""
    left = set(LEFT.findall(case.translation)) - set(LEFT.findall(case.source))
    left = {mark for mark in left if not any(mark in text for text in case.references)}
    return " ".join(sorted(left)) or None


def links(case: Case) -> str | None:
    """An address of the web or of e-mail is not in the translation as it is in the source."""
    return _lost(case, lambda text: (found.rstrip("/") for found in LINK.findall(text)))


def placeholders(case: Case) -> str | None:
    """A placeholder or tag such as `{name}`, `%s` or `<b>` is lost."""
    return _lost(case, PLACEHOLDER.findall)


def emoji(case: Case) -> str | None:
    """An emoji is lost."""
    return _lost(case, EMOJI.findall)


def has_number(case: Case) -> bool:
    """Return whether the source has a digit."""
    return any(map(str.isdecimal, case.source))


def has_brackets(case: Case) -> bool:
    """Return whether the source or the translation has brackets."""
    return bool((_brackets(case.source) + _brackets(case.translation)).total())


def has_quotes(case: Case) -> bool:
    """Return whether the source or the translation has quotation marks."""
    return DOUBLE.search(case.source + case.translation) is not None


def has_link(case: Case) -> bool:
    """Return whether the source has an address."""
    return LINK.search(case.source) is not None


def has_placeholder(case: Case) -> bool:
    """Return whether the source has a placeholder or a tag."""
    return PLACEHOLDER.search(case.source) is not None


def has_emoji(case: Case) -> bool:
    """Return whether the source has an emoji."""
    return EMOJI.search(case.source) is not None


def _copied(source: str, translation: str) -> float:
    """Return which share of the words of source and translation are in both, or 0 if there are too few to tell."""
    before, after = (words(PLACEHOLDER.sub(" ", LINK.sub(" ", text))) for text in (source, translation))
    plain = [[word for word in line if word[0].isalpha() and not word[0].isupper()] for line in (before, after)]
    if len(plain[0]) < FEWEST and any(word[0].isupper() for word in before):  # a headline, or all in capitals
        plain = [[word.casefold() for word in line if word[0].isalpha()] for line in (before, after)]
        if sum(map(str.isupper, before)) < len(before) / 2:
            return 0.0
    counts = [Counter(line) for line in plain]
    both = (counts[0] & counts[1]).total()
    return both / max(counts[0].total(), counts[1].total()) if counts[0].total() >= FEWEST else 0.0


def _lengths(case: Case) -> str:
    return f"{len(case.translation)} characters for {len(case.source)}"


def _brackets(text: str) -> Counter[str]:
    """Return how many brackets of any kind open and close."""
    plain = NOT_BRACKETS.sub("", unicodedata.normalize("NFKC", text) if not text.isascii() else text)
    return Counter("(" if each in "([{【〔" else ")" for each in plain if each in "([{【〔)]}】〕")


def _lost(case: Case, find: Callable[[str], Iterable[str]]) -> str | None:
    """Return the items of the source that the translation lacks and the references have."""
    lost = Counter(find(case.source))
    for text in case.references:
        lost &= Counter(find(text))
    folded = case.translation.casefold()
    return " ".join(item for item, count in lost.items() if folded.count(item.casefold()) < count) or None


def _listed(found: Counter[str]) -> str:
    return ", ".join(sorted(found.elements()))
