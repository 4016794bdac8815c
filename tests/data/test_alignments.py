"""Word alignments: read with care, and spread over pieces so that a word attends to the words it is aligned to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from transformer.config import TokenizerConfig
from transformer.data.alignments import AlignedPair, Guide, Words, with_alignments
from transformer.data.corpus import Pair
from transformer.data.ragged import from_rows
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.errors import DataError

PAIR = Pair("the red house", "la maison rouge")
LINKS = "0-0 1-2 2-1"


def read(folder: Path, text: str, *pairs: Pair | None) -> list[Pair | None]:
    (folder / "align").write_text(text)
    return list(with_alignments(pairs, folder / "align"))


def test_alignments_are_read_with_their_pairs(tmp_path: Path) -> None:
    one, none, empty = read(tmp_path, f"{LINKS}\n0-0\n \n", PAIR, None, PAIR)
    assert isinstance(one, AlignedPair)
    assert isinstance(empty, AlignedPair)
    assert (tuple(one), one.links, none, empty.links) == (tuple(PAIR), (0, 0, 1, 2, 2, 1), None, ())


@pytest.mark.parametrize(
    ("text", "pairs", "sentence"),
    [
        ("0-0\n", 2, "align has fewer lines than its corpus has pairs"),
        ("0-0\n0-0\n", 1, "align has more lines than its corpus has pairs"),
        ("0:0\n", 1, "align, line 1 is not an alignment; expected pairs of word numbers such as 0-0 1-2"),
        ("0-0 1\n", 1, "is not an alignment"),
        ("0-3\n", 1, "align, line 1 aligns word 3 of the target, which has 3; they are counted from 0"),
        ("7-0\n", 1, "aligns word 7 of the source, which has 3"),
    ],
)
def test_what_is_no_alignment_of_the_corpus_is_said(tmp_path: Path, text: str, pairs: int, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read(tmp_path, text, *[PAIR] * pairs)


@pytest.fixture(scope="module", params=[120, 400])
def tok(request: pytest.FixtureRequest) -> Tokenizer:
    """A tokenizer of few pieces, which cuts words, and of more."""
    pairs = [(PAIR.source, PAIR.target), ("a thing", "une chose"), ("quick brown fox", "renard brun rapide")] * 5
    cfg = TokenizerConfig(vocab_size=request.param, byte_fallback=False)
    return learn_tokenizer(pairs, cfg, ["<bt>"])


@pytest.mark.parametrize("tag", ["", "<bt> "])
def test_each_piece_is_guided_to_the_pieces_of_the_aligned_words(tok: Tokenizer, tag: str) -> None:
    source, target = (
        tok.encode_source([f"{tag}{PAIR.source}", "a thing"]),
        tok.encode_target([PAIR.target, "une chose"]),
    )
    links = [(0, 0, 1, 2, 2, 1), ()]
    weights = Guide(tok).weights(from_rows(source), from_rows(target), from_rows(links))
    assert weights.shape == (2, max(map(len, target)) + 1, max(map(len, source)) + 1)
    assert not weights[1].any()
    words = [Words(side, tok).of(np.array(ids)) for side, ids in ((tok.source, source[0]), (tok.target, target[0]))]
    assert [side[-1] for side in words] == [2, 2]
    for place, word in enumerate(words[1]):
        linked = {s for s, t in zip(links[0][::2], links[0][1::2], strict=True) if t == word}
        wanted = np.array([each in linked for each in words[0]], float)
        assert weights[0, place, : len(words[0])] == pytest.approx(wanted / wanted.sum())
        assert not weights[0, place, len(words[0]) :].any()
    assert not weights[0, len(words[1]) :].any()


@pytest.mark.parametrize(
    ("source", "links"),
    [
        ("the red house", (0, 0, 1, 2)),
        ("the  red house ", (0, 0, 1, 2)),
        ("the\u00a0red house", ()),  # two words or three, by what is a blank
        ("<bt> the red house", ()),  # the tag is a word for others
        ("the red\u200bhouse", (0, 0, 1, 1)),
    ],
)
def test_a_pair_is_aligned_where_it_is_sure_which_word_is_which(
    tok: Tokenizer, source: str, links: tuple[int, ...]
) -> None:
    pair = AlignedPair(source, PAIR.target, links or (0, 0))
    ids = from_rows(tok.encode_source([source])), from_rows(tok.encode_target([PAIR.target]))
    (row,) = Guide(tok).links_of([pair], *ids)
    assert tuple(row) == links
