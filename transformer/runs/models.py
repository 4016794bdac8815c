"""Builds the network of a run, or loads it from a checkpoint."""

from __future__ import annotations

import logging
import threading
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from transformer import atomic
from transformer.config import Config
from transformer.data.tokenizer import Tokenizer
from transformer.errors import CheckpointError, ConfigError
from transformer.model.network import Transformer, sinusoids
from transformer.model.weights import ModelWeights, weights_of
from transformer.runs.checkpoint import (
    PLAIN,
    STATE,
    TENSORS,
    WEIGHTS,
    StoredWeights,
    first_usable,
    load_state,
)
from transformer.runs.run import Run
from transformer.system.memory import memory_of_this_machine

log = logging.getLogger(__name__)


def build_model(cfg: Config, tok: Tokenizer) -> Transformer:
    """Return the network with initial weights. Raises ConfigError if it does not fit into this machine's memory."""
    _check_size(outline(cfg, tok))
    return _network(cfg, tok)


def _check_size(model: Transformer) -> None:
    needed = sum(part.numel() for part in (*model.parameters(), *model.buffers())) * 4
    memory = memory_of_this_machine()
    if memory is not None and needed > memory:
        raise ConfigError(
            f"these `model` settings need {needed / 2**30:,.0f} GiB for the weights alone, "
            f"but this machine has {memory / 2**30:,.0f} GiB of memory"
        )


def outline(cfg: Config, tok: Tokenizer) -> Transformer:
    """Return the network on the meta device: its weights have shapes but take no memory."""
    with torch.device("meta"):
        return _network(cfg, tok)


def _network(cfg: Config, tok: Tokenizer) -> Transformer:
    start = tok.bos if cfg.model.decoder_start == "bos" else tok.pad  # whose embedding may be zeros
    if cfg.model.decoder_start == "bos" and tok.bos == tok.pad:
        raise ConfigError("model.decoder_start: bos needs a vocabulary with a piece for bos; set it to pad or zero")
    return Transformer(cfg.model, tok.sizes, tok.pad, start, cfg.data.max_length)


class StoredModel:
    """The network of a checkpoint, whose weights stay on disk until something takes the `network`."""

    def __init__(self, outline: Transformer, weights: Mapping[str, Tensor]) -> None:
        """Take the network on the meta device and its weights by their names."""
        self._outline, self._tensors = outline, weights
        self._lock = threading.Lock()
        self.cfg, self.pad, self.start_id = outline.cfg, outline.pad, outline.start_id
        outline.positions_LD = sinusoids(len(outline.positions_LD), self.cfg.width, self.cfg.positions)
        self.encoding = outline.encoding

    @property
    def weights(self) -> ModelWeights:
        """The weights, read whenever they are looked up."""
        return weights_of(self._tensors, self.cfg)

    @property
    def network(self) -> Transformer:
        """The network on the CPU, with its weights."""
        with self._lock, torch.inference_mode(False):
            if self._outline.target_embedding.weight.is_meta:
                self._outline.load_state_dict(self._tensors, assign=True)
            return self._outline.eval()


def networks(models: Iterable[Transformer | StoredModel]) -> list[Transformer]:
    """Return models with the weights of those that are stored."""
    return [each.network if isinstance(each, StoredModel) else each for each in models]


def load_model(run: Run, name: str | None = None, plain: bool = False) -> tuple[Transformer, Path]:
    """Return the network with the weights of the named checkpoint, or of the best usable one, and the checkpoint.

    `plain` takes the weights that are not averaged, of a training with a moving average.
    """
    model, found = open_model(run, name, plain)
    return model.network, found


def open_model(run: Run, name: str | None = None, plain: bool = False) -> tuple[StoredModel, Path]:
    """Do what `load_model` does, but leave the weights on disk."""
    needed = {STATE, TENSORS if plain else WEIGHTS}
    if name:
        found = named_checkpoint(run, name, needed)
        model = _stored(run, found, plain)
    else:
        found, model = first_usable(run, candidates(run), lambda path: _stored(run, path, plain), needed)
        if (run.path / "best").is_file() and run.pointer("best") is None:  # which is said there
            log.warning("%s is used instead of the best checkpoint", found.name)
    return model, found


def candidates(run: Run) -> list[Path]:
    """Return the checkpoints in the order in which they are tried: the best, the last, and those before it."""
    found = [run.pointer("best"), run.pointer("last"), *reversed(run.steps())]
    return list(dict.fromkeys(each for each in found if each is not None))


def _stored(run: Run, path: Path, plain: bool) -> StoredModel:
    if load_state(path).get("tokenizer") != run.tokenizer.fingerprint:
        raise CheckpointError(f"{path} was trained with a different tokenizer than the one in {run.path}")
    model = outline(run.config, run.tokenizer)
    _check_size(model)
    shapes = {name: tuple(part.shape) for name, part in model.state_dict().items()}
    file, prefix = (TENSORS, PLAIN) if plain else (WEIGHTS, "")
    return StoredModel(model, StoredWeights(path / file, shapes, prefix))


def named_checkpoint(run: Run, name: str, deep: bool | Container[str] = True) -> Path:
    """Return the checkpoint of this name, which may be `best` or `last`. Raises CheckpointError if it is damaged.

    `deep` is as for `atomic.damage`.
    """
    found = run.pointer(name) if name in ("best", "last") else run.checkpoints / name
    if found is None or not found.is_dir() or found.parent != run.checkpoints:
        there = ", ".join(path.name for path in sorted(run.checkpoints.glob("*-*"))) or "none"
        raise CheckpointError(f"{run.path} has no checkpoint {name!r}; there are: {there}")
    if fault := atomic.damage(found, deep):
        raise CheckpointError(f"{found} cannot be used: {fault}")
    return found
