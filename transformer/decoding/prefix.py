"""Forced beginnings of translations: a text, which may stop anywhere, also inside a word or after a blank.

The translation must begin with the text, but not with the ids that the text alone is encoded to: the end of `the ho` is
no piece of `the house`. So only the complete words are forced by their ids. What follows them may be spelled by any ids
whose pieces agree with it, and the search chooses.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from transformer.data.sentences import sentence_ends
from transformer.data.text import reveal_reserved
from transformer.data.tokenizer import Tokenizer
from transformer.data.word_cache import SPACE


class PieceTable:
    """The target pieces of a tokenizer that stand for text, by their text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        side = tokenizer.target
        texts = [
            i
            for i in range(side.get_piece_size())
            if not (side.is_control(i) or side.is_unknown(i) or side.is_byte(i) or side.is_unused(i))
        ]
        self.tokenizer = tokenizer
        self.id_of = {side.id_to_piece(i): i for i in texts}
        self.sorted = sorted(self.id_of)

    def spelling(self, text: str) -> list[int]:
        """Return the ids that agree with a text: those whose piece begins it, and those whose piece it begins."""
        shorter = [self.id_of[text[:n]] for n in range(1, len(text)) if text[:n] in self.id_of]
        begin = bisect_left(self.sorted, text)
        longer = takewhile(lambda piece: piece.startswith(text), self.sorted[begin:])
        return shorter + [self.id_of[piece] for piece in longer]

    def knows(self, piece: str) -> bool:
        """Return whether each character of a piece is a piece, so that the piece can be spelled in any parts."""
        return piece in self.id_of and all(character in self.id_of for character in piece)


@dataclass(frozen=True)
class TextPrefix:
    """A forced beginning of a translation. Created by `text_prefix`."""

    table: PieceTable
    given: str
    """The beginning as it was given, without control characters and invisible ones."""
    ids: tuple[int, ...]
    """The ids of its complete words."""
    rest: str
    """What follows them, as SentencePiece writes it."""
    whole: bool = False
    """Whether the translation must end with it."""

    @property
    def longest(self) -> int:
        """Most ids that the beginning takes."""
        return len(self.ids) + len(self.rest) + self.whole

    def allowed(self, ids: Sequence[int]) -> Sequence[int]:
        """Return the ids that may follow these, or none if all may, since the beginning is complete."""
        if len(ids) < len(self.ids):
            return self.ids[len(ids) : len(ids) + 1]
        spelled = "".join(self.table.tokenizer.pieces(ids[len(self.ids) :]))
        if not (left := self.rest[len(spelled) :]):
            return (self.table.tokenizer.eos,) if self.whole else ()
        found = self.table.spelling(left)
        return [*found, self.table.tokenizer.eos] if left == SPACE else found  # a blank may be the end

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of a translation of these ids. It begins exactly as given."""
        tokenizer, spelled, place = self.table.tokenizer, "", len(self.ids)
        while len(spelled) < len(self.rest) and place < len(ids):
            spelled += tokenizer.pieces(ids[place : place + 1])[0]
            place += 1
        after = ids[place:]
        blank = " " if any(piece.startswith(SPACE) for piece in tokenizer.pieces(after[:1])) else ""
        extra = reveal_reserved(spelled[len(self.rest) :].replace(SPACE, " "))
        return self.given + extra + blank + tokenizer.decode([after])[0]


def spread_prefix(given: str, parts: int, table: PieceTable) -> list[TextPrefix | None]:
    """Return the forced beginnings of the translations of a line's parts. `given` has no invisible characters.

    If there are several, those of the first sentences of the prefix are translations of the first parts.
    """
    if parts == 1:
        return [text_prefix(given, table)]
    ends = sentence_ends(given)[: parts - 1]
    sentences = [given[a:b] for a, b in pairwise([0, *ends, len(given)])]
    begins = [text_prefix(text.strip(), table, whole=True) for text in sentences[:-1]]
    return [*begins, text_prefix(sentences[-1], table), *[None] * (parts - len(sentences))]


def text_prefix(given: str, table: PieceTable, whole: bool = False) -> TextPrefix:
    """Return the forced beginning for a text without invisible characters."""
    tokenizer = table.tokenizer
    ids = tokenizer.encode_target([given])[0]
    pieces = tokenizer.pieces(ids)
    # Ids of characters that cannot be spelled otherwise are forced, such as unknown ones and bytes.
    complete = max((i + 1 for i, piece in enumerate(pieces) if not table.knows(piece)), default=0)
    if _ends_in_blank(given, tokenizer):
        complete, rest = len(ids), SPACE
    else:
        complete = max([complete, *(i for i, piece in enumerate(pieces) if piece.startswith(SPACE))])
        rest = "".join(pieces[complete:])
    return TextPrefix(table, given, tuple(ids[:complete]), rest, whole)


def _ends_in_blank(text: str, tokenizer: Tokenizer) -> bool:
    """Return whether a target text ends in a blank, so that what follows is a new word."""
    longer = tokenizer.target.normalize(tokenizer.rules[1].given(f"{text}x"))
    return bool(text.strip()) and longer.endswith(f"{SPACE}x")
