"""A cache of encoded words. It makes encoding a corpus several times faster and gives the same ids."""

from __future__ import annotations

from typing import Any

SPACE = "\u2581"
"""SentencePiece's symbol for a space, and for the start of a text."""


class SentenceEncoder:
    """Encodes whole texts to the bytes of int32 ids, for vocabularies whose pieces may span spaces."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def encode(self, texts: list[str]) -> list[bytes]:
        return (
            [ids.tobytes() for ids in self.processor.encode(texts, return_type="numpy", num_threads=1)] if texts else []
        )


class WordCache(dict[str, bytes]):
    """Encodes texts to the bytes of int32 ids by looking up their words.

    The ids are the same as SentencePiece's: in byte-pair encoding, the pieces of a word do not depend on its neighbours
    if no piece spans a space (see `splits_at_spaces`).
    """

    most, longest = 1 << 20, 64
    """Most words in the cache, and the length of the longest word that is cached."""

    def __init__(self, processor: Any, plain: bool = False) -> None:
        """Take whether all texts are `plain`: SentencePiece changes nothing but their spaces, each to SPACE."""
        super().__init__()
        self.processor, self.plain = processor, plain

    def __missing__(self, word: str) -> bytes:
        if self.processor.normalize(word) != SPACE + word:
            raise _NotNormalError
        ids: bytes = self.processor.encode(word, return_type="numpy").tobytes()
        if len(self) >= self.most:
            self.clear()
        if len(word) <= self.longest:
            self[word] = ids
        return ids

    def encode(self, texts: list[str]) -> list[bytes]:
        if not texts:
            return []
        normal = [SPACE + text.replace(" ", SPACE) for text in texts] if self.plain else self.processor.normalize(texts)
        return [self._encode(*each) for each in zip(texts, normal, strict=True)]

    def _encode(self, text: str, normal: str) -> bytes:
        if normal[:1] == SPACE and normal[-1] != SPACE and SPACE * 2 not in normal:
            try:
                return b"".join(map(self.__getitem__, normal[1:].split(SPACE)))
            except _NotNormalError:
                pass
        ids: bytes = self.processor.encode(text, return_type="numpy").tobytes()
        return ids


class _NotNormalError(Exception):
    """Raised for a word that changes when it is normalized again, so that its ids depend on its neighbours."""


def splits_at_spaces(processor: Any) -> bool:
    """Return whether this is a byte-pair encoding in which no piece spans a space."""
    size = processor.get_piece_size()
    normal = [
        i for i in range(size) if not (processor.is_control(i) or processor.is_unknown(i) or processor.is_byte(i))
    ]
    ranks = all(processor.get_score(i).is_integer() for i in normal)  # the scores of a unigram model are logarithms
    whole = not any(SPACE in processor.id_to_piece(i)[1:] for i in normal)
    return ranks and whole and processor.piece_to_id(SPACE) != processor.unk_id()
