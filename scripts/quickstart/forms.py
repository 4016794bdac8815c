"""How words change: numbers, English verbs and contractions, German nouns, adjectives and verbs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from quickstart import lexicon

Pair = tuple[str, str]
listed = str.split  # a list of words, written as one string

NOM, ACC, DAT, GEN = range(4)
I_FORM, YOU_FORM, HE_FORM, PLURAL_FORM = range(4)


@cache
def pairs(text: str) -> list[Pair]:
    """Read "english=german; english=german; ..."."""
    return [(en, de) for en, de in (" ".join(entry.split()).split("=") for entry in text.split(";"))]


def join(*words: str) -> str:
    """Put one space between the words that are there."""
    return " ".join(word for word in words if word)


def paradigm(m: str, f: str, n: str, p: str) -> dict[str, list[str]]:
    """Read four cases each for masculine, feminine, neuter and plural; "-" is no ending."""
    return {gender: row.replace("-", "").split(" ") for gender, row in zip("mfnp", (m, f, n, p), strict=True)}


ARTICLE = paradigm("der den dem des", "die die der der", "das das dem des", "die die den der")
RELATIVE = paradigm("der den dem dessen", "die die der deren", "das das dem dessen", "die die denen deren")
DER_ENDINGS = paradigm("er en em es", "e e er er", "es es em es", "e e en er")
EIN_ENDINGS = paradigm("- en em es", "e e er er", "- - em es", "e e en er")
ADJECTIVE_ENDINGS = {
    "weak": paradigm("e en en en", "e e en en", "e e en en", "en en en en"),
    "mixed": paradigm("er en en en", "e e en en", "es es en en", "en en en en"),
    "strong": paradigm("er en em en", "e e er er", "es es em en", "e e en er"),
}
ADJECTIVE = dict(pairs(lexicon.ADJECTIVES))
SHORT_STEMS = {"teuer": "teur", "dunkel": "dunkl", "müde": "müd"}
POSSESSIVES = dict(pairs("my=mein; your=dein; his=sein; her=ihr; our=unser; their=ihr"))
DER_WORDS = dict(pairs("this=dies; these=dies; that=dies; those=dies; which=welch"))
EIN_WORDS = dict(pairs("a=ein; not a=kein; any=kein; not=kein; no=kein")) | POSSESSIVES
PLURAL_WORDS = dict(pairs("some=einig; many=viel; how many=wie viel"))
CONTRACTIONS = {"in dem": "im", "in das": "ins", "an dem": "am", "zu dem": "zum", "zu der": "zur", "von dem": "vom"}
# The finite forms (ich, du, er, plural) that no rule gives; English modals name the German ones.
FINITE_TABLE = """sein=bin bist ist sind; haben=habe hast hat haben; wissen=weiß weißt weiß wissen;
    mögen=mag magst mag mögen; wollen=will willst will wollen; was=war warst war waren;
    will=werde wirst wird werden; going=werde wirst wird werden; can=kann kannst kann können;
    could=konnte konntest konnte konnten; should=sollte solltest sollte sollten; want=will willst will wollen;
    wanted=wollte wolltest wollte wollten; have=muss musst muss müssen; had=musste musstest musste mussten;
    need=muss musst muss müssen; must=muss musst muss müssen; may=darf darfst darf dürfen;
    would=möchte möchtest möchte möchten; order=möchte möchtest möchte möchten"""
FINITE = {name: forms.split() for name, forms in pairs(FINITE_TABLE)}
# Verbs whose German past is the preterite, also in speech: ich war, ich hatte, ich wusste.
PRETERITE_TABLE = """sein=war warst war waren; haben=hatte hattest hatte hatten; wissen=wusste wusstest wusste wussten;
    kennen=kannte kanntest kannte kannten; denken=dachte dachtest dachte dachten;
    mögen=mochte mochtest mochte mochten; wollen=wollte wolltest wollte wollten"""
PRETERITE = {name: forms.split() for name, forms in pairs(PRETERITE_TABLE)}
CATENATIVES = {"want": "want wants", "wanted": "want wants wanted", "have": "have has", "had": "have has had"}
CATENATIVES |= {"like": "like likes", "need": "need needs"}
PRESENTS = listed("present like liking progressive")  # English forms that are the German present
PASTS = listed("past was_doing perfect")  # English forms that are the German past
SMALL_EN = listed("""zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen""")
SMALL_DE = listed("""null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn
    sechzehn siebzehn achtzehn neunzehn""")
TENS_EN = listed("- - twenty thirty forty fifty sixty seventy eighty ninety")
TENS_DE = listed("- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig")
ORDINALS_EN = {1: "first", 2: "second", 3: "third", 5: "fifth", 8: "eighth", 9: "ninth", 12: "twelfth"}
ORDINALS_DE = {1: "erste", 3: "dritte", 7: "siebte", 8: "achte"}

# ---------------------------------------------------------------------------------------------- numbers


def number_en(n: int) -> str:
    """Write 0 to 99 in English words."""
    tens, ones = divmod(n, 10)
    return SMALL_EN[n] if n < 20 else TENS_EN[tens] + (f"-{SMALL_EN[ones]}" if ones else "")


def number_de(n: int) -> str:
    """Write 0 to 99 in German words: the ones stand before the tens."""
    tens, ones = divmod(n, 10)
    units = "ein" if ones == 1 else SMALL_DE[ones]
    return SMALL_DE[n] if n < 20 else (f"{units}und" if ones else "") + TENS_DE[tens]


def ordinal_en(n: int) -> str:
    """Write 1 to 99 as an English ordinal."""
    tens, ones = divmod(n, 10)
    if n < 20:
        return ORDINALS_EN.get(n, f"{SMALL_EN[n]}th")
    return f"{TENS_EN[tens]}-{ordinal_en(ones)}" if ones else f"{TENS_EN[tens][:-1]}ieth"


def ordinal_de(n: int) -> str:
    """Write 1 to 99 as a German ordinal: erste, zweite, ... zwanzigste."""
    return ORDINALS_DE.get(n, number_de(n) + ("te" if n < 20 else "ste"))


# -------------------------------------------------------------------------------------- English verbs

KEEP_E = ("ee", "oe", "ye")
DOUBLED = listed("begin forget travel")  # two syllables, doubled all the same


def gerund(base: str) -> str:
    """Give sleep -> sleeping, write -> writing, sit -> sitting, die -> dying, look for -> looking for."""
    verb, _, rest = base.partition(" ")
    if verb.endswith("ie"):
        stem = verb[:-2] + "y"
    elif verb.endswith("e") and verb != "be" and not verb.endswith(KEEP_E):
        stem = verb[:-1]
    elif verb in DOUBLED or re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", verb):
        stem = verb + verb[-1]
    else:
        stem = verb
    return join(f"{stem}ing", rest)


NEGATIVES = {
    aux: "can't" if aux == "can" else "won't" if aux == "will" else f"{aux}n't"
    for aux in listed("do does did is are was were have has will would can could should must")
}
CLITICS = {"am": "'m", "are": "'re", "is": "'s", "has": "'s", "have": "'ve", "will": "'ll", "would": "'d"}
FULL = {clitic: auxiliary for auxiliary, clitic in CLITICS.items()}


def key(text: str) -> str:
    """Give the same text for spellings of one sentence: case, stops and contractions make no difference."""
    text = re.sub(r"[.,?!]", "", text.casefold())
    if "'" in text:
        text = text.replace("can't", "cannot").replace("won't", "will not").replace("n't", " not")
        text = re.sub(r"('m|'re|'ve|'ll|'d)\b", lambda clitic: f" {FULL[clitic[0]]}", text)
    return re.sub(r"\b(he|she|it|that|what|where|who|there) (is|has)\b", r"\1's", text)


# -------------------------------------------------------------------------------------- German words


class Noun(NamedTuple):
    """A noun in both languages."""

    kind: str
    en: str
    en_plural: str
    gender: str
    de: str
    genitive: str
    de_plural: str

    def decline(self, case: int, plural: bool = False) -> str:
        """Give the German form; a genitive in -(e)n or -ns marks the weak nouns, with -(e)n in the dative too."""
        if plural:
            return self.de_plural + ("n" if case == DAT and self.de_plural[-1] not in "nsa" else "")
        weak = self.genitive in ("n", "en", "ns") and case != NOM
        ending = self.genitive if case == GEN else self.genitive.removesuffix("s")
        head, _, rest = self.de.partition(" ")
        return join(head + (ending if weak or case == GEN else ""), rest)


class Verb(NamedTuple):
    """A verb in both languages and the frame it stands in, as in VERB_TABLE."""

    en: list[str]
    lemma: str
    third: str
    perfect: str
    frame: str
    objects: list[str]
    marks: str

    @property
    def stem(self) -> Pair:
        """Give the separable prefix and the infinitive without it."""
        prefix, _, infinitive = self.lemma.removeprefix("sich_").rpartition("-")
        return prefix, infinitive

    @property
    def government(self) -> tuple[str, int]:
        """Give the preposition ("" if none) and the case of the object."""
        *preposition, case = self.frame.removeprefix("dat ").split() or [""]
        return "".join(preposition), DAT if case == "dat" else ACC

    def allows(self, tense: str) -> bool:
        """Tell whether the tense suits the verb; a past that looks like the present would be ambiguous."""
        marks = self.marks
        if tense in ("progressive", "was_doing"):
            return not any(mark in marks for mark in "svc") and self.frame != "be"
        if tense == "order":
            return self.lemma == "wollen"
        if tense == "past" and self.en[2] == self.en[0]:
            return False
        if "s" in marks or "v" in marks:
            return tense in ("present", "past") or (tense == "will" and "s" in marks)
        return "n" not in marks or tense in ("present", "past", "perfect", "will")

    def present(self, person: int) -> str:
        """Conjugate the German present, without the separable prefix."""
        infinitive = self.stem[1]
        you_form = self.third if self.third[-2] in "sßz" else self.third[:-1] + "st"
        regular = [infinitive.removesuffix("n").removesuffix("e") + "e", you_form, self.third, infinitive]
        return FINITE.get(infinitive, regular)[person]

    def imperative(self) -> str:
        """Give the German command to "du", without the separable prefix: komm, warte, lies, schlaf."""
        stem = self.stem[1].removesuffix("n").removesuffix("e")
        third = self.third.removesuffix("t")
        if "i" in third and not third.startswith(stem):  # lesen, liest: lies; but fahren, fährt: fahr
            return third
        return stem + ("e" if re.search(r"[dt]$|[^aeiouäöülrmnh][mn]$|er$", stem) else "")


@dataclass(frozen=True)
class Phrase:
    """A noun phrase: English subject and object, the German cases, and what agrees with it."""

    en: str
    en_object: str
    de: Sequence[str]
    person: int = HE_FORM
    gender: str = ""  # m, f, n or p
    owner: str = ""  # the possessive that refers back to it
    noun: str = ""
    kind: str = ""
    new: bool = False  # indefinite, so late in the German clause


class Kind(NamedTuple):
    """Nouns that go with the same determiners, adjectives and verbs."""

    determiners: list[str]
    qualities: list[str]
    nouns: list[Noun]


def read_noun(kind: str, entry: str) -> Noun:
    """Read one noun of NOUN_TABLE; one that has only a plural declines as a plural."""
    en, en_plural, article, de, genitive, plural = (word.replace("_", " ") for word in entry.split())
    gender = {"der": "m", "die": "f", "das": "n", "pl": "p"}[article]
    return Noun(kind, en, en_plural, gender, de, genitive.strip("-"), de if gender == "p" else plural)


def read_kind(record: str) -> tuple[str, Kind]:
    """Read one record of NOUN_TABLE."""
    name, determiners, qualities, table = (" ".join(column.split()) for column in record.split("|"))
    return name, Kind(determiners.split(), qualities.split(), [read_noun(name, entry) for entry in table.split(";")])


def read_verb(line: str) -> Verb:
    """Read one line of VERB_TABLE."""
    english, german, frame, objects, marks = (column.strip() for column in line.split("|"))
    forms = [form.replace("_", " ") for form in english.split()]
    lemma, third, perfect = german.split()
    return Verb(forms, lemma, third, perfect, frame, objects.split(), marks)


def read_pronoun(row: str) -> Phrase:
    """Read English subject and object, German cases, person, gender and possessive."""
    en, en_object, nominative, accusative, dative, person, gender, owner = row.replace("-", "").split(" ")
    return Phrase(en, en_object, (nominative, accusative, dative, ""), int(person), gender, owner, kind="pronoun")


KINDS = dict(read_kind(record) for record in re.split(r"\n(?=\w)", lexicon.NOUN_TABLE.strip()))
VERBS = [read_verb(line) for line in lexicon.VERB_TABLE.strip().splitlines()]
PRONOUN_TABLE = """I me ich mich mir 0 - my; you you du dich dir 1 - your; he him er ihn ihm 2 m his;
she her sie sie ihr 2 f her; we us wir uns uns 3 - our; they them sie sie ihnen 3 p their"""
IT_TABLE = "it it er ihn ihm 2 m -; it it sie sie ihr 2 f -; it it es es ihm 2 n -; they them sie sie ihnen 3 p -"
PRONOUNS = {row.owner: row for row in map(read_pronoun, re.split(r";\s", PRONOUN_TABLE))}
IT = {row.gender: row for row in map(read_pronoun, IT_TABLE.split("; "))}
WHO = Phrase("who", "whom", ("wer", "wen", "wem", "wessen"), kind="pronoun")
WHAT = Phrase("what", "what", ("was", "was", "", ""))
NOBODY = GAP = Phrase("", "", ("", "", "", ""))  # the unsaid subject of an infinitive; an object moved away


def german_genitive(name: str) -> str:
    """Give Anna -> Annas and Felix -> Felix'."""
    return name + ("'" if name[-1] in "sxzß" else "s")


