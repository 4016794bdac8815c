"""What is learned by heart: phrases, templates, and a dictionary of single words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from quickstart import lexicon
from quickstart.forms import (
    ADJECTIVE,
    KINDS,
    NOM,
    VERBS,
    Pair,
    key,
    noun_phrase,
    number_de,
    number_en,
    pairs,
)
from quickstart.sentences import capitalize, retype

PHRASE_TABLE = """
Hello.=Hallo. | Hi.=Hallo. | Good morning.=Guten Morgen. | Good day.=Guten Tag. | Good afternoon.=Guten Tag. |
Good evening.=Guten Abend. | Good night.=Gute Nacht. | Goodbye.=Auf Wiedersehen. | Bye.=Tschüss. |
See you.=Bis dann. | See you later.=Bis später. | See you soon.=Bis bald. | Welcome.=Willkommen. |
Yes.=Ja. | No.=Nein. | Yes, please.=Ja, bitte. | No, thank you.=Nein, danke. | No, thanks.=Nein, danke. |
Please.=Bitte. | Thanks.=Danke. | Thank you.=Danke. | Thank you very much.=Vielen Dank. |
Thank you so much.=Vielen Dank. | Thanks a lot.=Vielen Dank. | Many thanks.=Vielen Dank. |
You are welcome.=Gern geschehen. | Sorry.=Tut mir leid. | I am sorry.=Es tut mir leid. |
I am very sorry.=Es tut mir sehr leid. | Excuse me.=Entschuldigung. | Pardon?=Wie bitte? |
How are you?=Wie geht es dir? | How are you today?=Wie geht es dir heute? | How is it going?=Wie geht's? |
I am fine.=Mir geht es gut. | I am fine, thank you.=Mir geht es gut, danke. |
I am well.=Mir geht es gut. | I am not well.=Mir geht es nicht gut. | And you?=Und du? |
What is your name?=Wie heißt du? | Nice to meet you.=Freut mich. | Where are you from?=Woher kommst du? |
What time is it?=Wie spät ist es? | What is this?=Was ist das? | What is that?=Was ist das? |
Who is that?=Wer ist das? | Who is this?=Wer ist das? | Who are you?=Wer bist du? | Who is it?=Wer ist es? |
I do not know.=Ich weiß es nicht. | I know.=Ich weiß. | I do not understand.=Ich verstehe nicht. |
I understand.=Ich verstehe. | Do you understand?=Verstehst du? | I forgot.=Ich habe es vergessen. |
I do not remember.=Ich erinnere mich nicht. | Can you repeat that?=Kannst du das wiederholen? |
Can you help me?=Kannst du mir helfen? | Help!=Hilfe! | Help me!=Hilf mir! | Stop!=Halt! |
Come in.=Komm herein. | Come here.=Komm her. | Go away.=Geh weg. | Sit down.=Setz dich. | Stand up.=Steh auf. |
Be careful.=Sei vorsichtig. | Be quiet.=Sei leise. | Hurry up.=Beeil dich. | Look!=Schau! | Listen!=Hör zu! |
Let's go.=Lass uns gehen. | Do not worry.=Mach dir keine Sorgen. | Do not be afraid.=Hab keine Angst. |
I love you.=Ich liebe dich. | I love you too.=Ich liebe dich auch. | I love you so much.=Ich liebe dich so sehr. |
I love you very much.=Ich liebe dich sehr. | I miss you.=Ich vermisse dich. | I like you.=Ich mag dich. |
Do you love me?=Liebst du mich? | Will you marry me?=Willst du mich heiraten? | Me too.=Ich auch. |
Happy birthday.=Alles Gute zum Geburtstag. | Merry Christmas.=Frohe Weihnachten. |
Happy new year.=Frohes neues Jahr. | Good luck.=Viel Glück. | Have fun.=Viel Spaß. |
Have a nice day.=Schönen Tag noch. | Congratulations.=Herzlichen Glückwunsch. | Enjoy your meal.=Guten Appetit. |
Cheers.=Prost. | Get well soon.=Gute Besserung. | Sleep well.=Schlaf gut. | Take care.=Pass auf dich auf. |
Of course.=Natürlich. | Maybe.=Vielleicht. | OK.=Okay. | Okay.=Okay. | No problem.=Kein Problem. |
You are right.=Du hast recht. | You are wrong.=Du hast unrecht. | That is right.=Das stimmt. |
That is true.=Das ist wahr. | That is good.=Das ist gut. | That is enough.=Das reicht. | I think so.=Ich glaube schon. |
I hope so.=Ich hoffe es. | I do not think so.=Ich glaube nicht. | I agree.=Ich bin einverstanden. |
Really?=Wirklich? | Why?=Warum? | Why not?=Warum nicht? | What?=Was? | Where?=Wo? | When?=Wann? | Who?=Wer? |
How?=Wie? | How much?=Wie viel? | How many?=Wie viele? | How much is it?=Wie viel kostet es? |
How much does it cost?=Wie viel kostet es? | How much is this?=Wie viel kostet das? |
How much does this cost?=Wie viel kostet das? | The bill, please.=Die Rechnung, bitte. |
The menu, please.=Die Karte, bitte. | I would like to pay.=Ich möchte zahlen. | What is up?=Was ist los? |
What is wrong?=Was ist los? | What happened?=Was ist passiert? | What is happening?=Was ist los? |
It does not matter.=Das macht nichts. | It does not work.=Es funktioniert nicht. |
I do not care.=Das ist mir egal. | I have no idea.=Ich habe keine Ahnung. | I am cold.=Mir ist kalt. |
I am hot.=Mir ist warm. | I am lost.=Ich habe mich verlaufen. | I feel sick.=Mir ist schlecht. |
I need a doctor.=Ich brauche einen Arzt. | I need help.=Ich brauche Hilfe. | It hurts.=Es tut weh. |
I am from Germany.=Ich komme aus Deutschland. | I speak a little German.=Ich spreche ein bisschen Deutsch. |
Hello, world!=Hallo, Welt! | Hello world!=Hallo Welt! | This is a test.=Das ist ein Test. |
I am here.=Ich bin hier. | I am ready.=Ich bin bereit. | I am coming.=Ich komme. | I am going.=Ich gehe. |
Here you are.=Bitte schön. | Good idea.=Gute Idee. | Very good.=Sehr gut. | Not bad.=Nicht schlecht. |
Well done.=Gut gemacht. | Never mind.=Macht nichts. | Not yet.=Noch nicht. | Wait a minute.=Warte einen Moment. |
 One moment, please.=Einen Moment, bitte. |
