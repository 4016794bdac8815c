"""Runs the `transformer` command in this process, on byte streams in memory."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from transformer.cli import main as cli
from transformer.system.escaping import HIDDEN

COMMAND = [sys.executable, "-m", "transformer"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
GREEDY = ("decode.beam=1", "decode.max_extra=3")


class Outcome(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: bytes
    err: str


class Stream(io.TextIOWrapper):
    """A standard stream over bytes in memory that is not a terminal."""

    def __init__(self, content: bytes = b"") -> None:
        self.bytes = io.BytesIO(content)
        super().__init__(self.bytes, encoding="utf-8", errors="backslashreplace", write_through=True)


def main(*args: object, stdin: bytes = b"", checked: bool = True) -> Outcome:
    """Run a command in this process through the entry point of `transformer`, on byte streams.

    Unless `checked` is false, a failure must end in a sentence.
    """
    streams = Stream(stdin), Stream(), Stream()
    with pytest.MonkeyPatch.context() as patch:
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        code = cli.main([str(arg) for arg in args])
    outcome = Outcome(code, streams[1].bytes.getvalue(), streams[2].bytes.getvalue().decode())
    if checked:
        check_sentence(outcome, str(args[0]))
    return outcome


def check_sentence(outcome: Outcome, command: str) -> None:
    assert "Traceback" not in outcome.err
    assert not HIDDEN.search(outcome.err.replace("\r", ""))  # a progress bar uses it
    if outcome.code:
        *_, last = outcome.err.splitlines()
        assert last.startswith(f"transformer {command}: "), outcome.err
        assert len(last) < 5000


def last_line_has(sentence: str, err: str) -> bool:
    """Return whether the last line, which is the error, matches."""
    return bool(re.search(sentence, err.rstrip("\n").splitlines()[-1]))


def train(tmp_path: Path, data: str, *overrides: str) -> Outcome:
    path = tmp_path / "t.yaml"
    path.write_text(
        f"data: {{source: en, target: de, max_length: 60, train: {data}}}\n"
        "tokenizer: {vocab_size: 300}\n"
        "model: {width: 16, heads: 2, feed_forward: 16, encoder_layers: 1, decoder_layers: 1}\n"
        "train: {max_steps: 1, batch_tokens: 100, precision: float32}\n"
    )
    return main("train", path, "--run", tmp_path / "run", *overrides)


class Measured(NamedTuple):
    """The outcome of a real process, its time and its peak memory."""

    outcome: Outcome
    seconds: float
    megabytes: float


def measured(*args: object) -> Measured:
    """Run a real process and measure its time and peak memory."""
    watch = time.monotonic()
    process = subprocess.Popen(
        [*COMMAND, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as out, process.stderr as err:
        text = out.read(), err.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    outcome = Outcome(process.returncode, *text)
    check_sentence(outcome, str(args[0]))
    return Measured(outcome, time.monotonic() - watch, usage.ru_maxrss / 1024)
