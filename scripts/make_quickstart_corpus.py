#!/usr/bin/env python3
"""Write a small English-German parallel corpus from a hand-written grammar.

    python scripts/make_quickstart_corpus.py OUT_DIR [--seed 1] [--train 24000] [--valid 500] [--test 1000]

The files are OUT_DIR/{train,valid,test}.{en,de}, one sentence per line.  The grammar asks for what
makes the pair hard: gender, case and adjective endings, verb-second and verb-final order, verb brackets and
separable verbs, negation, numbers and dates, and names to copy.  The English sentence always decides the German
one ("you" is "du", the simple past is the German perfect).

Some combinations of known words (see `is_held_out`) never stand in train; half of valid and test contain one.
The corpus depends on the seed alone: all chance comes from `random.Random.random`, which no Python changes.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")
listed = str.split  # a list of words, written as one string
Pair = tuple[str, str]

# ---------------------------------------------------------------------------------------------- the lexicon

# One record per kind: determiners ("own": of some owner, "bare": none), fitting adjectives, nouns.
# A noun: English singular and plural; German article, noun, genitive ending and plural ("-": none).
NOUN_TABLE = """
person | the the a this | young old nice clever famous rich hungry tired sick |
    man men der Mann es Männer; woman women die Frau - Frauen; policeman policemen der Polizist en Polizisten;
    farmer farmers der Bauer n Bauern
fellow | the the a this own own | nice clever funny hungry tired sick |
    child children das Kind es Kinder; teacher teachers der Lehrer s Lehrer; doctor doctors der Arzt es Ärzte;
    student students der Student en Studenten; neighbour neighbours der Nachbar n Nachbarn;
    friend friends der Freund es Freunde; colleague colleagues der Kollege n Kollegen;
    guest guests der Gast es Gäste
youth | the the a this | nice clever funny hungry tired sick |
    girl girls das Mädchen s Mädchen; boy boys der Junge n Jungen
kin | own | nice clever funny hungry tired sick |
    brother brothers der Bruder s Brüder; sister sisters die Schwester - Schwestern; father - der Vater s -;
    mother - die Mutter - -; son sons der Sohn es Söhne; daughter daughters die Tochter - Töchter;
    uncle uncles der Onkel s Onkel; aunt aunts die Tante - Tanten
animal | the the a a this own | young old small big hungry sick black white brown |
    dog dogs der Hund es Hunde; cat cats die Katze - Katzen; horse horses das Pferd es Pferde;
    bird birds der Vogel s Vögel; mouse mice die Maus - Mäuse
text | the the a a this own | long short interesting boring new old |
    book books das Buch es Bücher; letter letters der Brief es Briefe; report reports der Bericht s Berichte;
    story stories die Geschichte - Geschichten; poem poems das Gedicht s Gedichte
food | the the a a this own | fresh good small big cheap |
    apple apples der Apfel s Äpfel; egg eggs das Ei s Eier; potato potatoes die Kartoffel - Kartoffeln;
    cake cakes der Kuchen s Kuchen; sausage sausages die Wurst - Würste
substance | the bare bare own | fresh good cheap expensive |
    bread - das Brot s -; meat - das Fleisch s -; butter - die Butter - -
drink | the bare bare own | cold warm hot good |
    coffee - der Kaffee s -; milk - die Milch - -; water - das Wasser s -
thing | the the a a this own | new old big small expensive cheap black white green |
    key keys der Schlüssel s Schlüssel; knife knives das Messer s Messer; camera cameras die Kamera - Kameras;
    umbrella umbrellas der Regenschirm s Regenschirme; picture pictures das Bild es Bilder;
    lamp lamps die Lampe - Lampen; cup cups die Tasse - Tassen; glass glasses das Glas es Gläser
machine | the the a a this own | new old small big expensive cheap broken red white |
    car cars das Auto s Autos; bicycle bicycles das Fahrrad s Fahrräder; clock clocks die Uhr - Uhren;
    computer computers der Computer s Computer
cloth | the the a a this own | new old warm clean dirty beautiful expensive cheap red blue green black white |
    coat coats der Mantel s Mäntel; shirt shirts das Hemd es Hemden; dress dresses das Kleid es Kleider;
    hat hats der Hut es Hüte; jacket jackets die Jacke - Jacken; shoe shoes der Schuh s Schuhe
opening | the the this own | new old small big heavy dirty green white brown |
    door doors die Tür - Türen; window windows das Fenster s Fenster; box boxes die Kiste - Kisten
inside | the the a this | small big dark beautiful old |
    kitchen - die Küche - -; garden - der Garten s -; cellar - der Keller s -; forest - der Wald es -
venue | the the a this | new old small big beautiful famous |
    park - der Park s -; museum - das Museum s -; library - die Bibliothek - -; hotel - das Hotel s -;
    school - die Schule - -; church - die Kirche - -
stop | the the a this | new old small big |
    station - der Bahnhof s -; airport - der Flughafen s -
event | the the this own | long short beautiful boring interesting |
    concert concerts das Konzert s Konzerte; party parties die Feier - Feiern; trip trips die Reise - Reisen;
    exam exams die Prüfung - Prüfungen
birthday | own | |
    birthday - der Geburtstag s -
