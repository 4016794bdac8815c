"""A toy language pair, English digits and the German digits in reverse order, and a run that takes a second."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import Tensor

from transformer.data.corpus import Pair

ENGLISH = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
GERMAN = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]
CPU = torch.device("cpu")


def toy_pairs(count: int, seed: int, longest: int = 6) -> list[Pair]:
    """Return numbers as English digits, paired with the German digits in reverse order."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(count):
        digits = [rng.randrange(10) for _ in range(rng.randint(1, longest))]
        pairs.append(Pair(" ".join(ENGLISH[d] for d in digits), " ".join(GERMAN[d] for d in reversed(digits))))
    return pairs


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], exact: bool = True) -> None:
    """Assert that the tensors of two trainings are equal, bit for bit or up to rounding."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        if exact:
            assert torch.equal(tensor, other[name]), name
        else:
            torch.testing.assert_close(tensor, other[name], atol=2e-5, rtol=2e-4, msg=name)


def write_pairs(folder: Path, stem: str, pairs: list[Pair]) -> str:
    """Write two aligned files and return the value of `files` in YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    for side, language in enumerate(("en", "de")):
        (folder / f"{stem}.{language}").write_text("".join(f"{pair[side]}\n" for pair in pairs), encoding="utf-8")
    return f"['{folder}/{stem}.en', '{folder}/{stem}.de']"


TINY = """\
data:
  source: en
  target: de
  train: {{files: {train}}}
  valid: {{files: {valid}}}
  test: {{files: {test}}}
tokenizer: {{vocab_size: 60, byte_fallback: false}}
model: {{width: 32, heads: 2, feed_forward: 64, encoder_layers: 1, decoder_layers: 1, dropout: 0.1}}
train:
  max_steps: 12
  batch_tokens: 200
  micro_batch_tokens: 100
  precision: float32
  warmup_steps: 10
  peak_rate: 5e-3
  log_every: 4
  validate_every: 6
  save_every: 3
  samples: 0
decode: {{precision: float32}}
"""
