"""The scripts of letters, and the scripts of languages. They have Unicode's names, such as LATIN."""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable

from transformer.languages import CHINESE, JAPANESE, KOREAN, parse

ALPHABETS = """
    Latn:LATIN Cyrl:CYRILLIC Grek:GREEK Arab:ARABIC Hebr:HEBREW Deva:DEVANAGARI Beng:BENGALI Guru:GURMUKHI Gujr:GUJARATI
    Orya:ORIYA Taml:TAMIL Telu:TELUGU Knda:KANNADA Mlym:MALAYALAM Sinh:SINHALA Thai:THAI Laoo:LAO Tibt:TIBETAN
    Mymr:MYANMAR Khmr:KHMER Geor:GEORGIAN Armn:ARMENIAN Ethi:ETHIOPIC Mong:MONGOLIAN Thaa:THAANA Syrc:SYRIAC
    Tfng:TIFINAGH Cher:CHEROKEE Cans:CANADIAN Olck:OL Nkoo:NKO Yiii:YI
"""
NAMES = {code: name for code, _, name in (pair.partition(":") for pair in ALPHABETS.split())} | {
    CHINESE: "CJK BOPOMOFO IDEOGRAPHIC",
    JAPANESE: "CJK HIRAGANA KATAKANA KATAKANA-HIRAGANA IDEOGRAPHIC",
    KOREAN: "HANGUL CJK",
}
"""Unicode's names of scripts, by ISO 15924. A language may use several."""
LANGUAGES = {
    code: scripts
    for scripts, codes in {
        "Latn": "en de fr es it pt nl sv da nb nn no is fo fi et lv lt pl cs sk sl hr bs hu ro sq tr tk mt ga gd cy br "
        "eu ca gl oc la af sw zu xh st tn ts ve ss nr ny sn rw rn lg ig yo ha so om id jv su tl ceb vi mi sm to fy lb "
        "li ht eo ia wa an ast co sc rm fur gn qu ay ln wo ff kg ki ee tw ak mg haw gv kw se nds",
        "Cyrl": "ru uk be bg mk ky tg tt ba cv os ce av ab kv",
        "Cyrl Latn": "sr az uz kk mn sh",
        "Arab": "ar fa ur ps sd ug ckb arz ary acm apc ajp azb",
        "Arab Latn": "ku ms",
        "Hebr": "he yi",
        "Grek": "el",
        "Deva": "hi mr ne sa bho mai awa mag hne kok",
        "Beng": "bn as",
        "Guru Arab": "pa",
        "Gujr": "gu",
        "Orya": "or",
        "Taml": "ta",
        "Telu": "te",
        "Knda": "kn",
        "Mlym": "ml",
        "Sinh": "si",
        "Geor": "ka",
        "Armn": "hy",
        "Ethi": "am ti",
        "Thaa": "dv",
    }.items()
    for code in codes.split()
}
"""The scripts of languages that are written with blanks between words, by `Language.code`."""
MOSTLY = 0.05
"""Share of the letters of a text from which a script is one of the language's, if the language is not known."""


@functools.lru_cache(maxsize=1 << 14)
def script_of(character: str) -> str:
    """Return the script of a letter, or "" for anything else: digits, accents, symbols, letters of no script."""
    plain = unicodedata.normalize("NFKC", character)[:1]
    name = unicodedata.name(plain, "") if plain.isalpha() else ""
    return "" if name.startswith("MODIFIER") else name.split(" ")[0]


def scripts_of_language(code: str, texts: Iterable[str] = ()) -> frozenset[str]:
    """Return the scripts of a language. If its code does not tell, they are those of `texts` in it."""
    language, script = parse(code)
    known = script or LANGUAGES.get(language, "")
    if names := " ".join(NAMES.get(each, "") for each in known.split()).split():
        return frozenset(names)
    counts = Counter(script_of(character) for text in texts for character in text)
    del counts[""]
    return frozenset(name for name, count in counts.items() if count > MOSTLY * counts.total())
