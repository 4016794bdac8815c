"""Pairs that a model scores for a filter: which numbers, in which direction, kills, resuming, the dry run."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.command import main
from support.together import together
from support.toy import CPU, toy_pairs, write_pairs

from transformer import config_file
from transformer.config import Config
from transformer.data.corpus import Pair
from transformer.data.lines import read_text
from transformer.data_config import DataConfig
from transformer.decoding.translator import Translator
from transformer.errors import CheckpointError, ConfigError, DataError
from transformer.synthesis.making import Made, make_corpora
from transformer.synthesis.parts import Parts
from transformer.synthesis.scorer import ScoringPairs
from transformer.system.distributed import Ranks
from transformer.training.dry_run import dry_run
from transformer.training.session import train

PAIRS = [pair if i % 9 else Pair(pair.source, "null null null") for i, pair in enumerate(toy_pairs(45, 23))]
NOISE = sum(pair.target == "null null null" for pair in PAIRS)


def data_of(files: str, model: Path | str, more: str = "drop_worst: 0.12", how: str = "en, target: de") -> DataConfig:
    corpora = f"{{files: {files}, filters: {{score: {{model: '{model}', {more}}}}}}}"
    return config_file.read(f"data: {{source: {how}, train: {corpora}}}", "a test").data


def make(data: DataConfig, cache: Path, *recorded: str) -> Made:
    return make_corpora(data, cache, CPU, Ranks(), recorded=recorded)


def scores_of(made: Made) -> list[str]:
    filters = made.data.train[0].filters
    assert filters is not None
    assert filters.score is not None
    assert filters.score.file is not None
    assert filters.score.model is None
    return read_text(Path(filters.score.file))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of the first pair of each part that is scored."""
    found: list[int] = []
    rows = ScoringPairs.rows

    def noted(self: ScoringPairs, lines: Any, first: int) -> Any:
        found.append(first)
        return rows(self, lines, first)

    monkeypatch.setattr(ScoringPairs, "rows", noted)
    monkeypatch.setattr("transformer.synthesis.parts.PART", 20)
    return found


def test_the_scores_are_those_of_the_command(trained_run: Path, tmp_path: Path, said: list[str]) -> None:
    """In the direction of the model, whichever side of the corpus is its source."""
    write_pairs(tmp_path, "a", PAIRS)
    english, german = tmp_path / "a.en", tmp_path / "a.de"
    printed = main("score", trained_run, "--source", english, "--target", german).out.decode().splitlines()
    there = make(data_of(f"[{english}, {german}]", trained_run), tmp_path / "cache")
    back = make(data_of(f"[{german}, {english}]", trained_run, how="de, target: en"), tmp_path / "cache")
    also = make(data_of(f"[{english}, {german}]", trained_run, how="eng, target: deu_Latn"), tmp_path / "cache")
    assert scores_of(there) == scores_of(back) == scores_of(also) == printed
    assert len({made.facts["scores"][0]["key"] for made in (there, back)}) == 2
    assert "a.en + a.de scored by run: 45 pairs of 45 lines" in said
    other = main("score", trained_run, "--source", german, "--target", english).out.decode().splitlines()
    assert other != printed


def test_models_of_opposite_directions_do_not_score_together(trained_run: Path, tmp_path: Path) -> None:
    files, turned = write_pairs(tmp_path, "a", PAIRS), tmp_path / "turned"
    shutil.copytree(trained_run, turned)
    config = (turned / "config.yaml").read_text(encoding="utf-8")
    assert config.count("  source: en\n  target: de\n") == 1
    config = config.replace("  source: en\n  target: de\n", "  source: de\n  target: en\n")
    (turned / "config.yaml").write_text(config, encoding="utf-8")
    filters = f"filters: {{score: {{model: [{trained_run}, {turned}], at_least: -1}}}}"
    data = config_file.read(f"data: {{source: en, target: de, train: {{files: {files}, {filters}}}}}", "a test").data
    with pytest.raises(ConfigError, match=r"score.model: .* and .*turned are of opposite directions"):
        make(data, tmp_path / "cache")


def test_a_model_of_other_languages_is_refused(trained_run: Path, tmp_path: Path) -> None:
    files = write_pairs(tmp_path, "a", PAIRS)
    with pytest.raises(
        ConfigError, match="score.model: .* from en to de, and here a model between fr and de is needed"
    ):
        make(data_of(files, trained_run, how="fr, target: de"), tmp_path / "cache")


