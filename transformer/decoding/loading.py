"""Loads a translator from a run directory."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from transformer import atomic, config_file
from transformer.data.lengths import Lengths, read_lengths
from transformer.decoding.translator import Translator, make_translator, planned_precision
from transformer.errors import CheckpointError, ConfigError
from transformer.model.network import Transformer
from transformer.paths import expanded
from transformer.runs.layout import REPORT
from transformer.runs.models import load_model, open_model
from transformer.runs.run import Run, open_run, split_checkpoint
from transformer.runs.tuning import with_tuned
from transformer.system.memory import enough_memory

log = logging.getLogger(__name__)


def load_translator(
    path: Path, overrides: Iterable[str], device: torch.device, checkpoint: str | None = None, plain: bool = False
) -> tuple[Run, Translator, str]:
    """Return a run, its translator and the name of the checkpoint used. `overrides` may set `decode.*` and `data.*`.

    Decoding settings are the overrides, else those that were tuned, else the configuration's. `checkpoint` is the name
    of one, by default the best usable one. `plain` takes the weights beside their moving average. The runs of
    `decode.ensemble` are loaded as well. Raises ConfigError or CheckpointError.
    """
    run, overrides = open_run(path), list(overrides)
    cfg = changed(run, overrides).config
    with enough_memory(f"the model in {path} does not fit"):
        model, used = open_model(run, checkpoint, plain)
        stored = planned_precision(model.cfg, cfg.decode, device) == "int8"
        others = load_members(run, cfg.decode.ensemble or (), used, plain)
        lengths, data = trained_lengths(run), cfg.data
        if lengths and any(text.startswith("data.max_length=") for text in overrides):
            lengths = replace(lengths, source=data.max_length)
        translator = make_translator(
            model if stored else model.network.to(device),
            run.tokenizer,
            cfg.decode,
            data.max_length,
            device,
            lengths,
            data.source,
            [each.to(device) for each in others],
        )
    return Run(run.path, cfg, run.tokenizer), translator, used.name


def load_members(run: Run, names: Iterable[str], first: Path, plain: bool = False) -> list[Transformer]:
    """Return the other models of an ensemble, whose first one has the weights of the checkpoint `first`.

    Raises ConfigError if a vocabulary is not the run's, or if the same weights are named twice: they would count twice.
    """
    models, used = [], [] if plain else [first.resolve()]
    for name in names:
        other, checkpoint = open_member(name)
        if other.tokenizer.fingerprint != run.tokenizer.fingerprint:
            raise ConfigError(f"decode.ensemble: {other.path} has another vocabulary than {run.path}")
        model, found = load_model(other, checkpoint)
        if found.resolve() in used:
            raise ConfigError(f"decode.ensemble: {found} is in this ensemble already; name other runs or checkpoints")
        models.append(model)
        used.append(found.resolve())
    return models


def open_member(name: str) -> tuple[Run, str | None]:
    """Return a run of `decode.ensemble`, and the name of its checkpoint if one is given."""
    path, checkpoint = split_checkpoint(expanded(name))
    return open_run(path), checkpoint


def trained_lengths(run: Run) -> Lengths | None:
    """Return the lengths that a run was trained on, or None if its report does not have them."""
    file = run.path / REPORT
    if not file.is_file():
        return None
    try:
        return read_lengths(atomic.read_json(file))
    except (CheckpointError, ValueError):
        log.warning("%s is damaged: the lengths of the training text are unknown", file)
        return None


def changed(run: Run, overrides: Iterable[str]) -> Run:
    """Return the run with its tuned settings, and with some of `decode.*` and `data.*` changed.

    Raises ConfigError for other settings.
    """
    overrides = list(overrides)
    for text in overrides:
        if not text.startswith(("decode.", "data.")):
            raise ConfigError(f"{text} cannot be changed after training; only decode.* and data.* can be set here")
    run = with_tuned(run)
    return replace(run, config=config_file.override(run.config, overrides)) if overrides else run
