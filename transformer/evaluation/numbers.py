"""Numbers in raw text, as values that can be compared between languages."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:([.,\u00a0\u202f '’])\d{3})(?:\1\d{3})*(?![\d]|[.,]\d{3}\b)")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def numbers(text: str) -> Counter[str]:
    """Return how often each number occurs in a text.

    Digits of any script are read as 0 to 9. `1,000`, `1.000` and `1 000` are the same number, and so are `3.5` and
    `3,5`. Signs and units do not belong to it.
    """
    plain = western(text)
    if not any("0" <= character <= "9" for character in plain):
        return Counter()
    joined = _GROUPED.sub(lambda found: re.sub(r"\D", "", found[0]), plain)
    return Counter(_canonical(found) for found in _NUMBER.findall(joined))


def western(text: str) -> str:
    """Return the text with the digits of all scripts as 0 to 9, and the separators of Arabic as `.` and `,`."""
    if text.isascii():
        return text
    digits = (str(unicodedata.decimal(each)) if each.isdecimal() else each for each in text)
    return "".join(digits).replace("٫", ".").replace("٬", ",")


def lost_numbers(source: str, translation: str) -> Counter[str]:
    """Return the numbers of the source that the translation lacks.

    A number that is written in other parts is not lost: `10:30` and `10.30`, `12.5.2014` and `12/5/2014`.
    """
    missing = numbers(source) - numbers(translation)
    spare = _runs(translation) if missing else Counter[str]()
    lost = Counter[str]()
    for number in missing.elements():
        runs = _runs(number)
        if runs - spare:
            lost[number] += 1
        else:
            spare -= runs
    return lost


def _canonical(number: str) -> str:
    """Return a number with `.` for its separators, without zeros before it but that of `0.5`."""
    return re.sub(r"^0+(?=\d)", "", number.replace(",", "."))


def _runs(text: str) -> Counter[str]:
    """Return the runs of digits in a text."""
    return Counter(run.lstrip("0") or "0" for run in re.findall(r"\d+", western(text)))
