"""The decoding settings that `tune` chose, kept with the run in `tuning.json`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformer import atomic, config_file
from transformer.config import DecodeConfig
from transformer.errors import ConfigError
from transformer.runs.layout import TUNING
from transformer.runs.run import Run

TUNED = ("beam", "length_penalty", "max_extra")
"""The settings of `decode` that are tuned."""
log = logging.getLogger(__name__)


def keep_tuning(run: Run, values: Mapping[str, Any]) -> Path:
    """Write what was tuned, of which `decode` has the settings chosen, and what they replace. Return the file."""
    before = {key: getattr(run.config.decode, key) for key in TUNED}
    atomic.write_text(run.path / TUNING, json.dumps({**values, "instead_of": before}, indent=1) + "\n")
    return run.path / TUNING


def tuned(run: Run) -> DecodeConfig:
    """Return the decoding settings of a run with those that were tuned for it.

    A setting that has changed in the run's configuration since it was tuned is the configuration's.
    """
    decode, file = run.config.decode, run.path / TUNING
    if not file.is_file():
        return decode
    try:
        found = atomic.read_json(file)
        chosen, before = found["decode"], found["instead_of"]
        settings = [f"decode.{key}={chosen[key]}" for key in TUNED if before[key] == getattr(decode, key)]
        return config_file.override(run.config, settings).decode
    except (ValueError, KeyError, TypeError, ConfigError):
        log.warning("%s is damaged: decoding uses the settings of the configuration", file)
        return decode


def with_tuned(run: Run) -> Run:
    """Return the run with the decoding settings that were tuned for it."""
    return replace(run, config=replace(run.config, decode=tuned(run)))
