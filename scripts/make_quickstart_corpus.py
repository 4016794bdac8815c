#!/usr/bin/env python3
"""Write a small English-German parallel corpus from a hand-written grammar.

    python scripts/make_quickstart_corpus.py OUT_DIR [--seed 1] [--train 24000] [--valid 500] [--test 1000]

The files are OUT_DIR/{train,valid,test}.{en,de}, one sentence per line.  The grammar is small but asks for what
makes the pair hard: gender, case and adjective endings, verb-second and verb-final order, verb brackets and
separable verbs, negation, numbers and dates, and names to copy.  The English sentence always decides the German
one ("you" is always "du", the simple past is always the German perfect).

Some combinations of known words (see `is_held_out`) never stand in train; half of valid and test contain one.
The corpus depends on the seed alone: `random.Random.random`, the same on every Python, is the only source of
chance.
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
from typing import TypeVar

T = TypeVar("T")
Pair = tuple[str, str]

# ---------------------------------------------------------------------------------------------- the lexicon

# English singular and plural; German article, noun, genitive ending and plural ("-": none).
NOUNS_BY_KIND = {
    "person": """man men der Mann es Männer; woman women die Frau - Frauen; boy boys der Junge n Jungen;
        girl girls das Mädchen s Mädchen; policeman policemen der Polizist en Polizisten;
        lady ladies die Dame - Damen; farmer farmers der Bauer n Bauern""",
    "fellow": """child children das Kind es Kinder; teacher teachers der Lehrer s Lehrer;
        doctor doctors der Arzt es Ärzte; student students der Student en Studenten;
        neighbour neighbours der Nachbar n Nachbarn; friend friends der Freund es Freunde;
        colleague colleagues der Kollege n Kollegen; guest guests der Gast es Gäste""",
    "kin": """brother brothers der Bruder s Brüder; sister sisters die Schwester - Schwestern;
        father - der Vater s -; mother - die Mutter - -; son sons der Sohn es Söhne;
        daughter daughters die Tochter - Töchter; uncle uncles der Onkel s Onkel; aunt aunts die Tante - Tanten""",
    "animal": """dog dogs der Hund es Hunde; cat cats die Katze - Katzen; horse horses das Pferd es Pferde;
        bird birds der Vogel s Vögel; mouse mice die Maus - Mäuse; cow cows die Kuh - Kühe""",
    "text": """letter letters der Brief es Briefe; story stories die Geschichte - Geschichten;
        report reports der Bericht s Berichte; poem poems das Gedicht s Gedichte""",
    "press": "book books das Buch es Bücher; newspaper newspapers die Zeitung - Zeitungen",
    "dish": """soup soups die Suppe - Suppen; potato potatoes die Kartoffel - Kartoffeln; egg eggs das Ei s Eier;
        sausage sausages die Wurst - Würste""",
    "fruit": "apple apples der Apfel s Äpfel; pear pears die Birne - Birnen; tomato tomatoes die Tomate - Tomaten",
    "baked": "cake cakes der Kuchen s Kuchen; pizza pizzas die Pizza - Pizzas; bread - das Brot s -",
    "drink": "coffee - der Kaffee s -; tea - der Tee s -; milk - die Milch - -; water - das Wasser s -",
    "mass": "meat - das Fleisch s -; cheese - der Käse s -; butter - die Butter - -",
    "small": """key keys der Schlüssel s Schlüssel; knife knives das Messer s Messer; ball balls der Ball s Bälle;
        camera cameras die Kamera - Kameras; umbrella umbrellas der Regenschirm s Regenschirme""",
    "picture": "picture pictures das Bild es Bilder",
    "vessel": """bottle bottles die Flasche - Flaschen; cup cups die Tasse - Tassen; glass glasses das Glas es Gläser;
        plate plates der Teller s Teller""",
    "vehicle": "car cars das Auto s Autos; bicycle bicycles das Fahrrad s Fahrräder",
    "device": """lamp lamps die Lampe - Lampen; radio radios das Radio s Radios;
        computer computers der Computer s Computer""",
    "cloth": """coat coats der Mantel s Mäntel; shirt shirts das Hemd es Hemden; dress dresses das Kleid es Kleider;
        hat hats der Hut es Hüte; jacket jackets die Jacke - Jacken; shoe shoes der Schuh s Schuhe""",
    "surface": """table tables der Tisch es Tische; bed beds das Bett es Betten; chair chairs der Stuhl s Stühle;
        bench benches die Bank - Bänke""",
    "opening": "door doors die Tür - Türen; window windows das Fenster s Fenster; box boxes die Kiste - Kisten",
    "inside": """kitchen kitchens die Küche - Küchen; garden gardens der Garten s Gärten;
        cellar cellars der Keller s Keller; forest forests der Wald es Wälder""",
    "venue": """park parks der Park s Parks; museum museums das Museum s Museen; cinema cinemas das Kino s Kinos;
        library libraries die Bibliothek - Bibliotheken; hotel hotels das Hotel s Hotels;
        restaurant restaurants das Restaurant s Restaurants; school schools die Schule - Schulen;
        church churches die Kirche - Kirchen; office offices das Büro s Büros""",
    "stop": "station stations der Bahnhof s Bahnhöfe; airport airports der Flughafen s Flughäfen",
    "event": """concert concerts das Konzert s Konzerte; party parties die Feier - Feiern;
        trip trips die Reise - Reisen; wedding weddings die Hochzeit - Hochzeiten;
        exam exams die Prüfung - Prüfungen""",
    "day": "birthday - der Geburtstag s -",
}

# English and its comparative; German and its comparative ("-": never compared here).
ADJECTIVE_TABLE = """old older alt älter; new newer neu neuer; young younger jung jünger; big bigger groß größer;
    small smaller klein kleiner; long longer lang länger; short shorter kurz kürzer; cold colder kalt kälter;
    warm warmer warm wärmer; hot hotter heiß heißer; fresh fresher frisch frischer; sweet sweeter süß süßer;
    good better gut besser; beautiful more_beautiful schön schöner; expensive more_expensive teuer teurer;
    cheap cheaper billig billiger; heavy heavier schwer schwerer; dark darker dunkel dunkler;
    clean cleaner sauber sauberer; dirty dirtier schmutzig schmutziger; modern more_modern modern moderner;
    interesting more_interesting interessant interessanter; boring more_boring langweilig langweiliger;
    exciting more_exciting spannend spannender; friendly friendlier freundlich freundlicher; nice nicer nett netter;
    clever cleverer klug klüger; funny funnier lustig lustiger; famous more_famous berühmt berühmter;
    rich richer reich reicher; hungry - hungrig -; sick - krank -; broken - kaputt -; happy - glücklich -;
    sad - traurig -; tired - müde -; proud - stolz -; angry - wütend -; satisfied - zufrieden -; red - rot -;
    blue - blau -; green - grün -; black - schwarz -; white - weiß -; brown - braun -"""
COLOURS = ("red", "blue", "green", "black", "white", "brown")
MOODS = ("happy", "sad", "tired", "proud", "angry", "satisfied")
QUALITIES = {
    "person": "young old friendly nice clever famous rich hungry tired sick",
    "fellow": "young friendly nice clever funny hungry tired sick",
    "kin": "friendly nice clever funny hungry tired sick",
    "animal": "young old small big hungry sick black white brown",
    "text": "long short interesting boring exciting new old",
    "press": "interesting boring exciting new old expensive cheap",
    "dish": "hot cold good warm",
    "fruit": "fresh sweet small big red green",
    "baked": "fresh warm sweet good",
    "drink": "cold warm hot good",
    "mass": "fresh good cheap expensive",
    "small": "new old big small expensive cheap black brown",
    "picture": "new old big small expensive beautiful",
    "vessel": "small big clean dirty heavy green white",
    "vehicle": "new old small big expensive cheap dirty broken red blue white",
    "device": "new old small big heavy modern expensive cheap broken",
    "cloth": "new old warm clean dirty beautiful expensive cheap red blue green black white",
    "surface": "new old small big heavy long modern brown white",
    "opening": "new old small big heavy dirty green white brown",
    "inside": "small big dark beautiful old",
    "venue": "new old small big modern beautiful famous",
    "stop": "new old small big modern",
    "event": "long short beautiful exciting boring",
}

# English base, third person, past, participle | German infinitive, third person, participle | frame | objects | marks
# Marks: p in some place, c in some city, m quickly or slowly, a carefully, v loudly or quietly, w with somebody,
# t by some transport, n not at will (so no modal verb), s a lasting state (so only the present).
VERB_TABLE = """
buy buys bought bought | kaufen kauft gekauft | acc | press fruit mass vessel vehicle device cloth surface | c
sell sells sold sold | verkaufen verkauft verkauft | acc | press vehicle device surface animal picture |
read reads read read | lesen liest gelesen | acc | text press | pm
write writes wrote written | schreiben schreibt geschrieben | acc | text | pm
eat eats ate eaten | essen isst gegessen | acc | dish fruit baked mass | pm
drink drinks drank drunk | trinken trinkt getrunken | acc | drink | pm
order orders ordered ordered | bestellen bestellt bestellt | acc | dish baked drink |
cook cooks cooked cooked | kochen kocht gekocht | acc | dish |
see sees saw seen | sehen sieht gesehen | acc | people animal | pn
find finds found found | finden findet gefunden | acc | small animal | pn
look_for looks_for looked_for looked_for | suchen sucht gesucht | acc | people animal small | p
lose loses lost lost | verlieren verliert verloren | acc | small | pn
forget forgets forgot forgotten | vergessen vergisst vergessen | acc | small text | n
open opens opened opened | auf-machen macht aufgemacht | acc | opening | ma
close closes closed closed | zu-machen macht zugemacht | acc | opening | ma
wash washes washed washed | waschen wäscht gewaschen | acc | cloth fruit vehicle animal | a
repair repairs repaired repaired | reparieren repariert repariert | acc | vehicle device | ma
cost costs cost cost | kosten kostet gekostet | price | | s
turn_on turns_on turned_on turned_on | ein-schalten schaltet eingeschaltet | acc | device |
turn_off turns_off turned_off turned_off | aus-schalten schaltet ausgeschaltet | acc | device |
wear wears wore worn | tragen trägt getragen | acc | cloth |
put_on puts_on put_on put_on | an-ziehen zieht angezogen | acc | cloth | m
take_off takes_off took_off taken_off | aus-ziehen zieht ausgezogen | acc | cloth | m
bring_along brings_along brought_along brought_along | mit-bringen bringt mitgebracht | acc | baked press picture |
feed feeds fed fed | füttern füttert gefüttert | acc | animal | a
draw draws drew drawn | zeichnen zeichnet gezeichnet | acc | animal surface vehicle | pa
call calls called called | an-rufen ruft angerufen | acc | people |
invite invites invited invited | ein-laden lädt eingeladen | acc | people |
visit visits visited visited | besuchen besucht besucht | acc | people | w
pick_up picks_up picked_up picked_up | ab-holen holt abgeholt | acc | people | w
meet meets met met | treffen trifft getroffen | acc | people | p
ask asks asked asked | fragen fragt gefragt | acc | people |
understand understands understood understood | verstehen versteht verstanden | acc | people text | n
love loves loved loved | lieben liebt geliebt | acc | people animal | s
know knows knew known | kennen kennt gekannt | acc | people text | s
have has had had | haben hat gehabt | acc | animal vehicle cloth device small | s
need needs needed needed | brauchen braucht gebraucht | acc | small vehicle cloth device | s
help helps helped helped | helfen hilft geholfen | dat | people | p
thank thanks thanked thanked | danken dankt gedankt | dat | people |
answer answers answered answered | antworten antwortet geantwortet | dat | people | m
follow follows followed followed | folgen folgt ist_gefolgt | dat | people animal | m
congratulate congratulates congratulated congratulated | gratulieren gratuliert gratuliert | dat | people |
trust trusts trusted trusted | vertrauen vertraut vertraut | dat | people | s
give gives gave given | geben gibt gegeben | dat acc | press small fruit vessel cloth |
show shows showed shown | zeigen zeigt gezeigt | dat acc | text press picture animal vehicle |
send sends sent sent | schicken schickt geschickt | dat acc | text press picture |
lend lends lent lent | leihen leiht geliehen | dat acc | small vehicle press |
bring brings brought brought | bringen bringt gebracht | dat acc | vessel drink dish |
wait_for waits_for waited_for waited_for | warten wartet gewartet | auf acc | people | p
think_of thinks_of thought_of thought_of | denken denkt gedacht | an acc | people event | n
talk_to talks_to talked_to talked_to | sprechen spricht gesprochen | mit dat | people | pv
talk_about talks_about talked_about talked_about | sprechen spricht gesprochen | über acc | people text event | pv
laugh_at laughs_at laughed_at laughed_at | lachen lacht gelacht | über acc | people | vn
play_with plays_with played_with played_with | spielen spielt gespielt | mit dat | animal | p
dream_of dreams_of dreamed_of dreamed_of | träumen träumt geträumt | von dat | people event vehicle | n
remember remembers remembered remembered | sich_erinnern erinnert erinnert | an acc | people event text | n
look_forward_to looks_forward_to looked_forward_to looked_forward_to | sich_freuen freut gefreut | auf acc | event | n
work works worked worked | arbeiten arbeitet gearbeitet | | | pw
sleep sleeps slept slept | schlafen schläft geschlafen | | | p
sing sings sang sung | singen singt gesungen | | | pvw
dance dances danced danced | tanzen tanzt getanzt | | | pw
swim swims swam swum | schwimmen schwimmt ist_geschwommen | | | mw
rest rests rested rested | sich_aus-ruhen ruht ausgeruht | | | p
hurry hurries hurried hurried | sich_beeilen beeilt beeilt | | |
get_up gets_up got_up got_up | auf-stehen steht ist_aufgestanden | | |
go_shopping goes_shopping went_shopping gone_shopping | ein-kaufen kauft eingekauft | | | w
come_along comes_along came_along come_along | mit-kommen kommt ist_mitgekommen | | |
wake_up wakes_up woke_up woken_up | auf-wachen wacht ist_aufgewacht | | | n
fall_asleep falls_asleep fell_asleep fallen_asleep | ein-schlafen schläft ist_eingeschlafen | | | n
come_back comes_back came_back come_back | zurück-kommen kommt ist_zurückgekommen | | | n
go goes went gone | gehen geht ist_gegangen | goal | | w
run runs ran run | laufen läuft ist_gelaufen | goal | | m
travel travels travelled travelled | reisen reist ist_gereist | to | | tw
fly flies flew flown | fliegen fliegt ist_geflogen | to | | w
stay stays stayed stayed | bleiben bleibt ist_geblieben | place | | w
live lives lived lived | wohnen wohnt gewohnt | in | | s
come comes came come | kommen kommt ist_gekommen | from | | s
put puts put put | legen legt gelegt | put | press text small cloth | a
put puts put put | stellen stellt gestellt | put | vessel device | a
lie lies lay lain | liegen liegt gelegen | lie | press text small cloth | n
stand stands stood stood | stehen steht gestanden | lie | vessel device | n
say says said said | sagen sagt gesagt | that | | s
hope hopes hoped hoped | hoffen hofft gehofft | that | | s
believe believes believed believed | glauben glaubt geglaubt | that | | s
know knows knew known | wissen weiß gewusst | that | | s
wonder wonders wondered wondered | sich_fragen fragt gefragt | whether | | s
know knows knew known | wissen weiß gewusst | whether | | s
try tries tried tried | versuchen versucht versucht | infinitive | | n
forget forgets forgot forgotten | vergessen vergisst vergessen | infinitive | | n
promise promises promised promised | versprechen verspricht versprochen | infinitive | | n
begin begins began begun | an-fangen fängt angefangen | infinitive | | n
decide decides decided decided | beschließen beschließt beschlossen | infinitive | | n
be is was been | sein ist ist_gewesen | be | | n
"""

WOMEN = """Anna Maria Julia Laura Lena Sophie Emma Clara Paula Nina Eva Lisa Sarah Helga Ingrid Monika Petra Sabine
    Ursula Karin Birgit Greta Ida Martha""".split()
MEN = """Peter Thomas Paul Jonas Lukas Felix Max Leon Tim Jan Karl Hans Martin Stefan Andreas Klaus Uwe Otto Emil
    Anton Oskar David Simon Erik""".split()
SURNAMES = "Weber Schneider Fischer Becker Hoffmann Schulz Koch Richter Klein Wolf Neumann Krüger".split()
CITIES = """Berlin=Berlin; Hamburg=Hamburg; Munich=München; Cologne=Köln; Vienna=Wien; Zurich=Zürich; Prague=Prag;
    Rome=Rom; Venice=Venedig; Paris=Paris; London=London; Madrid=Madrid; Warsaw=Warschau; Lisbon=Lissabon;
    Dresden=Dresden; Leipzig=Leipzig; Bremen=Bremen; Oslo=Oslo"""
SYLLABLES = ("Bra Dol Fen Gri Kel Lum Mor Nev Pra Sil Tor Vel Wen Zim", "a bi do ga li mo nu ra se vi", "ka la mo na ro ta vo")

TIMES = {
    "present": """every morning=jeden Morgen; every evening=jeden Abend; every day=jeden Tag; every week=jede Woche;
        in the morning=am Morgen; in the evening=am Abend; at the weekend=am Wochenende; in summer=im Sommer;
        in winter=im Winter; on Mondays=montags; on Fridays=freitags; on Sundays=sonntags""",
    "past": """yesterday=gestern; yesterday evening=gestern Abend; this morning=heute Morgen; last week=letzte Woche;
        last Saturday=letzten Samstag; last Thursday=letzten Donnerstag; last summer=letzten Sommer""",
    "future": """tomorrow=morgen; tomorrow morning=morgen früh; tomorrow evening=morgen Abend; soon=bald;
        this evening=heute Abend; next week=nächste Woche; next Saturday=nächsten Samstag;
        next Wednesday=nächsten Mittwoch""",
    "no habit": "today=heute; this week=diese Woche; at the moment=im Moment; now=jetzt",
}
HABITS = "often=oft; always=immer; sometimes=manchmal; rarely=selten; usually=meistens; never=nie"
PERFECT_ADVERBS = "already=schon; just=gerade; never=noch nie"
MANNERS = {
    "m": "quickly=schnell; slowly=langsam",
    "a": "carefully=vorsichtig",
    "v": "loudly=laut; quietly=leise",
    "t": "by train=mit dem Zug; by car=mit dem Auto; by bus=mit dem Bus",
}
WEEKDAYS = "Monday=Montag; Tuesday=Dienstag; Wednesday=Mittwoch; Thursday=Donnerstag; Friday=Freitag; Sunday=Sonntag"
MONTHS = """January=Januar; February=Februar; March=März; April=April; May=Mai; June=Juni; July=Juli; August=August;
    September=September; October=Oktober; November=November; December=Dezember"""
UNITS = "hours=Stunden; days=Tagen; weeks=Wochen"
CONDITIONS = """it rains=es regnet; it snows=es schneit; the sun shines=die Sonne scheint; it is cold=es kalt ist;
    the weather is nice=das Wetter schön ist; it is too late=es zu spät ist"""
JUDGEMENTS = "important=wichtig; difficult=schwierig; easy=einfach; necessary=nötig"
PREPOSITIONS = "on=auf; under=unter; next to=neben; behind=hinter; in front of=vor"

# -------------------------------------------------------------------------------------------- words and forms

NOM, ACC, DAT, GEN = range(4)
CASES = {"nom": NOM, "acc": ACC, "dat": DAT, "gen": GEN}
Forms = tuple[str, str, str, str]
I_FORM, YOU_FORM, HE_FORM, PLURAL_FORM = range(4)


def entries(text: str) -> list[list[str]]:
    """Read a table of ";"-separated entries of words; "_" stands for a space inside a word."""
    return [[word.replace("_", " ") for word in entry.split()] for entry in text.split(";")]


def pairs(text: str) -> list[tuple[str, str]]:
    """Read "english=german; english=german; ..."."""
    return [(en, de) for en, de in (" ".join(entry.split()).split("=") for entry in text.split(";"))]


def join(*words: str) -> str:
    """Put one space between the words that are there."""
    return " ".join(word for word in words if word)


def paradigm(m: str, f: str, n: str, p: str) -> dict[str, list[str]]:
    """Four cases each for masculine, feminine, neuter and plural; "-" is no ending."""
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
DER_WORDS = {"this": "dies", "these": "dies", "every": "jed", "which": "welch"}
EIN_WORDS = {"a": "ein", "not a": "kein", "any": "kein", "no": "kein"}
EIN_WORDS |= {"my": "mein", "your": "dein", "his": "sein", "her": "ihr", "our": "unser", "their": "ihr"}
POSSESSIVES = ("my", "your", "his", "her", "our", "their")
INDEFINITE = ("", "a", "not a", "any", "no")
CONTRACTIONS = {"in dem": "im", "in das": "ins", "an dem": "am", "zu dem": "zum", "zu der": "zur"}

SMALL_EN = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen""".split()
SMALL_DE = """null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn
    siebzehn achtzehn neunzehn""".split()
