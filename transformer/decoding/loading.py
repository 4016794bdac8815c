"""Loads a translator from a run directory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from transformer import config_file
from transformer.config import Config
from transformer.decoding.translator import Translator, make_translator
from transformer.errors import ConfigError
from transformer.runs.models import load_model
from transformer.runs.run import Run, open_run
from transformer.system.memory import enough_memory


def load_translator(
    path: Path, overrides: Iterable[str], device: torch.device, checkpoint: str | None = None
) -> tuple[Run, Translator, str]:
    """Return a run, its translator and the name of the checkpoint used. `overrides` may set `decode.*` and `data.*`.

    `checkpoint` is the name of one, by default the best usable one. Raises ConfigError or CheckpointError.
    """
    run = open_run(path)
    cfg = _override(run.config, overrides)
    with enough_memory(f"the model in {path} does not fit"):
        model, used = load_model(run, checkpoint)
        translator = make_translator(model.to(device), run.tokenizer, cfg.decode, cfg.data.max_length, device)
    return Run(run.path, cfg, run.tokenizer), translator, used.name


def _override(cfg: Config, overrides: Iterable[str]) -> Config:
    overrides = list(overrides)
    for text in overrides:
        if not text.startswith(("decode.", "data.")):
            raise ConfigError(f"{text} cannot be changed after training; only decode.* and data.* can be set here")
    return config_file.override(cfg, overrides) if overrides else cfg
