"""Tables of bench/decode.py, from its rounds."""

from __future__ import annotations

import statistics
from typing import Any

from common import ISAS
from decode_runners import HF, OURS, RUNNERS
from tables import describe, ratio, spread

MODELS = {"run": "Trained model", "base": "Untrained base model"}


def page(results: dict[str, Any]) -> list[str]:
    """Return all lines."""
    lines = [*describe(results), *forced(results["facts"]), *CONDITIONS, ""]
    for subject, found in results["subjects"].items():
        lines += [f"{found['title']}.", ""]
        for part in found["batch"]:
            lines += batch_table(results, subject, part)
        lines += agreement_table(found["batch"])
        for part in found["latency"]:
            lines += latency_table(subject, part)
        if found["start"]:
            lines += start_table(subject, found["start"])
    return lines


CONDITIONS = [
    "- All rows: the same weights, the same sentences, no length penalty.",
    "- Tokens are those of the translations, the end of sentence included.",
    "- Timed: this repository from text to text, CTranslate2 from pieces to pieces, transformers from ids to ids.",
    "- intra_threads: all threads share a batch. inter_threads: each has its own batch, so one sentence has one.",
    "- Ratios: median of the rounds (minimum–maximum). Above 1, ours is faster.",
]


def forced(facts: dict[str, Any]) -> list[str]:
    """Return which instruction sets were forced."""
    ours, other = facts.get("isa", "best"), facts.get("other_isa", "best")
    names = {"best": "the best of the processor", **{name: f"{name} forced" for name in ISAS if name != "best"}}
    if ours == other == "best":
        return []
    return [f"- Instruction set: this repository {names[ours]}, the other packages {names[other]}."]


def values(rounds: list[Any], name: str, of: str, per: str = "") -> list[float]:
    """Return a number of a runner in each round, divided by another if `per` is given."""
    return [each[name][of] / (each[name][per] if per else 1) for each in rounds if name in each]


def times_faster(rounds: list[Any], ours: str, name: str, key: str) -> list[float]:
    """Return how many times as fast as a runner ours is, round by round."""
    return [each[name][key] / each[ours][key] for each in rounds if name in each and ours in each]


def claim(where: str, rounds: list[Any], key: str) -> str:
    """Return what a table shows: the fastest of ours beside the fastest other row."""
    middle = {name: statistics.median(values(rounds, name, key)) for name in RUNNERS if values(rounds, name, key)}
    ours = yardsticks(rounds, key)[-1]
    others = [name for name in middle if name not in OURS and times_faster(rounds, ours, name, key)]
    if not others:
        return where
    best = min(others, key=middle.__getitem__)
    times, precision = ratio(times_faster(rounds, ours, best, key)), RUNNERS[ours].precision
    return f"{where}: {precision} is {times} times as fast as the fastest other row, {RUNNERS[best].title}."


def how(part: dict[str, Any]) -> str:
    """Return the search of a table."""
    return "greedy" if part["beam"] == 1 else f"beam {part['beam']}"


def yardsticks(rounds: list[Any], key: str) -> list[str]:
    """Return the rows of ours that others are compared with: float32, and the fastest by `key`."""
    there = [name for name in OURS if values(rounds, name, key)]
    best = min(there, key=lambda name: statistics.median(values(rounds, name, key)), default=OURS[0])
    return list(dict.fromkeys([OURS[0], best]))


def compared(rounds: list[Any], name: str, key: str) -> str:
    """Return cells: the time of a runner divided by that of ours."""
    cells = []
    for ours in yardsticks(rounds, key):
        times = times_faster(rounds, ours, name, key)
        cells.append(ratio(times) if times and name != ours else "–")
    return " | ".join(cells)


def comparisons(rounds: list[Any], key: str) -> str:
    """Return the column heads of the ratios."""
    return " | ".join(f"ours in {RUNNERS[ours].precision} is faster by" for ours in yardsticks(rounds, key))


def skipped_rows(results: dict[str, Any], subject: str, columns: int) -> list[str]:
    """Return a row for each runner that was skipped."""
    rows = []
    for name, runner in RUNNERS.items():
        reason = results["left_out"].get(name) or results["left_out"].get(f"{subject} {name}")
        if reason:
            rows.append(f"| {runner.title} | skipped: {reason.replace('|', '/')} |" + " |" * (columns - 2))
    return rows


