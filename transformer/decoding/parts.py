"""Lines as parts that are decoded alone: cut, decoded, joined. Most lines are one part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformer.data.placeholders import Hidden, hide
from transformer.data.tags import split_tag
from transformer.decoding import search
from transformer.decoding.batches import Piece
from transformer.decoding.long_lines import Part, Ways, cut_line, join_best, join_samples, restore_beginning
from transformer.decoding.mbr import mean_chrf
from transformer.decoding.pieces import PieceDecoder


@dataclass(frozen=True)
class Translation:
    """A translation of a line. `str()` returns its text."""

    text: str
    score: float
    """Log-probability divided by the length penalty, for ranking, or with `decode.mbr_samples` the mean chrF with the
    samples. A long line has the sum of its pieces."""
    log_prob: float
    """Natural logarithm of the probability."""
    ids: tuple[int, ...]
    """Target ids without eos."""
    lengths: tuple[int, ...] = ()
    """How many of the ids are of each part of a line."""
    alternatives: tuple[Translation, ...] = ()
    """The next best translations, best first, if the Python interface was called with `nbest`."""

    def __str__(self) -> str:
        return self.text

    @property
    def tokens(self) -> int:
        """Number of target tokens, including eos."""
        return len(self.ids) + 1


EMPTY = Translation("", 0.0, 0.0, ())
"""The translation of an empty line."""


class PartDecoder:
    """Cuts lines into parts, decodes parts of any lines together, and joins those of a line."""

    def __init__(self, decoder: PieceDecoder, language: str) -> None:
        """`language` is the code of the source language, which helps to find sentences."""
        self.decoder, self.language = decoder, language
        self.tokenizer, self.cfg = decoder.tokenizer, decoder.cfg

    def hide(self, lines: Sequence[str]) -> list[Hidden]:
        """Return the lines with reserved pieces for their placeholders, if the vocabulary has such pieces."""
        tok = self.tokenizer
        split = [split_tag(line, tok.has_tag) if tok.placeholders else ("", line) for line in lines]
        hidden = [hide(text, tok.placeholders, tok.takes_terms) for _, text in split]
        return [each._replace(text=tag + each.text) for (tag, _), each in zip(split, hidden, strict=True)]

    def cut(self, lines: Sequence[str]) -> list[list[Part]]:
        """Return the parts of each line that are decoded alone: one, several of a long line, none of an empty one."""
        hidden = self.hide(lines)
        sources = self.tokenizer.encode_source([each.text for each in hidden])
        return [self.of_line(*each) for each in zip(hidden, sources, strict=True)]

    def decode(self, pieces: Sequence[Piece], nbest: int) -> list[Ways]:
        """Return the translations of each piece, best first: `nbest` different ones, or fewer if there are fewer."""
        hypotheses = self.decoder.decode(pieces, self.cfg.mbr_samples or nbest)
        return [self._ways(*each, nbest) for each in zip(pieces, hypotheses, strict=True)]

    def join(
        self, parts: Sequence[Part], ways: Sequence[Ways], nbest: int, prefix: str = "", pieces: Sequence[Piece] = ()
    ) -> list[Translation]:
        """Return the translations of a line, given those of its parts.

        `prefix` is the forced beginning of the line, and `pieces` have those of the parts.
        """
        joined = (join_samples if self.cfg.sampling else join_best)(ways, parts, nbest)
        joined = restore_beginning(joined, prefix, [piece.prefix for piece in pieces], parts)
        if parts and (hidden := parts[0].hidden) is not None:
            joined = [each._replace(text=hidden.restore(each.text)[0]) for each in joined]
        return [Translation(*way) for way in joined] or [EMPTY]

    def of_line(self, line: Hidden, ids: list[int]) -> list[Part]:
        """Return the parts of a line, given its ids."""
        limits = self.decoder.limits
        if len(ids) <= limits.longest_line:
            parts = [Part(ids)] if ids else []
        else:
            parts = cut_line(line.text, self.tokenizer, limits.longest_line, self.language, limits.longest_sentence)
        return [replace(part, hidden=line) for part in parts] if line.originals else parts

    def _ways(self, piece: Piece, hypotheses: list[search.Hypothesis], nbest: int) -> Ways:
        """Return the translations of a piece with their texts, in MBR decoding the `nbest` different best by chrF."""
        if piece.prefix is not None:
            texts = [piece.prefix.text(each.ids) for each in hypotheses]
        else:
            texts = self.tokenizer.decode([each.ids for each in hypotheses])
        if not self.cfg.mbr_samples:
            return list(zip(texts, hypotheses, strict=True))
        rated = zip(texts, hypotheses, mean_chrf(texts), strict=True)
        different = {text: (text, replace(each, score=score)) for text, each, score in rated}
        return sorted(different.values(), key=lambda way: -way[1].score)[:nbest]
