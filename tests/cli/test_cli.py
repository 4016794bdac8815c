"""The command line: exit codes, one sentence for a mistake, as many lines out as in."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.command import main
from support.toy import toy_pairs, write_pairs

import transformer
from transformer import config_file
from transformer.cli import main as cli
from transformer.cli.commands import COMMANDS
from transformer.config import Config

COMMAND = [sys.executable, "-m", "transformer"]


def run(*args: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""}
    return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, check=False, env=environment, **options)


def call(*args: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a command in this process."""
    code = cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return code, out, err


def test_help_is_quick_and_needs_no_torch() -> None:
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        done = run("--help")
        seconds.append(time.perf_counter() - started)
        assert done.returncode == 0
        assert b"translate" in done.stdout
    assert min(seconds) < 0.3
    code = "import sys; from transformer.cli import main; main.parser(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "transformer.cli.translate" in loaded
    assert not {"torch", "numpy", "yaml", "sentencepiece", "sacrebleu", "datasets", "tqdm"} & set(loaded)


def test_a_command_is_one_file_and_one_entry_in_the_table() -> None:
    folder = Path(cli.__file__).parent
    shared = {"__init__", "main", "commands", "arguments", "output", "terminal"}
    assert {path.stem for path in folder.glob("*.py")} - shared == set(COMMANDS)
    for name in shared - {"commands"}:
        text = (folder / f"{name}.py").read_text(encoding="utf-8")
        assert not [each for each in COMMANDS if re.search(rf"(\.|['\"]){each}\b", text)], name


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (
            ["train", "none.yaml"],
            2,
            "transformer train: cannot read the configuration none.yaml: No such file or directory",
        ),
        (["translate", "nowhere"], 1, "transformer translate: nowhere is not a run directory: no such directory"),
        (["info", "nowhere"], 1, "transformer info: nowhere is not a run directory: no such directory"),
        (["translate", "nowhere", "--device", "quantum"], 2, "unknown device 'quantum'; use auto, cpu, cuda or cuda:N"),
        (
            ["translate", "nowhere", "a", "b"],
            2,
            "transformer translate: more than one input file: 'a' and 'b'; translate one at a time",
        ),
        (
            ["evaluate", "nowhere", "--source", "x"],
            2,
            "transformer evaluate: --source and --reference must be given together",
        ),
        (["score", "x", "--source", "none", "--target", "none"], 1, "transformer score: no such file: none"),
    ],
)
def test_mistakes_are_one_sentence(
    args: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found, out, err = call(*args, capsys=capsys)
    assert (found, out) == (code, "")
    assert err.count("\n") == 1
    assert sentence in err


@pytest.mark.parametrize("args", [["fly"], [], ["train"], ["average", "x", "--last", "0"], ["info", "x", "a.b=1"]])
def test_wrong_usage_is_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(args)
    assert caught.value.code == 2


def test_an_unknown_option_shows_the_usage_of_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["tune", "run", "--split", "test"])
    assert caught.value.code == 2
    usage, _, error = capsys.readouterr().err.partition("transformer tune: error: ")
    assert "--length-penalty" in usage
    assert error == "unrecognized arguments: --split\n"


