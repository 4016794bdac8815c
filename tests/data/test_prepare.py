"""Preparation: every dropped pair is counted, and results are cached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.toy import toy_pairs, write_pairs

from transformer import config_file
from transformer.config import Config
from transformer.data import corpus
from transformer.data.dataset import Dataset
from transformer.data.prepare import find_or_learn_tokenizer, prepare_pairs
from transformer.data.sample import Sample
from transformer.data.tokenizer import Tokenizer
from transformer.errors import DataError
from transformer.system.progress_bar import ProgressBar


def with_pairs(tiny: Config, folder: Path, pairs: list[corpus.Pair], *overrides: str) -> Config:
    return config_file.override(tiny, [f"data.train={{files: {write_pairs(folder, 'own', pairs)}}}", *overrides])


def contents(dataset: Dataset, tok: Tokenizer) -> list[corpus.Pair]:
    source, target = dataset.ids(np.arange(len(dataset)))
    texts = tok.source.decode([s.tolist() for s in source]), tok.target.decode([t.tolist() for t in target])
    return [corpus.Pair(*pair) for pair in zip(*texts, strict=True)]


def test_prepared_pairs_decode_to_the_text(tiny: Config, tok: Tokenizer, tmp_path: Path) -> None:
    pairs = toy_pairs(230, 5)
    made = prepare_pairs(with_pairs(tiny, tmp_path, pairs), tok, [], tmp_path / "prepared")
    assert contents(made, tok) == pairs
    assert made.report["corpora"][0] | {"name": ""} == {
        "name": "", "read": 230, "usable": 230, "pairs": 230, "overlap": 0, "duplicates": 230 - len(set(pairs)),
        "source pieces": 1008, "target pieces": 1008, "source unknown": 0, "target unknown": 0,
    }  # fmt: skip


def test_chunks_and_threads_change_nothing(
    tiny: Config, tok: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = with_pairs(tiny, tmp_path, toy_pairs(230, 5))
    prepare_pairs(cfg, tok, [], tmp_path / "one")
    monkeypatch.setattr("transformer.data.encode.CHUNK", 7)
    prepare_pairs(cfg, tok, [], tmp_path / "many")
    files = [sorted((tmp_path / name).rglob("*")) for name in ("one", "many")]
    assert [f.name for f in files[0]] == [f.name for f in files[1]]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True) if a.is_file())


def test_filters_are_counted(tiny: Config, tok: Tokenizer, tmp_path: Path) -> None:
    good = [corpus.Pair("one two", "zwei eins"), corpus.Pair("three", "drei"), corpus.Pair("four", "vier")]
    bad = [
        corpus.Pair("", "eins"),
        corpus.Pair("  ", ""),
        corpus.Pair("one " * 60, "eins"),
        corpus.Pair("one", "eins zwei drei vier fünf sechs"),
    ]
    pairs = [*good, *bad, good[0]]
    cfg = with_pairs(tiny, tmp_path, pairs, "data.max_length=40", "data.max_ratio=4", "data.duplicates=drop")
    made = prepare_pairs(cfg, tok, [corpus.Pair("x", " drei "), corpus.Pair("four", "y")], tmp_path / "prepared")
    assert contents(made, tok) == good
    counts = made.report["corpora"][0]
    assert {k: v for k, v in counts.items() if k != "name"} == {
        "read": 8, "usable": 4, "empty": 2, "too long": 1, "ratio": 1, "duplicates": 1, "overlap": 2, "pairs": 3,
        "source pieces": 6, "target pieces": 6, "source unknown": 0, "target unknown": 0,
    }  # fmt: skip
    cfg = config_file.override(cfg, ["data.overlap=drop"])
    made = prepare_pairs(cfg, tok, [corpus.Pair("x", " drei "), corpus.Pair("four", "y")], tmp_path / "prepared")
    assert contents(made, tok) == good[:1]


def test_undecodable_lines_are_refused_or_counted(tiny: Config, tok: Tokenizer, tmp_path: Path) -> None:
    cfg = with_pairs(tiny, tmp_path, toy_pairs(3, 1))
    with (tmp_path / "own.en").open("ab") as stream:
        stream.write(b"\xff\n")
    with (tmp_path / "own.de").open("ab") as stream:
        stream.write(b"eins\n")
    with pytest.raises(DataError, match="line 4 is not UTF-8"):
        prepare_pairs(cfg, tok, [], tmp_path / "prepared")
    assert not list((tmp_path / "prepared").glob("[!.]*"))  # nothing was written
    made = prepare_pairs(config_file.override(cfg, ["data.undecodable=drop"]), tok, [], tmp_path / "prepared")
    assert made.report["corpora"][0]["undecodable"] == 1


def test_the_error_for_no_pairs_says_why(tiny: Config, tok: Tokenizer, tmp_path: Path) -> None:
    cfg = with_pairs(tiny, tmp_path, [corpus.Pair("one " * 300, "eins"), corpus.Pair("", "")])
    with pytest.raises(DataError, match="no training pair is left: .*0 of 2 pairs usable, 1 empty, 1 too long"):
        prepare_pairs(cfg, tok, [], tmp_path / "prepared")


def test_the_cache_is_used_only_if_nothing_changed(tiny: Config, tok: Tokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    pairs = toy_pairs(50, 5)

    def count(*overrides: str, held: tuple[corpus.Pair, ...] = ()) -> int:
        prepare_pairs(with_pairs(tiny, tmp_path, pairs, *overrides), tok, held, folder)
        return len(list(folder.glob("[!.]*")))

    assert count() == 1
    assert count("train.seed=7", "data.train.weight=2") == 1
    assert count("data.max_length=30") == 2
    assert count("data.duplicates=drop") == 3
    assert count(held=(corpus.Pair("a", "b"),)) == 4
    pairs[0] = corpus.Pair("nine nine", "neun neun")
    assert count() == 5


def test_a_damaged_cache_is_rebuilt(tiny: Config, tok: Tokenizer, tmp_path: Path) -> None:
    cfg = with_pairs(tiny, tmp_path, toy_pairs(50, 5))
    before = contents(prepare_pairs(cfg, tok, [], tmp_path / "prepared"), tok)
    (next((tmp_path / "prepared").glob("pairs-*")) / "target.ids").write_bytes(b"short")
    assert contents(prepare_pairs(cfg, tok, [], tmp_path / "prepared"), tok) == before


def test_corpora_keep_their_weights(tiny: Config, tok: Tokenizer, tmp_path: Path) -> None:
    first, second = write_pairs(tmp_path, "x", toy_pairs(20, 1)), write_pairs(tmp_path, "y", toy_pairs(30, 2))
    cfg = config_file.override(tiny, [f"data.train=[{{files: {first}, weight: 2}}, {{files: {second}, weight: 0.5}}]"])
    made = prepare_pairs(cfg, tok, [], tmp_path / "prepared")
    assert made.corpora == ((0, 20, 2.0), (20, 50, 0.5))


def test_the_sample_is_random_ordered_and_has_the_requested_size() -> None:
    pairs = [corpus.Pair(str(i), "") for i in range(1000)]

    def drawn(size: int, seed: int) -> Sample:
        return Sample(lambda: iter(pairs), size, seed, ProgressBar("reading"))

    sample = drawn(100, 1)
    numbers = [int(pair.source) for pair in sample]
    assert sample.total == 1000
    assert numbers == sorted(set(numbers))
    assert len(numbers) == len(sample) == 100
    assert 350 < sum(numbers) / 100 < 650
    assert list(sample) == list(drawn(100, 1)) == list(sample) != list(drawn(100, 2))
    assert list(drawn(5000, 1)) == pairs
    assert numbers[:8] == [6, 9, 12, 19, 22, 23, 34, 55]  # as in version 0.6.0: old vocabularies are found again


def test_the_tokenizer_is_cached(tiny: Config, tmp_path: Path) -> None:
    first = find_or_learn_tokenizer(tiny, tmp_path / "prepared")
    assert find_or_learn_tokenizer(tiny, tmp_path / "prepared").fingerprint == first.fingerprint
    assert len(list((tmp_path / "prepared").glob("[!.]*"))) == 1
    other = find_or_learn_tokenizer(config_file.override(tiny, ["tokenizer.kind=unigram"]), tmp_path / "prepared")
    assert other.fingerprint != first.fingerprint
