"""Fixtures for many tests: a small configuration, a tokenizer, and a model that has learned the toy language pair."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from support.report_fixtures import evaluated, one_run, other, plain_run, two_runs  # noqa: F401 (fixtures)
from support.toy import CPU, TINY, toy_pairs, write_pairs

from transformer import config_file
from transformer.config import Config, TokenizerConfig
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.decoding.translator import Translator, make_translator
from transformer.runs.models import load_model
from transformer.runs.run import open_run
from transformer.training.session import train

# A busy machine is slow now and then.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")
torch.set_num_threads(1)  # the models are so small that threads would only wait for each other


@pytest.fixture(autouse=True)
def quiet_logger() -> Iterator[None]:
    """What a command does to the package's logger ends with the test."""
    logger = logging.getLogger("transformer")
    before = (logger.level, logger.propagate, logger.handlers[:])
    yield
    logger.level, logger.propagate, logger.handlers = before
    logger.manager._clear_cache()  # type: ignore[attr-defined]  # of levels


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Reset the number of threads after each test."""
    torch.set_num_threads(1)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """Return the messages of the log."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformer")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a headless browser. Tests that need it are skipped where there is none.

    It is not kept longer: as long as it is open, an event loop runs in this thread, and others cannot.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="browser tests need the package playwright")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    """Return a configuration file of a run that takes a second."""
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
    """Return the configuration of a run that takes a second."""
    return config_file.load(tiny_file)


@pytest.fixture(scope="session")
def tok() -> Tokenizer:
    """Return a tokenizer of the toy languages, with byte fallback."""
    return learn_tokenizer(toy_pairs(300, 0), TokenizerConfig(vocab_size=340))


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that has learned the toy task. It is for fixtures of a module, which must only read it."""
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
        train.max_steps=600 train.batch_tokens=400 train.micro_batch_tokens=auto train.warmup_steps=50
        train.schedule=linear train.validate_every=300 train.save_every=150 train.log_every=100 model.width=64
        model.feed_forward=128 model.encoder_layers=2 model.decoder_layers=2 model.norm=pre model.dropout=0
        tokenizer.byte_fallback=true tokenizer.vocab_size=340 data.max_length=40
    """
    train(config_file.load(path, overrides.split()), folder / "run", CPU)
    return folder / "run"


@pytest.fixture(scope="session")
def original(shared_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the shared run and its texts that no test gets to see."""
    return shutil.copytree(shared_run.parent, tmp_path_factory.mktemp("original") / "copy")


@pytest.fixture
def trained_run(shared_run: Path, original: Path) -> Iterator[Path]:
    """Return the shared run. What a test changes in it or beside it is undone, so the next test finds it as trained."""
    yield shared_run
    if files(shared_run.parent) != files(original):
        shutil.rmtree(shared_run.parent)
        shutil.copytree(original, shared_run.parent)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size in bytes and time of change of each file in a folder, by its path there."""
    found = {str(path.relative_to(folder)): path.lstat() for path in folder.rglob("*") if not path.is_dir()}
    return {name: (status.st_size, status.st_mtime_ns) for name, status in found.items()}


@pytest.fixture(scope="session")
def translator(shared_run: Path) -> Translator:
    """Return a translator of the trained toy model, with beam 4."""
    run = open_run(shared_run)
    model, _ = load_model(run)
    return make_translator(model, run.tokenizer, run.config.decode, run.config.data.max_length, CPU)
