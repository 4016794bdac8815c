"""Runs a function in several processes that form a group, without starting Python again."""

from __future__ import annotations

import json
import logging
import os
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from support.nursery import free_port
from transformer.errors import TransformerError
from transformer.system.distributed import Ranks, joined


class Group:
    """Processes that were forked from this one, and know of each other as those that torchrun starts."""

    def __init__(self, count: int, folder: Path, work: Callable[[int], Any], **env: str) -> None:
        """`work` gets the rank. A process logs to `log0` and so on in `folder`. `env` is added to the environment."""
        self.files = [folder / f"rank{rank}" for rank in range(count)]
        self.logs = [folder / f"log{rank}" for rank in range(count)]
        common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        self.pids = []
        for file in (*self.files, *self.logs):
            file.unlink(missing_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking a process that has threads
            for rank in range(count):
                if (pid := os.fork()) == 0:
                    self._become(rank, work, {**common, "LOCAL_RANK": str(rank), **env, "RANK": str(rank)})
                self.pids.append(pid)

    def _become(self, rank: int, work: Callable[[int], Any], env: dict[str, str]) -> None:
        """Run the function in this process and end it."""
        os.environ.update(env)
        try:
            torch.set_num_threads(1)
            logger = logging.getLogger("transformer")
            logger.addHandler(logging.FileHandler(self.logs[rank]))
            logger.setLevel(logging.INFO)
            self.files[rank].write_text(json.dumps(work(rank)))
        except TransformerError as error:
            self.files[rank].write_text(json.dumps(str(error)))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)

    def results(self, seconds: float = 60) -> list[Any]:
        """Wait for all, and return what `work` returned in each, or the text of its TransformerError, or None."""
        end = time.monotonic() + seconds
        for pid in self.pids:
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                assert time.monotonic() < end, "a process hangs"
                time.sleep(0.01)
        return [json.loads(file.read_text()) if file.exists() else None for file in self.files]

    def log(self, rank: int) -> str:
        """Return what a process has logged so far."""
        return self.logs[rank].read_text() if self.logs[rank].exists() else ""


def together(
    count: int, folder: Path, work: Callable[[Ranks], Any], advice: str = "do it again", rounds: int = 1, **env: str
) -> list[Any]:
    """Return what `work` returns in each of `count` processes that have met, or the text of its TransformerError.

    A process that was killed has None. They meet `rounds` times. `env` is added to the environment of all.
    """

    def met(_: int) -> Any:
        for _ in range(rounds):
            with joined(torch.device("cpu"), advice) as (ranks, _device):
                found = work(ranks)
        return found

    return Group(count, folder, met, **env).results()
