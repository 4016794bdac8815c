"""A copy of a model whose weights are cast once, not at each product."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from transformer.model.network import Transformer


class CastCopy:
    """A copy of a model for arithmetic in one dtype. It shares embeddings and follows changes of the weights.

    Embeddings keep their precision, as they are added up before they are rounded. The weights of the copy keep their
    addresses when they change.
    """

    def __init__(self, model: Transformer, dtype: torch.dtype) -> None:
        embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        self._masters: list[Tensor] = [each for each in model.parameters() if id(each) not in embeddings]
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
