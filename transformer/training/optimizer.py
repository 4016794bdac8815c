"""Adam, the learning rate as a function of the step, clipping, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from transformer.config import TrainConfig


def build_optimizer(model: nn.Module, cfg: TrainConfig) -> torch.optim.AdamW:
    """Return Adam (5.3) with decoupled weight decay of the matrices; its rate is set at each step."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": cfg.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=cfg.adam_betas, eps=cfg.adam_epsilon, fused=True)


def learning_rate(step: int, cfg: TrainConfig, width: int) -> float:
    """Return the learning rate of update `step`, the first being 1.

    Warm-up rises linearly to the peak; after it `noam` falls with the inverse square root of the step (5.3),
    `linear` and `cosine` fall to zero just after `max_steps`, and `constant` stays.
    """
    warmup = max(cfg.warmup_steps, 1)
    peak = cfg.peak_rate if cfg.peak_rate is not None else (width * warmup) ** -0.5
    if step < warmup:
        return peak * step / warmup
    done = min(max(step - warmup, 0) / max(cfg.max_steps + 1 - warmup, 1), 1.0)
    match cfg.rate:
        case "noam":
            return peak * math.sqrt(warmup / step)
        case "linear":
            return peak * (1 - done)
        case "cosine":
            return peak * (1 + math.cos(math.pi * done)) / 2
        case "constant":
            return peak


def set_learning_rate(adam: torch.optim.Optimizer, value: float) -> None:
    """Let the next update use this learning rate."""
    for group in adam.param_groups:
        group["lr"] = value


def gradient_norm(parameters: Sequence[Tensor]) -> Tensor:
    """Return the norm of all gradients as one vector."""
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def move_average(average: Sequence[Tensor], parameters: Sequence[Tensor], decay: float, step: int) -> None:
    """Move an exponential moving average of the weights one update on.

    Early on the decay is (1 + step) / (10 + step), so that the random initial weights are soon forgotten.
    """
    keep = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average), [p.detach() for p in parameters], 1 - keep)
