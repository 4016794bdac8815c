"""A language is known by each of its codes, and a text without blanks between words by its letters."""

from __future__ import annotations

import pytest

from transformer import languages

FORMS = {
    "zh": "zh ZH zho chi cmn zho_Hans zho_Hant cmn-Hans-CN zh-cmn-Hans zh-Hant-TW zh_CN zh_CN.UTF-8 zh-TW cn Chinese",
    "yue": "yue YUE yue_Hant zh-yue yue-HK Cantonese",
    "nan": "nan nan_Hant zh-min-nan zh-nan",
    "lzh": "lzh lzh_Hant zh-classical",
    "ja": "ja JA jpn jpn_Jpan ja_XX ja-JP ja_JP.eucJP jp Japanese",
    "ko": "ko kor kor_Hang ko-KR ko_KR Korean",
    "th": "th tha tha_Thai th_TH Thai",
    "my": "my mya bur mya_Mymr my_MM Burmese",
    "bo": "bo bod tib bod_Tibt Tibetan",
    "de": "de deu ger deu_Latn de-AT de_DE@euro DE",
    "ar": "ar ara arb arb_Arab ar-EG",
    "no": "no nor",
    "nb": "nb nob nob_Latn",
    "tw": "tw twi",
    "xx": "xx",
}


@pytest.mark.parametrize("code", FORMS)
def test_all_codes_of_a_language_mean_the_same(code: str) -> None:
    assert {languages.parse(form).code for form in FORMS[code].split()} == {code}


def test_the_script_is_that_of_the_code_or_the_customary_one() -> None:
    known = {"zh": "Hani", "zh-Hant": "Hani", "ja": "Jpan", "jpn_Hira": "Jpan", "ko": "Kore", "dz": "Tibt"}
    named = {"zh-Latn": "Latn", "srp_Cyrl": "Cyrl", "jav_Java": "Java", "vi_Hani": "Hani", "de": "", "": ""}
    for code, script in (known | named).items():
        assert languages.parse(code).script == script, code


def test_a_code_serves_for_another_region_but_for_no_other_script() -> None:
    fitting = "en/en-GB en_US/en-GB sr/sr-Latn zh/zh-TW zh_HK/zh-Hant zht/zho_Hant zh-SG/zh_CN zh-TW/zh-HK"
    others = "sr-Cyrl/sr-Latn zh-CN/zh_TW zh-CN/zh-Hant zho_Hans/zh-HK zh-MO/zhs de/en de-Latn/en-Latn"
    for pair in fitting.split():
        assert languages.fits(*pair.split("/")), pair
    for pair in others.split():
        assert not languages.fits(*pair.split("/")), pair


def test_a_text_without_blanks_is_known_by_its_letters() -> None:
    texts = {
        "犬が走る": "Jpan",
        "我是学生，你呢？": "Hani",
        "𠮶𨋢𡃁": "Hani",
        "ฉันไปโรงเรียน": "Thai",
        "ខ្ញុំទៅសាលារៀន": "Khmr",
        "ຂ້ອຍໄປໂຮງຮຽນ": "Laoo",
        "ကျွန်တော်ကျောင်းသွားတယ်": "Mymr",
        "ང་སློབ་གྲྭར་འགྲོ": "Tibt",
        "나는 학교에 간다": "",
        "मैं स्कूल जाता हूँ": "",
        "I go to 東京 by train": "",
        "123 %": "",
        "": "",
    }
    for text, script in texts.items():
        assert languages.script_without_blanks([text]) == script, text


@pytest.mark.parametrize(
    ("code", "short", "name"),
    [
        ("en", "en", "English"),
        ("eng_Latn", "en", "English"),
        ("de_DE.UTF-8", "de-DE", "German (DE)"),
        ("zho_Hans", "zh-Hans", "Chinese (Hans)"),
        ("zh-Hant-TW", "zh-Hant", "Chinese (Hant)"),
        ("pt_BR", "pt-BR", "Portuguese (BR)"),
        ("gsw", "gsw", "gsw"),
    ],
)
def test_codes_and_names_for_other_programs(code: str, short: str, name: str) -> None:
    assert languages.short_code(code) == short
    assert languages.english_name(short) == name


def test_each_short_code_has_a_name() -> None:
    assert {entry.split(":")[0] for entry in languages.ISO_639.split()} - {"yue"} == languages.ENGLISH.keys()
