"""Dropout that is reproducible from a seed. On a CPU each thread has its generator, and masks are cheap to draw."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _Draws(threading.local):
    """A thread's generator on a CPU. None is torch's global generator, whose lock the workers would contend for."""

    generator: torch.Generator | None = None


_draws = _Draws()


@contextlib.contextmanager
def dropout_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the random draws of this thread while the block runs."""
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
        yield
        return
    _draws.generator = torch.Generator().manual_seed(seed)
    try:
        yield
    finally:
        _draws.generator = None


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Return `x` with dropout in training: a random share `rate` is zeroed and the rest scaled up."""
    if not training or rate == 0:
        return x
    return F.dropout(x, rate) if x.is_cuda else x * keep_mask(x, rate)


def add_dropped(x: Tensor, y: Tensor, rate: float, training: bool) -> Tensor:
    """Return `x + dropout(y)`."""
    if not training or rate == 0 or x.is_cuda:
        return x + dropout(y, rate, training)
    total: Tensor = _AddMasked.apply(x, y, keep_mask(y, rate))
    return total


def keep_mask(like: Tensor, rate: float) -> Tensor:
    """Return a dropout mask: zero for a random share `rate` of the elements, 1 / (1 - rate) for the others.

    One draw of 63 random bits serves four elements, which is several times faster than a draw for each. Rates are
    therefore rounded to multiples of 2 ** -15.
    """
    words = (
        torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(generator=_draws.generator).mul_(2)
    )  # `random_` never sets the highest bit
    bits = words.view(torch.int16)[: like.numel()].view(like.shape)
    mask = torch.empty(like.shape, dtype=like.dtype)
    return torch.ge(bits, min(round(rate * 2**15) * 2 - 2**15, 2**15 - 1), out=mask).mul_(1 / (1 - rate))


class _AddMasked(torch.autograd.Function):
    """Computes x + y * mask in one pass over memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return torch.addcmul(x, y, mask)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        (mask,) = ctx.saved_tensors
        return grad, grad * mask, None
