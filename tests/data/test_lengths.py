"""The lengths of nearly all training pairs are measured and kept with the run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.command import main
from support.toy import toy_pairs

from transformer.data.corpus import Pair
from transformer.data.dataset import from_pairs
from transformer.data.lengths import LONG, LONGEST, Lengths, measure_lengths, read_lengths, with_lengths
from transformer.data.tokenizer import Tokenizer


def test_lengths_cover_nearly_all_pairs(tok: Tokenizer) -> None:
    short = [Pair("one two", "eins zwei drei")] * 1999
    long = Pair("one " * 9, "eins " * 30)
    size = [len(ids) for ids in (*tok.encode_source(short[0]), *tok.encode_source(long))]
    assert measure_lengths(from_pairs([*short, long], tok)) == Lengths(size[0], size[1], size[1] - size[0])
    assert size[2] < LONG  # so no source says what the ratio is
    few = measure_lengths(from_pairs([*short[:500], long], tok))
    assert few == Lengths(size[2], size[3], size[3] - size[2])


def test_the_ratio_is_that_of_long_sources(tok: Tokenizer) -> None:
    """One word that becomes twelve says nothing about a sentence of thirty."""
    pairs = [Pair("one", "eins " * 12)] * 50 + [Pair("one " * 30, "eins " * 45)] * 1999 + [Pair("one " * 30, "eins")]
    (source,), (target,) = tok.encode_source(["one " * 30]), tok.encode_target(["eins " * 45])
    assert len(source) >= LONG
    assert measure_lengths(from_pairs(pairs, tok)).ratio == 100 * len(target) // len(source)
    report = with_lengths({}, from_pairs(pairs, tok))
    del report["lengths"]["ratio"]  # a run of version 0.4.0 or before
    assert read_lengths(report) == replace(measure_lengths(from_pairs(pairs, tok)), ratio=0)


def test_a_corpus_counts_by_its_weight(tok: Tokenizer) -> None:
    dataset = from_pairs([Pair("one", "eins")] * 1000 + [Pair("one two three", "eins")], tok)
    (one,), (three,) = (tok.encode_source([text]) for text in ("one", "one two three"))
    heavy = replace(dataset, corpora=((0, 1000, 1.0), (1000, 1001, 3.0)))
    light = replace(dataset, corpora=((0, 1000, 1.0), (1000, 1001, 0.5)))
    assert measure_lengths(heavy).source == len(three)
    assert measure_lengths(light).source == len(one)


def test_what_was_measured_is_read(tok: Tokenizer) -> None:
    dataset = from_pairs(toy_pairs(50, 1), tok)
    assert read_lengths(json.loads(json.dumps(with_lengths({}, dataset)))) == measure_lengths(dataset)
    assert len(dataset) == len(np.unique(dataset.rows))


@pytest.mark.parametrize(
    "lengths", [None, 5, {}, {"source": "x"}, {"source": -1, "target": 2, "extra": 3},
                {"source": LONGEST + 1, "target": 2, "extra": 3}, {"source": 1.5, "target": 2, "extra": 3}],
)  # fmt: skip
def test_reports_without_lengths_have_none(lengths: object) -> None:
    assert read_lengths({"lengths": lengths}) is None
    assert read_lengths([lengths]) is None


def test_a_run_keeps_its_lengths_from_the_start(tiny_file: Path, tmp_path: Path) -> None:
    """A training that has only started is enough; the model card comes at the end."""
    assert main("train", tiny_file, "--run", tmp_path / "run", "train.time_limit=0").code in (0, 75)
    assert read_lengths(json.loads((tmp_path / "run" / "data.json").read_text())) is not None
