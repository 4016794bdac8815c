"""Products of activations with weight matrices in torch, using the fastest kernel of each device.

A master weight keeps its precision and shape. The product reads a packed copy of it: cast to the dtype of the
activations and, on a CPU, in the blocked layout of oneDNN. A weight is packed on first use and again after it has
changed: once per update in training, once in total for translation.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from transformer.model import kernels

for _name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    # oneDNN caches the code that it compiles for each shape of operands, 1,024 entries in each of two caches. Two
    # batches hardly ever share a shape, so it cost gigabytes (2.8 GiB instead of 0.8 at width 128) and 10 % of the
    # speed. The layers of one batch need only a few entries. oneDNN reads these variables at its first product.
    os.environ.setdefault(_name, "64")


class PackedWeights:
    """Packed copies of one weight of shape (outputs, inputs), for the forward and the backward product.

    A change of the weight is detected by its storage and its autograd version. Code that changes a weight without
    autograd noticing (through `.data`, or a fused kernel) must call `torch.autograd.graph.increment_version`.
    """

    def __init__(self) -> None:
        self._copies: dict[str, tuple[Any, Tensor]] = {}
        self._kept: Tensor | None = None

    def __reduce__(self) -> Any:
        return PackedWeights, ()  # a copy of a model packs its weights itself

    def keep(self, copy: Tensor | None) -> None:
        """Use a copy in its dtype that its owner updates in place, or no longer."""
        self._kept = copy

    def forward(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the packed copy for `x @ weight.T`."""
        if self._kept is not None and self._kept.dtype == dtype:
            return self._kept
        return self._packed("forward", weight, dtype)

    def backward(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the packed copy for `gradient @ weight`."""
        if not packs(weight.device.type, dtype):
            return self.forward(weight, dtype).t()
        return self._packed("backward", weight, dtype)

    def repack(self, weight: Tensor, dtype: torch.dtype) -> None:
        """Pack both copies now if the weight has changed."""
        self.forward(weight, dtype)
        self.backward(weight, dtype)

    def _packed(self, use: str, weight: Tensor, dtype: torch.dtype) -> Tensor:
        if weight.is_inference():  # such a tensor has no version counter
            return _pack_for(use, weight, dtype)
        state = (weight.data_ptr(), weight._version, weight.device, dtype)
        if use not in self._copies or self._copies[use][0] != state:
            with torch.inference_mode(False), torch.no_grad():
                self._copies[use] = (state, _pack_for(use, weight, dtype))
        return self._copies[use][1]


def _pack_for(use: str, weight: Tensor, dtype: torch.dtype) -> Tensor:
    matrix = (weight if use == "forward" else weight.t()).to(dtype)
    return _pack(matrix) if packs(weight.device.type, dtype) else matrix


def product(x: Tensor, packed: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """Return `x @ matrix.T + bias`, with ReLU applied if `relu`. Records no graph for gradients."""
    bias = None if bias is None else bias.to(x.dtype)
    if packs(x.device.type, x.dtype):
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "relu" if relu else "none", [], "")
        return found
    y = F.linear(x, packed, bias)
    return y.relu_() if relu else y


def affine(x: Tensor, weight: Tensor, bias: Tensor | None, packed: PackedWeights, relu: bool = False) -> Tensor:
    """Return `x @ weight.T + bias`, with ReLU applied if `relu`. Gradients flow to all three operands."""
    if not torch.is_grad_enabled():
        return product(x, packed.forward(weight, x.dtype), bias, relu)
    found: Tensor = _Affine.apply(x, weight, bias, packed, relu)
    return found


class Linear(nn.Module):
    """A linear layer that computes in the dtype of its input. The weight may stack `blocks` matrices (q, k, v)."""

    def __init__(self, inputs: int, outputs: int, blocks: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.block = outputs // blocks
        self.packed = PackedWeights()

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        if kernels.on_gpu(x) and torch.is_grad_enabled():
            y = F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))  # no casts if the weights have been cast
            return F.relu(y) if relu else y
        return affine(x, self.weight, self.bias, self.packed, relu)


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, packed: PackedWeights, relu: bool) -> Tensor:
        y = product(x, packed.forward(weight, x.dtype), bias, relu)
        ctx.packed, ctx.relu, ctx.has_bias = packed, relu, bias is not None
        ctx.save_for_backward(x, weight, y if relu else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, weight, y = ctx.saved_tensors
        if ctx.relu:
            grad = torch.ops.aten.threshold_backward(grad, y, 0)
        x_grad = product(grad, ctx.packed.backward(weight, grad.dtype)) if ctx.needs_input_grad[0] else None
        rows = grad.reshape(-1, grad.shape[-1])
        bias_grad = rows.sum(0) if ctx.has_bias else None
        return x_grad, rows.t() @ x.reshape(-1, x.shape[-1]), bias_grad, None, None


@cache
def packs(device: str, dtype: torch.dtype) -> bool:
    """Return whether this device supports weights in oneDNN's blocked layout. Tested once, on a small product."""
    if device != "cpu" or dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    x, weight = torch.eye(16, dtype=dtype), torch.arange(256.0).view(16, 16).to(dtype)
    try:
        found = torch.ops.mkldnn._linear_pointwise(x, _pack(weight), None, "none", [], "")
    except (AttributeError, RuntimeError):  # another build of torch
        return False
    return torch.equal(found, weight.t())


def _pack(matrix: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(matrix.contiguous(), None)
    return packed