"""
ADJECTIVES = """old=alt; new=neu; young=jung; big=groß; small=klein; long=lang; short=kurz; cold=kalt; warm=warm;
    hot=heiß; fresh=frisch; good=gut; beautiful=schön; nice=nett; expensive=teuer; cheap=billig; heavy=schwer;
    dark=dunkel; clean=sauber; dirty=schmutzig; interesting=interessant; boring=langweilig; famous=berühmt;
    clever=klug; funny=lustig; rich=reich; hungry=hungrig; sick=krank; broken=kaputt; happy=glücklich; sad=traurig;
    tired=müde; proud=stolz; angry=wütend; red=rot; blue=blau; green=grün; black=schwarz; white=weiß; brown=braun"""
HUMAN = listed("person fellow youth")
COLOURS = listed("red blue green black white brown")
MOODS = listed("happy sad proud angry")
REASONS = listed("tired hungry sick happy sad angry")
# English base, third person, past, participle | German infinitive, third person, participle | frame | objects | marks
# Marks: p in some place, m quickly or slowly, w with somebody, t by some transport, n not at will (so no modal verb),
# s a lasting state (so only the present), x a pronoun stands before the particle (pick him up).
VERB_TABLE = """
buy buys bought bought | kaufen kauft gekauft | acc | text food substance thing machine cloth |
read reads read read | lesen liest gelesen | acc | text | pm
write writes wrote written | schreiben schreibt geschrieben | acc | text | pm
eat eats ate eaten | essen isst gegessen | acc | food substance | pm
drink drinks drank drunk | trinken trinkt getrunken | acc | drink | pm
see sees saw seen | sehen sieht gesehen | acc | people animal | pn
find finds found found | finden findet gefunden | acc | thing animal | pn
look_for looks_for looked_for looked_for | suchen sucht gesucht | acc | people animal thing | p
lose loses lost lost | verlieren verliert verloren | acc | thing | pn
open opens opened opened | auf-machen macht aufgemacht | acc | opening | m
close closes closed closed | zu-machen macht zugemacht | acc | opening | m
wash washes washed washed | waschen wäscht gewaschen | acc | cloth animal | m
repair repairs repaired repaired | reparieren repariert repariert | acc | machine opening | m
put_on puts_on put_on put_on | an-ziehen zieht angezogen | acc | cloth | mx
take_off takes_off took_off taken_off | aus-ziehen zieht ausgezogen | acc | cloth | mx
bring_along brings_along brought_along brought_along | mit-bringen bringt mitgebracht | acc | food thing | x
call calls called called | an-rufen ruft angerufen | acc | people |
invite invites invited invited | ein-laden lädt eingeladen | acc | people |
visit visits visited visited | besuchen besucht besucht | acc | people | w
pick_up picks_up picked_up picked_up | ab-holen holt abgeholt | acc | people | wx
meet meets met met | treffen trifft getroffen | acc | people | p
ask asks asked asked | fragen fragt gefragt | acc | people |
love loves loved loved | lieben liebt geliebt | acc | people animal | s
know knows knew known | kennen kennt gekannt | acc | people text | s
have has had had | haben hat gehabt | acc | animal machine cloth thing | s
need needs needed needed | brauchen braucht gebraucht | acc | thing machine cloth | s
help helps helped helped | helfen hilft geholfen | dat | people | p
thank thanks thanked thanked | danken dankt gedankt | dat | people |
follow follows followed followed | folgen folgt ist_gefolgt | dat | people animal | m
give gives gave given | geben gibt gegeben | dat acc | food thing cloth |
show shows showed shown | zeigen zeigt gezeigt | dat acc | text thing animal |
send sends sent sent | schicken schickt geschickt | dat acc | text thing |
bring brings brought brought | bringen bringt gebracht | dat acc | drink food thing |
wait_for waits_for waited_for waited_for | warten wartet gewartet | auf acc | people | p
think_of thinks_of thought_of thought_of | denken denkt gedacht | an acc | people event | n
talk_to talks_to talked_to talked_to | sprechen spricht gesprochen | mit dat | people | p
talk_about talks_about talked_about talked_about | sprechen spricht gesprochen | über acc | people text event | p
play_with plays_with played_with played_with | spielen spielt gespielt | mit dat | animal | p
remember remembers remembered remembered | sich_erinnern erinnert erinnert | an acc | people event text | n
work works worked worked | arbeiten arbeitet gearbeitet | | | pw
sleep sleeps slept slept | schlafen schläft geschlafen | | | p
sing sings sang sung | singen singt gesungen | | | pw
dance dances danced danced | tanzen tanzt getanzt | | | pw
rest rests rested rested | sich_aus-ruhen ruht ausgeruht | | | p
get_up gets_up got_up got_up | auf-stehen steht ist_aufgestanden | | |
go_shopping goes_shopping went_shopping gone_shopping | ein-kaufen kauft eingekauft | | | w
fall_asleep falls_asleep fell_asleep fallen_asleep | ein-schlafen schläft ist_eingeschlafen | | | n
come_back comes_back came_back come_back | zurück-kommen kommt ist_zurückgekommen | | | n
go goes went gone | gehen geht ist_gegangen | goal | | w
run runs ran run | laufen läuft ist_gelaufen | goal | | m
travel travels travelled travelled | reisen reist ist_gereist | to | | tw
fly flies flew flown | fliegen fliegt ist_geflogen | to | | w
stay stays stayed stayed | bleiben bleibt ist_geblieben | place | | w
live lives lived lived | wohnen wohnt gewohnt | in | | s
come comes came come | kommen kommt ist_gekommen | from | | s
say says said said | sagen sagt gesagt | that | | s
hope hopes hoped hoped | hoffen hofft gehofft | that | | s
believe believes believed believed | glauben glaubt geglaubt | that | | s
know knows knew known | wissen weiß gewusst | that | | s
know knows knew known | wissen weiß gewusst | whether | | s
wonder wonders wondered wondered | sich_fragen fragt gefragt | whether | | s
try tries tried tried | versuchen versucht versucht | infinitive | | n
forget forgets forgot forgotten | vergessen vergisst vergessen | infinitive | | n
promise promises promised promised | versprechen verspricht versprochen | infinitive | | n
begin begins began begun | an-fangen fängt angefangen | infinitive | | n
be is was been | sein ist ist_gewesen | be | | n
"""
WOMEN = listed("""Anna Maria Julia Laura Lena Sophie Emma Clara Paula Nina Eva Lisa Sarah Helga Ingrid Monika Petra
    Sabine Karin Birgit Greta Ida Martha Ruth""")
MEN = listed("""Peter Thomas Paul Jonas Lukas Felix Max Leon Tim Jan Karl Hans Martin Stefan Andreas Klaus Uwe Otto
    Emil Anton Oskar Erik David Simon""")
CITIES = """Berlin=Berlin; Hamburg=Hamburg; Munich=München; Cologne=Köln; Vienna=Wien; Zurich=Zürich; Prague=Prag;
    Rome=Rom; Venice=Venedig; Paris=Paris; London=London; Warsaw=Warschau; Lisbon=Lissabon; Dresden=Dresden;
    Leipzig=Leipzig; Oslo=Oslo"""
SYLLABLES = (
    listed("Bra Dol Fen Gri Kel Lum Mor Nev Pra Sil Tor Vel"),
    listed("a e i o u"),
    listed("ka la mo na ro ta vo"),
)
TIMES = {
    "habit": """every morning=jeden Morgen; every evening=jeden Abend; every day=jeden Tag; every week=jede Woche;
        in the morning=am Morgen; in the evening=am Abend; at the weekend=am Wochenende; in summer=im Sommer;
        in winter=im Winter; on Mondays=montags; on Fridays=freitags; on Sundays=sonntags""",
    "past": """yesterday=gestern; yesterday evening=gestern Abend; this morning=heute Morgen; last week=letzte Woche;
        last Saturday=letzten Samstag; last summer=letzten Sommer; on Monday=am Montag; on Friday=am Freitag;
        on Thursday=am Donnerstag; before the concert=vor dem Konzert; during the trip=während der Reise""",
    "future": """tomorrow=morgen; tomorrow morning=morgen früh; tomorrow evening=morgen Abend; on Tuesday=am Dienstag;
        this evening=heute Abend; next week=nächste Woche; next Saturday=nächsten Samstag; on Sunday=am Sonntag;
        on Wednesday=am Mittwoch; after the exam=nach der Prüfung; during the concert=während des Konzerts""",
    "now": "today=heute; this week=diese Woche; at the moment=im Moment; now=jetzt",
}
HABITS = "often=oft; always=immer; sometimes=manchmal; rarely=selten; usually=meistens; never=nie"
PERFECT_ADVERBS = "already=schon; just=gerade; never=noch nie"
MANNERS = {
    "m": "quickly=schnell; slowly=langsam",
    "t": "by train=mit dem Zug; by car=mit dem Auto; by bus=mit dem Bus",
}
MONTHS = """January=Januar; February=Februar; March=März; April=April; May=Mai; June=Juni; July=Juli; August=August;
    September=September; October=Oktober; November=November; December=Dezember"""
UNITS = "hours=Stunden; days=Tagen; weeks=Wochen"
CONDITIONS = """it rains=es regnet; it snows=es schneit; the sun shines=die Sonne scheint; it is cold=es kalt ist;
    the weather is nice=das Wetter schön ist"""
JUDGEMENTS = "important=wichtig; difficult=schwierig; easy=einfach; necessary=nötig"
PLACES = {
    "inside place": ("in", "in"),
    "inside goal": ("into", "in"),
    "venue place": ("in", "in"),
    "venue goal": ("to", "in"),
    "stop place": ("at", "an"),
    "stop goal": ("to", "zu"),
}
CITY_PREPOSITIONS = {"to": "nach", "in": "in", "from": "aus"}

# ------------------------------------------------------------------------------------------- words and forms

NOM, ACC, DAT, GEN = range(4)
I_FORM, YOU_FORM, HE_FORM, PLURAL_FORM = range(4)


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
ADJECTIVE = dict(pairs(ADJECTIVES))
SHORT_STEMS = {"teuer": "teur", "dunkel": "dunkl", "müde": "müd"}
POSSESSIVES = dict(pairs("my=mein; your=dein; his=sein; her=ihr; our=unser; their=ihr"))
DER_WORDS = dict(pairs("this=dies; these=dies; which=welch"))
EIN_WORDS = dict(pairs("a=ein; not a=kein; any=kein")) | POSSESSIVES
CONTRACTIONS = {"in dem": "im", "in das": "ins", "an dem": "am", "zu dem": "zum", "zu der": "zur"}
# The finite forms (ich, du, er, plural) that no rule gives; English modals name the German ones.
FINITE_TABLE = """sein=bin bist ist sind; haben=habe hast hat haben; wissen=weiß weißt weiß wissen;
    was=war warst war waren; will=werde wirst wird werden; can=kann kannst kann können;
    could=konnte konntest konnte konnten; should=sollte solltest sollte sollten; want=will willst will wollen;
    wanted=wollte wolltest wollte wollten; have=muss musst muss müssen; had=musste musstest musste mussten"""
FINITE = {name: forms.split() for name, forms in pairs(FINITE_TABLE)}
CATENATIVES = {"want": "want wants", "wanted": "want wants wanted", "have": "have has", "had": "have has had"}
CATENATIVES["like"] = "like likes"
SMALL_EN = listed("""zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen""")
SMALL_DE = listed("""null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn
    sechzehn siebzehn achtzehn neunzehn""")
TENS_EN = listed("- - twenty thirty forty fifty sixty seventy eighty ninety")
TENS_DE = listed("- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig")
ORDINALS_EN = {1: "first", 2: "second", 3: "third", 5: "fifth", 8: "eighth", 9: "ninth", 12: "twelfth"}
ORDINALS_DE = {1: "erste", 3: "dritte", 7: "siebte", 8: "achte"}


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
        """Give the German form; a genitive in -(e)n marks the weak nouns, with -(e)n in the dative too."""
        if plural:
            return self.de_plural + ("n" if case == DAT and self.de_plural[-1] not in "ns" else "")
        weak = self.genitive in ("n", "en") and case != NOM
        return self.de + (self.genitive if weak or case == GEN else "")


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
        if "s" in self.marks:
            return tense == "present"
        if "n" in self.marks:
            return tense in ("present", "past", "perfect", "will")
        return tense != "past" or self.en[2] != self.en[0]

    def present(self, person: int) -> str:
        """Conjugate the German present, without the separable prefix."""
        infinitive = self.stem[1]
        you_form = self.third if self.third[-2] in "sßz" else self.third[:-1] + "st"
        regular = [infinitive.removesuffix("n").removesuffix("e") + "e", you_form, self.third, infinitive]
        return FINITE.get(infinitive, regular)[person]


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


def read_kind(record: str) -> tuple[str, Kind]:
    """Read one record of NOUN_TABLE."""
    name, determiners, qualities, table = (" ".join(column.split()) for column in record.split("|"))
    nouns = []
    for en, en_plural, article, de, genitive, plural in (entry.split() for entry in table.split(";")):
        gender = {"der": "m", "die": "f", "das": "n"}[article]
        nouns.append(Noun(name, en, en_plural, gender, de, genitive.strip("-"), plural))
    return name, Kind(determiners.split(), qualities.split(), nouns)


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


KINDS = dict(read_kind(record) for record in re.split(r"\n(?=\w)", NOUN_TABLE.strip()))
VERBS = [read_verb(line) for line in VERB_TABLE.strip().splitlines()]
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
    if det.endswith("'s"):
        return german_genitive(det.removesuffix("'s")), "strong"
    return number_de(int(det)) if det.isdigit() else det.replace("how many", "wie viele"), "strong"


def noun_phrase(
    noun: Noun, det: str, adjectives: Sequence[str] = (), plural: bool = False, of: Phrase | None = None
) -> Phrase:
    """Build a noun phrase in all cases; `of` is an owner: the teacher's dog -> der Hund des Lehrers."""
    gender = "p" if plural else noun.gender

    def german(case: int) -> str:
        word, declension = german_determiner(det, gender, case)
        ending = ADJECTIVE_ENDINGS[declension][gender][case]
        inflected = [SHORT_STEMS.get(stem, stem) + ending for stem in map(ADJECTIVE.__getitem__, adjectives)]
        return join(word, *inflected, noun.decline(case, plural), of.de[GEN] if of else "")

    described = join(*adjectives, noun.en_plural if plural else noun.en)
    article = "an" if described[0] in "aeiou" else "a"
    word = article if det in ("a", "not a") else number_en(int(det)) if det.isdigit() else det
    en = join(f"{of.en}'s" if of else word, described)
    person, owner = PLURAL_FORM if plural else HE_FORM, {"m": "his", "f": "her", "p": "their"}.get(gender, "")
    new = det.isdigit() or det in ("", "a", "not a", "any")
    return Phrase(en, en, [german(case) for case in range(4)], person, gender, owner, noun.en, noun.kind, new)


