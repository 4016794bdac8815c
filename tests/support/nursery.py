"""Starts real processes without the seconds of importing torch: a server that has imported it forks on request.

Each request is a line of JSON. `{"argv": [...], "log": FILE, ...}` runs a `transformer` command in a child process; the
answers are its id and, after it has ended, its exit status. `{"shell": COMMAND}` answers with the exit status.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Child:
    """A command that runs in a child process."""

    def __init__(self, nursery: Nursery, pid: int, log: Path) -> None:
        self.nursery, self.pid, self.path = nursery, pid, log

    def wait(self) -> int:
        """Wait for the end of the process. Return its exit code, or the negative number of the signal that ended it."""
        return os.waitstatus_to_exitcode(self.nursery.answer())

    def log(self) -> str:
        """Return the standard error of the process so far."""
        return self.path.read_text(encoding="utf-8")

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Wait until the process has written this text."""
        wait_until(lambda: text in self.log(), seconds, f"{text!r} was not said, but: {self.path}")


def wait_until(met: Any, seconds: float, else_said: str) -> None:
    """Wait until a condition is met."""
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, else_said
        time.sleep(0.002)


class Nursery:
    """Client of the server that forks commands."""

    def __init__(self, before: list[str]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [*before, sys.executable, __file__]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )

    def answer(self) -> int:
        """Return the next number that the server sends."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def ask(self, **request: Any) -> int:
        """Send a request and return the first answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def start(self, log: Path, *argv: object, **how: Any) -> Child:
        """Start a command whose standard error goes to `log`.

        `limits` are resource limits, and `ignore` names of signals to ignore. `env` is added to the environment.
        `threads` is the number of torch's threads, by default one. `stdout` is a file for standard output, by default
        the log. `record` is a file that gets a line for each batch trained on: the number of the update and the ids of
        the pairs.
        """
        log.write_bytes(b"")
        return Child(self, self.ask(argv=[str(arg) for arg in argv], log=str(log), **how), log)

    def run(self, log: Path, *argv: object, **how: Any) -> tuple[int, str]:
        """Run a command and return its exit code and its standard error."""
        child = self.start(log, *argv, **how)
        return child.wait(), child.log()

    def shell(self, command: str) -> bool:
        """Run a shell command in the server's process environment. Return whether it succeeded."""
        return self.ask(shell=command) == 0

    def close(self) -> None:
        """Stop the server."""
        with self.process:
            assert self.process.stdin is not None
            self.process.stdin.close()


@contextlib.contextmanager
def open_nursery(*before: str) -> Iterator[Nursery]:
    """Yield a nursery whose server is started with the command prefix `before`."""
    nursery = Nursery(list(before))
    try:
        yield nursery
    finally:
        nursery.close()


def start_together(nurseries: list[Nursery], log: Path, *argv: object, **how: Any) -> list[Child]:
    """Start processes as torchrun does. `env` is added to the environment of all, `envs` to that of each."""
    more, envs, port = how.pop("env", {}), how.pop("envs", [{}] * len(nurseries)), str(free_port())
    common = {"WORLD_SIZE": str(len(nurseries)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **more}
    return [
        each.start(
            log.with_name(f"{log.name}{i}"),
            *argv,
            env={"RANK": str(i), "LOCAL_RANK": str(i), **common, **envs[i]},
            **how,
        )
        for i, each in enumerate(nurseries)
    ]


def free_port() -> int:
    """Return a port that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def record_pairs(path: str) -> None:
    """Append a line for each batch whose gradient was computed: the number of the update and the ids of the pairs."""
    from transformer.training.trainer import Trainer

    update, backward, now = Trainer.update, Trainer._backward, [0]

    def noted_update(self: Any, step: int, *rest: Any) -> Any:
        now[0] = step
        return update(self, step, *rest)

    def noted_backward(self: Any, batch: Any, seed: int, tokens: int) -> Any:
        gradients = backward(self, batch, seed, tokens)
        with open(path, "a") as file:
            file.write(" ".join(map(str, [now[0], *batch.pair_ids.tolist()])) + "\n")
        return gradients

    Trainer.update, Trainer._backward = noted_update, noted_backward  # type: ignore[method-assign, assignment]


def become(request: dict[str, Any]) -> int:
    """Run the requested command in this forked process and return its exit code."""
    import torch

    from transformer.cli import main as cli

    os.environ.update(request.get("env", {}))
    torch.set_num_threads(request.get("threads", 1))
    for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGXCPU):  # the tests may have been started with nohup
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # or in the background
    for name in request.get("ignore", ()):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    for name, most in request.get("limits", {}).items():
        resource.setrlimit(getattr(resource, name), (most, most))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(request["log"], os.O_WRONLY | os.O_APPEND), 2)
    os.dup2(os.open(request["stdout"], os.O_WRONLY) if "stdout" in request else 2, 1)
    if "record" in request:
        record_pairs(request["record"])
    try:
        return cli.main(request["argv"])
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 99


def serve() -> None:
    """Answer requests until there are no more."""
    from transformer.training import session  # noqa: F401 (slow to import)

    for line in sys.stdin:
        request = json.loads(line)
        if "shell" in request:
            done = subprocess.run(["sh", "-c", request["shell"]], stdin=subprocess.DEVNULL, stdout=2, check=False)
            print(done.returncode, flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            os._exit(become(request))
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    serve()
