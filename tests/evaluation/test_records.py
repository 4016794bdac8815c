"""Each evaluation is kept: another text, checkpoint, setting, device or version replaces nothing."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from transformer.config import Config
from transformer.data.corpus import Pair, ReferencedPair
from transformer.data.prepare import read_all_pairs
from transformer.data.tokenizer import Tokenizer
from transformer.evaluation.evaluate import Evaluation
from transformer.evaluation.metrics import score_corpus
from transformer.evaluation.model_card import write_model_card
from transformer.evaluation.records import keep_evaluation, read_records
from transformer.evaluation.texts import text_digest
from transformer.runs.run import Run, write_run
from transformer.system.escaping import HIDDEN

ORIGIN = {
    "text": {"sha256": "a" * 64, "files": []},
    "languages": ["en", "de"],
    "checkpoint": {"name": "step-00000600", "sha256": "c" * 64},
    "decode": {"beam": 4},
    "max_length": 256,
    "device": "cpu",
    "version": "0.2.0",
}
TEXTS = ["eins zwei drei vier", "fünf"]
FIRST = Evaluation("test", TEXTS, score_corpus(TEXTS, TEXTS), 1.0, "float32", ORIGIN)
CHANGES: dict[str, Any] = {
    "text": {"sha256": "b" * 64, "files": []},
    "languages": ["en", "nl"],
    "checkpoint": {"name": "average-00000600", "sha256": "c" * 64},
    "decode": {"beam": 5},
    "max_length": 30,
    "device": "cuda",
    "version": "0.3.0",
}
OTHERS = [replace(FIRST, origin={**ORIGIN, key: value}) for key, value in CHANGES.items()] + [
    replace(FIRST, origin={**ORIGIN, "checkpoint": {"name": "step-00000600", "sha256": "d" * 64}}),
    replace(FIRST, precision="int8"),
    replace(FIRST, scores=score_corpus(TEXTS, TEXTS, "zh")),
]


@pytest.fixture
def run(tiny: Config, tok: Tokenizer, tmp_path: Path) -> Run:
    """Return a run without checkpoints."""
    return write_run(tmp_path / "run", tiny, tok)


def content(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run.path / "evaluations").iterdir() if path.name != ".lock"}


def test_no_evaluation_replaces_another(run: Run) -> None:
    for count, each in enumerate([FIRST, *OTHERS], 1):
        before = content(run) if count > 1 else {}
        path = keep_evaluation(run, each)
        assert path is not None
        kept = json.loads(path.with_suffix(".json").read_text())
        assert datetime.fromisoformat(kept.pop("time")).tzinfo is not None
        assert kept == each.as_json()
        assert path.read_text().splitlines() == TEXTS
        assert len(content(run)) == 2 * count
        assert before.items() <= content(run).items()
    assert (run.path / "evaluations" / "test.json").exists()


def test_evaluations_at_the_same_time_are_all_kept(run: Run) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda each: keep_evaluation(run, each), [FIRST, *OTHERS]))
    assert None not in paths
    assert len(set(paths)) == 1 + len(OTHERS)
    assert len(content(run)) == 2 * len(paths)
    assert (run.path / "README.md").read_text().count("| BLEU ") == len(paths)


def test_the_same_evaluation_replaces_its_own_record(run: Run) -> None:
    for each in (FIRST, OTHERS[0]):
        keep_evaluation(run, each)
        before = content(run)
        path = keep_evaluation(run, replace(each, seconds=2.0))
        assert path is not None
        assert json.loads(path.with_suffix(".json").read_text())["seconds"] == 2.0
        assert content(run).keys() == before.keys()


def test_what_is_no_evaluation_is_not_replaced(run: Run) -> None:
    """It may be a record of version 0.2.0, which does not say what it is of, or a file of the user."""
    folder = run.path / "evaluations"
    folder.mkdir()
    old = {key: value for key, value in FIRST.as_json().items() if key not in ORIGIN or key == "decode"}
    (folder / "test.json").write_text(json.dumps(old))
    (folder / "test.txt").write_text("old\n")
    (folder / "mine.txt").write_text("mine\n")
    (folder / "list.json").write_text("[]")
    before = content(run)
    for name in ("test", "mine", "list"):
        assert keep_evaluation(run, replace(FIRST, name=name)) is not None
    assert before.items() <= content(run).items()
    assert len(content(run)) == len(before) + 6


def test_the_card_tells_evaluations_apart(run: Run) -> None:
    for each in (FIRST, *OTHERS):
        keep_evaluation(run, each)
    rows = [line for line in (run.path / "README.md").read_text().splitlines() if "BLEU" in line]
    assert len(set(rows)) == len(rows) == 1 + len(OTHERS)
    assert any("beam 5" in row for row in rows)
    assert any("average-00000600" in row for row in rows)
    assert all(row.replace("\\|", "").count("|") == 7 for row in rows)


def test_control_characters_of_strangers_are_escaped_in_the_card(run: Run) -> None:
    origin = {"corpus": "OPUS \x1b[2J", "address": "http://x/\u202e", "licence": "free\x07 \x9b", "sha256": "12"}
    counts = {"name": "a\x1b]0;x\x07|b", "read": 1}
    report = {"corpora": [counts], "pairs": 1, "duplicates": 0, "overlap": 0, "origins": [origin]}
    (run.path / "data.json").write_text(json.dumps(report))
    write_model_card(run)
    card = (run.path / "README.md").read_text()
    assert not HIDDEN.search(card)
    assert "licence: `free\\x07 \\u009b`" in card
    assert "| a\\x1b]0;x\\x07\\|b | 1 |" in card


def test_a_card_with_a_record_of_version_0_2_0(run: Run) -> None:
    """It has neither text nor checkpoint."""
    folder = run.path / "evaluations"
    folder.mkdir()
    old = {key: value for key, value in FIRST.as_json().items() if key not in ORIGIN or key == "decode"}
    (folder / "test.json").write_text(json.dumps(old))
    write_model_card(run)
    assert "| test |  | float32 | 2 | BLEU 100.00 |" in (run.path / "README.md").read_text()


@pytest.mark.parametrize(
    "name", ["wmt14/full", "../up", "a\nb", "a\\b|c", ".hidden", "...", "ü" * 300, "\udcff", "CON: x"]
)
def test_a_text_of_any_name(run: Run, name: str) -> None:
    path = keep_evaluation(run, replace(FIRST, name=name))
    assert path is not None
    assert path.parent == run.path / "evaluations"
    assert json.loads(path.with_suffix(".json").read_text())["name"] == name
    rows = [line for line in (run.path / "README.md").read_bytes().splitlines() if b"BLEU" in line]
    assert len(rows) == 1
    assert rows[0].replace(b"\\|", b"").count(b"|") == 7


PAIRS = [Pair("one two three four", TEXTS[0]), ReferencedPair("five\u2028\x0b\r", "fünf\r", "", "5")]


def with_text(pairs: list[Pair]) -> Evaluation:
    text = {"sha256": text_digest(pairs), "files": []}
    return replace(FIRST, pairs=pairs, origin={**ORIGIN, "text": text}, translations=[TEXTS[0], "fünf\u2028\r"])


def test_records_have_what_was_kept(run: Run) -> None:
    """Text with any character in it and any number of references comes back; the text is there once."""
    first = with_text(PAIRS)
    keep_evaluation(run, first)
    keep_evaluation(run, replace(first, precision="int8"))
    keep_evaluation(run, FIRST)
    records = read_records(run.path)
    assert len(records) == 3
    for record in records:
        assert record.values["bleu"]["score"] == FIRST.scores["bleu"].score
        if record.values["text"] == ORIGIN["text"]:
            assert record.pairs is None
            assert record.translations == TEXTS
        else:
            assert record.pairs == PAIRS
            assert [pair.references for pair in record.pairs or ()] == [pair.references for pair in PAIRS]
            assert record.translations == first.translations
    assert len(list((run.path / "evaluations" / "texts").iterdir())) == 1


def test_records_are_read_in_the_order_of_time(run: Run) -> None:
    folder = run.path / "evaluations"
    for name, time in (("a", "2026-03-01T00:00:00+00:00"), ("b", "2026-01-01T00:00:00+00:00"), ("c", "")):
        path = keep_evaluation(run, replace(FIRST, name=name))
        assert path is not None
        values = json.loads(path.with_suffix(".json").read_text())
        (folder / f"{name}.json").write_text(json.dumps({**values, "time": time}))
    assert [record.values["name"] for record in read_records(run.path)] == ["c", "b", "a"]
    assert read_records(run.path / "nothing") == []


def test_damaged_records_are_skipped_with_a_warning(run: Run, said: list[str], tmp_path: Path) -> None:
    folder = run.path / "evaluations"
    for name in ("good", "short", "gone", "linked"):
        keep_evaluation(run, replace(FIRST, name=name))
    (folder / "short.txt").write_text("one\n")
    (folder / "gone.txt").unlink()
    (tmp_path / "secret").write_text("1\n2\n")
    (folder / "linked.txt").unlink()
    (folder / "linked.txt").symlink_to(tmp_path / "secret")
    for name, text in {"list": "[]", "deep": "[" * 99999, "number": '{"bleu": 1}', "empty": "", "none": "{}"}.items():
        (folder / f"{name}.json").write_text(text)
    said.clear()
    assert [record.path.stem for record in read_records(run.path)] == ["good"]
    assert len([line for line in said if "is no evaluation that can be read" in line]) == 8


@pytest.mark.parametrize("damage", ["", "[]\n", '{"source": 1, "references": ["a"]}\n' * 2, "cut", "deleted"])
def test_a_damaged_text_is_not_taken_for_the_right_one(run: Run, said: list[str], damage: str) -> None:
    keep_evaluation(run, with_text(PAIRS))
    (file,) = (run.path / "evaluations" / "texts").iterdir()
    if damage == "deleted":
        file.unlink()
    else:
        file.write_text(file.read_text().replace("two", "2") if damage == "cut" else damage)
    (record,) = read_records(run.path)
    assert record.pairs is None
    assert record.translations[0] == TEXTS[0]
    assert (damage in ("", "deleted")) != any(str(file) in line for line in said)


def test_the_text_of_an_old_record_is_read_again_if_it_is_the_same(run: Run, tmp_path: Path) -> None:
    """Versions up to 0.4 kept the names of the files only; a split of the run has none."""
    (tmp_path / "a").write_text("one\ntwo\n")
    (tmp_path / "b").write_text("eins\nzwei\n")
    pairs = [Pair("one", "eins"), Pair("two", "zwei")]
    text = {"sha256": text_digest(pairs), "files": [str(tmp_path / "a"), str(tmp_path / "b")]}
    keep_evaluation(run, replace(FIRST, origin={**ORIGIN, "text": text}))
    assert run.config.data.test is not None
    assert run.config.data.test.files is not None
    split = read_all_pairs(run.config.data.test, run.config.data)
    origin = {**ORIGIN, "text": {"sha256": text_digest(split), "files": []}}
    keep_evaluation(run, replace(FIRST, origin=origin, translations=["x"] * len(split)))
    by_length = {len(record.translations): record.pairs for record in read_records(run.path)}
    assert by_length == {2: pairs, len(split): split}
    (tmp_path / "b").write_text("eins\ndrei\n")
    Path(run.config.data.test.files[0]).unlink()
    assert [record.pairs for record in read_records(run.path)] == [None, None]


def test_evaluations_that_cannot_be_written_are_said(run: Run, said: list[str]) -> None:
    (run.path / "evaluations").write_text("a file where the folder should be")
    assert keep_evaluation(run, FIRST) is None
    assert any("translations and scores cannot be saved in" in line for line in said)


def test_a_card_that_cannot_be_written_loses_no_evaluation(run: Run, said: list[str]) -> None:
    (run.path / "README.md").mkdir()
    path = keep_evaluation(run, FIRST)
    assert path is not None
    assert path.exists()
    assert any("README.md was not written: " in line for line in said)
