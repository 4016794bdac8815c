"""The course of a training is read from its log, whatever is in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from transformer.evaluation.report.history import Event, read_history, thinned
from transformer.evaluation.report.text import printable, printable_tree


def write(folder: Path, *records: object) -> Path:
    lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in records]
    (folder / "metrics.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return folder


def record(step: int, loss: float | None, kind: str = "train") -> dict[str, object]:
    return {"kind": kind, "step": step, "loss": loss}


def test_values_become_curves(tmp_path: Path) -> None:
    found = read_history(write(tmp_path, record(2, 3.0), record(2, 2.5, "valid"), record(4, 2.0)))
    assert found.curves == {"train.loss": [(2, 3.0), (4, 2.0)], "valid.loss": [(2, 2.5)]}
    assert found.last("train.loss") == 2.0
    assert found.last("valid.bleu") is None


def test_updates_done_twice_count_once_and_the_roll_back_is_marked(tmp_path: Path) -> None:
    records = [record(2, 9.0), record(4, None), {"kind": "skipped", "step": 4, "pairs": [1]}]
    again = [record(2, 5.0), record(4, 4.0)]
    back = {"kind": "rolled_back", "step": 1, "from": 4}
    for name, all_records in {"old": [*records, *again], "new": [*records, back, *again]}.items():
        (tmp_path / name).mkdir()
        found = read_history(write(tmp_path / name, *all_records))
        assert found.curves["train.loss"] == [(2, 5.0), (4, 4.0)]
        assert [event.kind for event in found.events] == ["skipped", "rolled_back"]
        assert found.events[1] == Event("rolled_back", 4, 1 if name == "new" else 2)


def test_resuming_is_marked(tmp_path: Path) -> None:
    found = read_history(write(tmp_path, record(2, 9.0), {"kind": "resumed", "step": 2}, record(4, 1.0)))
    assert found.events == [Event("resumed", 2)]
    assert found.count("resumed") == 1


def test_damaged_lines_are_counted(tmp_path: Path) -> None:
    bad = [b"", b"{", b"[1]", b"[" * 100_000, b'{"kind": "train", "step": "x"}', b'{"kind": 3, "step": 1}', b"\xff\xfe"]
    bad += [b'{"kind": "train", "step": 1e400}', b'{"kind": "train", "step": -4, "loss": 1}', b"null"]
    wild = b'{"kind": "train", "step": 3, "loss": 1e400, "rate": NaN, "x": true, "y": [1], "z": 1' + b"0" * 200 + b"}"
    found = read_history(write(tmp_path, *bad, record(2, 1.0), wild))
    assert found.curves == {"train.loss": [(2, 1.0)]}
    assert found.unreadable == len(bad) - 1  # an empty line is none


def test_no_log_is_an_empty_history(tmp_path: Path) -> None:
    assert read_history(tmp_path).curves == {}
    (tmp_path / "metrics.jsonl").mkdir()
    assert read_history(tmp_path).unreadable == 1


def test_a_thinned_curve_keeps_its_ends_and_its_spikes() -> None:
    curve = [(i, 1.0) for i in range(100_000)]
    curve[70_001] = (70_001, 50.0)
    curve[20_002] = (20_002, -7.0)
    found = thinned(curve, 100)
    assert len(found) <= 100
    assert {curve[0], curve[-1], curve[70_001], curve[20_002]} <= set(found)
    assert found == sorted(found)
    assert thinned(curve[:100], 100) == curve[:100]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\x1b[2J\x7f", "a␀b␛[2J␡"),
        ("x\ud800y\x85z", "x\ufffdy\ufffdz"),
        ("\u202eevil\u2066", "\ufffdevil\ufffd"),
        ("tab\tnew\nline \u2028 שלום 👩‍👩‍👧", "tab\tnew\nline \u2028 שלום 👩‍👩‍👧"),
        ("a" * 3000, "a" * 2000 + "… (1,000 more characters)"),
    ],
)
def test_text_is_made_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    if len(text) < 2000:
        assert printable_tree({"a": [text, 1, None]}) == {"a": [shown, 1, None]}
    shown.encode()
