"""The rule for raw text: what of a line the model reads, in training and in every command.

Control characters are read as spaces. Characters that Unicode calls default-ignorable, which nobody sees, are dropped,
except where they change how the text looks or what it means: joiners between letters of scripts that have a use for
them, joiners and selectors of emoji and ideographs, zero-width spaces in scripts without blanks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple
from unicodedata import normalize

CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
"""Line ends, control characters and lone surrogates: the model never reads or writes them."""
TABS_AND_CONTROLS = re.compile(CONTROLS.pattern.replace(r"\x08\x0a-", ""))
SURROGATE_PAIRS = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")
"""A character beyond the first plane, as UTF-16 and JSON write it. Python's strings can contain it so too."""

# Sets of characters, to be put between the brackets of a regular expression.
JOINERS, SELECTORS = r"\u200b-\u200d", r"\ufe00-\ufe0f\U000e0100-\U000e01ef"
TAGS, MONGOLIAN_SELECTORS = r"\U000e0020-\U000e007f", r"\u180b-\u180d\u180f"
NEVER_MEANT = (
    r"\xad\u034f\u061c\u17b4\u17b5\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufff8"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e001f\U000e0080-\U000e00ff\U000e01f0-\U000e0fff"
)
EMOJI = (
    r"\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2934\u2935\u2b00-\u2bff"
    r"\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
SYMBOLS = r"\u2190-\u22ff\u2a00-\u2aff\u3001\u3002\uff01\uff0c\uff0e\uff1a\uff1b\uff1f"
ANCIENT = r"\u1000-\u109f\ua840-\ua877\U00010ac0-\U00010aff\U00013000-\U000143ff"
"""The letters besides those of Han that have variants by selectors: Myanmar, Phags-pa, Manichaean, hieroglyphs."""
MONGOLIAN = r"\u1820-\u18aa"
CURSIVE = (
    r"\u0610-\u061a\u0620-\u065f\u066e-\u06d3\u06d5-\u06dc\u06df-\u06e8\u06ea-\u06ef\u06fa-\u06ff\u0710-\u077f"
    r"\u07ca-\u07f5\u0840-\u085b\u0860-\u08e1\u08e3-\u08ff\u1820-\u18aa\ua840-\ua871\ufb50-\ufdcf\ufdf0-\ufdfc"
    r"\ufe70-\ufefc\U00010ac0-\U00010aff\U00010d00-\U00010d27\U0001e900-\U0001e94b"
)
"""Letters and marks of the scripts whose letters join: Arabic, Syriac, N'Ko, Mandaic, Mongolian, Adlam and others."""
INDIC = (
    r"\u0900-\u0963\u0971-\u0de5\u1000-\u103f\u1050-\u109f\u1700-\u17d3\u1a20-\u1aad\u1b00-\u1bf3\ua800-\ua8f7"
    r"\ua930-\ua953\ua980-\ua9c0\uaa60-\uaa7f\uaae0-\uaaf6\uabc0-\uabed\U00011000-\U00011fff"
)
VIRAMAS = r"\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d4d\u0dca\u1039\u103a\u17d2\u1a60\u1b44\ua9c0"
WITHOUT_BLANKS = r"\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aad\u1b00-\u1b7f\ua980-\uaadf"
"""Thai, Lao, Tibetan, Myanmar, Khmer, Tai, Balinese, Javanese, Cham: they break lines at zero-width spaces."""
CONSONANTS, VOWELS, FINALS = r"\u1100-\u115e\ua960-\ua97c", r"\u1161-\u11a7\ud7b0-\ud7c6", r"\u11a8-\u11ff\ud7cb-\ud7fb"
"""Hangul jamo. Fillers stand for those that a syllable lacks."""

INVISIBLE = re.compile(
    r"[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]"
)
FAR = re.compile(r"[\U0001bca0-\U000e0fff]")
"""The default-ignorable code points of Unicode; beyond the first plane, what is among them. One pattern for both takes
six times as long: 3.9 instead of 0.6 us for a French line of 170 characters."""
DROPPED = re.compile(f"[{NEVER_MEANT}]+|(?<=[{SELECTORS}])[{SELECTORS}]+")
SELECTING = re.compile(
    rf"""(
      (?<=[{EMOJI}])[\ufe0e\ufe0f] | (?<=[0-9\#*])\ufe0f(?=\u20e3)
    | (?<=[{SYMBOLS}{ANCIENT}])[\ufe00-\ufe0d] | (?<=[{HAN}])[\ufe00-\ufe02\U000e0100-\U000e01ef]
    | \U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{{1,10}}\U000e007f
    | (?<=[{MONGOLIAN}])[{MONGOLIAN_SELECTORS}]
    | \u115f(?=[{VOWELS}]|\u1160[{FINALS}]) | (?<=[{CONSONANTS}])\u1160 | \u1160(?=[{FINALS}])
    ) | [{SELECTORS}{TAGS}\u115f\u1160{MONGOLIAN_SELECTORS}]""",
    re.VERBOSE,
)
"""In group 1 what stays: selectors after what they select from, tags of flags, fillers in syllables of jamo."""
REPEATED = re.compile(rf"(?<=[{JOINERS}])[{JOINERS}]+")
JOINING = re.compile(
    rf"""(
      (?:(?<=[{EMOJI}])|(?<=[{EMOJI}][\ufe0e\ufe0f]))\u200d(?=[{EMOJI}])
    | (?<=[{VIRAMAS}])[\u200c\u200d] | (?<=[{INDIC}])[\u200c\u200d](?=[{INDIC}])
    | (?<=[{CURSIVE}])\u200c(?=[{CURSIVE}]) | (?<=[{CURSIVE}])\u200d
    | (?<=[{WITHOUT_BLANKS}])\u200b(?=[{WITHOUT_BLANKS}])
    | (?:(?<=[{MONGOLIAN}])|(?<=[{MONGOLIAN}][{MONGOLIAN_SELECTORS}]))\u180e(?=[{MONGOLIAN}])
    ) | [{JOINERS}\u180e]""",
    re.VERBOSE,
)
"""In group 1 what stays: joiners and separators between characters of a script that uses them."""
BLANKS = re.compile(r"\s{2,}")


def without_controls(text: str) -> str:
    """Return the text with each run of control characters replaced by one space. The whole rule up to version 0.2.0."""
    return text if text.isprintable() else CONTROLS.sub(" ", text)


def clean(text: str, nfc: bool = True) -> str:
    """Return the text as the model reads it: one line without control characters and invisible ones.

    Blanks at the ends are dropped, and of a run of blanks one is kept: a space if they differ. With `nfc`, the
    characters are composed by Unicode's normalization form C.
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.split()) if "  " in text else text.strip()
    printable = text.isprintable()  # which some invisible characters are too
    text = visible(text)
    if nfc:
        text = normalize("NFC", text)
    text = text.strip()
    return text if printable and "  " not in text else BLANKS.sub(_one_blank, text)


def visible(text: str) -> str:
    """Return the text without control characters and invisible ones, with its blanks."""
    if not text.isprintable():
        text = SURROGATE_PAIRS.sub(_character, text)
        text = TABS_AND_CONTROLS.sub(" ", text)
    if INVISIBLE.search(text) or FAR.search(text):
        text = JOINING.sub(r"\1", REPEATED.sub("", SELECTING.sub(r"\1", DROPPED.sub("", text))))
    return text


def _character(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16", "surrogatepass").decode("utf-16")


def _one_blank(run: re.Match[str]) -> str:
    return run[0][0] if len(set(run[0])) == 1 else " "


# ---- characters that SentencePiece has a use of its own for ----------------------------------------------

RESERVED, STAND_INS = "\u2581\u2585", "\ufdd0\ufdd1"
"""SentencePiece writes a space as U+2581 and skips lines with U+2585 when it learns. Code points that are never
characters stand for them in the text that it gets."""
HIDE, REVEAL = str.maketrans(RESERVED, STAND_INS), str.maketrans(STAND_INS, RESERVED)


def hide_reserved(text: str) -> str:
    """Return the text with stand-ins for the characters that SentencePiece has a use of its own for."""
    return text.translate(HIDE) if "\u2581" in text or "\u2585" in text else text


def reveal_reserved(text: str) -> str:
    """Undo `hide_reserved`."""
    return text.translate(REVEAL) if "\ufdd0" in text or "\ufdd1" in text else text


# ---- the rule of a model ---------------------------------------------------------------------------------


class Rule(NamedTuple):
    """What is done to text before SentencePiece encodes it and after it has decoded it."""

    given: Callable[[str], str]
    """For text that is translated, scored, or a forced beginning."""
    learned: Callable[[str], str]
    """For text that the model is trained on."""
    decoded: Callable[[str], str]


def text_rule(cleaned: bool, nfc: bool) -> Rule:
    """Return the rule of a model that learned from cleaned text, in normalization form C or not, or of an older one.

    An older one learned from text with invisible characters. Training goes on with them, so that a run resumes exactly.
    """
    if not cleaned:
        return Rule(lambda text: clean(text, nfc=False), without_controls, without_controls)

    def encoded(text: str) -> str:
        return hide_reserved(clean(text, nfc))

    return Rule(encoded, encoded, lambda text: clean(reveal_reserved(text), nfc))