TENS_EN = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
TENS_DE = "- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()
ORDINALS_EN = {1: "first", 2: "second", 3: "third", 5: "fifth", 8: "eighth", 9: "ninth", 12: "twelfth"}
ORDINALS_DE = {1: "erste", 3: "dritte", 7: "siebte", 8: "achte"}
SHORT_STEMS = {"teuer": "teur", "dunkel": "dunkl"}

# Finite forms (ich, du, er, plural) that no rule gives; English modal names stand for the German modals.
FINITE = {
    "sein": "bin bist ist sind",
    "was": "war warst war waren",
    "haben": "habe hast hat haben",
    "wissen": "weiß weißt weiß wissen",
    "will": "werde wirst wird werden",
    "can": "kann kannst kann können",
    "could": "konnte konntest konnte konnten",
    "should": "sollte solltest sollte sollten",
    "want": "will willst will wollen",
    "wanted": "wollte wolltest wollte wollten",
    "have": "muss musst muss müssen",
    "had": "musste musstest musste mussten",
}
CATENATIVE = {  # English verbs that take "to": the base and whether the tense is past
    "want": ("want wants wanted", False),
    "wanted": ("want wants wanted", True),
    "have": ("have has had", False),
    "had": ("have has had", True),
    "like": ("like likes liked", False),
}


