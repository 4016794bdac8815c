"""What several processes on this machine cost: meeting, control messages, sums, restoring, and noticing a death.

    python scripts/bench/processes.py [--processes 3] [--parameters 63082496]     measures; a table and JSON
    python scripts/bench/processes.py --arithmetic                                computes 8 and 64 GPUs

All processes share the cores and the loopback device of this machine, so sums are those of its memory, not of a
network. The arithmetic uses the assumptions that it prints.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from transformer.system.distributed import Ranks, joined

BASE = 63_082_496
"""Parameters of the paper's base model with a joint vocabulary of 37,000."""
ROUNDS = 7


def median(work: Callable[[], Any], ranks: Ranks, rounds: int = ROUNDS, calls: int = 1) -> float:
    """Return the median time of a call, in seconds."""
    times = []
    for _ in range(rounds):
        ranks.wait()
        started = time.perf_counter()
        for _ in range(calls):
            work()
        times.append((time.perf_counter() - started) / calls)
    return statistics.median(times)


def measure(ranks: Ranks, parameters: int) -> dict[str, float]:
    """Return seconds by what took them."""
    size = parameters // ranks.count * ranks.count
    gradients, weights = torch.zeros(size), torch.zeros(size)
    low, part = gradients.bfloat16(), torch.zeros(size // ranks.count)
    return {
        "control message (`Ranks.largest`), one an update": median(lambda: ranks.largest(1), ranks, calls=200),
        "gathering 1 kB of text from each": median(lambda: ranks.gather(b"x" * 1024), ranks, calls=50),
        "sum of the gradients, float32": median(lambda: ranks.sum_in_place(gradients), ranks),
        "sum of the gradients, bfloat16": median(lambda: ranks.sum_in_place(low), ranks),
        "sharded: sum of a part, float32": median(lambda: ranks.sum_shard(gradients), ranks),
        "sharded: weights from all": median(lambda: ranks.join_shards(part, weights), ranks),
        "restoring: weights and two means from the first": median(lambda: ranks.spread([weights] * 3), ranks, rounds=3),
    }  # fmt: skip


def work(parameters: int, out: Path) -> None:
    """Measure in one of the processes. Then wait for the others, one of which is killed."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    with joined(torch.device("cpu")) as (ranks, _):
        met = time.perf_counter() - started
        found = {"meeting, after the start of Python": met, **measure(ranks, parameters)}
        if ranks.first:
            out.write_text(json.dumps(found))
        ranks.wait()
        if ranks.rank == ranks.count - 1:
            out.with_suffix(".killed").write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            ranks.wait()
        except BaseException as error:
            out.with_suffix(f".{ranks.rank}").write_text(json.dumps([time.time(), str(error)]))
            os._exit(1)


def start(count: int, parameters: int, folder: Path) -> dict[str, float]:
    """Measure in several processes and return seconds by what took them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    out = folder / "found"
    env = {**os.environ, "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, __file__, "--parameters", str(parameters), "--out", str(out)]
    children = [subprocess.Popen(command, env={**env, "RANK": str(i), "LOCAL_RANK": str(i)}) for i in range(count)]
    for child in children:
        child.wait()
    found: dict[str, float] = json.loads(out.read_text())
    killed = float(out.with_suffix(".killed").read_text())
    told = [json.loads(out.with_suffix(f".{i}").read_text())[0] for i in range(count - 1)]
    return {**found, "from kill -9 to the sentence in all others": max(told) - killed}


# ---- arithmetic ----------------------------------------------------------------------------------------

RATE = 850_000.0
"""Assumed: target tokens per second of one H100 without other processes, the goal of the project. Not measured."""
HOST = 1.0e-3
"""Assumed: seconds of the host for an update that is captured. Not measured."""
HOP = 25e-6
"""Assumed: seconds of a small message between two processes. A control message goes twice round the ring of all."""
NVLINK, NIC = 370e9, 40e9
"""Assumed: bytes per second of a GPU that a sum over NVLink of 8 H100, and over one 400 Gbit/s adapter, can use."""
IN_NODE = 8


def exchange_seconds(gpus: int, size: float) -> float:
    """Return the time of an all-reduce of `size` bytes: inside the nodes, then between them, an eighth for each GPU."""
    inside, nodes = min(gpus, IN_NODE), max(1, gpus // IN_NODE)
    return 2 * (inside - 1) / inside * size / NVLINK + 2 * (nodes - 1) / nodes * size / inside / NIC


def arithmetic() -> list[str]:
    """Return rows of a table: GPUs, tokens of an update, and what an update then takes."""
    rows = [
        "| GPUs | tokens an update | sum | compute | sum of gradients | host | update | million tokens/s | of ideal |"
    ]
    rows.append("|---" * 9 + "|")
    for gpus in (1, 8, 64):
        for tokens in (25_000, 100_000, 400_000):
            for name, width in (("float32", 4), ("bfloat16", 2)):
                compute = tokens / gpus / RATE
                exchange = exchange_seconds(gpus, BASE * width) if gpus > 1 else 0.0
                host = HOST + 2 * (gpus - 1) * HOP  # while the GPUs compute
                update = max(compute + exchange, host)
                speed = tokens / update
                rows.append(
                    f"| {gpus} | {tokens:,} | {name} | {1e3 * compute:.2f} ms | {1e3 * exchange:.2f} ms "
                    f"| {1e3 * host:.2f} ms | {1e3 * update:.2f} ms | {speed / 1e6:.1f} | {speed / RATE / gpus:.0%} |"
                )
    return rows


def main() -> None:
    """Measure or compute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--parameters", type=int, default=BASE)
    parser.add_argument("--folder", type=Path, default=Path("bench_processes"))
    parser.add_argument("--arithmetic", action="store_true")
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.out is not None:
        work(args.parameters, args.out)
    elif args.arithmetic:
        print("\n".join(arithmetic()))
    else:
        args.folder.mkdir(exist_ok=True)
        found = start(args.processes, args.parameters, args.folder)
        for name, seconds in found.items():
            print(f"| {name} | {1e3 * seconds:.2f} ms |")
        print(json.dumps({"processes": args.processes, "parameters": args.parameters, **found}))


if __name__ == "__main__":
    main()
