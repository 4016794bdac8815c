"""Sentences end at the marks of every script, and not at abbreviations, ordinals and decimals."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from transformer.data.sentences import place_to_cut, sentence_ends


def sentences(text: str, language: str = "") -> list[str]:
    return [text[a:b].strip() for a, b in pairwise([0, *sentence_ends(text, language), len(text)])]


ENDS = """
    One two. Three four! Five? Six… Seven.
    He said "Go." (So he left.) Bye! 'No.' Yes.
    Er rief: »Komm!« Dann ging er. »Halt!« rief sie.
    Il dit : « Viens ! » Puis il partit.
    <b>One.</b> Two.[1] Three.
    هل أنت هنا؟ نعم. أنا هنا.
    العربية.\u200f جملة أخرى.
    کیا حال ہے؟ ٹھیک ہوں۔ شکریہ۔
    वह आया। वह गया॥ फिर।
    Բարև։ Ինչպես ես։
    ሰላም። እንዴት ነህ፧ ደህና።
    ကောင်းပါတယ်။ သွားမယ်။
    ស្រី។ ប្រុស៕ ទៅ។
    བོད། ཡིག༎ ཡོད།
    ᠮᠣᠩ᠃ ᠭᠣᠯ᠃
    Τι κάνεις; Καλά. Εσύ;
    七一六。 八六六！ 九？ 「行く。」 終わり｡ はい
    i am here. are you there? yes.
    a b c. d e f.
    What?! Yes!!! No⁇ Oh‼ Ok.
    They arrived etc. The next day came.
    It was XIV. The end.
    „Geh!“ Er ging. „Ja.“ Sie kam.
    Er sagte: ‚Geh.‘ Er ging.
    הוא אמר ״בוא.״ היא באה.
    Did he go? No. Yes.
    Er wurde 1990 geboren. Es war 1990. Dann kam ich.
"""
WHOLE = """
    Dr. Smith and Mrs. Jones met J. R. Miller at 5 p.m. today.
    Das ist z. B. Brot, d. h. Mehl usw. und Wasser.
    Herr Prof. Dr. med. Müller kam am 3. Mai um 3.14 Uhr.
    The U.S. President is in No. 5, Nr. 7 and fig. 3.
    Ludwig XIV. war König, 300 v. Chr. geboren.
    Visit www.example.com/a.b?c=d and me@Example.Com or http://a.b/some.Page now
    "Why?" she asked.
    Well... perhaps.
    「行く。」と言った。
    1. Open the door.
    . . .
    ?! Really.
    In the Kingdom of ............ Laws are made.
    Es ist 12։30 und 3．5 hier
    He lives in St. Louis near Mt. Everest with approx. ten dogs.
    C'est p. ex. bien.
    Los EE. UU. son grandes.
    Det är t. ex. bra.
    Masz m. in. kota, psa itp. albo nic.
    Das sind 3 Mio. Euro in der Goethestr. 5 im 19. Jh. gewesen.
    On Jan. 5 he came at an avg. temperature of 5 deg. or more.
"""


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


@pytest.mark.parametrize("line", lines(ENDS))
def test_sentences_end_at_marks_and_keep_their_quotes(line: str) -> None:
    found = sentences(line)
    assert len(found) > 1
    assert " ".join(found) == line
    assert [sentences(one) for one in found] == [[one] for one in found]
    assert all(one[-1:].isalnum() is False or one is found[-1] for one in found)


def test_a_missing_blank_does_not_hide_the_end() -> None:
    assert sentences("The end.The next one!Really?Yes.") == ["The end.", "The next one!", "Really?", "Yes."]
    assert sentences("Version 3.14 of e.g.This") == ["Version 3.14 of e.g.This"]


def test_the_number_of_sentences() -> None:
    wanted = [5, 5, 3, 2, 3, 3, 2, 3, 3, 2, 3, 2, 3, 3, 2, 3, 6, 3, 2, 5, 2, 2, 4, 2, 2, 3, 3]
    assert [len(sentences(line)) for line in lines(ENDS)] == wanted


def test_scripts_without_blanks_need_none() -> None:
    assert sentences("七一六。八六六！九") == ["七一六。", "八六六！", "九"]
    assert sentences("はい!いいえ?そうです。") == ["はい!", "いいえ?", "そうです。"]
    assert sentences("他说：“走。”然后走了。") == ["他说：“走。”", "然后走了。"]
    assert sentences("वह आया।वह गया।") == ["वह आया।", "वह गया।"]


@pytest.mark.parametrize("line", lines(WHOLE))
def test_abbreviations_and_numbers_do_not_end_sentences(line: str) -> None:
    assert sentences(line) == [line]
    assert sentences(f"{line.rstrip('.')}! Then left. {line}")[-1] == line


def test_a_number_is_an_ordinal_where_the_language_has_them() -> None:
    for language, count in (
        ("de", 1),
        ("de_DE", 1),
        ("deu_Latn", 1),
        ("ger", 1),
        ("cs", 1),
        ("", 1),
        ("en", 2),
        ("fr", 2),
    ):
        assert len(sentences("Wir treffen uns am 3. Mai", language)) == count
    assert sentences("1. Open it. 2. Close it.", "en") == ["1. Open it.", "2. Close it."]


def test_a_place_to_cut_is_between_characters() -> None:
    assert place_to_cut("abcd") == 2
    assert place_to_cut("a") is None
    assert place_to_cut("e\u0301") is None
    assert place_to_cut("👩\u200d🚀") is None
    assert place_to_cut("🇩🇪") is None
    assert place_to_cut("का") is None
    assert place_to_cut("o" + "\u0301" * 500) == 250


def test_marks_without_words_take_no_quadratic_time() -> None:
    start = time.process_time()
    assert sentence_ends("... " * 15_000) == []
    assert sentence_ends("... " * 15_000 + "One. Two.") == [60_005]
    assert time.process_time() - start < 3
