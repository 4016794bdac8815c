"""`transformer report`: where the page goes, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.command import last_line_has, main
from support.reports import copied, keep, pairs_and_translations

pytest.importorskip("matplotlib", reason="the report needs the extra [report]")


@pytest.fixture(scope="module")
def made(plain_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with an evaluation of a few sentences."""
    run = copied(plain_run, tmp_path_factory.mktemp("made") / "run")
    keep(run, *pairs_and_translations(6))
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of it; the working directory is beside it."""
    monkeypatch.chdir(tmp_path)
    return copied(made, tmp_path / "run")


def test_the_page_of_a_run_is_in_it_and_is_replaced(run: Path) -> None:
    outcome = main("report", run)
    assert outcome.code == 0, outcome.err
    page = run / "report.html"
    assert outcome.out.decode() == f"report written to {page}\n"
    first = page.read_bytes()
    assert first.startswith(b"<!doctype html>")
    older = first.replace(b"chrF", b"chrX")
    page.write_bytes(older)
    assert main("report", run, "-o", "-").out == first
    assert page.read_bytes() == older
    assert main("report", run).code == 0  # it is still a run
    assert page.read_bytes() == first


def test_the_page_of_several_runs_is_in_the_working_directory(run: Path, tmp_path: Path) -> None:
    other = copied(run, tmp_path / "other")
    outcome = main("report", run, other, "--figures", "papers/figures")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "report.html").is_file()
    figures = {path.name for path in (tmp_path / "papers/figures").iterdir()}
    assert {"loss.svg", "loss.png", "score-chrf.png"} <= figures
    assert "figures written to papers/figures" in outcome.err


def test_a_run_without_an_evaluation_is_evaluated_on_request(run: Path) -> None:
    for path in (run / "evaluations").glob("test.*"):
        path.unlink()
    assert main("report", run, "--evaluate", "--device", "cpu").code == 0
    assert (run / "evaluations/test.json").is_file()
    before = os.stat(run / "evaluations/test.json")
    assert "No text has been evaluated" not in (run / "report.html").read_text()
    assert main("report", run, "--evaluate").code == 0  # not again
    assert os.stat(run / "evaluations/test.json") == before


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("missing",), 1, "missing is not a run directory"),
        (("run", "run/../run"), 2, "run/../run is given twice"),
        (("run", "-o", "run/config.yaml"), 2, "is a file of run; write the report to another file"),
        (("run", "-o", "run/evaluations/test.json"), 2, "is a file of run; write the report to another file"),
        (("run", "-o", "no/such/folder/page.html"), 2, "the folder no/such/folder does not exist; make it, or choose"),
        (("run", "-o", "run"), 2, "run is a folder; give a file with -o"),
        (("run", "--text", "dev"), 2, "no evaluation is called dev; there are: test"),
        (("run", "--sentence", "7"), 2, "there is no sentence 7: test has 6 sentences"),
        (("run", "--figures", "run/config.yaml"), 1, "run/config.yaml is not a folder; give one for the figures"),
    ],
)
def test_mistakes_are_one_sentence(run: Path, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    outcome = main("report", *arguments)
    assert outcome.code == code, outcome.err
    assert last_line_has(sentence, outcome.err), outcome.err
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    "there",
    [
        b"weights",
        b"\0" * 5000,
        b"<!doctype html>\n<title>mine</title>",
        b'<!doctype html>\n<style></style><p>&lt;meta name="generator" content="transformer 0.5.0"&gt;',
        b'<meta name="generator" content="transformer ',
    ],
)
def test_only_an_older_report_is_replaced(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bytes
) -> None:
    """Neither a file of another run nor any other, and that is said before anything is evaluated or drawn."""
    other = copied(run, tmp_path / "other")
    monkeypatch.setattr("transformer.evaluation.report.build.build_report", None)
    for file in (tmp_path / "notes.txt", next(other.rglob("model.safetensors")), run / "report.html"):
        file.write_bytes(there)
        outcome = main("report", run, "--evaluate", *(() if file.parent == run else ("-o", file)))
        assert outcome.code == 2
        assert last_line_has(f"{file.name} exists and is no report; choose another name with -o", outcome.err)
        assert file.read_bytes() == there


def test_an_empty_file_and_a_device_are_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.html").touch()
    assert main("report", run, "-o", "empty.html").code == 0
    assert (tmp_path / "empty.html").read_bytes().startswith(b"<!doctype html>")
    assert main("report", run, "-o", os.devnull).code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_sentence(run: Path) -> None:
    run.chmod(0o500)
    outcome = main("report", run)
    run.chmod(0o700)
    assert outcome.code == 1
    assert last_line_has("Permission denied: .*report.html", outcome.err)


def test_a_missing_extra_is_named_before_anything_is_done(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    outcome = main("report", run, "--evaluate")
    assert outcome.code == 2
    assert last_line_has(
        r"draws its charts with matplotlib: pip install 'transformer-translation\[report\]'", outcome.err
    )
    assert not (run / "report.html").exists()
