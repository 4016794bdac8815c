"""Train twice, once undisturbed and once under faults, and compare the results.

    python scripts/chaos.py CONFIG [KEY=VALUE ...] --folder DIR [--every SECONDS] [--seed N] [--together]

Faults are kill -9, signals, a full disk, and cut or damaged checkpoint files. Each training runs on one thread, so that
weights can be equal bit for bit. The exit code is 0 if weights, optimizer state, translations and BLEU are equal.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from transformer import atomic
from transformer.runs.checkpoint import TENSORS, WEIGHTS
from transformer.runs.run import open_run
from transformer.system.clock import duration

COMMAND = [sys.executable, "-m", "transformer"]
SIGNALS = {
    "kill -9": signal.SIGKILL,
    "SIGTERM": signal.SIGTERM,
    "SIGINT": signal.SIGINT,
    "SIGHUP": signal.SIGHUP,
    "SIGUSR1": signal.SIGUSR1,
}
LEADS_TO = {name: (128 + SIGNALS[name], -SIGNALS[name]) for name in ("SIGTERM", "SIGINT", "SIGHUP")}
"""Expected exit codes; the negative one if Python was still starting."""
FAULTS = (*SIGNALS, "disk full", "file cut", "bit flipped")


def main() -> int:
    """Run both trainings; print a table of faults and the result of the comparison."""
    args = arguments()
    args.folder.mkdir(parents=True, exist_ok=True)
    peace, chaos = args.folder / "peace", args.folder / "chaos"
    started = time.monotonic()
    calm = train(args, peace)
    if not args.together and calm.wait() != 0:
        sys.exit(f"the undisturbed training failed; see {peace}.log")
    counts = disturb(args, chaos)
    if calm.wait() != 0:
        sys.exit(f"the undisturbed training failed; see {peace}.log")
    print(f"\n| what was done | times |\n|{'-' * 20}|------:|")
    for name, count in counts.items():
        print(f"| {name:<18} | {count:>5} |")
    unequal = differences(peace, chaos, args.device)
    print(f"\n{duration(time.monotonic() - started)}; " + ("; ".join(unequal) or "equal, bit for bit"))
    return int(bool(unequal))


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--folder", type=Path, required=True, help="folder for the runs `peace` and `chaos`")
    parser.add_argument("--every", type=float, default=60, help="mean seconds between faults (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the faults and their times (default: 1)")
    parser.add_argument("--together", action="store_true", help="run both trainings at the same time")
    parser.add_argument("--device", default="cpu")
    return parser.parse_intermixed_args()


def train(args: argparse.Namespace, run: Path, limit: int | None = None) -> subprocess.Popen[bytes]:
    """Start or resume a training on one thread. No file that it writes may exceed the limit in bytes."""
    command = [*COMMAND, "train", str(args.config), *args.overrides, "--run", str(run), "--device", args.device]

    def prepare() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # even under nohup
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with run.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, preexec_fn=prepare)


def disturb(args: argparse.Namespace, run: Path) -> Counter[str]:
    """Train under faults until the run is finished; return the number of times of each fault."""
    rng, counts = random.Random(args.seed), Counter(dict.fromkeys(FAULTS, 0))
    bag: list[str] = []
    process = train(args, run)
    while (code := ended(process, args.every * rng.uniform(0.5, 1.5))) is None:
        bag = bag or rng.sample(FAULTS, len(FAULTS))  # every fault once before any is repeated
        fault = bag.pop()
        limit = None
        if fault == "SIGUSR1":
            process.send_signal(SIGNALS[fault])
            counts[fault] += 1
            say(counts, fault, "saved and still training")
            continue
        process.send_signal(SIGNALS.get(fault, signal.SIGKILL))
        code = process.wait()
        if code == 0:  # finished before the fault
            return counts
        if code not in LEADS_TO.get(fault, (-signal.SIGKILL,)):
            sys.exit(f"unexpected exit code {code} after {fault}; see {run}.log")
        if fault in ("file cut", "bit flipped") and not damage(run, fault, rng):
            fault = "kill -9"  # there is nothing to damage yet
        if fault == "disk full":
            limit = 9 * largest_file(run) // 10
        counts[fault] += 1
        say(counts, fault, f"exit code {code}")
        process = train(args, run, limit)
        if limit:
            starved(process, args.every, run)
            process = train(args, run)
    if code != 0:
        sys.exit(f"the training failed without a fault, exit code {code}; see {run}.log")
    return counts


def ended(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Return the exit code of a process if it ends within these seconds, else None."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def starved(process: subprocess.Popen[bytes], seconds: float, run: Path) -> None:
    """Let a training that cannot save run for a while; fail if it reports success."""
    if ended(process, seconds) == 0:
        sys.exit(f"a training that could not save ended with exit code 0; see {run}.log")
    process.kill()
    process.wait()


def say(counts: Counter[str], fault: str, found: str) -> None:
    """Print one line about a fault."""
    print(f"{time.strftime('%H:%M:%S')}  {counts.total():>4}  {fault}: {found}", flush=True)


def largest_file(run: Path) -> int:
    """Return the size of the largest checkpoint file of a run, or 1000 if there is none."""
    return max((path.stat().st_size for path in run.glob("checkpoints/step-*/*")), default=1000)


def damage(run: Path, fault: str, rng: random.Random) -> bool:
    """Cut a file of the newest valid checkpoint, or flip a bit of it, if another valid one remains."""
    steps = [path for path in sorted(run.glob("checkpoints/step-*")) if atomic.damage(path) is None]
    if len(steps) < 2:
        return False
    file = rng.choice(sorted(steps[-1].iterdir()))
    content = bytearray(file.read_bytes())
    place = rng.randrange(len(content))
    content[place] ^= 1 << rng.randrange(8)
    file.write_bytes(content if fault == "bit flipped" else content[:place])
    return True


def differences(peace: Path, chaos: Path, device: str) -> list[str]:
    """Return the differences of two finished runs: weights, optimizer state, translations, BLEU."""
    found = []
    newest = [open_run(run).steps()[-1] for run in (peace, chaos)]
    for name in (WEIGHTS, TENSORS):
        one, other = ((path / name).read_bytes() for path in newest)
        print(f"{newest[0].name}, {newest[1].name}: {name} is {'equal' if one == other else 'NOT equal'}")
        found += [f"{name} is not equal"] if one != other or newest[0].name != newest[1].name else []
    scores = []
    for run in (peace, chaos):
        command = [*COMMAND, "evaluate", str(run), "--json", "--device", device]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            return [*found, f"{run} cannot be evaluated: {done.stderr.strip()}"]
        scores.append(json.loads(done.stdout)["bleu"])
        print(f"{run.name}: BLEU {scores[-1]['score']:.4f}  {scores[-1]['signature']}")
    texts = [[path.read_bytes() for path in sorted(run.glob("evaluations/*.txt"))] for run in (peace, chaos)]
    found += ["the translations differ"] if texts[0] != texts[1] else []
    return found + (["BLEU differs"] if scores[0] != scores[1] else [])


if __name__ == "__main__":
    sys.exit(main())