Long time no see.=Lange nicht gesehen. | Once upon a time.=Es war einmal."""
PHRASES = [(en, de) for en, de in (entry.strip().split("=") for entry in PHRASE_TABLE.split("|"))]
TEMPLATES = pairs("""my name is {name}=mein Name ist {name}; my name is {name}=mein Name ist {name};
    I am {name}=ich bin {name}; this is {name}=das ist {name}; hello, {name}=hallo, {name};
    hello {name}=hallo {name}; hi {name}=hallo {name}; good morning, {name}=guten Morgen, {name};
    good evening, {name}=guten Abend, {name}; good night, {name}=gute Nacht, {name};
    goodbye, {name}=auf Wiedersehen, {name}; thank you, {name}=danke, {name};
    how are you, {name}?=wie geht es dir, {name}?; I love you, {name}=ich liebe dich, {name};
    happy birthday, {name}=alles Gute zum Geburtstag, {name}; hello, my name is {name}=hallo, mein Name ist {name};
    hello, I am {name}=hallo, ich bin {name}; are you {name}?=bist du {name}?;
    I am from {city}=ich komme aus {city}; he is from {city}=er kommt aus {city};
    she is from {city}=sie kommt aus {city}; we are from {city}=wir kommen aus {city};
    are you from {city}?=kommst du aus {city}?; welcome to {city}=willkommen in {city};
    {city} is beautiful={city} ist schön; where is {city}?=wo ist {city}?;
    it is {hour} o'clock=es ist {hour} Uhr; it's {hour} o'clock=es ist {hour} Uhr;
    see you {time}=bis {time}; see you {time}=bis {time}; today is {day}=heute ist {day};
    tomorrow is {day}=morgen ist {day}; it is {day}=es ist {day}; {order}, please={order}, bitte;
    {order}, please={order}, bitte; how do you say that in {language}?=wie sagt man das auf {language}?;
    I speak {language}=ich spreche {language}; I do not speak {language}=ich spreche kein {language}""")
LANGUAGES = [(noun.en, noun.de) for noun in KINDS["language"].nouns]
DAYS = pairs(lexicon.DAYS)
LATER = [*pairs("""tomorrow=morgen; tomorrow=morgen; next week=nächste Woche; tonight=heute Abend;
    next year=nächstes Jahr"""), *((f"on {en}", en_de) for en, en_de in DAYS)]  # fmt: skip
DICTIONARY = f"""{lexicon.DAYS}; {lexicon.MONTHS}; {lexicon.CITIES}; {lexicon.HABITS}; {lexicon.JUDGEMENTS};
    I=ich; you=du; he=er; she=sie; it=es; we=wir; they=sie; me=mich; him=ihn; us=uns; them=sie; my=mein;
    your=dein; his=sein; our=unser; their=ihr; this=dies; and=und; or=oder; but=aber; because=weil; if=wenn;
    in=in; on=auf; under=unter; with=mit; without=ohne; for=für; from=aus; to=zu; at=an; of=von; after=nach;
    before=vor; between=zwischen; through=durch; against=gegen; here=hier; there=dort; now=jetzt; today=heute;
    tomorrow=morgen; yesterday=gestern; soon=bald; later=später; again=wieder; also=auch; only=nur; very=sehr; too=zu;
    not=nicht; nothing=nichts; something=etwas; everything=alles; everybody=alle; nobody=niemand; somebody=jemand;
    much=viel; many=viele; more=mehr; less=weniger; all=alle; some=einige; morning=Morgen; afternoon=Nachmittag;
    evening=Abend; night=Nacht; day=Tag; week=Woche; month=Monat; year=Jahr; hour=Stunde; minute=Minute; summer=Sommer;
    winter=Winter; spring=Frühling; autumn=Herbst; weekend=Wochenende; sun=Sonne; moon=Mond; star=Stern; sky=Himmel;
    rain=Regen; snow=Schnee; wind=Wind; fire=Feuer; world=Welt; country=Land; life=Leben; love=Liebe; death=Tod;
    head=Kopf; hand=Hand; eye=Auge; ear=Ohr; mouth=Mund; nose=Nase; hair=Haar; foot=Fuß; heart=Herz; arm=Arm; leg=Bein;
    colour=Farbe; color=Farbe; number=Zahl; language=Sprache; sugar=Zucker; salt=Salz; mum=Mama; mom=Mama;
    dad=Papa; war=Krieg; peace=Frieden; king=König; queen=Königin; hundred=hundert; thousand=tausend"""

UNDETERMINED = ("language", "sport")  # German, the piano


def as_entry(pair: Pair, style: str) -> Pair:
    """Write words that are no sentence: without a stop, and German begins with a capital where English does."""
    en, de = pair
    if "capitals" in style:
        return en.upper(), capitalize(de)
    if style in ("proper", "exclamation", "no stop"):
        return capitalize(en), capitalize(de)
    return (en.lower() if "lower case" in style else en), de


def words() -> Iterator[Pair]:
    """Give single words and what a dictionary would say: dog, Hund; dogs, Hunde; red, rot; sleep, schlafen."""
    for kind in KINDS.values():
        for noun in kind.nouns:
            yield noun.en, noun.decline(NOM)
            if noun.en_plural not in ("-", noun.en):
                yield noun.en_plural, noun.decline(NOM, plural=True)
            for det in ("the", "a", "my") if noun.en_plural != "-" else ("the",) * (noun.kind not in UNDETERMINED):
                phrase = noun_phrase(noun, det)
                yield phrase.en, phrase.de[NOM]
    yield from ADJECTIVE.items()
    yield from pairs(DICTIONARY)
    for verb in VERBS:
        german = verb.lemma.replace("_", " ").replace("-", "")
        yield f"to {verb.en[0]}", german
        yield verb.en[0], german
    for n in range(21):
        yield number_en(n), number_de(n)


def heart() -> list[Pair]:
    """Give all that is learned by heart, each in several spellings: no English text stands twice."""
    found: dict[str, str] = {}
    for pair in PHRASES:
        short = re.sub(r"\b(I) am\b", r"\1'm", re.sub(r"\b([Dd])o not\b", r"\1on't", pair[0]))
        short = re.sub(r"\b(What|That|Who) is\b", r"\1's", short.replace("You are", "You're"))
        for text in dict.fromkeys((pair[0], short)):
            for style in ("proper", "no stop", "exclamation", "lower case", "lower case, no stop", "capitals, no stop"):
                en, de = retype((text, pair[1]), style)
                found.setdefault(en, de)
    first: dict[str, str] = {}  # a word that is two things is what it was first: "work" is Arbeit
    for en, de in words():
        first.setdefault(key(en), de)
        for style in ("lower case", "proper", "capitals"):
            text, german = as_entry((en, first[key(en)]), style)
            found.setdefault(text, german)
    return list(found.items())
