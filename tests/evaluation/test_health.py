"""The health check finds each fault, and none in good translations that look like one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer.data.scripts import script_of, scripts_of_language
from transformer.errors import DataError
from transformer.evaluation.faults import loop
from transformer.evaluation.health import KINDS, check_outputs

PLAIN = ("The cat sleeps on the mat and the dog is very happy today.", "Die Katze schläft, der Hund ist froh.")
BAD = [
    ("empty", "A cat.", "", ""),
    ("untranslated", PLAIN[0], PLAIN[0], "equal to the source"),
    ("untranslated", "THE CAT SLEEPS HERE", "THE CAT SLEEPS HERE", "equal to the source"),
    ("untranslated", PLAIN[0], PLAIN[0].replace("mat", "Matte"), "92% of the words are the source's"),
    ("repeated", PLAIN[0], "Die Katze schläft und schläft und schläft und schläft und.", "4 times: schläft und"),
    ("repeated", "Very good!", "sehr sehr sehr sehr gut", "4 times: sehr"),
    ("repeated", "A BIG CAT", "Ein USSAAAAAAAAAAAA", "12 times: A"),
    ("long", "A cat.", "Die Katze, die gestern noch auf der Matte lag, ist heute nicht da.", "66 characters for 6"),
    ("short", PLAIN[0] + PLAIN[0], "Die Katze schläft.", "18 characters for 116"),
    ("script", PLAIN[0], "Кошка спит на коврике.", "18 letters cyrillic"),
    ("script", PLAIN[0], "Die Katze ist wirklich ein sehr schönes, großes 猫科动物猫科动物.", "8 letters cjk"),
    ("numbers", "In 2014 we met 1,234 men.", "2041 trafen wir 1.234 Männer.", "2014 → 2041"),
    ("numbers", "It costs 1,234.", "Es kostet nichts.", "1234 → nothing"),
    ("numbers", "It costs 3.5 euros.", "Es kostet 35 Euro.", "3.5 → 35"),
    ("numbers", "It fell by 0.5 points.", "Sie fiel um 75 Punkte.", "0.5 → 75"),
    ("brackets", "The cat (a tom) sleeps.", "Die Katze (ein Kater schläft.", "1 opened, 0 closed"),
    ("quotes", 'He said "yes".', "Er sagte „ja.", "1 marks"),
    ("leftovers", "The mainstream", "Der Main@@ stream", "@@"),
    ("leftovers", "The cat & dog", "Die <unk> &amp; Hund", "&amp; <unk>"),
    ("links", "See https://a.org/b?c=1.", "Siehe https://a.org/b.", "https://a.org/b?c=1"),
    ("links", "Write to me@x.org", "Schreib mir", "me@x.org"),
    ("placeholders", "Hello {name}, %s of <b>%1$d</b>", "Hallo {Name}, %s von", "<b> %1$d </b>"),
    ("emoji", "Good 🙂 🙂", "Gut 🙂", "🙂"),
]  # fmt: skip
GOOD = [
    PLAIN,
    ("", ""),
    ("…", ""),
    ("Angela Merkel, Jean-Claude Juncker, Donald Tusk", "Angela Merkel, Jean-Claude Juncker, Donald Tusk"),
    ("Hotel", "Hotel"),
    ("No, no, no!", "Nein, nein, nein!"),
    ("10 10 10 10 10", "10 10 10 10 10"),
    ("Hahahahahahahahahaha, 100000000000", "Hahahahahahahahahaha, 100000000000"),
    ("At 2 p.m. on 12/5/2014", "Um 14 Uhr am 12.5.2014"),
    ("At 10:30", "Um halb elf"),
    ("By 0.5% at 3 p.m.", "Um ein halbes Prozent um 15 Uhr"),
    ("The 20 men and 2,000 women", "Die zwanzig Männer und zweitausend Frauen"),
    ("1,000 of 1,234.5 and 10,000", "1.000 von 1.234,5 und 10 000"),
    ("In ٢٠١٤", "Im Jahr 2014"),
    ("a) The cat :)", "a) Die Katze :)"),
    ("The cat (a tom)", "Die Katze, ein Kater"),
    ('He said "yes"', "Er sagte 'ja'"),
    ("Use @@ and &amp;", "Nimm @@ und &amp;"),
    ("See (https://a.org/b).", "Siehe https://a.org/b!"),
    ("He likes the letter Ж and МИР.", "Er mag den Buchstaben Ж und МИР."),
    ("50 % d'accord", "zu 50 % einverstanden"),
    ("a < b and c > d", "a ist kleiner als b, c größer als d"),
]  # fmt: skip


def faults(source: str, line: str, references: list[list[str]] | None = None, target: str = "de") -> dict[str, str]:
    found = check_outputs([source], [line], references, "en", target)
    return {each.kind: each.examples[0].note for each in found if each.count}


@pytest.mark.parametrize(("kind", "source", "line", "note"), BAD)
def test_each_fault_is_found(kind: str, source: str, line: str, note: str) -> None:
    assert faults(source, line) == {kind: note}


def test_each_kind_has_a_test() -> None:
    assert {kind for kind, *_ in BAD} == set(KINDS)


@pytest.mark.parametrize(("source", "line"), GOOD)
def test_good_translations_have_no_fault(source: str, line: str) -> None:
    assert faults(source, line) == {}


@pytest.mark.parametrize(("kind", "source", "line", "note"), BAD)
def test_what_the_reference_does_too_is_no_fault(kind: str, source: str, line: str, note: str) -> None:
    assert kind not in faults(source, line, [[line]]) or kind in ("empty", "brackets", "quotes")


def test_references_show_what_may_be_lost() -> None:
    assert faults("The cat (a tom)", "Die Katze", [["Die Katze (ein Kater)"]]) == {
        "brackets": "1 in the source, none here"
    }
    assert faults('The "cat"', "Die Katze", [["Die „Katze“"]]) == {"quotes": "2 in the source, none here"}
    assert faults("The 20 cats of 1984", "Die zwanzig Katzen", [["20 Katzen"]]) == {}


@pytest.mark.parametrize(
    ("target", "line", "right"),
    [
        ("ru", "Кошка спит в доме IBM.", True),
        ("rus_Cyrl", "A cat sleeps in the house.", False),
        ("sr-Latn", "Mačka spava u kući.", True),
        ("sr-Latn", "Мачка спава у кући.", False),
        ("zh", "猫睡在垫子上。", True),
        ("zh", "ねこはマットのうえでねています。", False),
        ("ja", "猫はIBMのマットの上で寝ています。", True),
        ("ko", "고양이가 매트에서 자고 있다.", True),
        ("hi", "बिल्ली चटाई पर सोती है।", True),
        ("de", "Die Größe von 5 µm und ½ ª", True),
    ],
)
def test_scripts(target: str, line: str, right: bool) -> None:
    assert ("script" not in faults("The cat sleeps", line, target=target)) == right


def test_the_script_of_an_unknown_language_is_that_of_its_text() -> None:
    sources, lines = ["some words to read"] * 30, ["ⲡⲁⲓ ⲡⲉ ⲡϣⲁϫⲉ"] * 29 + ["these are english"]
    (script,) = (each for each in check_outputs(sources, lines, None, "en", "cop") if each.kind == "script")
    assert [each.line for each in script.examples] == [30]
    assert scripts_of_language("cop") == frozenset()
    assert [script_of(letter) for letter in "aЖ1ʼª"] == ["LATIN", "CYRILLIC", "", "", "LATIN"]


def test_loops() -> None:
    assert loop(list("abababc")) == ("a b", 3)
    assert loop(["a"] * 50) == ("a", 50)
    assert loop(list("xabcdabcd")) == ("", 1)
    assert loop([]) == ("", 1)


def test_one_translation_of_different_sources() -> None:
    sources = [f"sentence number {word}" for word in ("one", "two", "three", "three")]
    found = check_outputs(sources, ["immer derselbe Satz hier"] * 4, None, "en", "de")[-1]
    assert (found.kind, found.count, found.total, found.examples[0].note) == ("same", 4, 4, "of 3 different sources")
    references = [["immer derselbe Satz hier"]] * 4
    assert check_outputs(sources, ["immer derselbe Satz hier"] * 4, references)[-1].count == 0


def test_counts_and_examples() -> None:
    found = check_outputs(["A cat 1984", "", "B", "C"], ["", "", "", ""], None, "en", "de", examples=2)
    assert (found[0].count, found[0].total, [each.line for each in found[0].examples]) == (3, 3, [1, 3])
    totals = {each.kind: each.total for each in found}
    assert (totals["numbers"], totals["links"], totals["repeated"]) == (1, 0, 3)
    assert json.loads(json.dumps(found[0].as_json()))["title"] == "empty"
    assert [each.kind for each in found] == [*KINDS, "same"]


def test_one_language_is_not_untranslated() -> None:
    assert "untranslated" not in [each.kind for each in check_outputs(["a"], ["a"], None, "en", "eng_Latn")]


def test_numbers_of_lines_that_differ() -> None:
    with pytest.raises(DataError, match="there are 2 sources, 1 translations and 2 lists of references"):
        check_outputs(["a", "b"], ["a"])


LINES = st.text('0127.,:/%- ٣४apm.hUr()[]<>{}@&"«»▁é你🙂xX', max_size=25)


@settings(max_examples=300)
@given(LINES, LINES, LINES, st.sampled_from(["de", "zh", "ar"]))
def test_any_text_can_be_checked(source: str, translation: str, reference: str, target: str) -> None:
    for finding in check_outputs([source], [translation], [[reference]], "en", target):
        assert finding.count <= finding.total
