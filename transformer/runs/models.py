"""Builds the network of a run, or loads it from a checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from transformer import atomic
from transformer.config import Config
from transformer.data.tokenizer import Tokenizer
from transformer.errors import CheckpointError, ConfigError
from transformer.model.network import Transformer
from transformer.runs.checkpoint import WEIGHTS, first_usable, load_plain, load_state, load_tensors
from transformer.runs.run import Run
from transformer.system.memory import memory_of_this_machine

log = logging.getLogger(__name__)


def build_model(cfg: Config, tok: Tokenizer) -> Transformer:
    """Return the network with initial weights. Raises ConfigError if it does not fit into this machine's memory."""
    parts = outline(cfg, tok)
    needed = sum(part.numel() for part in (*parts.parameters(), *parts.buffers())) * 4
    memory = memory_of_this_machine()
    if memory is not None and needed > memory:
        raise ConfigError(
            f"these `model` settings need {needed / 2**30:,.0f} GiB for the weights alone, "
            f"but this machine has {memory / 2**30:,.0f} GiB of memory"
        )
    return _network(cfg, tok)


def outline(cfg: Config, tok: Tokenizer) -> Transformer:
    """Return the network on the meta device: its weights have shapes but take no memory."""
    with torch.device("meta"):
        return _network(cfg, tok)


def _network(cfg: Config, tok: Tokenizer) -> Transformer:
    start = tok.bos if cfg.model.decoder_start == "bos" else tok.pad  # whose embedding may be zeros
    if cfg.model.decoder_start == "bos" and tok.bos == tok.pad:
        raise ConfigError("model.decoder_start: bos needs a vocabulary with a piece for bos; set it to pad or zero")
    return Transformer(cfg.model, tok.sizes, tok.pad, start, cfg.data.max_length)


def load_model(run: Run, name: str | None = None, plain: bool = False) -> tuple[Transformer, Path]:
    """Return the network with the weights of the named checkpoint, or of the best usable one, and the checkpoint.

    `plain` takes the weights that are not averaged, of a training with a moving average.
    """
    if name:
        found = named_checkpoint(run, name)
        tensors = _weights(run, found, plain)
    else:
        found, tensors = first_usable(run, candidates(run), lambda path: _weights(run, path, plain))
        if (run.path / "best").is_file() and run.pointer("best") is None:  # which is said there
            log.warning("%s is used instead of the best checkpoint", found.name)
    model = build_model(run.config, run.tokenizer)
    model.load_state_dict(tensors)
    return model.eval(), found


def candidates(run: Run) -> list[Path]:
    """Return the checkpoints in the order in which they are tried: the best, the last, and those before it."""
    found = [run.pointer("best"), run.pointer("last"), *reversed(run.steps())]
    return list(dict.fromkeys(each for each in found if each is not None))


def _weights(run: Run, path: Path, plain: bool = False) -> dict[str, Tensor]:
    if load_state(path).get("tokenizer") != run.tokenizer.fingerprint:
        raise CheckpointError(f"{path} was trained with a different tokenizer than the one in {run.path}")
    with torch.device("meta"):
        model = build_model(run.config, run.tokenizer)
    shapes = {name: tuple(part.shape) for name, part in model.state_dict().items()}
    return load_plain(path, shapes) if plain else load_tensors(path / WEIGHTS, shapes)


def named_checkpoint(run: Run, name: str, deep: bool = True) -> Path:
    """Return the checkpoint of this name, which may be `best` or `last`. Raises CheckpointError if it is damaged.

    `deep` compares the SHA-256 of its files.
    """
    found = run.pointer(name) if name in ("best", "last") else run.checkpoints / name
    if found is None or not found.is_dir() or found.parent != run.checkpoints:
        there = ", ".join(path.name for path in sorted(run.checkpoints.glob("*-*"))) or "none"
        raise CheckpointError(f"{run.path} has no checkpoint {name!r}; there are: {there}")
    if fault := atomic.damage(found, deep):
        raise CheckpointError(f"{found} cannot be used: {fault}")
    return found
