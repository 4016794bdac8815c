"""A copy of a model whose weights are cast once, not at each product."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from transformer.model.network import Transformer


class CastCopy:
    """A copy of a model for arithmetic in one dtype, which follows changes of the weights at the same addresses.

    It shares the weights of embeddings and layer norms, which compute in float32.
    """

    def __init__(self, model: Transformer, dtype: torch.dtype) -> None:
        wide = [module for module in model.modules() if isinstance(module, (nn.Embedding, nn.LayerNorm))]
        shared = {id(each) for module in wide for each in module.parameters()}
        self._masters: list[Tensor] = [each for each in model.parameters() if id(each) not in shared]
        with torch.inference_mode(False), torch.no_grad():
            self._copies: list[Tensor] = [nn.Parameter(each.to(dtype, copy=True), False) for each in self._masters]
            memo: dict[int, Tensor] = {id(each): each for each in [*model.parameters(), *model.buffers()]}
            memo |= {id(each): copied for each, copied in zip(self._masters, self._copies, strict=True)}
            self.model = copy.deepcopy(model, memo).eval()
        self.model.compute_dtype = dtype
        self._seen = self._versions()

    def current(self) -> Transformer:
        """Return the copy with the present weights."""
        if (versions := self._versions()) != self._seen:
            with torch.inference_mode(False), torch.no_grad():
                torch._foreach_copy_(self._copies, self._masters)
            self._seen = versions
        return self.model

    def _versions(self) -> list[tuple[int, int]]:
        """Return what changes when a weight changes. Tensors made in inference mode have no version."""
        return [(each.data_ptr(), 0 if each.is_inference() else each._version) for each in self._masters]
