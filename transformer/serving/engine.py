"""What a batcher has a model do: translate lines, and show the attention between words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from transformer.decoding.batches import Piece
from transformer.decoding.long_lines import Part, Ways
from transformer.decoding.parts import Translation
from transformer.decoding.translator import Translator
from transformer.evaluation.report.attention import MOST_PIECES, Drawn, Sentence, draw
from transformer.serving.batcher import Task


class Engine(Protocol):
    """A model that can be served. The benchmark serves other runtimes through it too."""

    most: int
    """Most translations of a line."""
    best: Task
    """Returns the best translation of each line, in a list of one."""
    several: Task
    """Returns the `most` best translations of each line, best first, or fewer if there are fewer."""
    attention: Task | None
    """Returns the alignment of each line with its translation, if the model can show it."""


class Alignment(NamedTuple):
    """The words of a line and of its translation, and the share of attention that each source word gets."""

    source: list[str]
    target: list[str]
    weights: list[list[float]]
    """For each target word one share of each source word."""
    cut: bool
    """Whether the line or the translation was too long and only its beginning is here."""


class TranslatorEngine:
    """The models of this package."""

    def __init__(self, translator: Translator) -> None:
        self.translator, cfg = translator, translator.cfg
        self.most = cfg.mbr_samples or cfg.beam
        self.best, self.several = self._translating("best", 1), self._translating("several", self.most)
        self.attention: Task | None = Task("attention", self._align, self._sizes_of_pairs)

    def _translating(self, name: str, nbest: int) -> Task:
        """Return the task that translates lines, long ones sentence by sentence."""

        def cut(line: str) -> list[Part]:
            return self.translator.parts.cut([line])[0]

        def run(parts: list[Part]) -> list[Ways]:
            return self.translator.parts.decode([Piece(part.ids) for part in parts], nbest)

        def join(parts: list[Part], ways: list[Ways]) -> list[Translation]:
            return self.translator.parts.join(parts, ways, nbest)

        return Task(name, run, lambda parts: [len(part.ids) + 1 for part in parts], cut, join)

    def _align(self, pairs: list[tuple[str, str]]) -> list[Alignment]:
        """Return the alignment of each line with its translation."""
        sentences = [Sentence(0, *pair) for pair in pairs]
        drawn = draw(self.translator.model, self.translator.tokenizer, sentences)
        return [self._alignment(each) for each in drawn]

    @staticmethod
    def _alignment(drawn: Drawn) -> Alignment:
        longest = max(len(drawn.source), len(drawn.target)) - 1
        return Alignment(drawn.source_words, drawn.target_words, drawn.alignment, longest == MOST_PIECES)

    def _sizes_of_pairs(self, pairs: list[tuple[str, str]]) -> Sequence[int]:
        return [2 * MOST_PIECES] * len(pairs)  # one pair at a time is drawn
