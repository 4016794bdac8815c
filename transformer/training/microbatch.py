"""Training: from a configuration to a run directory that translates. Run again, it goes on where it was."""

from __future__ import annotations

import math

import torch

from transformer.config import Config


def micro_batch_tokens(cfg: Config, device: torch.device, ranks: int = 1) -> int:
    """Return how many tokens of a side, padding counted, go through the network at once."""
    if cfg.train.micro_batch_tokens != "auto":
        return cfg.train.micro_batch_tokens
    share = cfg.train.batch_tokens / ranks
    if device.type != "cuda":  # a tensor of activations of some million elements stays in the caches
        parts = 2 * max(1, round(share * cfg.model.width / 2**20))  # of which two are worked on at a time
        return math.ceil(1.15 * share / parts)
    free, _ = torch.cuda.mem_get_info(device)
    fitting = int(free * 0.6) // bytes_per_token(cfg)
    return max(1024, min(math.ceil(1.1 * share), fitting))


def bytes_per_token(cfg: Config) -> int:
    """Return about how many bytes a token's activations take in training (bfloat16)."""
    model = cfg.model
    layer = 16 * model.width + 3 * model.feed_forward
    return 2 * (model.encoder_layers + int(1.6 * model.decoder_layers)) * layer + 12 * model.width