def test_missing_cuda_is_reported(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    code, _, err = call("evaluate", trained_run, "--device", "cuda", capsys=capsys)
    assert code == 2
    assert "device cuda is not available: " in err


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["translate", "--device", "mps"], 2, "device mps is not supported; use cpu or cuda"),
        (
            ["translate", "train.seed=2"],
            2,
            "train.seed=2 cannot be changed after training; only decode.* and data.* can be set here",
        ),
        (
            ["evaluate", "--source", "x", "--reference", "x", "--testset", "wmt14/full"],
            2,
            "--testset and --source exclude each other; give one",
        ),
        (
            ["evaluate", "data.test=null"],
            1,
            "this run has no data.test; give --source and --reference, or --testset",
        ),
    ],
)
def test_mistakes_about_a_run(
    args: list[str], code: int, sentence: str, trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *rest = args
    assert call(command, trained_run, *rest, capsys=capsys) == (code, "", f"transformer {command}: {sentence}\n")


def test_unknown_keys_exit_2(tiny_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call("train", tiny_file, "train.max_step=3", capsys=capsys)
    assert (code, err) == (
        2,
        "transformer train: unknown key train.max_step; did you mean train.max_steps? (command line)\n",
    )


def test_print_config_loads_again(tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call("train", tiny_file, "--print-config", "model.width=64", capsys=capsys)
    (tmp_path / "again.yaml").write_text(out)
    assert (code, call("train", tmp_path / "again.yaml", "--print-config", capsys=capsys)[1]) == (0, out)
    assert "width: 64" in out


def test_dry_run(tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call("train", tiny_file, "--dry-run", "--run", tmp_path / "run", capsys=capsys)
    assert code == 0
    assert "parameters" in out
    assert not (tmp_path / "run").exists()


@pytest.fixture
def whole_path(tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    code, _, err = call("train", tiny_file, "--run", tmp_path / "run", capsys=capsys)
    assert code == 0
    assert "finished: all 12 steps are done; next: transformer evaluate" in err
    return tmp_path / "run"


def test_training_a_finished_run_reports_that(
    whole_path: Path, tiny_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call("train", tiny_file, "--run", whole_path, capsys=capsys)
    assert code == 0
    assert "finished: all 12 steps are done" in err
    assert "step 4 " not in err


def test_average_makes_a_model_folder(whole_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call("average", whole_path, "--last", 3, capsys=capsys)
    averaged = whole_path.with_name(f"{whole_path.name}-average-3")
    assert (averaged / "data.json").read_bytes() == (whole_path / "data.json").read_bytes()  # with the lengths
    assert code == 0
    folder = whole_path.with_name("run-average-3")
    assert str(folder) in out
    assert call("translate", folder, os.devnull, capsys=capsys)[0] == 0
    code, _, err = call("average", whole_path, "--last", 3, capsys=capsys)
    assert (code, err) == (1, f"transformer average: {folder} already exists; choose another with --output\n")
    _, _, err = call("average", whole_path, "--last", 99, capsys=capsys)
    assert "run has 4 checkpoints, fewer than 99; see train.keep_last" in err


def test_a_damaged_checkpoint_is_not_averaged(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(trained_run, tmp_path / "run")
    last = folder / "checkpoints" / (folder / "last").read_text().strip()
    (last / "model.safetensors").write_bytes(b"")
    code, _, err = call("average", folder, "--last", 2, capsys=capsys)
    assert code == 1
    assert f"{last} cannot be averaged: " in err
    assert not (tmp_path / "run-average-2").exists()


def test_info(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call("info", trained_run, capsys=capsys)
    assert code == 0
    assert "en -> de" in out
    assert "600 updates" in out
    found = json.loads(call("info", trained_run, "--json", capsys=capsys)[1])
    assert found["source"] == "en"
    assert all(each["damage"] is None for each in found["checkpoints"])


def test_evaluate_prints_the_documented_json(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call("evaluate", trained_run, "--json", capsys=capsys)
    assert code == 0
    found = json.loads(out)
    assert found["sentences"] == 100
    assert found["seconds"] > 0
    assert found["bleu"]["score"] > 90
    assert found["bleu"]["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert found["chrf"]["score"] > 90
    code, out, err = call(
        "evaluate", trained_run, "--samples", 2, "--split", "valid", "decode.beam=2", "--again", capsys=capsys
    )
    assert code == 0
    (path,) = re.findall(r"translations written to (.*)", err)
    assert out.count("reference ") == 2
    assert "±" in out
    assert "BLEU" in (trained_run / "README.md").read_text()
    assert len(Path(path).read_text().splitlines()) == 50


def test_evaluate_refuses_files_of_different_length(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_text("one\ntwo\n")
    (tmp_path / "b").write_text("eins\n")
    code, _, err = call(
        "evaluate", trained_run, "--source", tmp_path / "a", "--reference", tmp_path / "b", capsys=capsys
    )
    assert code == 1
    assert "has 2 lines but" in err
    assert "has 1\n" in err


def test_score_refuses_files_of_different_length(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_text("one\ntwo\n")
    (tmp_path / "b").write_text("eins\n")
    code, _, err = call("score", trained_run, "--source", tmp_path / "a", "--target", tmp_path / "b", capsys=capsys)
    assert (code, err) == (1, f"transformer score: {tmp_path}/a has 2 lines but {tmp_path}/b has 1\n")


def test_more_prefixes_than_lines_are_reported(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").write_text("one two\n")
    (tmp_path / "prefix").write_text("zwei\n\n\n")
    code, out, err = call("translate", trained_run, tmp_path / "x", "--prefix", tmp_path / "prefix", capsys=capsys)
    assert (code, out) == (0, "zwei eins\n")
    assert "2 prefixes are unused: there are more prefixes than lines" in err


def test_scores_are_printed_even_if_they_cannot_be_saved(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(trained_run, tmp_path / "copy")
    (folder / "evaluations").write_text("a file where the folder should be")
    code, out, err = call("evaluate", folder, "--split", "valid", "decode.beam=1", capsys=capsys)
    assert code == 0
    assert "BLEU" in out
    assert f"translations and scores cannot be saved in {folder}: " in err


class Broken(io.TextIOBase):
    """A standard output that can be written to no more, or not in this encoding."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def fileno(self) -> int:
        return os.open(os.devnull, os.O_WRONLY)


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left on device"), ValueError("closed")])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_evaluations_are_kept_before_they_are_printed(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, options: list[str]
) -> None:
    """Nothing is lost by `evaluate | head -1`, a closed or full output, or a terminal that is not UTF-8."""
    folder = shutil.copytree(trained_run, tmp_path / "copy")
    monkeypatch.setattr(sys, "stdout", Broken(error))
    with contextlib.suppress(ValueError):
        cli.main(["evaluate", str(folder), "--split", "valid", "decode.beam=1", *options])
    kept = json.loads((folder / "evaluations" / "valid.json").read_text())
    assert kept["bleu"]["score"] > 50
    assert len((folder / "evaluations" / "valid.txt").read_text().splitlines()) == kept["sentences"] == 50
    assert "| valid |" in (folder / "README.md").read_text()


def test_an_interrupted_evaluation_leaves_nothing(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(trained_run, tmp_path / "copy")
    before = sorted(folder.rglob("*"))

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("transformer.evaluation.metrics._interval", interrupt)
    assert call("evaluate", folder, "--split", "valid", "decode.beam=1", capsys=capsys)[:2] == (130, "")
    assert sorted(folder.rglob("*")) == before


def test_evaluations_of_equal_names_are_all_kept(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(trained_run, tmp_path / "copy")
    first = min((folder / "checkpoints").iterdir()).name
    files: dict[str, list[object]] = {}
    for place, seed in (("a", 41), ("b", 42)):
        (tmp_path / place).mkdir()
        write_pairs(tmp_path / place, "test", toy_pairs(5, seed))
        files[place] = ["--source", tmp_path / place / "test.en", "--reference", tmp_path / place / "test.de"]
    variants = [files["a"], files["b"], [*files["a"], "decode.beam=2"], [*files["a"], "--checkpoint", first]]
    for _ in range(2):
        for options in variants:
            code, out, _ = call("evaluate", folder, "--json", *options, capsys=capsys)
            assert code == 0
            printed = json.loads(out)
            printed.pop("translated", None)
            records = [json.loads(path.read_text()) for path in (folder / "evaluations").glob("*.json")]
            assert [{**found, "time": 0} for found in records].count({**printed, "time": 0}) == 1
    assert len(list((folder / "evaluations").glob("test.en*.json"))) == len(variants)


def test_several_references_are_all_used(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = toy_pairs(5, 43)
    write_pairs(tmp_path, "x", pairs)
    (tmp_path / "other").write_text("".join(f"falsch {pair.target}\n" for pair in pairs))
    (tmp_path / "short").write_text("eins\n")
    command = ["evaluate", trained_run, "--json", "--source", tmp_path / "x.en"]
    right, wrong = ["--reference", tmp_path / "x.de"], ["--reference", tmp_path / "other"]
    scores = []
    for references in (right, wrong, [*right, *wrong], [*wrong, *right]):
        code, out, _ = call(*command, *references, capsys=capsys)
        assert code == 0
        assert json.loads(out)["bleu"]["signature"].startswith(f"nrefs:{len(references) // 2}|")
        scores.append(json.loads(out)["bleu"]["score"])
    assert scores[1] < scores[0] == scores[2] == scores[3]
    found = transformer.evaluate(
        trained_run, source=tmp_path / "x.en", reference=[tmp_path / "other", tmp_path / "x.de"]
    )
    assert found.scores["bleu"].score == scores[0]
    capsys.readouterr()
    code, _, err = call(*command, *right, "--reference", tmp_path / "short", capsys=capsys)
    assert (code, err) == (1, f"transformer evaluate: {tmp_path}/x.en has 5 lines but {tmp_path}/short has 1\n")


def test_samples_are_different_sentences(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = toy_pairs(3, 44)
    write_pairs(tmp_path, "x", pairs)
    files = ["--source", tmp_path / "x.en", "--reference", tmp_path / "x.de"]
    for samples, expected in ((2, pairs[:2]), (3, pairs), (5, pairs)):
        _, out, _ = call("evaluate", trained_run, *files, "--samples", samples, capsys=capsys)
        assert re.findall(r"  source       (.*)", out) == [pair.source for pair in expected]
        assert re.findall(r"  reference    (.*)", out) == [pair.target for pair in expected]


@pytest.mark.parametrize("option", ["--source", "--tokenizer"])
def test_an_option_that_counts_once_is_not_replaced_in_silence(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call("evaluate", "run", option, "a", option, "b", capsys=capsys)
    assert f"{option} is given twice" in capsys.readouterr().err


def test_stopped_at_the_time_limit(tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", tiny_file, "train.max_steps=100000", "train.time_limit=0.1", "--run", tmp_path / "a run"]
    code, _, err = call(*command, capsys=capsys)
    assert code == 0
    assert err.splitlines()[-1].endswith(
        f"stopped at the time limit and saved; resume with: transformer train {tiny_file} "
        f"train.max_steps=100000 train.time_limit=0.1 --run '{tmp_path}/a run'"
    )


def test_score_agrees_with_translate(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pairs(tmp_path, "x", toy_pairs(20, 31))
    _, out, _ = call("translate", trained_run, tmp_path / "x.en", "--scores", capsys=capsys)
    rows = [line.split("\t") for line in out.splitlines()]
    (tmp_path / "hyp").write_text("".join(f"{text}\n" for _, text in rows))
    code, scored, _ = call(
        "score", trained_run, "--source", tmp_path / "x.en", "--target", tmp_path / "hyp", capsys=capsys
    )
    assert code == 0
    assert [float(s) for s in scored.split()] == pytest.approx([float(score) for score, _ in rows], abs=1e-3)


def translate(trained_run: Path, content: bytes, *args: str) -> bytes:
    """Run `transformer translate` in this process, on bytes."""
    found = main("translate", trained_run, "--beam", "1", "decode.max_extra=3", *args, stdin=content)
    assert found.code == 0
    return found.out


def test_json_nbest_and_output_file(trained_run: Path, tmp_path: Path) -> None:
    found = json.loads(translate(trained_run, b"one two\n", "--json", "--nbest", "2", "decode.beam=3", "--beam", "3"))
    assert found["translations"][0]["text"] == "zwei eins"
    assert len(found["translations"]) == 2
    assert translate(trained_run, b"one two\n", "-o", str(tmp_path / "out")) == b""
    assert (tmp_path / "out").read_text() == "zwei eins\n"


def test_the_output_file_must_not_be_the_input_file(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").write_text("one\n")
    code, _, err = call("translate", trained_run, tmp_path / "x", "-o", tmp_path / "x", capsys=capsys)
    assert code == 2
    assert f"{tmp_path / 'x'} is the input file; write the translations to another file" in err
    assert (tmp_path / "x").read_text() == "one\n"


def test_a_closed_pipe_ends_quietly(trained_run: Path) -> None:
    lines = "\n".join(["one two three"] * 5000)
    command = f"'{sys.executable}' -m transformer translate '{trained_run}' --beam 1"
    shell = f"printf '%s\\n' \"$LINES_IN\" | {command} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell}"],
        env={**os.environ, "LINES_IN": lines, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "drei zwei eins\n"
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_full_disk_is_one_sentence(trained_run: Path) -> None:
    with open("/dev/full", "wb") as full:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*COMMAND, "translate", str(trained_run), "--beam", "1"],
            input=b"one\n", stdout=full, stderr=subprocess.PIPE, check=False, env=environment,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == b"transformer translate: No space left on device: standard output\n"


def test_translations_are_written_before_the_input_ends(trained_run: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "translate", str(trained_run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        for line, answer in ((b"one two\n", b"zwei eins\n"), (b"three\n", b"drei\n")):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == answer
        process.stdin.close()
    assert process.returncode == 0


def test_ctrl_c_while_waiting_for_input(trained_run: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "translate", str(trained_run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        process.stdin.write(b"one two\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"zwei eins\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == b""


def test_prompt_on_a_terminal(trained_run: Path) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "translate", str(trained_run)], stdin=slave, stdout=slave, stderr=slave, close_fds=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb"},
    )  # fmt: skip
    os.close(slave)
    read = read_until(master, b"> ")
    assert b"run translates from en to de.\r\n" in read
    assert b"Type a sentence and press Enter; an empty line or Ctrl-D ends.\r\n" in read
    os.write(master, b"one two three\n")
    read = read_until(master, b"\n> ")
    assert b"drei zwei eins\r\n" in read
    os.write(master, b"\x04")
    assert process.wait(20) == 0
    os.close(master)


def test_typing_into_a_file_shows_a_hint(trained_run: Path, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "translate", str(trained_run), "-o", str(tmp_path / "out")], stdin=slave, stdout=slave,
        stderr=slave, close_fds=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    os.close(slave)
    read_until(master, b"one sentence per line; end with Ctrl-D.\r\n")
    os.write(master, b"one two three\n\x04")
    assert process.wait(20) == 0
    assert (tmp_path / "out").read_text() == "drei zwei eins\n"
    os.close(master)


def read_until(descriptor: int, end: bytes) -> bytes:
    read = b""
    while not read.endswith(end):
        read += os.read(descriptor, 1000)
    return read


def test_a_home_directory_is_known_after_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell leaves `--run=~/mine` as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.parse(["train", "x.yaml", "--run=~/mine"]).folder == tmp_path / "mine"
    monkeypatch.setattr("os.path.expanduser", str)
    with pytest.raises(SystemExit, match="2"):
        cli.parse(["train", "x.yaml", "--run=~/mine"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_in_a_real_process(tiny_file: Path, tmp_path: Path, number: int, code: int) -> None:
    command = [*COMMAND, "train", str(tiny_file), "--run", str(tmp_path / "run"), "train.max_steps=100000"]
    process = subprocess.Popen(
        [*command, "train.log_every=1", "train.validate_text=false"], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "step 5 " in line:
            process.send_signal(number)
            break
    rest = process.stderr.read()
    assert process.wait(30) == code
    assert "and saved; resume with: transformer train" in rest
    assert (tmp_path / "run" / "last").exists()
    process.stderr.close()


def test_a_dry_run_is_one_process(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.yaml").write_text(config_file.dump(tiny), encoding="utf-8")
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    done = main("train", tmp_path / "tiny.yaml", "--dry-run", "--device", "cpu", checked=False)
    assert done.code == 2
    assert "--dry-run does one update in one process; start it without torchrun or srun" in done.err
