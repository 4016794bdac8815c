"""Loading a translator: settings of decoding can be overridden, others cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.toy import CPU

from transformer.decoding.loading import load_translator
from transformer.errors import ConfigError


def test_a_run_is_loaded_with_overrides(trained_run: Path) -> None:
    run, translator, checkpoint = load_translator(trained_run, ["decode.beam=3", "data.max_length=20"], CPU)
    assert (run.config.decode.beam, translator.cfg.beam, translator.max_length) == (3, 3, 20)
    assert (trained_run / "checkpoints" / checkpoint).is_dir()
    assert load_translator(trained_run, [], CPU, checkpoint)[2] == checkpoint


def test_settings_of_training_cannot_be_overridden(trained_run: Path) -> None:
    sentence = r"model.width=64 cannot be changed after training; only decode.\* and data.\* can be set here"
    with pytest.raises(ConfigError, match=sentence):
        load_translator(trained_run, ["decode.beam=3", "model.width=64"], CPU)