def batch_table(results: dict[str, Any], subject: str, part: dict[str, Any]) -> list[str]:
    """Return the table of one file and beam."""
    rounds = part["rounds"]
    columns = 6 + len(yardsticks(rounds, "seconds"))
    without = f" ({part['left_out']} longer ones left out)" if part["left_out"] else ""
    where = f"{MODELS[subject]}, {part['text']}, {how(part)}"
    lines = [
        f"**{claim(where, rounds, 'seconds')}**",
        "",
        f"{part['count']:,} sentences{without}. Medians of {len(rounds)} alternating rounds.",
        "",
        f"| what | batch | sentences/s | min–max | tokens/s | {comparisons(rounds, 'seconds')} | peak memory, MiB |",
        "|---" * columns + "|",
    ]
    for name, runner in RUNNERS.items():
        if not values(rounds, name, "seconds"):
            continue
        speed, range_ = spread(values(rounds, name, "sentences", "seconds"), ",.1f")
        tokens = statistics.median(values(rounds, name, "tokens", "seconds"))
        unit = "sentences" if runner.environment == HF else "tokens"
        batch = f"{part['sizes'][name]:,} {unit}" if name in part["sizes"] else "as configured"
        ratios = compared(rounds, name, "seconds")
        memory = statistics.median(values(rounds, name, "peak_mib"))
        lines.append(f"| {runner.title} | {batch} | {speed} | {range_} | {tokens:,.0f} | {ratios} | {memory:,.0f} |")
    lines += skipped_rows(results, subject, columns)
    return [*lines, ""]


def agreement_table(parts: list[dict[str, Any]]) -> list[str]:
    """Return the table of BLEU and of differing translations."""
    parts = [part for part in parts if part["agreement"]]
    if not parts:
        return []
    heads = [f"{part['text']}, {how(part)}" for part in parts]
    lines = [
        "**BLEU, and the number of translations that differ from those of ours in float32**",
        "",
        f"| what | {' | '.join(heads)} |",
        "|---" * (len(parts) + 1) + "|",
    ]
    for name, runner in RUNNERS.items():
        cells = []
        for part in parts:
            found = part["agreement"].get(name)
            cells.append(f"{found['bleu']:.2f}, {found.get('differ', '?')} of {part['count']}" if found else "–")
        if set(cells) != {"–"}:
            lines.append(f"| {runner.title} | {' | '.join(cells)} |")
    return [*lines, ""]


def latency_table(subject: str, part: dict[str, Any]) -> list[str]:
    """Return the table of one sentence at a time."""
    rounds = part["rounds"]
    lines = [
        f"**{claim(f'{MODELS[subject]}, one sentence at a time, {how(part)}', rounds, 'median_ms')}**",
        "",
        f"Medians of {len(rounds)} alternating rounds.",
        "",
        f"| what | median, ms | min–max | 95th percentile, ms | {comparisons(rounds, 'median_ms')} |",
        "|---" * (4 + len(yardsticks(rounds, "median_ms"))) + "|",
    ]
    for name, runner in RUNNERS.items():
        if values(rounds, name, "median_ms"):
            middle, range_ = spread(values(rounds, name, "median_ms"), ",.1f")
            late = statistics.median(values(rounds, name, "p95_ms"))
            ratios = compared(rounds, name, "median_ms")
            lines.append(f"| {runner.title} | {middle} | {range_} | {late:,.1f} | {ratios} |")
    return [*lines, ""]


def start_table(subject: str, rounds: list[Any]) -> list[str]:
    """Return the table of the time from the start of a process to its first translation."""
    lines = [
        f"**{MODELS[subject]}, from the start of the process to the first translation, beam 4**",
        "",
        f"Ours is `transformer translate`. Medians of {len(rounds)} alternating rounds.",
        "",
        "| what | median, ms | min–max |",
        "|---|---|---|",
    ]
    for name, runner in RUNNERS.items():
        if values(rounds, name, "start_ms"):
            middle, range_ = spread(values(rounds, name, "start_ms"), ",.0f")
            lines.append(f"| {runner.title} | {middle} | {range_} |")
    return [*lines, ""]
