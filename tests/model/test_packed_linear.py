"""Products with packed weights equal torch's up to rounding, and packed weights are never stale."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.toy import CPU
from torch import Tensor, nn

from transformer import config_file
from transformer.config import Config
from transformer.model.packed_linear import Linear, PackedWeights, affine, product
from transformer.system.clock import Stopwatch
from transformer.system.distributed import Ranks
from transformer.training.session import build_loop

PRECISIONS = [torch.float32, torch.bfloat16]


def plain(device: str, dtype: torch.dtype) -> bool:
    """Answer like `packed_linear.packs` on a machine without oneDNN."""
    return False


@pytest.fixture(params=["packed", "plain"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with and without oneDNN's layout."""
    if request.param == "plain":
        monkeypatch.setattr("transformer.model.packed_linear.packs", plain)


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_products_and_gradients_equal_torch(dtype: torch.dtype, with_bias: bool, relu: bool) -> None:
    torch.manual_seed(1)
    x = torch.randn(3, 5, 24).to(dtype).requires_grad_()
    weight = nn.Parameter(torch.randn(40, 24))
    bias = nn.Parameter(torch.randn(40)) if with_bias else None
    given = [tensor for tensor in (x, weight, bias) if tensor is not None]
    wanted = F.linear(x.float(), weight.to(dtype).float(), None if bias is None else bias.to(dtype).float())
    wanted = wanted.relu() if relu else wanted
    found = affine(x, weight, bias, PackedWeights(), relu)
    assert found.dtype == dtype
    upstream = torch.randn(3, 5, 40).to(dtype)
    atol, rtol = (1e-4, 1e-4) if dtype == torch.float32 else (0.15, 0.03)
    torch.testing.assert_close(found.float(), wanted, atol=atol, rtol=rtol)
    for ours, theirs in zip(
        torch.autograd.grad(found, given, upstream), torch.autograd.grad(wanted, given, upstream.float()), strict=True
    ):
        torch.testing.assert_close(ours.float(), theirs.float(), atol=atol, rtol=rtol)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_packed_weights_follow_the_weight(dtype: torch.dtype) -> None:
    weight, packed, x = nn.Parameter(torch.randn(16, 16)), PackedWeights(), torch.randn(4, 16).to(dtype)

    def multiply() -> Tensor:
        return product(x, packed.forward(weight, dtype))

    first = multiply()
    assert torch.equal(multiply(), first)
    made = packed.forward(weight, dtype)
    assert packed.forward(weight, dtype) is made
    with torch.no_grad():
        weight.mul_(2)
    assert torch.equal(multiply(), 2 * first)
    other = torch.zeros(16, 16)
    weight.data, other = other, weight.data  # as when averaged weights are swapped in and out
    assert not multiply().any()
    weight.data, other = other, weight.data
    assert torch.equal(multiply(), 2 * first)


def test_weights_packed_for_translation_work_in_training() -> None:
    affine = Linear(8, 8)
    with torch.no_grad():
        affine.weight.normal_()
        affine.bias.zero_()
    x = torch.randn(2, 8)
    with torch.inference_mode():
        expected = affine(x).clone()
    y = affine(x.requires_grad_())
    y.sum().backward()
    assert torch.equal(y, expected)
    assert affine.weight.grad is not None


def test_copies_do_not_share_packed_weights() -> None:
    affine = Linear(8, 8)
    nn.init.ones_(affine.weight)
    nn.init.zeros_(affine.bias)
    expected = affine(torch.ones(1, 8))
    assert torch.equal(copy.deepcopy(affine)(torch.ones(1, 8)), expected)
    assert torch.equal(pickle.loads(pickle.dumps(affine))(torch.ones(1, 8)), expected)  # noqa: S301


def test_weights_without_a_version_and_one_dimension() -> None:
    with torch.inference_mode():
        affine = Linear(8, 8)
        nn.init.ones_(affine.weight)
        nn.init.zeros_(affine.bias)
        first = affine(torch.ones(8)).clone()
        affine.weight.mul_(2)
        assert torch.equal(affine(torch.ones(8)), 2 * first)
    plain = Linear(8, 8)
    x = torch.ones(8, requires_grad=True)
    plain(x).sum().backward()
    assert x.grad is not None


def curve(cfg: Config, folder: Path) -> list[float]:
    """Return the losses of twenty updates."""
    loop = build_loop(cfg, folder, CPU, Ranks(), Stopwatch())
    loop.trainer.model.train()
    losses = []
    for _, cut in zip(range(20), loop.cut_updates(), strict=False):
        loop.update(cut)
        losses.append(loop.take_statistics()["loss"])
    return losses


@pytest.mark.parametrize(("precision", "rounding"), [("float32", 1e-4), ("bfloat16", 2e-2)])
def test_the_loss_curve_equals_that_of_plain_products(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, rounding: float
) -> None:
    """The seed is the same, including dropout. Weights that were not packed again would not change."""
    cfg = config_file.override(tiny, [f"train.precision={precision}", "train.max_steps=20"])
    fast = curve(cfg, tmp_path)
    monkeypatch.setattr("transformer.model.packed_linear.packs", plain)
    assert fast == pytest.approx(curve(cfg, tmp_path), rel=rounding)
    assert fast[-1] < 0.9 * fast[0]
