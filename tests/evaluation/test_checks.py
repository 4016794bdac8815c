"""A warning says where scores would mislead; text as it should be gets none."""

from __future__ import annotations

import unicodedata

import pytest

from transformer.data.corpus import Pair, ReferencedPair
from transformer.evaluation.checks import check_forms, check_text

GOOD = [Pair(f"sentence {i}.", f"Satz {i}.") for i in range(200)]


def test_good_text_is_not_warned_of(said: list[str]) -> None:
    few = [Pair("one", ""), Pair("Berlin", "Berlin"), Pair("a .", "b ."), Pair("", "")]
    for pairs in (GOOD, GOOD + few, [Pair("", "")], [ReferencedPair("x", "", "y")]):
        check_text(pairs)
        check_forms([pair.target for pair in pairs], pairs)
    assert not said


@pytest.mark.parametrize(
    ("pairs", "warning"),
    [
        ([Pair("one", "")] * 100 + GOOD[:100], "100 of 200 sentences have an empty reference"),  # sacrebleu#225
        ([Pair("One .", "Eins .")] * 150 + GOOD[:50], "150 of 200 references have a blank before the full stop"),
        ([Pair("One 。", "一 。")] * 2, "2 of 2 references have a blank before the full stop"),
        ([Pair("One.", "One.")] * 150 + GOOD[:50], "150 of 200 references equal their sources"),
    ],
)
def test_odd_references_are_said(said: list[str], pairs: list[Pair], warning: str) -> None:
    check_text(pairs)
    (found,) = said
    assert found.startswith(warning)


@pytest.mark.parametrize("text", ["안녕하세요", "schöne Grüße", "tôi đi học", "パパ"])
def test_composed_against_decomposed_text_is_said(said: list[str], text: str) -> None:
    """Korean in NFD scores 0 against the same text in NFC."""
    other = unicodedata.normalize("NFD", text)
    check_forms([text] * 9, [Pair("x", text)] * 9)
    check_forms([other] * 9, [Pair("x", other)] * 9)
    assert not said
    check_forms([text] * 9, [Pair("x", other)] * 9)
    check_forms([other] * 9, [Pair("x", text)] * 9)
    assert [line.split(" are ")[0] for line in said] == [
        "9 of 9 references and 0 of the translations",
        "0 of 9 references and 9 of the translations",
    ]
