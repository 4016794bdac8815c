"""Attention weights are those that the network uses, in each layer and head."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from transformer.config import ModelConfig
from transformer.model.attention_maps import AttentionMaps, attention_maps
from transformer.model.network import Transformer

PAD = 0


def network(norm: str = "post") -> Transformer:
    torch.manual_seed(1)
    cfg = ModelConfig(width=16, heads=4, feed_forward=32, encoder_layers=3, decoder_layers=2, norm=norm)  # type: ignore[arg-type]
    return Transformer(cfg, (20, 20), PAD, 1, 30).eval()


def ids(*shape: int) -> Tensor:
    return torch.randint(3, 20, shape, generator=torch.Generator().manual_seed(sum(shape)))


def maps_of(model: Transformer) -> AttentionMaps:
    return attention_maps(model, ids(2, 7), ids(2, 5))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_weights_have_a_row_for_each_position_that_sums_to_one(norm: str) -> None:
    maps = maps_of(network(norm))
    assert [each.shape for each in maps] == [(3, 2, 4, 7, 7), (2, 2, 4, 5, 5), (2, 2, 4, 5, 7)]
    for each in maps:
        torch.testing.assert_close(each.sum(-1), torch.ones(each.shape[:-1]))
        assert each.std() > 0.01  # not uniform


def test_the_future_and_padding_have_no_weight() -> None:
    source = ids(2, 7)
    source[1, 4:] = PAD
    maps = attention_maps(network(), source, ids(2, 5))
    assert maps.decoder.triu(1).abs().max() == 0
    assert maps.encoder[:, 1, :, :, 4:].abs().max() == 0
    assert maps.cross[:, 1, :, :, 4:].abs().max() == 0


def test_weights_times_values_are_what_the_layers_return() -> None:
    model = network()
    layer: Any = model.decoder[1].cross
    seen: dict[str, Any] = {}
    layer.register_forward_hook(lambda module, args, result: seen.update(memory=args[1], result=result))
    weights_BHTS = maps_of(model).cross[1]
    _, values_BHSE = seen["memory"]
    torch.testing.assert_close(layer.out((weights_BHTS @ values_BHSE).transpose(1, 2).flatten(2)), seen["result"])


def test_computing_them_changes_nothing_and_leaves_nothing_behind() -> None:
    model = network()
    before = model(ids(2, 7), ids(2, 5))
    maps_of(model)
    assert torch.equal(model(ids(2, 7), ids(2, 5)), before)
    assert not any(module._forward_pre_hooks for module in model.modules())
