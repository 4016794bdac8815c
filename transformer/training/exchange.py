"""What several processes exchange in an update: gradients and, where each updates a part of the weights, weights.

In one process nothing is exchanged, and all weights are updated.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from transformer.config import TrainConfig
from transformer.errors import ConfigError
from transformer.system.distributed import Ranks
from transformer.training.flat_weights import FlatWeights
from transformer.training.optimizer import STATE, gradient_norm, set_state_tensors, state_tensors


class Exchange:
    """Sums the gradients of all processes, and shares out the optimizer's work if `train.shard_optimizer` is set."""

    def __init__(self, ranks: Ranks, weights: FlatWeights, cfg: TrainConfig, dtype: torch.dtype) -> None:
        self.ranks, self.weights = ranks, weights
        self.sharded = cfg.shard_optimizer and ranks.count > 1
        self.halved = cfg.gradient_precision == "bfloat16" and ranks.count > 1
        if self.sharded and dtype == torch.float16:
            raise ConfigError("train.shard_optimizer is not possible in float16; use bfloat16 or float32")
        size = len(weights.weights) // (ranks.count if self.sharded else 1)
        start = size * ranks.rank if self.sharded else 0
        self.shard = slice(start, start + size)
        """The part of the buffers that this process updates."""
        self._sums = torch.zeros(2, device=weights.weights.device)

    @property
    def gradients(self) -> Tensor:
        """The gradients of the weights that this process updates."""
        return self.weights.gradients[self.shard]

    def sum(self, nll: Tensor) -> Tensor:
        """Sum the gradients of the weights that this process updates over all processes; return the summed nll.

        Does not wait for the device. Gradients in bfloat16 are sent in half the time, and summed in that precision.
        """
        weights, ranks = self.weights, self.ranks
        if ranks.count == 1:
            return nll
        if not self.sharded and not self.halved:
            weights.summed[-1] = nll
            ranks.sum_in_place(weights.summed)
            return weights.summed[-1].clone()
        sent = weights.gradients.bfloat16() if self.halved else weights.gradients
        if self.sharded:
            self.gradients.copy_(ranks.sum_shard(sent))
        else:
            ranks.sum_in_place(sent)
            self.gradients.copy_(sent)
        if not self.sharded:
            nll = nll.clone()
            ranks.sum_in_place(nll)
            return nll
        self._sums[0], self._sums[1] = nll, self.gradients.square().sum()
        ranks.sum_in_place(self._sums)
        return self._sums[0].clone()

    def norm(self) -> Tensor:
        """Return the norm of the gradient of all weights, after `sum`."""
        return self._sums[1].sqrt() if self.sharded else gradient_norm(self.weights.gradient_views)

    def share_weights(self) -> None:
        """Give all processes the weights that each has updated."""
        if self.sharded:
            weights = self.weights.weights
            self.ranks.join_shards(weights[self.shard].clone(), weights)

    def whole_state(self, optimizer: torch.optim.Optimizer) -> Mapping[str, list[Tensor]]:
        """Return the optimizer's tensors for all weights, in one part or two. All processes call this."""
        parts = state_tensors(optimizer)
        if not self.sharded or not parts:
            return parts
        whole = {}
        for key in STATE[1:]:
            flat = torch.empty_like(self.weights.weights)
            self.ranks.join_shards(torch.cat(parts[key]), flat)
            whole[key] = [flat.cpu()] if self.ranks.first else []  # that of one name at a time is on the device
        return {"step": parts["step"], **whole}

    def set_state(self, optimizer: torch.optim.Optimizer, whole: Mapping[str, Tensor]) -> None:
        """Set the optimizer's state from flat buffers of all weights."""
        set_state_tensors(optimizer, {key: each[self.shard] if each.ndim else each for key, each in whole.items()})

    def spread_state(self, optimizer: torch.optim.Optimizer, whole: Mapping[str, Tensor] | None) -> None:
        """Set the optimizer's state in all processes from what the first one has restored; None elsewhere."""
        found = {}
        for key in STATE:
            like = self.weights.weights.new_zeros(()) if key == "step" else self.weights.weights
            found[key] = torch.zeros_like(like) if whole is None else whole[key].to(like.device)
            self.ranks.spread([found[key]])
        self.set_state(optimizer, found)
