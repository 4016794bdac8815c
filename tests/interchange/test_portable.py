"""Exported SentencePiece models have the rule for raw text in them: the ids are those that the model was trained on."""

from __future__ import annotations

import random
import sys
from unicodedata import normalize

import pytest
import sentencepiece
from support.toy import toy_pairs

from transformer.config import TokenizerConfig
from transformer.data.model_file import read_charsmap, with_charsmap
from transformer.data.text import clean
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.interchange.portable import CONTEXT, differences, portable_models, same_ids, unusual

BEYOND = {0x2581, 0x2585, 0x340, 0x341, 0x344}
"""The characters that SentencePiece has a use for, and marks of which Unicode wants others after any letter."""


def characters() -> list[str]:
    """Return 3,000 characters of all planes, and all that the rule looks at."""
    rng = random.Random(4)
    codes = {rng.randrange(1, 0xD800) for _ in range(2500)} | {
        rng.randrange(0xE000, sys.maxunicode) for _ in range(500)
    }
    codes |= {*range(1, 0x500), *range(0x2000, 0x2070), *range(0xFE00, 0xFE10)} - BEYOND
    return [chr(code) for code in sorted(codes)]


@pytest.fixture(scope="module")
def exported(tok: Tokenizer) -> bytes:
    return portable_models(tok)[0]


def test_every_character_has_the_same_ids(tok: Tokenizer, exported: bytes) -> None:
    texts = [f"a{form}b" for each in characters() for form in (each, normalize("NFD", each))]
    different = [text for text, same in zip(texts, same_ids(tok, exported, texts), strict=True) if not same]
    assert not different, [hex(ord(text[1])) for text in different[:10]]


def test_the_plain_model_reads_such_text_differently(tok: Tokenizer) -> None:
    """Without the rule the ids would not be the same, so the tests here can fail."""
    assert sum(same_ids(tok, tok.models[0], unusual("sieben fünf, acht"))) < 6


def test_unusual_forms_of_a_sentence_have_the_same_ids(tok: Tokenizer, exported: bytes) -> None:
    for line in ("sieben fünf, acht", "zwölf Boxkämpfer", "각각 ậ", "one"):
        forms = unusual(line)
        assert same_ids(tok, exported, forms) == [True] * len(forms)


def test_an_exported_model_is_one_of_ours(tok: Tokenizer, exported: bytes) -> None:
    again = Tokenizer(exported)
    assert again.outlines == tok.outlines
    texts = ["fu\u0308nf", "a\u200bb", "▁ a"]
    assert again.encode_source(texts) == tok.encode_source(texts)


def test_joiners_stay_if_the_vocabulary_has_them() -> None:
    joined = "क्\u200dष"
    pairs = [(f"{joined} {pair.source}", pair.target) for pair in toy_pairs(50, 1)]
    tok = learn_tokenizer(pairs, TokenizerConfig(vocab_size=340))
    found = sentencepiece.SentencePieceProcessor(model_proto=portable_models(tok)[0])
    assert found.decode(found.encode(joined)) == joined
    assert CONTEXT.search(found.decode(found.encode("a\u200cb"))) is None


@pytest.mark.parametrize("normalization", ["identity", "nfkc"])
def test_other_normalizations(normalization: str) -> None:
    tok = learn_tokenizer(toy_pairs(50, 1), TokenizerConfig(vocab_size=340, normalization=normalization))  # type: ignore[arg-type]
    (model,) = portable_models(tok)
    if normalization == "nfkc":  # a rule of SentencePiece, which is in the model already
        assert model == tok.models[0]
        assert "a rule of its own to normalize text" in differences(tok)
        return
    assert "normalizes text as before training, except" in differences(tok)
    texts = ["fu\u0308nf", "a\u200bb", "a\x07b", "a\xadb"]
    assert all(same_ids(tok, model, texts))
    assert clean(texts[0], nfc=False) == texts[0]


def test_a_charsmap_is_read_as_it_was_written(tok: Tokenizer) -> None:
    for size in (0, 1, 127, 128, 20_000):
        charsmap = bytes(range(256)) * 80
        assert read_charsmap(with_charsmap(tok.models[0], charsmap[:size])) == charsmap[:size]
    assert read_charsmap(tok.models[0]) == b""
