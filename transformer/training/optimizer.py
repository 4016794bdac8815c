"""The optimizer: Adam, learning-rate schedules, gradient clipping, the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from transformer.config import TrainConfig
from transformer.training.flat_weights import FlatWeights

Shape = tuple[int, ...]
STATE = ("step", "exp_avg", "exp_avg_sq")
"""Adam's state for each parameter: a step count and two running means of the parameter's shape."""


def build_optimizer(weights: FlatWeights, cfg: TrainConfig) -> torch.optim.AdamW:
    """Return Adam (section 5.3 of the paper) with decoupled weight decay of matrices. Each step sets its own rate."""
    parts = zip(weights.halves(weights.weights), weights.halves(weights.gradients), strict=True)
    groups = []
    for (part, gradient), decay in zip(parts, (cfg.weight_decay, 0.0), strict=True):
        p = nn.Parameter(part)
        p.grad = gradient
        groups.append({"params": [p], "weight_decay": decay})
    return torch.optim.AdamW(groups, lr=0.0, betas=cfg.adam_betas, eps=cfg.adam_epsilon, fused=True)


def learning_rate(step: int, cfg: TrainConfig, width: int) -> float:
    """Return the learning rate of update `step`; the first update is step 1.

    Warm-up rises linearly to the peak. After it `noam` falls with the inverse square root of the step (5.3),
    `linear` and `cosine` fall to zero just after `max_steps`, and `constant` stays at the peak.
    """
    warmup = max(cfg.warmup_steps, 1)
    peak = cfg.peak_rate if cfg.peak_rate is not None else (width * warmup) ** -0.5
    if step < warmup:
        return peak * step / warmup
    done = min(max(step - warmup, 0) / max(cfg.max_steps + 1 - warmup, 1), 1.0)
    match cfg.schedule:
        case "noam":
            return peak * math.sqrt(warmup / step)
        case "linear":
            return peak * (1 - done)
        case "cosine":
            return peak * (1 + math.cos(math.pi * done)) / 2
        case "constant":
            return peak


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Return the norm of the concatenation of all gradients."""
    return nn.utils.get_total_norm(gradients)


def clip_gradients(flat: Tensor, norm: Tensor, most: float) -> None:
    """Scale the gradients down to the norm `most` if their norm is larger."""
    flat.mul_((most / (norm + 1e-6)).clamp(max=1.0))


def step_if_finite(optimizer: torch.optim.Optimizer, norm: Tensor) -> None:
    """Step unless the gradient's norm is not finite. Does not wait for the device."""
    optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]  # the fused kernel skips the step itself
    optimizer.step()


class MovingAverage:
    """An exponential moving average (EMA) of the weights, in a buffer of the same layout."""

    def __init__(self, weights: Tensor, decay: float) -> None:
        self.weights, self.decay = weights, decay
        self.average = weights.clone()
        self._amount = torch.zeros((), device=weights.device)

    def update(self, step: int) -> None:
        """Move the average towards the weights after update `step`.

        Early in training the decay is (1 + step) / (10 + step), so that the random initial weights are soon forgotten.
        """
        keep = min(self.decay, (1 + step) / (10 + step))
        self.average.lerp_(self.weights, self._amount.fill_(1 - keep))


def state_shapes(parameters: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return the names and shapes of the optimizer's tensors in a checkpoint."""
    return {f"adam.{key}.{name}": () if key == "step" else shape for name, shape in parameters.items() for key in STATE}


def state_bytes(parameters: int) -> int:
    """Return the bytes that the optimizer keeps for this many parameters, in memory and in a checkpoint."""
    return 4 * parameters * (len(STATE) - 1)  # the count of steps is a single number for each tensor


def read_state(optimizer: torch.optim.Optimizer, weights: FlatWeights) -> dict[str, Tensor]:
    """Return the optimizer's tensors by their names in a checkpoint. There are none before the first step."""
    states = [optimizer.state[p] for p in _parts(optimizer) if p in optimizer.state]
    if not states:
        return {}
    found = {f"adam.step.{name}": states[0]["step"].clone() for name in weights.parameters}
    for key in STATE[1:]:
        found |= {f"adam.{key}.{name}": view for name, view in weights.views(*(s[key] for s in states)).items()}
    return found


def write_state(optimizer: torch.optim.Optimizer, weights: FlatWeights, tensors: Mapping[str, Tensor]) -> None:
    """Restore the optimizer's state from the tensors of a checkpoint."""
    step = tensors[f"adam.step.{next(iter(weights.parameters))}"]
    flat = {key: torch.zeros_like(weights.weights) for key in STATE[1:]}
    for key, values in flat.items():
        weights.fill(values, {name: tensors[f"adam.{key}.{name}"] for name in weights.parameters})
    for i, p in enumerate(_parts(optimizer)):
        parts = {key: weights.halves(values)[i] for key, values in flat.items()}
        optimizer.state[p] = {"step": step.to(p.device, copy=True), **parts}


def state_tensors(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return the tensors that `STATE` names, in order. Where there are none yet, they are made, with zeros."""
    for p in _parts(optimizer):
        if p not in optimizer.state:
            zeros = {key: torch.zeros_like(p, requires_grad=False) for key in STATE[1:]}
            optimizer.state[p] = {"step": torch.zeros((), device=p.device), **zeros}
    return [optimizer.state[p][key] for p in _parts(optimizer) for key in STATE]


def _parts(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]