def test_a_wrong_model_is_refused_before_any_text_is_translated(trained_run: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path, "mono", PAIRS[:2])
    other = shutil.copytree(trained_run, tmp_path / "other")
    config = (other / "config.yaml").read_text()
    assert "source: en" in config
    (other / "config.yaml").write_text(config.replace("source: en", "source: fr"))
    for model, error in ((other, ConfigError), (tmp_path / "none", CheckpointError)):
        score = f"filters: {{score: {{model: {model}, at_least: -1}}}}"
        text = f"{{forward: {{text: {tmp_path}/mono.en, model: {trained_run}}}, {score}}}"
        data = config_file.read(f"data: {{source: en, target: de, train: {text}}}", "a test").data
        with pytest.raises(error):
            make(data, tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("file: s, at_least: 0", "data.train.filters.score has a model and other scores; the scores are from one"),
        ("column: 3, at_least: 0", "data.train.filters.score has a model and other scores"),
        ("length: 3", "unknown key data.train.filters.score.length"),
    ],
)
def test_contradictory_settings_are_refused(more: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        data_of("[a, b]", "m", more)


def test_finished_parts_are_not_scored_again(
    trained_run: Path, tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    data, cache = data_of(write_pairs(tmp_path, "a", PAIRS), trained_run), tmp_path / "cache"
    calm = scores_of(make(data, tmp_path / "calm"))
    with monkeypatch.context() as patch:
        patch.setattr(Parts, "finish", lambda *_: pytest.fail("stopped"))
        with pytest.raises(pytest.fail.Exception):
            make(data, cache)
    _, second, third = sorted(cache.glob("scores-*.parts/part-*"))
    third.unlink()
    second.write_text(second.read_text().replace('["', '["0", "'))  # two columns, as of a pair
    calls.clear()
    assert scores_of(make(data, cache)) == calm
    assert calls == [21, 41]
    assert any(re.search(r"scoring 25 pairs with run/step-\d+; 20 are scored already", line) for line in said)
    make(data_of(write_pairs(tmp_path, "moved", PAIRS), trained_run, "at_least: -1"), cache)
    assert calls == [21, 41]


def test_several_processes_score_what_one_scores(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformer.synthesis.parts.PART", 20)
    data = data_of(write_pairs(tmp_path, "a", PAIRS), trained_run)
    alone = scores_of(make(data, tmp_path / "alone"))
    caches = [tmp_path / "one", tmp_path / "other"]
    found = together(2, tmp_path, lambda ranks: scores_of(make_corpora(data, caches[ranks.rank], CPU, ranks)))
    assert found == [alone, alone]


def test_what_cannot_be_scored(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the worst, but for a line that is not UTF-8, which is refused or dropped as such."""
    monkeypatch.setattr(Translator, "most_scored", 8)
    files = write_pairs(tmp_path, "a", [Pair("one", "eins"), Pair("two " * 40, "zwei"), Pair("", "")])
    with (tmp_path / "a.en").open("ab") as stream, (tmp_path / "a.de").open("ab") as other:
        stream.write(b"\xff\n")
        other.write(b"x\n")
    data = data_of(files, trained_run)
    with pytest.raises(DataError, match="line 4 is not UTF-8"):
        make(data, tmp_path / "cache")
    found = scores_of(make(replace(data, undecodable="drop"), tmp_path / "cache"))
    assert found[1:] == ["-inf", "0.000000", "inf"]
    assert float(found[0]) < 0


def filtered(tiny: Config, trained_run: Path, tmp_path: Path, *wishes: str) -> Config:
    if not (tmp_path / "critic").exists():
        shutil.copytree(trained_run, tmp_path / "critic")
    score = f"score: {{model: {tmp_path}/critic, drop_worst: 0.12}}"
    corpora = f"{{files: {write_pairs(tmp_path, 'own', PAIRS)}, filters: {{{score}}}}}"
    return config_file.override(tiny, [f"data.train={corpora}", "train.max_steps=4", *wishes])


def test_a_run_drops_what_the_model_finds_unlikely(
    tiny: Config, trained_run: Path, tmp_path: Path, calls: list[int], said: list[str]
) -> None:
    """A resumed run keeps to the scores that it was trained on."""
    cfg, run = filtered(tiny, trained_run, tmp_path), tmp_path / "runs" / "run"
    name = "own.en + own.de"
    ahead = dry_run(cfg, run, CPU)
    assert (
        f"scores            {name} scored by critic: 45 of 45 pairs to score; the dry run drops none of them" in ahead
    )
    assert "training pairs    45" in ahead
    assert calls == []
    train(config_file.override(cfg, ["train.max_steps=2"]), run, CPU)
    report = json.loads((run / "data.json").read_text())
    assert report["corpora"][0]["low score"] == NOISE
    assert {target for _, target in report["examples"][0]["pairs"]} == {"null null null"}
    (made,) = report["scores"]
    assert made["names"] == [f"{tmp_path}/critic"]
    assert "synthetic" not in report
    card = (run / "README.md").read_text()
    assert f"- Scored by a model: {name} scored by critic. 45 pairs of 45 lines. Model: critic/step-" in card
    again = dry_run(cfg, run, CPU)
    assert f"scores            {name} scored by critic: made already, 45 pairs of 45 lines" in again
    assert f"training pairs    {45 - NOISE}" in again
    (tmp_path / "critic" / "best").write_text("step-00000150\n")  # trained on since
    train(config_file.override(cfg, ["train.max_steps=3"]), run, CPU)
    shutil.rmtree(tmp_path / "critic")
    assert train(cfg, run, CPU) == "all 4 steps are done"
    assert calls == [1, 21, 41]


def test_what_a_model_has_made_is_scored(trained_run: Path, tmp_path: Path, calls: list[int]) -> None:
    (tmp_path / "mono.txt").write_text("".join(f"{pair.source}\n" for pair in PAIRS), encoding="utf-8")
    model = str(trained_run)
    score = f"filters: {{score: {{model: {model}, at_least: -1}}}}"
    text = f"{{forward: {{text: {tmp_path}/mono.txt, model: {model}}}, {score}}}"
    data = config_file.read(f"data: {{source: en, target: de, train: {text}}}", "a test").data
    made = make(data, tmp_path / "cache")
    assert list(made.facts) == ["synthetic", "scores"]
    assert len(scores_of(made)) == made.facts["synthetic"][0]["pairs"] == 45
    assert made.facts["scores"][0]["name"] == "mono.txt translated by run (beam 4) scored by run"
