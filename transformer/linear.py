"""Products of activations with weight matrices, each device's fastest way; nothing else in the package picks kernels
for them.

A master weight is kept in its own precision and shape. What is multiplied is a layout of it: cast to the dtype of the
activations and, on CPU, stored in the blocks that oneDNN's products read. Layouts are made when first needed and again
when the weight has changed, so once an update in training and once for good in translating.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

for _name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    # oneDNN keeps what it compiled for each shape of operands, 1,024 of them in two places. Hardly a batch has the
    # shape of another, so that takes gigabytes and gives nothing; the layers of one batch are served by a few. These
    # are read at the first product.
    os.environ.setdefault(_name, "64")


class Layouts:
    """The layouts of one weight of shape (outputs, inputs).

    That the weight has changed is told by its storage and its version, as autograd counts them. Who changes a weight
    behind autograd's back, through `.data` or in a kernel that does not count, says so with
    `torch.autograd.graph.increment_version`.
    """

    def __init__(self) -> None:
        self._made: dict[str, tuple[Any, Tensor]] = {}

    def __reduce__(self) -> Any:
        return Layouts, ()  # a copy of a model makes its own

    def forward(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the layout for `x @ weight.T`."""
        return self._layout("forward", weight, dtype)

    def backward(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the layout for `gradient @ weight`."""
        return self._layout("backward", weight, dtype)

    def renew(self, weight: Tensor, dtype: torch.dtype) -> None:
        """Make both layouts now if they are not up to date."""
        self.forward(weight, dtype)
        self.backward(weight, dtype)

    def _layout(self, use: str, weight: Tensor, dtype: torch.dtype) -> Tensor:
        if weight.is_inference():  # has no version to go by
            return _layout(use, weight, dtype)
        state = (weight.data_ptr(), weight._version, weight.device, dtype)
        if use not in self._made or self._made[use][0] != state:
            with torch.inference_mode(False), torch.no_grad():
                self._made[use] = (state, _layout(use, weight, dtype))
        return self._made[use][1]


def _layout(use: str, weight: Tensor, dtype: torch.dtype) -> Tensor:
    matrix = (weight if use == "forward" else weight.t()).to(dtype)
    return _pack(matrix) if packs(weight.device.type, dtype) else matrix


def product(x: Tensor, layout: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """Return `x @ matrix.T + bias`, and its positive part if asked for, without a graph for gradients."""
    bias = None if bias is None else bias.to(x.dtype)
    if packs(x.device.type, x.dtype):
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, layout, bias, "relu" if relu else "none", [], "")
        return found
    y = F.linear(x, layout, bias)
    return y.relu_() if relu else y


def affine(x: Tensor, weight: Tensor, bias: Tensor | None, layouts: Layouts, relu: bool = False) -> Tensor:
    """Return `x @ weight.T + bias`, and its positive part if asked for; gradients flow to all three."""
    if not torch.is_grad_enabled():
        return product(x, layouts.forward(weight, x.dtype), bias, relu)
    found: Tensor = _Affine.apply(x, weight, bias, layouts, relu)
    return found


class Linear(nn.Module):
    """An affine map whose weights are cast to the dtype of its input; `blocks` matrices in one."""

    def __init__(self, inputs: int, outputs: int, blocks: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.block = outputs // blocks
        self.layouts = Layouts()

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        return affine(x, self.weight, self.bias, self.layouts, relu)


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layouts: Layouts, relu: bool) -> Tensor:
        y = product(x, layouts.forward(weight, x.dtype), bias, relu)
        ctx.layouts, ctx.relu, ctx.has_bias = layouts, relu, bias is not None
        ctx.save_for_backward(x, weight, y if relu else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, weight, y = ctx.saved_tensors
        if ctx.relu:
            grad = torch.ops.aten.threshold_backward(grad, y, 0)
        x_grad = product(grad, ctx.layouts.backward(weight, grad.dtype)) if ctx.needs_input_grad[0] else None
        rows = grad.reshape(-1, grad.shape[-1])
        bias_grad = rows.sum(0) if ctx.has_bias else None
        return x_grad, rows.t() @ x.reshape(-1, x.shape[-1]), bias_grad, None, None


@cache
def packs(device: str, dtype: torch.dtype) -> bool:
    """Return whether this device multiplies by weights in oneDNN's blocks: tried once, with a small product."""
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
