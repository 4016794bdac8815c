"""Tables from the world: rows of JSON and Parquet files, whose columns are in any order and of any kind."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from transformer.data import corpus, tables
from transformer.data.corpus import Pair
from transformer.data_config import CorpusConfig
from transformer.errors import DataError


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def table(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def read(folder: Path, kind: str, *contents: bytes, drop: bool = False) -> list[Pair | None]:
    names = tuple(str(folder / f"{number}.{kind}") for number in range(len(contents)))
    for name, content in zip(names, contents, strict=True):
        Path(name).write_bytes(content)
    return list(corpus.read_pairs(CorpusConfig(**{kind: names}), "en", "de", drop))  # type: ignore[arg-type]


def test_what_looks_like_a_date_or_a_number_is_text(tmp_path: Path) -> None:
    rows = [("2020-01-01", "1999-12-31 10:00:00"), ("1", "1.5"), ("null", "true"), ("NA", "nan")]
    assert read(tmp_path, "json", lines(*({"en": a, "de": b} for a, b in rows))) == rows
    assert read(tmp_path, "parquet", table(en=[a for a, _ in rows], de=[b for _, b in rows])) == rows


def test_files_of_one_corpus_may_have_different_columns_in_any_order(tmp_path: Path) -> None:
    nested, flat = {"translation": {"de": "vier", "en": "four"}}, {"de": "zwei", "x": [1], "en": "two"}
    found = read(
        tmp_path, "json", lines({"en": "one", "de": "eins"}), lines(flat, nested, {"translation": nested, **flat})
    )
    assert found == [("one", "eins"), ("two", "zwei"), ("four", "vier"), ("two", "zwei")]
    contents = (
        table(en=["one"], de=["eins"]),
        table(x=[1], de=["zwei"], en=["two"]),
        table(**{"translation": [nested["translation"]]}),
    )
    assert read(tmp_path, "parquet", *contents) == [("one", "eins"), ("two", "zwei"), ("four", "vier")]


def test_null_and_missing_are_empty(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"translation": None}, None, {}, {"en": None, "de": "x"}, {"translation": {"en": None}}, {"en": float("nan")},
        {"en": "one", "de": "eins"},
    ]  # fmt: skip
    empty = Pair("", "")
    assert read(tmp_path, "json", lines(*rows)) == [empty, empty, empty, ("", "x"), empty, empty, ("one", "eins")]
    pairs = pyarrow.array([None, {"en": None, "de": "x"}, {"en": "one", "de": "eins"}])
    assert read(tmp_path, "parquet", table(translation=pairs)) == [empty, ("", "x"), ("one", "eins")]
    assert read(tmp_path, "parquet", table(en=pyarrow.nulls(1), de=["x"])) == [("", "x")]


@pytest.mark.parametrize("layout", ["lines", "array", "indented array", "one after another", "mark", "gz", "CRLF"])
def test_every_layout_of_json_is_read(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CHUNK", 7)  # pieces end everywhere: in escapes, numbers, characters
    rows = [{"en": f'a "{number}" \\ é\u2028👍', "de": "x" * number, "n": 1.5e-7, "t": True} for number in range(9)]
    content = {
        "lines": lines(*rows),
        "array": json.dumps(rows).encode(),
        "indented array": json.dumps(rows, indent=2, ensure_ascii=False).encode(),
        "one after another": "".join(json.dumps(row, indent=1) for row in rows).encode(),
        "mark": b"\xef\xbb\xbf" + lines(*rows),
        "gz": gzip.compress(lines(*rows)),
        "CRLF": lines(*rows).replace(b"\n", b"\r\n\r\n"),
    }[layout]
    assert read(tmp_path, "json", content) == [(row["en"], row["de"]) for row in rows]


def test_memory_does_not_grow_with_a_file(tmp_path: Path) -> None:
    rows = [{"en": "one " * 50, "de": "eins " * 50}] * 5_000  # 2 MB
    (tmp_path / "x.json").write_text(json.dumps(rows))
    tracemalloc.start()
    try:
        found = sum(1 for _ in corpus.read_pairs(CorpusConfig(json=(str(tmp_path / "x.json"),)), "en", "de"))
        assert found == len(rows)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_bytes_that_are_not_utf8_are_a_sentence_and_can_be_dropped(tmp_path: Path) -> None:
    content = b'{"en": "caf\xe9", "de": "x", "note": "ok"}\n{"en": "two", "de": "zwei", "note": "\xe9"}\n'
    strings = pyarrow.array([b"caf\xe9", b"two"], pyarrow.binary())
    broken = pyarrow.Array.from_buffers(pyarrow.string(), 2, strings.buffers())
    for kind, each in (
        ("json", content),
        ("parquet", table(en=broken, de=["x", "zwei"])),
        ("parquet", table(en=strings, de=["x", "zwei"])),
    ):
        with pytest.raises(
            DataError,
            match=rf"0.{kind}, row 1 is not UTF-8; fix it, or drop such lines from training with data.undecodable=drop",
        ):
            read(tmp_path, kind, each)
        assert read(tmp_path, kind, each, drop=True) == [None, ("two", "zwei")]


def test_arrow_types_of_text(tmp_path: Path) -> None:
    strings = pyarrow.array(["one", "one", None])
    for kind in (pyarrow.large_string(), pyarrow.binary(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())):
        assert read(tmp_path, "parquet", table(en=strings.cast(kind), de=["a", "b", "c"]))[1:] == [
            ("one", "b"),
            ("", "c"),
        ]
    pairs = pyarrow.array([[("de", "eins"), ("en", "one")], None], pyarrow.map_(pyarrow.string(), pyarrow.string()))
    assert read(tmp_path, "parquet", table(translation=pairs)) == [("one", "eins"), ("", "")]


def inner_twice() -> pyarrow.Array:
    """Return values with two fields of a name."""
    return pyarrow.StructArray.from_arrays([pyarrow.array(["one"])] * 3, names=["en", "en", "de"])


def twice(name: str) -> bytes:
    """Return a Parquet table with two columns of a name."""
    columns = [pyarrow.array(["one"])] * 3
    into = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_arrays(columns, names=[name, name, "de"]), into)
    return into.getvalue()


@pytest.mark.parametrize(
    ("kind", "content", "sentence"),
    [
        ("json", b"", "is empty"),
        ("json", b"not json", "row 1 is not valid JSON: Expecting value"),
        ("json", b'{"en": "a", "de": "b"}\n{"en": "a",\n"de"}', "row 2 is not valid JSON: Expecting ':' delimiter"),
        ("json", b'[{"en": "a", "de": "b"}', "is not valid JSON: its list has no end"),
        ("json", b'[{"en": "a", "de": "b"}] x', "is not valid JSON: there is text behind its list"),
        ("json", b"[" * 5000, "row 1 is nested too deeply"),
        ("json", b"[1, 2]", "row 1 is not an object with columns: 1"),
        ("json", b'{"en": "a"}\n' * 3, "has columns en; expected translation, or en and de"),
        ("json", table(en=["a"], de=["b"]), "is a Parquet table; give tables with data.*.parquet"),
        ("parquet", lines({"en": "a", "de": "b"}), "is not a Parquet table"),
        ("parquet", "a\n".encode("utf-16"), "is not a Parquet table but UTF-16 text"),
        ("parquet", table(en=["a"], de=["b"])[:-20], "cannot read .* as parquet: Parquet magic bytes not found"),
        ("parquet", table(en=[1], de=["b"]), "contains a value that is not text"),
        ("parquet", table(fr=["a"]), "has columns fr; expected translation, or en and de"),
        ("parquet", table(translation=[{"fr": "a", "de": "b"}]), "has the languages de, fr, not en and de"),
        ("parquet", twice("en"), "has 2 columns en; which one holds the text is unclear"),
        ("parquet", table(translation=inner_twice()), "has a language twice in its column translation: en, en, de"),
        ("parquet", twice("translation"), "has 2 columns translation; which one holds the text is unclear"),
    ],
)  # fmt: skip
def test_what_is_no_table_of_pairs_is_refused(tmp_path: Path, kind: str, content: bytes, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read(tmp_path, kind, content)


def test_some_files_of_a_corpus_may_be_empty(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(lines({"en": "one", "de": "eins"}))
    (tmp_path / "b.json").write_bytes(b"")
    each = CorpusConfig(json=(str(tmp_path / "a.json"), str(tmp_path / "b.json")))
    assert list(corpus.read_pairs(each, "en", "de")) == [("one", "eins")]


def test_text_rewritten_within_one_tick_of_the_clock_is_read_anew(tmp_path: Path) -> None:
    for kind, write in (
        ("json", lambda word: lines({"en": word, "de": word})),
        ("parquet", lambda word: table(en=[word], de=[word])),
    ):
        for word in ("old", "new"):
            assert read(tmp_path, kind, write(word)) == [(word, word)]
            os.utime(tmp_path / f"0.{kind}", (1, 1))


def test_local_tables_need_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)  # importing it fails
    monkeypatch.setenv("HOME", "/dev/null")
    assert read(tmp_path, "json", lines({"en": "one", "de": "eins"})) == [("one", "eins")]
    assert read(tmp_path, "parquet", table(en=["one"], de=["eins"])) == [("one", "eins")]