def contract(preposition: str, phrase: str) -> str:
    """Join in + dem Park to im Park, zu + der Schule to zur Schule."""
    article, _, rest = phrase.partition(" ")
    start = f"{preposition} {article}"
    return f"{CONTRACTIONS.get(start, start)} {rest}"


# --------------------------------------------------------------------------------------------------- clauses

ENGLISH_ORDER = listed("indirect direct goal manner place time end")
GERMAN_ORDER = listed("pronoun indirect known time direct not manner place new goal")


class Part(NamedTuple):
    """A part of a clause: its words and its slot in both languages."""

    en: str
    de: str
    en_slot: str
    de_slot: str


NOT = Part("", "nicht", "", "not")


@dataclass(frozen=True)
class Clause:
    """A bag of parts around a verb: the two languages sort the same bag, each by its own order."""

    subject: Phrase
    verb: Verb
    tense: str
    parts: Sequence[Part]
    negated: bool = False

    def english_parts(self, *slots: str) -> str:
        """Write the parts in these English slots, in order."""
        return join(*(part.en for slot in slots for part in self.parts if part.en_slot == slot))

    def german_parts(self, *slots: str) -> str:
        """Write the parts in these German slots, in order."""
        return join(*(part.de for slot in slots for part in self.parts if part.de_slot == slot))

    def english_verb(self, support: bool) -> Pair:
        """Give the English auxiliary (do, where one is needed) and the rest of the verb."""
        base, third, past, participle = self.verb.en
        he, tense = self.subject.person == HE_FORM, self.tense
        if tense == "perfect":
            return "has" if he else "have", participle
        if tense in ("will", "can", "could", "should"):
            return tense, base
        if base == "be":
            present, was = {I_FORM: ("am", "was"), HE_FORM: ("is", "was")}.get(self.subject.person, ("are", "were"))
            return was if tense == "past" else present, ""
        if tense != "past":
            past = ""
        if tense in CATENATIVES:
            base, third, past, *_ = (*(f"{form} to {base}" for form in CATENATIVES[tense].split()), "")
        if support:
            return "did" if past else "does" if he else "do", base
        return "", past or (third if he else base)

    def english(self, front: str = "", inverted: bool = False) -> str:
        """Write the English clause, in the order of a question when inverted."""
        auxiliary, verb = self.english_verb(inverted or self.negated)
        head = (auxiliary, self.subject.en) if inverted else (self.subject.en, auxiliary)
        text = join(front, *head, "not" if self.negated else "", self.english_parts("mid"))
        return join(text, self.english_predicate(verb)).replace("can not", "cannot")

    def english_predicate(self, verb: str) -> str:
        """Write the verb and what follows; a pronoun goes before a particle: pick him up."""
        start, _, particle = verb.rpartition(" ")
        inside = self.english_parts("inside")
        verb = join(start, inside, particle) if inside else verb
        return join(verb, self.english_parts(*ENGLISH_ORDER))

    def german_verb(self) -> Pair:
        """Give the finite German verb and the word that closes the bracket."""
        person, tense, (prefix, infinitive) = self.subject.person, self.tense, self.verb.stem
        if tense in ("present", "like"):
            return self.verb.present(person), prefix
        if tense == "past" and infinitive == "sein":
            return FINITE["was"][person], ""
        if tense in ("past", "perfect"):
            auxiliary, _, participle = self.verb.perfect.rpartition("_")
            return FINITE["sein" if auxiliary else "haben"][person], participle
        return FINITE[tense][person], prefix + infinitive

    def german(self, front: str = "", inverted: bool = False) -> str:
        """Write a German main clause: inverted, the verb is second after a front and first without one."""
        finite, closing = self.german_verb()
        if inverted:
            return join(front, finite, self.german_field(), closing)
        return join(self.subject.de[NOM], finite, self.german_parts("reflexive", *GERMAN_ORDER), closing)

    def german_field(self) -> str:
        """Write the subject and the parts where the verb does not divide them: sich goes before a noun."""
        subject, reflexive = self.subject.de[NOM], self.german_parts("reflexive")
        head = (subject, reflexive) if self.subject.kind == "pronoun" else (reflexive, subject)
        return join(*head, self.german_parts(*GERMAN_ORDER))

    def german_final(self) -> str:
        """Write a German subordinate clause: the finite verb is last, and takes its prefix back."""
        finite, closing = self.german_verb()
        verb = closing + finite if self.tense in ("present", "like") else join(closing, finite)
        return join(self.german_field(), verb)

    def infinitives(self, en: str = "to", de: str = "") -> Pair:
        """Write "to open the window" and "das Fenster aufzumachen"."""
        prefix, infinitive = self.verb.stem
        zu = f"{prefix}zu{infinitive}" if prefix else f"zu {infinitive}"
        parts = self.german_parts("reflexive", *GERMAN_ORDER)
        return join(en, self.english_predicate(self.verb.en[0])), join(de, parts, zu)


