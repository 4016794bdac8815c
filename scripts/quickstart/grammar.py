"""Sentences of the quickstart corpus: every construction is a method that makes one at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from quickstart import lexicon, phrases
from quickstart.clauses import NOT, Clause, Part, ask, attach, declare, subordinate
from quickstart.forms import (
    ACC,
    ADJECTIVE,
    DAT,
    GAP,
    HE_FORM,
    IT,
    KINDS,
    NOBODY,
    NOM,
    PLURAL_FORM,
    PRONOUNS,
    RELATIVE,
    WHAT,
    WHO,
    Pair,
    Phrase,
    Verb,
    english_determiner,
    join,
    listed,
    noun_phrase,
)
from quickstart.parts import (
    ACTIONS,
    ALL_TENSES,
    CITIES,
    COLOURS,
    DEEDS,
    HUMAN,
    LIKING,
    OBJECT_VERBS,
    PAST_TENSES,
    PEOPLE,
    PRESENT_TENSES,
    UNGRADED,
    WHEN_TENSES,
    Parts,
    nouns_of,
    verbs_of,
)
from quickstart.sentences import STYLES, Sentence, punctuate, retype

MOODS, REASONS, STATES = listed(lexicon.MOODS), listed(lexicon.REASONS), listed(lexicon.STATES)
STYLE_LIST = [style for style, weight in STYLES.items() for _ in range(weight)]
WEATHER = noun_phrase(KINDS["weather"].nouns[0], "the")
JUDGED = listed("good bad easy difficult important wonderful great right wrong interesting")
BE_TENSES = listed("present present present present past past will")
DOING_TENSES = listed("progressive progressive progressive past past was_doing will going want can should like")
OWNABLE = listed("text thing furniture device machine cloth house animal")
THINGS = [
    *OWNABLE,
    *listed("song film food vehicle opening inside venue stop sight event idea weather music drink meal"),
]
SHOWN = [*OWNABLE, *OWNABLE, *listed("kin kin fellow youth food idea venue inside drink")]


class Grammar(Parts):
    """Makes random sentences."""

    # Main clauses.

    def front(self, clause: Clause, probability: float = 0.3) -> Pair:
        """Write a main clause, sometimes with its time in front and so, in German, the verb before the subject."""
        time = next((part for part in clause.parts if part.en_slot == "time"), None)
        if time and self.chance(probability):
            rest = replace(clause, parts=[part for part in clause.parts if part != time])
            return rest.english(time.en), rest.german(time.de, inverted=True)
        return clause.english(), clause.german()

    def statement(self) -> Pair:
        """Yesterday Anna opened the window. Gestern hat Anna das Fenster aufgemacht."""
        return self.front(self.clause(allow=self.pick(("negation time details", "negation time", "negation"))))

    def coordination(self) -> Pair:
        """Anna is sleeping and Peter is reading a book. Anna schläft und Peter liest ein Buch."""
        tenses = self.pick((PAST_TENSES, PRESENT_TENSES))
        one, other = self.hero(), self.pick_pair("and=und; and=und; but=aber")
        first, second = self.clause(one, tenses, allow="negation"), self.clause(self.second(one, 0.3), tenses, allow="")
        comma = "," * (other[0] == "but")
        return (
            f"{first.english()}{comma} {other[0]} {second.english()}",
            f"{first.german()}{comma} {other[1]} {second.german()}",
        )

    def reply(self) -> Pair:
        """Yes, I like coffee. Ja, ich mag Kaffee."""
        word, (en, de) = self.pick_pair("yes=ja; no=nein; sorry=tut mir leid"), self.statement()
        return f"{word[0]}, {en}", f"{word[1]}, {de}"

    def command(self) -> Pair:
        """Please open the window. Bitte mach das Fenster auf."""
        verbs = [*DEEDS, *[verb for verb in ACTIONS if verb.en[0] == "forget"] * 4]
        clause = self.clause(PRONOUNS["your"], ["will"], verbs, allow=self.pick(("negation details", "time", "")))
        en, de = clause.commands()
        form = self.random.random()
        if form < 0.25:
            return f"please {en}", f"bitte {de}"
        return (f"{en}, please", f"{de}, bitte") if form < 0.4 else (en, de)

    def proposal(self) -> Pair:
        """Let's go to the park. Lass uns in den Park gehen."""
        verbs = [verb for verb in DEEDS if verb.frame != "in" and not verb.lemma.startswith("sich_")]
        clause = self.clause(PRONOUNS["our"], ["will"], verbs, allow="details")
        _, infinitive = clause.german_verb()
        return f"let's {clause.english_predicate(clause.verb.en[0])}", join(
            "lass uns", clause.german_rest(), infinitive
        )

    def weather(self) -> Pair:
        """It is raining today. Es regnet heute."""
        if self.chance(0.5):
            tenses = listed("progressive progressive present past was_doing will going perfect")
            return self.front(self.clause(IT["n"], tenses, verbs_of("weather"), allow="negation time"))
        if self.chance(0.3):
            return self.front(self.dated(self.being(WEATHER, self.pick(BE_TENSES), "nice", "schön")))
        word = self.pick(listed("cold warm hot dark late"))
        return self.front(self.dated(self.being(IT["n"], self.pick(BE_TENSES), word, ADJECTIVE[word])))

    def order(self) -> Pair:
        """I would like a coffee. Ich möchte einen Kaffee."""
        clause = self.clause(None, ["order"], verbs_of("acc"), allow="")
        return ask(clause) if self.chance(0.25) else declare(clause)

    # Being.

    def dated(self, clause: Clause) -> Clause:
        """Sometimes say when."""
        if not self.chance(0.25):
            return clause
        group = {"present": "now", "past": "past"}.get(clause.tense, "future")
        return replace(clause, parts=[*clause.parts, self.time(group)])

    def state(self) -> Clause:
        """Say what somebody or something is, or where."""
        form, tense = self.random.random(), self.pick(BE_TENSES)
        if form < 0.12:
            return self.quality(IT["n"], self.pick(JUDGED), tense)
        if form < 0.4:
            subject = self.noun(self.pick(THINGS), mode=self.pick(("the", "definite")), bare=self.chance(0.8))
            return self.quality(subject, self.pick(KINDS[subject.kind].qualities), tense)
        subject = self.person()
        if form < 0.75:
            qualities = KINDS[subject.kind].qualities if subject.kind in HUMAN else STATES
            return self.quality(subject, self.pick([*qualities, *STATES]), tense)
        if form < 0.92 and subject.person != PLURAL_FORM and subject.gender != "n":
            return self.profession(subject, tense)
        place = self.place("place")
        return self.being(subject, tense, place.en, place.de)

    def profession(self, subject: Phrase, tense: str) -> Clause:
        """Anna is a teacher; Peter is not a doctor. Anna ist Lehrerin; Peter ist kein Arzt."""
        female, negated = subject.owner == "her", self.chance(0.2)
        en, de = self.pick_pair(lexicon.FEMALE_PROFESSIONS if female else lexicon.PROFESSIONS)
        en, de = f"{english_determiner('a', en)} {en}", join(("keine" if female else "kein") * negated, de)
        return replace(self.being(subject, tense, en, de, 0), negated=negated)

    def being_sentence(self) -> Pair:
        """The house is very big. Das Haus ist sehr groß."""
        clause = self.dated(self.state())
        return ask(clause) if self.chance(0.3) else self.front(clause)

    def location(self) -> Pair:
        """The book is on the table. Das Buch ist auf dem Tisch."""
        subject = self.noun(self.pick((*OWNABLE, "food", "kin", "youth")), mode="the" if self.chance(0.4) else "")
        place = self.place("place")
        clause = self.being(subject, self.pick(BE_TENSES), place.en, place.de)
        if subject.new:
            return self.existence(clause)
        return ask(clause) if self.chance(0.25) else declare(clause)

    def existence(self, clause: Clause) -> Pair:
        """There is a bird in the garden. Im Garten ist ein Vogel."""
        aux, _ = clause.english_verb(False)
        verb, _ = clause.german_verb()
        place, subject = clause.parts[0], clause.subject
        if aux == "will":
            return f"there will be {subject.en} {place.en}", f"{place.de} {verb} {subject.de[NOM]} sein"
        if aux in ("is", "are") and self.chance(0.3):
            return f"{aux} there {subject.en} {place.en}?", f"gibt es {subject.de[ACC]} {place.de}?"
        return f"there {aux} {subject.en} {place.en}", f"{place.de} {verb} {subject.de[NOM]}"

    def presentation(self) -> Pair:
        """This is my mother. Das ist meine Mutter."""
        form = self.random.random()
        shown = self.named(NOBODY) if form < 0.15 else self.noun(self.pick(SHOWN))
        many = shown.person == PLURAL_FORM and form >= 0.15
        shown = replace(shown, person=PLURAL_FORM if many else HE_FORM)
        pointers = "these=das; those=das; here=hier" if many else "this=das; that=das; it=es; here=hier"
        en, de = self.pick_pair(pointers)
        negated = de == "das" and not shown.new and self.chance(0.15)
        subject = Phrase(en, en, [de], shown.person, kind="pronoun" if en in ("that", "it") else "")
        parts = [Part(shown.en, shown.de[NOM], "direct", "goal"), *([NOT] if negated else [])]
        tense = "past" if de == "das" and self.chance(0.15) else "present"
        clause = Clause(subject, verbs_of("be")[0], tense, parts, negated, self.chance(0.35))
        return ask(clause) if de == "das" and self.chance(0.25) else declare(clause)

    def age(self) -> Pair:
        """Peter is thirty years old. Peter ist dreißig Jahre alt."""
        tense, (en, de) = self.pick(("present", "present", "past")), self.numeral(self.number(5, 99))
        return declare(self.being(self.person(), tense, f"{en} years old", f"{de} Jahre alt", 0))

    def calendar(self) -> Pair:
        """Anna's birthday is on the third of May. Annas Geburtstag ist am dritten Mai."""
        subject, tense = self.noun(self.pick(("birthday", "event"))), self.pick(("present", "past", "will"))
        return declare(self.being(subject, tense, *self.date()))

    def price(self) -> Pair:
        """The book costs five euros. Das Buch kostet fünf Euro."""
        thing = self.noun(self.pick((*OWNABLE, "food")), mode="the" if self.chance(0.5) else "", bare=self.chance(0.6))
        many = thing.person == PLURAL_FORM
        if self.chance(0.6):
            en = f"{'do' if many else 'does'} {thing.en} cost"
            if self.chance(0.3):
                en = f"{'are' if many else 'is'} {thing.en}"
            return f"how much {en}?", f"wie viel {'kosten' if many else 'kostet'} {thing.de[NOM]}?"
        en, de = self.numeral(self.number(2, 99))
        return f"{thing.en} {'cost' if many else 'costs'} {en} euros", (
            f"{thing.de[NOM]} {'kosten' if many else 'kostet'} {de} Euro"
        )

    # Questions.

    def who_question(self) -> Pair:
        """Who opened the window? Wer hat das Fenster aufgemacht?"""
        clause = replace(self.clause(WHO), contracted=False)
        return f"{clause.english()}?", f"{clause.german()}?"

    def question(self) -> Pair:
        """Did Anna open the window? Hat Anna das Fenster aufgemacht?"""
        clause = self.clause(allow=self.pick(("time details", "time", "", "negation")))
        clause = replace(clause, tense="perfect") if clause.tense == "may" and clause.negated else clause
        if clause.tense == "perfect" and not clause.negated and not any(part.en_slot == "mid" for part in clause.parts):
            parts = [Part("ever", "schon einmal", "mid", "not")] if self.chance(0.4) else []
            clause = replace(clause, parts=[*clause.parts, *parts])
        return ask(clause)

    def adverb_question(self) -> Pair:
        """Why did Anna go home? Warum ist Anna nach Hause gegangen?"""
        en, de = self.pick_pair("when=wann; why=warum; where=wo; where=wo; where=wohin; where=woher; how=wie")
        if de == "wohin":
            return ask(self.clause(None, ALL_TENSES, verbs_of("goal", "to"), GAP, allow="time"), en, de)
        if de == "woher":
            clause = self.clause(None, ["present", "present", "past"], verbs_of("from"), GAP, allow="")
            return ask(replace(clause, parts=[Part("from", "", "end", "")]), en, de)
        if de == "wo" and self.chance(0.4):
            return ask(self.clause(None, ["present", "past", "will"], verbs_of("in"), GAP, allow=""), en, de)
        if de == "wo":
            verbs = [verb for verb in ACTIONS if "p" in verb.marks]
            return ask(self.clause(None, ALL_TENSES, verbs, allow="time"), en, de)
        tenses, allow = (WHEN_TENSES, "details") if en == "when" else (ALL_TENSES, "time details negation")
        clause = self.clause(None, tenses, DEEDS, allow="time" if en == "how" else allow)
        return ask(replace(clause, negated=False) if clause.tense == "may" and clause.negated else clause, en, de)

    def object_question(self) -> Pair:
        """Which window did Anna open? Welches Fenster hat Anna aufgemacht?"""
        verb = self.pick(OBJECT_VERBS)
        clause = self.clause(None, ALL_TENSES, [verb], GAP, allow=self.pick(("time details", "time", "")))
        spec, (preposition, case) = self.pick(verb.objects), verb.government
        front = WHO if spec == "people" else WHAT
        if spec != "people" and (preposition or self.chance(0.45)):
            noun = self.pick(nouns_of(spec))
            many = noun.en_plural != "-" and self.chance(0.35)
            front = noun_phrase(noun, "how many" if many else "which", self.adjectives(noun), many)
            self.combos.add(f"object:{verb.en[0]} {noun.en}")
        en = "who" if front is WHO and self.chance(0.6) else front.en_object
        return ask(clause, en, join(preposition, front.de[case]))

    def what_question(self) -> Pair:
        """What are you doing? Was machst du?"""
        return ask(self.clause(None, DOING_TENSES, verbs_of("do"), GAP, allow="time"), "what", "was")

    def where_question(self) -> Pair:
        """Where is my key? Wo ist mein Schlüssel?"""
        form = self.random.random()
        kinds = [*OWNABLE, "venue", "venue", "stop", "stop", "inside", "vehicle", "food"]
        mode = "the" if form < 0.5 else "definite"
        subject = self.noun(self.pick(kinds), mode=mode, bare=self.chance(0.7)) if form < 0.75 else self.person()
        en, de = ask(self.being(subject, self.pick(("present", "present", "past")), "", "", 0), "where", "wo")
        if self.chance(0.15):
            return f"excuse me, {en}", f"entschuldigung, {de}"
        return en, de

    def how_question(self) -> Pair:
        """How old is your sister? Wie alt ist deine Schwester?"""
        form, tense = self.random.random(), self.pick(("present", "present", "past"))
        if form < 0.25:
            subject = self.person()
            aux = {"present": ("is", "are", "geht"), "past": ("was", "were", "ging")}[tense]
            plural = subject.person == PLURAL_FORM or subject.en == "you"
            if subject.en == "I":
                subject = PRONOUNS["your"]
            en = f"how {aux[1] if plural or subject.en == 'you' else aux[0]} {subject.en}?"
            return en, f"wie {aux[2]} es {subject.de[DAT]}?"
        if form < 0.5:
            subject, word = self.person(), self.pick(listed("old old tall"))
        else:
            subject = self.noun(self.pick(OWNABLE), mode="definite", bare=True)
            word = self.pick([word for word in KINDS[subject.kind].qualities if word not in (*COLOURS, *UNGRADED)])
        if form > 0.9:
            many = subject.person == PLURAL_FORM
            return f"what colour {'are' if many else 'is'} {subject.en}?", (
                f"welche Farbe {'haben' if many else 'hat'} {subject.de[NOM]}?"
            )
        return ask(self.being(subject, tense, "", "", 0), f"how {word}", f"wie {ADJECTIVE[word]}")

    def identity_question(self) -> Pair:
        """Who is that man? Wer ist dieser Mann?"""
        subject = self.noun(self.pick(PEOPLE), mode="definite", bare=self.chance(0.7))
        return ask(self.being(subject, "present", "", "", 0), "who", "wer")

    # Sentences of two clauses.

    def reason(self) -> Pair:
        """Anna is happy because Peter came back. Anna ist glücklich, weil Peter zurückgekommen ist."""
        conjunction = self.pick_pair("because=weil; because=weil; although=obwohl")
        subject, tense = self.hero(), self.pick(("present", "past"))
        tenses = PAST_TENSES if tense == "past" else PRESENT_TENSES
        if self.chance(0.5):
            main = self.quality(subject, self.pick(MOODS), tense)
            sub = self.clause(self.second(subject, 0.5), tenses)
        else:
            main = self.clause(subject, tenses, DEEDS, allow="negation details")
            sub = self.quality(self.second(subject, 1), self.pick(REASONS), tense)
        return attach(main, subordinate(conjunction, sub), first=self.chance(0.2))

    def moment(self) -> Pair:
        """When I came home, Anna was sleeping. Als ich nach Hause gekommen bin, hat Anna geschlafen."""
        subject = self.hero()
        main = self.clause(subject, listed("past was_doing"), DEEDS, allow="")
        sub = self.clause(self.second(subject, 0.3), ["past"], allow="")
        return attach(main, subordinate(("when", "als"), sub), first=self.chance(0.5))

    def condition(self) -> Pair:
        """If it rains, Anna will stay at home. Wenn es regnet, wird Anna zu Hause bleiben."""
        main = self.clause(None, listed("will will going can should want have"), allow="negation details")
        en, de = self.pick_pair(lexicon.CONDITIONS)
        return attach(main, (f"if {en}", f"wenn {de}"), first=self.chance(0.5))

    def report(self) -> Pair:
        """I do not know whether Peter called me. Ich weiß nicht, ob Peter mich angerufen hat."""
        subject, verb = self.hero(), self.pick(verbs_of("that", "whether"))
        main = self.clause(subject, ["present", "present", "past"], [verb], allow="")
        conjunction = ("that", "dass")
        if verb.frame == "that":
            conjunction = ("", "dass") if self.chance(0.35) else conjunction
            hope = ["will", "will", "can", "want"]
            if verb.en[0] != "hope" and self.chance(0.4):
                sub = self.state()
            else:
                tenses = hope if verb.en[0] == "hope" else ALL_TENSES
                sub = self.clause(self.second(subject, 0.35), tenses, allow="negation time")
        else:
            conjunction = self.pick_pair("whether=ob; if=ob; why=warum; when=wann")
            main = replace(main, parts=[NOT], negated=True) if verb.en[0] == "know" else main
            tenses, allow = (WHEN_TENSES, "") if conjunction[0] == "when" else (ALL_TENSES, "time")
            sub = self.clause(self.second(subject, 0.35), tenses, DEEDS, allow=allow)
        return attach(main, subordinate(conjunction, sub))

    def relative_clause(self, noun: Phrase, but: Verb | None = None) -> Pair:
        """Give who called me, that Anna bought; der mich angerufen hat, das Anna gekauft hat."""
        human = noun.kind in HUMAN
        if human and self.chance(0.5):
            clause = self.clause(replace(noun, en="who", de=RELATIVE[noun.gender], kind="pronoun"))
            clause = replace(clause, contracted=False)
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
            en, de = self.pick_pair(lexicon.JUDGEMENTS)
            en, de = f"it is {en}", f"es ist {de}"
        elif form < 0.5:
            tenses = [tense for tense in (*PRESENT_TENSES, *PAST_TENSES) if tense not in LIKING]
            en, de = declare(self.clause(subject, tenses, verbs_of("goal", "to"), allow=""))
            aim = deed.infinitives("in order to", "um")
        else:
            verbs, tenses = verbs_of("infinitive"), ["present", "past", "past", "will"]
            en, de = self.front(self.clause(subject, tenses, verbs, allow="time"), probability=1)
        return f"{en} {aim[0]}", f"{de}, {aim[1]}"

    def reference(self) -> Pair:
        """Anna bought a lamp, but it is broken. Anna hat eine Lampe gekauft, aber sie ist kaputt."""
        kind = self.pick(("text", "thing", "machine", "device", "cloth", "animal"))
        verbs = [verb for verb in verbs_of("acc") if kind in verb.objects and not set(verb.marks) & set("sv")]
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

    # Short texts.

    def template(self) -> Pair:
        """My name is Anna. Mein Name ist Anna."""
        en, de = self.pick(phrases.TEMPLATES)
        slots = {"city": self.pick(CITIES), "language": self.pick(phrases.LANGUAGES), "day": self.pick(phrases.DAYS)}
        hour = self.number(2, 12)
        slots |= {"hour": self.numeral(hour), "time": self.pick(phrases.LATER)}
        if "{name}" in en:
            slots["name"] = (name := self.named(NOBODY).en.partition(" and ")[0], name)
        if "{order}" in en:
            noun = self.noun(self.pick(("drink", "drink", "glassful", "food")))
            slots["order"] = (noun.en, noun.de[ACC])
        return (
            en.format_map({slot: words[0] for slot, words in slots.items()}),
            de.format_map({slot: words[1] for slot, words in slots.items()}),
        )

    def fragment(self) -> Pair:
        """My old friend: mein alter Freund. In the garden: im Garten."""
        if self.chance(0.15):
            place = self.place("place")
            return place.en, place.de
        phrase = self.noun(self.pick((*THINGS, *HUMAN, "kin")))
        return phrase.en, phrase.de[NOM]

    def sentence(self) -> Sentence:
        """Make a sentence of at most sixteen words, as a newcomer might type it."""
        while True:
            self.combos = set()
            construction = self.pick(CONSTRUCTIONS)
            en, de = construction(self)
            # A name that nobody has seen before cannot be spelled right from small letters or capitals.
            style = "proper" if any(combo.startswith("name:") for combo in self.combos) else self.pick(STYLE_LIST)
            if construction is Grammar.fragment:
                return Sentence(*phrases.as_entry((en, de), style), frozenset(self.combos))
            if 2 <= len(en.split()) <= 16:
                return Sentence(*retype(punctuate((en, de)), style), frozenset(self.combos))


WEIGHTS: dict[Callable[[Grammar], Pair], int] = {
    Grammar.statement: 34,
    Grammar.coordination: 2,
    Grammar.reply: 2,
    Grammar.command: 6,
    Grammar.proposal: 1,
    Grammar.weather: 3,
    Grammar.order: 3,
    Grammar.being_sentence: 12,
    Grammar.location: 4,
    Grammar.presentation: 5,
    Grammar.age: 3,
    Grammar.calendar: 2,
    Grammar.price: 2,
    Grammar.question: 9,
    Grammar.who_question: 2,
    Grammar.adverb_question: 6,
    Grammar.object_question: 5,
    Grammar.what_question: 2,
    Grammar.where_question: 2,
    Grammar.how_question: 3,
    Grammar.identity_question: 1,
    Grammar.reason: 4,
    Grammar.moment: 2,
    Grammar.condition: 2,
    Grammar.report: 5,
    Grammar.relative: 4,
    Grammar.infinitive: 4,
    Grammar.reference: 3,
    Grammar.template: 4,
    Grammar.fragment: 3,
}
CONSTRUCTIONS = [construction for construction, weight in WEIGHTS.items() for _ in range(weight)]
