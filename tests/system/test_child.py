"""A vocabulary learned in a child process is the same, byte for byte, and a child that fails says why."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest
from support.toy import toy_pairs

from transformer.config import TokenizerConfig
from transformer.data import learning
from transformer.data.tokenizer import learn_tokenizer
from transformer.errors import DataError, TransformerError
from transformer.system import child


@pytest.fixture(autouse=True)
def always_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "SMALL", 0)


def odd_pairs() -> list[tuple[str, str]]:
    """Return pairs with line ends, blanks and characters of several bytes."""
    rng = random.Random(1)
    return [(f"{source} {rng.choice('äßé字𝄞')}", f" {target}\t\r\n") for source, target in toy_pairs(200, 1)]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("joint", [True, False])
def test_a_child_learns_the_same_bytes(monkeypatch: pytest.MonkeyPatch, kind: str, joint: bool) -> None:
    cfg = TokenizerConfig(kind=kind, joint=joint, vocab_size=330)  # type: ignore[arg-type]
    asked: list[str] = []

    def noted(*args: Any) -> bytes:
        asked.append(args[0])
        return child.run_child(*args)

    monkeypatch.setattr(learning, "run_child", noted)
    made = learn_tokenizer(odd_pairs(), cfg)
    assert asked
    monkeypatch.setattr(learning, "SMALL", 1 << 30)
    assert learn_tokenizer(odd_pairs(), cfg).models == made.models


def test_the_reason_of_a_child_is_told() -> None:
    with pytest.raises(DataError, match="cannot learn a vocabulary of 16 pieces from this text: its characters"):
        learn_tokenizer(odd_pairs(), TokenizerConfig(vocab_size=16))


def test_without_a_child_the_same_is_learned_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = learn_tokenizer(odd_pairs(), TokenizerConfig(vocab_size=330))
    for program in (str(tmp_path / "missing"), "/bin/false", ""):
        monkeypatch.setattr(sys, "executable", program)
        assert learn_tokenizer(odd_pairs(), TokenizerConfig(vocab_size=330)).models == made.models


def test_a_child_that_is_killed_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As by the kernel when memory runs out."""
    (tmp_path / "dies.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TransformerError, match="learning was ended by SIGKILL, probably because memory ran out; lower"):
        child.run_child("dies", "", ["text"] * 10, "learning")
