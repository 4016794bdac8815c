"""Translation memories: what translators' tools write is read, and nothing in a file can do harm."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from support.toy import CPU, toy_pairs

from transformer import config_file
from transformer.config import Config
from transformer.data import tmx
from transformer.data.corpus import Pair, read_pairs
from transformer.data_config import CorpusConfig
from transformer.errors import DataError
from transformer.training.session import train

HEAD = (
    '<?xml version="1.0" encoding="{}"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n'
    '<tmx version="1.4"><header srclang="en-US"/><body>\n'
)


def unit(*variants: tuple[str, str]) -> str:
    return "<tu>" + "".join(f'<tuv xml:lang="{code}"><seg>{text}</seg></tuv>' for code, text in variants) + "</tu>\n"


def write(path: Path, *units: str, encoding: str = "UTF-8") -> Path:
    path.write_bytes((HEAD.format(encoding) + "".join(units) + "</body></tmx>").encode(encoding))
    return path


def read(path: Path, source: str = "en", target: str = "de", tags: str | None = None) -> list[Pair | None]:
    return list(read_pairs(CorpusConfig(tmx=str(path), tmx_tags=tags), source, target))  # type: ignore[arg-type]


def test_variants_of_a_language_match(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tmx",
        unit(("EN-GB", "colour &amp; light"), ("de-DE", "Farbe &lt;3")),
        unit(("en-US", "color"), ("en_gb", "colour"), ("de", "Farbe")),
        unit(("de", "Tag"), ("fr", "jour"), ("en", "day")),
    )
    assert read(path) == [("colour & light", "Farbe <3"), ("color", "Farbe"), ("day", "Tag")]
    assert read(path, "en-GB")[1] == ("colour", "Farbe")
    assert read(path, "eng", "deu") == read(path)


def test_a_variant_in_another_script_is_not_taken(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tmx",
        unit(("en", "day"), ("sr-Cyrl", "дан"), ("sr-Latn", "dan"), ("zh-CN", "简"), ("zh-HK", "繁")),
        unit(("en", "alone"), ("sr-Cyrl", "сам"), ("zh-CN", "简")),
    )
    assert read(path, "en", "sr-Latn") == [("day", "dan")]
    assert read(path, "en", "zh_TW") == read(path, "en", "zho_Hant") == [("day", "繁")]
    assert read(path, "zh-Hans", "zh-TW") == [("简", "繁")]


def test_no_variant_is_both_source_and_target(tmp_path: Path) -> None:
    both = unit(("en-US", "color"), ("en-GB", "colour"))
    path = write(tmp_path / "a.tmx", unit(("en-US", "center")), both)
    assert read(path, "en-GB", "en-US") == read(path, "en", "en-US") == [("colour", "color")]


def test_entities_of_html_are_characters(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tmx", unit(("en", "caf&eacute; &mdash; &lt;"), ("de", "Caf&eacute;&nbsp;<ph>&copy;</ph>"))
    )
    assert read(path) == [("café — <", "Café\xa0")]
    write(path, unit(("en", "a"), ("de", "b")), unit(("en", "a &company; b"), ("de", "b")))
    with pytest.raises(DataError, match="unit 2 has the entity &company; which is not known"):
        read(path)


@pytest.mark.parametrize("encoding", ["Shift_JIS", "gb2312", "x-foo"])
def test_encodings_that_the_parser_lacks(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.tmx", unit(("en", "a"), ("de", "b")))
    path.write_bytes(path.read_bytes().replace(b"UTF-8", encoding.encode()))
    with pytest.raises(DataError, match=r"a.tmx has an encoding that is not supported \(.*\); save it as UTF-8"):
        read(path)


def test_a_unit_is_bounded_and_other_languages_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tmx, "LARGEST", 1 << 17)
    big = "a" * (1 << 16)
    path = write(tmp_path / "a.tmx", unit(("en", "day"), *[("fr", big)] * 9, ("de", "Tag")))
    assert read(path) == [("day", "Tag")]
    write(path, unit(*[("en", big)] * 3, ("de", "Tag")))
    with pytest.raises(DataError, match="unit 1 is longer than"):
        read(path)


def test_codes_in_a_sentence_are_dropped_or_kept(tmp_path: Path) -> None:
    coded = 'a <bpt i="1">&lt;b&gt;</bpt>bold<ept i="1">&lt;/b&gt;</ept> <hi>word</hi><ph>{0}<sub>x</sub></ph>'
    path = write(tmp_path / "a.tmx", unit(("en", coded), ("de", "b")))
    assert read(path) == read(path, tags="drop") == [("a bold word", "b")]
    assert read(path, tags="keep") == [("a <b>bold</b> word{0}x", "b")]


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16", "ISO-8859-1"])
def test_encodings_and_compression(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.tmx", unit(("en", "size"), ("de", "Größe")), encoding=encoding)
    assert read(path) == [("size", "Größe")]
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert read(path) == [("size", "Größe")]


def test_units_that_lack_a_language_are_left_out_and_noted(tmp_path: Path, said: list[str]) -> None:
    units = [unit(("en", str(i)), ("de", str(i))) for i in range(3)]
    path = write(tmp_path / "a.tmx", *units, unit(("en", "alone")), unit(("fr", "seul"), ("de", "allein")))
    assert len(read(path)) == len(read(path)) == 3
    assert said == [f"{path}: 2 of 5 units lack en or de and are left out"]
    with pytest.raises(DataError, match="has no unit with both en and ja; its languages are en, de, fr"):
        read(path, "en", "ja")


def test_units_that_lack_a_language_are_counted_as_other_pairs_are(tiny: Config, tmp_path: Path) -> None:
    units = [unit(("en", each.source), ("de", each.target)) for each in toy_pairs(60, 1)]
    path = write(tmp_path / "a.tmx", unit(("en", "alone")), *units, unit(("fr", "seul"), ("de", "allein")))
    cfg = config_file.override(tiny, [f"data.train={{tmx: {path}}}", "train.max_steps=1"])
    train(cfg, tmp_path / "run", CPU)
    (found,) = json.loads((tmp_path / "run" / "data.json").read_text())["corpora"]
    assert (found["read"], found["usable"], found["lacks a language"]) == (62, 60, 2)
    assert "| lacks a language |" in (tmp_path / "run" / "README.md").read_text()


def test_pairs_come_before_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tmx, "CHUNK", 64)
    path = write(tmp_path / "a.tmx", unit(("en", "day"), ("de", "Tag")), "<tu>" * 200)
    pairs = read_pairs(CorpusConfig(tmx=str(path)), "en", "de")
    assert next(pairs) == ("day", "Tag")
    with pytest.raises(DataError, match="nested too deeply"):
        next(pairs)


def test_what_would_do_harm_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tmx"

    def refused(text: str, sentence: str) -> None:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=sentence):
            read(path)

    bomb = '<!DOCTYPE tmx [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><tmx><body><tu>&b;</tu></body></tmx>'
    refused(bomb, "declares the entity 'a', which no translation memory needs; it is refused")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    outside = f'<!DOCTYPE tmx [<!ENTITY a SYSTEM "{secret}">]><tmx>&a;</tmx>'
    refused(outside, "declares the entity 'a'")
    refused("<tmx><body>", "is not valid XML: no element found")
    refused("hello\n", "is not valid XML")
    refused("<a>" * 200, "unit 1 is nested too deeply")
    refused(HEAD.format("UTF-8") + unit(*[("en", "a")] * 1001), "unit 1 has more than 1000 variants")
    monkeypatch.setattr(tmx, "LARGEST", 1 << 20)
    refused(HEAD.format("UTF-8") + unit(("en", "a" * (1 << 21))), "unit 1 is longer than 1 MiB, not a sentence")
    refused('<tmx a="' + "a" * (1 << 22) + '"/>', "has a tag of more than 1 MiB, so it is no TMX")
