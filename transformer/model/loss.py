"""Label-smoothed cross-entropy (Szegedy et al. 2016; section 5.4 of the paper), summed over tokens.

Shape letters: N target tokens, D model width, V vocabulary, B sentences, S source positions, T target positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from transformer.model import kernels
from transformer.model.packed_linear import PackedWeights, packs, product

ROWS = {"cpu": 1024, "cuda": 4096}
"""Tokens whose logits are computed at once. On a CPU, training was 3 to 5 % faster with 1,024 than with 2,048, as the
logits stay in the caches."""


@dataclass(frozen=True)
class LossSum:
    """Losses summed over tokens, in nats. Divide by `tokens` for the mean."""

    smoothed: Tensor
    nll: Tensor
    tokens: int


class Terms(NamedTuple):
    """What the loss and its gradient need of the logits of some tokens."""

    p_NV: Tensor
    """The softmax."""
    nll_N: Tensor
    """Negative log-likelihoods of the targets, in float32."""
    lse_N: Tensor
    """Log-sum-exp of the logits, in float32."""


def loss_terms(logits_NV: Tensor, target_N: Tensor, real_N: Tensor | None) -> Terms:
    """Return the terms of some tokens, multiplied by `real_N` if given. On a CPU the softmax replaces the logits."""
    largest_N, wanted_N = logits_NV.amax(-1).float(), logits_NV.gather(1, target_N[:, None])[:, 0].float()
    p_NV = logits_NV.softmax(-1) if kernels.on_gpu(logits_NV) else torch.softmax(logits_NV, -1, out=logits_NV)
    # The largest probability cannot underflow, so this log-sum-exp is exact in every precision.
    lse_N = largest_N - p_NV.amax(-1).float().log()
    nll_N = lse_N - wanted_N
    if real_N is None:
        return Terms(p_NV, nll_N, lse_N)
    return Terms(p_NV.mul_(real_N[:, None].to(p_NV.dtype)), nll_N * real_N, lse_N * real_N)


def label_smoothed(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    target_N: Tensor,
    smoothing: float,
    packed: PackedWeights | None = None,
    real_N: Tensor | None = None,
    terms: Callable[..., Terms] = loss_terms,
) -> LossSum:
    """Project hidden states to logits and compare them with the targets.

    A share `smoothing` of the probability is spread evenly over the vocabulary. Projection and loss are fused: the
    logits of all tokens never exist at once, and the gradients are computed together with the loss.
    `real_N` is 1.0 for the tokens that count and 0.0 for padding; without it all count. `terms` is `loss_terms`,
    compiled or not.
    """
    operands = (hidden_ND, weight_VD, bias_V, target_N, smoothing, packed or PackedWeights(), real_N, terms)
    smoothed, nll = _ProjectedLoss.apply(*operands)
    return LossSum(smoothed, nll, len(target_N))


def guided_loss(log_weights_BTS: Tensor, guide_BTS: Tensor) -> Tensor:
    """Return the cross-entropy of attention weights with those of word alignments, summed over positions, in nats.

    Positions that are not aligned have no weights in the guide, and add nothing (Garg et al. 2019, section 3.2).
    Padding has a log-weight of minus infinity and no guide.
    """
    return -(log_weights_BTS.masked_fill(guide_BTS == 0, 0.0) * guide_BTS).sum()


class _ProjectedLoss(torch.autograd.Function):
    """d loss / d logits is softmax - (1 - smoothing) * onehot - smoothing / V; the last two need no products."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        target_N: Tensor,
        smoothing: float,
        packed: PackedWeights,
        real_N: Tensor | None,
        terms: Callable[..., Terms],
    ) -> tuple[Tensor, Tensor]:
        wants = any(ctx.needs_input_grad[:3])
        grads = _Gradients(hidden_ND, weight_VD, bias_V, packed, smoothing) if wants else None
        into = packed.forward(weight_VD, hidden_ND.dtype)
        nll_sum = hidden_ND.new_zeros((), dtype=torch.float32)
        flat_sum = hidden_ND.new_zeros((), dtype=torch.float32)
        mean_D = weight_VD.float().mean(0)
        mean_bias = 0.0 if bias_V is None else bias_V.float().mean()
        for rows in slices(len(target_N), ROWS[hidden_ND.device.type]):
            h, real = hidden_ND[rows], None if real_N is None else real_N[rows]
            p, nll, lse = terms(product(h, into, bias_V), target_N[rows], real)
            nll_sum += nll.sum()
            mean_logit = h.float() @ mean_D + mean_bias
            flat_sum += (lse - (mean_logit if real is None else mean_logit * real)).sum()
            if grads is not None:
                grads.add(rows, p, h, target_N[rows], real)
        if grads is not None:
            grads.finish(hidden_ND, target_N, real_N)
        ctx.grads = grads
        smoothed = (1 - smoothing) * nll_sum + smoothing * flat_sum
        ctx.mark_non_differentiable(nll_sum)
        return smoothed, nll_sum

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:
        found = ctx.grads
        ctx.grads = None
        bias = None if found.bias_V is None else found.bias_V * grad
        return found.hidden_ND.mul_(grad), found.weight_VD.mul_(grad), bias, *(None,) * 5


