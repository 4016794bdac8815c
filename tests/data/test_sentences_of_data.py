"""Errors of corpora and tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.toy import toy_pairs

from transformer.config import TokenizerConfig
from transformer.data import batching, hub, testsets, tokenizer
from transformer.data.dataset import from_pairs
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.data_config import CorpusConfig
from transformer.errors import CheckpointError, DataError


def test_an_epoch_without_a_pair(tok: Tokenizer) -> None:
    data = from_pairs(toy_pairs(3, 1), tok)
    light = type(data)(**{**vars(data), "corpora": ((0, 3, 0.001),)})
    with pytest.raises(DataError, match="an epoch has no pair: the weights of data.train are too small"):
        batching.order(light, 100, 1, 0)


def test_a_test_set_in_other_languages() -> None:
    with pytest.raises(DataError, match="sacreBLEU's test set wmt14 has no language pair xx-yy"):
        testsets.testset_files("wmt14", "xx", "yy")


def test_a_test_set_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("sacrebleu.get_source_file", refuse)
    with pytest.raises(DataError, match=r"test set wmt14 en-de is not in sacreBLEU's cache and cannot be downloaded"):
        testsets.testset_files("wmt14", "en", "de")


class Failing:
    """A stand-in for the module `datasets`. Its `load_dataset` fails or returns rows of another commit."""

    class exceptions:  # noqa: N801
        class DatasetNotFoundError(Exception):
            pass

    def __init__(self, result: Any) -> None:
        self.result = result

    def load_dataset(self, *_: Any, **__: Any) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Rows:
    cache_files = ({"filename": "/cache/0123abc/part.arrow"},)


def test_datasets_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = CorpusConfig(dataset="some/corpus", name="de-en", revision="f" * 40)
    cases: list[tuple[Any, str]] = [
        (ValueError("BuilderConfig 'en-de' not found"), "cannot load some/corpus: BuilderConfig 'en-de' not found"),
        (
            Rows(),
            f"some/corpus: revision {'f' * 40} is not downloaded, only 0123abc; run once with a network connection",
        ),
    ]
    for result, sentence in cases:
        monkeypatch.setattr(hub, "_datasets", lambda result=result: Failing(result))
        monkeypatch.setattr(hub, "_commit", lambda *_: (None, ""))
        with pytest.raises(DataError) as raised:
            hub.load_rows(corpus, "some/corpus", "de", "fr")
        assert str(raised.value).startswith(sentence)


def test_a_vocabulary_that_cannot_be_learned() -> None:
    with pytest.raises(DataError, match="cannot learn a vocabulary of 16 pieces from this text: "):
        learn_tokenizer(toy_pairs(50, 1), TokenizerConfig(vocab_size=16, byte_fallback=True))


def test_invalid_tokenizers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = learn_tokenizer(toy_pairs(50, 1), TokenizerConfig(vocab_size=60, byte_fallback=False)).models[0]
    with pytest.raises(CheckpointError, match="the tokenizer's file is empty"):
        Tokenizer(b"")
    monkeypatch.setattr(tokenizer, "MOST_PIECES", 10)
    with pytest.raises(CheckpointError, match="the tokenizer's file has 60 pieces, more than 10"):
        Tokenizer(model)


def test_two_vocabularies_with_other_special_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    model = learn_tokenizer(toy_pairs(50, 1), TokenizerConfig(vocab_size=60, byte_fallback=False)).models[0]
    ids = iter([(0, 1, 2, 3), (0, 1, 3, 2)])
    monkeypatch.setattr(tokenizer, "_special_ids", lambda _: next(ids))
    with pytest.raises(CheckpointError, match="the two vocabularies disagree on the ids of their special pieces"):
        Tokenizer(model, model)


def test_lengths_include_eos(tok: Tokenizer) -> None:
    data = from_pairs(toy_pairs(5, 1), tok)
    source, target = data.lengths()
    left, right = data.ids(np.arange(5))
    assert [len(ids) for ids in left] == source.tolist()
    assert [len(ids) for ids in right] == target.tolist()


def test_tildes_in_paths_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformer.data.lines import read_text

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "text").write_text("one\n")
    assert read_text(Path("~/text")) == ["one"]
