"""What a text is called, where it lies and when it was written do not matter: its content or its commit decides."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.toy import CPU, toy_pairs, write_pairs

from transformer import atomic, config_file
from transformer.config import Config
from transformer.data import corpus, hub, testsets
from transformer.data.corpus import Pair
from transformer.data.prepare import prepare
from transformer.data_config import CorpusConfig
from transformer.errors import ConfigError, DataError
from transformer.training import session


def lines(pairs: list[Pair]) -> str:
    return "".join(json.dumps({"en": pair.source, "de": pair.target}) + "\n" for pair in pairs)


def read(each: CorpusConfig) -> list[Pair | None]:
    return list(corpus.read_pairs(each, "en", "de"))


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the cache of `datasets` in the test's folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


def fill(folder: Path, name: str, pairs: list[Pair]) -> None:
    """Write a folder that `datasets` can read, always with the same times."""
    folder.mkdir(exist_ok=True)
    content = lines(pairs)
    if name.endswith(".csv"):
        content = "en,de\n" + "".join(f'"{pair.source}","{pair.target}"\n' for pair in pairs)
    (folder / name).write_text(content, encoding="utf-8")
    for path in (folder / name, folder):
        os.utime(path, (1, 1))


@pytest.mark.parametrize("name", ["train.jsonl", "train.csv"])
def test_a_local_dataset_is_known_by_its_content(caches: Path, name: str) -> None:
    each, found = CorpusConfig(dataset=str(caches / "folder")), []
    for words in ("one", "two"):
        fill(caches / "folder", name, [Pair(words, "NA"), Pair("null", "2020-01-01")])
        assert read(each) == [(words, "NA"), ("null", "2020-01-01")]
        found.append(corpus.identity(each, "en", "de"))
    assert found[0] != found[1]
    shutil.copytree(caches / "folder", caches / "other")
    assert corpus.identity(CorpusConfig(dataset=str(caches / "other")), "en", "de") == found[1]


def test_tables_of_another_format_in_a_folder_are_named(caches: Path, said: list[str]) -> None:
    for name in ("train.jsonl", "more.jsonl"):
        fill(caches / "folder", name, [Pair("one", "eins")])
    (caches / "folder" / "x.parquet").write_bytes(b"")
    (caches / "folder" / "dataset_infos.json").write_text("{}")
    read(CorpusConfig(dataset=str(caches / "folder")))
    assert [each for each in said if "left out" in each] == [f"{caches}/folder is read as json; left out: x.parquet"]


def test_a_local_dataset_that_lacks_something(caches: Path) -> None:
    fill(caches / "folder", "train.jsonl", [Pair("one", "eins")])
    for each, sentence in (
        (CorpusConfig(dataset=str(caches / "folder"), split="test"), "has no split test; its splits are train"),
        (CorpusConfig(dataset=str(caches / "nothing")), "no such folder: .*nothing"),
        (CorpusConfig(dataset="./nothing"), "no such folder: nothing"),
    ):
        with pytest.raises(DataError, match=sentence):
            read(each)


def test_a_test_set_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "a", tmp_path / "b"
    monkeypatch.setattr(testsets, "testset_files", lambda *_: files)
    found = []
    for text in ("one\n", "two\n"):
        for file in files:
            file.write_text(text)
        found.append(corpus.identity(CorpusConfig(testset="wmt14"), "en", "de"))
    assert found[0] != found[1]


def test_a_dataset_by_name_is_known_by_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ask(each: CorpusConfig, _: str) -> tuple[str, str]:
        asked.append(each.revision)
        return f"{len(asked):040d}", ""

    monkeypatch.setattr(hub, "_ask", ask)
    each = CorpusConfig(dataset="some/corpus", name="de-en")
    first, second = (corpus.identity(each, "en", "de") for _ in range(2))
    assert (first["commit"], second["commit"]) == (f"{1:040d}", f"{2:040d}")
    with hub.fixed_commits():  # one preparation reads one text
        assert corpus.identity(each, "en", "de") == corpus.identity(each, "en", "de")
    pinned = CorpusConfig(dataset="some/corpus", name="de-en", revision="f" * 40)
    assert corpus.identity(pinned, "en", "de")["commit"] == "f" * 40
    assert asked == [None, None, None]


def test_two_projects_with_folders_of_one_name_share_nothing(
    tiny: Config, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizers = []
    for number in (1, 2):
        project = caches / f"project-{number}"
        project.mkdir()
        monkeypatch.chdir(project)
        fill(project / "folder", "train.jsonl", toy_pairs(60, number))
        cfg = config_file.override(tiny, ["data.train={dataset: ./folder}"])
        made = prepare(cfg, caches / "prepared")
        tokenizers.append(made.tokenizer.fingerprint)
        assert made.train.report["corpora"][0]["read"] == 60
    assert len(list((caches / "prepared").glob("pairs-*"))) == 2
    assert len(list((caches / "prepared").glob("tokenizer-*"))) == 2


# ---- resuming -------------------------------------------------------------------------------------------


def moved(cfg: Config, folder: Path, seed: int = 1) -> Config:
    """Return the configuration with the same text, or another one, in another folder."""
    names = {"train": (150, seed), "valid": (10, seed + 1)}
    paths = {name: write_pairs(folder, name, toy_pairs(*which)) for name, which in names.items()}
    return config_file.override(cfg, [f"data.{name}={{files: {path}}}" for name, path in paths.items()])


def test_a_run_resumes_with_the_same_text_at_another_path(tiny: Config, tmp_path: Path) -> None:
    short = config_file.override(tiny, ["train.max_steps=3"])
    session.train(short, tmp_path / "run", CPU)
    for name in ("train", "valid"):
        for language in ("en", "de"):
            (tmp_path / f"{name}.{language}").unlink()
    longer = config_file.override(moved(short, tmp_path / "elsewhere"), ["train.max_steps=4"])
    assert session.train(longer, tmp_path / "run", CPU) == "all 4 steps are done"
    assert "elsewhere" in (tmp_path / "run" / "config.yaml").read_text()
    other = config_file.override(moved(short, tmp_path / "other", seed=7), ["train.max_steps=5"])
    with pytest.raises(DataError, match="was trained on different text than data.train has now"):
        session.train(other, tmp_path / "run", CPU)
    assert other.data.valid is not None
    files = list(other.data.valid.files or ())
    valid = config_file.override(longer, ["train.max_steps=5", f"data.valid.files={files}"])
    with pytest.raises(
        DataError, match="was validated on different text than data.valid has now, byte by byte; restore"
    ):
        session.train(valid, tmp_path / "run", CPU)
    (tmp_path / "x").write_text("one\teins\n")
    heavier = config_file.override(longer, [f"data.train={{tsv: '{tmp_path}/x', weight: 2}}"])
    with pytest.raises(ConfigError, match="was started with other settings: data.train"):
        session.train(heavier, tmp_path / "run", CPU)


def test_a_start_that_was_killed_before_the_first_checkpoint_binds_nothing(tiny: Config, tmp_path: Path) -> None:
    """Not even the vocabulary, when the text is another one by now."""
    short = config_file.override(tiny, ["train.max_steps=3"])
    session.train(short, tmp_path / "run", CPU)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    for name in ("last", "best", "finished"):
        (tmp_path / "run" / name).unlink(missing_ok=True)
    other = config_file.override(moved(short, tmp_path / "other", seed=7), ["tokenizer.vocab_size=280"])
    session.train(other, tmp_path / "run", CPU)
    session.train(other, tmp_path / "fresh", CPU)
    one, fresh = ((tmp_path / name / "tokenizer.model").read_bytes() for name in ("run", "fresh"))
    assert one == fresh


def test_an_old_checkpoint_knows_a_dataset_by_its_name(tiny: Config, caches: Path) -> None:
    """Version 0.1 identified a folder by its name. Its runs resume."""
    fill(caches / "folder", "train.jsonl", toy_pairs(60, 1))
    cfg = config_file.override(tiny, [f"data.train={{dataset: {caches}/folder}}", "train.max_steps=2"])
    session.train(cfg, caches / "run", CPU)
    made = prepare(cfg, caches / "prepared")
    assert made.train.report["former_fingerprint"] != made.train.report["fingerprint"]
    for checkpoint in (caches / "run" / "checkpoints").iterdir():
        state = json.loads((checkpoint / "state.json").read_text())
        assert state.pop("data") == made.train.report["fingerprint"]
        assert state.pop("valid")
        former = {**state, "data": made.train.report["former_fingerprint"]}
        (checkpoint / "state.json").write_text(json.dumps(former))
        (checkpoint / "manifest.json").unlink()
        files = {p.name: {"bytes": p.stat().st_size, "sha256": atomic.sha256(p)} for p in checkpoint.iterdir()}
        (checkpoint / "manifest.json").write_text(json.dumps({"files": files}))
    again = config_file.override(cfg, ["train.max_steps=3"])
    assert session.train(again, caches / "run", CPU) == "all 3 steps are done"


class Library:
    """A stand-in for `datasets` whose `load_dataset` fails, as if the files of a dataset had different columns."""

    class DatasetGenerationError(Exception):
        pass

    def __init__(self, module: str, files: list[str]) -> None:
        kind = type("Builder", (), {"__module__": f"datasets.packaged_modules.{module}.{module}"})
        self.builder: Any = kind()
        self.builder.config = SimpleNamespace(data_files={"train": files})

    def load_dataset(self, *_: object, **__: object) -> None:
        raise self.DatasetGenerationError("Couldn't cast")

    def load_dataset_builder(self, *_: object, **__: object) -> object:
        return self.builder

    def DownloadManager(self, **_: object) -> object:  # noqa: N802
        return SimpleNamespace(download=lambda files: files)


def test_files_of_a_dataset_by_name_may_have_different_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, row in (("a", {"en": "one", "de": "eins"}), ("b", {"x": [1], "de": "zwei", "en": "2020-01-01"})):
        (tmp_path / name).write_text(json.dumps(row))
    monkeypatch.setattr(hub, "_commit", lambda *_: ("f" * 40, ""))
    each = CorpusConfig(dataset="some/corpus")
    files = [str(tmp_path / "a"), str(tmp_path / "b")]
    monkeypatch.setattr(hub, "_datasets", lambda: Library("json", files))
    assert read(each) == [("one", "eins"), ("2020-01-01", "zwei")]
    monkeypatch.setattr(hub, "_datasets", lambda: Library("csv", files))
    with pytest.raises(DataError, match="cannot load some/corpus train: its files have different columns"):
        read(each)
