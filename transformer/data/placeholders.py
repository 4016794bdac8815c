"""Placeholders: what a translation must have as its source has it, written with reserved pieces while it is translated.

`{name}`, `%s`, `__PH0__`, tags such as `<b>` and addresses become `<ph0>`, `<ph1>`, ... in the order of the source.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

_CONTROLS = r"\x00-\x1f\x7f-\x9f"
PAGE = rf"(?:\w{{2,10}}://|www\.)[^\s<>\"{_CONTROLS}]*[\w/]"
MAILBOX = r"(?<![\w.+-])[\w.+-]{1,64}@\w[\w-]*(?:\.\w[\w-]*)+"
ELEMENT = rf"</?[A-Za-z][^<>{_CONTROLS}]{{0,200}}>"
"""A start or end tag. `decoding/markup.py` has its own: it takes out comments and tags of any length too."""
ENTITY = r"&(?:\w{1,20}|#\d{1,7});"
BRACES = rf"\$?\{{\{{?[^{{}}\s{_CONTROLS}]{{0,60}}\}}?\}}"
PRINTF = r"%(?:\(\w{1,60}\))?(?:\d+\$)?[-+0#]?\d*(?:\.\d+)?[sdifgxu@](?!\w)"
UNDERSCORED = r"__\w{1,60}?__"
FOUND = re.compile("|".join((PAGE, MAILBOX, ELEMENT, ENTITY, BRACES, PRINTF, UNDERSCORED)))
"""What is a placeholder. Vocabularies were learned from text that was read with it, so it stays as it is."""
RESERVED = re.compile(r"<ph(\d{1,4})>")
AFTER_BLANK = re.compile(f"(?P<blank> ?){RESERVED.pattern}")
TERM_MARKS = ("<term>", "<trans>", "</term>")
"""Before a term, between it and its translation, and after that (Dinu et al. 2019)."""
WORD = re.compile(r"\w+(?:[-.,:/']\w+)*")


def name(number: int) -> str:
    """Return the reserved piece of a placeholder."""
    return f"<ph{number}>"


class Hidden(NamedTuple):
    """A text with reserved pieces, and what they stand for."""

    text: str
    originals: tuple[str, ...]

    def hide(self, text: str) -> str:
        """Return another text, such as the beginning of the translation, with the same pieces as the source."""
        for number, original in enumerate(self.originals):
            text = text.replace(original, name(number))
        return text

    def restore(self, translation: str) -> tuple[str, list[str]]:
        """Return a translation with the originals, and those that it lacks. It loses pieces that stand for nothing."""
        count = len(self.originals)

        def original(found: re.Match[str]) -> str:
            return found["blank"] + self.originals[int(found[2])] if int(found[2]) < count else ""

        seen = {int(found[1]) for found in RESERVED.finditer(translation)}
        return AFTER_BLANK.sub(original, translation), [each for i, each in enumerate(self.originals) if i not in seen]


def hide(text: str, count: int, marks: bool = False) -> Hidden:
    """Return a source text with reserved pieces for the first `count` different placeholders.

    With `marks`, the marks of terms are no placeholders.
    """
    numbers: dict[str, int] = {}
    if not count:
        return Hidden(text, ())

    def reserved(found: re.Match[str]) -> str:
        each = found[0]
        if (marks and each in TERM_MARKS) or (each not in numbers and len(numbers) == count):
            return each.replace("<", "< ") if RESERVED.fullmatch(each) else each  # it would stand for another one
        return name(numbers.setdefault(each, len(numbers)))

    return Hidden(FOUND.sub(reserved, text), tuple(numbers))


def hide_in_both(source: str, target: str, count: int) -> tuple[str, str]:
    """Return both sides with reserved pieces for the placeholders that each has as often as the other."""
    here = Counter(found[0] for found in FOUND.finditer(source))
    if not here:
        return source, target
    there = Counter(found[0] for found in FOUND.finditer(target))
    usable = [each for each in here if not (RESERVED.fullmatch(each) or each in TERM_MARKS)]
    shared = [each for each in usable if there[each] == here[each]]
    used = len({found[0] for found in RESERVED.finditer(source)})
    numbers = {each: name(used + i) for i, each in enumerate(shared[: max(0, count - used)])}

    def reserved(found: re.Match[str]) -> str:
        return numbers.get(found[0], found[0])

    return FOUND.sub(reserved, source), FOUND.sub(reserved, target)


def with_placeholders(source: str, target: str, count: int, below: Callable[[int], int]) -> tuple[str, str]:
    """Return both sides with one to three reserved pieces, for a model to learn to copy them.

    They stand for words that both sides have once, such as numbers and names; where there is none, they are put at the
    beginning, at the end or around the text. `below(n)` draws a number from 0 to n - 1.
    """
    if RESERVED.search(source) or RESERVED.search(target) or not (source.strip() and target.strip()):
        return source, target
    wanted = min(count, 1 + below(3))
    here, there = (Counter(found[0] for found in WORD.finditer(side)) for side in (source, target))
    equal = [word for word, n in here.items() if n == 1 == there[word]]
    for _ in range(len(equal) - wanted):
        equal.pop(below(len(equal)))
    if equal:
        names = {word: name(i) for i, word in enumerate(equal)}  # in the order of the source

        def reserved(found: re.Match[str]) -> str:
            return names.get(found[0], found[0])

        return WORD.sub(reserved, source), WORD.sub(reserved, target)
    first, second = name(0), name(1)
    forms = ["{first} {text}", "{text} {first}", "{text}{first}", "{first}{text}{second}", "{first} {text} {second}"]
    form = forms[below(len(forms) if count > 1 else 3)]
    return (
        form.format(text=source, first=first, second=second),
        form.format(text=target, first=first, second=second),
    )
