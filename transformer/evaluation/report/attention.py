"""The attention of a run over some sentences: weights of each layer and head, and their mean as word alignment.

Shape letters: S source positions, T target positions, H heads, L positions (layers in `weights_LHTS`).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from transformer.data.tokenizer import Tokenizer
from transformer.model.attention_maps import attention_maps
from transformer.model.network import Transformer

PIECES = 32
"""Most pieces of each side of a sentence that is chosen by itself. More cannot be read on a phone."""
MOST_PIECES = 120
"""Most pieces of a sentence that is asked for."""
BLANK, START, END = "▁", "<s>", "</s>"
FEWEST_WORDS = 0.25
"""Words per piece below which a text is taken to be written without blanks, and its pieces are its words."""
ByteArray = NDArray[np.uint8]


class Sentence(NamedTuple):
    """A sentence and its translation."""

    line: int
    """Its number in the text, from 1."""
    source: str
    translation: str


@dataclass(frozen=True)
class Drawn:
    """The attention over a sentence. Weights from 0 to 1 are kept as 0 to 255."""

    line: int
    source: list[str]
    """The source pieces; the last is `</s>`."""
    target: list[str]
    """The target pieces, in the order in which they are predicted; the last is `</s>`."""
    weights: dict[str, ByteArray]
    """`encoder`, `decoder` and `cross`, each of shape (layers, heads, rows, columns)."""
    source_words: list[str]
    target_words: list[str]
    alignment: list[list[float]]
    """For each target word the share of attention that each source word gets: the mean over pieces, layers and heads of
    the decoder's attention over the source."""

    @property
    def size(self) -> int:
        """Bytes in a page, in base64."""
        return sum(each.size for each in self.weights.values()) * 4 // 3

    def as_json(self) -> dict[str, Any]:
        """Return what the page's script draws."""
        maps = {
            name: {"shape": list(each.shape), "data": base64.b64encode(each.tobytes()).decode()}
            for name, each in self.weights.items()
        }
        return {"line": self.line, "source": self.source, "target": self.target, **maps}


def choose(sentences: Sequence[Sentence], scores: Sequence[float], tok: Tokenizer, count: int) -> list[Sentence]:
    """Return sentences that fit on a screen, from the worst to the best by their scores, evenly spread."""
    lengths = (tok.encode_source([s.source for s in sentences]), tok.encode_target([s.translation for s in sentences]))
    fitting = [
        (score, sentence)
        for score, sentence, one, other in zip(scores, sentences, *lengths, strict=True)
        if 4 <= len(one) <= PIECES and 4 <= len(other) <= PIECES
    ]
    ranked = [sentence for _, sentence in sorted(fitting, key=lambda each: each[0])]
    if len(ranked) <= count:
        return ranked
    return [ranked[(2 * place + 1) * len(ranked) // (2 * count)] for place in range(count)][::-1]


def draw(model: Transformer, tok: Tokenizer, sentences: Sequence[Sentence]) -> Iterator[Drawn]:
    """Yield the attention over each sentence, while the model is given the translation word by word, in float32.

    A side of more than `MOST_PIECES` pieces is cut there.
    """
    device = next(model.parameters()).device
    for each in sentences:
        (source,), (target,) = tok.encode_source([each.source]), tok.encode_target([each.translation])
        source, target = source[:MOST_PIECES], target[:MOST_PIECES]
        rows = [*source, tok.eos], [model.start_id, *target]
        maps = attention_maps(model, *(torch.tensor([row], device=device) for row in rows))
        pieces = [tok.source.id_to_piece(i) for i in source], tok.pieces(target)
        mean_TS = maps.cross.mean((0, 1, 2)).cpu().numpy()
        words = [_words(side) for side in pieces]
        spelled = [[_spelled(side, word) for word in found] for side, found in zip(pieces, words, strict=True)]
        yield Drawn(
            each.line,
            [*pieces[0], END],
            [*pieces[1], END],
            {name: _bytes(weights[:, 0]) for name, weights in maps._asdict().items()},
            spelled[0],
            spelled[1],
            alignment=_align(mean_TS, *words),
        )


def _bytes(weights_LHTS: torch.Tensor) -> ByteArray:
    return (weights_LHTS * 255).round().to(torch.uint8).cpu().numpy()


def _words(pieces: Sequence[str]) -> list[range]:
    """Return the places of the pieces of each word. Where there are no blanks, each piece is one."""
    starts = [i for i, piece in enumerate(pieces) if i == 0 or piece.startswith(BLANK)]
    if len(starts) < FEWEST_WORDS * len(pieces):
        starts = list(range(len(pieces)))
    return [range(start, end) for start, end in pairwise([*starts, len(pieces)])]


def _spelled(pieces: Sequence[str], places: range) -> str:
    return "".join(pieces[i] for i in places).replace(BLANK, " ").strip() or BLANK


def _align(mean_TS: NDArray[np.float32], source: Sequence[range], target: Sequence[range]) -> list[list[float]]:
    """Return the weights between words: a mean over the pieces of the target word, a sum over those of the source."""
    return [[round(float(mean_TS[rows][:, columns].sum(1).mean()), 3) for columns in source] for rows in target]
