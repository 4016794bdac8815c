"""Dropout that is reproducible from a seed.

On a CPU each thread has its generator, and masks are cheap to draw. With `Draws` a mask is a hash of a seed and of the
places of its elements: the same whatever computes it, whether compiled into a larger kernel or not, and whatever was
drawn before.

Shape letters: J dropouts (in the order in which they are applied).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer.model import kernels


class _Draws(threading.local):
    """A thread's generator on a CPU. None is torch's global generator, whose lock the workers would contend for."""

    generator: torch.Generator | None = None


_draws = _Draws()


@contextlib.contextmanager
def dropout_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the random draws of this thread while the block runs."""
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)  # `torch.cuda.manual_seed` is of another one
        yield
        return
    _draws.generator = torch.Generator().manual_seed(seed)
    try:
        yield
    finally:
        _draws.generator = None


class Draws:
    """Seeds (J,) of the dropouts of a layer, as int32 on the device, to be used one after the other.

    `first_row` is the place of the first row in its batch, for a part of a batch: it has the masks of the whole.
    `fused` lets attention without dropout use a fused kernel.
    """

    def __init__(self, seeds_J: Tensor, first_row: int = 0, fused: bool = False) -> None:
        self.seeds_J, self.first_row, self.fused, self.used = seeds_J, first_row, fused, 0

    def keep(self, like: Tensor, rate: float) -> Tensor:
        """Return what the next dropout keeps."""
        self.used += 1
        return hashed_keep(like, rate, self.seeds_J[self.used - 1], self.first_row)


def dropout(x: Tensor, rate: float, training: bool, draws: Draws | None = None) -> Tensor:
    """Return `x` with dropout in training: a random share `rate` is zeroed and the rest scaled up."""
    if not training or rate == 0:
        return x
    if draws is not None:
        return torch.where(draws.keep(x, rate), x * (1 / (1 - rate)), 0)
    return F.dropout(x, rate) if kernels.on_gpu(x) else x * keep_mask(x, rate)


def add_dropped(x: Tensor, y: Tensor, rate: float, training: bool, draws: Draws | None = None) -> Tensor:
    """Return `x + dropout(y)`."""
    if not training or rate == 0 or draws is not None or kernels.on_gpu(x):
        return x + dropout(y, rate, training, draws)
    total: Tensor = _AddMasked.apply(x, y, keep_mask(y, rate))
    return total


def hashed_keep(like: Tensor, rate: float, seed: Tensor, first_row: int = 0) -> Tensor:
    """Return which elements dropout keeps: all but a random share `rate`.

    The hash of an element's index is hashed again together with the seed.
    """
    index = torch.arange(like.numel(), dtype=torch.int32, device=like.device).view(like.shape)
    index = index + first_row * (like.numel() // like.shape[0])
    return _hash(_hash(index) ^ seed) >= round(rate * 2**32) - 2**31


def _hash(x: Tensor) -> Tensor:
    """Return a bijective hash of 32 bits, "lowbias32" of Wellons (2018)."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * 0x7FEB352D  # `&` makes the shift a logical one
    x = (x ^ ((x >> 15) & 0x1FFFF)) * (0x846CA68B - 2**32)
    return x ^ ((x >> 16) & 0xFFFF)


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
