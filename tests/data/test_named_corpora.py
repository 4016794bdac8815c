"""Corpora by name: OPUS against a stand-in server, archives in a zip, and mtdata through a stand-in for its package."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.opus import Opus, archive
from support.toy import CPU, toy_pairs

from transformer import config_file
from transformer.config import Config
from transformer.data import archives, corpus, download, opus
from transformer.data.prepare import prepare_pairs
from transformer.data.tokenizer import Tokenizer
from transformer.data_config import CorpusConfig
from transformer.errors import DataError
from transformer.training import session

PAIRS = [("Hallo", "Hello"), ("du", "you"), ("", "nothing")]
SWAPPED = [(english, german) for german, english in PAIRS]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opus]:
    """A stand-in for OPUS, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PATIENCE", 5.0)
    with Opus() as server:
        monkeypatch.setenv("OPUS_MIRROR", server.address)
        opus._file.cache_clear()
        yield server
    opus._file.cache_clear()


def read(source: str = "en", target: str = "de", **given: Any) -> list[tuple[str, str] | None]:
    opus._file.cache_clear()
    return list(corpus.read_pairs(CorpusConfig(**given), source, target))


def cached(tmp_path: Path) -> list[str]:
    folder = tmp_path / "cache/transformer/opus"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("[!.]*") if path.is_file())


# ---- OPUS ------------------------------------------------------------------------------------------------


def test_a_corpus_is_downloaded_once(server: Opus, tmp_path: Path) -> None:
    path = server.put("Books", "v1", ("de", "en"), archive("Books", ("de", "en"), PAIRS))
    assert read(opus="Books", version="v1") == read("eng", "deu", opus="Books", version="v1") == SWAPPED
    assert read("de", "en", opus="Books", version="v1") == PAIRS
    assert server.requests == [path]
    assert cached(tmp_path) == ["Books/v1/de-en.txt.zip", "Books/v1/de-en.txt.zip.json"]


