"""Several processes translate and evaluate: the same result as one process, written once."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.command import main
from support.together import Group
from support.toy import toy_pairs

from transformer.decoding.shared import shares


def run_together(count: int, folder: Path, *args: object, stdin: bytes = b"", **env: str) -> list[Any]:
    """Return exit code, standard output and standard error of a command in each of several processes."""

    def work(rank: int) -> Any:
        code, out, err = main(*args, stdin=stdin if rank == 0 else b"", checked=False)
        return [code, out.decode(), err]

    return Group(count, folder, work, **env).results()


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("lengths", [[], [5], [1, 1, 1, 1, 1, 1], [100, 1, 1, 1], [1, 1, 1, 100], [0, 0, 0], [3] * 100])
def test_shares_cover_all_lines_and_are_about_equal(lengths: list[int], count: int) -> None:
    parts = shares(lengths, count)
    assert [i for part in parts for i in range(len(lengths))[part]] == list(range(len(lengths)))
    assert len(parts) == count
    most, whole = max((sum(lengths[part]) for part in parts), default=0), sum(lengths)
    assert most <= whole / count + 2 * max(lengths, default=0) + count


def assert_same_output(one: str, other: str) -> None:
    """Assert that two outputs are the same. Scores may differ by rounding, which depends on the batches."""
    number = re.compile(r"-?\d+\.\d+")
    assert number.sub("", one) == number.sub("", other)
    assert list(map(float, number.findall(one))) == pytest.approx(list(map(float, number.findall(other))), abs=1e-4)


@pytest.mark.parametrize("options", [["--scores", "--tags"], ["decode.sampling=true", "--nbest", "2", "--json"]])
def test_several_processes_translate_as_one_does(trained_run: Path, tmp_path: Path, options: list[str]) -> None:
    """Only the first reads the input, the prefixes and the pipe, and writes. An empty line stays empty."""
    lines = [pair.source for pair in toy_pairs(40, 5)]
    (tmp_path / "text").write_text("\n".join([*lines[:7], "", *lines[7:]]) + "\n")
    (tmp_path / "prefixes").write_text("\n" * 20 + "sechs \n" + "\n" * 20)
    command = ["translate", trained_run, *options, "--prefix", tmp_path / "prefixes", "--device", "cpu"]
    alone = main(*command, tmp_path / "text")
    for count in (2, 3):
        (code, out, _), *others = run_together(count, tmp_path, *command, tmp_path / "text", "-o", tmp_path / "out")
        assert code == 0
        assert_same_output((tmp_path / "out").read_text(), alone.out.decode())
        assert all(other[:2] == [0, ""] for other in others)
        assert out == ""
    piped = run_together(2, tmp_path, *command, stdin=(tmp_path / "text").read_bytes())
    assert_same_output(piped[0][1], alone.out.decode())
    assert piped[1][1] == ""


def test_several_processes_evaluate_as_one_does(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    command = ["evaluate", run, "--device", "cpu", "--json", "decode.beam=2"]
    alone = json.loads(main(*command).out)
    for options in (["--again"], []):  # which translate anew, and score what was translated
        (code, out, err), *others = run_together(3, tmp_path, *command, *options)
        assert code == 0, err
        found = json.loads(out)
        assert ("translated" in found) == (not options)
        assert {key: found[key] for key in alone if "second" not in key} == {
            key: value for key, value in alone.items() if "second" not in key
        }
        assert all(other[:2] == [0, ""] for other in others)
        assert len(list((run / "evaluations").glob("*.json"))) == 1


def test_several_processes_evaluate_several_checkpoints(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    names = [path.name for path in sorted((run / "checkpoints").iterdir())[-2:]]
    command = ["evaluate", run, "--device", "cpu", "--checkpoints", ",".join(names), "decode.beam=1", "--json"]
    (code, out, err), (_, silent, _) = run_together(2, tmp_path, *command)
    assert code == 0, err
    assert silent == ""
    alone = [json.loads(line) for line in main(*command, "--again").out.splitlines()]
    found = [json.loads(line) for line in out.splitlines()]
    assert [(each["checkpoint"], each["bleu"]) for each in found] == [
        (each["checkpoint"], each["bleu"]) for each in alone
    ]


def test_what_is_wrong_with_the_input_is_told_by_all(trained_run: Path, tmp_path: Path) -> None:
    first, second = run_together(2, tmp_path, "translate", trained_run, tmp_path / "missing", "--device", "cpu")
    assert first[0] == second[0] == 1
    assert "missing" in first[2]
    assert "the process with RANK 0 on" in second[2]
    assert second[2].rstrip().endswith("; run the same command again")


def test_other_weights_on_another_node_are_refused(trained_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained_run, copy)
    steps = sorted((copy / "checkpoints").iterdir())
    (copy / "best").write_text(steps[0].name + "\n")

    def work(rank: int) -> Any:
        return main("evaluate", copy if rank else trained_run, "--again", "--device", "cpu", checked=False).err

    for said in Group(2, tmp_path, work).results():
        assert "the processes differ in the weights: it is" in said
