"""What stands before the text of a line, and is none of it, stays there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from support.toy import toy_pairs

from transformer.config import TokenizerConfig
from transformer.data.tokenizer import learn_tokenizer
from transformer.decoding.carrying import Carrier
from transformer.decoding.parts import PartDecoder


def test_a_tag_of_the_vocabulary_is_neither_a_placeholder_nor_markup() -> None:
    tok = learn_tokenizer(toy_pairs(300, 1), TokenizerConfig(vocab_size=400, placeholders=2), ["<de>"])
    limits = SimpleNamespace(longest_line=99, longest_sentence=99)
    parts = PartDecoder(cast("Any", SimpleNamespace(tokenizer=tok, cfg=None, limits=limits)), "en")
    assert [each.text for each in parts.hide(["<de> one <b>", "<fr> one"])] == ["<de> one <ph0>", "<ph0> one"]
    ((part,),) = parts.cut(["<de> one"])
    assert part.ids == tok.encode_source(["<de> one"])[0]
    assert tok.source.id_to_piece(part.ids[0]) == "\u2581<de>"
    assert tok.clean_pairs(["<de> one <b>"], ["eins <de> <b>"]) == (["<de> one <ph0>"], ["eins <de> <ph0>"])
    translator = SimpleNamespace(tokenizer=tok, decoder=SimpleNamespace(tokenizer=tok))
    carrier = Carrier(cast("Any", translator), guided=False, tags=True)
    assert list(carrier.read(["<de> one <b>two</b>", "<i>one</i>"])) == ["<de> one two", "one"]
