"""Random parts of sentences: noun phrases, places, times, and clauses made of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from quickstart import lexicon
from quickstart.clauses import NOT, Clause, Part
from quickstart.forms import (
    ACC,
    ADJECTIVE,
    DAT,
    GAP,
    IT,
    KINDS,
    NOBODY,
    PLURAL_FORM,
    POSSESSIVES,
    PRONOUNS,
    VERBS,
    Noun,
    Pair,
    Phrase,
    Verb,
    contract,
    join,
    listed,
    noun_phrase,
    number_de,
    number_en,
    ordinal_de,
    ordinal_en,
    pairs,
)

T = TypeVar("T")

HUMAN = listed("person fellow youth")
PEOPLE = listed("person fellow fellow youth kin kin")
COLOURS = listed(lexicon.COLOURS)
NEAR = listed("here there outside")  # "hier nicht", but "nicht im Garten"
COUNTED = listed("text food thing cloth animal")
UNGRADED = listed(lexicon.UNGRADED)
WOMEN, MEN = listed(lexicon.WOMEN), listed(lexicon.MEN)
SYLLABLES = [listed(syllables) for syllables in lexicon.SYLLABLES]
CITIES = pairs(lexicon.CITIES)

PRESENT_TENSES = listed("present present present progressive progressive perfect perfect will going can should want "
                        "have need must may would")  # fmt: skip
PAST_TENSES = listed("past past past past was_doing wanted had")
WHEN_TENSES = listed("past past will going should want can")
ALL_TENSES = [*PRESENT_TENSES, *PAST_TENSES, *listed("present present progressive past like liking")]
LIKING = listed("like liking")
CLAUSE_FRAMES = listed("that whether infinitive be do weather")  # frames that `clause` alone does not fill
ACTIONS = [verb for verb in VERBS if verb.frame not in CLAUSE_FRAMES]
DEEDS = [verb for verb in ACTIONS if not set(verb.marks) & set("nsv")]
OBJECT_VERBS = [verb for verb in ACTIONS if verb.objects and verb.frame != "dat acc"]


def verbs_of(*frames: str) -> list[Verb]:
    """Give the verbs that stand in one of these frames."""
    return [verb for verb in VERBS if verb.frame in frames]


def nouns_of(spec: str) -> list[Noun]:
    """Give the nouns of a kind, or of "kind-noun" just that one."""
    kind, _, only = spec.partition("-")
    return [noun for noun in KINDS[kind].nouns if only in ("", noun.en)]


def both(one: Phrase, other: Phrase) -> Phrase:
    """Join two noun phrases by "and"."""
    en = f"{one.en} and {other.en}"
    de = [f"{first} und {second}" for first, second in zip(one.de, other.de, strict=True)]
    return Phrase(en, en, de, PLURAL_FORM, "p", "their", kind=one.kind, new=one.new and other.new)


class Parts:
    """Makes random parts of sentences and notes the combinations in them."""

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

    def numeral(self, n: int) -> Pair:
        """Write a number in words or, at times, in digits."""
        return (str(n), str(n)) if self.chance(0.4) else (number_en(n), number_de(n))

    # Noun phrases.

    def adjectives(self, noun: Noun) -> list[str]:
        """Choose none, one, or two adjectives (the second a colour) that suit a noun."""
        qualities = KINDS[noun.kind].qualities
        chosen = [self.pick(qualities)] if qualities and self.chance(0.25) else []
        colours = [quality for quality in qualities if quality in COLOURS]
        if chosen and colours and chosen[0] not in COLOURS and self.chance(0.12):
            chosen.append(self.pick(colours))
        self.combos.update(f"adjective:{adjective} {noun.en}" for adjective in chosen)
        return chosen

    def noun(self, spec: str, other: Phrase = NOBODY, mode: str = "", bare: bool = False) -> Phrase:
        """Choose a noun phrase; the mode is "the", "definite" or "negated" (kein), bare is without adjectives."""
        noun = self.pick([noun for noun in nouns_of(spec) if noun.en != other.noun])
        plural = noun.en_plural != "-" and self.chance(0.22)
        adjectives = [] if bare else self.adjectives(noun)
        det = mode if mode == "the" else self.pick(KINDS[noun.kind].determiners)
        if det == "own":
            return self.owned(noun, adjectives, plural, other)
        many = plural or det == "bare"
        if det in ("a", "bare") and mode == "definite":
            det = "the" if noun.kind not in ("language", "sport") else ""
        elif det in ("a", "bare"):
            det = self.none(noun, many) if mode else self.count(noun.kind, plural) if many else "a"
        if plural:
            det = {"this": "these", "that": "those"}.get(det, det)
        return noun_phrase(noun, det, adjectives, plural)

    def none(self, noun: Noun, many: bool) -> str:
        """Choose the determiner that kein stands for: not a dog, not any dogs, no dogs, not German."""
        if noun.kind == "sport":
            return "not"
        if self.chance(0.15):
            return "no"
        return ("not" if noun.kind == "language" else self.pick(("any", "not"))) if many else "not a"

    def count(self, kind: str, plural: bool) -> str:
        """Choose a number or another word for many things, or none."""
        if kind in ("language", "sport") or self.chance(0.25):
            return ""
        if not plural:
            return "some" if self.chance(0.2) else ""
        if self.chance(0.2):
            return self.pick(("some", "many"))
        if kind in HUMAN or kind == "relation":
            return str(self.number(2, 12))
        return str(self.number(2, self.pick((12, 99)))) if kind in COUNTED else ""

    def owned(self, noun: Noun, adjectives: list[str], plural: bool, other: Phrase) -> Phrase:
        """Give the noun an owner: a possessive (often that of `other`), a name or another noun."""
        form, possessive = self.random.random(), self.pick([*POSSESSIVES, "my", "my", "your"])
        if form < 0.75:
            return noun_phrase(noun, (form < 0.5 and other.owner) or possessive, adjectives, plural)
        if form < 0.85:
            name = self.pick([name for name in WOMEN + MEN if name not in other.en])
            return noun_phrase(noun, f"{name}'s", adjectives, plural)
        owners = [owner for kind in (*HUMAN, "kin") for owner in KINDS[kind].nouns if owner.gender != "p"]
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
        if form < 0.42:
            taken = ("my", "our") if other.owner in ("my", "our") else (other.owner,)
            people = [phrase for owner, phrase in PRONOUNS.items() if owner not in taken]
            return self.pick([*people, people[0]])
        if form < 0.64:
            return self.named(other)
        return self.noun(self.pick(PEOPLE), other, mode)

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
        if self.chance(0.25):
            return Part(*self.pick_pair(lexicon.FIXED_PLACES[slot]), slot, slot)
        kinds = ["house", "inside", "venue", "venue", "stop", *(["furniture"] if slot == "place" else [])]
        phrase = self.noun(self.pick(kinds), bare=self.chance(0.6))
        en, de = lexicon.PLACES[f"{phrase.kind} {slot}"]
        case = ACC if slot == "goal" and de == "in" else DAT
        return Part(f"{en} {phrase.en}", contract(de, phrase.de[case]), slot, slot)

    def date(self) -> Pair:
        """Choose a date: on the third of May, am dritten Mai."""
        day, month = self.pick(range(1, 31)), self.pick_pair(lexicon.MONTHS)
        self.combos.add(f"date:{day} {month[0]}")
        return f"on the {ordinal_en(day)} of {month[0]}", f"am {ordinal_de(day)}n {month[1]}"

    def adverb(self, table: str) -> Part:
        """Choose an adverb that stands before the English verb; some take the place of nicht."""
        en, de = self.pick_pair(table)
        return Part(en, de, "mid", "not" if table == lexicon.PERFECT_ADVERBS or en == "never" else "time")

    def time(self, group: str) -> Part:
        """Choose a time that suits a group of tenses."""
        form, n = self.random.random(), self.number(2, 12)
        if group == "now" or form < 0.6:
            en, de = self.pick_pair(lexicon.TIMES[group])
        elif form < 0.72:
            en, de = self.numeral(n)
            en, de = f"at {en} o'clock", f"um {de} Uhr"
        elif group == "habit":
            return self.adverb(lexicon.HABITS)
        elif form < 0.85:
            en, de = self.date()
        else:
            en, de = self.pick_pair(lexicon.UNITS)
            en = f"in {number_en(n)} {en}" if group == "future" else f"{number_en(n)} {en} ago"
            de = f"{'in' if group == 'future' else 'vor'} {number_de(n)} {de}"
        return Part(en, de, "time", "time")

    def time_of(self, clause: Clause) -> Part:
        """Choose a time that suits the tense of a clause."""
        if clause.tense in (*PAST_TENSES, "could"):
            return self.time("past")
        if clause.tense == "present":
            return self.time("now" if clause.negated else "habit")
        if clause.tense == "progressive" and self.chance(0.75):
            plain = not clause.negated and self.chance(0.25)
            return self.adverb(lexicon.PROGRESSIVE_ADVERBS) if plain else self.time("now")
        return self.time("future")

    def object_phrase(self, verb: Verb, subject: Phrase, mode: str) -> Phrase:
        """Choose an object: people, a thing, two things, or "it"."""
        spec = self.pick(verb.objects)
        if spec == "people":
            return self.person(subject, mode)
        form = self.random.random()
        if form > 0.96 and mode != "negated" and verb.frame == "acc":
            return IT["n"]
        phrase = self.noun(spec, subject, mode)
        if form < 0.04 and len(nouns_of(spec)) > 1 and not mode:
            second = self.noun(spec, phrase)
            self.combos.update(f"object:{verb.en[0]} {each.noun}" for each in (phrase, second))
            return both(phrase, second)
        return phrase

    def direct_object(self, verb: Verb, subject: Phrase, given: Phrase | None, mode: str) -> Part:
        """Choose an object (or take the given one) and put it into the case that the verb governs."""
        preposition, case = verb.government
        phrase = given or self.object_phrase(verb, subject, mode)
        self.combos.update([f"object:{verb.en[0]} {phrase.noun}"] if phrase.noun else [])
        slot = "new" if phrase.new else "known" if mode else "direct"
        slot = "goal" if preposition else "pronoun" if phrase.kind == "pronoun" else slot
        en_slot = "inside" if slot == "pronoun" and "x" in verb.marks else "direct"
        german = contract(preposition, phrase.de[case]) if preposition else phrase.de[case]
        return Part(phrase.en_object, german, en_slot, slot)

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
        elif verb.frame in lexicon.CITY_PREPOSITIONS and given is not GAP:
            en, de = self.pick(CITIES)
            yield Part(f"{verb.frame} {en}", f"{lexicon.CITY_PREPOSITIONS[verb.frame]} {de}", "goal", "goal")

    def manner(self, clause: Clause) -> Iterator[Part]:
        """Give manner or company as verb and tense allow."""
        if clause.negated or clause.tense in ("perfect", *LIKING):
            return
        manners = [mark for mark in "mgwt" if mark in clause.verb.marks]
        manner = self.pick(manners) if manners and self.chance(0.3) else ""
        if manner == "w":
            phrase = self.person(clause.subject)
            yield Part(f"with {phrase.en_object}", f"mit {phrase.de[DAT]}", "manner", "manner")
        elif manner:
            yield Part(*self.pick_pair(lexicon.MANNERS[manner]), "manner", "manner")

    def circumstances(self, clause: Clause, allow: str) -> Iterator[Part]:
        """Give manner, place and time as verb and tense allow."""
        marks, tense = set(clause.verb.marks), clause.tense
        if "details" in allow:
            yield from self.manner(clause)
            if "p" in marks and self.chance(0.25):
                place = self.place("place")
                yield place._replace(de_slot="here") if place.en in NEAR else place
        if tense in LIKING:
            yield Part("", "nicht gern" if clause.negated else "gern", "", "time")
        elif tense == "perfect":
            if "time" in allow and not clause.negated and self.chance(0.55):
                yield self.adverb(lexicon.PERFECT_ADVERBS)
        elif "time" in allow and self.chance(0.42) and not (tense == "present" and marks & set("nsv")):
            yield self.time_of(clause)

    def negation(self, verb: Verb, tense: str) -> tuple[str, Part]:
        """Choose how an object is negated and the word that negates when the object does not."""
        yet = tense == "perfect" and self.chance(0.4)
        nicht = Part("yet", "noch nicht", "end", "not") if yet else NOT
        return "definite" if yet or verb.government[0] or verb.frame == "dat acc" else "negated", nicht

    def actor(self, verbs: Sequence[Verb], tenses: Sequence[str]) -> tuple[Phrase, Sequence[Verb]]:
        """Choose who does something: somebody or, where one of the verbs suits it, sometimes an animal."""
        if self.chance(0.08):
            animal_verbs = [verb for verb in verbs if "a" in verb.marks and any(map(verb.allows, tenses))]
            if animal_verbs:
                return self.noun("animal"), animal_verbs
        return self.person(), verbs

    def clause(
        self,
        subject: Phrase | None = None,
        tenses: Sequence[str] = ALL_TENSES,
        verbs: Sequence[Verb] = ACTIONS,
        given: Phrase | None = None,
        allow: str = "negation time details",
    ) -> Clause:
        """Make a clause; `given` is a ready object or the GAP of one (or of a goal) that stands elsewhere."""
        if subject is None:
            subject, verbs = self.actor(verbs, tenses)
        suitable: list[str] = []
        while not suitable:
            verb = self.pick(verbs)
            suitable = [tense for tense in tenses if verb.allows(tense)]
        tense = self.pick(suitable)
        negated = "negation" in allow and not given and self.chance(0.2)
        tense = "could" if negated and tense == "had" else tense
        mode, nicht = self.negation(verb, tense) if negated and tense not in LIKING else ("", NOT)
        parts = list(self.complements(verb, subject, given, mode))
        if mode == "definite" or (mode and not any(part.de_slot == "new" for part in parts)):
            parts.append(nicht)
        if any(part.en.startswith("no ") for part in parts):
            negated = False  # "I have no dog" needs no "not"
        clause = Clause(subject, verb, tense, parts, negated, self.chance(0.35))
        return replace(clause, parts=[*parts, *self.circumstances(clause, allow)])

    def being(self, subject: Phrase, tense: str, en: str, de: str, doubt: float = 0.2) -> Clause:
        """Say what somebody or something is, or with some probability is not."""
        negated = self.chance(doubt)
        parts = [Part(en, de, "direct", "goal"), *([NOT] if negated else [])]
        return Clause(subject, verbs_of("be")[0], tense, parts, negated, self.chance(0.35))

    def quality(self, subject: Phrase, word: str, tense: str) -> Clause:
        """Say how somebody or something is."""
        self.combos.update([f"adjective:{word} {subject.noun}"] if subject.noun else [])
        degree = self.pick_pair(lexicon.DEGREES) if word not in UNGRADED and self.chance(0.2) else ("", "")
        return self.being(subject, tense, join(degree[0], word), join(degree[1], ADJECTIVE[word]))
