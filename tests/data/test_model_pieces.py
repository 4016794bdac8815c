"""SentencePiece models whose pieces are in the order of another program's vocabulary give that program's ids."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece
from support import foreign_models
from support.foreign_models import PAIRS, learned

from transformer.config import TokenizerConfig
from transformer.data.model_pieces import CONTROL, Special, in_order, read_pieces, with_pieces
from transformer.data.tokenizer import Tokenizer, learn_tokenizer, load_tokenizer, tagged, unseen_characters
from transformer.errors import CheckpointError, ConfigError


def marian_vocabulary(*models: bytes, tags: tuple[str, ...] = ()) -> list[str]:
    """Return a vocabulary as that of the Hugging Face copies of Marian's models: pad is last."""
    return [*foreign_models.marian_vocabulary(*models, tags=tags), "<pad>"]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_ids_are_those_of_the_vocabulary(kind: str) -> None:
    source = learned([pair.source for pair in PAIRS], kind, 60)
    target = learned([pair.target for pair in PAIRS], kind, 60)
    vocabulary = marian_vocabulary(source, target)
    made = [in_order(model, vocabulary, target=i == 1) for i, model in enumerate((source, target))]
    assert [missing for _, missing in made] == [[], []]
    tok = Tokenizer(made[0][0], made[1][0])
    assert tok.joint
    assert (tok.pad, tok.unk, tok.eos, tok.bos) == (len(vocabulary) - 1, 1, 0, len(vocabulary) - 1)
    assert tok.never_chosen == (tok.pad, tok.unk)
    ids = {piece: i for i, piece in enumerate(vocabulary)}
    sides = [(source, tok.encode_source, 0), (target, tok.encode_target, 1)]
    texts = [*(text for pair in PAIRS[:60] for text in pair), "one Zwei unknown Ωmega", "  ", "▁x", "a" * 90]
    for model, encode, side in sides:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        for text in texts:
            pieces = processor.encode(tok.rules[side].given(text), out_type=str)
            if any(len(piece) > 1 and processor.piece_to_id(piece) == processor.unk_id() for piece in pieces):
                continue  # SentencePiece joins neighbouring unknown characters
            assert encode([text]) == [[ids.get(piece, 1) for piece in pieces]]
    flat = tok.encode_pairs([pair.source for pair in PAIRS], [pair.target for pair in PAIRS])
    assert flat[0].ids.tolist() == [i for row in tok.encode_source([pair.source for pair in PAIRS]) for i in row]
    assert tok.decode(tok.encode_target([pair.target for pair in PAIRS])) == [pair.target for pair in PAIRS]
    only_source = [ids[piece] for piece in processor_pieces(source) if piece not in processor_pieces(target)]
    assert tok.decode([only_source[:3]]) == ["".join(tok.pieces(only_source[:3])).replace("▁", " ").strip()]


def processor_pieces(model: bytes) -> list[str]:
    return [each.text for each in read_pieces(model) if each.kind == 1]


def test_a_tag_is_one_piece_and_is_put_before_each_text(tmp_path: Path) -> None:
    source = learned([pair.source for pair in PAIRS], "unigram", 60)
    vocabulary = marian_vocabulary(source, tags=(">>fra<<", ">>cmn_Hans<<"))
    model, target = in_order(source, vocabulary)[0], in_order(source, vocabulary, target=True)[0]
    plain = Tokenizer(model, target)
    (words,) = plain.encode_source(["one two"])
    assert plain.encode_source([">>fra<< one two", ">>cmn_Hans<< one two", "one two"]) == [
        [2, *words],
        [3, *words],
        words,
    ]
    assert plain.decode([[2, *words]]) == ["one two"]
    tok = tagged(plain, ">>fra<<")
    assert tok.source_prefix == ">>fra<<"
    assert tok.encode_source(["one two", ">>cmn_Hans<< one two", "", "  "]) == [[2, *words], [3, *words], [], []]
    assert tok.encode_target(["one two"]) == [words]
    assert tok.encode_pairs(["one two", ""], ["one two", ""])[0].lengths.tolist() == [len(words) + 1, 0]
    assert tok.encode_pairs(["one two"], ["one two"])[0].ids.tolist() == [2, *words]
    assert tok.fingerprint != plain.fingerprint
    tok.save(tmp_path)
    assert load_tokenizer(tmp_path).source_prefix == ">>fra<<"
    assert tagged(tok, ">>fra<<") is tok
    assert tagged(tok, "").encode_source(["one two"]) == [words]
    assert unseen_characters(tok, "one Ω two", tok.encode_source(["one Ω two"])[0]) == "Ω"
    with pytest.raises(ConfigError, match="the vocabulary has no tag '>>deu<<'; it has >>cmn_Hans<<, >>fra<<"):
        tagged(plain, ">>deu<<")
    with pytest.raises(ConfigError, match="the vocabulary has no tag '>>deu<<'; it has none"):
        tagged(Tokenizer(in_order(source, marian_vocabulary(source))[0]), ">>deu<<")


def test_pieces_that_a_vocabulary_lacks_are_named() -> None:
    source = learned([pair.source for pair in PAIRS], "unigram", 60)
    vocabulary = marian_vocabulary(source)
    gone = vocabulary.pop(5)
    assert in_order(source, vocabulary)[1] == [gone]


def test_bytes_are_encoded_as_before_or_not_at_all() -> None:
    source = learned([pair.source for pair in PAIRS], "bpe", 330, byte_fallback=True)
    whole = marian_vocabulary(source)
    tok = Tokenizer(in_order(source, whole)[0])
    assert tok.pieces(tok.encode_source(["Ω"])[0])[-2:] == ["<0xCE>", "<0xA9>"]
    tok = Tokenizer(in_order(source, [each for each in whole if each != "<0xCE>"])[0])
    assert tok.encode_source(["Ω"])[0][-1] == tok.unk


def test_special_pieces_may_have_other_names() -> None:
    source = learned([pair.source for pair in PAIRS], "unigram", 60)
    pieces = [each.text for each in read_pieces(source) if each.kind != CONTROL and each.text != "<unk>"]
    names = Special(pad="<blank>", unk="[UNK]", bos="[BOS]", eos="[EOS]")
    tok = Tokenizer(in_order(source, ["[UNK]", "<blank>", "[BOS]", "[EOS]", *pieces], names)[0])
    assert (tok.unk, tok.pad, tok.bos, tok.eos) == (0, 1, 2, 3)


def test_what_is_no_model_is_refused() -> None:
    source = learned([pair.source for pair in PAIRS], "unigram", 60)
    with pytest.raises((IndexError, ValueError)):
        read_pieces(b"\x0a\x07\x0a\x02hi\x15\x00\x00")
    with pytest.raises(CheckpointError, match="the tokenizer lacks one of the pieces for pad, unk and eos"):
        Tokenizer(in_order(source, ["<unk>", "a"])[0])
    assert with_pieces(source, read_pieces(source)).startswith(b"\x0a")


def test_a_prefix_needs_a_vocabulary_that_has_it() -> None:
    with pytest.raises(
        ConfigError, match="tokenizer.source_prefix needs a vocabulary that has it: that of an imported"
    ):
        learn_tokenizer(PAIRS, TokenizerConfig(source_prefix=">>fra<<"))