def subordinate(conjunction: Pair, clause: Clause) -> Pair:
    """Write a subordinate clause in both languages."""
    return f"{conjunction[0]} {clause.english()}", f"{conjunction[1]} {clause.german_final()}"


def attach(main: Clause, sub: Pair, first: bool = False) -> Pair:
    """Join two clauses; a subordinate clause that comes first inverts the German main clause."""
    if first:
        return f"{sub[0]}, {main.english()}", main.german(f"{sub[1]},", inverted=True)
    return f"{main.english()} {sub[0]}", f"{main.german()}, {sub[1]}"


# ------------------------------------------------------------------------------------------------- sentences

HOLD_OUT = 8  # one combination in so many is kept out of train


def is_held_out(combo: str) -> bool:
    """Tell whether a combination ("adjective:red coat", "object:buy coat", "number:21", ...) is kept from train."""
    return not combo.startswith("name:") and zlib.crc32(combo.encode()) % HOLD_OUT == 0


class Sentence(NamedTuple):
    """A sentence pair and the combinations in it."""

    en: str
    de: str
    combos: frozenset[str]

    @property
    def held_out(self) -> bool:
        """Tell whether the pair contains a combination that train lacks."""
        return any(map(is_held_out, self.combos))

    def words(self) -> set[str]:
        """Give the words of both sides."""
        return set(re.findall(r"[^\s.,?]+", f"{self.en} {self.de}"))

    def fresh_words(self) -> set[str]:
        """Give the words that train may lack: made-up names and held-out compound numbers."""
        fresh = {combo.removeprefix("name:") for combo in self.combos if combo.startswith("name:")}
        numbers = [combo for combo in self.combos if combo.startswith("number:") and is_held_out(combo)]
        for n in (int(combo.removeprefix("number:")) for combo in numbers):
            fresh |= {number_en(n), number_de(n)}
        return fresh