def number_en(n: int) -> str:
    """Write 0 to 99 in English words."""
    tens, ones = divmod(n, 10)
    if n < 20:
        return SMALL_EN[n]
    return TENS_EN[tens] + (f"-{SMALL_EN[ones]}" if ones else "")


def number_de(n: int) -> str:
    """Write 0 to 99 in German words."""
    tens, ones = divmod(n, 10)
    if n < 20:
        return SMALL_DE[n]
    return (f"{'ein' if ones == 1 else SMALL_DE[ones]}und" if ones else "") + TENS_DE[tens]


def ordinal_en(n: int) -> str:
    """Write 1 to 99 as an English ordinal."""
    tens, ones = divmod(n, 10)
    if n < 20:
        return ORDINALS_EN.get(n, SMALL_EN[n] + "th")
    return f"{TENS_EN[tens]}-{ordinal_en(ones)}" if ones else TENS_EN[tens][:-1] + "ieth"


def ordinal_de(n: int) -> str:
    """Write 1 to 99 as a German ordinal with the weak ending -e."""
    return ORDINALS_DE.get(n, number_de(n) + ("te" if n < 20 else "ste"))


def is_compound(n: int) -> bool:
    """Tell whether the German number word is built from two others, like einundzwanzig."""
    return n > 20 and n % 10 > 0


@dataclass(frozen=True)
class Noun:
    """A noun in both languages."""

    kind: str
    en: str
    en_plural: str
    gender: str
    de: str
    genitive: str
    de_plural: str

    def decline(self, case: int, plural: bool = False) -> str:
        """Give the German form; masculines with the genitive in -(e)n are weak nouns."""
        if plural:
            return self.de_plural + ("n" if case == DAT and self.de_plural[-1] not in "ns" else "")
        if self.genitive in ("n", "en"):
            return self.de if case == NOM else self.de + self.genitive
        return self.de + (self.genitive if case == GEN else "")


@dataclass(frozen=True)
class Adjective:
    """An adjective in both languages with its comparatives."""

    en: str
    en_comparative: str
    de: str
    de_comparative: str

    def inflect(self, ending: str) -> str:
        """Give the German attribute; some stems lose an e before the ending."""
        return SHORT_STEMS.get(self.de, self.de).removesuffix("e") + ending


@dataclass(frozen=True)
class Verb:
    """A verb in both languages and the frame it stands in."""

    en: Forms
    prefix: str
    infinitive: str
    third: str
    participle: str
    auxiliary: str
    reflexive: bool
    frame: str
    objects: tuple[str, ...]
    marks: str

    @classmethod
    def read(cls, line: str) -> Verb:
        """Read one line of VERBS."""
        english, german, frame, objects, marks = (column.strip() for column in line.split("|"))
        base, third_en, past, participle_en = (word.replace("_", " ") for word in english.split())
        infinitive, third, participle = german.split()
        reflexive = infinitive.startswith("sich_")
        prefix, _, stem = infinitive.removeprefix("sich_").rpartition("-")
        auxiliary = "sein" if participle.startswith("ist_") else "haben"
        return cls((base, third_en, past, participle_en), prefix, stem, third, participle.removeprefix("ist_"),
                   auxiliary, reflexive, frame, tuple(objects.split()), marks)

    @property
    def government(self) -> tuple[str, int]:
        """Give the preposition ("" if none) and the case of the object."""
        *preposition, case = self.frame.split() or [""]
        return (preposition[0] if preposition and preposition != ["dat"] else ""), CASES.get(case, ACC)

    def allows(self, tense: str) -> bool:
        """Tell whether the tense suits the verb; a past that looks like the present is left out."""
        if "s" in self.marks:
            return tense == "present"
        if tense == "past":
            return self.en[2] != self.en[0]
        if tense == "like":
            return bool(set(self.marks) & set("mvwp")) and "n" not in self.marks
        return tense in ("present", "perfect", "will") or "n" not in self.marks

    def present(self, person: int) -> str:
        """Conjugate the German present tense, without the separable prefix."""
        if self.infinitive in FINITE:
            return FINITE[self.infinitive].split()[person]
        stem = self.infinitive.removesuffix("n").removesuffix("e")
        you_form = self.third if self.third[-2] in "sßz" else self.third[:-1] + "st"
        return (stem + "e", you_form, self.third, self.infinitive)[person]

    def zu_infinitive(self) -> str:
        """Give lesen -> zu lesen and aufmachen -> aufzumachen."""
        return f"{self.prefix}zu{self.infinitive}" if self.prefix else f"zu {self.infinitive}"


