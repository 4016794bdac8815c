"""The pieces of a serialized SentencePiece model, in another order or with others added.

Other programs number pieces by a list of their own: MarianMT by `vocab.json`, Marian by `vocab.yml`, CTranslate2 by
its vocabulary. A model whose pieces are in that order gives the same ids without a second table.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from transformer.data.model_file import fields
from transformer.data.tags import TAG

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""The types of pieces. Text is never segmented into a control piece, and one is decoded to nothing."""
PIECES, TRAINER, NORMALIZER = 1, 2, 3
"""Numbers of the fields of a model."""
ADD_DUMMY_PREFIX, REMOVE_EXTRA_WHITESPACES = 3, 4
"""Numbers of the fields of NORMALIZER."""
BYTE_FALLBACK, UNK_PIECE, BOS_PIECE, EOS_PIECE, PAD_PIECE = 35, 45, 46, 47, 48
"""Numbers of the fields of TRAINER."""
LAST = -1e9
"""The score of a piece that text is not segmented into, so that merges reach it last."""
PENALTY = 10.0
"""By how much SentencePiece scores an unknown character below its worst piece."""


class Piece(NamedTuple):
    """A piece of a SentencePiece model."""

    text: str
    score: float = 0.0
    kind: int = NORMAL


class Special(NamedTuple):
    """The texts of the special pieces. A vocabulary may lack `bos`."""

    pad: str = "<pad>"
    unk: str = "<unk>"
    bos: str = "<s>"
    eos: str = "</s>"


USUAL = Special()


def read_pieces(model: bytes) -> list[Piece]:
    """Return the pieces of a serialized model. Raises IndexError or ValueError if it is damaged."""
    found = []
    for number, value in fields(model):
        if number == PIECES and isinstance(value, bytes):
            parts = dict(fields(value))
            text, score, kind = parts.get(1, b""), parts.get(2, bytes(4)), parts.get(3, NORMAL)
            if not (isinstance(text, bytes) and isinstance(score, bytes) and len(score) == 4 and isinstance(kind, int)):
                raise ValueError("a piece is not what SentencePiece writes")
            found.append(Piece(text.decode(), struct.unpack("<f", score)[0], kind))
    return found


def with_pieces(model: bytes, pieces: Iterable[Piece], special: Special = USUAL) -> bytes:
    """Return a serialized model with other pieces. All else stays, but for the texts of the special pieces."""
    made = list(pieces)
    head = b"".join(_message(PIECES, _piece(each)) for each in made)
    rest = b"".join(_field(number, value) for number, value in fields(model) if number != PIECES)
    names = ((UNK_PIECE, special.unk), (BOS_PIECE, special.bos), (EOS_PIECE, special.eos), (PAD_PIECE, special.pad))
    trainer = b"".join(_message(number, name.encode()) for number, name in names)
    if sum(each.kind == BYTE for each in made) < 256:
        trainer += _field(BYTE_FALLBACK, 0)
    return head + rest + _message(TRAINER, trainer)  # repeated messages are merged


def with_more_pieces(model: bytes, pieces: Iterable[Piece]) -> bytes:
    """Return a serialized model with more pieces at the end of its vocabulary."""
    return model + b"".join(_message(PIECES, _piece(each)) for each in pieces)


def without_blanks_added(model: bytes) -> bytes:
    """Return a serialized model that neither adds nor drops blanks, so that it encodes the text of a single piece."""
    return model + _message(NORMALIZER, _field(ADD_DUMMY_PREFIX, 0) + _field(REMOVE_EXTRA_WHITESPACES, 0))


def in_order(
    model: bytes, vocabulary: Sequence[str], special: Special = USUAL, target: bool = False
) -> tuple[bytes, list[str]]:
    """Return a model with the pieces of a vocabulary, in its order, and the pieces of the model that are not in it.

    Text is segmented into pieces that both have, as by the model if the vocabulary has all its pieces. A piece of the
    vocabulary that the model lacks is that of another side: with `target` it is decoded, otherwise it never occurs,
    unless it is a single character. A tag such as `>>fra<<` at the beginning of a word is one piece, named with the
    space before it.
    """
    known, there = {each.text: each for each in read_pieces(model)}, set(vocabulary)
    usable = {NORMAL, USER_DEFINED, UNUSED}
    if sum(each.kind == BYTE and each.text in there for each in known.values()) == 256:
        usable.add(BYTE)
    worst = min((each.score for each in known.values() if each.kind == NORMAL), default=0.0)
    controls = {special.pad, special.bos, special.eos}
    made = []
    for text in vocabulary:
        if text == special.unk:
            made.append(Piece(text, 0.0, UNKNOWN))
        elif text in controls:
            made.append(Piece(text, 0.0, CONTROL))
        elif TAG.fullmatch(text):
            made.append(Piece(f"\u2581{text}", 0.0, CONTROL if target else USER_DEFINED))
        elif text in known and known[text].kind in usable:
            made.append(known[text])
        elif len(text) == 1:  # an unknown character, which other programs then look up in the vocabulary
            made.append(Piece(text, worst - PENALTY))
        else:
            made.append(Piece(text, LAST, UNUSED if target and text not in known else CONTROL))
    there = {each.text for each in made}
    usual = (each for each in known.values() if each.kind in (NORMAL, USER_DEFINED, BYTE))
    return with_pieces(model, made, special), [each.text for each in usual if each.text not in there]


def _piece(piece: Piece) -> bytes:
    score = bytes([2 << 3 | 5]) + struct.pack("<f", piece.score)
    return _message(1, piece.text.encode()) + score + (b"" if piece.kind == NORMAL else _field(3, piece.kind))


def _field(number: int, value: int | bytes) -> bytes:
    return _message(number, value) if isinstance(value, bytes) else _number(number << 3) + _number(value)


def _message(number: int, content: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(content)) + content


def _number(value: int) -> bytes:
    """Return a varint, seven bits per byte."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)