PRESENT_TENSES = listed("present present perfect will can should want have")
PAST_TENSES = listed("past past past wanted had")
WHEN_TENSES = listed("past past will should want")
ALL_TENSES = [*PRESENT_TENSES, *PAST_TENSES, "present", "past", "like"]
ACTIONS = [verb for verb in VERBS if verb.frame not in ("that", "whether", "infinitive", "be")]
DEEDS = [verb for verb in ACTIONS if not set(verb.marks) & set("ns")]
OBJECT_VERBS = [verb for verb in ACTIONS if verb.objects and verb.frame != "dat acc"]


def declare(clause: Clause) -> Pair:
    """Write a main clause in both languages."""
    return clause.english(), clause.german()


def ask(clause: Clause, en: str = "", de: str = "") -> Pair:
    """Write a question, with the question word in front."""
    return f"{clause.english(en, inverted=True)}?", f"{clause.german(de, inverted=True)}?"


def verbs_of(*frames: str) -> list[Verb]:
    """Give the verbs that stand in one of these frames."""
    return [verb for verb in VERBS if verb.frame in frames]


class Grammar:
    """Makes random sentences and notes the combinations in each."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.combos: set[str] = set()

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.random.random() * len(options))]

    def pick_pair(self, table: str) -> Pair:
        return self.pick(pairs(table))

    def number(self, low: int, high: int) -> int:
        """Choose a number from low to high; those that German builds from two words are combinations."""
        n = self.pick(range(low, high + 1))
        self.combos.update([f"number:{n}"] if n > 20 and n % 10 else [])
        return n

    # Noun phrases.

    def adjectives(self, noun: Noun) -> list[str]:
        """Choose none, one, or two adjectives (the second a colour) that suit a noun."""
        qualities = KINDS[noun.kind].qualities
        chosen = [self.pick(qualities)] if qualities and self.chance(0.35) else []
        colours = [quality for quality in qualities if quality in COLOURS]
        if chosen and colours and chosen[0] not in COLOURS and self.chance(0.2):
            chosen.append(self.pick(colours))
        self.combos.update(f"adjective:{adjective} {noun.en}" for adjective in chosen)
        return chosen

    def noun(self, kind: str, other: Phrase = NOBODY, mode: str = "", bare: bool = False) -> Phrase:
        """Choose a noun phrase; the mode is "the", "definite" or "negated" (kein), bare is without adjectives."""
        noun = self.pick([noun for noun in KINDS[kind].nouns if noun.en != other.noun])
        plural = noun.en_plural != "-" and self.chance(0.3)
        adjectives = [] if bare else self.adjectives(noun)
        det = mode if mode == "the" else self.pick(KINDS[kind].determiners)
        if det == "own":
            return self.owned(noun, adjectives, plural, other)
        if det in ("a", "bare"):
            many = plural or det == "bare"
            if mode:
                det = "the" if mode == "definite" else "any" if many else "not a"
            else:
                det = self.count(kind) if many else "a"
        return noun_phrase(noun, "these" if plural and det == "this" else det, adjectives, plural)

    def count(self, kind: str) -> str:
        """Choose a number for many things, or none."""
        if kind in HUMAN:
            return str(self.number(2, 12))
        counted = kind in ("text", "food", "thing", "cloth") and self.chance(0.6)
        return str(self.number(2, self.pick((12, 99)))) if counted else ""

    def owned(self, noun: Noun, adjectives: list[str], plural: bool, other: Phrase) -> Phrase:
        """Give the noun an owner: a possessive (often that of `other`), a name or another noun."""
        form, possessive = self.random.random(), self.pick(list(POSSESSIVES))
        if form < 0.75:
            return noun_phrase(noun, (form < 0.5 and other.owner) or possessive, adjectives, plural)
        if form < 0.85:
            name = self.pick([name for name in WOMEN + MEN if name not in other.en])
            return noun_phrase(noun, f"{name}'s", adjectives, plural)
        owners = [owner for kind in (*HUMAN, "kin") for owner in KINDS[kind].nouns]
        owner = self.pick([owner for owner in owners if owner.en not in (noun.en, other.noun)])
        of = noun_phrase(owner, possessive if owner.kind == "kin" else "the")
        return noun_phrase(noun, "the", adjectives, plural, of)

    def named(self, other: Phrase) -> Phrase:
        """Choose somebody by name; one in twenty is made up, so that copying must be learned by pieces."""
        form = self.random.random()
        woman, man = (self.pick([name for name in names if name not in other.en]) for names in (WOMEN, MEN))
        if form < 0.05:
            name = "".join(map(self.pick, SYLLABLES))
            self.combos.add(f"name:{name}")
            return Phrase(name, name, [name] * 4)
        if form < 0.15:
            couple = f"{woman} and {man}"
            return Phrase(couple, couple, [f"{woman} und {man}"] * 4, PLURAL_FORM, owner="their")
        name, owner = (woman, "her") if form < 0.57 else (man, "his")
        return Phrase(name, name, [name] * 4, owner=owner)

    def person(self, other: Phrase = NOBODY, mode: str = "") -> Phrase:
        """Choose a subject, or an object that is not the subject `other`."""
        form = self.random.random()
        if form < 0.3:
            taken = ("my", "our") if other.owner in ("my", "our") else (other.owner,)
            return self.pick([phrase for owner, phrase in PRONOUNS.items() if owner not in taken])
        if form < 0.6:
            return self.named(other)
        return self.noun(self.pick(("person", "fellow", "fellow", "youth", "kin")), other, mode)

    def hero(self) -> Phrase:
        """Choose the first subject of a sentence, such that a pronoun can refer to it."""
        while not (subject := self.person()).owner:
            self.combos.clear()
        return subject

    def second(self, first: Phrase, probability: float) -> Phrase:
        """Choose the subject of a second clause: often the pronoun for that of the first."""
        return PRONOUNS[first.owner] if self.chance(probability) else self.person(first)

    # Parts of clauses.

    def place(self, slot: str) -> Part:
        """Say where (in der Schule) or, as a goal, where to (in die Schule, zum Bahnhof)."""
        goal = slot == "goal"
        if self.chance(0.12):
            return Part("home", "nach Hause", slot, slot) if goal else Part("at home", "zu Hause", slot, slot)
        phrase = self.noun(self.pick(("inside", "venue", "venue", "stop")))
        en, de = PLACES[f"{phrase.kind} {slot}"]
        return Part(f"{en} {phrase.en}", contract(de, phrase.de[ACC if goal and de == "in" else DAT]), slot, slot)

    def date(self) -> Pair:
        """Choose a date: on the third of May, am dritten Mai."""
        day, month = self.pick(range(1, 31)), self.pick_pair(MONTHS)
        self.combos.add(f"date:{day} {month[0]}")
        return f"on the {ordinal_en(day)} of {month[0]}", f"am {ordinal_de(day)}n {month[1]}"

    def adverb(self, table: str) -> Part:
        """Choose an adverb that stands before the English verb; some take the place of nicht."""
        en, de = self.pick_pair(table)
        return Part(en, de, "mid", "not" if en in ("already", "just", "never") else "time")

    def time(self, group: str) -> Part:
        """Choose a time that suits a group of tenses."""
        form, n = self.random.random(), self.number(2, 12)
        if group == "now" or form < 0.55:
            en, de = self.pick_pair(TIMES[group])
        elif form < 0.7:
            en, de = f"at {number_en(n)} o'clock", f"um {number_de(n)} Uhr"
        elif group == "habit":
            return self.adverb(HABITS)
        elif form < 0.85:
            en, de = self.date()
        else:
            en, de = self.pick_pair(UNITS)
            en = f"in {number_en(n)} {en}" if group == "future" else f"{number_en(n)} {en} ago"
            de = f"{'in' if group == 'future' else 'vor'} {number_de(n)} {de}"
        return Part(en, de, "time", "time")

    def direct_object(self, verb: Verb, subject: Phrase, given: Phrase | None, mode: str) -> Part:
        """Choose an object (or take the given one) and put it into the case that the verb governs."""
        kind, (preposition, case) = self.pick(verb.objects), verb.government
        phrase = given or (self.person(subject, mode) if kind == "people" else self.noun(kind, subject, mode))
        self.combos.update([f"object:{verb.en[0]} {phrase.noun}"] if phrase.noun else [])
        slot = "new" if phrase.new else "known" if mode else "direct"
        slot = "goal" if preposition else "pronoun" if phrase.kind == "pronoun" else slot
        en_slot = "inside" if slot == "pronoun" and "x" in verb.marks else "direct"
        return Part(phrase.en_object, join(preposition, phrase.de[case]), en_slot, slot)

    def complements(self, verb: Verb, subject: Phrase, given: Phrase | None, mode: str) -> Iterator[Part]:
        """Give the parts that the verb's frame asks for."""
        if verb.lemma.startswith("sich_"):
            yield Part("", {"I": "mich", "you": "dich", "we": "uns"}.get(subject.en, "sich"), "", "reflexive")
        if verb.frame == "dat acc":
            person = self.person(subject, "definite")
            slot = "pronoun" if person.kind == "pronoun" else "indirect"
            yield Part(person.en_object, person.de[DAT], "indirect", slot)
        if verb.objects and given is not GAP:
            yield self.direct_object(verb, subject, given, mode)
        if verb.frame in ("goal", "place") and given is not GAP:
            yield self.place(verb.frame)
        elif verb.frame in CITY_PREPOSITIONS and given is not GAP:
            en, de = self.pick_pair(CITIES)
            yield Part(f"{verb.frame} {en}", f"{CITY_PREPOSITIONS[verb.frame]} {de}", "goal", "goal")

    def circumstances(self, clause: Clause, allow: str) -> Iterator[Part]:
        """Give manner, place and time as verb and tense allow."""
        marks, tense, negated = set(clause.verb.marks), clause.tense, clause.negated
        manners = [mark for mark in "mwt" if mark in marks and not negated and tense not in ("perfect", "like")]
        manner = self.pick(manners) if manners and "details" in allow and self.chance(0.4) else ""
        if manner == "w":
            phrase = self.person(clause.subject)
            yield Part(f"with {phrase.en_object}", f"mit {phrase.de[DAT]}", "manner", "manner")
        elif manner:
            yield Part(*self.pick_pair(MANNERS[manner]), "manner", "manner")
        if "p" in marks and "details" in allow and self.chance(0.3):
            yield self.place("place")
        if tense == "like":
            yield Part("", "gern", "", "time")
        elif tense == "perfect":
            yield Part("yet", "", "end", "") if negated else self.adverb(PERFECT_ADVERBS)
        elif "time" in allow and self.chance(0.65) and (tense != "present" or not marks & set("ns")):
            group = "past" if tense in (*PAST_TENSES, "could") else "future"
            yield self.time(group if tense != "present" else "now" if negated else "habit")

    def clause(
        self,
        subject: Phrase | None = None,
        tenses: Sequence[str] = ALL_TENSES,
        verbs: Sequence[Verb] = ACTIONS,
        given: Phrase | None = None,
        allow: str = "negation time details",
    ) -> Clause:
        """Make a clause; `given` is a ready object or the GAP of one (or of a goal) that stands elsewhere."""
        subject = subject or self.person()
        verb = self.pick([verb for verb in verbs if any(map(verb.allows, tenses))])
        tense = self.pick([tense for tense in tenses if verb.allows(tense)])
        negated = "negation" in allow and not given and tense != "like" and self.chance(0.2)
        tense = "could" if negated and tense == "had" else tense
        definite = tense == "perfect" or verb.government[0]
        mode = ("definite" if definite else "negated") if negated else ""
        parts = list(self.complements(verb, subject, given, mode))
        if negated and not any(part.de_slot == "new" for part in parts):
            parts.append(NOT._replace(de="noch nicht") if tense == "perfect" else NOT)
        clause = Clause(subject, verb, tense, parts, negated)
        return replace(clause, parts=[*parts, *self.circumstances(clause, allow)])

    def being(self, subject: Phrase, tense: str, en: str, de: str, doubt: float = 0.2) -> Clause:
        """Say what somebody or something is, or with some probability is not."""
        negated = self.chance(doubt)
        parts = [Part(en, de, "direct", "goal"), *([NOT] if negated else [])]
        return Clause(subject, verbs_of("be")[0], tense, parts, negated)

    def quality(self, subject: Phrase, word: str, tense: str) -> Clause:
        """Say how somebody or something is."""
        self.combos.update([f"adjective:{word} {subject.noun}"] if subject.noun else [])
        return self.being(subject, tense, word, ADJECTIVE[word])

    # Sentences without their full stop.

    def front(self, clause: Clause, probability: float = 0.4) -> Pair:
        """Write a main clause, sometimes with its time in front and so, in German, the verb before the subject."""
        time = next((part for part in clause.parts if part.en_slot == "time"), None)
        if time and self.chance(probability):
            rest = replace(clause, parts=[part for part in clause.parts if part != time])
            return rest.english(time.en), rest.german(time.de, inverted=True)
        return clause.english(), clause.german()

    def statement(self) -> Pair:
        """Yesterday Anna opened the window. Gestern hat Anna das Fenster aufgemacht."""
        return self.front(self.clause())

    def who_question(self) -> Pair:
        """Who opened the window? Wer hat das Fenster aufgemacht?"""
        clause = self.clause(WHO)
        return f"{clause.english()}?", f"{clause.german()}?"

    def question(self) -> Pair:
        """Did Anna open the window? Hat Anna das Fenster aufgemacht?"""
        return ask(self.clause(allow="time details"))

    def adverb_question(self) -> Pair:
        """Why did Anna go home? Warum ist Anna nach Hause gegangen?"""
        en, de = self.pick_pair("when=wann; why=warum; where=wo; where=wohin")
        if de == "wohin":
            return ask(self.clause(None, ALL_TENSES, verbs_of("goal", "to"), GAP, allow="time"), en, de)
        if de == "wo":
            verbs = [verb for verb in ACTIONS if "p" in verb.marks]
            return ask(self.clause(None, ALL_TENSES, verbs, allow="time"), en, de)
        tenses, allow = (WHEN_TENSES, "details") if en == "when" else (ALL_TENSES, "time details")
        return ask(self.clause(None, tenses, DEEDS, allow=allow), en, de)

    def object_question(self) -> Pair:
        """Which window did Anna open? Welches Fenster hat Anna aufgemacht?"""
        verb = self.pick(OBJECT_VERBS)
        clause = self.clause(None, [*PRESENT_TENSES, "past", "past"], [verb], GAP, allow="time details")
        kind, (preposition, case) = self.pick(verb.objects), verb.government
        front = WHO if kind == "people" else WHAT
        if kind != "people" and (preposition or self.chance(0.65)):
            noun = self.pick(KINDS[kind].nouns)
            many = noun.en_plural != "-" and self.chance(0.35)
            front = noun_phrase(noun, "how many" if many else "which", self.adjectives(noun), many)
            self.combos.add(f"object:{verb.en[0]} {noun.en}")
        return ask(clause, front.en_object, join(preposition, front.de[case]))

    def reason(self) -> Pair:
        """Anna is happy because Peter came back. Anna ist glücklich, weil Peter zurückgekommen ist."""
        conjunction = self.pick_pair("because=weil; because=weil; although=obwohl")
        subject, tense = self.hero(), self.pick(("present", "past"))
        tenses = PAST_TENSES if tense == "past" else PRESENT_TENSES
        if self.chance(0.5):
            main = self.quality(subject, self.pick(MOODS), tense)
            sub = self.clause(self.second(subject, 0.4), tenses)
        else:
            main = self.clause(subject, tenses, DEEDS, allow="negation details")
            sub = self.quality(self.second(subject, 1), self.pick(REASONS), tense)
        return attach(main, subordinate(conjunction, sub), first=self.chance(0.25))

    def condition(self) -> Pair:
        """If it rains, Anna will stay at home. Wenn es regnet, wird Anna zu Hause bleiben."""
        main = self.clause(None, ["will", "will", "can", "should", "want", "have"], allow="negation details")
        en, de = self.pick_pair(CONDITIONS)
        return attach(main, (f"if {en}", f"wenn {de}"), first=self.chance(0.5))

    def report(self) -> Pair:
        """I do not know whether Peter called me. Ich weiß nicht, ob Peter mich angerufen hat."""
        subject, verb = self.hero(), self.pick(verbs_of("that", "whether"))
        main = self.clause(subject, ["present"], [verb], allow="")
        second, conjunction = self.second(subject, 0.35), ("that", "dass")
        if verb.frame == "that":
            hope = ["will", "will", "can", "want"]
            sub = self.clause(second, hope if verb.en[0] == "hope" else ALL_TENSES)
        else:
            conjunction = self.pick_pair("whether=ob; whether=ob; why=warum; when=wann")
            main = replace(main, parts=[NOT], negated=True) if verb.en[0] == "know" else main
            tenses, allow = (WHEN_TENSES, "details") if conjunction[0] == "when" else (ALL_TENSES, "time details")
            sub = self.clause(second, tenses, DEEDS, allow=allow)
        return attach(main, subordinate(conjunction, sub))

    def relative_clause(self, noun: Phrase, but: Verb | None = None) -> Pair:
        """Give who called me, that Anna bought; der mich angerufen hat, das Anna gekauft hat."""
        human = noun.kind in HUMAN
        if human and self.chance(0.5):
            clause = self.clause(replace(noun, en="who", de=RELATIVE[noun.gender], kind="pronoun"))
            return clause.english(), clause.german_final()
        kind = "people" if human else noun.kind
        verb = self.pick([verb for verb in OBJECT_VERBS if kind in verb.objects and verb != but])
        self.combos.add(f"object:{verb.en[0]} {noun.noun}")
        preposition, case = verb.government
        clause = self.clause(self.person(noun), ALL_TENSES, [verb], GAP, allow="time details")
        return subordinate(("whom" if human else "that", join(preposition, RELATIVE[noun.gender][case])), clause)

    def relative(self) -> Pair:
        """The book that Anna bought is old. Das Buch, das Anna gekauft hat, ist alt."""
        kind = self.pick((*HUMAN, "animal", "text", "thing", "machine", "cloth"))
        if self.chance(0.5):
            noun = self.noun(kind, mode="the", bare=True)
            en, de = self.relative_clause(noun)
            subject = replace(noun, en=f"{noun.en} {en}", de=[f"{noun.de[NOM]}, {de},"])
            return declare(self.quality(subject, self.pick(KINDS[kind].qualities), self.pick(("present", "past"))))
        wanted = "people" if kind in HUMAN else kind
        verbs, subject = [verb for verb in OBJECT_VERBS if wanted in verb.objects], self.person()
        noun = self.noun(kind, subject, "the")
        main = self.clause(subject, ALL_TENSES, verbs, noun, allow="")
        return attach(main, self.relative_clause(noun, main.verb))

    def infinitive(self) -> Pair:
        """Anna forgot to call Peter. Anna hat vergessen, Peter anzurufen."""
        form = self.random.random()
        subject = NOBODY if form < 0.3 else self.person()
        verbs = [verb for verb in DEEDS if verb.objects] if 0.3 <= form < 0.5 else DEEDS
        deed = self.clause(subject, ["will"], verbs, allow="details")
        aim = deed.infinitives()
        if form < 0.3:
            en, de = self.pick_pair(JUDGEMENTS)
            en, de = f"it is {en}", f"es ist {de}"
        elif form < 0.5:
            en, de = declare(self.clause(subject, [*PRESENT_TENSES, *PAST_TENSES], verbs_of("goal", "to"), allow=""))
            aim = deed.infinitives("in order to", "um")
        else:
            verbs, tenses = verbs_of("infinitive"), ["present", "past", "past", "will"]
            en, de = self.front(self.clause(subject, tenses, verbs, allow="time"), probability=1)
        return f"{en} {aim[0]}", f"{de}, {aim[1]}"

    def age(self) -> Pair:
        """Peter is thirty years old. Peter ist dreißig Jahre alt."""
        n, tense = self.number(13, 99), self.pick(("present", "past"))
        return declare(self.being(self.person(), tense, f"{number_en(n)} years old", f"{number_de(n)} Jahre alt", 0))

    def calendar(self) -> Pair:
        """Anna's birthday is on the third of May. Annas Geburtstag ist am dritten Mai."""
        subject, tense = self.noun(self.pick(("birthday", "event"))), self.pick(("present", "past", "will"))
        return declare(self.being(subject, tense, *self.date()))

    def reference(self) -> Pair:
        """Anna bought a lamp, but it is broken. Anna hat eine Lampe gekauft, aber sie ist kaputt."""
        kind = self.pick(("text", "thing", "machine", "cloth", "animal"))
        verbs = [verb for verb in verbs_of("acc") if kind in verb.objects and "s" not in verb.marks]
        subject, thing = self.hero(), self.noun(kind, bare=True)
        main = self.clause(subject, ["past", "past", "present"], verbs, thing)
        it, others = replace(IT[thing.gender], noun=thing.noun), [verb for verb in verbs if verb != main.verb]
        link = self.pick_pair("but=aber; and=und")
        if self.chance(0.5):
            link = ("and", "und")
            sub = self.quality(it, self.pick(KINDS[kind].qualities), "present")
        else:
            sub = self.clause(PRONOUNS[subject.owner], ALL_TENSES, others, it, allow="details")
        en, de = self.front(main)
        return f"{en}, {link[0]} {sub.english()}", f"{de}, {link[1]} {sub.german()}"

    def sentence(self) -> Sentence:
        """Make a sentence of four to twenty words."""
        while True:
            self.combos = set()
            en, de = self.pick(CONSTRUCTIONS)(self)
            if 4 <= len(en.split()) <= 20:
                stop = "" if en.endswith("?") else "."
                return Sentence(en[0].upper() + en[1:] + stop, de[0].upper() + de[1:] + stop, frozenset(self.combos))


