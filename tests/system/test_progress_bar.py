"""Long work shows how far it is: a bar on a terminal, elsewhere a log line each half minute."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import struct
import subprocess
import termios
import threading
from pathlib import Path

import pytest
from support.command import COMMAND, ENVIRONMENT
from support.toy import toy_pairs

from transformer.data import learning
from transformer.data.corpus import reading
from transformer.data.learning import learn_model
from transformer.data.lines import bytes_read, read_lines
from transformer.data_config import CorpusConfig
from transformer.system import progress_bar
from transformer.system.progress_bar import ProgressBar, Ticking


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Log a line after each unit."""
    monkeypatch.setattr(progress_bar, "EVERY", 0.0)
    monkeypatch.setattr(progress_bar, "REFRESH", 0.0)
    caplog.set_level(logging.INFO)


def test_a_line_says_count_share_and_time_left(hasty: None, caplog: pytest.LogCaptureFixture) -> None:
    assert list(ProgressBar("counting", 4, "sheep").over("abcd")) == list("abcd")
    assert caplog.messages[0].startswith("counting: 1 of 4 sheep, 25 %, ")
    assert caplog.messages[-1] == "counting: 4 of 4 sheep, 100 %, 0 s left"


def test_without_an_end_the_time_so_far_is_said() -> None:
    bar = ProgressBar("reading", unit="pairs")
    bar.count = 1234
    assert bar.in_words(None, 125.0) == "1,234 pairs, 2 min"
    assert bar.in_words(0.25, 60.0) == "1,234 pairs, 25 %, 3 min left"
    assert ProgressBar("learning").in_words(None, 31.0) == "31 s"


def test_short_work_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert len(list(ProgressBar("counting", 100_000).over(range(100_000)))) == 100_000
    assert caplog.messages == []


def test_a_thread_shows_work_that_cannot_report(hasty: None, caplog: pytest.LogCaptureFixture,
                                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    shown, threads = threading.Event(), threading.active_count()
    with Ticking(ProgressBar("learning", 10, "pieces")) as bar:
        bar.count = 5
        monkeypatch.setattr(bar, "show", shown.set)
        assert shown.wait(30)
    assert threading.active_count() == threads


def test_the_share_of_files_that_was_read_is_known(tmp_path: Path) -> None:
    """Whatever their compression: it is the share of the bytes on disk."""
    lines = [f"line {i} {i * 7919 % 1000}" for i in range(100_000)]
    (tmp_path / "a").write_text("\n".join(lines))
    subprocess.run(["gzip", "-k", str(tmp_path / "a")], check=True)
    for name in ("a", "a.gz"):
        bar = reading("reading", [CorpusConfig(tsv=str(tmp_path / name))])
        stream, shares = read_lines(tmp_path / name), []
        for number, _ in enumerate(stream):
            if number % 20_000 == 0:
                shares.append(bar._share() or 0.0)
        assert shares == sorted(shares)
        assert shares[0] < 0.7 < shares[-1] < 1.0 or name == "a.gz"
        assert bar._share() == 1.0


def test_the_end_of_data_that_is_no_local_file_is_unknown(tmp_path: Path) -> None:
    assert reading("reading", [CorpusConfig(dataset="wmt/wmt14")])._share() is None
    assert reading("reading", [CorpusConfig(tsv=str(tmp_path / "none"))])._share() is None
    assert bytes_read() >= 0


def test_a_vocabulary_that_is_learned_in_a_child_counts_its_pieces(
    hasty: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_bar, "REFRESH", 0.01)
    texts = [f"{pair.source} {pair.target} {i}" for i, pair in enumerate(toy_pairs(8000, 3))]
    settings = {"model_type": "bpe", "vocab_size": 1500, "hard_vocab_limit": False, "minloglevel": 2}
    ours = learn_model(texts, settings)
    said = [line for line in caplog.messages if line.startswith("learning the vocabulary: ")]
    assert any(" of 1,500 pieces, " in line and not line.startswith("learning the vocabulary: 0") for line in said)
    monkeypatch.setattr("transformer.data.learning.SMALL", 1 << 30)
    assert learn_model(texts, settings) == ours


def test_texts_are_counted_while_a_child_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "SOME", 3)
    bar = ProgressBar("x")
    seen = [(text, bar.what) for text in learning._told("abcd", bar)]
    assert [text for text, _ in seen] == list("abcd")
    assert [what for _, what in seen][2:] == [f"learning the vocabulary, {n} texts read" for n in (0, 3)]
    assert bar.what == "learning the vocabulary"


def test_preparation_shows_a_bar_on_a_terminal(tmp_path: Path, tiny_file: Path) -> None:
    """And the same command without a terminal shows none."""
    command = [*COMMAND, "train", str(tiny_file), "--run", str(tmp_path / "run"), "train.max_steps=1"]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=ENVIRONMENT) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert process.returncode == 0, shown
    assert b"encoding the training text: " in shown
    again = [*command[:-2], str(tmp_path / "second"), f"data.prepared_dir={tmp_path / 'other'}", command[-1]]
    plain = subprocess.run(again, capture_output=True, env=ENVIRONMENT, check=True)
    assert b"encoding the training text" not in plain.stderr
