"""The tokenizer converts text to ids and back."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.toy import toy_pairs

from transformer.config import TokenizerConfig
from transformer.data.text import CONTROLS
from transformer.data.tokenizer import Tokenizer, learn_tokenizer, load_tokenizer
from transformer.data.word_cache import SentenceEncoder, WordCache, splits_at_spaces
from transformer.errors import CheckpointError, DataError


def test_decode_undoes_encode(tok: Tokenizer) -> None:
    texts = [pair.target for pair in toy_pairs(50, 9)]
    assert tok.decode(tok.encode_target(texts)) == texts


@settings(max_examples=200)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_byte_fallback_leaves_nothing_unknown_and_no_control_characters(tok: Tokenizer, text: str) -> None:
    ids = tok.encode_target([text])[0]
    assert not {tok.unk, tok.pad, tok.bos, tok.eos} & set(ids)
    out = tok.decode([ids])[0]
    assert not CONTROLS.search(out)


def test_text_that_looks_like_control_symbols_is_text(tok: Tokenizer) -> None:
    ids = tok.encode_target(["</s> <pad> <s> <unk> <0x41>"])[0]
    assert not {tok.unk, tok.pad, tok.bos, tok.eos} & set(ids)


@settings(max_examples=50)
@given(st.lists(st.integers(3, 300), max_size=30))
def test_any_ids_decode_to_one_line(tok: Tokenizer, ids: list[int]) -> None:
    assert not CONTROLS.search(tok.decode([ids])[0])


def test_training_is_deterministic() -> None:
    cfg = TokenizerConfig(vocab_size=60, byte_fallback=False)
    assert learn_tokenizer(toy_pairs(100, 1), cfg).models == learn_tokenizer(toy_pairs(100, 1), cfg).models


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_sampling_is_a_function_of_the_seed(kind: str) -> None:
    made = learn_tokenizer(toy_pairs(100, 1), TokenizerConfig(kind=kind, vocab_size=300))  # type: ignore[arg-type]
    texts = [pair.source for pair in toy_pairs(20, 5)], [pair.target for pair in toy_pairs(20, 5)]
    first = made.sample(*texts, 0.3, 7)
    assert made.sample(*texts, 0.3, 7) == first
    assert any(made.sample(*texts, 0.3, seed) != first for seed in range(8, 12))
    assert made.decode(first[1]) == texts[1]


def test_one_vocabulary_per_side(tmp_path: Path) -> None:
    made = learn_tokenizer(toy_pairs(100, 1), TokenizerConfig(joint=False, vocab_size=300))
    made.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert not loaded.joint
    assert loaded.fingerprint == made.fingerprint
    assert loaded.encode_source(["one two"]) == made.encode_source(["one two"]) != made.encode_target(["one two"])


def test_bad_files_are_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"nonsense" * 100)
    with pytest.raises(CheckpointError, match="not a SentencePiece model"):
        load_tokenizer(tmp_path)
    with pytest.raises(DataError, match="every training line is empty"):
        learn_tokenizer([("", " ")], TokenizerConfig())


ODD = [
    *(
        "",
        " ",
        "a  b",
        "\u2581x \u2581 y",
        "ﬁne ½ ™",
        "x\u00a0y",
        "日本語 テスト",
        "e\u0301te\u0301",
        "\u200b z",
        "İ ı",
    ),
    *("<s> </s> <unk>", "a" * 200, "\ufffd", " lead", "trail ", "one\u3000two"),
]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@settings(max_examples=150)
@given(st.lists(st.one_of(st.text(max_size=30), st.sampled_from(ODD), st.text("one two three\u2581", max_size=40))))
def test_encoding_many_texts_equals_encoding_each(kind: Literal["bpe", "unigram"], texts: list[str]) -> None:
    tok = _made(kind)
    source, target = tok.encode_pairs(texts, texts[::-1])
    for side, found in ((texts, source), (texts[::-1], target)):
        alone = [tok.encode_source([text])[0] for text in side]
        assert found.lengths.tolist() == [len(ids) for ids in alone]
        assert found.ids.tolist() == [i for ids in alone for i in ids]


@cache
def _made(kind: Literal["bpe", "unigram"]) -> Tokenizer:
    return learn_tokenizer(toy_pairs(300, 0), TokenizerConfig(vocab_size=320, kind=kind))


def test_the_word_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WordCache, "most", 10)
    tok = _made("bpe")
    words = WordCache(tok.source)
    texts = [f"one {number} two" for number in range(100)]
    assert words.encode(texts) == SentenceEncoder(tok.source).encode(texts)
    assert 0 < len(words) <= 10


def test_bpe_splits_at_spaces_and_unigram_does_not() -> None:
    assert splits_at_spaces(_made("bpe").source)
    assert not splits_at_spaces(_made("unigram").source)
