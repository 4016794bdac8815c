"""Finds the ends of sentences and clauses in text of any script. Nothing is learned; the rules are conservative."""

from __future__ import annotations

import re
import unicodedata

from transformer import languages

BLANK = r"[\s\u200b]"
MARKS = "!?！？。｡．؟۔؞؝।॥։።፧፨။។៕៚๚๛།༎༏༐༑༔᠃᠉෴܀܁܂߹׃‼⁇⁈⁉‽⸮︒︖︕﹖﹗꘎꘏꛳꛷꧈꧉᭚᭛᭞᭟꩝꩞꩟꫰꫱꯫꤯᜵᜶᥄᥅᰻᰼᱾᱿꣎꣏꡶꡷᙮᪨᪩᪪᪫꓿⳹⳺⳻⸼⹓⹔"
"""Marks that end a sentence in any place. A full stop and an ellipsis need a blank after them, and so do ! and ?."""
INVISIBLE = "\u00ad\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufe0f"
CLOSERS = rf"(?:[\"'”’“‘‟»›«״׳〟〞\)\]\}}」』）】〉》〕］｝＂＇{INVISIBLE}]|</\w+>|\[\w{{1,3}}\](?!\()|[¹²³⁰-⁹])*"
"""What belongs to the sentence whose end it follows: quotes, brackets, tags, footnotes, invisible characters."""
LATE_CLOSERS = rf"(?:{BLANK}[»”›](?={BLANK}|$))?"
"""French quotes have a blank before them."""
ENDS = re.compile(
    rf"(?P<mark>[{MARKS}]+[{MARKS}.…]*|\.+[{MARKS}.…]*|…[{MARKS}.…]*|(?<=[\u0370-\u03ff\u1f00-\u1fff]);)"
    rf"(?P<close>{CLOSERS}{LATE_CLOSERS})(?P<blank>{BLANK}*)"
)
CLAUSES = re.compile(
    rf"[,;:—–]{CLOSERS}{BLANK}+|{BLANK}[—–-](?={BLANK})|[，、；：､،؛፣፤፥፦၊᠂·]{CLOSERS}{BLANK}*"
    rf"|[.!?…\u2600-\u27bf\U0001f300-\U0001faff]{CLOSERS}{BLANK}+|(?<=[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u0f00-\u0fff]){BLANK}+"
)
"""After commas and the like. In scripts that have no blanks between words, Thai for example, a blank is one."""
WORDS = re.compile(rf"{BLANK}+")
ALPHANUMERIC = re.compile(r"[^\W_]")
OPENERS = "\"'“‘„‚«»‹›([{¿¡「『（【〈《<*_#" + "-–—•"

_TITLES = """
    Dr Dres Dra Drs Mr Mrs Ms Messrs Prof Profs St Ste Sr Sra Srta Sto Sta Mt Ft Gen Col Lt Sgt Capt Cpt Cmdr Maj Adm
    Gov Sen Rep Hon Rev Pres Supt Det Insp Fr Hr Hrn Frl Dipl Ing Mag Mw Dhr Mevr Mme Mlle Mmes Mlles Mgr Sig Dott Avv
    Geom Exmo MUDr JUDr PhDr Doç Yrd Sn Özv Ifj Dl Dna
"""
"""Before names. With a small first letter, some of them are words."""
_ANYWHERE = """
    dr mr mrs prof vs vgl bzw ggf evtl zzgl inkl exkl ca cca sog geb gest verh approx cf cfr np tzn tj inż bkz örn kl
    esim stb kb ún bijv bv blz e.g i.e z.b d.h т.е т.д т.п и.о г гг ул им см проф акад тов напр д-р вул ім κ κκ βλ δηλ
    π.χ med jur rer resp aprox avda núm pág ud uds vd vds
"""
_NUMBERED = """
    no nr nos num fig figs art vol p pp pg pag s sec ch eq kap abb tab abs bd ver v tel str § n č стр рис гл ст с № blz
    jan feb mar apr jun jul aug sep sept oct okt nov dec dez
"""
_BEFORE_SMALL = """
    etc usw ecc atd apod osv jne ym yms enz др руб коп тыс млн млрд a.m p.m u.a u.ä jr sr jun sen mio mrd max min al ed
    chr vol art bl.a s.k t.ex dvs ltd co inc corp gmbh stk std sek dept univ assn bros est tel no nr fig
    itp itd jh jhd jhdt avg deg mon tue tues wed thu thur thurs fri sat sun tzw
"""
_SHORT_WORDS = """
    am an as at be by do du er es go he hi id if in is it la le me my no of oh ok on or ox so to up us we ya yo zu ja ab
    da ob um wo si ti tu va ve vi
"""
_ORDINALS = """
    de gsw nds lb da no nb nn is fo fi et lv cs sk pl sl hr bs sr hu tr hsb dsb mk bar frr fy
"""
TITLES, ANYWHERE, NUMBERED = (frozenset(each.split()) for each in (_TITLES, _ANYWHERE, _NUMBERED))
"""Abbreviations before names, before any word, and before numbers only."""
BEFORE_SMALL = frozenset(_BEFORE_SMALL.split())
"""Abbreviations before a small letter or a digit. Before a capital letter they end the sentence."""
ORDINALS = frozenset(_ORDINALS.split())
"""Languages that write 3. for third, as `languages.parse` names them. Without a code, a number may be one."""
MILLIONS = frozenset(("mio", "mrd", "mill", "mln", "mld", "bn", "tsd"))
"""After a number these do not end a sentence, whatever follows."""
SHORT_WORDS = frozenset(_SHORT_WORDS.split())
"""Words of two letters that may end a sentence before a short one: Go. No."""
LONGEST_CHARACTER = 32
"""Code points. An emoji of a family has up to eleven."""


