"""Small models of all exportable kinds, with random weights."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from transformer.config import ModelConfig
from transformer.data.tokenizer import Tokenizer
from transformer.model.network import Transformer

SMALL = ModelConfig(width=32, heads=2, feed_forward=48, encoder_layers=2, decoder_layers=3)
KINDS = {
    "post": SMALL,
    "post-bias-gelu": replace(SMALL, output_bias=True, activation="gelu"),
    "post-target": replace(SMALL, tied="target", activation="swish", decoder_start="pad"),
    "post-none": replace(SMALL, tied="none"),
    "pre": replace(SMALL, norm="pre"),
    "pre-marian": replace(SMALL, norm="pre", positions="marian", decoder_start="zero"),
    "pre-pad": replace(SMALL, norm="pre", decoder_start="pad", output_bias=True),
}
SOURCES = [[10, 20, 30, 40, 50, 60], [70], [5, 6, 7, 8]]


def build(cfg: ModelConfig, tok: Tokenizer) -> Transformer:
    """Return a model whose weights are all random, including norms and biases."""
    torch.manual_seed(3)
    model = Transformer(cfg, tok.sizes, tok.pad, tok.bos if cfg.decoder_start == "bos" else tok.pad, 20)
    for name, weight in model.named_parameters():
        if weight.dim() == 1:
            nn.init.normal_(weight, mean=1.0 if "norm.weight" in name else 0.0, std=0.3)
    return model.eval()
