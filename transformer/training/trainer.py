"""One update of the weights: the gradient of the mean loss over all its target tokens, and an optimizer step.

Shape letters: B sentences, T target positions, N target tokens (padding is never among them), D model width.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transformer.config import Config
from transformer.data.batching import Batch, CutUpdate
from transformer.data.packing import PackedBatch
from transformer.model.dropout import dropout_seed
from transformer.model.loss import LossSum, guided_loss, label_smoothed
from transformer.model.network import Transformer
from transformer.system.device import resolve_dtype
from transformer.system.distributed import Ranks
from transformer.system.memory import enough_memory, keep_freed_memory
from transformer.system.threads import Workers, start_workers
from transformer.training.exchange import Exchange
from transformer.training.fast import FastPath, make_fast_path
from transformer.training.flat_weights import FlatWeights
from transformer.training.freezing import frozen_names
from transformer.training.microbatch import SeededBatch, TrainingSplitter
from transformer.training.optimizer import (
    MovingAverage,
    build_optimizer,
    clip_gradients,
    set_learning_rate,
    step_if_finite,
)

Gradients = list[Tensor]
"""A gradient for each parameter, in the order of `FlatWeights.parameters`."""


@dataclass(frozen=True)
class PendingUpdate:
    """An update whose loss has not been read yet, since reading it waits for the device."""

    step: int
    tokens: int
    pair_ids: NDArray[Any]
    nll: Tensor
    """Negative log-likelihood summed over the tokens, in nats."""
    norm: Tensor
    """Norm of the gradient. Not finite if the update was skipped."""


@dataclass
class Trainer:
    """A model and everything needed to update its weights. Created by `make_trainer`."""

    model: Transformer
    cfg: Config
    device: torch.device
    dtype: torch.dtype
    """Precision of the network's arithmetic."""
    ranks: Ranks
    workers: Workers
    weights: FlatWeights
    exchange: Exchange
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    scaler: torch.amp.GradScaler | None
    """Of the loss, where gradients are float16."""
    splitter: TrainingSplitter
    fast: FastPath | None
    """Computes updates in batches of constant shape, where there is a GPU to be fast on."""

    def __post_init__(self) -> None:
        self.parameters = list(self.weights.parameters.values())

    def update(self, step: int, cut: CutUpdate[Any], rate: float) -> PendingUpdate:
        """Update the weights with the gradient of the mean loss over all target tokens of this update.

        `step` counts updates from 1 and seeds dropout. This does not wait for the device.
        """
        self._prepare_model()
        if self.fast is not None:
            nll = self._sum_packed(cut, self._seeds(step, cut))
        else:
            nll = self._sum_gradients(self._shares(step, cut), cut.tokens)
        self.weights.hold()
        nll = self.exchange.sum(nll)
        norm = self._apply_gradients(nll, rate)
        if self.average is not None:
            self.average.update(step)
        return PendingUpdate(step, cut.tokens, cut.update.pair_ids, nll, norm)

    def _prepare_model(self) -> None:
        """Set the model to train, and pack its weights, which the last update has changed."""
        self.model.train()
        self.model.compute_dtype = self.dtype
        if self.device.type == "cpu":
            self.workers.map(lambda pair: pair[0].repack(pair[1], self.dtype), self.model.packed_weights())

    def _seeds(self, step: int, cut: CutUpdate[Any]) -> list[int]:
        """Return the dropout seeds of this process's batches, which depend on their positions in the update."""
        seeds = np.random.SeedSequence([self.cfg.train.seed, step]).generate_state(cut.count, np.uint32)
        mine: list[int] = seeds[cut.positions].tolist()
        return mine

    def _sum_packed(self, cut: CutUpdate[PackedBatch], seeds: list[int]) -> Tensor:
        """Do what `_sum_gradients` does, for batches of constant shape."""
        assert self.fast is not None
        self.fast.start(cut.tokens)
        for batch, seed in zip(cut.batches, seeds, strict=True):
            self.fast.add(batch, seed)
        if cut.batches:
            return self.fast.nll.clone()
        self.weights.gradients.zero_()
        return torch.zeros((), device=self.device)

    def _shares(self, step: int, cut: CutUpdate[Batch]) -> list[list[SeededBatch]]:
        """Return this process's batches with their dropout seeds, one list for each worker."""
        mine = list(zip(cut.batches, self._seeds(step, cut), strict=True))
        shares = [mine[i :: self.workers.count] for i in range(self.workers.count)]
        return [share for share in shares if share]

    def _sum_gradients(self, shares: list[list[SeededBatch]], tokens: int) -> Tensor:
        """Write the gradient of the loss per token over all batches into the buffer; return the summed nll.

        A process has no share where an update has fewer batches than there are processes.
        """
        flat = self.weights.gradient_views
        into: list[Gradients] = [[] for _ in shares] if len(shares) > 1 else [flat]  # of each worker
        nlls = self.workers.map(lambda i: self._accumulate(shares[i], into[i], tokens), range(len(shares)))
        if len(shares) > 1:
            for total, one, other, *_ in zip(flat, *into, strict=True):
                torch.add(one, other, out=total)  # in one pass
        for gradients in into[2:]:
            torch._foreach_add_(flat, gradients)
        if not shares:
            self.weights.gradients.zero_()
        return sum(nlls, torch.zeros((), device=self.device))

    def _accumulate(self, share: list[SeededBatch], into: Gradients, tokens: int) -> Tensor:
        """Write the gradient of the loss per token, summed over these batches, into a list; return their summed nll.

        An empty list gets the gradients of the first batch.
        """
        nll, first = torch.zeros((), device=self.device), True
        for batch in share:
            for gradients, part_nll in self.splitter.run(batch, lambda part: self._backward(*part, tokens)):
                if not into:
                    into += gradients
                elif first:
                    torch._foreach_copy_(into, gradients)
                else:
                    torch._foreach_add_(into, gradients)
                first = False
                nll += part_nll
        return nll

    def _backward(self, batch: Batch, seed: int, tokens: int) -> tuple[Gradients, Tensor]:
        """Return the gradient of one batch's part of the mean loss, and its summed nll."""
        with dropout_seed(seed, self.device):
            loss = self.loss(batch)
        mean = loss.smoothed / tokens
        scaled = mean if self.scaler is None else self.scaler.scale(mean)
        return list(torch.autograd.grad(scaled, self.parameters)), loss.nll

    def loss(self, batch: Batch) -> LossSum:
        """Return the summed loss of a batch, computed in training precision."""
        batch, model, weight = batch.to(self.device), self.model, self.cfg.train.guided_alignment
        attention: list[Tensor] = []
        guided = attention.append if batch.guide_BTS is not None else None
        hidden_BTD = model.hidden(batch.source_BS, batch.input_BT, guided)
        hidden_ND = hidden_BTD.flatten(0, 1).index_select(0, batch.places_N)
        smoothing = self.cfg.train.label_smoothing
        loss = label_smoothed(
            hidden_ND, model.output_weight, model.output_bias, batch.target_N, smoothing, model.output_packed
        )
        if batch.guide_BTS is None:
            return loss
        return replace(loss, smoothed=loss.smoothed + weight * guided_loss(attention[0], batch.guide_BTS))

    def _apply_gradients(self, nll: Tensor, rate: float) -> Tensor:
        """Clip, step and return the gradient's norm. The step is skipped if the loss or a gradient is not finite."""
        set_learning_rate(self.optimizer, rate)
        if self.scaler is not None:
            self.weights.gradients[:1].add_(0 * nll)  # the scaler checks gradients only, so a NaN loss is added there
            self.scaler.unscale_(self.optimizer)
        norm = self.exchange.norm() + 0 * nll
        if self.cfg.train.clip_norm is not None:
            clip_gradients(self.exchange.gradients, norm, self.cfg.train.clip_norm)
        with enough_memory("the state of the optimizer does not fit", "make the model smaller"):  # at the first step
            if self.scaler is not None:
                self.scaler.step(self.optimizer)
                self.scaler.update()
            else:
                step_if_finite(self.optimizer, norm)
        self.exchange.share_weights()
        self.weights.changed()
        return norm

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Let the model have its weights in float32, the averaged ones if there are any, while the block runs."""
        return self.weights.replaced_by(self.weights.weights if self.average is None else self.average.average)


def make_trainer(model: Transformer, cfg: Config, device: torch.device, ranks: Ranks) -> Trainer:
    """Move the model to the device and return its trainer, with new optimizer state and running workers."""
    if device.type == "cpu":
        keep_freed_memory()  # before there are workers
    model = model.to(device)
    dtype = resolve_dtype(cfg.train.precision, device)
    cast = dtype if device.type == "cuda" and dtype != torch.float32 else None
    frozen, ema = frozen_names(dict(model.named_parameters()), cfg.train.freeze or ()), cfg.train.ema
    weights = FlatWeights(model, cast, ranks.count, frozen)
    exchange = Exchange(ranks, weights, cfg.train, dtype)
    return Trainer(
        model=model,
        cfg=cfg,
        device=device,
        dtype=dtype,
        ranks=ranks,
        workers=start_workers(device),
        weights=weights,
        exchange=exchange,
        optimizer=build_optimizer(weights, cfg.train, exchange.shard),
        average=None if ema is None else MovingAverage(weights.weights, ema),
        scaler=_loss_scaler(device) if dtype == torch.float16 else None,
        splitter=TrainingSplitter(device, model.pad),
        fast=make_fast_path(model, weights, cfg.train, dtype),
    )


def _loss_scaler(device: torch.device) -> torch.amp.GradScaler:
    scaler = torch.amp.GradScaler(device.type)
    scaler.scale(torch.zeros((), device=device))  # makes the scale: the first update may have no batch for this process
    return scaler
