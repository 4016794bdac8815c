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
from transformer.data.corpus import Pair
from transformer.decoding.loading import load_translator
from transformer.decoding.parts import Translation
from transformer.decoding.translator import Translator, with_settings
from transformer.errors import ConfigError, DataError
from transformer.evaluation.metrics import score_corpus
from transformer.evaluation.tuning import Grid, Trial, check_held_out, evenly, tune
from transformer.runs.run import open_run
from transformer.runs.tuning import keep_tuning, tuned

PAIRS = toy_pairs(30, 11)
GRID = Grid(beams=(3, 1), penalties=(0.6, 0.0), extras=("auto", 1))


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of a trained run, which may be written into."""
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


@pytest.fixture
def better_beams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let larger beams translate better: one sentence in `beam + 1` is wrong."""

    def translate(self: Translator, lines: list[str], warnings: object) -> list[list[Translation]]:
        right = [pair.target for pair in PAIRS]
        texts = ["acht neun zehn elf" if i % (self.cfg.beam + 1) == 0 else text for i, text in enumerate(right)]
        return [[Translation(text, 0.0, 0.0, ())] for text in texts[: len(lines)]]

    monkeypatch.setattr(Translator, "translate", translate)


@pytest.mark.parametrize("metric", ["bleu", "ter"])
def test_the_best_trial_wins(translator: Translator, better_beams: None, metric: str) -> None:
    start = with_settings(translator, dataclasses.replace(translator.cfg, beam=1, max_extra=1))
    seen: list[Trial] = []
    found = tune(start, PAIRS, "de", metric, GRID, seen.append)
    assert found.trials == seen
    assert found.present.settings == start.cfg
    values = [each.scores[metric] for each in found.trials]
    assert found.best.scores[metric] == (min(values) if metric == "ter" else max(values))
    assert (found.best.settings.beam, found.best.settings.max_extra) == (3, 1)
    assert found.p_value is not None
    assert found.p_value < 0.05
    expected = score_corpus(found.best.translations, [pair.target for pair in PAIRS], "de", metrics=[metric])
    assert found.best.scores == {name: each.score for name, each in expected.items()}


def test_a_trial_translates_with_its_settings(translator: Translator) -> None:
    found = tune(translator, PAIRS[:9], "de", grid=GRID)
    for trial in found.trials:
        again = with_settings(translator, trial.settings).translate([pair.source for pair in PAIRS[:9]])
        assert [ways[0].text for ways in again] == trial.translations


def test_a_warning_is_given_once_and_not_with_each_setting(
    translator: Translator, caplog: pytest.LogCaptureFixture
) -> None:
    tune(translator, [Pair("one ¢", "eins"), *PAIRS[:3]], "de", grid=GRID)
    assert sum("not in this model's vocabulary: ¢" in message for message in caplog.messages) == 1


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


def test_what_may_be_chance_changes_nothing(translator: Translator, better_beams: None) -> None:
    """Of six sentences one or two more are right."""
    start = with_settings(translator, dataclasses.replace(translator.cfg, beam=8))
    found = tune(start, PAIRS[:6], "de", grid=Grid(beams=(8, 9), penalties=(0.6,), extras=("auto",)))
    assert found.best is found.present
    start = with_settings(translator, dataclasses.replace(translator.cfg, beam=3))
    found = tune(start, PAIRS[:6], "de", grid=Grid(beams=(9,), penalties=(0.6,), extras=("auto",)))
    assert found.highest is not found.present
    assert found.p_value is not None
    assert found.p_value >= 0.05
    assert found.best is found.present


def test_settings_are_never_tuned_on_the_test_text() -> None:
    test = [Pair(f"source {i}", "x") for i in range(100)]
    check_held_out([Pair("other", "y")] * 5 + test[:5], test)
    with pytest.raises(ConfigError, match="6 of 10 sentences are in the test text: .*; tune on other text"):
        check_held_out([Pair("other", "y")] * 4 + test[:6], test)
    with pytest.raises(DataError, match="there is nothing to score: every sentence or every reference is empty"):
        check_held_out([Pair(" ", "x"), Pair("x", "")], [])


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


def test_the_command_keeps_the_choice_with_the_run(run: Path, better_beams: None, tmp_path: Path) -> None:
    for side, texts in (("en", [pair.source for pair in PAIRS]), ("de", [pair.target for pair in PAIRS])):
        (tmp_path / f"held.{side}").write_text("".join(f"{text}\n" for text in texts))
    text = "--source", tmp_path / "held.en", "--reference", tmp_path / "held.de"
    settings = run / "config.yaml"
    settings.write_text(settings.read_text().replace("beam: 4", "beam: 1"))
    options = "--beam", "2,3", "--length-penalty", "0,1", "--max-extra", "auto", *text
    dry = main("tune", run, *options, "--dry-run")
    assert dry.code == 0
    assert not (run / "tuning.json").exists()
    done = main("tune", run, *options)
    assert done.out.splitlines()[1].split()[:2] == [b"beam", b"length"]
    assert f"kept in {run}/tuning.json: ".encode() in done.out
    assert b"beam: the largest tried; larger may be better still, see --beam\n" in done.out
    kept = json.loads((run / "tuning.json").read_text())
    assert kept["decode"]["beam"] == 3
    assert kept["text"]["sentences"] == len(PAIRS)
    assert b"decoding     beam 3, " in main("info", run).out
    again = main("tune", run, *options)
    assert b"best: the present settings, decode.beam=3 " in again.out
    assert json.loads(main("tune", run, *options, "--json").out)["present"] == kept["decode"]


def test_evaluate_uses_what_was_tuned(run: Path) -> None:
    keep_tuning(open_run(run), {"decode": {"beam": 3, "length_penalty": 1.25, "max_extra": 33}})
    used = json.loads(main("evaluate", run, "--json").out)["decode"]
    assert (used["beam"], used["length_penalty"], used["max_extra"]) == (3, 1.25, 33)


def test_the_test_text_is_refused(run: Path) -> None:
    test = open_run(run).config.data.test
    assert test is not None
    assert test.files is not None
    found = main("tune", run, "--source", test.files[0], "--reference", test.files[1])
    assert found.code == 2
    assert "100 of 100 sentences are in the test text" in found.err


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--length-penalty=-1"], 2, "decode.length_penalty must be a number from 0 to 10, not '-1.0'"),
        (["--source", "x"], 2, "--source and --reference must be given together"),
        (
            ["decode.beam=3"],
            2,
            "decode.beam=3: the values to try are those of --beam, --length-penalty and --max-extra",
        ),
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
