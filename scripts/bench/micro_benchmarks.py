"""Compare three CPU kernels of training with the obvious alternatives, in turns. Prints a table of medians.

python scripts/bench/micro_benchmarks.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from transformer.model.attention import attend
from transformer.model.dropout import dropout

ROUNDS = 15


def median_ms(choices: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median milliseconds of each choice, run in turns after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in choices}
    for turn in range(ROUNDS + 2):
        for name, run in choices.items():
            started = time.perf_counter()
            run()
            if turn >= 2:
                times[name].append((time.perf_counter() - started) * 1e3)
    return {name: statistics.median(found) for name, found in times.items()}


def explicit(q: torch.Tensor) -> None:
    """Run attention as the model does on CPU, forward and backward."""
    attend(q, q, q, None, 0.0).sum().backward()


def fused(q: torch.Tensor) -> None:
    """Run the fused attention kernel of torch, forward and backward."""
    F.scaled_dot_product_attention(q, q, q).sum().backward()


def main() -> None:
    """Measure and print the table."""
    x = torch.randn(3700, 256, dtype=torch.bfloat16)
    logits = torch.randn(3700, 8000, dtype=torch.bfloat16)
    q = torch.randn(280, 4, 13, 64, dtype=torch.bfloat16, requires_grad=True)
    tables: dict[str, dict[str, Callable[[], object]]] = {
        "dropout, 3,700 x 256": {
            "random words cut in four": lambda: dropout(x, 0.3, training=True),
            "F.dropout": lambda: F.dropout(x, 0.3),
        },
        "softmax of logits, 3,700 x 8,000": {
            "bfloat16": lambda: logits.softmax(-1),
            "log_softmax in float32": lambda: logits.log_softmax(-1, dtype=torch.float32),
        },
        "attention, 280 x 4 x 13 x 64, forward and backward": {
            "matrix products and softmax": lambda: explicit(q),
            "fused kernel": lambda: fused(q),
        },
    }
    print("| bfloat16 | ours | ms | alternative | ms |\n|---|---|---|---|---|")
    for what, choices in tables.items():
        row = " | ".join(f"{name} | {ms:.1f}" for name, ms in median_ms(choices).items())
        print(f"| {what} | {row} |")


if __name__ == "__main__":
    main()
