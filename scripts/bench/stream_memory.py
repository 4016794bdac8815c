"""Pipe many lines through `transformer translate`. Prints throughput, memory and CPU use over time.

    python scripts/bench/stream_memory.py RUN TEXT [--lines 1000000] [--every 50000] [OVERRIDE ...]

Repeats the lines of TEXT and compares each translation with the first one of the same line. Linux only.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path


def feed(process: subprocess.Popen[str], text: list[str], lines: int) -> None:
    """Write lines to a process, repeating the text, and close the pipe."""
    assert process.stdin is not None
    for line in itertools.islice(itertools.cycle(text), lines):
        process.stdin.write(f"{line}\n")
    process.stdin.close()


def memory_mib(process: int) -> float:
    """Return the current resident memory of a process."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def busy_seconds(process: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Start the command, feed it from a thread, and sample it while it translates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run directory")
    parser.add_argument("text", type=Path, help="lines to translate")
    parser.add_argument("--lines", type=int, default=1_000_000, help="lines to send; default: %(default)s")
    parser.add_argument("--every", type=int, default=50_000, help="lines per row of the table; default: %(default)s")
    args, overrides = parser.parse_known_args()
    text = [line for line in args.text.read_text(encoding="utf-8").split("\n") if line.strip()]
    command = [sys.executable, "-m", "transformer", "translate", args.run, *overrides]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1 << 16)
    threading.Thread(target=feed, args=(process, text, args.lines), daemon=True).start()
    assert process.stdout is not None
    first: list[str] = []
    count, wrong = 0, 0
    print("| lines | seconds | lines/s | memory, MiB | cores busy |\n|---|---|---|---|---|")
    before, busy = started, 0.0
    for count, line in enumerate(process.stdout, 1):
        if count == 1:
            print(f"first line after {time.perf_counter() - started:.2f} s", file=sys.stderr)
        if count <= len(text):
            first.append(line)
        wrong += line != first[(count - 1) % len(text)]
        if count % args.every == 0:
            now, used = time.perf_counter(), busy_seconds(process.pid)
            speed, cores = args.every / (now - before), (used - busy) / (now - before)
            memory = memory_mib(process.pid)
            print(f"| {count:,} | {now - started:.0f} | {speed:,.0f} | {memory:,.0f} | {cores:.2f} |", flush=True)
            before, busy = now, used
    code = process.wait()
    print(f"\n{count:,} of {args.lines:,} lines came back; {wrong:,} differ from the first one; exit code {code}")


if __name__ == "__main__":
    main()
