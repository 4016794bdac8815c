"""Every path that the file system allows can be given, in YAML, on the command line and from Python."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from support.command import train
from support.toy import toy_pairs

from transformer import api, config_file
from transformer.config import Config
from transformer.data import corpus
from transformer.data_config import CorpusConfig
from transformer.errors import ConfigError, DataError
from transformer.paths import expanded, matching

NAMES = [
    "[a].tsv",
    "a[0-9].tsv",
    "?.tsv",
    "*.tsv",
    "**",
    "a::b.tsv",
    "{a}.tsv",
    "{a: b}",
    "[a, b]",
    "a: b",
    "a #b",
    "# a",
    "- a",
    "-a",
    "--run",
    "&a",
    "!a",
    "%a",
    "@a",
    "`a`",
    "|",
    ">",
    "'a'",
    '"a"',
    "'",
    "true",
    "1",
    "1e5",
    "a=b",
    "x.y=z",
    "a\u3000b",
    "a\u00a0b",
    "a\u200db",
    "a\u2028b",
    "\u202eb",
    " a ",
    "a\nb",
    "a\tb",
    "a\r",
    "\x01\x7f",
    "a\\b",
    "$HOME",
    os.fsdecode(b"caf\xe9"),
    "👍",
    "\U00100000",
    "e\u0301",
    "~",
    "~x",
    "null",
    "NULL",
    "a,b",
    "a" * 200,
    "a  b  " * 30,
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def corpus_of(cfg: Config) -> list[corpus.Pair | None]:
    return list(corpus.read_pairs(cfg.data.train[0], "en", "de"))


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_of_a_file_can_be_given(folder: Path, name: str) -> None:
    for other in ("a.tsv", "0.tsv", "b.tsv", "a", "b"):
        Path(other).write_text("wrong\tfalsch\n")
    Path(name).write_text("one\teins\n")
    expected = [("one", "eins")]
    Path("c.yaml").write_text(
        yaml.safe_dump({"data": {"source": "en", "target": "de", "train": {"tsv": name}, "prepared_dir": name}}),
        "utf-8",
    )
    plain = config_file.load(Path("c.yaml"))
    Path("d.yaml").write_text("data: {source: en, target: de, train: {tsv: x.tsv}}\n")
    empty = name in ("~", "null")  # in YAML and after `=`, these are no value, unless they are quoted
    text = f"'{name}'" if empty else name
    command_line = config_file.load(Path("d.yaml"), [f"data.train.tsv={text}", f"data.prepared_dir={text}"])
    python = config_file.load(Path("d.yaml"), api._texts({"data.train.tsv": name, "data.prepared_dir": name}))
    assert plain == command_line == python
    assert plain.data.prepared_dir == name
    Path("again.yaml").write_text(config_file.dump(plain), "utf-8")
    assert config_file.load(Path("again.yaml")) == plain
    assert config_file.override(plain, ["data.source=fr"]).data.train == plain.data.train
    for cfg in (plain, command_line, python):
        assert corpus_of(cfg) == expected
    each = CorpusConfig(json=(name,))
    Path(name).write_text('{"en": "one", "de": "eins"}\n')
    assert list(corpus.read_pairs(each, "en", "de")) == expected
    assert len(corpus.identity(each, "en", "de")["sha256"]) == 1
    quoted = name.replace("'", "''")
    if "\n" not in name and "\u2028" not in name and name.isprintable():
        flow = config_file.load(Path("d.yaml"), [f"data.train={{json: ['{quoted}']}}"])
        assert flow.data.train[0].json == (name,)


def test_a_pattern_stands_for_files_only_where_no_file_has_its_name(folder: Path) -> None:
    for name in ("b.json", "a.json", "[ab].txt"):
        Path(name).touch()
    assert matching(("[ab].json", "*.txt", "none*")) == ("a.json", "b.json", "[ab].txt", "none*")
    Path("[ab].json").touch()
    assert matching(("[ab].json",)) == ("[ab].json",)


def test_a_home_directory_that_is_unknown_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/x") == Path("/home/me/x")
    with pytest.raises(
        ConfigError, match="~nobody-here/x: the home directory ~nobody-here is not known; write the path"
    ):
        expanded("~nobody-here/x")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # a user without an entry in /etc/passwd
    with pytest.raises(ConfigError, match="~/x: the home directory ~ is not known; write the path in full"):
        expanded("~/x")
    Path("~").mkdir()
    Path("~/x").touch()
    assert expanded("~/x") == Path("~/x")


def test_paths_cannot_have_nul(folder: Path) -> None:
    Path("c.yaml").write_text('data: {source: en, target: de, train: {tsv: "a\\0b"}}\n')
    with pytest.raises(ConfigError, match="data.train.tsv must be a path or `null`, not"):
        config_file.load(Path("c.yaml"))
    with pytest.raises(DataError, match="no such file"):
        list(corpus.read_pairs(CorpusConfig(tsv="nothing"), "en", "de"))


def test_a_run_is_trained_from_files_with_odd_names(tmp_path: Path) -> None:
    odd = os.fsdecode(b"[a]\xe9 \xe3\x80\x80*\n?.tsv")
    (tmp_path / odd).write_text("".join(f"{pair.source}\t{pair.target}\n" for pair in toy_pairs(30, 1)))
    found = train(tmp_path, "{tsv: none}", f"data.train.tsv={tmp_path / odd}")
    assert found.code == 0, found.err
    again = config_file.load(tmp_path / "run" / "config.yaml")
    assert again.data.train[0].tsv == str(tmp_path / odd)