@dataclass(frozen=True)
class Phrase:
    """A noun phrase: English subject and object, German cases, and what agrees with it."""

    en: str
    de: Forms
    en_object: str = ""
    person: int = HE_FORM
    gender: str = ""  # m, f, n or p
    owner: str = ""  # the English possessive that refers back to it
    kind: str = ""
    noun: str = ""
    pronoun: bool = False
    new: bool = False  # indefinite: stands late in the German clause
    combos: tuple[str, ...] = ()

    @property
    def object(self) -> str:
        """The English object form."""
        return self.en_object or self.en


NOUNS = {en: Noun(kind, en, en_pl, {"der": "m", "die": "f", "das": "n"}[article], de, gen.strip("-"), de_pl)
         for kind, text in NOUNS_BY_KIND.items() for en, en_pl, article, de, gen, de_pl in entries(text)}
ADJECTIVES = {row[0]: Adjective(*row) for row in entries(ADJECTIVE_TABLE)}
VERBS = [Verb.read(line) for line in VERB_TABLE.strip().splitlines()]
PRONOUNS = [
    Phrase("I", ("ich", "mich", "mir", ""), "me", I_FORM, "", "my", pronoun=True),
    Phrase("you", ("du", "dich", "dir", ""), "you", YOU_FORM, "", "your", pronoun=True),
    Phrase("he", ("er", "ihn", "ihm", ""), "him", HE_FORM, "m", "his", pronoun=True),
    Phrase("she", ("sie", "sie", "ihr", ""), "her", HE_FORM, "f", "her", pronoun=True),
    Phrase("we", ("wir", "uns", "uns", ""), "us", PLURAL_FORM, "", "our", pronoun=True),
    Phrase("they", ("sie", "sie", "ihnen", ""), "them", PLURAL_FORM, "p", "their", pronoun=True),
]
IT = {
    "m": Phrase("it", ("er", "ihn", "ihm", ""), gender="m", pronoun=True),
    "f": Phrase("it", ("sie", "sie", "ihr", ""), gender="f", pronoun=True),
    "n": Phrase("it", ("es", "es", "ihm", ""), gender="n", pronoun=True),
    "p": PRONOUNS[5],
}
WHO = Phrase("who", ("wer", "wen", "wem", "wessen"), "whom", kind="who")
WHAT = Phrase("what", ("was", "was", "", ""))


def english_determiner(det: str, following: str) -> str:
    """Give the English word of a determiner: a or an, numbers in words, the others as they are."""
    if det in ("a", "not a"):
        return "an" if following[0] in "aeiou" else "a"
    return number_en(int(det)) if det.isdigit() else det


def german_determiner(det: str, gender: str, case: int) -> tuple[str, str]:
    """Give the German word of an English determiner and the declension of the adjectives after it."""
    if det == "the":
        return ARTICLE[gender][case], "weak"
    if det in DER_WORDS:
        return DER_WORDS[det] + DER_ENDINGS[gender][case], "weak"
    if det in EIN_WORDS:
        return EIN_WORDS[det] + EIN_ENDINGS[gender][case], "mixed"
    if det.isdigit():
        return number_de(int(det)), "strong"
    if det.endswith("'s"):
        return german_genitive(det[:-2]), "strong"
    return {"": "", "how many": "wie viele"}[det], "strong"


def german_genitive(name: str) -> str:
    """Give Anna -> Annas and Felix -> Felix'."""
    return name + ("'" if name[-1] in "sxzß" else "s")


def noun_phrase(noun: Noun, det: str, adjectives: Sequence[str] = (), plural: bool = False,
                of: Phrase | None = None) -> Phrase:
    """Build a noun phrase in all cases; `of` is an owner: the teacher's dog -> der Hund des Lehrers."""
    gender = "p" if plural else noun.gender
    words = [*adjectives, noun.en_plural if plural else noun.en]
    article = f"{of.en}'s" if of else english_determiner(det, words[0])

    def german(case: int) -> str:
        word, declension = german_determiner(det, gender, case)
        ending = ADJECTIVE_ENDINGS[declension][gender][case]
        inflected = [ADJECTIVES[adjective].inflect(ending) for adjective in adjectives]
        return join(word, *inflected, noun.decline(case, plural), of.de[GEN] if of else "")

    combos = [f"adjective:{adjective} {noun.en}" for adjective in adjectives]
    combos += [f"number:{det}"] if det.isdigit() and is_compound(int(det)) else []
    owner = {"m": "his", "f": "her", "p": "their"}.get(gender, "")
    return Phrase(join(article, *words), (german(NOM), german(ACC), german(DAT), german(GEN)),
                  person=PLURAL_FORM if plural else HE_FORM, gender=gender, owner=owner, kind=noun.kind, noun=noun.en,
                  new=det in INDEFINITE or det.isdigit(), combos=(*combos, *(of.combos if of else ())))


def contract(preposition: str, phrase: str) -> str:
    """Join in + dem Park to im Park, zu + der Schule to zur Schule."""
    words = phrase.split(" ", 1)
    short = CONTRACTIONS.get(f"{preposition} {words[0]}")
    return f"{short} {words[1]}" if short else f"{preposition} {phrase}"


# ---------------------------------------------------------------------------------------------------- clauses

ENGLISH_ORDER = ("indirect", "direct", "goal", "manner", "place", "time", "end")
GERMAN_ORDER = ("reflexive", "pronoun", "known", "indirect", "time", "direct", "not", "manner", "place", "new", "goal")


@dataclass(frozen=True)
class Part:
    """A part of a clause: its words and its slot in both languages."""

    en: str
    de: str
    en_slot: str
    de_slot: str


@dataclass(frozen=True)
class Clause:
    """A bag of parts around a verb: the two languages sort the same bag by their own orders."""

    subject: Phrase
    verb: Verb
    tense: str
    parts: tuple[Part, ...] = ()
    negated: bool = False

    def without(self, slot: str) -> Clause:
        """Leave out the parts that stand in an English slot."""
        return replace(self, parts=tuple(part for part in self.parts if part.en_slot != slot))

    def part(self, slot: str) -> Part | None:
        """Find the part in an English slot."""
        return next((part for part in self.parts if part.en_slot == slot), None)

    def english_verb(self, support: bool) -> tuple[str, str]:
        """Give the English auxiliary (do, if one must support) and the rest of the verb."""
        base, third, past, participle = self.verb.en
        is_third = self.subject.person == HE_FORM
        if self.tense == "perfect":
            return "has" if is_third else "have", participle
        if self.tense in ("will", "can", "could", "should"):
            return self.tense, base
        if base == "be":
            be = {I_FORM: ("am", "was"), HE_FORM: ("is", "was")}.get(self.subject.person, ("are", "were"))
            return be[self.tense == "past"], ""
        in_past = self.tense == "past"
        if self.tense in CATENATIVE:
            forms, in_past = CATENATIVE[self.tense]
            base, third, past = (f"{form} to {self.verb.en[0]}" for form in forms.split())
        if support:
            return "did" if in_past else "does" if is_third else "do", base
        return "", past if in_past else third if is_third else base

    def english(self, front: str = "", inverted: bool = False) -> str:
        """Write the English clause; `inverted` asks."""
        auxiliary, verb = self.english_verb(inverted or self.negated)
        head = (auxiliary, self.subject.en) if inverted else (self.subject.en, auxiliary)
        text = join(front, *head, "not" if self.negated else "", self.english_parts("mid"), verb)
        return join(text, self.english_parts(*ENGLISH_ORDER)).replace("can not", "cannot")

    def english_parts(self, *slots: str) -> str:
        """Write the parts of these slots in order."""
        return join(*(part.en for slot in slots for part in self.parts if part.en_slot == slot))

    def english_infinitive(self, link: str = "to") -> str:
        """Write "to open the window"."""
        return join(link, self.verb.en[0], self.english_parts(*ENGLISH_ORDER))

    def german_infinitive(self, link: str = "") -> str:
        """Write "das Fenster aufzumachen"."""
        return join(link, self.german_middle(), self.verb.zu_infinitive())

    def german_verb(self) -> tuple[str, str]:
        """Give the finite German verb and what closes the bracket."""
        verb, person = self.verb, self.subject.person
        if self.tense in ("present", "like"):
            return verb.present(person), verb.prefix
        if self.tense == "past" and verb.en[0] == "be":
            return FINITE["was"].split()[person], ""
        if self.tense in ("past", "perfect"):
            return FINITE[verb.auxiliary].split()[person], verb.participle
        return FINITE[self.tense].split()[person], verb.prefix + verb.infinitive

    def german_middle(self) -> str:
        """Write the German parts between the brackets."""
        return join(*(part.de for slot in GERMAN_ORDER for part in self.parts if part.de_slot == slot))

    def german(self, front: str = "", inverted: bool = False) -> str:
        """Write a German main clause: the verb is second, or first when inverted with nothing in front."""
        finite, closing = self.german_verb()
        head = (finite, self.subject.de[NOM]) if inverted else (self.subject.de[NOM], finite)
        return join(front, *head, self.german_middle(), closing)

    def german_final(self) -> str:
        """Write a German subordinate clause: the finite verb is last and takes its prefix back."""
        finite, closing = self.german_verb()
        verb = closing + finite if self.tense in ("present", "like") else join(closing, finite)
        return join(self.subject.de[NOM], self.german_middle(), verb)