def german_determiner(det: str, gender: str, case: int) -> Pair:
    """Give the German word of an English determiner and the declension of the adjectives after it."""
    if det == "the":
        return ARTICLE[gender][case], "weak"
    if det in DER_WORDS:
        return DER_WORDS[det] + DER_ENDINGS[gender][case], "weak"
    if det in EIN_WORDS:
        return EIN_WORDS[det] + EIN_ENDINGS[gender][case], "mixed"
    if det in PLURAL_WORDS and gender == "p":
        return PLURAL_WORDS[det] + DER_ENDINGS[gender][case], "strong"
    if det == "some":
        return "etwas", "strong"
    if det.endswith("'s"):
        return german_genitive(det.removesuffix("'s")), "strong"
    return number_de(int(det)) if det.isdigit() else det, "strong"


def english_determiner(det: str, following: str) -> str:
    """Write the English determiner; "not a" and "not" are those of a negated clause."""
    if det in ("a", "not a"):
        return "an" if following[0] in "aeiou" and not following.startswith("uni") else "a"
    return number_en(int(det)) if det.isdigit() else det.replace("not", "")


def noun_phrase(
    noun: Noun, det: str, adjectives: Sequence[str] = (), plural: bool = False, of: Phrase | None = None
) -> Phrase:
    """Build a noun phrase in all cases; `of` is an owner: the teacher's dog -> der Hund des Lehrers."""
    always_plural = noun.gender == "p"
    gender = "p" if plural else noun.gender

    def german(case: int) -> str:
        word, declension = german_determiner(det, gender, case)
        ending = ADJECTIVE_ENDINGS[declension][gender][case]
        inflected = [SHORT_STEMS.get(stem, stem) + ending for stem in map(ADJECTIVE.__getitem__, adjectives)]
        return join(word, *inflected, noun.decline(case, plural or always_plural), of.de[GEN] if of else "")

    described = join(*adjectives, noun.en_plural if plural else noun.en)
    en = join(f"{of.en}'s" if of else english_determiner(det, described), described)
    person, owner = PLURAL_FORM if gender == "p" else HE_FORM, {"m": "his", "f": "her", "p": "their"}.get(gender, "")
    new = det.isdigit() or det in ("", "a", "not a", "any", "not", "no", "some", "many")
    return Phrase(en, en, [german(case) for case in range(4)], person, gender, owner, noun.en, noun.kind, new)


def contract(preposition: str, phrase: str) -> str:
    """Join in + dem Park to im Park, zu + der Schule to zur Schule."""
    article, _, rest = phrase.partition(" ")
    start = f"{preposition} {article}"
    return join(CONTRACTIONS.get(start, start), rest)
