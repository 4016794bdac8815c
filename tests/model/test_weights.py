"""`model_weights` returns every weight, and engines refuse every setting that they do not know."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from transformer.config import ModelConfig
from transformer.decoding.int8 import engine
from transformer.interchange import ctranslate2, hugging_face
from transformer.model.network import Transformer
from transformer.model.weights import ANY, Accepted, Layers, model_weights, multiple_of, one_of, unsupported

ENGINES = {"int8": engine.ACCEPTED, "ctranslate2": ctranslate2.ACCEPTED, "hugging_face": hugging_face.ACCEPTED}
each_engine = pytest.mark.parametrize("accepted", ENGINES.values(), ids=ENGINES)
SMALL = ModelConfig(width=32, heads=2, feed_forward=64, encoder_layers=2, decoder_layers=1)

MoreConfig = dataclasses.make_dataclass(
    "MoreConfig", [("norm_kind", str, "layer")], bases=(ModelConfig,), frozen=True, kw_only=True
)
"""The settings plus a new one, as if RMSNorm were added."""


def tensors(value: Any) -> list[Tensor]:
    """Return all tensors in a tree of dataclasses and layers."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Layers):
        return [tensor for part in value for tensor in tensors(part)]
    if dataclasses.is_dataclass(value):
        return [tensor for field in dataclasses.fields(value) for tensor in tensors(getattr(value, field.name))]
    return []


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("tied", ["all", "target", "none"])
@pytest.mark.parametrize("output_bias", [False, True])
def test_every_weight_is_reached(norm: Any, tied: Any, output_bias: bool) -> None:
    cfg = dataclasses.replace(SMALL, norm=norm, tied=tied, output_bias=output_bias)
    model = Transformer(cfg, (11, 11) if tied == "all" else (13, 11), 0, 2, 9)
    weights = model_weights(model)
    reached = {(tensor.data_ptr(), tensor.shape) for tensor in tensors(weights)}
    assert reached == {(weight.data_ptr(), weight.shape) for weight in model.parameters()}
    assert not any(tensor.requires_grad for tensor in tensors(weights))
    assert torch.equal(weights.encoder.embedding, model.encoder_embedding.weight)


def silently_accepted(cfg: ModelConfig, accepted: Mapping[str, Accepted]) -> list[str]:
    """Return the settings that an engine does not list but for which it accepts a value other than the default."""
    values = {field.name: getattr(cfg, field.name) for field in dataclasses.fields(cfg)}
    names = [field.name for field in dataclasses.fields(cfg) if field.name not in accepted]
    return [name for name in names if unsupported(type(cfg)(**{**values, name: "no such value"}), accepted) is None]


@each_engine
def test_a_setting_that_an_engine_does_not_know_is_refused(accepted: Mapping[str, Accepted]) -> None:
    """This holds for all current and future fields of ModelConfig."""
    assert accepted.keys() <= {field.name for field in dataclasses.fields(ModelConfig)}
    small = {field.name: getattr(SMALL, field.name) for field in dataclasses.fields(SMALL)}
    assert unsupported(SMALL, accepted) is None
    assert unsupported(MoreConfig(**small), accepted) is None
    for cfg in (SMALL, MoreConfig(**small)):
        assert silently_accepted(cfg, accepted) == []
    reason = "model.norm_kind is rms, not its default, the only value supported"
    assert unsupported(MoreConfig(**small, norm_kind="rms"), accepted) == reason
    assert unsupported(MoreConfig(**small, norm_kind="rms"), {**accepted, "norm_kind": one_of("layer", "rms")}) is None


CHOICES: dict[str, tuple[Any, ...]] = {
    "norm": ("post", "pre"),
    "activation": ("relu", "gelu", "swish"),
    "tied": ("all", "target", "none"),
    "output_bias": (False, True),
    "decoder_start": ("bos", "pad", "zero"),
}
"""The values of each setting with a fixed choice, all of which every engine supports."""


@each_engine
@pytest.mark.parametrize("name", CHOICES)
def test_a_new_value_of_a_known_setting_is_refused(name: str, accepted: Mapping[str, Accepted]) -> None:
    for value in CHOICES[name]:
        assert unsupported(dataclasses.replace(SMALL, **{name: value}), accepted) is None
    another: dict[str, Any] = {name: "another"}
    refused = unsupported(dataclasses.replace(SMALL, **another), accepted)
    assert refused is not None
    assert refused.startswith(f"model.{name} is another, not ")


def test_accepted_values_as_text() -> None:
    rules = {"width": multiple_of(32), "norm": one_of("post", "pre"), "heads": ANY}
    assert unsupported(ModelConfig(width=48), rules) == "model.width is 48, not a multiple of 32"
    wrong: Any = "sandwich"
    assert unsupported(ModelConfig(norm=wrong), rules) == "model.norm is sandwich, not post or pre"
    assert unsupported(ModelConfig(heads=3), rules) is None


def test_a_setting_without_a_default_must_be_named() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Needing(ModelConfig):
        rotation: str

    assert unsupported(Needing(rotation="rotary"), {}) is not None
