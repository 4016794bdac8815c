"""All weights of a model in one buffer, and all gradients in another.

An operation on all weights is then one operation on one tensor: the optimizer's step, the moving average, the sum of
the gradients over processes, the cast to a lower precision.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from transformer.model.network import Transformer
from transformer.model.packed_linear import Linear

ALIGNMENT = 64
"""Elements that each weight is aligned to, as vectorized kernels require. The gaps hold zeros."""


class FlatWeights:
    """The weights in float32, to which the optimizer's steps are added, and their gradients.

    The parameters of the model become views of the buffer. With `cast` those of the linear layers become views of a
    copy in that precision, which the network computes with; gradients are then taken with respect to the copy.
    """

    def __init__(self, model: Transformer, cast: torch.dtype | None = None) -> None:
        self.parameters = dict(model.named_parameters())
        linear = {id(p) for each in model.modules() if isinstance(each, Linear) for p in each.parameters()}
        # Matrices first, since only they decay; the weights of linear layers first among both, so that a cast is two
        # copies.
        names = sorted(self.parameters, key=lambda name: _place(self.parameters[name], linear))
        self._slices: dict[str, slice] = {}
        end = 0
        for name in names:
            start, end = end, end + self.parameters[name].numel()
            self._slices[name] = slice(start, end)
            end += -end % ALIGNMENT
        self.matrices = self._end([name for name in names if self.parameters[name].ndim > 1])
        """Number of elements of the part that weight decay applies to."""
        any_weight = next(iter(self.parameters.values()))
        self.weights = torch.zeros(end, device=any_weight.device)
        self.gradients = torch.zeros_like(self.weights)
        self.gradient_views = list(self.views(self.gradients).values())
        """The gradient of each parameter, in the order of `parameters`."""
        for name, view in self.views(self.weights).items():
            view.copy_(self.parameters[name].detach())
        self._cast: list[tuple[slice, Tensor]] = []
        if cast is not None:
            for kind in (True, False):
                group = [n for n in names if id(self.parameters[n]) in linear and (self.parameters[n].ndim > 1) == kind]
                part = slice(self._slices[group[0]].start, self._end(group))
                self._cast.append((part, self.weights[part].to(cast)))
        self._point_to(self.weights)

    def _end(self, names: Sequence[str]) -> int:
        """Return where the last of these weights and the gap after it end."""
        end = max((self._slices[name].stop for name in names), default=0)
        return end + -end % ALIGNMENT

    def views(self, *flat: Tensor) -> dict[str, Tensor]:
        """Return the part of each parameter in a buffer of this layout, in its shape, by its name.

        The buffer may be given as two: that of the matrices and that of the rest.
        """
        starts = (0, self.matrices) if len(flat) == 2 else (0,)
        found = {}
        for name, p in self.parameters.items():
            i = len(starts) - 1 if self._slices[name].start >= starts[-1] else 0
            first = self._slices[name].start - starts[i]
            found[name] = flat[i][first : first + p.numel()].view(p.shape)
        return found

    def halves(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Return the part of the matrices in a buffer of this layout, and that of the other weights."""
        return flat[: self.matrices], flat[self.matrices :]

    def fill(self, flat: Tensor, values: Mapping[str, Tensor]) -> None:
        """Copy values by the names of the parameters into a buffer of this layout."""
        for name, view in self.views(flat).items():
            view.copy_(values[name])

    def changed(self) -> None:
        """Take note that `weights` has changed: cast it again, and have packed copies made anew."""
        for part, low in self._cast:
            low.copy_(self.weights[part])
        # Autograd does not see a change made through a view of the same memory, and PackedWeights relies on it.
        torch.autograd.graph.increment_version(list(self.parameters.values()))

    @contextlib.contextmanager
    def replaced_by(self, other: Tensor) -> Iterator[None]:
        """Compute with the weights in another buffer of this layout while the block runs."""
        self._point_to(other)
        try:
            yield
        finally:
            self._point_to(self.weights)

    def _point_to(self, flat: Tensor) -> None:
        views = self.views(flat)
        for part, low in self._cast:
            low.copy_(flat[part])
            for name, piece in self._slices.items():
                if part.start <= piece.start < part.stop:
                    shape = self.parameters[name].shape
                    views[name] = low[piece.start - part.start : piece.stop - part.start].view(shape)
        for name, p in self.parameters.items():
            p.data = views[name]
        torch.autograd.graph.increment_version(list(self.parameters.values()))


def _place(p: nn.Parameter, linear: set[int]) -> tuple[bool, bool]:
    return p.ndim <= 1, id(p) not in linear
