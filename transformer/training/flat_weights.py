"""All weights of a model in one buffer, and all gradients in another.

An operation on all weights is then one operation on one tensor: the optimizer's step, the moving average, the sum of
the gradients over processes, the cast to a lower precision.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping

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

    def __init__(
        self, model: Transformer, cast: torch.dtype | None = None, shards: int = 1, frozen: Collection[str] = ()
    ) -> None:
        """The size of a buffer is a multiple of `shards`. `frozen` names weights that training leaves as they are."""
        self.parameters = dict(model.named_parameters())
        self._output = model.output_packed
        linear = {id(p) for each in model.modules() if isinstance(each, Linear) for p in each.parameters()}
        self._slices: dict[str, slice] = {}
        end = cast_end = self.matrices = 0
        for name in sorted(self.parameters, key=lambda name: _place(self.parameters[name], linear, name in frozen)):
            p = self.parameters[name]
            self._slices[name] = slice(end, end + p.numel())
            end += p.numel() + -p.numel() % ALIGNMENT
            if p.ndim > 1 and name not in frozen:
                self.matrices = end
            if p.ndim > 1 or id(p) in linear:
                cast_end = end
        end += -end % (shards * ALIGNMENT)
        self.weights = torch.zeros(end, device=next(model.parameters()).device)
        self.summed = torch.zeros(end + 1, device=self.weights.device)
        """The gradients, and the loss of the update after them: what is summed over the processes."""
        self.gradients = self.summed[:end]
        self.gradient_views = list(self.views(self.gradients).values())
        """The gradient of each parameter, in the order of `parameters`."""
        self._held = self._held_parts(model, frozen)
        self.fill(self.weights, {name: p.detach() for name, p in self.parameters.items()})
        self._cast = None if cast is None else self.weights[:cast_end].to(cast)
        self._linear = [name for name, p in self.parameters.items() if id(p) in linear]
        (self._output_name,) = (name for name, p in self.parameters.items() if p is model.output_weight)
        self._point_to(self.weights)

    matrices: int
    """Number of elements of the first part of a buffer, which has all matrices but frozen ones: weight decay applies to
    it."""

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

    def _held_parts(self, model: Transformer, frozen: Collection[str]) -> list[Tensor]:
        """Return the gradients of weights that training leaves as they are."""
        views = self.views(self.gradients)
        held = [views[name] for name in frozen]
        if model.cfg.decoder_start == "zero":
            (name,) = (name for name, p in self.parameters.items() if p is model.target_embedding.weight)
            held.append(views[name][model.pad])
        return held

    def hold(self) -> None:
        """Set the gradients to zero of weights that training leaves as they are."""
        for each in self._held:
            each.zero_()

    def changed(self) -> None:
        """Take note that `weights` has changed: cast it again, and have packed copies made anew."""
        if self._cast is not None:
            self._cast.copy_(self.weights[: len(self._cast)])
        # Autograd does not see a change made through a view of the same memory, and PackedWeights relies on it.
        torch.autograd.graph.increment_version(list(self.parameters.values()))

    @contextlib.contextmanager
    def replaced_by(self, other: Tensor) -> Iterator[None]:
        """Let the model have the float32 weights in a buffer of this layout, and no cast ones, while the block runs."""
        self._point_to(other, cast=False)
        try:
            yield
        finally:
            self._point_to(self.weights)

    def _point_to(self, flat: Tensor, cast: bool = True) -> None:
        views = self.views(flat)
        self._output.keep(None)
        if self._cast is not None and cast:
            low = {name: self._cast[self._slices[name]] for name in (*self._linear, self._output_name)}
            views |= {name: low[name].view(self.parameters[name].shape) for name in self._linear}
            self._output.keep(low[self._output_name].view(self.parameters[self._output_name].shape))
        for name, p in self.parameters.items():
            p.data = views[name]
        self.changed()


def _place(p: nn.Parameter, linear: set[int], frozen: bool) -> tuple[bool, bool, bool]:
    """Return where a weight is: matrices first, those that decay before frozen ones, and the vectors of linear layers
    before others, which are not cast."""
    return p.ndim <= 1, frozen and p.ndim > 1, id(p) not in linear
