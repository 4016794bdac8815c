"""The processes that train together, one per device, as `torchrun` starts them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed

from transformer.errors import TransformerError


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, one per device."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the first process, which writes all files."""
        return self.rank == 0

    def sum_gradients(self, parameters: Sequence[torch.Tensor]) -> None:
        """Sum the gradients over all processes, in place."""
        if self.count == 1:
            return
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        with self._naming_a_dead_process():
            torch.distributed.all_reduce(flat)
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = part.view_as(p)

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of a value over all processes."""
        if self.count > 1:
            value = value.clone()
            with self._naming_a_dead_process():
                torch.distributed.all_reduce(value)
        return value

    @contextlib.contextmanager
    def _naming_a_dead_process(self) -> Iterator[None]:
        """Report the death of another process as one sentence."""
        try:
            yield
        except RuntimeError as error:
            raise TransformerError(
                f"one of the {self.count} training processes has died ({str(error).splitlines()[0]}); "
                "re-run the same command to resume from the last checkpoint"
            ) from None

    def largest(self, value: int, on: torch.device) -> int:
        """Return the maximum of the values of all processes."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, device=on)
        with self._naming_a_dead_process():
            torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
        return int(shared)

    def smallest(self, value: int, on: torch.device) -> int:
        """Return the minimum of the values of all processes."""
        return -self.largest(-value, on)

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.count > 1:
            with self._naming_a_dead_process():
                torch.distributed.barrier()


def join_ranks(on: torch.device) -> tuple[Ranks, torch.device]:
    """Return the rank of this process among those that `torchrun` started, and its device."""
    if "WORLD_SIZE" not in os.environ:
        return Ranks(), on
    if on.type == "cuda":
        on = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(on)
    if not torch.distributed.is_initialized():
        backend = "nccl" if on.type == "cuda" else "gloo"
        torch.distributed.init_process_group(
            backend, timeout=timedelta(days=1)
        )  # the others wait while the first prepares data
    return Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size()), on
