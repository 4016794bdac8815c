"""What many tests need: a toy language pair, its tokenizer, and a model that has learned it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from transformer import config_file
from transformer.config import Config, TokenizerConfig
from transformer.data import corpus
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.decoding.translator import Translator
from transformer.runs.models import load_model
from transformer.runs.run import open_run
from transformer.training.session import train

ENGLISH = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
GERMAN = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]
CPU = torch.device("cpu")

torch.set_num_threads(1)  # the models are so small that threads would only wait for each other


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Whatever number a test sets ends with it."""
    torch.set_num_threads(1)


def toy_pairs(count: int, seed: int, longest: int = 6) -> list[corpus.Pair]:
    """Numbers spelled digit by digit, and the German digits in reverse order."""
    chance = random.Random(seed)
    pairs = []
    for _ in range(count):
        digits = [chance.randrange(10) for _ in range(chance.randint(1, longest))]
        pairs.append(corpus.Pair(" ".join(ENGLISH[d] for d in digits), " ".join(GERMAN[d] for d in reversed(digits))))
    return pairs


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], exact: bool = True) -> None:
    """Hold tensors of two trainings to be equal, bit for bit or to rounding."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        if exact:
            assert torch.equal(tensor, other[name]), name
        else:
            torch.testing.assert_close(tensor, other[name], atol=2e-5, rtol=2e-4, msg=name)


def write_pairs(folder: Path, stem: str, pairs: list[corpus.Pair]) -> str:
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


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    """A configuration file of a run that takes a second."""
    files = {
        "train": write_pairs(tmp_path, "train", toy_pairs(150, 1)),
        "valid": write_pairs(tmp_path, "valid", toy_pairs(10, 2)),
        "test": write_pairs(tmp_path, "test", toy_pairs(10, 3)),
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.format(**files), encoding="utf-8")
    return path


@pytest.fixture
def tiny(tiny_file: Path) -> Config:
    """The configuration of a run that takes a second."""
    return config_file.load(tiny_file)


@pytest.fixture(scope="session")
def tok() -> Tokenizer:
    """A tokenizer of the toy languages that can also spell anything in bytes."""
    return learn_tokenizer(toy_pairs(300, 0), TokenizerConfig(vocab_size=340))


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory whose model has learned the toy task well, the same whichever test comes first."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("trained")
    files = {
        "train": write_pairs(folder, "train", toy_pairs(3000, 1)),
        "valid": write_pairs(folder, "valid", toy_pairs(50, 2)),
        "test": write_pairs(folder, "test", toy_pairs(100, 3)),
    }
    path = folder / "toy.yaml"
    path.write_text(TINY.format(**files), encoding="utf-8")
    overrides = """
        train.max_steps=600 train.batch_tokens=400 train.micro_batch_tokens=auto train.schedule=linear train.warmup_steps=50
        train.validate_every=300 train.save_every=150 train.log_every=100 model.width=64 model.feed_forward=128
        model.encoder_layers=2 model.decoder_layers=2 model.norm=pre model.dropout=0
        tokenizer.byte_fallback=true tokenizer.vocab_size=340 data.max_length=40
    """
    train(config_file.load(path, overrides.split()), folder / "run", CPU)
    return folder / "run"


@pytest.fixture(scope="session")
def translator(trained_run: Path) -> Translator:
    """A translator with beam 4 of the trained toy model."""
    run = open_run(trained_run)
    model, _ = load_model(run)
    return Translator(model, run.tokenizer, run.config.decode, run.config.data.max_length, CPU)
