"""Forced beginnings of translations: any text, which may stop anywhere."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from support.toy import CPU, toy_pairs

from transformer.config import TokenizerConfig
from transformer.data.text import visible
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.decoding.int8.build import library
from transformer.decoding.prefix import PieceTable, text_prefix
from transformer.decoding.translator import Translator, make_translator
from transformer.errors import ConfigError, DataError

LINES = [pair.source for pair in toy_pairs(12, 11)]
HOW: dict[str, dict[str, Any]] = {
    "greedy": {"beam": 1},
    "beam": {"beam": 4},
    "int8": {"beam": 4, "precision": "int8"},
    "sampling": {"sampling": True, "temperature": 1.2},
}
if library() is None:
    del HOW["int8"]


def changed(translator: Translator, **decode: Any) -> Translator:
    cfg = dataclasses.replace(translator.cfg, **decode)
    return make_translator(translator.model, translator.tokenizer, cfg, translator.max_length, CPU)


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_a_beginning_of_the_best_translation_leads_back_to_it(translator: Translator, how: dict[str, Any]) -> None:
    ours = changed(translator, **how)
    best = [found[0].text for found in ours.translate(LINES)]
    cuts = [(line, text, text[:place]) for line, text in zip(LINES, best, strict=True) for place in range(len(text))]
    found = [each[0].text for each in ours.translate([c[0] for c in cuts], prefixes=[c[2] for c in cuts])]
    assert all(text.startswith(prefix) for text, (_, _, prefix) in zip(found, cuts, strict=True))
    if "sampling" not in how:
        same = sum(text == wanted for text, (_, wanted, _) in zip(found, cuts, strict=True))
        assert same > 0.97 * len(cuts)


ODD = [
    "  ",
    " zwei",
    "zwei  ei",
    "zwei \t",
    "zweiei",
    "zw",
    "q",
    "Qq zwei",
    "½ zwei",
    "犬",
    "犬 z",
    "zwei 犬",
    "drei.",
    "é",
    "🙂 ",
]


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_a_translation_begins_as_given(translator: Translator, how: dict[str, Any]) -> None:
    ours = changed(translator, **how)
    for prefix, found in zip(ODD, ours.translate(["one two"] * len(ODD), prefixes=ODD), strict=True):
        assert found[0].text.startswith(visible(prefix))
        assert "sampling" in how or "  " not in found[0].text.removeprefix(visible(prefix))


def test_n_best_translations_begin_as_given_and_differ(translator: Translator) -> None:
    (found,) = changed(translator, beam=8).translate(["one two three"], nbest=6, prefixes=["dr"])
    assert len({each.text for each in found}) == len(found) == 6
    assert all(each.text.startswith("dr") for each in found)
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)


def test_lines_without_a_prefix_are_translated_as_ever(translator: Translator) -> None:
    plain = [found[0].text for found in translator.translate(LINES)]
    prefixes = ["acht neun " if i % 2 else "" for i in range(len(LINES))]
    mixed = [found[0].text for found in translator.translate(LINES, prefixes=prefixes)]
    assert mixed[::2] == plain[::2]
    assert mixed[1::2] != plain[1::2]
    with pytest.raises(ConfigError, match="there are fewer prefixes than lines: line 2 has none"):
        list(translator.translate(["one", "two"], prefixes=["eins"]))


def test_a_prefix_too_long_is_refused(translator: Translator) -> None:
    with pytest.raises(DataError, match=r"the prefix of line 2 has \d+ tokens, more than 40"):
        list(translator.translate(["one", "two"], prefixes=["", "acht " * 50]))


TEXTS = [
    "The house is small, the garden is big.",
    "Das Haus ist klein, der Garten ist groß.",
    "犬が走る。雨だ。",
    "Дом маленький, сад большой.",
    "मकान छोटा है।",
]


@pytest.mark.parametrize("byte_fallback", [True, False])
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_every_spelling_of_the_text_is_allowed_and_nothing_else(kind: Any, byte_fallback: bool) -> None:
    """At each cut of each text, the text's own ids agree with the prefix, and what is allowed agrees with the text."""
    pairs = [(text, text) for text in TEXTS * 5]
    cfg = TokenizerConfig(kind=kind, vocab_size=450, byte_fallback=byte_fallback)
    tokenizer = learn_tokenizer(pairs, cfg)
    table = PieceTable(tokenizer)
    for text in TEXTS:
        ids = tokenizer.encode_target([text])[0]
        for place in range(1, len(text)):
            assert_leads_to(tokenizer, text_prefix(text[:place], table), text, ids)


def assert_leads_to(tokenizer: Tokenizer, prefix: Any, text: str, ids: list[int]) -> None:
    """Follow the text's own ids as far as they agree, and then any that are allowed."""
    taken: list[int] = []
    while allowed := prefix.allowed(taken):
        following = ids[len(taken) : len(taken) + 1]
        agrees = taken == ids[: len(taken)] and following and following[0] in allowed
        taken.append(following[0] if agrees else next(i for i in allowed if i != tokenizer.eos))
    assert len(taken) <= prefix.longest
    assert prefix.text(taken).startswith(prefix.given)
    if taken == ids[: len(taken)]:
        assert prefix.text(ids) == text