def subordinate(main: Clause, conjunction: tuple[str, str], sub: Clause, first: bool = False) -> tuple[str, str]:
    """Join two clauses; a subordinate clause that comes first inverts the German main clause."""
    en, de = f"{conjunction[0]} {sub.english()}", f"{conjunction[1]} {sub.german_final()}"
    if first:
        return f"{en}, {main.english()}", main.german(f"{de},", inverted=True)
    return f"{main.english()} {en}", f"{main.german()}, {de}"

# --------------------------------------------------------------------------------------------------- sentences

HOLD_OUT = 8  # one combination in so many is kept out of train


def is_held_out(combo: str) -> bool:
    """Tell whether a combination ("adjective:red coat", "object:buy coat", "number:21", ...) is kept from train."""
    return not combo.startswith("name:") and zlib.crc32(combo.encode()) % HOLD_OUT == 0


@dataclass(frozen=True)
class Sentence:
    """A sentence pair and the combinations in it."""

    en: str
    de: str
    combos: frozenset[str]

    @property
    def held_out(self) -> bool:
        """Tell whether the pair contains a combination that train lacks."""
        return any(is_held_out(combo) for combo in self.combos)

    def fresh_words(self) -> set[str]:
        """Give the words that train may lack: made-up names and held-out compound numbers."""
        fresh = set()
        for label, value in (combo.split(":") for combo in self.combos):
            if label == "name":
                fresh |= {value, f"{value}'s", german_genitive(value)}
            elif label == "number" and is_held_out(f"number:{value}"):
                fresh |= {form(int(value)) for form in (number_en, number_de)}
                fresh |= {form(int(value)).capitalize() for form in (number_en, number_de)}
        return fresh


def words(text: str) -> list[str]:
    """Split a sentence into words without punctuation."""
    return re.findall(r"[^\s.,?]+", text)


PRESENT_TENSES = ("present", "present", "perfect", "will", "can", "should", "want", "have")
PAST_TENSES = ("past", "past", "past", "wanted", "had")
ALL_TENSES = (*PRESENT_TENSES, *PAST_TENSES, "present", "past", "like")
TIME_GROUPS = dict.fromkeys(("past", "wanted", "had", "could"), "past") | {"present": "present"}
SPECIAL_FRAMES = ("price", "lie", "that", "whether", "infinitive", "be")
ACTIONS = [verb for verb in VERBS if verb.frame not in SPECIAL_FRAMES]
BE = next(verb for verb in VERBS if verb.frame == "be")
DETERMINERS = {
    "person": "the the a this", "fellow": "the the a this own own", "kin": "own", "inside": "the the the a this",
    "venue": "the the the a this", "stop": "the the the a this", "drink": "the bare bare own",
    "mass": "the bare bare own", "event": "the the this own", "opening": "the the this own",
}
COUNTED = ("text", "press", "dish", "fruit", "baked", "small", "picture", "vessel", "cloth")
PLACE_PREPOSITIONS = {"inside": ("in", "into", "in", "in"), "venue": ("in", "to", "in", "in"),
                      "stop": ("at", "to", "an", "zu")}


DEEDS = [verb for verb in ACTIONS if not set(verb.marks) & set("ns")]
MOTIONS = [verb for verb in ACTIONS if verb.frame in ("goal", "to")]
INFINITIVE_VERBS = [verb for verb in VERBS if verb.frame == "infinitive"]
OBJECT_VERBS = [verb for verb in ACTIONS if verb.objects and verb.frame not in ("dat acc", "put")]
COST = next(verb for verb in VERBS if verb.frame == "price")
NOUNS_OF = {kind: [noun for noun in NOUNS.values() if noun.kind == kind] for kind in NOUNS_BY_KIND}
PRONOUN_OF = {pronoun.owner: pronoun for pronoun in PRONOUNS}
NOBODY = Phrase("", ("", "", "", ""))
GAP = Phrase("-", ("", "", "", ""))
WHOM = replace(WHO, en="whom")
CITY_PREPOSITIONS = {"to": "nach", "in": "in", "from": "aus"}


