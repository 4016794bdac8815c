"""A vocabulary that is extended keeps its ids, and writes new text in fewer pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.foreign_models import PAIRS, learned, marian_vocabulary

from transformer.config import TokenizerConfig
from transformer.data.extending import Reserved, extended, with_reserved
from transformer.data.model_pieces import Special
from transformer.data.tokenizer import learn_tokenizer, reads_whole
from transformer.errors import ConfigError
from transformer.interchange.foreign import ordered_tokenizer

NEW = ["seventeen seventeens", "the internet of internets", "Ωmega und Ωmega", "one two seventeen", "ninety nines"] * 3
OLD = [text for pair in PAIRS[:50] for text in pair]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("fallback", [True, False])
def test_new_pieces_join_old_ones(kind: str, joint: bool, fallback: bool) -> None:
    cfg = TokenizerConfig(kind=kind, joint=joint, vocab_size=310 if fallback else 48, byte_fallback=fallback)  # type: ignore[arg-type]
    old = learn_tokenizer(PAIRS, cfg)
    new = extended(old, NEW, NEW, (12, 12))
    sizes = old.sizes
    assert new.sizes == (sizes[0] + 12, sizes[1] + 12)
    for side, before, after in ((0, old.source, new.source), (1, old.target, new.target)):
        assert [after.id_to_piece(i) for i in range(sizes[side])] == [before.id_to_piece(i) for i in range(sizes[side])]
        for text in [*NEW, *OLD]:
            ids = after.encode(text)
            plain = [i for i in ids if i < sizes[side]]
            if len(plain) == len(ids):  # without new pieces it has the ids that it had
                assert ids == before.encode(text)
            assert after.decode(ids) == text or after.unk_id() in ids
        used = {i for text in NEW for i in after.encode(text)}
        assert used & set(range(sizes[side], sizes[side] + 12))
        assert sum(len(after.encode(text)) for text in NEW) < sum(len(before.encode(text)) for text in NEW)
    omega = new.source.piece_to_id("Ω")
    assert omega >= sizes[0]  # a character comes first
    assert new.unk not in new.encode_source(["Ωmega und Ωmega"])[0]
    assert extended(old, NEW, NEW, (12, 12)).fingerprint == new.fingerprint
    assert extended(old, ["x"], ["y"], (12, 12)).sizes == sizes  # nothing is frequent enough


WANTED = Reserved(("<bt>", ">>fra<<"), ("@@Q",), 2)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("joint", [True, False])
def test_reserved_pieces_are_added(kind: str, joint: bool) -> None:
    old = learn_tokenizer(PAIRS, TokenizerConfig(kind=kind, joint=joint, vocab_size=310))  # type: ignore[arg-type]
    new = with_reserved(old, WANTED)
    sizes = old.sizes
    assert new.sizes == (sizes[0] + 5, sizes[1] + (5 if joint else 3))
    assert new.encode_source(OLD) == old.encode_source(OLD)
    assert new.encode_target(OLD) == old.encode_target(OLD)
    assert new.placeholders == 2
    assert [tag for tag in ("<bt>", ">>fra<<", "<x>") if new.has_tag(tag) and reads_whole(new, tag)] == [
        "<bt>",
        ">>fra<<",
    ]
    text = "one <ph1> two @@Q"
    assert {"<ph1>", "@@Q"} <= set(new.pieces(new.encode_target([text])[0]))
    assert new.decode(new.encode_target([text])) == [text]
    assert with_reserved(new, WANTED) is new
    assert with_reserved(new, Reserved(placeholders=1)).fingerprint == new.fingerprint
    more = extended(new, NEW, NEW, (12, 12))
    assert more.sizes == (new.sizes[0] + 12, new.sizes[1] + 12)
    assert more.encode_source([text, ">>fra<< one"]) == new.encode_source([text, ">>fra<< one"])


def test_a_symbol_that_is_not_read_is_refused() -> None:
    old = learn_tokenizer(PAIRS, TokenizerConfig(vocab_size=310))
    with pytest.raises(ConfigError, match="tokenizer.user_symbols: the vocabulary does not read .* as one piece"):
        with_reserved(old, Reserved(symbols=("e\u0301",)))


def test_each_new_piece_is_two_pieces_that_were_there() -> None:
    old = learn_tokenizer(PAIRS, TokenizerConfig(vocab_size=310))
    new = extended(old, NEW, NEW, (20, 20))
    known = {old.source.id_to_piece(i) for i in range(old.sizes[0])}
    for i in range(old.sizes[0], new.sizes[0]):
        piece = new.source.id_to_piece(i)
        assert len(piece) == 1 or any(piece[:cut] in known and piece[cut:] in known for cut in range(1, len(piece)))
        known.add(piece)


def test_a_shared_vocabulary_with_two_models_stays_shared(tmp_path: Path) -> None:
    spm = learned([pair.source for pair in PAIRS]), learned([pair.target for pair in PAIRS])
    vocabulary = [*marian_vocabulary(*spm), "<pad>"]
    old = ordered_tokenizer(spm, (vocabulary, vocabulary), Special())
    other = [text.replace("internet", "netzwerk") for text in NEW]
    new = extended(old, NEW, other, (12, 12))
    assert old.joint
    assert new.joint
    assert len(vocabulary) + 12 < new.sizes[0] <= len(vocabulary) + 24
    assert (new.pad, new.unk, new.eos) == (old.pad, old.unk, old.eos)
    assert new.decode(new.encode_target(other))[1] == "the netzwerk of netzwerks"
    reserved = with_reserved(old, WANTED)
    assert reserved.joint
    assert reserved.sizes == (old.sizes[0] + 5, old.sizes[1] + 5)
    assert reserved.encode_target(["one <bt>"])[0][:-1] != reserved.encode_source(["one <bt>"])[0][:-1]
    assert reserved.source.piece_to_id("@@Q") in reserved.encode_target(["@@Q"])[0]
    joined = {new.source.id_to_piece(i) for i in new.encode_source(NEW[1:2])[0]}
    assert not any("werk" in piece for piece in joined)
