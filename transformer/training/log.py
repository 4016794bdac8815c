"""The training log: lines for people, JSON lines for programs, and TensorBoard on request."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformer import atomic
from transformer.data.batching import CutUpdate
from transformer.errors import ConfigError
from transformer.evaluation import metrics
from transformer.runs.layout import METRICS
from transformer.runs.progress import Progress
from transformer.system.clock import duration

log = logging.getLogger(__name__)


@dataclass
class WindowStatistics:
    """Sums over the updates since the last log line."""

    nll: float = 0.0
    nll_tokens: int = 0
    """Number of target tokens that `nll` is summed over. Skipped updates do not count."""
    skipped: int = 0
    tokens: int = 0
    real: int = 0
    padded: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    """Part of `seconds` that the host spent waiting for other processes."""
    data_seconds: float = 0.0
    """Part of `seconds` spent waiting for the next batches."""

    def count(self, cut: CutUpdate[Any]) -> None:
        """Add the tokens of an update, and the sizes of this process's batches."""
        self.tokens += cut.tokens
        self.real += sum(batch.real for batch in cut.batches)
        self.padded += sum(batch.padded for batch in cut.batches)


class MetricsLog:
    """Appends to `metrics.jsonl` in a run directory and, on request, to TensorBoard. Created by `open_log`."""

    def __init__(self, file: Any, board: Any) -> None:
        self.file, self.board = file, board
        self.torn = False
        """Whether the file ends in the middle of a line, as after a disk was full."""

    def write(self, kind: str, values: Mapping[str, Any]) -> None:
        """Append one JSON object, or log a warning if that fails. `kind` is `train`, `valid` or another event."""
        plain = {key: _finite(value) for key, value in values.items()}
        line = ("\n" * self.torn + json.dumps({"kind": kind, **plain}, ensure_ascii=False) + "\n").encode()
        try:
            self.torn = self.file.write(line) < len(line)
        except OSError as error:
            log.warning(
                "metrics of step %s could not be written: %s: %s", values["step"], error.strerror, self.file.name
            )
        scalars = {key: value for key, value in values.items() if isinstance(value, (int, float)) and key != "step"}
        try:
            for key, value in scalars.items() if self.board is not None else ():
                self.board.add_scalar(f"{kind}/{key}", value, values["step"])
        except Exception as error:  # its thread passes on any error, such as that of a full disk
            log.warning("TensorBoard gets no more values from step %s on: %s", values["step"], error)
            self.board = None

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        if self.board is not None:
            with contextlib.suppress(Exception):
                self.board.close()


def open_log(folder: Path, board: BoardMaker | None, progress: Progress, finished: bool) -> MetricsLog:
    """Open the metrics log of a run at its present progress. Records of what will be done again are removed.
    So is a record that a kill has cut short.

    `finished` says whether all updates are done. `board` is what `tensorboard` returned.
    """
    path = folder / METRICS
    before = path.read_bytes() if path.exists() else b""
    lines = before.splitlines(keepends=True)
    kept = b"".join(line for line in lines if not _comes_again(line, progress, finished))
    kept += b"\n" * (kept != b"" and not kept.endswith(b"\n"))
    if kept != before:
        atomic.write_bytes(path, kept)
    made = board and board(str(folder / "tensorboard"), purge_step=progress.step + 1)
    return MetricsLog(path.open("ab", buffering=0), made)


def _comes_again(line: bytes, progress: Progress, finished: bool) -> bool:
    """Return whether a record is of an update, a validation or an average that is yet to be done."""
    try:
        record = json.loads(line)
        kind, step = record["kind"], int(record["step"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return not line.endswith(b"\n")  # torn; any other line is not ours
    done = progress.validated_at if kind == "valid" else progress.step
    return step > done or (kind == "average" and finished and step == done)


BoardMaker = Callable[..., Any]
"""Makes TensorBoard's writer."""


def tensorboard() -> BoardMaker:
    """Return what writes for TensorBoard. Raises ConfigError if it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError("train.tensorboard needs the package tensorboard: pip install tensorboard") from None
    maker: BoardMaker = SummaryWriter
    return maker


def _finite(value: Any) -> Any:
    """Replace infinities and NaN, which JSON does not have, by None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def train_line(values: Mapping[str, Any]) -> str:
    """Return the log line for the updates since the last one."""
    slowest = (
        f"RANK {values['slowest_rank']} slowest, by {values['straggling']:.1f} s  " if "straggling" in values else ""
    )
    return (
        f"step {values['step']:,}  epoch {values['epoch']:.2f}  loss {values['loss']:.3f}  "
        f"ppl {values['ppl']:.2f}  rate {values['rate']:.2e}  norm {values['grad_norm']:.2f}  "
        f"{values['tokens_per_second']:,.0f} tokens/s  {values['real']:.1%} real  "
        f"{slowest}{duration(values['seconds_left'])} left"
    )


def valid_line(values: Mapping[str, Any], best: bool) -> str:
    """Return the log line for a validation."""
    scores = f"valid at step {values['step']:,}  loss {values['loss']:.3f}  ppl {values['ppl']:.2f}"
    return "  ".join(filter(None, (scores, metrics.in_words(values), "* best" if best else "")))


def perplexity(loss: float) -> float:
    """Return e to the power of the loss, or infinity instead of an overflow."""
    return math.exp(loss) if loss < 700 else math.inf
