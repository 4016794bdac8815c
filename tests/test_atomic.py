"""Folders are written atomically, and damage is detected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from transformer import atomic


def make(path: Path, text: str = "hello") -> None:
    with atomic.new_folder(path) as folder:
        (folder / "a").write_text(text)
        (folder / "b").write_text("b")


def test_a_complete_folder_has_no_damage(tmp_path: Path) -> None:
    make(tmp_path / "x")
    assert atomic.damage(tmp_path / "x") is None
    make(tmp_path / "x", "other")
    assert (tmp_path / "x" / "a").read_text() == "other"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_failing_writer_leaves_no_trace_and_keeps_the_old_folder(tmp_path: Path) -> None:
    make(tmp_path / "x")

    def fail() -> None:
        with atomic.new_folder(tmp_path / "x") as folder:
            (folder / "a").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x" / "a").read_text() == "hello"


def test_every_damage_is_reported(tmp_path: Path) -> None:
    def fresh() -> Path:
        make(tmp_path / "x")
        return tmp_path / "x"

    (fresh() / "a").write_text("hellp")
    assert atomic.damage(tmp_path / "x") == "a is damaged: its SHA-256 differs from the manifest"
    (fresh() / "a").write_text("hell")
    assert atomic.damage(tmp_path / "x") == "a has 4 bytes instead of 5"
    (fresh() / "b").unlink()
    assert atomic.damage(tmp_path / "x") == "b is missing"
    (fresh() / "manifest.json").unlink()
    assert atomic.damage(tmp_path / "x") == "it has no manifest.json"
    (fresh() / "manifest.json").write_text("{")
    assert "cannot be read" in str(atomic.damage(tmp_path / "x"))
    manifest = {"files": {"../../etc/passwd": {"bytes": 1, "sha256": ""}}}
    (fresh() / "manifest.json").write_text(json.dumps(manifest))
    assert "outside the folder" in str(atomic.damage(tmp_path / "x"))


def test_stale_temporary_files_are_removed(tmp_path: Path) -> None:
    make(tmp_path / "x")
    (tmp_path / ".transformer-tmp-abc").mkdir()
    (tmp_path / ".transformer-tmp-file").write_text("")
    atomic.clean_up(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
