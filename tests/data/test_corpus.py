"""Reading corpora: lines end at LF only, and files that do not match are refused."""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import gzip
import json
import lzma
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transformer.augment_config import AugmentConfig, GlossaryConfig
from transformer.data import corpus
from transformer.data.formats import OPENERS, what_it_is
from transformer.data.lines import lenient_lines, read_lines, read_text
from transformer.data.scores import read_scores
from transformer.data_config import CORPUS_KINDS, CorpusConfig, FilterConfig, ScoreConfig
from transformer.errors import DataError


def read(**given: object) -> list[corpus.Pair | None]:
    drop = bool(given.pop("drop", False))
    return list(corpus.read_pairs(CorpusConfig(**given), "en", "de", drop))  # type: ignore[arg-type]


def files(tmp_path: Path, source: bytes, target: bytes) -> tuple[str, str]:
    (tmp_path / "a").write_bytes(source)
    (tmp_path / "b").write_bytes(target)
    return str(tmp_path / "a"), str(tmp_path / "b")


ODD = "a\u2028b\x0bc\x0cd\x1ce\x85f\rg"


def test_only_line_feeds_end_lines(tmp_path: Path) -> None:
    both = files(tmp_path, f"\ufeff{ODD}\r\n\nlast".encode(), b"1\r\n2\n3\n")
    assert read(files=both) == [corpus.Pair(ODD, "1"), corpus.Pair("", "2"), corpus.Pair("last", "3")]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_line_count_equals_line_feed_count(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    expected = content.count(b"\n") + (not content.endswith(b"\n") and content != b"")
    if what_it_is(content) or any(content.startswith(magic) for magic in OPENERS):
        return
    with (tmp_path / "x").open("rb") as stream:
        assert len(list(lenient_lines(stream, "x"))) == expected
    with contextlib.suppress(DataError):  # line ends of CR alone, NUL bytes in most lines
        assert len(list(read_lines(tmp_path / "x"))) == expected


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compression_is_detected_by_content(tmp_path: Path, compress: object) -> None:
    both = files(tmp_path, compress(b"hello\nyou\n"), b"hallo\ndu\n")  # type: ignore[operator]
    assert read(files=both) == [corpus.Pair("hello", "hallo"), corpus.Pair("you", "du")]


def test_truncated_gzip_is_reported(tmp_path: Path) -> None:
    both = files(tmp_path, gzip.compress(b"hello\n" * 1000)[:-9], b"hallo\n" * 1000)
    with pytest.raises(DataError, match="cannot be read to its end"):
        read(files=both)


@pytest.mark.parametrize(
    ("source", "target", "counts"), [(b"1\n2\n3\n", b"1\n", (3, 1)), (b"1\n", b"1\n2\n3\n4\n", (1, 4))]
)
def test_different_lengths_are_reported_with_both_counts(
    tmp_path: Path, source: bytes, target: bytes, counts: tuple[int, int]
) -> None:
    both = files(tmp_path, source, target)
    with pytest.raises(DataError) as caught:
        read(files=both)
    assert str(caught.value) == (
        f"{both[0]} has {counts[0]} lines but {both[1]} has {counts[1]}: "
        "line i of one must be the translation of line i of the other"
    )


def test_what_is_not_utf8_is_refused_or_dropped(tmp_path: Path) -> None:
    both = files(tmp_path, b"one\n\xff\xfe\nthree\n", b"eins\nzwei\ndrei\n")
    with pytest.raises(DataError, match=r"a, line 2 is not UTF-8; fix it, or drop such lines from training"):
        read(files=both)
    assert read(files=both, drop=True) == [corpus.Pair("one", "eins"), None, corpus.Pair("three", "drei")]


def test_tsv(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text('a "q\tb\n\t\n', encoding="utf-8")
    assert read(tsv=str(path)) == [corpus.Pair('a "q', "b"), corpus.Pair("", "")]
    path.write_text("a\tb\nonly one\n", encoding="utf-8")
    with pytest.raises(DataError, match="x.tsv, line 2 has 1 columns; expected source and target"):
        read(tsv=str(path))


def test_tsv_with_more_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("id\tde\tscore\ten\n1\tTag\t0.5\tday\n2\tNacht\t0.9\tnight\tmore\n", encoding="utf-8")
    expected = [corpus.Pair("day", "Tag"), corpus.Pair("night", "Nacht")]
    assert read(tsv=str(path), columns=("en", "de")) == expected
    assert read(tsv=str(path), columns=("4", "2")) == [corpus.Pair("en", "de"), *expected]
    with pytest.raises(DataError, match="x.tsv: its first line has not one column 'fr'; it has id, de, score, en"):
        read(tsv=str(path), columns=("en", "fr"))
    with pytest.raises(DataError, match="x.tsv, line 1 has 4 columns; expected at least 5$"):
        read(tsv=str(path), columns=("5", "2"))
    with pytest.raises(DataError, match="by one tab; if others hold the text, name two with"):
        read(tsv=str(path))
    first = corpus.identity(CorpusConfig(tsv=str(path), columns=("4", "2")), "en", "de")
    assert corpus.identity(CorpusConfig(tsv=str(path), columns=("2", "4")), "en", "de") != first


def test_a_line_of_names_that_is_not_utf8_is_not_dropped(tmp_path: Path) -> None:
    """The second line would be taken for it."""
    path = tmp_path / "t.tsv"
    path.write_bytes(b"en\tde\tn\xfcmber\none\teins\t1\n")
    how = CorpusConfig(tsv=str(path), columns=("en", "de"))
    for drop in (False, True):
        with pytest.raises(DataError, match=r"t.tsv: its first line, which names the columns, is not UTF-8; correct"):
            list(corpus.read_pairs(how, "en", "de", drop))
    with pytest.raises(DataError, match="which names the columns, is not UTF-8"):
        read_scores(how, ScoreConfig(column="de"))


def test_zstd_is_read_in_every_kind_of_text(tmp_path: Path) -> None:
    import pyarrow

    def packed(name: str, text: str) -> str:
        with pyarrow.CompressedOutputStream(str(tmp_path / name), "zstd") as stream:
            stream.write(text.encode())
        return str(tmp_path / name)

    assert read(tsv=packed("a.tsv.zst", "day\tTag\n")) == [corpus.Pair("day", "Tag")]
    assert read_text(Path(packed("mono.zst", "one\ntwo\n"))) == ["one", "two"]


def test_missing_scores_and_glossaries_are_noticed_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("day\tTag\n")
    text, score = str(tmp_path / "a.tsv"), ScoreConfig(file=str(tmp_path / "scores"), at_least=0.0)
    terms = GlossaryConfig(file=str(tmp_path / "terms"), rate=0.1)
    with pytest.raises(DataError, match="no such file: .*scores"):
        corpus.check_files(CorpusConfig(tsv=text, filters=FilterConfig(score=score)))
    with pytest.raises(DataError, match="no such file: .*terms"):
        corpus.check_files(CorpusConfig(tsv=text, augment=AugmentConfig(glossary=terms)))
    (tmp_path / "scores").touch()
    corpus.check_files(CorpusConfig(tsv=text, filters=FilterConfig(score=score)))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file: .*nothing"):
        read(files=(str(tmp_path / "nothing"), str(tmp_path / "nothing")))
    with pytest.raises(DataError, match="is not a file"):
        read(tsv=str(tmp_path))


def test_local_json_and_parquet(tmp_path: Path) -> None:
    rows = [{"translation": {"en": f"e{i}", "de": f"d{i}"}} for i in range(3)]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    expected = [corpus.Pair(f"e{i}", f"d{i}") for i in range(3)]
    assert read(json=(str(path),)) == expected
    import datasets

    datasets.Dataset.from_list([{"en": f"e{i}", "de": f"d{i}", "n": i} for i in range(3)]).to_parquet(
        tmp_path / "x.parquet"
    )
    assert read(parquet=(str(tmp_path / "x.parquet"),)) == expected
    with pytest.raises(DataError, match="expected translation, or en and fr"):
        list(corpus.read_pairs(CorpusConfig(parquet=(str(tmp_path / "x.parquet"),)), "en", "fr"))


def test_identity_is_the_content_not_the_path(tmp_path: Path) -> None:
    both = files(tmp_path, b"a\n", b"b\n")
    first = corpus.identity(CorpusConfig(files=both), "en", "de")
    (tmp_path / "c").write_bytes(b"a\n")
    assert corpus.identity(CorpusConfig(files=(str(tmp_path / "c"), both[1]), weight=2.0), "en", "de") == first
    (tmp_path / "c").write_bytes(b"x\n")
    assert corpus.identity(CorpusConfig(files=(str(tmp_path / "c"), both[1])), "en", "de") != first


def test_every_kind_of_corpus_is_in_the_table() -> None:
    assert corpus.KINDS.keys() == set(CORPUS_KINDS)
    fields = {field.name for field in dataclasses.fields(CorpusConfig)}
    of_a_kind = {"name", "split", "revision", "columns", "version", "tmx_tags"}
    of_all = {"weight", "from_", "until", "tag", "filters", "alignments", "augment"}
    assert fields - of_a_kind - of_all == set(CORPUS_KINDS)


def test_tables_of_spreadsheets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.tsv"

    def refused(text: str, sentence: str) -> None:
        path.write_text(text, encoding="utf-8-sig")
        with pytest.raises(DataError, match=sentence):
            read(tsv=str(path))

    refused("one;eins\r\n", "line 1 has 1 columns; expected .* by one tab; if it is CSV, save it with tabs")
    refused('a\tb\n"one\r\n two"\teins\r\n', "line 2 has 1 columns; .*; a field in quotes seems to have a line break")
    refused("de\ten\neins\tone\n", "by its first line it has de before en; swap its columns")
    refused("a\tb\tc\n", "line 1 has 3 columns; expected source and target, separated by one tab; if others")
    path.write_text('EN\tDE\n"say ""hi"""\tb\n', encoding="utf-8-sig")
    for _ in range(2):
        assert read(tsv=str(path)) == [("EN", "DE"), ('"say ""hi"""', "b")]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: its first line names the columns, and is read as a pair; remove it",
        f"{path} has fields in quotes, as spreadsheets write them; the quotes are read as text",
    ]
    path.write_text('"one\t"eins\n', encoding="utf-8")  # quotes have no meaning (pytorch/text#612)
    assert read(tsv=str(path)) == [('"one', '"eins')]
