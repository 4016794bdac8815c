"""How much text is translated as one piece, how long a translation may become, and the warnings when that matters."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

from transformer.config import DecodeConfig
from transformer.data.lengths import Lengths
from transformer.data.tokenizer import Tokenizer, unseen_characters
from transformer.decoding.batches import Piece

EXTRA, SPARE = 50, 10
"""With `decode.max_extra: auto`, the least, and the tokens above what training pairs need. Not measured."""
MOST_NAMED = 10
"""Most characters that a warning names."""
log = logging.getLogger("transformer.decoding.translator")


@dataclass(frozen=True)
class Limits:
    """The limits of a translator, in tokens."""

    max_length: int
    """`data.max_length`."""
    longest_line: int
    """The longest line that is translated whole."""
    max_extra: int
    """Most tokens of a translation, eos counted, beyond those of its source."""
    ratio: int = 0
    """Most tokens of a translation in percent of those of its source, if that is more."""
    trained: Lengths | None = None
    """The lengths of the training pairs that the limits follow, if known."""

    @property
    def longest_sentence(self) -> int:
        """The longest sentence that is translated whole. A sentence suffers more from a cut than from this."""
        return min(self.max_length, self.longest_line * 5 // 4)

    def most_tokens(self, piece: Piece) -> int:
        """Return the most tokens of a piece's translation, eos counted."""
        length = len(piece.source)
        most = max(length + self.max_extra, math.ceil(length * self.ratio / 100) + 1)
        return most + (piece.prefix.longest if piece.prefix else 0)


def make_limits(cfg: DecodeConfig, max_length: int, lengths: Lengths | None) -> Limits:
    """Return the limits that follow from the settings and from the lengths of the training pairs, if known."""
    longest = min(max_length, max(lengths.source, 1)) if lengths else max_length
    if cfg.max_extra != "auto":
        return Limits(max_length, longest, max(cfg.max_extra, 1), trained=lengths)
    if lengths is None:
        return Limits(max_length, longest, EXTRA)
    return Limits(max_length, longest, max(EXTRA, lengths.extra + SPARE), lengths.ratio, lengths)


@dataclass
class Warnings:
    """Gives each warning once, for the first line of a text."""

    limits: Limits
    tokenizer: Tokenizer
    given: set[str] = field(default_factory=set)

    def unseen(self, number: int, line: str, ids: list[int]) -> None:
        """Warn of characters that are not in the vocabulary."""
        if "unseen" in self.given or not (characters := unseen_characters(self.tokenizer, line, ids)):
            return
        self.given.add("unseen")
        spelled = "" if self.tokenizer.unk in ids else "; they are spelled in bytes, which training has hardly seen"
        text = "line %d has characters that are not in this model's vocabulary: %s%s"
        log.warning(text, number, " ".join(characters[:MOST_NAMED]), spelled)

    def long_line(self, number: int, length: int, what: str) -> None:
        """Warn of a line that is longer than the model has learned."""
        if length > self.limits.longest_line and "long line" not in self.given:
            self.given.add("long line")
            known = self.limits.longest_line < self.limits.max_length
            limit = "nearly all training text (%d)" if known else "data.max_length (%d)"
            message = f"line %d has %d tokens, more than {limit}: lines this long are {what}"
            log.warning(message, number, length, self.limits.longest_line)

    def placeholders(self, number: int, lost: list[str]) -> None:
        """Warn of placeholders that a translation lacks."""
        if lost and "placeholders" not in self.given:
            self.given.add("placeholders")
            log.warning("line %d: the translation lacks %s", number, ", ".join(map(repr, lost[:MOST_NAMED])))

    def cut_translation(self, number: int, tokens: int) -> None:
        """Warn of a translation that had to end at its limit."""
        if "cut translation" not in self.given:
            self.given.add("cut translation")
            message = "line %d: the translation was cut at %d tokens; raise decode.max_extra, which is %d"
            log.warning(message, number, tokens, self.limits.max_extra)
