"""Reserved pieces: symbols of the user, digits, tags of corpora; and the size of a vocabulary as a multiple."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from support.toy import toy_pairs, write_pairs

from transformer import config_file
from transformer.config import Config, TokenizerConfig
from transformer.data import corpus
from transformer.data.corpus import Pair, ReferencedPair
from transformer.data.extending import extended
from transformer.data.prepare import find_or_learn_tokenizer, prepare
from transformer.data.tokenizer import (
    Tokenizer,
    learn_tokenizer,
    load_tokenizer,
    tokenizer_in_use,
    unseen_characters,
    with_tag_of_corpus,
)
from transformer.data_config import CorpusConfig
from transformer.errors import ConfigError

PAIRS = [Pair(f"{pair.source} 1234 {i}", f"{pair.target} 1234 {i}") for i, pair in enumerate(toy_pairs(300, 1))]
KINDS = pytest.mark.parametrize("kind", ["bpe", "unigram"])
SIDES = pytest.mark.parametrize("joint", [True, False])
Kind = Literal["bpe", "unigram"]


def learned(tags: tuple[str, ...] = (), **how: object) -> Tokenizer:
    return learn_tokenizer(PAIRS, TokenizerConfig(**{"vocab_size": 400, **how}), tags)  # type: ignore[arg-type]


@KINDS
@SIDES
def test_symbols_of_the_user_are_one_piece_wherever_they_stand(kind: Kind, joint: bool) -> None:
    symbols = ("<b>", "</b>", "{name}", "a,b", "🙂")
    tok = learned(kind=kind, joint=joint, user_symbols=symbols)
    text = "one<b>two</b> three{name} a,b 🙂 🙂four"
    for encode, side in ((tok.encode_source, tok.source), (tok.encode_target, tok.target)):
        pieces = [side.id_to_piece(i) for i in encode([text])[0]]
        assert [piece for piece in pieces if piece in symbols] == ["<b>", "</b>", "{name}", "a,b", "🙂", "🙂"]
    assert tok.decode(tok.encode_target([text])) == [text]
    assert tok.encode_pairs([text], [text])[0].ids.tolist() == tok.encode_source([text])[0]


@pytest.mark.parametrize("byte_fallback", [True, False])
def test_characters_of_reserved_pieces_are_not_called_unseen(byte_fallback: bool) -> None:
    tok = learned(byte_fallback=byte_fallback, placeholders=1, user_symbols=("@@Q",))
    text = "one <ph0> @@Q Ω two\u6f22 Ω"
    assert unseen_characters(tok, text, tok.encode_source([text])[0]) == "Ω\u6f22"


def test_a_symbol_that_would_not_be_read_is_refused() -> None:
    for symbol in ("\u2581", "e\u0301"):  # a space for SentencePiece; not composed
        with pytest.raises(ConfigError, match="tokenizer.user_symbols: the vocabulary does not read .* as one piece"):
            learned(user_symbols=(symbol,))
    for symbols in ("['a b']", "['']"):
        with pytest.raises(ConfigError, match=r"tokenizer.user_symbols must be texts without blanks"):
            config_file.read(
                f"data: {{source: a, target: b, train: {{tsv: x}}}}\ntokenizer: {{user_symbols: {symbols}}}", ""
            )


@KINDS
def test_digits_are_pieces_of_their_own(kind: Kind) -> None:
    def longest(tok: Tokenizer) -> int:
        return max(sum(c.isdigit() for c in tok.source.id_to_piece(i)) for i in tok.encode_source(["1234 12"])[0])

    whole, split = learned(kind=kind), learned(kind=kind, split_digits=True)
    assert longest(whole) > 1
    assert longest(split) == 1
    texts = [pair.source for pair in PAIRS]
    assert longest(extended(whole, texts, texts, (30, 30))) >= longest(whole)
    assert longest(extended(split, texts, texts, (30, 30))) == 1


@SIDES
@pytest.mark.parametrize(("asked", "size"), [(290, 296), (4000, None)])
def test_the_size_of_a_vocabulary_is_a_multiple(joint: bool, asked: int, size: int | None) -> None:
    """Also of one that a small corpus leaves smaller: it gets pieces that text never has, and that say nothing."""
    tok = learned(vocab_size=asked, vocab_multiple=8, joint=joint)
    plain = learned(vocab_size=size or asked, joint=joint)
    assert all(each % 8 == 0 for each in tok.sizes)
    if size is not None:
        assert tok.sizes == (size, size)
    assert all(0 <= mine - other < 8 for mine, other in zip(tok.sizes, plain.sizes, strict=True))
    if joint:
        texts = [pair.source for pair in PAIRS]
        assert tok.encode_source(texts) == plain.encode_source(texts)
        more = list(range(plain.sizes[0], tok.sizes[0]))
        assert bool(more) is (size is None)
        assert tok.decode([[*more, *tok.encode_target(["one"])[0]]]) == ["one"]


@KINDS
@SIDES
def test_a_tag_is_one_piece_before_source_text(kind: Kind, joint: bool, tmp_path: Path) -> None:
    tok = learned(("<bt>", ">>fr<<"), kind=kind, joint=joint, source_prefix=">>fr<<")
    tok.save(tmp_path)
    tok = load_tokenizer(tmp_path)
    words = tok.encode_target(["one two"])[0] if joint else tok.encode_source(["one two"])[0][1:]
    bt, fr = (tok.source.piece_to_id(f"\u2581{tag}") for tag in ("<bt>", ">>fr<<"))
    assert tok.has_tag("<bt>")
    assert not tok.has_tag("<b>")
    assert tok.encode_source(["one two", "<bt> one two", ""]) == [[fr, *words], [bt, *words], []]
    clean = tok.clean_pairs(["one two", "\u200b", ""], [])[0]
    assert with_tag_of_corpus(tok, clean, "<bt>") == ["<bt> one two", "", ""]
    assert (bt in tok.never_chosen) is joint


def test_a_prefix_must_be_a_tag() -> None:
    with pytest.raises(ConfigError, match="or one that is learned for a corpus with this tag"):
        learned(("<bt>",), source_prefix=">>fr<<")
    for tag in ("", "a b", "x" * 32):
        with pytest.raises(ConfigError, match="data.train.tag must be a text without blanks of at most 31 characters"):
            config_file.read(f"data: {{source: a, target: b, train: {{tsv: x, tag: '{tag}'}}}}", "")


def with_tags(tiny: Config, folder: Path) -> Config:
    """Two corpora with tags and one without; a tag before the validation text too."""
    parts = [write_pairs(folder, f"part{i}", toy_pairs(60, 10 + i)) for i in range(3)]
    corpora = f"[{{files: {parts[0]}}}, {{files: {parts[1]}, tag: <bt>}}, {{files: {parts[2]}, tag: '>>fr<<'}}]"
    return config_file.override(tiny, [f"data.train={corpora}", "data.valid.tag='>>fr<<'", "tokenizer.vocab_size=70"])


def test_each_corpus_has_its_own_tag(tiny: Config, tmp_path: Path) -> None:
    cfg = with_tags(tiny, tmp_path)
    data = prepare(cfg, tmp_path / "cache")
    tok = data.tokenizer
    bt, fr = (tok.source.piece_to_id(f"\u2581{tag}") for tag in ("<bt>", ">>fr<<"))
    source, target = data.train.ids(data.train.rows)
    rows, answers = [ids.tolist() for ids in source], [ids.tolist() for ids in target]
    assert [row[0] for row in rows[60:]] == [bt] * 60 + [fr] * 60
    assert all(row.count(bt) + row.count(fr) == (i >= 60) for i, row in enumerate(rows))
    assert not any(bt in row or fr in row for row in answers)
    assert data.valid is not None
    assert all(pair.source.startswith(">>fr<< ") for pair in data.valid)
    one = ReferencedPair("a", "b", "c").with_source("d")
    assert (one.source, one.references) == ("d", ("b", "c"))
    plain = config_file.override(tiny, [])
    assert prepare(plain, tmp_path / "cache").train.report["fingerprint"] != data.train.report["fingerprint"]


def test_overlap_is_found_behind_a_tag(tiny: Config, tmp_path: Path) -> None:
    same = write_pairs(tmp_path, "same", toy_pairs(30, 5))
    for train_tag, valid_tag in (("", ""), (", tag: <bt>", ""), (", tag: <bt>", ", tag: <bt>")):
        wishes = [f"data.train={{files: {same}{train_tag}}}", f"data.valid={{files: {same}{valid_tag}}}"]
        found = prepare(config_file.override(tiny, wishes), tmp_path / "cache")
        assert found.train.report["corpora"][0]["overlap"] == 30


def test_a_tag_that_is_a_placeholder_is_refused() -> None:
    cfg = TokenizerConfig(vocab_size=300, placeholders=2)
    with pytest.raises(ConfigError, match="the tag <ph0> of a corpus is a piece of tokenizer.placeholders; choose"):
        learn_tokenizer(toy_pairs(50, 1), cfg, ["<ph0>"])


def test_a_tag_that_the_vocabulary_lacks_is_refused(tiny: Config, tok: Tokenizer, tmp_path: Path) -> None:
    files = write_pairs(tmp_path, "own", toy_pairs(30, 5))
    for wish in (f"data.train={{files: {files}, tag: <bt>}}", "data.valid.tag=<bt>"):
        with pytest.raises(ConfigError, match="the vocabulary does not read its tag '<bt>' as one piece"):
            prepare(config_file.override(tiny, [wish]), tmp_path / "cache", tok)
    wishes = [f"data.train={{files: {files}, tag: <BT>}}", "tokenizer.normalization=nfkc_cf"]
    small = config_file.override(tiny, wishes)
    with pytest.raises(ConfigError, match="does not read its tag '<BT>' as one piece"):  # which becomes small letters
        prepare(small, tmp_path / "cache")


def test_older_vocabularies_and_texts_are_found_again(tiny: Config, tmp_path: Path) -> None:
    """What is not set must not change what a cached vocabulary is named by."""
    find_or_learn_tokenizer(tiny, tmp_path / "cache")
    (name,) = (each.name for each in (tmp_path / "cache").iterdir() if each.is_dir())
    assert corpus.identity(tiny.data.train[0], "en", "de").keys() == {"kind", "sha256"}
    for wish in ("user_symbols=[x]", "split_digits=true", "vocab_multiple=8"):
        find_or_learn_tokenizer(config_file.override(tiny, [f"tokenizer.{wish}"]), tmp_path / "other")
    names = {each.name for each in (tmp_path / "other").iterdir() if each.is_dir()}
    assert len(names - {name}) == 3


def test_a_run_with_another_vocabulary_has_no_symbols_that_this_lacks(tiny: Config) -> None:
    asked = ["user_symbols=[<b>, <c>]", "vocab_multiple=64", "split_digits=true"]
    cfg = config_file.override(tiny, [f"tokenizer.{each}" for each in asked])
    donor = learned(user_symbols=("<b>",), vocab_size=397)
    used = tokenizer_in_use(config_file.override(cfg, ["train.init_from=x"]), donor).tokenizer
    assert (used.user_symbols, used.vocab_multiple, used.split_digits) == (("<b>",), 1, False)


def test_a_tag_is_part_of_the_text_that_a_corpus_is_known_by() -> None:
    here = CorpusConfig(files=(__file__, __file__))
    tagged = CorpusConfig(files=(__file__, __file__), tag="<bt>")
    assert corpus.identity(tagged, "a", "b") == {**corpus.identity(here, "a", "b"), "tag": "<bt>"}
