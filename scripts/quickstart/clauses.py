"""Clauses: a verb with its parts, which each language puts into its own order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from quickstart.forms import (
    CATENATIVES,
    CLITICS,
    FINITE,
    HE_FORM,
    I_FORM,
    NEGATIVES,
    NOM,
    PASTS,
    PRESENTS,
    PRETERITE,
    Pair,
    Phrase,
    Verb,
    gerund,
    join,
    listed,
)

ENGLISH_ORDER = listed("indirect direct goal manner place time end")
GERMAN_ORDER = listed("pronoun indirect known time here direct not manner place new goal")
MODALS = listed("will can could should must may")
HEAD_NOUNS = listed("it that what where there")  # besides the pronouns, the words that take 's


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
    contracted: bool = False

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
        am, was = {I_FORM: ("am", "was"), HE_FORM: ("is", "was")}.get(self.subject.person, ("are", "were"))
        if tense == "perfect":
            return "has" if he else "have", participle
        if tense == "progressive":
            return am, gerund(base)
        if tense == "was_doing":
            return was, gerund(base)
        if tense == "going":
            return am, f"going to {base}"
        if tense in MODALS:
            return tense, base
        if tense == "would":
            return tense, f"like to {base}"
        if tense == "order":
            return "would", "like"
        if base == "be":
            return was if tense == "past" else am, ""
        return self.english_simple(support)

    def english_simple(self, support: bool) -> Pair:
        """Do the same for the tenses that ask or negate with do."""
        base, third, past, _ = self.verb.en
        he = self.subject.person == HE_FORM
        if self.tense != "past":
            past = ""
        if self.tense == "liking":
            base, third = f"like {gerund(base)}", f"likes {gerund(base)}"
        if self.tense in CATENATIVES:
            base, third, past, *_ = (*(f"{form} to {base}" for form in CATENATIVES[self.tense].split()), "")
        if support:
            return "did" if past else "does" if he else "do", base
        return "", past or (third if he else base)

    def english(self, front: str = "", inverted: bool = False) -> str:
        """Write the English clause, in the order of a question when inverted."""
        auxiliary, verb = self.english_verb(inverted or self.negated)
        subject, no = self.subject.en, "not" if self.negated else ""
        if no and auxiliary in NEGATIVES and (inverted or self.contracted):
            auxiliary, no = NEGATIVES[auxiliary], ""
        elif self.contracted and auxiliary in CLITICS and self.subject.kind == "pronoun" and not inverted and subject:
            subject, auxiliary = subject + CLITICS[auxiliary], ""
        head = (auxiliary, subject) if inverted else (subject, auxiliary)
        text = join(front, *head, no, self.english_parts("mid"))
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
        if tense in PRESENTS:
            return self.verb.present(person), prefix
        if tense == "past" and infinitive in PRETERITE:
            return PRETERITE[infinitive][person], prefix
        if tense in PASTS:
            auxiliary, _, participle = self.verb.perfect.rpartition("_")
            return FINITE["sein" if auxiliary else "haben"][person], participle
        if tense == "order":
            return FINITE[tense][person], ""
        if tense == "must" and self.negated:  # "must not" forbids
            tense = "may"
        return FINITE[tense][person], prefix + infinitive

    def german(self, front: str = "", inverted: bool = False) -> str:
        """Write a German main clause: inverted, the verb is second after a front and first without one."""
        finite, closing = self.german_verb()
        if inverted:
            return join(front, finite, self.german_field(), closing)
        return join(self.subject.de[NOM], finite, self.german_rest(), closing)

    def german_field(self) -> str:
        """Write the subject and the parts where the verb does not divide them: sich goes before a noun."""
        subject, reflexive = self.subject.de[NOM], self.german_parts("reflexive")
        head = (subject, reflexive) if self.subject.kind == "pronoun" else (reflexive, subject)
        return join(*head, self.german_parts(*GERMAN_ORDER))

    def german_final(self) -> str:
        """Write a German subordinate clause: the finite verb is last, and takes its prefix back."""
        finite, closing = self.german_verb()
        verb = closing + finite if self.tense in PRESENTS else join(closing, finite)
        return join(self.german_field(), verb)

    def infinitives(self, en: str = "to", de: str = "") -> Pair:
        """Write "to open the window" and "das Fenster aufzumachen"."""
        prefix, infinitive = self.verb.stem
        zu = f"{prefix}zu{infinitive}" if prefix else f"zu {infinitive}"
        parts = self.german_rest()
        return join(en, self.english_predicate(self.verb.en[0])), join(de, parts, zu)

    def german_rest(self) -> str:
        """Write the German parts without subject and verb."""
        return self.german_parts("reflexive", *GERMAN_ORDER)

    def commands(self) -> Pair:
        """Write "open the window" and "mach das Fenster auf", said to "du"."""
        prefix, _ = self.verb.stem
        parts = self.german_rest()
        no = "don't" if self.contracted else "do not"
        english = join(no if self.negated else "", self.english_predicate(self.verb.en[0]))
        return english, join(self.verb.imperative(), parts, prefix)


def subordinate(conjunction: Pair, clause: Clause) -> Pair:
    """Write a subordinate clause in both languages."""
    return join(conjunction[0], clause.english()), f"{conjunction[1]} {clause.german_final()}"


def attach(main: Clause, sub: Pair, first: bool = False) -> Pair:
    """Join two clauses; a subordinate clause that comes first inverts the German main clause."""
    if first:
        return f"{sub[0]}, {main.english()}", main.german(f"{sub[1]},", inverted=True)
    return f"{main.english()} {sub[0]}", f"{main.german()}, {sub[1]}"


def declare(clause: Clause) -> Pair:
    """Write a main clause in both languages."""
    return clause.english(), clause.german()


def ask(clause: Clause, en: str = "", de: str = "") -> Pair:
    """Write a question, with the question word in front."""
    return f"{clause.english(en, inverted=True)}?", f"{clause.german(de, inverted=True)}?"
