"""What a run tells while it trains: lines for a person, JSON lines for programs, TensorBoard on request."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformer.errors import ConfigError
from transformer.system.clock import duration

log = logging.getLogger(__name__)


class MetricsLog:
    """Writes `metrics.jsonl` in a run directory, and TensorBoard's files if asked to."""

    def __init__(self, folder: Path, tensorboard: bool) -> None:
        self.board = _tensorboard(folder / "tensorboard") if tensorboard else None
        path = folder / "metrics.jsonl"
        before = path.read_bytes() if path.exists() else b""
        self.torn = before != b"" and not before.endswith(b"\n")  # by a kill in the middle of a line
        self.file = path.open("ab", buffering=0)

    def write(self, kind: str, values: Mapping[str, Any]) -> None:
        """Append one JSON object, or warn where that is impossible; `kind` is `train`, `valid` or another event."""
        plain = {key: _finite(value) for key, value in values.items()}
        line = ("\n" * self.torn + json.dumps({"kind": kind, **plain}, ensure_ascii=False) + "\n").encode()
        try:
            self.torn = self.file.write(line) < len(line)
        except OSError as error:
            log.warning("metrics of step %s are lost: %s: %s", values["step"], error.strerror, self.file.name)
        if self.board is not None:
            for key, value in values.items():
                if isinstance(value, (int, float)) and key != "step":
                    self.board.add_scalar(f"{kind}/{key}", value, values["step"])

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        if self.board is not None:
            self.board.close()


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError("train.tensorboard needs the package tensorboard: pip install tensorboard") from None
    return SummaryWriter(str(folder))


def _finite(value: Any) -> Any:
    """JSON has no infinities and no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def train_line(values: Mapping[str, Any]) -> str:
    """Return the log line of some updates."""
    return (
        f"step {values['step']:,}  epoch {values['epoch']:.2f}  loss {values['loss']:.3f}  "
        f"ppl {values['ppl']:.2f}  rate {values['rate']:.2e}  norm {values['grad_norm']:.2f}  "
        f"{values['tokens_per_second']:,.0f} tokens/s  {values['real']:.1%} real  "
        f"{duration(values['seconds_left'])} left"
    )


def valid_line(values: Mapping[str, Any], best: bool) -> str:
    """Return the log line of a validation."""
    scores = f"  BLEU {values['bleu']:.2f}  chrF {values['chrf']:.2f}" if "bleu" in values else ""
    mark = "  * best" if best else ""
    return f"valid at step {values['step']:,}  loss {values['loss']:.3f}  ppl {values['ppl']:.2f}{scores}{mark}"


def perplexity(loss: float) -> float:
    """Return e to the loss, infinite rather than an overflow."""
    return math.exp(loss) if loss < 700 else math.inf