def sentence_ends(text: str, language: str = "") -> list[int]:
    """Return where each sentence but the last ends: the indices of the first characters of the others."""
    ends, start, seen, has_words = [], 0, 0, False
    for found in ENDS.finditer(text):
        has_words = has_words or ALPHANUMERIC.search(text, seen, found.start()) is not None
        seen = found.start()  # no character is looked at twice
        if has_words and found.end() < len(text) and _is_end(text, start, found, language):
            ends.append(found.end())
            start = seen = found.end()
            has_words = False
    return ends


def _is_end(text: str, start: int, found: re.Match[str], language: str) -> bool:
    mark, close, blank = found["mark"], found["close"].strip(INVISIBLE), found["blank"]
    following = text[found.end() : found.end() + 9].lstrip(OPENERS)[:1] or text[found.end()]
    if mark[0] in "!?" and joins_without_blank(text[found.start() - 1]) and joins_without_blank(following):
        return True
    if mark.isascii() or mark[0] in "….;":
        if not blank:
            return _lacks_a_blank(text, found)
        if close and following.islower():  # "Why?" she asked.
            return False
        if len(mark) > 3 and set(mark) == {"."} and text[found.start() - 1].isspace():  # the Kingdom of ........ shall
            return False
        if set(mark) & set("!?;") or following.islower() is False and (mark != "." or close):
            return True
        return mark == "." and not _is_abbreviation(text, start, found.start(), following, language)
    if not blank and found.start() and text[found.start() - 1].isdigit() and following.isdigit():
        return False
    return not (close and not blank and "\u3040" <= following <= "\u309f")  # 「行く。」と言った


def _lacks_a_blank(text: str, found: re.Match[str]) -> bool:
    """Return whether the next sentence follows without a blank, as in `the end.The next`, unlike in an address."""
    before = re.split(BLANK, text[max(0, found.start() - 40) : found.start()])[-1]
    after = text[found.end() : found.end() + 2]
    return before[-2:].isalpha() and before[-2:].islower() and not re.search("[/@\\\\]|www", before) and after.istitle()


def _is_abbreviation(text: str, start: int, stop: int, following: str, language: str) -> bool:
    """Return whether the full stop at `stop` belongs to an abbreviation, an initial or an ordinal number."""
    word = re.split(BLANK, text[max(start, stop - 40) : stop])[-1].lstrip(OPENERS)
    small, before_small = word.casefold(), following.islower() or following.isdigit()
    if word.isdigit() and len(word) <= 2:  # 1. First item. Am 3. Mai.
        first = ALPHANUMERIC.search(text, start, stop - len(word)) is None
        return first or not language or languages.parse(language).code in ORDINALS
    if small in ANYWHERE or word in TITLES or (word.isupper() and word.capitalize() in TITLES):
        return True
    if (before_small and small in BEFORE_SMALL) or (following.isdigit() and small in NUMBERED):
        return True
    before, after = text[max(start, stop - 40) : stop - len(word)].rstrip(), text[stop + 1 : stop + 9].lstrip()
    if re.fullmatch(r"(?:\w{1,3}\.)+\w{1,3}", word):  # U.S.
        return small not in BEFORE_SMALL
    if small in MILLIONS and before[-1:].isdigit():  # 3 Mio. Euro
        return True
    if small.endswith("str") and following.isdigit():  # Goethestr. 5
        return True
    if re.fullmatch(r"[^\W\d_]{1,2}", word) and re.match(r"[^\W\d_]{1,3}\.|Chr", after):  # z. B., p. ex., EE. UU.
        return small not in SHORT_WORDS
    if len(word) <= 3 and re.search(r"(?:^|[^\w.])[^\W\d_]{1,2}\.$", before):
        return word.islower() or len(word) < 3
    if len(word) == 1 and word.isupper() and word.isalpha():  # J. Smith
        return True
    return following.islower() and re.fullmatch("[IVXLCDM]{2,}", word) is not None


def joins_without_blank(character: str) -> bool:
    """Return whether this is a character of Chinese or Japanese, which have no blanks, or their punctuation."""
    return bool(character) and (
        unicodedata.east_asian_width(character) in "WF"
        and not ("\uac00" <= character <= "\ud7ff" or "\u1100" <= character <= "\u11ff" or character >= "\U0001f000")
        and character not in "⌚⌛⏩⏪⏫⏬⏰⏳"
        or "\uff61" <= character <= "\uff9f"
    )


def has_rare_blanks(character: str) -> bool:
    """Return whether this is a character of a script with blanks between phrases, not words, such as Thai."""
    return any(a <= character <= b for a, b in (("\u0e00", "\u0fff"), ("\u1000", "\u109f"), ("\u1780", "\u17ff")))


def place_to_cut(text: str) -> int | None:
    """Return the place nearest the middle where text may be cut without splitting a character, or None.

    A character may have many marks. One of more than 2 * LONGEST_CHARACTER code points is cut in the middle.
    """
    middle = len(text) // 2
    for distance in range(min(len(text), LONGEST_CHARACTER)):
        for place in (middle + distance, middle - distance):
            if 0 < place < len(text) and not continues(text, place):
                return place
    return middle if len(text) > 2 * LONGEST_CHARACTER else None


def continues(text: str, place: int) -> bool:
    """Return whether the character at `place` modifies or continues the one before it."""
    flags = all("\U0001f1e6" <= c <= "\U0001f1ff" for c in text[place - 1 : place + 1])
    return flags or text[place - 1] == "\u200d" or unicodedata.category(text[place]) in ("Mn", "Mc", "Me", "Cf", "Sk")
