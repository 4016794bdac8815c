"""The loss and its gradients equal torch's label-smoothed cross-entropy, and sums add up."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from transformer.model.loss import ROWS, label_smoothed


def case(tokens: int = 37, width: int = 8, vocab: int = 23) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    hidden = torch.randn(tokens, width, requires_grad=True)
    weight = torch.randn(vocab, width, requires_grad=True)
    bias = torch.randn(vocab, requires_grad=True)
    return hidden, weight, bias, torch.randint(0, vocab, (tokens,))


@pytest.mark.parametrize("rows", [5, 4096])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("with_bias", [True, False])
def test_equals_torch(monkeypatch: pytest.MonkeyPatch, rows: int, smoothing: float, with_bias: bool) -> None:
    monkeypatch.setitem(ROWS, "cpu", rows)
    hidden, weight, bias, target = case()
    used = bias if with_bias else None
    wanted = F.cross_entropy(F.linear(hidden, weight, used), target, label_smoothing=smoothing, reduction="sum")
    inputs = [hidden, weight] + ([bias] if with_bias else [])
    grads = torch.autograd.grad(wanted / 7, inputs)
    found = label_smoothed(hidden, weight, used, target, smoothing)
    assert found.tokens == len(target)
    torch.testing.assert_close(found.smoothed, wanted)
    torch.testing.assert_close(found.nll, F.cross_entropy(F.linear(hidden, weight, used), target, reduction="sum"))
    for mine, theirs in zip(torch.autograd.grad(found.smoothed / 7, inputs), grads, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-6, rtol=1e-4)


def test_sums_add_up() -> None:
    hidden, weight, bias, target = case()
    whole = label_smoothed(hidden, weight, bias, target, 0.1)
    parts = [label_smoothed(hidden[s], weight, bias, target[s], 0.1) for s in (slice(0, 11), slice(11, None))]
    torch.testing.assert_close(whole.smoothed, parts[0].smoothed + parts[1].smoothed)
    torch.testing.assert_close(whole.nll, parts[0].nll + parts[1].nll)


def test_very_improbable_targets_stay_exact() -> None:
    hidden, weight = torch.tensor([[1000.0]]), torch.tensor([[1.0], [-1.0]])
    found = label_smoothed(hidden, weight, None, torch.tensor([1]), 0.0)
    assert float(found.nll) == 2000.0


def test_bfloat16_is_near_float32() -> None:
    hidden, weight, bias, target = case(200, 32, 50)
    exact = label_smoothed(hidden, weight, bias, target, 0.1)
    near = label_smoothed(hidden.bfloat16(), weight, bias, target, 0.1)
    torch.testing.assert_close(near.smoothed, exact.smoothed, rtol=0.01, atol=0)
