"""The quick-start corpus: reproducible, with disjoint splits, new combinations of known words, and right German."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import check_quickstart as check  # noqa: E402
import make_quickstart_corpus as q  # noqa: E402
from quickstart import clauses, forms, phrases, sentences  # noqa: E402
from quickstart.grammar import Grammar  # noqa: E402

SCRIPT = SCRIPTS / "make_quickstart_corpus.py"
SMALL = {"train": 2_500, "valid": 50, "test": 100}
NOUNS = {noun.en: noun for kind in forms.KINDS.values() for noun in kind.nouns}
HEART = phrases.heart()


Corpus = dict[str, list[Any]]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """The corpus of the quick start, with the default seed and sizes; without what is learned by heart."""
    corpus = q.generate(1, q.SIZES)
    assert [sentence[:2] for sentence in corpus.pop("words")] == HEART
    return corpus


# Reproducible.


def test_same_seed_same_corpus() -> None:
    first = q.generate(5, SMALL)
    assert first == q.generate(5, SMALL)
    assert first["train"] != q.generate(6, SMALL)["train"]


def test_order_of_hashes_does_not_matter(tmp_path: Path) -> None:
    written = []
    for seed in ("0", "1"):
        out = tmp_path / seed
        command = [sys.executable, str(SCRIPT), str(out), "--train", "2000", "--valid", "10", "--test", "10"]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
        written.append({path.name: path.read_bytes() for path in sorted(out.iterdir())})
    assert written[0] == written[1]


# Splits.


def test_sizes(corpus: Corpus) -> None:
    assert {split: len(sentences) for split, sentences in corpus.items()} == q.SIZES


def test_no_english_text_stands_twice(corpus: Corpus) -> None:
    """However it is typed, and counting what is learned by heart."""
    texts = [forms.key(sentence.en) for sentence in chain(*corpus.values())]
    assert len(texts) == len(set(texts))
    assert {forms.key(en) for en, _ in HEART}.isdisjoint(texts)
    assert len({en for en, _ in HEART}) == len(HEART)


def test_no_german_text_stands_in_two_splits(corpus: Corpus) -> None:
    texts = {split: {forms.key(sentence.de) for sentence in corpus[split]} for split in corpus}
    texts["train"] |= {forms.key(de) for _, de in HEART}
    for one, other in combinations(texts.values(), 2):
        assert one.isdisjoint(other)


def test_train_has_no_held_out_combination(corpus: Corpus) -> None:
    assert not any(sentences.is_held_out(combo) for sentence in corpus["train"] for combo in sentence.combos)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_half_of_the_others_has_one(corpus: Corpus, split: str) -> None:
    held_out = [sentence for sentence in corpus[split] if any(map(sentences.is_held_out, sentence.combos))]
    assert len(held_out) == q.SIZES[split] // 2
    labels = {combo.partition(":")[0] for s in held_out for combo in s.combos if sentences.is_held_out(combo)}
    assert labels == {"adjective", "object", "number", "date"}


@pytest.mark.parametrize("split", ["valid", "test"])
def test_only_the_combination_is_new(corpus: Corpus, split: str) -> None:
    """Every word is in train, but for made-up names and the number words that are themselves the combination."""
    known = {word for sentence in corpus["train"] for word in sentence.words()}
    for sentence in corpus[split]:
        assert sentence.words() - sentence.fresh_words() <= known, sentence


def test_combinations_are_those_of_the_sentence(corpus: Corpus) -> None:
    for sentence in corpus["test"]:
        en, de = sentence.en.lower(), sentence.de.lower()
        for label, value in (combo.split(":") for combo in sentence.combos):
            if label == "number":
                n = int(value)
                assert forms.number_en(n) in en or value in en
                assert forms.number_de(n) in de or value in de
            elif label == "date":
                day, month = value.lower().split()
                assert f"{forms.ordinal_en(int(day))} of {month}" in en
            elif label == "name":
                assert value in sentence.en
                assert value in sentence.de
            else:
                first, _, _ = value.partition(" ")
                verbs = [verb for verb in forms.VERBS if value.startswith(f"{verb.en[0]} ")]
                stems = [form.split()[0] for verb in verbs for form in (*verb.en, forms.gerund(verb.en[0]))]
                stems += ["like"] if value.startswith("want ") else []
                assert any(form in en for form in stems or [first]), sentence


# The first words of a newcomer.


def test_examples_are_new_sentences(corpus: Corpus) -> None:
    """No split has them, but for the phrases and words that are learned by heart."""
    asked = {forms.key(english) for english, *_ in q.examples()}
    assert len(q.examples()) > len(asked) > 90
    assert asked.isdisjoint(forms.key(sentence.en) for sentence in chain(*corpus.values()))
    assert len(asked & {forms.key(en) for en, _ in HEART}) < len(asked) / 3


def test_examples_use_words_of_train(corpus: Corpus) -> None:
    known = {word for sentence in corpus["train"] for word in sentence.words()}
    known |= {word for pair in HEART for word in sentences.Sentence(*pair).words()}
    for english, german, *_ in q.examples():
        assert sentences.Sentence(english, german).words() <= known, english


def test_vocabulary_has_three_hundred_everyday_words(corpus: Corpus) -> None:
    verbs = {verb.en[0] for verb in forms.VERBS}
    assert len(verbs) >= 100
    assert len(NOUNS) >= 140
    assert len(forms.ADJECTIVE) >= 60
    counts = Counter(word for sentence in corpus["train"] for word in re.findall(r"[\w-]+", sentence.en.lower()))
    assert not [noun for noun in NOUNS if any(counts[word] < 10 for word in noun.lower().split())]


def test_the_checker_counts_right_translations(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = [row[-1] for row in q.examples()]
    monkeypatch.setattr(check, "translate", lambda run, sentences: right)
    assert check.main(["somewhere"]) == 0
    right[0] = "falsch"
    assert check.main(["somewhere", "--at-least", "1"]) == 1
    assert f"{len(right) - 1} of {len(right)} right" in capsys.readouterr().out


# Form.


def test_german_is_well_formed_however_the_english_is_typed(corpus: Corpus) -> None:
    for sentence in chain(*corpus.values()):
        for text in (sentence.en, sentence.de):
            assert text == " ".join(text.split())
            assert not set(text[:-1]) & set(".?!")
            assert " ," not in text
            assert ",," not in text
        stops = [text[-1] if text[-1] in ".?!" else "" for text in (sentence.en, sentence.de)]
        assert stops[0] == stops[1]
        assert sentence.de[0].isupper() or not stops[0]
        assert not sentence.de.isupper()
        assert len(sentence.en.split()) <= 16


def test_english_comes_as_it_is_typed(corpus: Corpus) -> None:
    english = [sentence.en for sentence in corpus["train"]]
    small, capitals = sum(map(str.islower, english)), sum(map(str.isupper, english))
    no_stop = sum(text[-1].isalnum() for text in english)
    assert 0.1 < small / len(english) < 0.2
    assert 0.02 < capitals / len(english) < 0.1
    assert 0.15 < no_stop / len(english) < 0.3


@pytest.mark.parametrize(
    ("style", "english", "german"),
    [
        ("proper", "I'm in Rome.", "Ich bin in Rom."),
        ("no stop", "I'm in Rome", "Ich bin in Rom"),
        ("lower case", "i'm in rome.", "Ich bin in Rom."),
        ("lower case, no stop", "i'm in rome", "Ich bin in Rom"),
        ("small start, no stop", "I'm in Rome", "Ich bin in Rom"),
        ("capitals", "I'M IN ROME.", "Ich bin in Rom."),
        ("exclamation", "I'm in Rome!", "Ich bin in Rom!"),
    ],
)
def test_retype(style: str, english: str, german: str) -> None:
    assert sentences.retype(("I'm in Rome.", "Ich bin in Rom."), style) == (english, german)


def test_only_short_sentences_are_in_capitals(corpus: Corpus) -> None:
    long = ("The old teacher has not sold the car.", "Der alte Lehrer hat das Auto nicht verkauft.")
    assert sentences.retype(long, "capitals") == long
    loud = [sentence.en for sentence in corpus["train"] if sentence.en.isupper()]
    assert max(len(text.split()) for text in loud) == sentences.LOUDEST


def test_english_decides_german() -> None:
    grammar = Grammar(3)
    german: dict[str, str] = {}
    by_key = {forms.key(en): forms.key(de) for en, de in HEART}
    assert all(by_key[forms.key(en)] == forms.key(de) for en, de in HEART)
    for _ in range(20_000):
        sentence = grammar.sentence()
        if forms.key(sentence.en) not in by_key:  # "get up", for one, is a command or a word of the dictionary
            assert german.setdefault(sentence.en, sentence.de) == sentence.de


def test_subordinate_clauses_end_in_their_finite_verb(corpus: Corpus) -> None:
    finite = {form for rows in (forms.FINITE, forms.PRETERITE) for forms_ in rows.values() for form in forms_}
    finite |= {verb.stem[0] + verb.present(person) for verb in forms.VERBS for person in range(4)}
    for sentence in corpus["train"]:
        clause = sentence.de.rpartition(", ")[2].rstrip(".?!")
        if clause.split()[0] in ("weil", "dass", "ob", "obwohl", "als"):
            assert clause.split()[-1] in finite, sentence


# Words.


@pytest.mark.parametrize(
    ("n", "english", "german"),
    [
        (0, "zero", "null"),
        (1, "one", "eins"),
        (7, "seven", "sieben"),
        (12, "twelve", "zwölf"),
        (16, "sixteen", "sechzehn"),
        (17, "seventeen", "siebzehn"),
        (20, "twenty", "zwanzig"),
        (21, "twenty-one", "einundzwanzig"),
        (30, "thirty", "dreißig"),
        (36, "thirty-six", "sechsunddreißig"),
        (47, "forty-seven", "siebenundvierzig"),
        (70, "seventy", "siebzig"),
        (99, "ninety-nine", "neunundneunzig"),
    ],
)
def test_numbers(n: int, english: str, german: str) -> None:
    assert (forms.number_en(n), forms.number_de(n)) == (english, german)


def test_every_number_has_its_own_words() -> None:
    assert len({forms.number_en(n) for n in range(100)}) == len({forms.number_de(n) for n in range(100)}) == 100


@pytest.mark.parametrize(
    ("n", "english", "german"),
    [
        (1, "first", "erste"),
        (2, "second", "zweite"),
        (3, "third", "dritte"),
        (7, "seventh", "siebte"),
        (8, "eighth", "achte"),
        (12, "twelfth", "zwölfte"),
        (19, "nineteenth", "neunzehnte"),
        (20, "twentieth", "zwanzigste"),
        (21, "twenty-first", "einundzwanzigste"),
        (30, "thirtieth", "dreißigste"),
    ],
)
def test_ordinals(n: int, english: str, german: str) -> None:
    assert (forms.ordinal_en(n), forms.ordinal_de(n)) == (english, german)


@pytest.mark.parametrize(
    ("det", "adjectives", "noun", "plural", "english", "german"),
    [
        ("the", ["old"], "man", False, "the old man", "der alte Mann/den alten Mann/dem alten Mann/des alten Mannes"),
        ("the", [], "boy", False, "the boy", "der Junge/den Jungen/dem Jungen/des Jungen"),
        ("the", [], "student", False, "the student", "der Student/den Studenten/dem Studenten/des Studenten"),
        ("the", [], "child", True, "the children", "die Kinder/die Kinder/den Kindern/der Kinder"),
        ("the", ["expensive"], "car", True, "the expensive cars",
         "die teuren Autos/die teuren Autos/den teuren Autos/der teuren Autos"),
        ("this", ["tired"], "woman", False, "this tired woman",
         "diese müde Frau/diese müde Frau/dieser müden Frau/dieser müden Frau"),
        ("a", ["old"], "book", False, "an old book",
         "ein altes Buch/ein altes Buch/einem alten Buch/eines alten Buches"),
        ("a", ["small", "red"], "coat", False, "a small red coat",
         "ein kleiner roter Mantel/einen kleinen roten Mantel/einem kleinen roten Mantel/eines kleinen roten Mantels"),
        ("a", [], "umbrella", False, "an umbrella",
         "ein Regenschirm/einen Regenschirm/einem Regenschirm/eines Regenschirms"),
        ("our", ["dark"], "kitchen", False, "our dark kitchen",
         "unsere dunkle Küche/unsere dunkle Küche/unserer dunklen Küche/unserer dunklen Küche"),
        ("any", ["black"], "mouse", True, "any black mice",
         "keine schwarzen Mäuse/keine schwarzen Mäuse/keinen schwarzen Mäusen/keiner schwarzen Mäuse"),
        ("", ["good"], "cards", False, "good cards", "gute Karten/gute Karten/guten Karten/guter Karten"),
        ("my", [], "parents", False, "my parents", "meine Eltern/meine Eltern/meinen Eltern/meiner Eltern"),
        ("her", [], "name", False, "her name", "ihr Name/ihren Namen/ihrem Namen/ihres Namens"),
        ("some", ["old"], "key", True, "some old keys",
         "einige alte Schlüssel/einige alte Schlüssel/einigen alten Schlüsseln/einiger alter Schlüssel"),
        ("many", [], "camera", True, "many cameras", "viele Kameras/viele Kameras/vielen Kameras/vieler Kameras"),
        ("some", ["cold"], "water", False, "some cold water",
         "etwas kaltes Wasser/etwas kaltes Wasser/etwas kaltem Wasser/etwas kalten Wassers"),
        ("a", [], "glass of water", False, "a glass of water",
         "ein Glas Wasser/ein Glas Wasser/einem Glas Wasser/eines Glases Wasser"),
        ("that", [], "person", False, "that person", "dieser Mensch/diesen Menschen/diesem Menschen/dieses Menschen"),
        ("not", [], "German", False, "German", "kein Deutsch/kein Deutsch/keinem Deutsch/keines Deutschs"),
        ("no", [], "time", False, "no time", "keine Zeit/keine Zeit/keiner Zeit/keiner Zeit"),
        ("a", [], "university", False, "a university",
         "eine Universität/eine Universität/einer Universität/einer Universität"),
        ("", ["cold"], "milk", False, "cold milk", "kalte Milch/kalte Milch/kalter Milch/kalter Milch"),
        ("", ["warm"], "water", False, "warm water", "warmes Wasser/warmes Wasser/warmem Wasser/warmen Wassers"),
        ("21", ["good"], "apple", True, "twenty-one good apples",
         "einundzwanzig gute Äpfel/einundzwanzig gute Äpfel/einundzwanzig guten Äpfeln/einundzwanzig guter Äpfel"),
        ("Felix's", ["new"], "clock", False, "Felix's new clock",
         "Felix' neue Uhr/Felix' neue Uhr/Felix' neuer Uhr/Felix' neuer Uhr"),
        ("which", ["big"], "dog", False, "which big dog",
         "welcher große Hund/welchen großen Hund/welchem großen Hund/welches großen Hundes"),
    ],
)  # fmt: skip
def test_declension(det: str, adjectives: list[str], noun: str, plural: bool, english: str, german: str) -> None:
    phrase = forms.noun_phrase(NOUNS[noun], det, adjectives, plural)
    assert (phrase.en, "/".join(phrase.de)) == (english, german)


def test_genitive_of_an_owner() -> None:
    phrase = forms.noun_phrase(NOUNS["dog"], "the", ["small"], of=forms.noun_phrase(NOUNS["neighbour"], "the"))
    assert phrase.en == "the neighbour's small dog"
    assert phrase.de[forms.DAT] == "dem kleinen Hund des Nachbarn"


@pytest.mark.parametrize(
    ("preposition", "phrase", "expected"),
    [
        ("in", "dem Park", "im Park"),
        ("in", "das Museum", "ins Museum"),
        ("in", "die Schule", "in die Schule"),
        ("in", "der alten Kirche", "in der alten Kirche"),
        ("an", "dem Bahnhof", "am Bahnhof"),
        ("an", "diesem Bahnhof", "an diesem Bahnhof"),
        ("zu", "der Schule", "zur Schule"),
    ],
)
def test_contraction(preposition: str, phrase: str, expected: str) -> None:
    assert forms.contract(preposition, phrase) == expected


# Clauses.


def clause(subject: str, verb: str, tense: str, noun: str = "") -> Any:
    """Make a clause about "Anna" or a pronoun (named by its possessive); the object is the noun with "the"."""
    who = forms.PRONOUNS.get(subject) or forms.Phrase(subject, subject, [subject] * 4, owner="her")
    thing = forms.noun_phrase(NOUNS[noun], "the") if noun in NOUNS else forms.PRONOUNS.get(noun)
    verbs = [found for found in forms.VERBS if found.en[0] == verb]
    made = Grammar(0).clause(who, [tense], verbs[:1], thing, allow="")
    return replace(made, contracted=False)


@pytest.mark.parametrize(
    ("words", "english", "main", "final"),
    [
        (("Anna", "open", "present", "window"), "Anna opens the window",
         "Anna macht das Fenster auf", "Anna das Fenster aufmacht"),
        (("Anna", "open", "past", "window"), "Anna opened the window",
         "Anna hat das Fenster aufgemacht", "Anna das Fenster aufgemacht hat"),
        (("Anna", "open", "can", "window"), "Anna can open the window",
         "Anna kann das Fenster aufmachen", "Anna das Fenster aufmachen kann"),
        (("your", "call", "want", "doctor"), "you want to call the doctor",
         "du willst den Arzt anrufen", "du den Arzt anrufen willst"),
        (("my", "follow", "past", "dog"), "I followed the dog",
         "ich bin dem Hund gefolgt", "ich dem Hund gefolgt bin"),
        (("their", "wait for", "had", "boy"), "they had to wait for the boy",
         "sie mussten auf den Jungen warten", "sie auf den Jungen warten mussten"),
        (("our", "remember", "past", "trip"), "we remembered the trip",
         "wir haben uns an die Reise erinnert", "wir uns an die Reise erinnert haben"),
        (("Anna", "read", "like", "book"), "Anna likes to read the book",
         "Anna liest gern das Buch", "Anna gern das Buch liest"),
        (("her", "pick up", "will", "his"), "she will pick him up",
         "sie wird ihn abholen", "sie ihn abholen wird"),
        (("your", "put on", "present", "coat"), "you put on the coat",
         "du ziehst den Mantel an", "du den Mantel anziehst"),
        (("Anna", "remember", "past", "trip"), "Anna remembered the trip",
         "Anna hat sich an die Reise erinnert", "sich Anna an die Reise erinnert hat"),
        (("his", "get up", "past"), "he got up", "er ist aufgestanden", "er aufgestanden ist"),
        (("my", "rest", "present"), "I rest", "ich ruhe mich aus", "ich mich ausruhe"),
    ],
)  # fmt: skip
def test_brackets(words: tuple[str, ...], english: str, main: str, final: str) -> None:
    made = clause(*words)
    assert (made.english(), made.german(), made.german_final()) == (english, main, final)


@pytest.mark.parametrize(
    ("tense", "english", "german"),
    [
        ("progressive", "she is writing the letter", "sie schreibt den Brief"),
        ("was_doing", "she was writing the letter", "sie hat den Brief geschrieben"),
        ("perfect", "she has written the letter", "sie hat den Brief geschrieben"),
        ("will", "she will write the letter", "sie wird den Brief schreiben"),
        ("going", "she is going to write the letter", "sie wird den Brief schreiben"),
        ("must", "she must write the letter", "sie muss den Brief schreiben"),
        ("need", "she needs to write the letter", "sie muss den Brief schreiben"),
        ("may", "she may write the letter", "sie darf den Brief schreiben"),
        ("would", "she would like to write the letter", "sie möchte den Brief schreiben"),
        ("liking", "she likes writing the letter", "sie schreibt gern den Brief"),
    ],
)
def test_tenses(tense: str, english: str, german: str) -> None:
    made = clause("her", "write", tense, "letter")
    assert (made.english(), made.german()) == (english, german)


@pytest.mark.parametrize(
    ("tense", "contracted", "english", "question", "german"),
    [
        ("perfect", False, "she has not sold the car", "hasn't she sold the car", "hat das Auto nicht verkauft"),
        ("perfect", True, "she hasn't sold the car", "hasn't she sold the car", "hat das Auto nicht verkauft"),
        ("progressive", True, "she isn't selling the car", "isn't she selling the car", "verkauft das Auto nicht"),
        ("present", True, "she doesn't sell the car", "doesn't she sell the car", "verkauft das Auto nicht"),
        ("past", False, "she did not sell the car", "didn't she sell the car", "hat das Auto nicht verkauft"),
        ("can", True, "she can't sell the car", "can't she sell the car", "kann das Auto nicht verkaufen"),
        ("can", False, "she cannot sell the car", "can't she sell the car", "kann das Auto nicht verkaufen"),
        ("will", True, "she won't sell the car", "won't she sell the car", "wird das Auto nicht verkaufen"),
        ("must", False, "she must not sell the car", "mustn't she sell the car", "darf das Auto nicht verkaufen"),
        ("need", False, "she does not need to sell the car", "doesn't she need to sell the car",
         "muss das Auto nicht verkaufen"),
    ],
)  # fmt: skip
def test_negation(tense: str, contracted: bool, english: str, question: str, german: str) -> None:
    made = clause("her", "sell", tense, "car")
    negated = replace(made, negated=True, contracted=contracted, parts=[*made.parts, clauses.NOT])
    assert (negated.english(), negated.english(inverted=True)) == (english, question)
    assert negated.german() == f"sie {german}"


@pytest.mark.parametrize(
    ("owner", "tense", "english"),
    [
        ("my", "progressive", "I'm sleeping"),
        ("your", "progressive", "you're sleeping"),
        ("his", "perfect", "he's slept"),
        ("their", "perfect", "they've slept"),
        ("our", "will", "we'll sleep"),
        ("her", "would", "she'd like to sleep"),
        ("my", "have", "I have to sleep"),
        ("my", "past", "I slept"),
    ],
)
def test_contractions(owner: str, tense: str, english: str) -> None:
    made = replace(clause(owner, "sleep", tense), contracted=True)
    assert made.english() == english
    assert forms.key(made.english()) == forms.key(replace(made, contracted=False).english())


@pytest.mark.parametrize(
    ("words", "english", "german"),
    [
        (("my", "have", "past", "dog"), "I had the dog", "ich hatte den Hund"),
        (("your", "know", "past", "boy"), "you knew the boy", "du kanntest den Jungen"),
        (("her", "like", "present", "soup"), "she likes the soup", "sie mag die Suppe"),
        (("our", "like", "past", "soup"), "we liked the soup", "wir mochten die Suppe"),
        (("your", "want", "present", "car"), "you want the car", "du willst das Auto"),
        (("my", "want", "order", "soup"), "I would like the soup", "ich möchte die Suppe"),
        (("your", "love", "past", "cat"), "you loved the cat", "du hast die Katze geliebt"),
        (("your", "take", "present", "bus"), "you take the bus", "du nimmst den Bus"),
        (("their", "wait for", "progressive", "train"), "they are waiting for the train", "sie warten auf den Zug"),
        (("her", "dream of", "past", "trip"), "she dreamed of the trip", "sie hat von der Reise geträumt"),
    ],
)  # fmt: skip
def test_everyday_verbs(words: tuple[str, ...], english: str, german: str) -> None:
    made = clause(*words)
    assert (made.english(), made.german()) == (english, german)


def verb(english: str) -> Any:
    """Find a verb by its English base."""
    return next(found for found in forms.VERBS if found.en[0] == english)


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("open", "mach auf"), ("read", "lies"), ("eat", "iss"), ("give", "gib"), ("help", "hilf"), ("take", "nimm"),
        ("speak", "sprich"), ("see", "sieh"), ("forget", "vergiss"), ("meet", "triff"), ("come", "komm"),
        ("sleep", "schlaf"), ("run", "lauf"), ("wear", "trag"), ("work", "arbeite"), ("wait", "warte"),
        ("talk", "rede"), ("answer", "antworte"), ("find", "finde"), ("invite", "lad ein"), ("learn", "lern"),
        ("send", "schick"), ("rest", "ruh aus"), ("live", "wohn"), ("tell", "erzähl"), ("call", "ruf an"),
        ("get up", "steh auf"), ("swim", "schwimm"), ("buy", "kauf"), ("go", "geh"), ("drink", "trink"),
    ],
)  # fmt: skip
def test_imperative(english: str, german: str) -> None:
    assert forms.join(verb(english).imperative(), verb(english).stem[0]).replace("lade", "lad") == german


def test_commands() -> None:
    made = clause("your", "open", "will", "door")
    assert made.commands() == ("open the door", "mach die Tür auf")
    negated = replace(made, negated=True, contracted=True, parts=[*made.parts, clauses.NOT])
    assert negated.commands() == ("don't open the door", "mach die Tür nicht auf")
    assert clause("your", "rest", "will").commands() == ("rest", "ruh dich aus")


@pytest.mark.parametrize(
    ("base", "english"),
    [
        ("sleep", "sleeping"), ("write", "writing"), ("sit", "sitting"), ("run", "running"), ("see", "seeing"),
        ("die", "dying"), ("be", "being"), ("look for", "looking for"), ("put on", "putting on"), ("buy", "buying"),
        ("eat", "eating"), ("begin", "beginning"), ("travel", "travelling"), ("visit", "visiting"), ("go", "going"),
        ("play", "playing"), ("show", "showing"), ("get up", "getting up"), ("cry", "crying"), ("answer", "answering"),
        ("open", "opening"), ("kiss", "kissing"), ("fly", "flying"), ("swim", "swimming"), ("make", "making"),
        ("watch TV", "watching TV"), ("explain", "explaining"), ("clean", "cleaning"), ("drive", "driving"),
    ],
)  # fmt: skip
def test_gerund(base: str, english: str) -> None:
    assert forms.gerund(base) == english


PRESENTS = {
    "sleep": "schlafe schläfst schläft schlafen",
    "eat": "esse isst isst essen",
    "read": "lese liest liest lesen",
    "take": "nehme nimmst nimmt nehmen",
    "see": "sehe siehst sieht sehen",
    "go": "gehe gehst geht gehen",
    "drive": "fahre fährst fährt fahren",
    "wear": "trage trägst trägt tragen",
    "forget": "vergesse vergisst vergisst vergessen",
    "work": "arbeite arbeitest arbeitet arbeiten",
    "talk": "rede redest redet reden",
    "kiss": "küsse küsst küsst küssen",
    "clean": "putze putzt putzt putzen",
    "sit": "sitze sitzt sitzt sitzen",
    "use": "benutze benutzt benutzt benutzen",
    "like": "mag magst mag mögen",
    "want": "will willst will wollen",
    "have": "habe hast hat haben",
    "be": "bin bist ist sind",
    "remember": "erinnere erinnerst erinnert erinnern",
    "repair": "repariere reparierst repariert reparieren",
    "die": "sterbe stirbst stirbt sterben",
    "invite": "lade lädst lädt laden",
}


@pytest.mark.parametrize("english", PRESENTS)
def test_present(english: str) -> None:
    assert [verb(english).present(person) for person in range(4)] == PRESENTS[english].split()


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("dog", "Hund"), ("Dog", "Hund"), ("DOG", "Hund"), ("dogs", "Hunde"), ("the house", "das Haus"),
        ("The house", "Das Haus"), ("a friend", "ein Freund"), ("red", "rot"), ("Red", "Rot"), ("sleep", "schlafen"),
        ("to sleep", "schlafen"), ("rest", "sich ausruhen"), ("work", "Arbeit"), ("parents", "Eltern"),
        ("monday", "Montag"), ("seven", "sieben"), ("hello", "Hallo"), ("HELLO", "Hallo"), ("Hello!", "Hallo!"),
        ("thank you", "Danke"), ("Thank you very much.", "Vielen Dank."), ("How are you?", "Wie geht es dir?"),
        ("how are you", "Wie geht es dir"), ("I'm sorry.", "Es tut mir leid."), ("I love you!", "Ich liebe dich!"),
        ("I don't know", "Ich weiß es nicht"), ("What's your name?", "Wie heißt du?"), ("Help!", "Hilfe!"),
    ],
)  # fmt: skip
def test_learned_by_heart(english: str, german: str) -> None:
    assert dict(HEART)[english] == german


def test_past_tense_never_looks_like_the_present() -> None:
    for verb in forms.VERBS:
        assert not (verb.en[0] == verb.en[2] and verb.allows("past")), verb


def test_verb_stays_second() -> None:
    made = clause("Anna", "open", "past", "window")
    assert made.english("yesterday") == "yesterday Anna opened the window"
    assert made.german("gestern", inverted=True) == "gestern hat Anna das Fenster aufgemacht"
    assert made.english("why", inverted=True) == "why did Anna open the window"
    assert made.german(inverted=True) == "hat Anna das Fenster aufgemacht"
    assert clause("my", "rest", "past").german("gestern", inverted=True) == "gestern habe ich mich ausgeruht"
    assert clause("Anna", "rest", "past").german("gestern", inverted=True) == "gestern hat sich Anna ausgeruht"


def test_zu_stands_inside_the_separable_verb() -> None:
    assert clause("Anna", "open", "will", "window").infinitives() == ("to open the window", "das Fenster aufzumachen")
    assert clause("Anna", "read", "will", "book").infinitives() == ("to read the book", "das Buch zu lesen")
    assert clause("my", "rest", "will").infinitives("in order to", "um") == ("in order to rest", "um mich auszuruhen")


def test_subordinate_clause_in_front_inverts_the_main_clause() -> None:
    reason = clauses.subordinate(("because", "weil"), clause("his", "come back", "past"))
    main = clause("Anna", "open", "past", "door")
    assert clauses.attach(main, reason) == (
        "Anna opened the door because he came back",
        "Anna hat die Tür aufgemacht, weil er zurückgekommen ist",
    )
    assert clauses.attach(main, reason, first=True) == (
        "because he came back, Anna opened the door",
        "weil er zurückgekommen ist, hat Anna die Tür aufgemacht",
    )


@pytest.mark.parametrize(
    ("words", "mode", "english", "german"),
    [
        (("his", "see", "the dog"), "", "he saw the dog in the park today", "er hat heute den Hund im Park gesehen"),
        (("his", "see", "a dog"), "", "he saw a dog in the park today", "er hat heute im Park einen Hund gesehen"),
        (("his", "see", "her"), "", "he saw her in the park today", "er hat sie heute im Park gesehen"),
        (("his", "see", "the dog"), "negated",
         "he did not see the dog in the park today", "er hat den Hund heute nicht im Park gesehen"),
        (("his", "see", "not a dog"), "negated",
         "he did not see a dog in the park today", "er hat heute im Park keinen Hund gesehen"),
        (("his", "talk to", "the child"), "negated",
         "he did not talk to the child in the park today", "er hat heute nicht im Park mit dem Kind gesprochen"),
        (("his", "pick up", "his"), "negated",
         "he did not pick him up in the park today", "er hat ihn heute nicht im Park abgeholt"),
    ],
)  # fmt: skip
def test_parts_stand_in_the_order_of_each_language(
    words: tuple[str, str, str], mode: str, english: str, german: str
) -> None:
    subject, base, text = words
    det, _, noun = text.rpartition(" ")
    thing = forms.noun_phrase(NOUNS[noun], det) if det else forms.PRONOUNS[noun]
    verb = next(found for found in forms.VERBS if found.en[0] == base)
    parts = [clauses.Part("today", "heute", "time", "time"), clauses.Part("in the park", "im Park", "place", "place")]
    parts.append(Grammar(0).direct_object(verb, forms.PRONOUNS[subject], thing, mode))
    parts += [clauses.NOT] if mode and not thing.new else []
    made = clauses.Clause(forms.PRONOUNS[subject], verb, "past", parts, bool(mode))
    assert (made.english(), made.german()) == (english, german)


def test_here_stands_before_nicht() -> None:
    made = clause("your", "smoke", "must")
    here = clauses.Part("here", "hier", "place", "here")
    negated = replace(made, negated=True, parts=[here, clauses.NOT])
    assert (negated.english(), negated.german()) == ("you must not smoke here", "du darfst hier nicht rauchen")


# Constructions: what a grammar that picks at random makes of each.

CONSTRUCTIONS = {
    "command": r"(Bitte )?\w+\b(?! (ich|du|er|wir)\b).*",
    "proposal": r"Lass uns .*n",
    "weather": r"(.* )?(es|das Wetter)\b.*",
    "order": r".*\b(möchte|möchtest|möchten)\b.*",
    "age": r".* (ist|bin|bist|sind|war|warst|waren) .* Jahre alt",
    "where_question": r"(Entschuldigung, )?wo (ist|bin|bist|sind|war|warst|waren) .*\?",
    "what_question": r"was (\w+) .*\?",
    "identity_question": r"wer (ist|sind) .*\?",
    "price": r"wie viel kostet?e?n? .*\?|.* kostet?n? .* Euro|.* kosten .* Euro",
    "moment": r"als .*, (\w+) .*|.*, als .*",
    "condition": r"wenn .*|.*, wenn .*",
    "presentation": r"(das|es|hier|ist|sind|war|waren) .*",
}


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_construction(name: str) -> None:
    grammar = Grammar(2)
    for _ in range(300):
        _, german = getattr(grammar, name)()
        assert re.fullmatch(CONSTRUCTIONS[name], german, re.IGNORECASE), german


def test_professions_agree_with_the_person() -> None:
    grammar, found = Grammar(4), set()
    for _ in range(400):
        made = grammar.profession(forms.PRONOUNS["her"], "present")
        found.add((made.english(), made.german()))
    assert {("she is a teacher", "sie ist Lehrerin"), ("she is a doctor", "sie ist Ärztin")} <= found
    assert ("she is not a teacher", "sie ist keine Lehrerin") in found
    assert len(found) < 40


# Files.


def test_main_writes_aligned_files(tmp_path: Path) -> None:
    assert q.main([str(tmp_path / "data"), "--train", "2000", "--valid", "20", "--test", "30", "--seed", "2"]) == 0
    lines = {path.name: path.read_bytes().decode().split("\n") for path in (tmp_path / "data").iterdir()}
    assert {name: len(found) - 1 for name, found in lines.items()} == {
        f"{split}.{language}": size
        for split, size in (("train", 2000), ("words", len(HEART)), ("valid", 20), ("test", 30))
        for language in ("en", "de")
    }
    assert all(found[-1] == "" and "" not in found[:-1] for found in lines.values())
    assert not any("\r" in line for found in lines.values() for line in found)


def test_train_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        q.generate(1, {"train": 5, "valid": 5, "test": 5})
