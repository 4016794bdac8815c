"""Worker of bench/train.py: the rate of torch.mm at the shapes of the model.

Computes the three products of training (forward, gradient of the input, gradient of the weight) for every linear layer
of the model, with as many rows as an average update has without padding. Reports operations and seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from train_common import clock_of, read_updates, start
from worker import Job, report


def linears(job: Job) -> list[tuple[int, int, int]]:
    """Return rows, inputs and outputs of each linear layer of the model."""
    updates, size = read_updates(job), job["size"]
    source, target = (
        sum(len(row) + 1 for update in updates for row in update[side]) // len(updates) for side in ("source", "target")
    )
    d, f = size["width"], size["feed_forward"]
    encoder = [(source, d, 3 * d), (source, d, d), (source, d, f), (source, f, d)]
    decoder = [(target, d, 3 * d), (target, d, d), (target, d, d), (source, d, 2 * d), (target, d, d)]
    decoder += [(target, d, f), (target, f, d)]
    return [*(encoder * size["layers"]), *(decoder * size["layers"]), (target, d, job["vocabulary"])]


def multiply(shapes: list[tuple[int, int, int]], dtype: torch.dtype, clock: Callable[[], float]) -> tuple[float, float]:
    """Return floating-point operations and seconds of all products; outputs are allocated before timing."""
    operations, seconds = 0.0, 0.0
    for rows, inputs, outputs in shapes:
        x, weight = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
        y, x_grad, weight_grad = torch.ones(rows, outputs, dtype=dtype), torch.ones_like(x), torch.ones_like(weight)
        started = clock()
        torch.mm(x, weight.t(), out=y)
        torch.mm(y, weight, out=x_grad)
        torch.mm(y.t(), x, out=weight_grad)
        seconds += clock() - started
        operations += 6.0 * rows * inputs * outputs
    return operations, seconds


def main() -> None:
    """Measure and report."""
    job = start()
    shapes, dtype, clock = linears(job), getattr(torch, job["precision"]), clock_of(job)
    for _ in range(job["warm"]):
        multiply(shapes, dtype, clock)
    rounds = [multiply(shapes, dtype, clock) for _ in range(job["timed"])]
    report(flops=sum(operations for operations, _ in rounds), seconds=sum(seconds for _, seconds in rounds))


if __name__ == "__main__":
    main()
