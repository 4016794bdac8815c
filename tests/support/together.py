"""Runs a function in several processes that form a group, without starting Python again."""

from __future__ import annotations

import json
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


def together(
    count: int, folder: Path, work: Callable[[Ranks], Any], advice: str = "do it again", rounds: int = 1, **env: str
) -> list[Any]:
    """Return what `work` returns in each of `count` processes, or the text of its TransformerError.

    A process that was killed has None. They meet `rounds` times. `env` is added to the environment of all.
    """
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), **env}
    children = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking a process that has threads
        for rank in range(count):
            if (pid := os.fork()) == 0:
                _run(
                    work, folder / f"rank{rank}", advice, rounds, {"LOCAL_RANK": str(rank), **common, "RANK": str(rank)}
                )
            children.append(pid)
    end = time.monotonic() + 60
    for pid in children:
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            assert time.monotonic() < end, "a process hangs"
            time.sleep(0.01)
    files = [folder / f"rank{rank}" for rank in range(count)]
    return [json.loads(file.read_text()) if file.exists() else None for file in files]


def _run(work: Callable[[Ranks], Any], file: Path, advice: str, rounds: int, env: dict[str, str]) -> None:
    """Run the function in this process and end it."""
    file.unlink(missing_ok=True)
    os.environ.update(env)
    try:
        torch.set_num_threads(1)
        for _ in range(rounds):
            with joined(torch.device("cpu"), advice) as (ranks, _):
                found = work(ranks)
        file.write_text(json.dumps(found))
    except TransformerError as error:
        file.write_text(json.dumps(str(error)))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)
