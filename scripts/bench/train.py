"""Compare training throughput on this CPU with other packages. Prints a table for each size of model.

    python scripts/bench/train.py                        # everything, 5 rounds; 40 minutes on two cores
    python scripts/bench/train.py --minute               # the small model, few updates; installs nothing
    python scripts/bench/train.py --write docs/benchmarks.md
    python scripts/bench/train.py --source train.en --target train.de --only small --runners ours,torch,eole

The text is Multi30k English-German from the Hugging Face Hub, or two files. All packages train on it with one
vocabulary, in updates of about 4,096 target tokens. Each round of a package is a separate process. Packages take
turns, so that a slowdown of the machine affects all. Other packages are installed by pip in environments in the
cache folder. A package that cannot be installed or fails is skipped; the table says why. Linux only.
`--isa avx2` forces AVX2 on all packages, to compare them in float32 as on a processor without bfloat16.
`--cpu-time --threads 1` is for a machine that others use: the time that they take does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import plots
from common import CACHE, ISAS, Runner, UnavailableError, environment, machine, run, say, version
from tables import shown_command
from train_data import describe_updates, prepare_all, timed
from train_runners import FAST, FLOAT32, QUICK, RUNNERS, SIZES
from train_tables import page

from transformer.errors import TransformerError


def measure(args: argparse.Namespace, shared: dict[str, Any], results: dict[str, Any], file: Path) -> None:
    """Run all rounds in turns, and save the results after each process."""
    pythons: dict[str, Path] = {}
    for name in args.runners:
        try:
            pythons[name] = environment(RUNNERS[name].environment, args.cache, build=not args.minute)
        except UnavailableError as reason:
            results["left_out"][name] = str(reason)
            say(f"{name}: {reason}")
    results["facts"] = facts(args, pythons)
    for size in args.only:
        job = {**shared, "size": asdict(SIZES[size]), "config": str(Path(shared["folder"]) / f"{size}.yaml")}
        job |= {"warm": args.warm, "timed": timed(args, SIZES[size]), "threads": args.threads, "isa": args.isa}
        job |= {"cpu_time": args.cpu_time}
        rounds: list[dict[str, Any]] = []
        results["sizes"][size] = {"updates": describe_updates(job), "timed": job["timed"], "rounds": rounds}
        for number in range(args.rounds):
            rounds.append({})
            for name in [name for name in pythons if f"{size} {name}" not in results["left_out"]]:
                try:
                    rounds[-1][name] = found = run(forced(RUNNERS[name], args.isa), pythons[name], job)
                    say(f"{size}, round {number + 1} of {args.rounds}, {name}: {one_line(found)}")
                except UnavailableError as reason:
                    results["left_out"][f"{size} {name}"] = str(reason)
                    say(f"{size}, {name}: {reason}")
                file.write_text(json.dumps(results, indent=1))


def forced(runner: Runner, isa: str) -> Runner:
    """Return a runner with the precision that this repository selects with an instruction set."""
    return runner if isa == "best" or runner.environment else replace(runner, precision="float32")


def one_line(found: dict[str, float]) -> str:
    """Return the result of a process as text."""
    if "flops" in found:
        return f"{found['flops'] / found['seconds'] / 1e9:,.1f} GFLOP/s"
    speed = found["tokens"] / found["seconds"]
    return f"{speed:,.0f} target tokens/s, {found['tokens']:,} tokens, {found['peak_mib']:,.0f} MiB"


def facts(args: argparse.Namespace, pythons: dict[str, Path]) -> dict[str, Any]:
    """Return machine, versions, text and precision."""
    known = machine(args.threads)
    for peer, package in (("marian", "transformers"), ("eole", "eole")):
        python = next((pythons[name] for name in pythons if RUNNERS[name].environment == peer), None)
        if python is not None:
            known["versions"][package] = f"{version(python, package)} (torch {version(python, 'torch')})"
    text = f"{args.source.name} and {args.target.name}" if args.source else "Multi30k English-German"
    return {
        **known,
        "text": text,
        "precision": FAST if args.isa == "best" else "float32",
        "isa": args.isa,
        "warm": args.warm,
    }


def publish(results: dict[str, Any], into: Path | None) -> None:
    """Print the tables; with a file, also write them and their plot there."""
    lines = page(results)
    print("\n".join(lines))
    if into is not None:
        plots.write("bench_train", lines, into)


def parse() -> argparse.Namespace:
    """Return the command line, with the defaults of --minute filled in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="English text, plain or compressed, one sentence per line")
    parser.add_argument("--target", type=Path, help="its German translation, line by line")
    parser.add_argument("--cache", type=Path, default=CACHE, help="default: %(default)s")
    parser.add_argument("--only", choices=list(SIZES), help="measure one size of model")
    parser.add_argument("--runners", help=f"comma-separated, of {','.join(RUNNERS)}")
    parser.add_argument("--rounds", type=int, help="default: 5")
    parser.add_argument("--warm", type=int, help="untimed updates before the timed ones, at least 1; default: 1")
    parser.add_argument("--timed", type=int, help="timed updates per round; default: 8 for small, 2 for base")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: %(default)s")
    parser.add_argument("--isa", choices=ISAS, default="best", help="instruction set of all rows; default: %(default)s")
    parser.add_argument("--cpu-time", action="store_true", help="count seconds of the processor, not of the clock")
    parser.add_argument("--minute", action="store_true", help="only the small model, few updates; installs nothing")
    parser.add_argument("--write", type=Path, help="Markdown file to write tables and plot to")
    parser.add_argument("--results", type=Path, help="measure nothing; make the tables from the rounds in this file")
    args = parser.parse_args()
    if (args.source is None) != (args.target is None):
        parser.error("--source needs --target, and --target needs --source")
    usual = {"rounds": 2, "warm": 1, "timed": 4} if args.minute else {"rounds": 5, "warm": 1, "timed": None}
    for key, value in usual.items():
        setattr(args, key, getattr(args, key) or value)
    args.only = [args.only] if args.only else ["small"] if args.minute else list(SIZES)
    args.runners = args.runners.split(",") if args.runners else chosen(args)
    unknown = [name for name in args.runners if name not in RUNNERS]
    if unknown:
        parser.error(f"unknown runner {unknown[0]!r}; choose from {', '.join(RUNNERS)}")
    args.cache = args.cache.expanduser().resolve()
    return args


def chosen(args: argparse.Namespace) -> list[str]:
    """Return the rows that are measured if the command line names none."""
    if args.isa != "best":
        return FLOAT32
    return QUICK if args.minute else list(RUNNERS)


def main() -> None:
    """Prepare, measure, publish."""
    args = parse()
    if args.results is not None:
        publish(json.loads(args.results.read_text()), args.write)
        return
    file = args.cache / f"results-{time.strftime('%Y%m%d-%H%M%S')}.json"
    command = shown_command("scripts/bench/train.py", ("--cache", "--source", "--target", "--write"))
    results: dict[str, Any] = {"command": command, "facts": {}, "left_out": {}, "sizes": {}}
    try:
        shared = prepare_all(args, args.cache / ("text" if args.source else "multi30k"))
    except TransformerError as error:
        sys.exit(f"bench/train.py: {error}")
    measure(args, shared, results, file)
    publish(results, args.write)
    say(f"all rounds: {file}")


if __name__ == "__main__":
    main()
