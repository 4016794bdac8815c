"""The attention that a report shows is the model's, and the alignment is its mean."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import torch

from transformer.decoding.translator import Translator
from transformer.evaluation.report.attention import MOST_PIECES, Sentence, _words, choose, draw
from transformer.model.attention_maps import attention_maps

ONE = Sentence(7, "one two three", "drei zwei eins")


def test_the_weights_are_those_of_the_model(translator: Translator) -> None:
    model, tok = translator.model, translator.tokenizer
    (found,) = draw(model, tok, [ONE])
    source, target = tok.encode_source([ONE.source])[0], tok.encode_target([ONE.translation])[0]
    maps = attention_maps(model, torch.tensor([[*source, tok.eos]]), torch.tensor([[model.start_id, *target]]))
    page = found.as_json()
    for name, wanted in maps._asdict().items():
        kept = np.frombuffer(base64.b64decode(page[name]["data"]), np.uint8).reshape(page[name]["shape"])
        np.testing.assert_allclose(kept / 255, wanted[:, 0].numpy(), atol=0.5 / 255 + 1e-6)
    assert page["source"] == [*map(tok.source.id_to_piece, source), "</s>"]
    assert page["target"] == [*tok.pieces(target), "</s>"]
    assert len(page["cross"]["data"]) <= found.size + 4


def test_the_alignment_of_a_model_that_reverses_is_reversed(translator: Translator) -> None:
    """The mean over all heads need not be sharp, but a word attends to its source more than the others do."""
    (found,) = draw(translator.model, translator.tokenizer, [ONE])
    assert (found.source_words, found.target_words) == (["one", "two", "three"], ["drei", "zwei", "eins"])
    table = np.array(found.alignment)
    assert table.shape == (3, 3)
    assert table.sum(1).max() <= 1.001
    assert [int(row) for row in table.argmax(0)] == [2, 1, 0]


def test_chosen_sentences_fit_and_range_from_best_to_worst(translator: Translator) -> None:
    texts = ["one two three four", "two three four five six", "three four five six", "one " * 80, "one"]
    sentences = [Sentence(i, text, text) for i, text in enumerate(texts * 20, 1)]
    scores = [float(sentence.line) for sentence in sentences]
    chosen = choose(sentences, scores, translator.tokenizer, 5)
    lines = [each.line for each in chosen]
    assert len(lines) == 5
    assert lines == sorted(lines, reverse=True)
    assert lines[0] > 80 > 20 > lines[-1]
    assert all(each.source in texts[:3] for each in chosen)
    assert len(choose(sentences[:3], scores[:3], translator.tokenizer, 5)) == 3


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["▁a", "b", "▁c"], [range(0, 2), range(2, 3)]),
        (["a", "▁b"], [range(0, 1), range(1, 2)]),
        ([], []),
        (["▁我", "喜", "欢", "你", "们"], [range(i, i + 1) for i in range(5)]),
    ],
)
def test_words_are_pieces_from_a_blank_to_the_next(pieces: list[str], words: list[range]) -> None:
    assert _words(pieces) == words


def test_empty_and_endless_sentences_can_be_drawn(translator: Translator) -> None:
    sides = [("", ""), ("one", ""), ("", "eins"), ("one " * 300, "eins " * 300)]
    empty, *_, endless = draw(translator.model, translator.tokenizer, [Sentence(1, *each) for each in sides])
    assert empty.as_json()["cross"]["shape"][2:] == [1, 1]
    assert endless.as_json()["cross"]["shape"][2:] == [MOST_PIECES + 1] * 2
