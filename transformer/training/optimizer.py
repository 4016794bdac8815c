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


def build_optimizer(weights: FlatWeights, cfg: TrainConfig, shard: slice | None = None) -> torch.optim.AdamW:
    """Return Adam (section 5.3 of the paper) with decoupled weight decay of matrices. Each step sets its own rate.

    With `shard` it updates only that part of the buffer.
    """
    shard, groups = shard or slice(0, len(weights.weights)), []
    middle = min(max(weights.matrices, shard.start), shard.stop)
    for part, decay in ((slice(shard.start, middle), cfg.weight_decay), (slice(middle, shard.stop), 0.0)):
        p = nn.Parameter(weights.weights[part])
        p.grad = weights.gradients[part]
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


def state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, list[Tensor]]:
    """Return the tensors for each name in `STATE`, one for each part of the weights. Before a step there are none."""
    return {key: [optimizer.state[p][key] for p in _parts(optimizer)] for key in STATE} if optimizer.state else {}


def set_state_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Set the state from the step and from flat buffers of all weights that this optimizer updates."""
    parts = _parts(optimizer)
    running = {key: tensors[key].split([p.numel() for p in parts]) for key in STATE[1:]}
    for i, p in enumerate(parts):
        state = {key: values[i].to(p.device, copy=True) for key, values in running.items()}
        optimizer.state[p] = {"step": tensors["step"].to(p.device, copy=True), **state}


def named_state(weights: FlatWeights, tensors: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    """Return the optimizer's tensors by their names in a checkpoint. They are of all weights, in one part or two."""
    if not tensors:
        return {}
    found = {f"adam.step.{name}": tensors["step"][0].clone() for name in weights.parameters}
    for key in STATE[1:]:
        found |= {f"adam.{key}.{name}": view for name, view in weights.views(*tensors[key]).items()}
    return found


def flat_state(weights: FlatWeights, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the optimizer's tensors, given by their names in a checkpoint, as flat buffers of all weights."""
    flat = {"step": tensors[f"adam.step.{next(iter(weights.parameters))}"].to(weights.weights.device)}
    for key in STATE[1:]:
        flat[key] = torch.zeros_like(weights.weights)
        weights.fill(flat[key], {name: tensors[f"adam.{key}.{name}"] for name in weights.parameters})
    return flat


def _parts(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]