def test_the_latest_version_is_asked_for_and_the_cache_used_without_a_network(
    server: Opus, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("Books", "v1", ("de", "en"), archive("Books", ("de", "en"), PAIRS[:1]))
    assert read(opus="Books") == SWAPPED[:1]
    server.put("Books", "v2", ("de", "en"), archive("Books", ("de", "en"), PAIRS))
    assert read(opus="Books") == read(opus="Books", version="latest") == SWAPPED
    monkeypatch.setenv("OPUS_MIRROR", "http://127.0.0.1:9")
    said.clear()
    assert read(opus="Books") == SWAPPED
    assert len(said) == 1
    assert "OPUS cannot be asked" in said[0]
    assert said[0].endswith("using Books v2 of the local cache")
    with pytest.raises(DataError, match=r"cannot find OPUS Other latest en-de: OPUS cannot be asked \(.*\); run"):
        read(opus="Other")
    with pytest.raises(DataError, match=r"OPUS Other v1 en-de: cannot download http://127.0.0.1:9/.*; run once"):
        read(opus="Other", version="v1")


def test_a_download_goes_on_where_it_broke_off(server: Opus, tmp_path: Path) -> None:
    rng = random.Random(1)
    pairs = [(f"{rng.random()}", f"{rng.random()}") for _ in range(2000)]
    content = archive("Books", ("de", "en"), pairs)
    path = server.put("Books", "v1", ("de", "en"), content)
    server.cut = 20_000
    assert read("de", "en", opus="Books", version="v1") == pairs
    steps = range(20_000, len(content), 20_000)
    assert server.requests == [path, *(f"{path} bytes={start}-" for start in steps)]
    assert cached(tmp_path) == ["Books/v1/de-en.txt.zip", "Books/v1/de-en.txt.zip.json"]


def test_a_file_that_changed_meanwhile_is_downloaded_anew(server: Opus, tmp_path: Path) -> None:
    codes = ("de", "en")
    path = server.put("Books", "v1", codes, archive("Books", codes, toy_pairs(500, 1)))
    address, part = server.address + path, tmp_path / "x.zip.part"
    server.cut = 100
    assert not download._fetch_rest(address, part)
    assert part.stat().st_size == 100
    server.cut = 0
    new = archive("Books", codes, toy_pairs(500, 2))
    server.put("Books", "v1", codes, new)
    facts = download.download(address, tmp_path / "x.zip", lambda file: {})
    assert (tmp_path / "x.zip").read_bytes() == new
    assert facts == {"address": address, "bytes": len(new), "sha256": hashlib.sha256(new).hexdigest()}


def test_a_part_of_another_file_is_not_appended(server: Opus, tmp_path: Path) -> None:
    codes = ("de", "en")
    path = server.put("Books", "v1", codes, archive("Books", codes, toy_pairs(500, 1)))
    server.cut, server.careless = 100, True
    assert not download._fetch_rest(server.address + path, tmp_path / "x.zip.part")
    server.cut = 0
    new = archive("Books", codes, toy_pairs(500, 2))
    server.put("Books", "v1", codes, new)
    download.download(server.address + path, tmp_path / "x.zip", lambda file: {})
    assert (tmp_path / "x.zip").read_bytes() == new


def test_a_damaged_archive_is_not_kept(server: Opus, tmp_path: Path) -> None:
    pairs = [(f"{i}", f"{i * i}") for i in range(9999)]
    whole = archive("Books", ("de", "en"), pairs)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    server.put("Books", "v1", ("de", "en"), bytes(damaged))
    with pytest.raises(DataError, match="cannot be read to its end"):
        read("de", "en", opus="Books", version="v1")
    assert cached(tmp_path) == []
    server.put("Books", "v1", ("de", "en"), whole)
    assert read("de", "en", opus="Books", version="v1") == pairs


def test_a_file_of_no_told_length_is_bounded(server: Opus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = archive("Books", ("de", "en"), toy_pairs(500, 1))
    path = server.put("Books", "v1", ("de", "en"), content)
    server.tells_length = False
    download.download(server.address + path, tmp_path / "x.zip", lambda file: {})
    assert (tmp_path / "x.zip").read_bytes() == content
    monkeypatch.setattr(download, "LARGEST_UNTOLD", 1000)
    with pytest.raises(DataError, match="it has more than 1,000 bytes, and the server tells no length"):
        download.download(server.address + path, tmp_path / "y.zip", lambda file: {})
    assert not (tmp_path / "y.zip.part").exists()


def test_a_run_goes_on_with_the_version_it_began_with(server: Opus, tiny: Config, tmp_path: Path) -> None:
    codes = ("de", "en")
    server.put("Books", "v1", codes, archive("Books", codes, toy_pairs(150, 1)))
    short = config_file.override(tiny, ["data.train={opus: Books}", "train.max_steps=2"])
    session.train(short, tmp_path / "run", CPU)
    server.put("Books", "v2", codes, archive("Books", codes, toy_pairs(150, 2)))
    opus._file.cache_clear()
    longer = config_file.override(short, ["train.max_steps=3"])
    server.requests.clear()
    assert session.train(longer, tmp_path / "run", CPU) == "all 3 steps are done"
    assert server.requests == []
    assert json.loads((tmp_path / "run" / "data.json").read_text())["origins"][0]["version"] == "v1"
    (tmp_path / "run" / "data.json").unlink()  # as a run of version 0.6 has it
    longer = config_file.override(short, ["train.max_steps=4"])
    advice = "OPUS may have a new version of Books: to go on, set version to the one in the model card"
    with pytest.raises(DataError, match=f"was trained on different text .*; {advice}"):
        session.train(longer, tmp_path / "run", CPU)
    first = config_file.override(longer, ["data.train={opus: Books, version: v1}"])
    assert session.train(first, tmp_path / "run", CPU) == "all 4 steps are done"


def test_a_version_that_is_named_is_not_that_of_another_corpus(server: Opus) -> None:
    for version, pairs in (("v1", PAIRS[:1]), ("v2", PAIRS[:2]), ("v3", PAIRS)):
        server.put("Books", version, ("de", "en"), archive("Books", ("de", "en"), pairs))
    addresses = [f"{server.address}/OPUS-Books/{version}/moses/de-en.txt.zip" for version in ("v2", "v1")]
    with opus.kept_versions([*addresses, "http://x/y"], {("Books", "v1")}):
        assert read(opus="Books") == SWAPPED[:2]
        assert read(opus="Books", version="v3") == SWAPPED
    with opus.kept_versions(addresses[1:], {("Books", "v1")}):
        assert read(opus="Books") == SWAPPED[:1]
    assert read(opus="Books") == SWAPPED


def test_where_a_distilled_corpus_is_from_is_kept(
    server: Opus, tiny: Config, trained_run: Path, tmp_path: Path
) -> None:
    codes = ("de", "en")
    server.put("Books", "v1", codes, archive("Books", codes, [pair[::-1] for pair in toy_pairs(60, 1)], "CC-BY\n"))
    corpora = f"[{{opus: Books, version: v1}}, {{distill: {{opus: Books, model: '{trained_run}', beam: 1}}}}]"
    cfg = config_file.override(tiny, [f"data.train={corpora}", "train.max_steps=2"])
    session.train(cfg, tmp_path / "run", CPU)
    card = (tmp_path / "run" / "README.md").read_text()
    for name in ("OPUS Books v1", "OPUS Books latest distilled by run (beam 1)"):
        assert f"- {name}: {server.address}/OPUS-Books/v1/moses/de-en.txt.zip, licence: `CC-BY`" in card


def test_a_changed_file_in_the_cache_is_noticed(server: Opus, tmp_path: Path, said: list[str]) -> None:
    path = server.put("Books", "v1", ("de", "en"), archive("Books", ("de", "en"), PAIRS))
    read(opus="Books", version="v1")
    file = tmp_path / "cache/transformer/opus/Books/v1/de-en.txt.zip"
    content = bytearray(file.read_bytes())
    content[40] ^= 1
    file.write_bytes(content)
    assert read(opus="Books", version="v1") == SWAPPED
    assert server.requests == [path, path]
    assert f"{file} has changed since it was downloaded" in said


def test_what_opus_does_not_have(server: Opus, tmp_path: Path) -> None:
    server.put("Books", "v1", ("de", "en"), archive("Books", ("de", "en"), PAIRS))
    with pytest.raises(DataError, match=r"OPUS has no corpus books latest in en and de; did you mean Books\?"):
        read(opus="books")
    with pytest.raises(DataError, match="OPUS has no corpus Books v9 in en and de$"):
        read(opus="Books", version="v9")
    with pytest.raises(DataError, match="OPUS has no corpus Books latest in en and fr$"):
        read("en", "fr", opus="Books")
    for odd in ("../x", "a/b", "x..y", ""):
        with pytest.raises(DataError, match="is not the name of a corpus or version of OPUS, such as Europarl and v8"):
            read(opus=odd, version="v1")
    assert not (tmp_path / "cache/transformer/opus/Books/v9/de-en.txt.zip").exists()


def test_servers_that_answer_nonsense(server: Opus, monkeypatch: pytest.MonkeyPatch) -> None:
    server.put("Books", "v1", ("de", "en"), b"no zip")
    with pytest.raises(DataError, match=r"OPUS Books v1 en-de: .* is not a zip archive that can be read"):
        read(opus="Books", version="v1")
    server.put("Books", "v1", ("de", "en"), archive("Books", ("de", "fr"), PAIRS))
    with pytest.raises(DataError, match=r"has 0 files that end in .en, not one; it has .*Books.de-fr.de"):
        read(opus="Books", version="v1")
    monkeypatch.setattr(Opus, "api", lambda self, query: b"[]")
    with pytest.raises(DataError, match="the answer of OPUS is not what it is documented to be"):
        read(opus="Books")
    server.refuses = 403
    with pytest.raises(DataError, match="the server answers 403 Forbidden"):
        read(opus="Books", version="v1")
    monkeypatch.setenv("OPUS_MIRROR", "file:///etc")
    with pytest.raises(DataError, match="is not an address such as https://opus.nlpl.eu"):
        read(opus="Books", version="v1")


def test_a_connection_that_breaks_again_and_again_ends(server: Opus) -> None:
    server.put("Books", "v1", ("de", "en"), archive("Books", ("de", "en"), PAIRS))
    server.refuses = 503
    with pytest.raises(DataError, match="the server answers 503 Service Unavailable"):
        read(opus="Books", version="v1")
    assert len(server.requests) == download.ATTEMPTS


def test_origin_and_count_are_in_the_report(server: Opus, tiny: Config, tok: Tokenizer, tmp_path: Path) -> None:
    pairs = [(pair.target, pair.source) for pair in toy_pairs(30, 1)]
    content = archive("Books", ("de", "en"), pairs, "\nCC-BY 4.0\nmore\n")
    path = server.put("Books", "v3", ("de", "en"), content)
    opus._file.cache_clear()
    made = prepare_pairs(config_file.override(tiny, ["data.train={opus: Books}"]), tok, [], tmp_path / "prepared")
    assert made.report["corpora"][0]["name"] == "OPUS Books latest"
    assert made.report["corpora"][0]["read"] == 30
    expected = {"corpus": "OPUS Books latest", "address": server.address + path, "bytes": len(content)}
    more = {"sha256": hashlib.sha256(content).hexdigest(), "licence": "CC-BY 4.0", "version": "v3"}
    assert made.report["origins"] == [{**expected, **more}]
    (tmp_path / "own.zip").write_bytes(content)
    same = prepare_pairs(
        config_file.override(tiny, [f"data.train={{zip: {tmp_path}/own.zip}}"]), tok, [], tmp_path / "prepared"
    )
    assert same.report["fingerprint"] == made.report["fingerprint"]


# ---- zip -------------------------------------------------------------------------------------------------


def test_an_archive_is_read_without_unpacking(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(archive("Books", ("de", "en"), PAIRS))
    assert read(zip=str(path)) == read("en-GB", "de_DE", zip=str(path)) == SWAPPED
    assert os.listdir(tmp_path) == ["a.zip"]


def test_the_variants_of_a_language_in_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"

    def zipped(*names: str) -> None:
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(name, name.rpartition(".")[2] + "\n")

    zipped("a.en", "a.zh_CN", "a.zh_TW", "__MACOSX/a.en", "b/._a.en")
    assert read("en-GB", "zh_TW", zip=str(path)) == [("en", "zh_TW")]
    assert read("en", "zh-Hant", zip=str(path)) == [("en", "zh_TW")]
    zipped("a.en", "a.en_GB", "a.zh_CN")
    assert read("en", "en_GB", zip=str(path)) == [("en", "en_GB")]
    with pytest.raises(DataError, match="a.zip has 0 files that end in .zh_TW, not one"):
        read("en", "zh_TW", zip=str(path))
    zipped("a.en_GB", "a.de")
    with pytest.raises(DataError, match="a.zip has 0 files that end in .en, not one"):
        read("en", "en_GB", zip=str(path))
    with pytest.raises(DataError, match="a.zip has one file for both en and en_US: a.en_GB"):
        read("en", "en_US", zip=str(path))


def test_archives_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.zip"

    def refused(sentence: str, **texts: str) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, text in texts.items():
                file.writestr(name.replace("_", "."), text)
        with pytest.raises(DataError, match=sentence):
            read(zip=str(path))

    refused(r"a.zip has 2 files that end in .de, not one", a_en="x", a_de="y", b_de="z")
    refused(r"a.zip/a.en has 2 lines but .*a.zip/a.de has 1", a_en="1\n2\n", a_de="1\n")
    passwd = "/etc/passwd.en"  # the name of a file in an archive leads nowhere
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(passwd, b"\xff\n")
        file.writestr("../a.de", b"x\n")
    with pytest.raises(DataError, match=f"{path}{passwd}, line 1 is not UTF-8; fix it"):
        read(zip=str(path))
    refused("a.zip/a.en, line 1 is longer than 16 MiB", a_en="x" * (1 << 25), a_de="1\n")
    monkeypatch.setattr(archives, "MOST_FILES", 2)
    refused("a.zip has 3 files, more than 2", a_en="x", a_de="y", b="z")
    monkeypatch.undo()
    path.write_bytes(archive("Books", ("de", "en"), [(str(i), str(i)) for i in range(9999)])[:-3000])
    with pytest.raises(DataError, match="is not a zip archive that can be read"):
        read(zip=str(path))
    content = bytearray(archive("B", ("de", "en"), [(str(i), str(i)) for i in range(9999)]))
    content[2000:2040] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read to its end"):
        read(zip=str(path))


# ---- mtdata ----------------------------------------------------------------------------------------------


@pytest.fixture
def mtdata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """A stand-in for the package, with these corpora."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    texts: dict[str, list[Any]] = {"Group-books-1-deu-eng": [["Hallo\ndu", "Hello you"], ["x", "y", {"meta": 1}]]}

    class Entry(types.SimpleNamespace):
        pass

    modules: dict[str, dict[str, Any]] = {
        "mtdata": {"cache_dir": tmp_path},
        "mtdata.cache": {"Cache": lambda folder: types.SimpleNamespace(get_entry=lambda entry: entry.name)},
        "mtdata.entry": {"DatasetId": types.SimpleNamespace(parse=lambda name: name)},
        "mtdata.index": {"INDEX": {name: Entry(name=name, in_ext=None) for name in texts}},
        "mtdata.parser": {
            "Parser": lambda paths, ext, ent: types.SimpleNamespace(read_segs=lambda show_pbar: _told(texts[paths]))
        },
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return texts


def _told(rows: list[Any]) -> Iterator[Any]:
    for row in rows:
        if isinstance(row, Exception):
            raise row
        yield row


def test_a_corpus_of_mtdata_is_kept_as_two_files(mtdata: dict[str, list[Any]]) -> None:
    expected = [("Hello you", "Hallo du"), ("y", "x")]
    assert read(mtdata="Group-books-1-deu-eng") == expected
    mtdata.clear()  # it is not asked again
    assert read(mtdata="Group-books-1-deu-eng") == expected
    assert read("de", "en", mtdata="Group-books-1-deu-eng") == [(german, english) for english, german in expected]


def test_what_mtdata_does_not_have(
    mtdata: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="'europarl' is not an identifier of mtdata, such as Statmt-europarl"):
        read(mtdata="europarl")
    with pytest.raises(DataError, match="Group-books-1-deu-eng of mtdata is in de and en, not in en and fr"):
        read("en", "fr", mtdata="Group-books-1-deu-eng")
    with pytest.raises(DataError, match="mtdata has no corpus Group-other-1-deu-eng; list those of a language with"):
        read(mtdata="Group-other-1-deu-eng")
    mtdata["Group-books-1-deu-eng"].append(ConnectionError("no route"))
    with pytest.raises(DataError, match="mtdata cannot read Group-books-1-deu-eng: no route; run once with a network"):
        read(mtdata="Group-books-1-deu-eng")
    assert list((tmp_path / "cache/transformer/mtdata").glob("[!.]*")) == []
    monkeypatch.setitem(sys.modules, "mtdata", None)
    with pytest.raises(DataError, match="corpora of mtdata need the package mtdata: pip install"):
        read(mtdata="Group-books-1-deu-eng")
