"""A report is one page that loads nothing, shows text as text, and is the same each time, whatever the run is like."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support.reports import STRANGE, copied, keep, pairs_and_translations

pytest.importorskip("matplotlib", reason="the report needs the extra [report]")

from transformer.data.corpus import Pair
from transformer.errors import CheckpointError, ConfigError
from transformer.evaluation.model_card import data_in_card
from transformer.evaluation.report import build, maps, rows
from transformer.evaluation.report.build import Report, build_report
from transformer.evaluation.report.page import render
from transformer.evaluation.report.style import matplotlib
from transformer.evaluation.report.svg import as_bytes
from transformer.evaluation.report.translated import Shown
from transformer.runs.run import open_run


class Page(html.parser.HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, list[str]] = {"script": [], "style": []}
        self.text = ""
        self._inside = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        self.text += " "
        if tag in self.scripts:
            self.scripts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in self.scripts:
            self.scripts[self._inside][-1] += data
        else:
            self.text += data


@pytest.fixture
def one(one_run: Report) -> str:
    return one_run.html


@pytest.fixture
def two(two_runs: Report) -> str:
    return two_runs.html


@pytest.fixture
def run(plain_run: Path, tmp_path: Path) -> Path:
    return copied(plain_run, tmp_path / "copy")


def test_the_page_may_load_nothing_and_run_only_its_own_script(one: str, two: str) -> None:
    for source in (one, two):
        page = Page(source)
        (policy,) = [attrs["content"] for _, attrs in page.elements if attrs.get("http-equiv")]
        (style,), (_, script) = page.scripts["style"], page.scripts["script"]
        for text, kind in ((style, "style-src"), (script, "script-src")):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"{kind} 'sha256-{digest}'" in str(policy)
        assert str(policy).startswith("default-src 'none';")
        assert "unsafe" not in str(policy)
        for tag, attrs in page.elements:
            assert tag not in (
                "img",
                "iframe",
                "object",
                "embed",
                "form",
                "base",
                "b",
                "use" if "href" not in attrs else "",
            )
            assert not [name for name in attrs if name == "style" or name.startswith("on") or name == "src"]
            link = attrs.get("href") or attrs.get("xlink:href") or "#"
            assert link.startswith("#") or (tag, link) == ("link", "data:,")
        assert source.count("</script>") == 2


def test_text_is_shown_as_text(one: str) -> None:
    text = Page(one).text
    for source, target in STRANGE[:2]:
        assert source in text
        assert target in text
    assert "nul␀ bell␇ esc␛[31m vier" in text
    assert "line\u2028separator" in text
    assert "… (6,000 more characters)" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", one)


def test_what_filters_dropped_and_where_text_came_from_is_shown(run: Path) -> None:
    report = json.loads((run / "data.json").read_text())
    report["corpora"][0]["digits differ"] = 1234
    report["examples"] = [{"corpus": "Books", "filter": "digits differ", "pairs": [["<b>1", "esc\x1b 2"], ["odd"]]}, 7]
    report["origins"] = [{"corpus": "OPUS Books", "address": "http://x/y.zip", "licence": "<i>CC0", "sha256": "f" * 64}]
    (run / "data.json").write_text(json.dumps(report))
    text = " ".join(Page(build_report([run]).html).text.split())
    assert "digits differ" in text
    assert "1,234" in text
    for shown in ("Books digits differ <b>1 esc␛ 2", "OPUS Books http://x/y.zip , <i>CC0 , " + "f" * 64):
        assert shown.replace(" ", "") in text.replace(" ", "")
    card = data_in_card(open_run(run))
    assert f"- OPUS Books: http://x/y.zip, licence: `<i>CC0`, SHA-256 `{'f' * 64}`" in card
    assert "| digits differ |" in card


def test_lone_surrogates_anywhere_can_be_shown(one: str) -> None:
    """Files keep none, but names of files and settings may have them."""
    page = render({**_smallest(), "title": "a\ud800b", "source": "\udfff"})
    assert "a\ufffdb" in page
    page.encode()


def _smallest() -> dict[str, Any]:
    empty: list[Any] = []
    names = "breakdown health differences extremes rows attention_data attention labels evaluate training marks data"
    several = {name: empty for name in f"{names} settings reproduce notes sections".split()}  # noqa: C420, SIM905
    plain = {"title": "", "source": "", "target": "", "model": "", "several": False, "paired": None, "text": None}
    glance = [{"name": "x", "figures": {}}]
    scores = {"evaluations": {"rows": empty, "labels": empty, "signatures": empty}}
    systems = {"names": empty, "numbers": empty, "files": empty, "sentences": 0, "attention_note": ""}
    pictures = {"pictures": {"training": empty, "scores": empty}}
    return {**several, **plain, **scores, **systems, **pictures, "glance": glance, "unusual": empty}


def test_the_same_runs_give_the_same_page_and_figures(evaluated: Path, other: Path, two: str, tmp_path: Path) -> None:
    again = build_report([evaluated, other])
    assert again.html == two
    build.write_figures(again, tmp_path)
    for picture in again.pictures:
        assert (tmp_path / f"{picture.name}.svg").read_bytes() == as_bytes(picture.figure, "svg")
    files = {path.name for path in tmp_path.iterdir()}
    assert {"loss.svg", "loss.png", "score-bleu.svg", "sentences.png", "breakdown-source_length.svg"} <= files
    assert len(files) == 2 * len(again.pictures)


def test_what_the_issue_of_a_report_is(one: str) -> None:
    text = " ".join(Page(one).text.split())
    for wanted in (
        "60 pairs of sentences",  # what it was trained on
        "left out by data.max_length: ",
        "12 of 12 updates",
        "1 update was skipped (update 3); 1 spike of the loss (update 5); 1 restart (update 6); rolled back",
        "rolled back from update 8 to 6",
        "nrefs:1|case:mixed|eff:no|tok:13a",
        "Best sentences by chrF",
        "Worst sentences by chrF",
        "All 48 sentences of test",
        "model.encoder_layers 2",
        "trained with transformer ",
        "evaluated with transformer 0.4.0 on cpu",
        "transformer evaluate ",
        "--split test --checkpoint step-",
    ):
        assert wanted in text, wanted
    labels = [attrs.get("aria-label") or "" for tag, attrs in Page(one).elements if tag == "svg"]
    for title in ("Loss", "Validation BLEU", "Learning rate", "Gradient norm", "Speed", "Word alignment"):
        assert any(label.startswith(title) for label in labels), title
    assert any(
        re.match(r"Loss\. training from [\d.]+ at update 2 to [\d.]+ at update 12; validation", x) for x in labels
    )


def test_several_runs_are_side_by_side(two: str) -> None:
    text = " ".join(Page(two).text.split())
    assert "2 runs side by side" in text
    assert "Paired tests on test" in text
    assert "good & <b>" in text
    assert "$_worse_" in text
    assert "Where the runs differ most" in text
    assert two.count("<mark>") > 5


def test_the_attention_in_the_page_is_that_of_the_runs(two: str) -> None:
    runs = json.loads(Page(two).scripts["script"][0])
    assert [len(each) for each in runs] == [6, 6]
    assert [each["line"] for each in runs[0]] == [each["line"] for each in runs[1]]
    assert runs[0][0]["encoder"]["shape"][:2] == [2, 2]


def test_asked_for_sentences_are_shown_and_others_refused(evaluated: Path) -> None:
    found = json.loads(Page(build_report([evaluated], lines=[20, 3]).html).scripts["script"][0])
    assert [each["line"] for each in found[0]] == [20, 3]
    with pytest.raises(ConfigError, match="there is no sentence 49: test has 48 sentences"):
        build_report([evaluated], lines=[49])


def test_what_is_too_much_is_left_out_and_said(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "MOST_BYTES", 4000)
    monkeypatch.setattr(rows, "MOST_BYTES", 20_000)
    text = " ".join(Page(build_report([evaluated]).html).text.split())
    assert re.search(r"the attention over \d sentences is left out, to keep the page light", text)
    found = re.search(r"(\d+) of 48 sentences of test, evenly spread", text)
    assert found
    assert 10 < int(found[1]) < 48


def test_a_page_that_is_too_large_gets_fewer_sentences(
    evaluated: Path, one: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = len(one.encode()) - 2000
    monkeypatch.setattr(build, "LARGEST", most)
    page = build_report([evaluated]).html
    assert len(page.encode()) <= most
    assert "of 48 sentences of test, evenly spread" in " ".join(Page(page).text.split())


def test_a_run_without_an_evaluation_names_the_command(run: Path) -> None:
    text = Page(build_report([run]).html).text
    assert "No text has been evaluated. To do so:" in text
    assert f"transformer evaluate {run}" in text
    assert "Training is not finished" not in text


def test_runs_of_different_texts_are_said_to_have_none_in_common(evaluated: Path, run: Path) -> None:
    pairs, translations = pairs_and_translations(8)
    keep(run, pairs, translations, "valid")
    text = Page(build_report([evaluated, run]).html).text
    assert "test has not been evaluated. To do so:" in text
    assert "Paired tests" not in text


def test_a_text_can_be_chosen(evaluated: Path, tmp_path: Path) -> None:
    run = copied(evaluated, tmp_path / "two texts")
    keep(run, *pairs_and_translations(12), "valid")
    assert "All 48 sentences" in Page(build_report([run], attention=0).html).text
    assert "All 12 sentences" in Page(build_report([run], "valid", attention=0).html).text
    with pytest.raises(ConfigError, match="no evaluation is called nothing; there are: test; valid"):
        build_report([run], "nothing")


def stopped(run: Path) -> str:
    for name in ("finished", "best"):
        (run / name).unlink()
    (run / "data.json").write_text("[]")
    return "data.json cannot be read. Training is not finished"


def without_checkpoints(run: Path) -> str:
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    for name in ("best", "last", "finished", "metrics.jsonl"):
        (run / name).unlink()
    return "There is no checkpoint yet"


def damaged(run: Path) -> str:
    (run / "data.json").write_text('{"corpora": [3, {"name": 7, "read": "x"}], "pairs": "many", "lengths": 5}')
    (run / "metrics.jsonl").write_bytes(b"\xff\n{}\n")
    (run / "finished").write_bytes(b"\xff")
    for state in run.glob("checkpoints/*/state.json"):
        state.write_text("[]")
    (run / "evaluations/test.json").write_text("{")
    (run / "evaluations/old.json").write_text('{"name": "old", "bleu": {"score": 1}, "sentences": 0}')
    return "2 of the evaluations cannot be read"


def without_text(run: Path) -> str:
    shutil.rmtree(run / "evaluations/texts")
    return "The evaluations are of a version that kept no text"


def without_weights(run: Path) -> str:
    for weights in run.glob("checkpoints/*/model.safetensors"):
        weights.unlink()
    return "no attention can be shown: no checkpoint in"


def other_weights(run: Path) -> str:
    file = run / "evaluations/test.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "checkpoint": {"name": "../../etc", "sha256": 5}}))
    return "the checkpoint that translated the text is no more"


def little(run: Path) -> str:
    """A record has only what version 0.2 kept."""
    file = run / "evaluations/test.json"
    values = json.loads(file.read_text())
    kept = {key: values[key] for key in ("name", "bleu", "chrf", "sentences", "seconds", "precision")}
    file.write_text(json.dumps(kept))
    return "48"


def hostile(run: Path) -> str:
    """A stranger's record has other metrics, types and names, and the name of a picture."""
    file = run / "evaluations/test.json"
    evil = {"score": 1.5, "signature": "<script>alert(1)</script>", "confidence": "<b>", "figures": 3}
    values = json.loads(file.read_text())
    odd = {"svg": evil, "<i>": evil, "bleu": {**values["bleu"], "confidence": "wide", "signature": [1]}, "chrf": 5}
    odd |= {
        "decode": {"beam": ["<b>"], "x": None},
        "seconds": 0,
        "device": {"svg": "<b>"},
        "precision": None,
        "time": 3,
    }
    file.write_text(json.dumps({**values, **odd}).replace("1.5", "NaN", 1))
    report = {"corpora": [{"name": "<b>", "svg": 10**80, "read": True}], "lengths": {"svg": 4}, "pairs": 1e400}
    (run / "data.json").write_text(json.dumps(report))
    for state in run.glob("checkpoints/*/state.json"):
        state.write_text(
            json.dumps({"format": 1, "versions": {"svg": "<b>"}, "hardware": ["<b>"], "progress": {"step": "<"}})
        )
    return "<script>alert(1)</script>"


