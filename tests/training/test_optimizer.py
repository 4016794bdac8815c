"""The learning-rate schedules, weight decay and the moving average."""

from __future__ import annotations

import pytest
import torch
from support.random_models import SMALL

from transformer.config import TrainConfig
from transformer.model.network import Transformer
from transformer.training.flat_weights import FlatWeights
from transformer.training.optimizer import MovingAverage, build_optimizer, learning_rate, set_learning_rate


def test_noam_follows_the_papers_formula() -> None:
    cfg = TrainConfig()
    for step in (1, 10, 3999, 4000, 4001, 100_000):
        assert learning_rate(step, cfg, 512) == pytest.approx(512**-0.5 * min(step**-0.5, step * 4000**-1.5))


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_decaying_rates_reach_zero_after_the_last_step(kind: str) -> None:
    cfg = TrainConfig(schedule=kind, warmup_steps=10, max_steps=100, peak_rate=1.0)  # type: ignore[arg-type]
    rates = [learning_rate(step, cfg, 512) for step in range(1, 102)]
    assert max(rates) == rates[9] == 1.0
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[99] > 0
    assert rates[100] == pytest.approx(0, abs=1e-12)


def test_constant_rate_and_no_warmup() -> None:
    cfg = TrainConfig(schedule="constant", warmup_steps=0, peak_rate=0.5)
    assert {learning_rate(step, cfg, 512) for step in (1, 2, 10**6)} == {0.5}


def test_only_matrices_decay() -> None:
    model = Transformer(SMALL, (9, 9), 0, 2, 8)
    weights = FlatWeights(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = build_optimizer(weights, TrainConfig(weight_decay=0.1))
    set_learning_rate(optimizer, 0.5)
    optimizer.step()  # of a gradient of zero
    for name, p in model.named_parameters():
        torch.testing.assert_close(p, before[name] * (0.95 if p.ndim > 1 else 1.0))


def test_average_of_constant_weights_is_those_weights() -> None:
    weights = torch.randn(3)
    average = MovingAverage(weights, 0.9)
    weights.fill_(5.0)
    for step in range(1, 300):
        average.update(step)
    torch.testing.assert_close(average.average, weights)
