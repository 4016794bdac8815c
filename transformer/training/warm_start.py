"""Initial weights from another run (`train.init_from`), also for a vocabulary that extends its own."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import sentencepiece
import torch
from torch import Tensor

from transformer.config import ModelConfig
from transformer.data.model_pieces import without_blanks_added
from transformer.data.tokenizer import Tokenizer
from transformer.data.word_cache import SPACE
from transformer.errors import ConfigError
from transformer.model.network import Transformer, zero_start
from transformer.model.weights import TRAINING_ONLY
from transformer.runs.models import load_model
from transformer.runs.run import open_run

SOURCE, TARGET = ("source_embedding.weight",), ("target_embedding.weight", "output.weight", "output_bias")
"""The weights with a row for each piece of a side."""

log = logging.getLogger(__name__)


def warm_start(model: Transformer, tok: Tokenizer, folder: Path) -> None:
    """Copy the weights of the run in a folder. Pieces that it lacks start from the mean of those that stood for them.

    Raises ConfigError if the settings of the model differ.
    """
    run = open_run(folder)
    donor, path = load_model(run)
    if differing := different_settings(model.cfg, donor.cfg):
        raise ConfigError(
            f"train.init_from: the model in {folder} has other settings; give this run the same `model` settings, or "
            f"none: {', '.join(f'{key}: {value}' for key, value in differing.items())}"
        )
    weights = donor.state_dict()
    for side, names in enumerate((SOURCE, TARGET)):
        if parts := _parts(tok, run.tokenizer, side):
            weights |= {name: _extended(weights[name], parts) for name in names if name in weights}
    model.load_state_dict(weights)
    zero_start(model)
    log.info("initial weights loaded from %s", path)


def different_settings(cfg: ModelConfig, donor: ModelConfig) -> dict[str, object]:
    """Return the settings of the donor's model that this one does not have, but for those of training."""
    names = [each.name for each in dataclasses.fields(cfg) if each.name not in TRAINING_ONLY]
    return {name: getattr(donor, name) for name in names if getattr(donor, name) != getattr(cfg, name)}


def _parts(tok: Tokenizer, donor: Tokenizer, side: int) -> list[list[int]]:
    """Return the donor's ids of the text of each piece of one side that it lacks."""
    processor = (tok.source, tok.target)[side]
    model = without_blanks_added(donor.models[side if len(donor.models) > 1 else 0])
    before = sentencepiece.SentencePieceProcessor(model_proto=model)
    new = (processor.id_to_piece(i) for i in range(donor.sizes[side], tok.sizes[side]))
    return [before.encode(piece.replace(SPACE, " ")) or [donor.unk] for piece in new]


def _extended(rows: Tensor, parts: list[list[int]]) -> Tensor:
    """Return rows with one more for each new piece, the mean of those of its parts."""
    return torch.cat((rows, torch.stack([rows[ids].mean(0) for ids in parts])))
