"""Compare ways to decode: BLEU, chrF and time of beam search, MBR decoding and ensembles, by turns.

    python scripts/bench/decoding_choices.py RUN SOURCE REFERENCE [--member RUN ...] [--lines N] [--rounds N]

All ways translate the same lines, one after the other, `--rounds` times. The time is the median over the rounds of the
ratio to the first way, beam 5. `--member` names other runs or checkpoints of the same vocabulary for the ensemble.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import transformer
from transformer.evaluation.metrics import score_corpus

Settings = dict[str, object]


def ways(members: list[str], samples: list[int], temperature: float) -> dict[str, Settings]:
    """Return the settings of each way to decode, by its name."""
    found: dict[str, Settings] = {"beam 5": {"decode.beam": 5}, "greedy": {"decode.beam": 1}}
    found["beam 5, no 8 bits"] = {"decode.beam": 5, "decode.precision": "bfloat16"}
    for count in samples:
        found[f"MBR, {count} samples"] = {"decode.mbr_samples": count, "decode.temperature": temperature}
    if members:
        found[f"ensemble of {len(members) + 1}, beam 5"] = {"decode.beam": 5, "decode.ensemble": members}
    return found


def main() -> None:
    """Print one line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--member", action="append", default=[])
    parser.add_argument("--samples", type=int, action="append", default=[])
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--length-penalty", type=float, default=1.0)
    parser.add_argument("--lines", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    sources, references = (
        path.read_text(encoding="utf-8").split("\n")[: args.lines] for path in (args.source, args.reference)
    )
    every = ways(args.member, args.samples or [16], args.temperature)
    common = {"decode.length_penalty": args.length_penalty}
    models = {
        name: transformer.load(args.run, {**common, **settings}, device="cpu") for name, settings in every.items()
    }
    ratios: dict[str, list[float]] = {name: [] for name in every}
    texts: dict[str, list[str]] = {}
    for _ in range(args.rounds):
        seconds = {}
        for name, model in models.items():
            start = time.perf_counter()
            texts[name] = [each.text for each in model.translate(sources)]
            seconds[name] = time.perf_counter() - start
        for name in every:
            ratios[name].append(seconds[name] / seconds["beam 5"])
    print(f"{len(sources)} lines, {args.rounds} rounds, length penalty {args.length_penalty}")
    print(f"{'':26}{'precision':>10}{'BLEU':>8}{'chrF':>8}{'time':>8}")
    for name, model in models.items():
        scores = score_corpus(texts[name], references, model.target)
        values = f"{scores['bleu'].score:8.2f}{scores['chrf'].score:8.2f}{statistics.median(ratios[name]):8.1f}"
        print(f"{name:26}{model.precision:>10}{values}")


if __name__ == "__main__":
    main()
