"""Compare the beam search of this version with that of another one, by BLEU, score and time.

    git worktree add ../before 6209e7a
    python scripts/bench/search_versions.py RUN SOURCE REFERENCE --before ../before [--write docs/benchmarks.md]

Two processes, one of each version, translate the text with the same settings by turns, `--rounds` times each.
`rises` and `falls` are the sentences whose score is higher or lower than before, by more than 1e-4 (rounding).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import machine
from tables import describe, put_between, ratio, shown_command

ROOT = Path(__file__).resolve().parents[2]
PRECISIONS, BEAMS, PENALTIES = ("int8", "float32"), (2, 4, 8, 16), (0.0, 0.6, 1.0, 1.5)
ROUNDING = 1e-4


class Version:
    """A process that translates with the package in a folder."""

    def __init__(self, root: Path, run: Path, source: Path) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--worker", str(run), str(source)]
        variables = {**os.environ, "PYTHONPATH": str(root.resolve())}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
        )

    def translate(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return texts, scores and seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(settings) + "\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found


def work(run: Path, source: Path) -> None:
    """Translate with the settings of each line of standard input."""
    import transformer

    lines = source.read_text(encoding="utf-8").splitlines()
    for request in sys.stdin:
        model = transformer.load(run, json.loads(request), device="cpu")
        model.translate(lines[:20])
        start = time.perf_counter()
        found = model.translate(lines)
        seconds = time.perf_counter() - start
        answer = {"texts": [f.text for f in found], "scores": [f.score for f in found], "seconds": seconds}
        print(json.dumps(answer), flush=True)


def row(settings: dict[str, Any], rounds: list[tuple[dict[str, Any], dict[str, Any]]], references: list[str]) -> str:
    """Return a row of the table."""
    from transformer.evaluation.metrics import score_corpus

    old, new = rounds[0]
    bleu = [score_corpus(each["texts"], references)["bleu"].score for each in (old, new)]
    gains = [b - a for a, b in zip(old["scores"], new["scores"], strict=True)]
    rises, falls = sum(gain > ROUNDING for gain in gains), sum(gain < -ROUNDING for gain in gains)
    speeds = [f"{len(references) / statistics.median(r[i]['seconds'] for r in rounds):,.0f}" for i in (0, 1)]
    times = ratio([b["seconds"] / a["seconds"] for a, b in rounds])
    shown = f"{settings['decode.precision']} | {settings['decode.beam']} | {settings['decode.length_penalty']}"
    share = f"{100 * rises / len(gains):.1f} % | {falls}"
    return f"| {shown} | {bleu[0]:.2f} | {bleu[1]:.2f} | {share} | {speeds[0]} | {speeds[1]} | {times} |"


def main() -> None:
    """Print a row for each setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("source", type=Path, help="text to translate")
    parser.add_argument("reference", type=Path, help="its translation, line by line")
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the other version")
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS, help="default: %(default)s")
    parser.add_argument("--beams", nargs="+", type=int, default=BEAMS, help="default: %(default)s")
    parser.add_argument("--penalties", nargs="+", type=float, default=PENALTIES, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this file")
    args = parser.parse_args()
    references = args.reference.read_text(encoding="utf-8").splitlines()
    before, after = (Version(root, args.run, args.source) for root in (args.before, ROOT))
    head = (
        "| precision | beam | penalty | BLEU before | after | score rises | falls | sentences/s before | after | time |"
    )
    lines = [head, "|" + "---|" * head.count(" | ") + "---|"]
    print("\n".join(lines), flush=True)
    for precision, beam, penalty in itertools.product(args.precisions, args.beams, args.penalties):
        settings = {"decode.precision": precision, "decode.beam": beam, "decode.length_penalty": penalty}
        rounds = [(before.translate(settings), after.translate(settings)) for _ in range(args.rounds)]
        lines.append(row(settings, rounds, references))
        print(lines[-1], flush=True)
    if args.write is not None:
        command = shown_command("scripts/bench/search_versions.py", ["--write"], names_only=True)
        facts = describe({"command": command, "facts": machine(os.cpu_count() or 1)})
        put_between("search_versions", [*facts, "", *lines], args.write)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
