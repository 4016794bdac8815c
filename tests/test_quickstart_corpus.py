"""The quick-start corpus: reproducible, with disjoint splits, new combinations of known words, and right German."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "make_quickstart_corpus.py"
SMALL = {"train": 2_000, "valid": 50, "test": 100}


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_quickstart_corpus", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


q = load()
NOUNS = {noun.en: noun for kind in q.KINDS.values() for noun in kind.nouns}


Corpus = dict[str, list[Any]]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """The corpus of the quick start: the default seed and sizes."""
    return q.generate(1, q.SIZES)


# Reproducible.


def test_same_seed_same_corpus() -> None:
    first = q.generate(5, SMALL)
    assert first == q.generate(5, SMALL)
    assert first["train"] != q.generate(6, SMALL)["train"]


def test_order_of_hashes_does_not_matter(tmp_path: Path) -> None:
    written = []
    for seed in ("0", "1"):
        out = tmp_path / seed
        command = [sys.executable, str(SCRIPT), str(out), "--train", "1500", "--valid", "10", "--test", "10"]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
        written.append({path.name: path.read_bytes() for path in sorted(out.iterdir())})
    assert written[0] == written[1]


# Splits.


def test_sizes(corpus: Corpus) -> None:
    assert {split: len(sentences) for split, sentences in corpus.items()} == q.SIZES


@pytest.mark.parametrize("language", ["en", "de"])
def test_no_sentence_stands_twice(corpus: Corpus, language: str) -> None:
    texts = {split: {getattr(s, language) for s in sentences} for split, sentences in corpus.items()}
    assert {split: len(found) for split, found in texts.items()} == q.SIZES
    for one, other in combinations(texts.values(), 2):
        assert one.isdisjoint(other)


def test_train_has_no_held_out_combination(corpus: Corpus) -> None:
    assert not any(q.is_held_out(combo) for sentence in corpus["train"] for combo in sentence.combos)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_half_of_the_others_has_one(corpus: Corpus, split: str) -> None:
    held_out = [sentence for sentence in corpus[split] if any(map(q.is_held_out, sentence.combos))]
    assert len(held_out) == q.SIZES[split] // 2
    labels = {combo.partition(":")[0] for s in held_out for combo in s.combos if q.is_held_out(combo)}
    assert labels == {"adjective", "object", "number", "date"}


@pytest.mark.parametrize("split", ["valid", "test"])
def test_only_the_combination_is_new(corpus: Corpus, split: str) -> None:
    """Every word is in train, but for made-up names and the number words that are themselves the combination."""
    known = {word for sentence in corpus["train"] for word in sentence.words()}
    for sentence in corpus[split]:
        assert sentence.words() - sentence.fresh_words() <= known, sentence


def test_combinations_are_those_of_the_sentence(corpus: Corpus) -> None:
    for sentence in corpus["test"]:
        for label, value in (combo.split(":") for combo in sentence.combos):
            if label == "number":
                assert q.number_en(int(value)) in sentence.en
                assert q.number_de(int(value)) in sentence.de
            elif label == "date":
                day, month = value.split()
                assert f"{q.ordinal_en(int(day))} of {month}" in sentence.en
            elif label == "name":
                assert value in sentence.en
                assert value in sentence.de
            else:
                first, _, noun = value.rpartition(" ")
                verb = [form.split()[0] for verb in q.VERBS if verb.en[0] == first for form in verb.en]
                assert any(form in sentence.en for form in verb or [first]), sentence


# Form.


def test_sentences_are_well_formed(corpus: Corpus) -> None:
    for sentence in (sentence for sentences in corpus.values() for sentence in sentences):
        for text in (sentence.en, sentence.de):
            assert text == " ".join(text.split())
            assert text[0].isupper()
            assert text[-1] in ".?"
            assert not set(text[:-1]) & set(".?")
            assert " ," not in text
            assert ",," not in text
        assert sentence.en[-1] == sentence.de[-1]
        assert 4 <= len(sentence.en.split()) <= 20


def test_english_decides_german() -> None:
    grammar = q.Grammar(3)
    german: dict[str, str] = {}
    for _ in range(15_000):
        sentence = grammar.sentence()
        assert german.setdefault(sentence.en, sentence.de) == sentence.de


def test_subordinate_clauses_end_in_their_finite_verb(corpus: Corpus) -> None:
    finite = {form for forms in q.FINITE.values() for form in forms}
    finite |= {verb.stem[0] + verb.present(person) for verb in q.VERBS for person in range(4)}
    for sentence in corpus["train"]:
        clause = sentence.de.rpartition(", ")[2].rstrip(".?")
        if clause.split()[0] in ("weil", "dass", "ob", "obwohl"):
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
    assert (q.number_en(n), q.number_de(n)) == (english, german)


def test_every_number_has_its_own_words() -> None:
    assert len({q.number_en(n) for n in range(100)}) == len({q.number_de(n) for n in range(100)}) == 100


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
    assert (q.ordinal_en(n), q.ordinal_de(n)) == (english, german)


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
    phrase = q.noun_phrase(NOUNS[noun], det, adjectives, plural)
    assert (phrase.en, "/".join(phrase.de)) == (english, german)


def test_genitive_of_an_owner() -> None:
    phrase = q.noun_phrase(NOUNS["dog"], "the", ["small"], of=q.noun_phrase(NOUNS["neighbour"], "the"))
    assert phrase.en == "the neighbour's small dog"
    assert phrase.de[q.DAT] == "dem kleinen Hund des Nachbarn"


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
    assert q.contract(preposition, phrase) == expected


# Clauses.


def clause(subject: str, verb: str, tense: str, noun: str = "") -> Any:
    """Make a clause about "Anna" or a pronoun (named by its possessive); the object is the noun with "the"."""
    who = q.PRONOUNS.get(subject) or q.Phrase(subject, subject, [subject] * 4, owner="her")
    thing = q.noun_phrase(NOUNS[noun], "the") if noun in NOUNS else q.PRONOUNS.get(noun)
    verbs = [found for found in q.VERBS if found.en[0] == verb]
    return q.Grammar(0).clause(who, [tense], verbs[:1], thing, allow="")


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


def test_past_tense_never_looks_like_the_present() -> None:
    for verb in q.VERBS:
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
    reason = q.subordinate(("because", "weil"), clause("his", "come back", "past"))
    main = clause("Anna", "open", "past", "door")
    assert q.attach(main, reason) == (
        "Anna opened the door because he came back",
        "Anna hat die Tür aufgemacht, weil er zurückgekommen ist",
    )
    assert q.attach(main, reason, first=True) == (
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
    thing = q.noun_phrase(NOUNS[noun], det) if det else q.PRONOUNS[noun]
    verb = next(found for found in q.VERBS if found.en[0] == base)
    parts = [q.Part("today", "heute", "time", "time"), q.Part("in the park", "im Park", "place", "place")]
    parts.append(q.Grammar(0).direct_object(verb, q.PRONOUNS[subject], thing, mode))
    parts += [q.NOT] if mode and not thing.new else []
    made = q.Clause(q.PRONOUNS[subject], verb, "past", parts, bool(mode))
    assert (made.english(), made.german()) == (english, german)


# Files.


def test_main_writes_aligned_files(tmp_path: Path) -> None:
    assert q.main([str(tmp_path / "data"), "--train", "1500", "--valid", "20", "--test", "30", "--seed", "2"]) == 0
    lines = {path.name: path.read_bytes().decode().split("\n") for path in (tmp_path / "data").iterdir()}
    assert {name: len(found) - 1 for name, found in lines.items()} == {
        f"{split}.{language}": size
        for split, size in (("train", 1500), ("valid", 20), ("test", 30))
        for language in ("en", "de")
    }
    assert all(found[-1] == "" and "" not in found[:-1] for found in lines.values())
    assert not any("\r" in line for found in lines.values() for line in found)


def test_train_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        q.generate(1, {"train": 5, "valid": 5, "test": 5})
