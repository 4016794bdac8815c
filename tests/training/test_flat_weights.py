"""Flat buffers hold all weights and gradients of a model, and change nothing of what it computes."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from support.random_models import KINDS

from transformer.model.network import EncoderLayer, Transformer
from transformer.training.flat_weights import ALIGNMENT, FlatWeights


def build(kind: str) -> Transformer:
    torch.manual_seed(1)
    return Transformer(KINDS[kind], (31, 37), 0, 2, 16)


@pytest.mark.parametrize("kind", KINDS)
def test_the_parameters_are_aligned_views(kind: str) -> None:
    model = build(kind)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    flat = FlatWeights(model)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name])
        offset = (p.data_ptr() - flat.weights.data_ptr()) // 4
        assert offset % ALIGNMENT == 0
        assert (offset < flat.matrices) == (p.ndim > 1)
    flat.weights.zero_()
    for view in flat.views(flat.weights).values():
        view += 0.5  # twice where two overlap
    flat.changed()
    assert all((p == 0.5).all() for p in model.parameters())


def test_both_halves_have_the_same_views_as_the_whole() -> None:
    flat = FlatWeights(build("post-none"))
    values = torch.arange(float(len(flat.weights)))
    whole, parts = flat.views(values), flat.views(*flat.halves(values))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_cast_follows_the_weights() -> None:
    """Linear layers compute with a copy in lower precision; steps are added to the float32 weights."""
    model = build("pre")
    flat = FlatWeights(model, torch.bfloat16)
    layer, norm = cast("EncoderLayer", model.encoder[0]).feed_forward.inner, model.encoder_norm
    assert layer.weight.dtype == layer.bias.dtype == torch.bfloat16
    assert norm is not None
    assert model.target_embedding.weight.dtype == norm.weight.dtype == torch.float32
    address, views = layer.weight.data_ptr(), flat.views(flat.weights)
    for _ in range(100):  # each step is too small for bfloat16
        flat.weights += 1e-4
        flat.changed()
    assert layer.weight.data_ptr() == address
    assert torch.equal(layer.weight, views["encoder.0.feed_forward.inner.weight"].bfloat16())
    other = torch.full_like(flat.weights, 0.25)
    with flat.replaced_by(other):
        assert all((p == 0.25).all() for p in model.parameters())
    assert layer.weight.data_ptr() == address
    assert torch.equal(layer.weight, views["encoder.0.feed_forward.inner.weight"].bfloat16())
    assert torch.equal(model.target_embedding.weight, views["target_embedding.weight"])
