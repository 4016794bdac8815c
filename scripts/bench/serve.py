"""Measures `transformer serve` under many clients at once, beside other runtimes behind the same server.

    python scripts/bench/serve.py RUN --text FILE [--ctranslate2 FOLDER] [--argos ARCHIVE]
    python scripts/bench/serve.py RUN --text FILE --clients --soak 100000 [--without-model]

Each client sends one line after the other over its own connection and waits for the answer. First each line is
translated alone; an answer that is missing is lost, and one that is not that of its line is wrong. The results of
CTranslate2 may depend on the batch, so its wrong answers need not be mixed up. The memory is that of the process of the
server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATIENCE = 120
"""Seconds for a server to start."""


@dataclass
class Load:
    """What clients got."""

    seconds: list[float] = field(default_factory=list)
    """Of each answer."""
    lost: int = 0
    wrong: int = 0
    elapsed: float = 0.0

    def numbers(self) -> tuple[float, float, float]:
        """Return sentences a second, and the 50th and 95th percentile of milliseconds until an answer."""
        ranked = statistics.quantiles(self.seconds, n=100)
        return len(self.seconds) / self.elapsed, 1000 * ranked[49], 1000 * ranked[94]


class Server:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def memory(self, field: str = "VmRSS") -> int:
        """Return its memory in MB: `VmRSS` that of now, `VmHWM` the most so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
        return int(found[1]) // 1000 if found else 0


@contextlib.contextmanager
def started(command: Sequence[str], **environment: str) -> Iterator[Server]:
    """Start a server and stop it in the end."""
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(HERE.parents[1]), **environment}
        )
        try:
            yield Server(process, _port(process, Path(log.name)))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"serving on http://127\.0\.0\.1:(\d+);", log.read_text()):
            return int(found[1])
        time.sleep(0.05)
    raise SystemExit(f"the server does not start:\n{log.read_text()}")


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: str) -> str | None:
    """Return the translation of a text, or None if there is none."""
    body = json.dumps({"q": text, "source": "en", "target": "de"}).encode()
    head = (
        f"POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    writer.write(f"{head}\r\n\r\n".encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", answer)
    content = json.loads(await reader.readexactly(int(length[1]) if length else 0))
    found: str | None = content.get("translatedText")
    return found


async def load(port: int, clients: int, texts: Sequence[str], expected: dict[str, str], requests: int) -> Load:
    """Have many clients ask for so many translations together."""
    found, numbers = Load(), iter(range(requests))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            text, before = texts[number % len(texts)], time.perf_counter()
            try:
                answer = await ask(reader, writer, text)
            except (OSError, EOFError, ValueError):
                answer = None
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            found.seconds.append(time.perf_counter() - before)
            found.lost += answer is None
            found.wrong += answer is not None and answer != expected.setdefault(text, answer)
        writer.close()

    before = time.perf_counter()
    await asyncio.gather(*[client() for _ in range(clients)])
    found.elapsed = time.perf_counter() - before
    return found


def measure(servers: dict[str, Server], texts: Sequence[str], args: argparse.Namespace) -> None:
    """Print a row for each engine and number of clients: the medians of rounds in which the engines take turns."""
    expected: dict[str, dict[str, str]] = {name: {} for name in servers}
    for name, server in servers.items():
        asyncio.run(load(server.port, 1, texts, expected[name], len(texts)))
    found: dict[tuple[int, str], list[Load]] = {}
    for _ in range(args.rounds):
        for clients in args.clients:
            for name, server in servers.items():
                done = asyncio.run(load(server.port, clients, texts, expected[name], max(args.requests, clients)))
                found.setdefault((clients, name), []).append(done)
    print("| clients | engine | sentences/s | p50 ms | p95 ms | lost | wrong | MB |\n|---|---|---|---|---|---|---|---|")
    for (clients, name), loads in sorted(found.items(), key=lambda each: each[0][0]):
        rate, p50, p95 = (statistics.median(values) for values in zip(*[each.numbers() for each in loads], strict=True))
        faults = sum(each.lost for each in loads), sum(each.wrong for each in loads)
        most = servers[name].memory("VmHWM")
        print(f"| {clients} | {name} | {rate:.1f} | {p50:.0f} | {p95:.0f} | {faults[0]} | {faults[1]} | {most} |")


def soak(server: Server, texts: Sequence[str], requests: int) -> None:
    """Print the memory of a server during a long load of 64 clients."""
    expected: dict[str, str] = {}
    memory, lost, wrong = [server.memory()], 0, 0
    for _ in range(10):
        found = asyncio.run(load(server.port, 64, texts, expected, requests // 10))
        memory.append(server.memory())
        lost, wrong = lost + found.lost, wrong + found.wrong
    print(f"{requests} requests of 64 clients: {lost} lost, {wrong} wrong")
    print(f"MB before and after each tenth: {memory}, most {server.memory('VmHWM')}")


def main() -> None:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="run directory")
    parser.add_argument("--text", required=True, type=Path, help="file of lines to translate")
    parser.add_argument("--lines", type=int, default=200, help="lines of the file to use")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 64, 512])
    parser.add_argument("--requests", type=int, default=1000, help="requests for each number of clients")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=int, default=0, help="requests of 64 clients during which memory is watched")
    parser.add_argument("--without-model", action="store_true", help="watch a server that answers with the text itself")
    parser.add_argument("--ctranslate2", help="folder of the same weights")
    parser.add_argument("--argos", help="package of the same weights")
    parser.add_argument("--python", default=sys.executable, help="Python that has argostranslate")
    args = parser.parse_args()
    texts = args.text.read_text(encoding="utf-8").splitlines()[: args.lines]
    ours = [sys.executable, "-m", "transformer", "serve", args.run, "decode.beam=4", "--port", "0"]
    others = str(HERE / "serve_engines.py")
    with contextlib.ExitStack() as stack:
        servers = {"transformer": stack.enter_context(started(ours))}
        if args.ctranslate2:
            servers["CTranslate2"] = stack.enter_context(
                started([sys.executable, others, "ctranslate2", args.ctranslate2])
            )
        if args.argos:
            home = stack.enter_context(tempfile.TemporaryDirectory())
            places = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), home)
            command = [args.python, others, "argos", args.argos]
            servers["Argos Translate"] = stack.enter_context(started(command, **places, ARGOS_DEVICE_TYPE="cpu"))
        if args.clients:
            measure(servers, texts, args)
        if args.soak:
            alone = [sys.executable, others, "none", "."]
            server = stack.enter_context(started(alone)) if args.without_model else servers["transformer"]
            soak(server, texts, args.soak)


if __name__ == "__main__":
    main()
