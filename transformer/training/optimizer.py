"""The optimizer: Adam, learning-rate schedules, gradient clipping, the moving average of the weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from transformer.config import TrainConfig

Shape = tuple[int, ...]
STATE = ("step", "exp_avg", "exp_avg_sq")
"""Adam's state for each parameter: a step count and two running means of the parameter's shape."""


def build_optimizer(model: nn.Module, cfg: TrainConfig) -> torch.optim.AdamW:
    """Return Adam (section 5.3 of the paper) with decoupled weight decay of matrices. Each step sets its own rate."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": cfg.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
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


def gradient_norm(parameters: Sequence[Tensor]) -> Tensor:
    """Return the norm of the concatenation of all gradients."""
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def clip_gradients(parameters: Sequence[Tensor], norm: Tensor, most: float) -> None:
    """Scale the gradients down to the norm `most` if their norm is larger."""
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], factor)


def step_if_finite(optimizer: torch.optim.Optimizer, norm: Tensor) -> None:
    """Step unless the gradient's norm is not finite. Does not wait for the device."""
    optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]  # the fused kernel skips the step itself
    optimizer.step()


class MovingAverage:
    """An exponential moving average (EMA) of the weights."""

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.parameters, self.decay = parameters, decay
        self.weights = [p.detach().clone() for p in parameters]

    def update(self, step: int) -> None:
        """Move the average towards the weights after update `step`.

        Early in training the decay is (1 + step) / (10 + step), so that the random initial weights are soon forgotten.
        """
        keep = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.weights, [p.detach() for p in self.parameters], 1 - keep)

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Swap the averaged weights into the model while the block runs."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for p, mean in zip(self.parameters, self.weights, strict=True):
            p.data, mean.data = mean.data, p.data
        torch.autograd.graph.increment_version(self.parameters)  # swapping `data` does not increment it


def state_shapes(parameters: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return the names and shapes of the optimizer's tensors in a checkpoint."""
    return {f"adam.{key}.{name}": () if key == "step" else shape for name, shape in parameters.items() for key in STATE}


def state_bytes(parameters: int) -> int:
    """Return the bytes that the optimizer keeps for this many parameters, in memory and in a checkpoint."""
    return 4 * parameters * (len(STATE) - 1)  # the count of steps is a single number for each tensor


def read_state(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the optimizer's tensors by their names in a checkpoint. There are none before the first step."""
    return {
        f"adam.{key}.{name}": value
        for name, p in parameters.items()
        for key, value in optimizer.state.get(p, {}).items()
    }


def write_state(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """Restore the optimizer's state from the tensors of a checkpoint."""
    for name, p in parameters.items():
        optimizer.state[p] = {key: tensors[f"adam.{key}.{name}"].to(p.device) for key in STATE}
