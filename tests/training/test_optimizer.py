"""The learning-rate schedules, weight decay and the moving average."""

from __future__ import annotations

import pytest
import torch

from transformer.config import TrainConfig
from transformer.training.optimizer import MovingAverage, build_optimizer, learning_rate


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
    model = torch.nn.Linear(2, 2)
    groups = build_optimizer(model, TrainConfig(weight_decay=0.1)).param_groups
    assert [(group["weight_decay"], [p.ndim for p in group["params"]]) for group in groups] == [
        (0.1, [2]),
        (0.0, [1]),
    ]


def test_average_of_constant_weights_is_those_weights() -> None:
    weights = [torch.randn(3)]
    average = MovingAverage(weights, 0.9)
    weights[0].fill_(5.0)
    for step in range(1, 300):
        average.update(step)
    torch.testing.assert_close(average.weights, weights)
