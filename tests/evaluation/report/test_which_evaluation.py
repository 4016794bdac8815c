"""Of many evaluations, a report shows the one of the best checkpoint that says most, and says where it is another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.reports import copied, keep, pairs_and_translations

pytest.importorskip("matplotlib", reason="the report needs the extra [report]")

from transformer.config import DecodeConfig
from transformer.data.corpus import Pair
from transformer.errors import ConfigError
from transformer.evaluation.records import read_records
from transformer.evaluation.report import content
from transformer.evaluation.report.build import build_report
from transformer.evaluation.report.checkpoints import checkpoint_curves
from transformer.evaluation.report.facts import read_facts
from transformer.evaluation.report.plots import breakdown, by_checkpoint
from transformer.evaluation.report.translated import Shown, choose_text

PAIRS, TRANSLATIONS = pairs_and_translations(12)
DECODE = {**vars(DecodeConfig()), "precision": "float32"}
FILES = ["some.en", "some.de"]
TEXTS: list[tuple[str, list[str]]] = [("test", []), ("wmt14/full", []), ("valid", []), ("some.en", FILES)]
TEXTS += [("test, typos", [])]
"""Names and files of texts, the one to be shown first."""


@pytest.fixture
def run(plain_run: Path, tmp_path: Path) -> Path:
    return copied(plain_run, tmp_path / "run")


def kept(run: Path, name: str = "test", first: int = 0, files: Any = (), **origin: Any) -> str:
    """Keep an evaluation, newer than those before, of the sentences from `first` on. Return its name."""
    before = set((run / "evaluations").glob("*.json"))
    keep(run, PAIRS[first:], TRANSLATIONS[first:], name, **origin)
    (file,) = set((run / "evaluations").glob("*.json")) - before
    values = json.loads(file.read_text())
    values["text"]["files"], values["time"] = list(files), f"2026-01-01T00:00:{len(before):02}+00:00"
    file.write_text(json.dumps(values))
    return file.stem


def shown(*runs: Path, text: str | None = None) -> Shown:
    found = choose_text(read_facts(runs), text)
    assert found is not None
    return found


def other(run: Path, **more: str) -> dict[str, str]:
    """Return a checkpoint that is not the best."""
    steps = sorted(path.name for path in (run / "checkpoints").iterdir())
    return {"name": next(step for step in steps if step != (run / "best").read_text().strip()), "sha256": "0", **more}


@pytest.mark.parametrize("place", range(len(TEXTS) - 1))
def test_the_text_says_more_than_any_newer_one(run: Path, place: int) -> None:
    for first, (name, files) in enumerate(TEXTS[place:]):
        kept(run, name, first, files)
    assert shown(run).name == TEXTS[place][0]


def test_of_equal_texts_the_newest_counts(run: Path) -> None:
    for first, name in enumerate(("wmt14/full", "wmt15")):
        kept(run, name, first)
    assert shown(run).name == "wmt15"


def test_of_several_runs_the_text_that_most_have_counts(run: Path, tmp_path: Path) -> None:
    second = copied(run, tmp_path / "second")
    kept(run, "test", 1)
    for each, name, files in ((run, "valid", []), (second, "some.en", FILES)):  # the same text
        kept(each, name, 2, files)
    found = shown(run, second)
    assert (found.name, len(found.systems), found.without) == ("valid", 2, [])


def test_of_a_text_the_best_checkpoint_with_its_own_settings_counts(run: Path) -> None:
    """Whatever was evaluated later."""
    steps = [
        kept(run, checkpoint=other(run)),
        kept(run, decode={**DECODE, "beam": 9}),
        kept(run, decode={**DECODE, "beam": 7}),
        kept(run),
    ]
    later = [
        kept(run, decode={**DECODE, "ensemble": ["a", "b"]}),
        kept(run, decode={**DECODE, "mbr_samples": 16}),
        kept(run, checkpoint=other(run, weights="plain")),
        kept(run, "some.en", files=FILES, decode={**DECODE, "beam": 3}),
    ]
    assert [shown(run).systems[0].record.path.stem, shown(run).systems[0].unusual] == [steps[-1], None]
    for name in later:
        _forget(run, name)
    _forget(run, steps[3])
    assert shown(run).systems[0].record.path.stem == steps[2], "the newest of the best checkpoint"
    assert shown(run).systems[0].unusual == "the best checkpoint, beam 7"
    _forget(run, steps[1])
    _forget(run, steps[2])
    kept(run, checkpoint=other(run, weights="plain"))
    assert shown(run).systems[0].unusual == f"{other(run)['name']}, plain weights", "the newest"


def _forget(run: Path, name: str) -> None:
    (run / f"evaluations/{name}.json").unlink()


def test_tuned_settings_are_what_evaluate_uses(run: Path) -> None:
    old, new = kept(run), kept(run, decode={**DECODE, "beam": 8})
    assert shown(run).systems[0].record.path.stem == old
    before = {key: DECODE[key] for key in ("beam", "length_penalty", "max_extra")}
    (run / "tuning.json").write_text(json.dumps({"decode": {**before, "beam": 8}, "instead_of": before}))
    system = shown(run).systems[0]
    assert [system.record.path.stem, system.unusual] == [new, None]
    (facts,) = read_facts([run])
    commands = {record.path.stem: content.evaluation_command(facts, record) for record in facts.records}
    assert commands[old].endswith(f"decode.beam={DECODE['beam']}")
    assert "decode" not in commands[new]


def test_the_page_says_what_is_shown_if_that_is_not_the_best(run: Path) -> None:
    kept(run)
    plain = kept(run, checkpoint=other(run, weights="plain"))
    sentence = f"They are of <strong>{other(run)['name']}, plain weights</strong>, not of the best checkpoint"
    assert sentence not in build_report([run], attention=0).html
    page = build_report([run], plain, attention=0).html
    assert sentence in page
    assert page.count(f"{other(run)['name']}, plain weights</td>") == 1
    assert f"--checkpoints {other(run)['name']}" in page


def test_an_evaluation_can_be_asked_for(run: Path) -> None:
    names = [kept(run), kept(run, "valid", 1), kept(run, decode={**DECODE, "beam": 9}), kept(run, "test, typos", 2)]
    assert [shown(run, text=name).systems[0].record.path.stem for name in names] == names
    assert shown(run, text="valid").name == "valid"
    (facts,) = read_facts([run])
    assert content.evaluation_command(facts, read_records(run)[-1]).partition(" --ch")[0].endswith("test --robustness")


def test_each_text_is_named_once(run: Path) -> None:
    for more in ({}, {"checkpoint": other(run)}, {"decode": {**DECODE, "beam": 9}}):
        kept(run, **more)
    kept(run, "some.en", files=FILES)
    kept(run, "test, typos", 1)
    with pytest.raises(ConfigError, match="no evaluation is called nope; there are: test; test, typos$"):
        shown(run, text="nope")


def test_settings_that_are_the_runs_own_are_not_listed(run: Path) -> None:
    kept(run)
    kept(run, decode={**DECODE, "ensemble": ["/far/away/a", "b"]})
    rows = content.evaluations(read_facts([run]))["rows"]
    assert [row["decoding"] for row in rows] == ["float32, cpu", "ensemble a + b, float32, cpu"]


def test_scores_of_three_checkpoints_are_a_curve(run: Path, tmp_path: Path) -> None:
    """Of each kind of weights; other settings, and averages of checkpoints, are not part of it."""
    steps = [f"step-{number:08}" for number in (100, 200, 300)]
    for place, name in enumerate(steps):
        assert not list(by_checkpoint(read_facts([run])))
        kept(run, checkpoint={"name": name, "sha256": f"a{place}"})
        kept(run, checkpoint={"name": name, "sha256": f"b{place}", "weights": "plain"})
    kept(run, checkpoint={"name": steps[1], "sha256": "a1"}, decode={**DECODE, "beam": 9})
    kept(run, checkpoint={"name": "average-00000300", "sha256": "c"})
    file = run / "evaluations/test.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "ter": {"score": 5.0, "signature": ""}}))  # once
    ((_, found),) = checkpoint_curves(read_facts([run]))
    assert [(each.plain, [step for step, _ in each.scores["BLEU"]]) for each in found] == [
        (False, [100, 200, 300]),
        (True, [100, 200, 300]),
    ]
    pictures = list(by_checkpoint(read_facts([run, copied(run, tmp_path / "second")])))
    assert [each.title for each in pictures] == ["BLEU of test by checkpoint", "chrF of test by checkpoint"]
    assert pictures[0].summary.count("at update 300") == 4
    assert "second plain weights from" in pictures[0].summary
    assert "BLEU of test by checkpoint" in build_report([run], attention=0).html


def test_n_is_the_number_of_what_a_score_is_over(run: Path) -> None:
    pairs = [Pair("a 1 2 3 b", "a 1 2 3 b"), Pair("c d e f", "c d e f")]
    keep(run, pairs, ["a 1 2 3 b", "c d e f"])
    pictures = {each.name: each.summary for each, _ in breakdown(shown(run))}
    assert pictures["breakdown-numbers"].startswith("chrF: with  (n=1) 100.0; without  (n=1) 100.0")