WEIGHTS: dict[Callable[[Grammar], Pair], int] = {
    Grammar.statement: 26,
    Grammar.question: 6,
    Grammar.who_question: 2,
    Grammar.adverb_question: 6,
    Grammar.object_question: 6,
    Grammar.reason: 8,
    Grammar.condition: 6,
    Grammar.report: 8,
    Grammar.relative: 8,
    Grammar.infinitive: 8,
    Grammar.age: 3,
    Grammar.calendar: 3,
    Grammar.reference: 6,
}
CONSTRUCTIONS = [construction for construction, weight in WEIGHTS.items() for _ in range(weight)]


# ---------------------------------------------------------------------------------------------------- corpus

SIZES = {"train": 24_000, "valid": 500, "test": 1_000}


def generate(seed: int, sizes: Mapping[str, int] = SIZES) -> dict[str, list[Sentence]]:
    """Make train, valid and test; no English or German sentence stands twice in all of them."""
    grammar = Grammar(seed)
    seen: set[str] = set()
    known: set[str] = set()

    def draw(count: int, held_out: bool) -> list[Sentence]:
        """Draw sentences that do or do not hold a held-out combination, of words that train knows."""
        drawn: list[Sentence] = []
        for _ in range(1_000 * count):
            if len(drawn) == count:
                break
            sentence = grammar.sentence()
            unknown = known and sentence.words() - sentence.fresh_words() - known
            if sentence.held_out == held_out and not unknown and seen.isdisjoint(sentence[:2]):
                seen.update(sentence[:2])
                drawn.append(sentence)
        if len(drawn) < count:
            raise ValueError("train is too small to hold the words of valid and test")
        return drawn

    corpus = {"train": draw(sizes["train"], held_out=False)}
    known.update(*(sentence.words() for sentence in corpus["train"]))
    for split in ("valid", "test"):
        half = sizes[split] // 2
        corpus[split] = draw(half, held_out=True) + draw(sizes[split] - half, held_out=False)
    return corpus


def main(argv: Sequence[str] | None = None) -> int:
    """Write the corpus."""
    parser = argparse.ArgumentParser(description="Write a small English-German parallel corpus.")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    for split, size in SIZES.items():
        parser.add_argument(f"--{split}", type=int, default=size, help=f"pairs in {split} (default {size})")
    args = parser.parse_args(argv)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    for split, sentences in generate(args.seed, {split: getattr(args, split) for split in SIZES}).items():
        for language in ("en", "de"):
            lines = "".join(getattr(sentence, language) + "\n" for sentence in sentences)
            (args.out_dir / f"{split}.{language}").write_bytes(lines.encode())
        print(f"{split}: {len(sentences)} pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