class Grammar:
    """Makes random sentences; every method that makes a phrase notes its combinations."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.combos: set[str] = set()

    # chance

    def chance(self, probability: float) -> bool:
        """Say yes with this probability."""
        return self.random.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        """Choose one of the options."""
        return options[int(self.random.random() * len(options))]

    def number(self, low: int, high: int) -> int:
        """Choose a number from low to high."""
        return low + int(self.random.random() * (high - low + 1))

    # noun phrases

    def note(self, phrase: Phrase) -> Phrase:
        """Note the combinations of a phrase that is used."""
        self.combos.update(phrase.combos)
        return phrase

    def adjectives(self, kind: str, probability: float = 0.4) -> tuple[str, ...]:
        """Choose none, one, or two adjectives (the second a colour) that suit a kind of noun."""
        qualities = QUALITIES.get(kind, "").split()
        if not qualities or not self.chance(probability):
            return ()
        first = self.pick(qualities)
        colours = [quality for quality in qualities if quality in COLOURS]
        if colours and first not in COLOURS and self.chance(0.2):
            return first, self.pick(colours)
        return (first,)

    def first_name(self) -> Phrase:
        """Choose a first name; one in twenty is made up, so that copying must be learned by pieces."""
        if self.chance(0.05):
            name = "".join(self.pick(row.split()) for row in SYLLABLES)
            return Phrase(name, (name, name, name, name), combos=(f"name:{name}",))
        woman = self.chance(0.5)
        name = self.pick(WOMEN if woman else MEN)
        return Phrase(name, (name, name, name, name), owner="her" if woman else "his")

    def named(self) -> Phrase:
        """Choose somebody with a name: Anna, Mr Weber, Anna and Peter."""
        form = self.random.random()
        if form < 0.75:
            return self.first_name()
        if form < 0.83:
            surname = self.pick(SURNAMES)
            return Phrase(f"Mrs {surname}", (f"Frau {surname}",) * 4, owner="her")
        if form < 0.91:
            surname = self.pick(SURNAMES)
            oblique = f"Herrn {surname}"
            return Phrase(f"Mr {surname}", (f"Herr {surname}", oblique, oblique, oblique), owner="his")
        woman, man = self.pick(WOMEN), self.pick(MEN)
        return Phrase(f"{woman} and {man}", (f"{woman} und {man}",) * 4, person=PLURAL_FORM, owner="their")

    def noun(self, kind: str, other: Phrase | None = None, negated: bool = False, definite: bool = False,
             adjectives: tuple[str, ...] | None = None) -> Phrase:
        """Choose a noun phrase of a kind; the possessive may refer to `other`."""
        noun = self.pick([noun for noun in NOUNS.values() if noun.kind == kind])
        plural = noun.en_plural != "-" and self.chance(0.3)
        chosen = self.adjectives(kind) if adjectives is None else adjectives
        det = self.pick(DETERMINERS.get(kind, "the the a a this own").split())
        if det == "own":
            return self.owned(noun, chosen, plural, other)
        if det in ("a", "bare"):
            det = self.indefinite(kind, plural or det == "bare", negated) if not definite else "the"
        return noun_phrase(noun, "these" if plural and det == "this" else det, chosen, plural)

    def indefinite(self, kind: str, many: bool, negated: bool) -> str:
        """Choose an indefinite determiner: a, none before plurals and substances, a number, or German kein."""
        if negated:
            return "any" if many else "not a"
        if not many:
            return "a"
        if kind in ("person", "fellow"):
            return str(self.number(2, 12))
        counted = self.random.random() if kind in COUNTED else 1.0
        return str(self.number(2, 12)) if counted < 0.3 else str(self.number(13, 99)) if counted < 0.6 else ""

    def owned(self, noun: Noun, adjectives: tuple[str, ...], plural: bool, other: Phrase | None) -> Phrase:
        """Give the noun an owner: a possessive (often that of `other`), a name or another noun."""
        kind = self.random.random()
        if other and other.owner and kind < 0.5:
            return noun_phrase(noun, other.owner, adjectives, plural)
        if kind < 0.75:
            return noun_phrase(noun, self.pick(POSSESSIVES), adjectives, plural)
        if kind < 0.85:
            name = self.pick([name for name in WOMEN + MEN if not other or name not in other.en])
            return noun_phrase(noun, f"{name}'s", adjectives, plural)
        owner = self.pick([n for n in NOUNS.values() if n.kind in ("person", "fellow", "kin") and n is not noun])
        det = self.pick(POSSESSIVES) if owner.kind == "kin" else "the"
        return noun_phrase(noun, "the", adjectives, plural, of=noun_phrase(owner, det))

    def person(self, other: Phrase | None = None, negated: bool = False, definite: bool = False) -> Phrase:
        """Choose a subject, or an object that is not the subject `other`."""
        while True:
            form = self.random.random()
            if form < 0.3:
                phrase = self.pick(PRONOUNS)
            elif form < 0.6:
                phrase = self.named()
            else:
                phrase = self.noun(self.pick(("person", "fellow", "fellow", "kin")), other, negated, definite)
            if not other or not (set(words(phrase.en)) & set(words(other.en)) - {"the", "and"}
                                 or {phrase.owner, other.owner} <= {"my", "our"}):
                return self.note(phrase)

    # circumstances

    def place(self) -> Part:
        """Say where something happens."""
        form = self.random.random()
        if form < 0.1:
            return Part("at home", "zu Hause", "place", "place")
        if form < 0.3:
            city = self.pick(pairs(CITIES))
            return Part(f"in {city[0]}", f"in {city[1]}", "place", "place")
        phrase = self.note(self.noun(self.pick(("inside", "venue", "venue", "stop")), definite=self.chance(0.5)))
        en, _, de, _ = PLACE_PREPOSITIONS[phrase.kind]
        return Part(f"{en} {phrase.en}", contract(de, phrase.de[DAT]), "place", "place")

    def goal(self) -> Part:
        """Say where somebody goes: the accusative after in, the dative after zu."""
        if self.chance(0.12):
            return Part("home", "nach Hause", "goal", "goal")
        phrase = self.note(self.noun(self.pick(("inside", "venue", "venue", "stop")), definite=self.chance(0.5)))
        _, en, _, de = PLACE_PREPOSITIONS[phrase.kind]
        return Part(f"{en} {phrase.en}", contract(de, phrase.de[ACC if de == "in" else DAT]), "goal", "goal")

    def surface(self, case: int) -> Part:
        """Say next to what something is put (accusative) or stands (dative)."""
        phrase = self.note(self.noun("surface", definite=True))
        en, de = self.pick(pairs(PREPOSITIONS))
        return Part(f"{en} {phrase.en}", f"{de} {phrase.de[case]}", "goal", "goal")

    def date(self) -> tuple[str, str]:
        """Choose a date: on the third of May, am dritten Mai."""
        day, month = self.number(1, 30), self.pick(pairs(MONTHS))
        self.combos.add(f"date:{day} {month[0]}")
        return f"on the {ordinal_en(day)} of {month[0]}", f"am {ordinal_de(day)}n {month[1]}"

    def time(self, group: str) -> Part:
        """Choose a time that suits a group of tenses."""
        form = self.random.random()
        if group == "no habit" or form < 0.4:
            en, de = self.pick(pairs(TIMES[group]))
        elif form < 0.55 and group == "present":
            return self.adverb(HABITS)
        elif form < 0.65:
            hour = self.number(2, 12)
            en, de = f"at {number_en(hour)} o'clock", f"um {number_de(hour)} Uhr"
        elif form < 0.75:
            noun = self.pick([noun for noun in NOUNS.values() if noun.kind == "event"])
            phrase = noun_phrase(noun, "the")
            en, de, case = self.pick((("before", "vor", DAT), ("after", "nach", DAT), ("during", "während", GEN)))
            en, de = f"{en} {phrase.en}", f"{de} {phrase.de[case]}"
        elif group == "present":
            en, de = self.pick(pairs(TIMES[group]))
        elif form < 0.85:
            weekday = self.pick(pairs(WEEKDAYS))
            en, de = f"on {weekday[0]}", f"am {weekday[1]}"
        elif form < 0.95:
            en, de = self.date()
        else:
            n, unit = self.number(2, 12), self.pick(pairs(UNITS))
            past = group == "past"
            en = f"{number_en(n)} {unit[0]} ago" if past else f"in {number_en(n)} {unit[0]}"
            de = f"{'vor' if past else 'in'} {number_de(n)} {unit[1]}"
        return Part(en, de, "time", "time")

    def adverb(self, table: str) -> Part:
        """Choose an adverb that stands before the English verb; some take the place of nicht."""
        en, de = self.pick(pairs(table))
        return Part(en, de, "mid", "not" if en in ("already", "just", "never") else "time")

    def manner(self, verb: Verb, subject: Phrase) -> Iterator[Part]:
        """Choose how or with whom, if the verb takes it."""
        marks = [mark for mark in verb.marks if mark in "mavwt"]
        mark = self.pick(marks) if marks and self.chance(0.4) else ""
        if mark == "w":
            phrase = self.person(other=subject)
            yield Part(f"with {phrase.object}", f"mit {phrase.de[DAT]}", "manner", "manner")
        elif mark:
            yield Part(*self.pick(pairs(MANNERS[mark])), "manner", "manner")

    # clauses

    def object(self, verb: Verb, subject: Phrase, negated: bool, definite: bool) -> Phrase:
        """Choose an object that suits the verb."""
        kind = self.pick(verb.objects)
        if kind == "people":
            return self.person(subject, negated, definite)
        return self.note(self.noun(kind, subject, negated, definite))

    def direct_object(self, verb: Verb, phrase: Phrase, negated: bool) -> Part:
        """Put a noun phrase into the case or behind the preposition that the verb governs."""
        if phrase.noun:
            self.combos.add(f"object:{verb.en[0]} {phrase.noun}")
        preposition, case = verb.government
        if preposition:
            return Part(phrase.object, f"{preposition} {phrase.de[case]}", "direct", "goal")
        slot = "pronoun" if phrase.pronoun else "new" if phrase.new else "known" if negated else "direct"
        return Part(phrase.object, phrase.de[case], "direct", slot)

    def direction(self, frame: str) -> Part:
        """Give the part that a verb of motion or rest asks for."""
        if frame == "put":
            return self.surface(ACC)
        if frame == "goal":
            return self.goal()
        if frame == "place":
            return replace(self.place(), de_slot="goal")
        city = self.pick(pairs(CITIES))
        return Part(f"{frame} {city[0]}", f"{CITY_PREPOSITIONS[frame]} {city[1]}", "goal", "goal")

    def complements(self, verb: Verb, subject: Phrase, given: Phrase | None, negated: bool,
                    definite: bool) -> Iterator[Part]:
        """Give the parts that the verb's frame asks for; `given` is a ready object."""
        if verb.reflexive:
            yield Part("", {"I": "mich", "you": "dich", "we": "uns"}.get(subject.en, "sich"), "", "reflexive")
        if verb.frame == "dat acc":
            person = self.person(subject, definite=True)
            yield Part(person.object, person.de[DAT], "indirect", "pronoun" if person.pronoun else "indirect")
        if verb.objects and given is not GAP:
            yield self.direct_object(verb, given or self.object(verb, subject, negated, definite), negated)
        if verb.frame in ("goal", "place", "put", *CITY_PREPOSITIONS):
            yield self.direction(verb.frame)

    def circumstances(self, verb: Verb, subject: Phrase, tense: str, negated: bool, timed: bool) -> Iterator[Part]:
        """Give adverbs, manner, place and time as verb and tense allow."""
        if tense == "like":
            yield Part("", "gern", "", "manner")
        elif not negated:
            yield from self.manner(verb, subject)
        if "p" in verb.marks and self.chance(0.35):
            yield self.place()
        elif "c" in verb.marks and self.chance(0.3):
            city = self.pick(pairs(CITIES))
            yield Part(f"in {city[0]}", f"in {city[1]}", "place", "place")
        if tense == "perfect":
            yield Part("yet", "", "end", "") if negated else self.adverb(PERFECT_ADVERBS)
        elif timed and tense != "like" and "s" not in verb.marks and self.chance(0.75):
            habit = tense == "present" and not negated
            yield self.time("present" if habit else "no habit" if tense == "present"
                            else "past" if tense in PAST_TENSES else "future")

    def clause(self, subject: Phrase | None = None, tenses: Sequence[str] = ALL_TENSES,
               verbs: Sequence[Verb] = (), given: Phrase | None = None, plain: bool = False,
               timed: bool = True) -> Clause:
        """Make a clause; `plain` forbids negation, `given` is a ready object (or the GAP of an absent one)."""
        subject = subject or self.person()
        verb = self.pick([verb for verb in verbs or ACTIONS if any(verb.allows(tense) for tense in tenses)])
        tense = self.pick([tense for tense in tenses if verb.allows(tense)])
        negated = not plain and not given and tense != "like" and self.chance(0.2)
        if negated and tense == "had":
            tense = "could"
        definite = negated and (tense == "perfect" or bool(verb.government[0]))
        parts = [*self.complements(verb, subject, given, negated, definite),
                 *self.circumstances(verb, subject, tense, negated, timed)]
        if negated and not any(part.de_slot == "new" for part in parts):
            parts.append(Part("", "noch nicht" if tense == "perfect" else "nicht", "", "not"))
        return Clause(subject, verb, tense, tuple(parts), negated)

    def state(self, subject: Phrase, quality: str, tense: str, negated: bool = False) -> Clause:
        """Say how somebody or something is."""
        if subject.noun:
            self.combos.add(f"adjective:{quality} {subject.noun}")
        parts = [Part(quality, ADJECTIVES[quality].de, "direct", "goal")]
        parts += [Part("", "nicht", "", "not")] if negated else []
        return Clause(subject, BE, tense, tuple(parts), negated)

    def hero(self) -> Phrase:
        """Choose a subject to whom a pronoun can refer."""
        while True:
            subject = self.person()
            if subject.owner:
                return subject

    # sentences

    def front(self, clause: Clause, probability: float = 0.4) -> Pair:
        """Write a main clause, sometimes with its time in front and so, in German, the verb before the subject."""
        time = clause.part("time")
        if time and self.chance(probability):
            rest = clause.without("time")
            return rest.english(time.en), rest.german(time.de, inverted=True)
        return clause.english(), clause.german()

    def statement(self) -> Pair:
        """Anna opened the window yesterday. Anna hat gestern das Fenster aufgemacht."""
        return self.front(self.clause())

    def question(self) -> Pair:
        """Did Anna open the window? Hat Anna das Fenster aufgemacht?"""
        clause = self.clause(plain=True)
        return clause.english(inverted=True) + "?", clause.german(inverted=True) + "?"

    def adverb_question(self) -> Pair:
        """Why did Anna open the window? Warum hat Anna das Fenster aufgemacht?"""
        en, de = self.pick(pairs("when=wann; when=wann; why=warum; why=warum; how often=wie oft"))
        tenses = {"when": ("past", "past", "will", "can", "should", "want"), "why": ALL_TENSES, "how often": ("present",)}
        clause = self.clause(tenses=tenses[en], plain=True, timed=en == "why", verbs=DEEDS)
        return clause.english(en, inverted=True) + "?", clause.german(de, inverted=True) + "?"

    def who_question(self) -> Pair:
        """Who opened the window? Wer hat das Fenster aufgemacht?"""
        clause = self.clause(WHO)
        return clause.english() + "?", clause.german() + "?"

    def object_question(self) -> Pair:
        """Which window did Anna open? Welches Fenster hat Anna aufgemacht?"""
        verb = self.pick(OBJECT_VERBS)
        clause = self.clause(tenses=(*PRESENT_TENSES, "past", "past"), verbs=[verb], given=GAP, plain=True)
        kind = self.pick(verb.objects)
        preposition, case = verb.government
        if kind == "people":
            front = WHOM
        elif not preposition and self.chance(0.35):
            front = WHAT
        else:
            noun, many = self.pick(NOUNS_OF[kind]), self.chance(0.35)
            many = many and noun.en_plural != "-"
            front = noun_phrase(noun, "how many" if many and self.chance(0.6) else "which", self.adjectives(kind), many)
            self.note(front)
            self.combos.add(f"object:{verb.en[0]} {noun.en}")
        de = join(preposition, front.de[case])
        return clause.english(front.en, inverted=True) + "?", clause.german(de, inverted=True) + "?"

    def where_question(self) -> Pair:
        """Where does Anna work? Wo arbeitet Anna?  Where does Anna go? Wohin geht Anna?"""
        verb = self.pick([verb for verb in ACTIONS if "p" in verb.marks or verb.frame in ("goal", "to", "in", "place")])
        clause = self.clause(verbs=[verb], plain=True).without("place").without("goal")
        de = "wohin" if verb.frame in ("goal", "to") else "wo"
        return clause.english("where", inverted=True) + "?", clause.german(de, inverted=True) + "?"

    def reason(self) -> Pair:
        """Anna is happy because her brother came back. Anna ist glücklich, weil ihr Bruder zurückgekommen ist."""
        conjunction = self.pick(pairs("because=weil; because=weil; although=obwohl"))
        past = self.chance(0.5)
        subject = self.hero()
        if self.chance(0.5):
            main = self.state(subject, self.pick(MOODS), "past" if past else "present", self.chance(0.15))
            other = PRONOUN_OF[subject.owner] if self.chance(0.4) else self.person(subject)
            sub = self.clause(other, PAST_TENSES if past else ("present", "perfect", "will", "can", "have", "want"))
        else:
            main = self.clause(subject, PAST_TENSES if past else PRESENT_TENSES, timed=False)
            mood = self.pick((*MOODS, "tired", "hungry", "sick"))
            sub = self.state(PRONOUN_OF[subject.owner], mood, "past" if past else "present", self.chance(0.2))
        return subordinate(main, conjunction, sub, first=self.chance(0.25))

    def condition(self) -> Pair:
        """If it rains, Anna will stay at home. Wenn es regnet, wird Anna zu Hause bleiben."""
        main = self.clause(tenses=("will", "will", "can", "should", "want", "have"), timed=False)
        en, de = self.pick(pairs(CONDITIONS))
        if self.chance(0.5):
            return f"if {en}, {main.english()}", main.german(f"wenn {de},", inverted=True)
        return f"{main.english()} if {en}", f"{main.german()}, wenn {de}"

    def sequence(self) -> Pair:
        """When Peter came back, Anna was tired. Als Peter zurückgekommen ist, war Anna müde."""
        conjunction = self.pick(pairs("when=als; before=bevor"))
        subject = self.hero()
        other = PRONOUN_OF[subject.owner] if self.chance(0.4) else self.person(subject)
        sub = self.clause(subject, ("past",), [verb for verb in ACTIONS if not verb.frame and "p" not in verb.marks],
                          plain=True, timed=False)
        main = self.clause(other, ("past", "past", "wanted", "had"), DEEDS, plain=True, timed=False)
        return subordinate(main, conjunction, sub, first=True)

    def report(self) -> Pair:
        """Anna says that Peter is sleeping at home; I do not know whether, why or when Peter sleeps."""
        subject = self.hero()
        verb = self.pick([verb for verb in VERBS if verb.frame in ("that", "whether")])
        main = self.clause(subject, ("present",), [verb], plain=True)
        if verb.frame == "whether" and not verb.reflexive:
            main = replace(main, negated=True, parts=(Part("", "nicht", "", "not"),))
        other = PRONOUN_OF[subject.owner] if self.chance(0.3) else self.person(subject)
        if verb.frame == "that":
            return subordinate(main, ("that", "dass"), self.clause(other))
        conjunction = self.pick(pairs("whether=ob; whether=ob; why=warum; when=wann"))
        if conjunction[0] == "when":
            return subordinate(main, conjunction, self.clause(other, ("past", "will"), DEEDS, plain=True, timed=False))
        return subordinate(main, conjunction, self.clause(other, plain=True))

    def relative(self, noun: Phrase, but: Verb | None = None) -> Pair:
        """Make a relative clause: who called me, that Anna bought; der mich angerufen hat, das Anna gekauft hat."""
        pronoun = RELATIVE[noun.gender]
        human = noun.kind in ("person", "fellow")
        if human and self.chance(0.5):
            who = replace(WHO, de=tuple(pronoun), person=noun.person, owner=noun.owner)
            clause = self.clause(who)
            return clause.english(), clause.german_final()
        verb = self.pick([verb for verb in OBJECT_VERBS if ("people" if human else noun.kind) in verb.objects and verb != but])
        self.combos.add(f"object:{verb.en[0]} {noun.noun}")
        preposition, case = verb.government
        clause = self.clause(verbs=[verb], given=GAP, plain=True)
        front = "whom" if human else "that"
        return f"{front} {clause.english()}", f"{join(preposition, pronoun[case])} {clause.german_final()}"

    def relative_subject(self) -> Pair:
        """The book that Anna bought is old. Das Buch, das Anna gekauft hat, ist alt."""
        kind = self.pick(("person", "fellow", *COUNTED, "vehicle", "device", "animal"))
        noun = self.note(self.noun(kind, definite=True, adjectives=()))
        en, de = self.relative(noun)
        quality = self.pick(QUALITIES[kind].split())
        subject = replace(noun, en=f"{noun.en} {en}", de=(f"{noun.de[NOM]}, {de},", *noun.de[1:]))
        clause = self.state(subject, quality, self.pick(("present", "past")), self.chance(0.2))
        return clause.english(), clause.german()

    def relative_object(self) -> Pair:
        """Anna reads the book that Peter bought. Anna liest das Buch, das Peter gekauft hat."""
        verb = self.pick(OBJECT_VERBS)
        kind = self.pick([kind for kind in verb.objects if kind != "event"] or ["text"])
        if kind in ("dish", "mass", "drink", "opening", "vessel", "surface"):
            kind = "people"
            verb = next(v for v in VERBS if v.en[0] == "call")
        noun = self.note(self.noun(self.pick(("person", "fellow")) if kind == "people" else kind, definite=True))
        main = self.clause(verbs=[verb], given=noun, plain=True, timed=False)
        main = replace(main, parts=tuple(part for part in main.parts if part.en_slot not in ("manner", "place")))
        en, de = self.relative(noun, verb)
        return f"{main.english()} {en}", f"{main.german()}, {de}"

    def infinitive(self) -> Pair:
        """Anna forgot to call Peter. Anna hat vergessen, Peter anzurufen."""
        form = self.random.random()
        if form < 0.3:
            en, de = self.pick(pairs(JUDGEMENTS))
            deed = self.clause(NOBODY, ("will",), DEEDS, plain=True, timed=False)
            return f"it is {en} {deed.english_infinitive()}", f"es ist {de}, {deed.german_infinitive()}"
        subject = self.person()
        deed = self.clause(subject, ("will",), DEEDS, plain=True, timed=False)
        if form < 0.5:
            main = self.clause(subject, (*PRESENT_TENSES, *PAST_TENSES), MOTIONS, plain=True, timed=False)
            aim_en, aim_de = deed.english_infinitive("in order to"), deed.german_infinitive("um")
            return f"{main.english()} {aim_en}", f"{main.german()}, {aim_de}"
        main = self.clause(subject, ("present", "past", "past", "will"), INFINITIVE_VERBS, plain=True)
        en, de = self.front(main, probability=1)
        return f"{en} {deed.english_infinitive()}", f"{de}, {deed.german_infinitive()}"

    def comparison(self) -> Pair:
        """The car is older than the bicycle. Das Auto ist älter als das Fahrrad."""
        kind = self.pick(("person", "fellow", "animal", "text", "small", "vehicle", "device", "cloth", "venue", "event"))
        word = self.pick([q for q in QUALITIES[kind].split() if ADJECTIVES[q].en_comparative != "-"])
        subject = self.note(self.noun(kind, definite=True, adjectives=()))
        other = self.noun(kind, definite=True, adjectives=())
        while other.noun == subject.noun:
            other = self.noun(kind, definite=True, adjectives=())
        clause = self.state(subject, word, self.pick(("present", "past")), self.chance(0.4))
        self.combos.add(f"adjective:{word} {self.note(other).noun}")
        quality = ADJECTIVES[word]
        if clause.negated:
            part = Part(f"as {word} as {other.en}", f"so {quality.de} wie {other.de[NOM]}", "direct", "goal")
        else:
            en, de = f"{quality.en_comparative} than {other.en}", f"{quality.de_comparative} als {other.de[NOM]}"
            part = Part(en, de, "direct", "goal")
        clause = replace(clause, parts=(part, *clause.parts[1:]))
        return clause.english(), clause.german()

    def position(self) -> Pair:
        """The red book lies on the table. Das rote Buch liegt auf dem Tisch."""
        verb = self.pick([verb for verb in VERBS if verb.frame == "lie"])
        subject = self.note(self.noun(self.pick(verb.objects), definite=self.chance(0.6)))
        self.combos.add(f"object:{verb.en[0]} {subject.noun}")
        tense = self.pick(("present", "past"))
        parts = [self.surface(DAT)]
        if tense == "past" and self.chance(0.5):
            parts.append(self.time("past"))
        return self.front(Clause(subject, verb, tense, tuple(parts)))

    def existence(self) -> Pair:
        """In Vienna there is an old church. In Wien gibt es eine alte Kirche."""
        noun = self.pick([noun for kind in ("venue", "stop") for noun in NOUNS_OF[kind]])
        many, negated = self.chance(0.4), self.chance(0.2)
        det = ("no" if negated else str(self.number(2, 40))) if many else "no" if negated else "a"
        thing = self.note(noun_phrase(noun, det, self.adjectives(noun.kind), many))
        city = self.pick(pairs(CITIES))
        en = f"there {'are' if many else 'is'} {thing.en}"
        if self.chance(0.5):
            return f"in {city[0]} {en}", f"in {city[1]} gibt es {thing.de[ACC]}"
        return f"{en} in {city[0]}", f"es gibt in {city[1]} {thing.de[ACC]}"

    def numeral(self) -> tuple[str, str]:
        """Choose a number from 13 to 99."""
        n = self.number(13, 99)
        self.combos.update((f"number:{n}",) if is_compound(n) else ())
        return number_en(n), number_de(n)

    def measure(self) -> Pair:
        """Peter is thirty years old. Peter ist dreißig Jahre alt. The lamp costs forty euros."""
        en, de = self.numeral()
        if self.chance(0.5):
            part = Part(f"{en} years old", f"{de} Jahre alt", "direct", "goal")
            clause = Clause(self.person(), BE, self.pick(("present", "past")), (part,))
        else:
            kind = self.pick(("small", "picture", "vessel", "vehicle", "device", "cloth", "surface"))
            part = Part(f"{en} euros", f"{de} Euro", "direct", "goal")
            clause = Clause(self.note(self.noun(kind, definite=True)), COST, "present", (part,))
        return clause.english(), clause.german()

    def calendar(self) -> Pair:
        """Anna's birthday is on the third of May. Annas Geburtstag ist am dritten Mai."""
        subject = self.note(self.noun(self.pick(("day", "event"))))
        part = Part(*self.date(), "direct", "goal")
        clause = Clause(subject, BE, self.pick(("present", "past", "will")), (part,))
        return clause.english(), clause.german()

    def pronoun(self) -> Pair:
        """Anna bought a lamp, but it is broken. Anna hat eine Lampe gekauft, aber sie ist kaputt."""
        kind = self.pick(("text", "press", "small", "picture", "vessel", "vehicle", "device", "cloth", "surface", "animal"))
        verbs = [verb for verb in VERBS if verb.frame == "acc" and kind in verb.objects]
        subject, thing = self.hero(), self.note(self.noun(kind))
        main = self.clause(subject, ("past", "past", "present"), verbs, given=thing)
        it = replace(IT[thing.gender], noun=thing.noun)
        if self.chance(0.5):
            sub = self.state(it, self.pick(QUALITIES[kind].split()), "present")
        else:
            others = [verb for verb in verbs if verb != main.verb]
            sub = self.clause(PRONOUN_OF[subject.owner], ALL_TENSES, others, given=it, timed=False)
        en, de = self.front(main)
        link_en, link_de = self.pick(pairs("but=aber; and=und"))
        return f"{en}, {link_en} {sub.english()}", f"{de}, {link_de} {sub.german()}"

    def pair(self) -> Pair:
        """Anna works, and Peter sleeps. Anna arbeitet, und Peter schläft."""
        tenses = self.pick((("present",), ("past",), ("will",)))
        first = self.clause(tenses=tenses, verbs=DEEDS, timed=False)
        second = self.clause(self.person(first.subject), tenses, DEEDS, timed=False)
        en, de = self.pick(pairs("but=aber; and=und"))
        return f"{first.english()}, {en} {second.english()}", f"{first.german()}, {de} {second.german()}"

    def sentence(self) -> Sentence:
        """Make a sentence of four to twenty words."""
        while True:
            self.combos = set()
            en, de = self.pick(CONSTRUCTIONS)(self)
            if 4 <= len(words(en)) <= 20:
                mark = "" if en.endswith("?") else "."
                return Sentence(en[0].upper() + en[1:] + mark, de[0].upper() + de[1:] + mark, frozenset(self.combos))


