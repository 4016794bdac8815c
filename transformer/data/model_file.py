"""What a serialized SentencePiece model says about itself, read before it is loaded, and our mark in it.

It is a protocol buffer. Of a field that occurs twice the last value holds, so marks are appended.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

TRAINER, NORMALIZER, CLEANED, PREFIX, TAG, PLACEHOLDERS = 2, 3, 200, 201, 202, 203
"""Numbers of the fields of a model: how it was trained, how it normalizes, and our marks: that it learned from clean
text, what is put before each source text, each tag that was reserved for that, and the number of placeholders."""
MODEL_TYPE, COVERAGE, SPLIT_DIGITS = 3, 10, 25
"""Numbers of the fields of TRAINER."""
NAME, CHARSMAP = 1, 2
"""Numbers of the fields of NORMALIZER: the name of its rule, and the rule, compiled."""
KINDS = {1: "unigram", 2: "bpe"}
BYTES_OF = {1: 8, 5: 4}
"""The sizes of values by the types that have one."""


class Outline(NamedTuple):
    """What a model says about itself."""

    pieces: int
    kind: str | None
    """`bpe` or `unigram`, or None for another."""
    coverage: float
    """The share of the characters of its text that it was to cover."""
    normalization: str
    """The name of the rule by which it changes text."""
    cleaned: bool
    """Whether it learned from text without invisible characters. Those up to version 0.2.0 did not."""
    prefix: str = ""
    """What is put before each source text, such as the tag of the language to translate into."""
    tags: tuple[str, ...] = ()
    """The tags that were reserved when the vocabulary was learned."""
    placeholders: int = 0
    """The number of pieces that were reserved for placeholders."""
    split_digits: bool = False
    """Whether it has learned no piece of several digits."""

    @property
    def plain(self) -> bool:
        """Whether the model changes nothing in clean text."""
        return self.cleaned and self.normalization in ("nfc", "identity")


def read_outline(model: bytes) -> Outline:
    """Return what a serialized model says about itself, without loading it. Raises IndexError if it is cut short."""
    pieces, cleaned, prefix, trainer, normalizer = 0, False, b"", b"", b""
    tags: list[str] = []
    placeholders = 0
    for number, value in fields(model, skipped=1):
        if number == 1:
            pieces += 1
        elif number == TRAINER and isinstance(value, bytes):
            trainer += value  # which is how repeated messages are merged
        elif number == NORMALIZER and isinstance(value, bytes):
            normalizer += value
        elif number == CLEANED:
            cleaned = value == 1
        elif number == PREFIX and isinstance(value, bytes):
            prefix = value
        elif number == TAG and isinstance(value, bytes):
            tags.append(value.decode(errors="replace"))
        elif number == PLACEHOLDERS and isinstance(value, int):
            placeholders = value
    how, name = dict(fields(trainer)), dict(fields(normalizer)).get(NAME, b"nmt_nfkc")
    kind, coverage = how.get(MODEL_TYPE, 1), how.get(COVERAGE)
    return Outline(
        pieces,
        KINDS.get(kind) if isinstance(kind, int) else None,
        struct.unpack("<f", coverage)[0] if isinstance(coverage, bytes) and len(coverage) == 4 else 0.9995,
        name.decode(errors="replace") if isinstance(name, bytes) else "",
        cleaned,
        prefix.decode(errors="replace"),
        tuple(tags),
        placeholders,
        how.get(SPLIT_DIGITS) == 1,
    )


def mark_cleaned(model: bytes, normalization: str) -> bytes:
    """Return a serialized model that says it learned from clean text, normalized by a rule of this name."""
    normalizer = _bytes_field(NAME, normalization.encode())
    return model + _bytes_field(NORMALIZER, normalizer) + b"\xc0\x0c\x01"  # 200 << 3, then 1


def with_charsmap(model: bytes, charsmap: bytes) -> bytes:
    """Return a serialized model with another compiled rule of normalization, under the name that it has."""
    return model + _bytes_field(NORMALIZER, _bytes_field(CHARSMAP, charsmap))


def read_charsmap(model: bytes) -> bytes:
    """Return the compiled rule of normalization of a serialized model, empty if it has none."""
    found = b""
    for number, value in fields(model, skipped=1):
        if number == NORMALIZER and isinstance(value, bytes):
            rule = dict(fields(value)).get(CHARSMAP, found)
            found = rule if isinstance(rule, bytes) else found
    return found


def _bytes_field(number: int, value: bytes) -> bytes:
    return _varint_of(number << 3 | 2) + _varint_of(len(value)) + value


def _varint_of(number: int) -> bytes:
    made = b""
    while number >= 0x80:
        made, number = made + bytes([number & 0x7F | 0x80]), number >> 7
    return made + bytes([number])


def mark_prefix(model: bytes, prefix: str) -> bytes:
    """Return a serialized model that says what is put before each source text, up to 127 bytes."""
    content = prefix.encode()
    return model + b"\xca\x0c" + bytes([len(content)]) + content  # 201 << 3 | 2


def mark_tags(model: bytes, tags: Iterable[str]) -> bytes:
    """Return a serialized model that names the tags that were reserved in it."""
    return model + b"".join(_bytes_field(TAG, tag.encode()) for tag in tags)


def mark_placeholders(model: bytes, count: int) -> bytes:
    """Return a serialized model that says how many pieces were reserved for placeholders."""
    return model + _varint_of(PLACEHOLDERS << 3) + _varint_of(count)


def fields(message: bytes, skipped: int = 0) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of each field of a protocol buffer, without the value of one that is `skipped`."""
    place, short, end = 0, skipped << 3 | 2, len(message)
    while place < end:
        if message[place] == short and place + 1 < end and message[place + 1] < 0x80:  # most of a model
            place += 2 + message[place + 1]
            yield skipped, 0
            continue
        tag, place = _varint(message, place)
        if tag & 7 == 0:
            value, place = _varint(message, place)
            yield tag >> 3, value
            continue
        size = BYTES_OF.get(tag & 7, len(message))
        if tag & 7 == 2:
            size, place = _varint(message, place)
        yield tag >> 3, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Return a varint, seven bits per byte, and the index after it. Raises IndexError at the end."""
    number = shift = 0
    while shift < 70:
        byte = message[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            break
    return number, place
