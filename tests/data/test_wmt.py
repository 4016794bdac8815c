"""WMT by name: the real `datasets` and sacreBLEU with local stand-ins for their servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import hub
from support.toy import toy_pairs

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = [
    "model.width=32",
    "model.heads=2",
    "model.feed_forward=64",
    "model.encoder_layers=1",
    "model.decoder_layers=1",
    "tokenizer.vocab_size=300",
    "train.max_steps=4",
    "train.batch_tokens=300",
    "train.validate_every=4",
    "train.save_every=4",
    "train.average_last=null",
    "train.log_every=2",
    "train.precision=float32",
]


@pytest.fixture(scope="module")
def wmt() -> Iterator[hub.Hub]:
    pairs = [(pair.target, pair.source) for pair in toy_pairs(200, 1)]
    small = {"train": pairs, "validation": pairs[:20], "test": pairs[:20]}
    with hub.Hub() as server:
        server.push("wmt/wmt14", hub.parquet_files({"de-en": small, "fr-en": small}))
        yield server


def command(environment: dict[str, str], *args: object) -> subprocess.CompletedProcess[str]:
    environment = {**environment, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "transformer", *map(str, args)]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def test_wmt14_trains_and_evaluates_as_configured(wmt: hub.Hub, tmp_path: Path) -> None:
    environment = wmt.environment(tmp_path)
    sources, references = (list(side) for side in zip(*toy_pairs(20, 9), strict=True))
    hub.fill_sacrebleu(Path(environment["SACREBLEU"]), "wmt14/full", "en-de", sources, references)
    done = command(environment, "train", CONFIGS / "wmt14_en_de_base.yaml", "--run", tmp_path / "run", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "wmt/wmt14 de-en train: 200 of 200 pairs usable" in done.stderr
    done = command(environment, "evaluate", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "20 sentences of test" in done.stdout
    wmt.requests.clear()
    again = [*SMALL, "train.max_steps=5"]
    done = command(environment, "train", CONFIGS / "wmt14_en_de_base.yaml", "--run", tmp_path / "run", *again)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_multi30k_trains_as_configured(tmp_path: Path) -> None:
    pairs = [(pair.source, pair.target) for pair in toy_pairs(200, 1)]
    with hub.Hub() as server:
        server.push(
            "bentrevett/multi30k", hub.jsonl_files({"train": pairs, "validation": pairs[:9], "test": pairs[:9]})
        )
        environment = server.environment(tmp_path)
        done = command(environment, "train", CONFIGS / "multi30k_en_de.yaml", "--run", tmp_path / "run", *SMALL)
        assert done.returncode == 0, done.stderr
        done = command(environment, "evaluate", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sentences"] == 9


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.train={dataset: wmt/wmt14, name: en-de}", "(a pair has one name for both directions: try de-en)"),
        ("data.train={dataset: no/such}", "no such dataset on the Hugging Face Hub, or no access to it"),
        (
            "data.train={dataset: wmt/wmt14, name: de-en, split: dev}",
            "Should be one of ['train', 'validation', 'test']",
        ),
        ("data.train={dataset: wmt/wmt14, name: fr-en}", "has the languages en, fr, not en and de"),
        ("data.test={testset: wmt00}", "sacreBLEU has no test set 'wmt00'"),
    ],
)
def test_missing_test_sets_and_languages_are_reported(
    wmt: hub.Hub, tmp_path: Path, override: str, sentence: str
) -> None:
    config = CONFIGS / "wmt14_en_de_base.yaml"
    done = command(wmt.environment(tmp_path), "train", config, "--run", tmp_path / "run", *SMALL, override)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == (0 if "testset" in override else 1)


def test_no_network_is_reported_quickly(tmp_path: Path) -> None:
    environment = hub.environment(tmp_path, hub.closed_endpoint())
    config = CONFIGS / "wmt14_en_de_base.yaml"
    done = command(environment, "train", config, "--run", tmp_path / "run", *SMALL)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("transformer train: cannot download wmt/wmt14 de-en validation")
    assert "run once with a network connection, or use local files with data.*.files" in last


@pytest.mark.slow
def test_downloaded_data_works_without_a_network(wmt: hub.Hub, tmp_path: Path) -> None:
    config = CONFIGS / "wmt14_en_de_base.yaml"
    online = wmt.environment(tmp_path)
    words = ["train", config, *SMALL, "data.test=null"]
    assert command(online, *words, "--run", tmp_path / "one").returncode == 0
    offline = {**online, **hub.environment(tmp_path, hub.closed_endpoint())}
    done = command(offline, *words, "--run", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert "using the local cache only" in done.stderr
    assert os.path.isdir(tmp_path / "two")
