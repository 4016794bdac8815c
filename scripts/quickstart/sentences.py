"""What a line of the corpus is: a pair of texts, the combinations in it, and how carelessly it is typed."""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

from quickstart.forms import Pair, number_de, number_en

HOLD_OUT = 8  # one combination in so many is kept out of train


def is_held_out(combo: str) -> bool:
    """Tell whether a combination ("adjective:red coat", "object:buy coat", "number:21", ...) is kept from train."""
    return not combo.startswith("name:") and zlib.crc32(combo.encode()) % HOLD_OUT == 0


class Sentence(NamedTuple):
    """A sentence pair and the combinations in it."""

    en: str
    de: str
    combos: frozenset[str] = frozenset()

    @property
    def held_out(self) -> bool:
        """Tell whether the pair contains a combination that train lacks."""
        return any(map(is_held_out, self.combos))

    def words(self) -> set[str]:
        """Give the words of both sides, in lower case."""
        return set(re.findall(r"[^\s.,?!]+", f"{self.en} {self.de}".casefold()))

    def fresh_words(self) -> set[str]:
        """Give the words that train may lack: made-up names and held-out compound numbers."""
        fresh = {combo.removeprefix("name:").casefold() for combo in self.combos if combo.startswith("name:")}
        numbers = [combo for combo in self.combos if combo.startswith("number:") and is_held_out(combo)]
        for n in (int(combo.removeprefix("number:")) for combo in numbers):
            fresh |= {str(n), number_en(n), number_de(n).casefold()}
        return fresh


STYLES = {
    "proper": 64,
    "no stop": 8,
    "lower case": 7,
    "lower case, no stop": 8,
    "small start, no stop": 3,
    "capitals": 6,
    "capitals, no stop": 6,
    "exclamation": 3,
}


LOUDEST = 6  # words of the longest sentence in capitals: who shouts is brief


def capitalize(text: str) -> str:
    """Put a capital in front and leave the rest alone."""
    return text[0].upper() + text[1:]


def punctuate(pair: Pair) -> Pair:
    """Make a sentence of two texts: a capital in front, and a full stop unless it is a question."""
    en, de = pair
    return (capitalize(en) + "." * (en[-1] != "?"), capitalize(de) + "." * (de[-1] != "?"))


def retype(pair: Pair, style: str) -> Pair:
    """Type the English carelessly; the German keeps its spelling, and its stop where the English has one."""
    en, de = pair
    if "capitals" in style and len(en.split()) > LOUDEST:
        return pair
    if "no stop" in style:
        en, de = en.rstrip(".?"), de.rstrip(".?")
    if style == "exclamation" and en[-1] == ".":
        en, de = f"{en[:-1]}!", f"{de[:-1]}!"
    if style.startswith("lower"):
        en = en.lower()
    elif style.startswith("small") and not en.startswith(("I ", "I'")):
        en = en[0].lower() + en[1:]
    elif style.startswith("capitals"):
        en = en.upper()
    return en, de