WEIGHTS = {
    Grammar.statement: 24, Grammar.question: 6, Grammar.adverb_question: 4, Grammar.who_question: 3,
    Grammar.object_question: 5, Grammar.where_question: 2, Grammar.reason: 8, Grammar.condition: 5,
    Grammar.sequence: 4, Grammar.report: 8, Grammar.relative_subject: 4, Grammar.relative_object: 4,
    Grammar.infinitive: 8, Grammar.comparison: 4, Grammar.position: 4, Grammar.existence: 3,
    Grammar.measure: 5, Grammar.calendar: 3, Grammar.pronoun: 5, Grammar.pair: 3,
}
CONSTRUCTIONS = [construction for construction, weight in WEIGHTS.items() for _ in range(weight)]


# ----------------------------------------------------------------------------------------------------- corpus


def generate(seed: int, sizes: Mapping[str, int]) -> dict[str, list[Sentence]]:
    """Make the splits in the order train, valid, test; no English or German sentence stands twice in them."""
    grammar = Grammar(seed)
    seen: set[str] = set()
    known: set[str] = set()

    def draw(count: int, held_out: bool) -> Iterator[Sentence]:
        while count:
            sentence = grammar.sentence()
            text = {sentence.en, sentence.de}
            if sentence.held_out != held_out or text & seen:
                continue
            if known and not known.issuperset({*words(sentence.en), *words(sentence.de)} - sentence.fresh_words()):
                continue
            seen.update(text)
            count -= 1
            yield sentence

    corpus = {"train": list(draw(sizes["train"], held_out=False))}
    known.update(word for sentence in corpus["train"] for word in (*words(sentence.en), *words(sentence.de)))
    for split in ("valid", "test"):
        half = sizes[split] // 2
        corpus[split] = [*draw(half, held_out=True), *draw(sizes[split] - half, held_out=False)]
    return corpus


def main(argv: Sequence[str] | None = None) -> int:
    """Write the corpus."""
    parser = argparse.ArgumentParser(description="Write a small English-German parallel corpus.")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    for split, size in {"train": 24_000, "valid": 500, "test": 1_000}.items():
        parser.add_argument(f"--{split}", type=int, default=size, help=f"number of pairs in {split} ({size})")
    args = parser.parse_args(argv)
    corpus = generate(args.seed, {split: getattr(args, split) for split in ("train", "valid", "test")})
    args.out_dir.mkdir(parents=True, exist_ok=True)
    for split, sentences in corpus.items():
        for language in ("en", "de"):
            lines = "".join(getattr(sentence, language) + "\n" for sentence in sentences)
            (args.out_dir / f"{split}.{language}").write_bytes(lines.encode())
        print(f"{split}: {len(sentences)} pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