class _Gradients:
    """Gradients of the summed smoothed loss, accumulated over chunks of rows."""

    def __init__(
        self, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, packed: PackedWeights, smoothing: float
    ) -> None:
        self.even, self.peak = smoothing / len(weight_VD), 1 - smoothing
        dtype = hidden_ND.dtype
        blocked = packs(hidden_ND.device.type, dtype)
        self.w_VD = weight_VD.detach().to(dtype) if blocked else packed.forward(weight_VD, dtype)
        self.w_sum_D = weight_VD.detach().sum(0, dtype=torch.float32).to(dtype)
        self.back = packed.backward(weight_VD, dtype)
        self.hidden_ND = torch.empty_like(hidden_ND)
        self.weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32)
        self.bias_V = None if bias_V is None else torch.zeros_like(bias_V, dtype=torch.float32)

    def add(self, rows: slice, p: Tensor, h: Tensor, target: Tensor, real: Tensor | None) -> None:
        """Add the gradients of a chunk. `p` has been multiplied by `real`."""
        count: Tensor | float = len(target) if real is None else real.sum()
        if real is None:
            real = torch.ones_like(target, dtype=torch.float32)
            hidden = product(p, self.back).sub_(self.w_sum_D, alpha=self.even).sub_(self.w_VD[target], alpha=self.peak)
        else:
            h = h * real[:, None].to(h.dtype)
            constant = (self.even * self.w_sum_D + self.peak * self.w_VD[target]) * real[:, None].to(h.dtype)
            hidden = product(p, self.back).sub_(constant)
        self.hidden_ND[rows] = hidden
        self._add_product(p, h)
        self.weight_VD -= self.even * h.sum(0, dtype=torch.float32)
        if self.bias_V is not None:
            self.bias_V += p.sum(0, dtype=torch.float32) - self.even * count
        if not kernels.on_gpu(p):  # while the chunk is in the caches
            self._subtract_targets(h, target, real)

    def finish(self, hidden_ND: Tensor, target_N: Tensor, real_N: Tensor | None) -> None:
        """Do for all tokens what has not been done for the chunks."""
        if kernels.on_gpu(hidden_ND):
            real_N = torch.ones_like(target_N, dtype=torch.float32) if real_N is None else real_N
            self._subtract_targets(hidden_ND * real_N[:, None].to(hidden_ND.dtype), target_N, real_N)

    def _subtract_targets(self, h: Tensor, target: Tensor, real: Tensor) -> None:
        subtract_rows(self.weight_VD, target, h.float(), self.peak)
        if self.bias_V is not None:
            subtract_rows(self.bias_V, target, real, self.peak)

    def _add_product(self, p: Tensor, h: Tensor) -> None:
        if p.dtype != torch.float32 and sums_in_float32(p.device, p.dtype):
            torch.addmm(self.weight_VD, p.t(), h, out_dtype=torch.float32, out=self.weight_VD)
        elif p.dtype == torch.float32:
            self.weight_VD.addmm_(p.t(), h)
        else:
            self.weight_VD += p.t() @ h


def subtract_rows(total: Tensor, places_N: Tensor, values: Tensor, factor: float) -> None:
    """Subtract `factor` times each value from its place in the total, with the same bits each time.

    On a GPU `index_add_` has not: it adds equal places in any order. The gradient of an embedding sorts them.
    """
    if kernels.on_gpu(total):
        wide = values if values.ndim == 2 else values[:, None]
        sums = torch.ops.aten.embedding_dense_backward(wide, places_N, len(total), -1, False)
        total.sub_(sums.view_as(total), alpha=factor)
    else:
        total.index_add_(0, places_N, values, alpha=-factor)


@cache
def sums_in_float32(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether a product is added to a float32 matrix without being rounded first. Tested once."""
    if device.type != "cuda":
        return False
    one, total = torch.ones(64, 64, dtype=dtype, device=device), torch.ones(64, 64, device=device)
    try:
        torch.addmm(total, one, one, out_dtype=torch.float32, out=total)
    except (RuntimeError, TypeError):  # another version of torch
        return False
    return bool((total == 65).all())


def slices(length: int, size: int) -> Iterator[slice]:
    """Yield consecutive slices of at most `size`."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))
