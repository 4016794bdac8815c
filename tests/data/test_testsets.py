"""Test sets of sacreBLEU: all references, codes of any form, and a sentence for all that may go wrong."""

from __future__ import annotations

import http.client
import tarfile
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

from transformer.data import testsets
from transformer.data.corpus import Pair, ReferencedPair, read_pairs
from transformer.data_config import CorpusConfig
from transformer.errors import DataError
from transformer.evaluation.texts import reference_columns


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let sacreBLEU have a source and two references of each test set. Return these files."""
    names = {"src": "one\ntwo\n\n", "ref-0": "eins\nzwei\n\n", "ref-1": "Eins!\n\ndrei\n"}
    found = []
    for name, text in names.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        found.append(tmp_path / name)
    monkeypatch.setattr("sacrebleu.get_source_file", lambda *_: str(found[0]))
    monkeypatch.setattr("sacrebleu.get_reference_files", lambda *_: [str(path) for path in found[1:]])
    return found


def test_all_references_are_read(files: list[Path]) -> None:
    pairs = list(read_pairs(CorpusConfig(testset="wmt20/tworefs"), "en", "de"))
    assert pairs == [Pair("one", "eins"), Pair("two", "zwei"), Pair("", "")]  # what training and the loss see
    assert [pair.references for pair in pairs if pair] == [("eins", "Eins!"), ("zwei", ""), ("", "drei")]


def test_an_empty_line_in_one_of_several_references_is_no_reference() -> None:
    pairs = [ReferencedPair("a", "b", "c"), ReferencedPair("a", "", "c"), ReferencedPair("a", "", ""), Pair("a", "d")]
    assert reference_columns(pairs) == [["b", "c", "", "d"], ["c", None, None, None]]
    assert reference_columns([Pair("a", "b"), Pair("c", "")]) == [["b", ""]]


def test_a_pair_keeps_its_references_when_it_is_copied() -> None:
    import copy
    import pickle

    pair = ReferencedPair("a", "b", "c")
    for other in (copy.copy(pair), copy.deepcopy(pair), pickle.loads(pickle.dumps(pair))):
        assert other.references == ("b", "c")


@pytest.mark.parametrize(("source", "target"), [("en", "de"), ("eng", "deu"), ("eng_Latn", "ger"), ("en-GB", "de_DE")])
def test_languages_may_have_other_codes(files: list[Path], source: str, target: str) -> None:
    assert testsets.testset_files("wmt20/tworefs", source, target) == files


def test_a_code_is_looked_up_as_sacrebleu_has_it(monkeypatch: pytest.MonkeyPatch, files: list[Path]) -> None:
    asked: list[tuple[str, ...]] = []

    def source_file(*words: str) -> str:
        asked.append(words)
        return str(files[0])

    monkeypatch.setattr("sacrebleu.get_source_file", source_file)
    testsets.testset_files("wmt20/tworefs", "eng", "cmn_Hans")
    assert asked == [("wmt20/tworefs", "en-zh")]


def test_a_wrong_name_is_guessed() -> None:
    with pytest.raises(DataError, match="sacreBLEU has no test set 'WMT14/Full'; did you mean wmt14/full"):
        testsets.testset_files("WMT14/Full", "en", "de")
    with pytest.raises(DataError, match="sacreBLEU has no test set 'zzz'; see `sacrebleu --list`"):
        testsets.testset_files("zzz", "en", "de")


@pytest.mark.parametrize(
    "error",
    [
        OSError("no network"),
        http.client.BadStatusLine("SSH-2.0"),
        http.client.IncompleteRead(b""),
        tarfile.ReadError("not a gzip file"),
        ValueError("unknown url type: 'proxy:3128'"),
        AssertionError(),
        SystemExit(1),
    ],
)
def test_whatever_fails_in_a_download_is_one_sentence(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("sacrebleu.get_reference_files", fail)
    with pytest.raises(DataError, match=r"cannot be downloaded \(.+\); run once with a network connection, or give"):
        testsets.testset_files("wmt14", "en", "de")


def test_a_broken_download_is_to_be_removed(files: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """sacreBLEU neither uses it nor replaces it."""

    def fail(*_: Any) -> None:
        raise tarfile.ReadError("not a gzip file")

    monkeypatch.setattr("sacrebleu.get_reference_files", fail)
    monkeypatch.setattr(sacrebleu.DATASETS["wmt14"], "_outdir", str(tmp_path / "wmt14"))
    (tmp_path / "wmt14" / "raw").mkdir(parents=True)
    (tmp_path / "wmt14" / "raw" / "wmt14.tgz").write_text("<html>")
    with pytest.raises(DataError, match=r"\(ReadError: not a gzip file\).*if a download was interrupted, first"):
        testsets.testset_files("wmt14", "en", "de")


def test_what_an_interrupted_download_has_left_is_refused(files: list[Path]) -> None:
    """As in sacrebleu#16, whose test set had 155 sources and 2,999 references from then on."""
    files[2].write_text("Eins!\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"is damaged: its files differ .* \(src has 3, ref-0 has 3, ref-1 has 1\)"):
        testsets.testset_files("wmt14", "en", "de")


def test_a_test_set_without_a_reference_is_refused(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sacrebleu.get_reference_files", lambda *_: [])
    with pytest.raises(DataError, match="sacreBLEU's test set wmt14 en-de has no reference; another version"):
        testsets.testset_files("wmt14", "en", "de")
