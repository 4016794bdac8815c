"""Tuning: the best settings on held-out text, kept with the run and used unless others are given."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from support.command import main
from support.toy import CPU, toy_pairs

from transformer import config_file
from transformer.cli.main import parse
from transformer.config import Config
from transformer.decoding.loading import load_translator
from transformer.decoding.translator import Translator, with_settings
from transformer.errors import ConfigError
from transformer.evaluation.metrics import score_corpus
from transformer.evaluation.tuning import Grid, Trial, evenly, tune
from transformer.runs.run import open_run
from transformer.runs.tuning import keep_tuning, tuned

PAIRS = toy_pairs(30, 11)
GRID = Grid(beams=(3, 1), penalties=(0.6, 0.0), extras=("auto", 1))


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of a trained run, which may be written into."""
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


@pytest.mark.parametrize("metric", ["bleu", "ter"])
def test_the_best_trial_wins_and_scores_are_those_of_its_settings(translator: Translator, metric: str) -> None:
    bad = with_settings(translator, dataclasses.replace(translator.cfg, beam=2, max_extra=1, length_penalty=10.0))
    seen: list[Trial] = []
    found = tune(bad, PAIRS, "de", metric, GRID, seen.append)
    assert found.trials == seen
    assert found.present.settings == bad.cfg
    values = [each.scores[metric] for each in found.trials]
    assert found.best.scores[metric] == (min(values) if metric == "ter" else max(values))
    again = with_settings(translator, found.best.settings)
    texts = [ways[0].text for ways in again.translate([pair.source for pair in PAIRS])]
    assert texts == found.best.translations
    assert found.best.scores["bleu"] == score_corpus(texts, [pair.target for pair in PAIRS], "de")["bleu"].score


def test_every_setting_is_tried_once_and_greedy_with_one_penalty(translator: Translator) -> None:
    settings = dataclasses.replace(translator.cfg, beam=3, length_penalty=0.6, max_extra="auto")
    start = with_settings(translator, settings)
    trials = tune(start, PAIRS, "de", grid=GRID).trials
    tried = [(each.settings.beam, each.settings.length_penalty) for each in trials if each.settings.max_extra == "auto"]
    assert tried == [(3, 0.6), (1, 0.0), (3, 0.0)]
    assert sum(each.settings.max_extra == 1 for each in trials) == 1


def test_of_equally_good_settings_the_present_ones_win(translator: Translator) -> None:
    perfect = with_settings(translator, dataclasses.replace(translator.cfg, beam=4, length_penalty=0.3))
    ours = [ways[0].text for ways in perfect.translate([pair.source for pair in PAIRS])]
    pairs = [dataclasses.replace(pair, target=text) if dataclasses.is_dataclass(pair) else pair._replace(target=text)
             for pair, text in zip(PAIRS, ours, strict=True)]  # fmt: skip
    found = tune(perfect, pairs, "de", grid=GRID)
    assert found.best is found.present
    assert found.p_value is None


def test_drawing_at_random_cannot_be_tuned(translator: Translator) -> None:
    random = with_settings(translator, dataclasses.replace(translator.cfg, sampling=False, mbr_samples=2))
    expected = "there is no beam to tune: decode.sampling and decode.mbr_samples draw at random"
    with pytest.raises(ConfigError, match=expected):
        tune(random, PAIRS, "de")


def test_sentences_are_taken_from_all_parts_of_a_text() -> None:
    assert evenly(PAIRS, 3) == [PAIRS[0], PAIRS[10], PAIRS[20]]
    assert evenly(PAIRS, 99) == PAIRS


def test_what_was_tuned_is_used_unless_other_settings_are_given(run: Path) -> None:
    opened = open_run(run)
    keep_tuning(opened, {"decode": {"beam": 7, "length_penalty": 1.25, "max_extra": 33}})
    _, translator, _ = load_translator(run, ["decode.beam=2"], CPU)
    assert (translator.cfg.beam, translator.cfg.length_penalty, translator.cfg.max_extra) == (2, 1.25, 33)
    assert open_run(run).config == opened.config  # so that training is resumed with the settings it knows


def test_a_setting_changed_in_the_configuration_since_then_wins(run: Path) -> None:
    opened = open_run(run)
    keep_tuning(opened, {"decode": {"beam": 7, "length_penalty": 1.25, "max_extra": 33}})
    changed = config_file.override(opened.config, ["decode.length_penalty=0.2"])
    found = tuned(dataclasses.replace(opened, config=changed))
    assert (found.beam, found.length_penalty) == (7, 0.2)


BAD_CHOICE = {
    "decode": {"beam": 0, "length_penalty": 1, "max_extra": 1},
    "instead_of": {"beam": 4, "length_penalty": 0.6, "max_extra": "auto"},
}


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"decode": {}, "instead_of": {}}', json.dumps(BAD_CHOICE)])
def test_a_damaged_file_is_ignored_with_a_warning(run: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    (run / "tuning.json").write_text(damage)
    opened = open_run(run)
    assert tuned(opened) == opened.config.decode
    assert caplog.messages == [f"{run}/tuning.json is damaged: decoding uses the settings of the configuration"]


def test_the_command_keeps_the_choice_with_the_run(run: Path, tiny: Config) -> None:
    options = "--beam", "2,3", "--length-penalty", "0,1", "--max-extra", "auto", "--lines", "8"
    dry = main("tune", run, *options, "--dry-run", "decode.max_extra=2", "decode.beam=1")
    assert dry.code == 0
    assert not (run / "tuning.json").exists()
    done = main("tune", run, *options, "decode.max_extra=2", "decode.beam=1")
    assert done.out.splitlines()[1].split()[:2] == [b"beam", b"length"]
    kept = json.loads((run / "tuning.json").read_text())
    assert kept["decode"]["max_extra"] == "auto" or b"best: the present settings" in done.out
    assert kept["text"]["sentences"] == 8
    used = json.loads(main("evaluate", run, "--json").out)["decode"]
    assert {key: used[key] for key in kept["decode"]} == kept["decode"]
    assert json.loads(main("tune", run, *options, "--json").out)["present"] == kept["decode"]


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--length-penalty=-1"], 2, "decode.length_penalty must be a number from 0 to 10, not '-1.0'"),
        (["--source", "x"], 2, "--source and --reference must be given together"),
    ],
)
def test_bad_options_are_one_sentence(run: Path, options: list[str], code: int, sentence: str) -> None:
    found = main("tune", run, *options)
    assert found.code == code
    assert sentence in found.err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--beam", "2,x"], "argument --beam: 'x' is not a whole number of at least 1"),
        (["--length-penalty", "a"], "argument --length-penalty: 'a' is not a list of numbers, such as 1,2"),
    ],
)
def test_lists_that_are_none_are_wrong_usage(
    run: Path, options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(["tune", str(run), *options])
    assert sentence in capsys.readouterr().err