CASES = [stopped, without_checkpoints, damaged, without_text, without_weights, other_weights, little, hostile]


@pytest.mark.parametrize("harm", CASES, ids=lambda harm: harm.__name__)
def test_a_run_in_any_state_gives_a_page(evaluated: Path, tmp_path: Path, harm: Any) -> None:
    run = copied(evaluated, tmp_path / "run")
    sentence = harm(run)
    page = build_report([run])
    assert sentence in " ".join(Page(page.html).text.split())
    assert not {"b", "i"} & {tag for tag, attrs in Page(page.html).elements if "class" not in attrs}


def test_a_run_of_version_0_1_gives_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Path(__file__).parents[2] / "runs/old_runs/version-0.1.0.tar.xz"
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    runs = [path.parent for path in sorted(tmp_path.rglob("config.yaml"))]
    assert len(runs) >= 2
    text = Page(build_report(runs, attention=1).html).text
    assert "trained with" in text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a run directory"):
        build_report([tmp_path])


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_a_missing_extra_is_one_sentence(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    wanted = {"matplotlib": "draws its charts with matplotlib: pip install", "jinja2": "needs the package jinja2: pip"}
    with pytest.raises(ConfigError, match=wanted[package]):
        matplotlib() if package == "matplotlib" else render(_smallest())


@pytest.mark.slow
def test_3000_sentences_and_long_curves_are_under_2_mb(run: Path) -> None:
    """Sentences as long as those of news, two runs, and a log line for each of 100,000 updates."""
    pairs = [
        Pair(f"{i} " + "some words of news " * 8, f"{i} " + "einige Worte der Nachrichten " * 6) for i in range(3000)
    ]
    keep(run, pairs, [pair.target[5:] for pair in pairs])
    line = {"kind": "train", "loss": 3.0, "rate": 1e-3, "grad_norm": 1.0, "tokens_per_second": 1e4}
    with (run / "metrics.jsonl").open("w") as file:
        for step in range(1, 100_001):
            file.write(json.dumps({**line, "step": step, "loss": 9 / step + step % 7}) + "\n")
    worse = copied(run, run.parent / "worse")
    page = build_report([run, worse]).html
    assert 300_000 < len(page.encode()) < 2_000_000
    assert re.search(r"[\d,]+ of 3,000 sentences", Page(page).text)


def test_rows_are_evenly_spread() -> None:
    class System:
        def __init__(self, texts: list[str]) -> None:
            self.record = type("R", (), {"translations": texts})()
            self.scores = [50.0] * len(texts)

    pairs = [Pair("x" * 100, "y" * 100) for _ in range(1000)]
    shown = Shown("test", pairs, [System(["z" * 100] * 1000)], None, [])  # type: ignore[list-item]
    found = rows.rows(shown, 100_000)
    lines = [row.line for row in found]
    assert sum(row.size for row in found) <= 100_000
    assert 150 < len(lines) < 300
    assert {b - a for a, b in zip(lines, lines[1:], strict=False)} <= {3, 4, 5, 6}
    assert len(rows.rows(shown)) == 1000
