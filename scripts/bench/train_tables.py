"""Tables of bench/train.py, from its rounds."""

from __future__ import annotations

import statistics
from typing import Any

from tables import describe, ratio, spread
from train_data import BATCH_TOKENS
from train_runners import RUNNERS, SIZES


def page(results: dict[str, Any]) -> list[str]:
    """Return all lines."""
    lines = [*describe(results), *conditions(results), ""]
    for size in results["sizes"]:
        lines += table(size, results)
    return lines


def conditions(results: dict[str, Any]) -> list[str]:
    """Return what is the same for all rows, and what the columns mean."""
    known = results["facts"]
    padding = max(found["updates"]["padding"] for found in results["sizes"].values())
    return [
        f"- Text: {known['text']}, 8,000 joint pieces.",
        "- All rows: all embeddings tied, dropout 0.1, label smoothing 0.1, Adam, gradient clipping.",
        f"- Warm-up: {known['warm']} update, not timed."
        if known["warm"] == 1
        else f"- Warm-up: {known['warm']} updates.",
        f"- This repository, as shipped: {known['precision']} on this machine."
        if known.get("isa", "best") == "best"
        else f"- {known['isa'].upper()} forced on all rows, and float32, as on a processor without bfloat16.",
        f"- Plain loops get the same updates as ready-made tensors, padded to one rectangle per side ({padding:.0%} "
        "padding).",
        f"- Eole makes its own batches of at most {BATCH_TOKENS:,} padded tokens from the same text.",
        "- Throughput counts real target tokens, without padding.",
        *(["- Seconds are those of the processor, since others used it too."] if known.get("cpu_time") else []),
        "- Share of matmul rate: the operations that real tokens need, over those that torch.mm does in the same time "
        "at the shapes of the model.",
        "- Ratios: median of the rounds (minimum–maximum).",
    ]


def table(size: str, results: dict[str, Any]) -> list[str]:
    """Return the lines about one size of model."""
    found, skipped = results["sizes"][size], results["left_out"]
    shape, means = SIZES[size], found["updates"]
    lines = [
        f"**{claim(size, found)}**",
        "",
        f"{shape.layers}+{shape.layers} layers, width {shape.width}, {shape.heads} heads, feed-forward "
        f"{shape.feed_forward:,}. Medians of {len(found['rounds'])} alternating rounds. A round is {found['timed']} "
        f"updates of {means['source_tokens']:,.0f} source and {means['target_tokens']:,.0f} target tokens.",
        "",
        "| what | target tokens/s | min–max | ours is faster by | share of matmul rate | peak memory, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for name in RUNNERS:
        reason = skipped.get(name) or skipped.get(f"{size} {name}")
        if reason:
            lines.append(f"| {RUNNERS[name].title} | skipped: {reason.replace('|', '/')} | | | | |")
        elif name != "matmul" and any(name in each for each in found["rounds"]):
            lines.append(row(found, name))
    cut = [each[name]["tokens"] / found["timed"] for each in found["rounds"] for name in each if "eole" in name]
    if cut:
        lines += ["", f"Eole's updates had {statistics.mean(cut):,.0f} real target tokens."]
    rates = [e["matmul"]["flops"] / e["matmul"]["seconds"] / 1e9 for e in found["rounds"] if "matmul" in e]
    if rates:
        precision = results["facts"]["precision"]
        lines += ["", "torch.mm at these shapes, {}: {} ({}) GFLOP/s.".format(precision, *spread(rates, ",.0f"))]
    return [*lines, *limit(found), ""]


def limit(found: dict[str, Any]) -> list[str]:
    """Return how many times as fast as the fastest other row the products alone would be, at the rate of torch.mm."""
    best = fastest_other(found)
    if best is None:
        return []
    flops = found["updates"]["flops_per_target_token"]
    both = [each for each in found["rounds"] if best in each and "matmul" in each]
    most = [each["matmul"]["flops"] / each["matmul"]["seconds"] / flops / rate(each[best]) for each in both]
    if not most:
        return []
    return [
        "",
        f"The products alone, at the rate of torch.mm, would be {ratio(most)} times as fast as {RUNNERS[best].title}.",
    ]


def fastest_other(found: dict[str, Any]) -> str | None:
    """Return the name of the fastest row of another package."""
    others = {name: statistics.median(speeds(found, name)) for name in RUNNERS if times_faster(found, name)}
    others = {name: speed for name, speed in others.items() if not name.startswith("ours")}
    return max(others, key=others.__getitem__, default=None)


def claim(size: str, found: dict[str, Any]) -> str:
    """Return what the table of a size shows: ours beside the fastest other row."""
    best = fastest_other(found)
    if best is None:
        return f"Training, {size} model"
    times = ratio(times_faster(found, best))
    return f"Training, {size} model: {times} times as fast as the fastest other row, {RUNNERS[best].title}."


def row(found: dict[str, Any], name: str) -> str:
    """Return the table row of a runner."""
    speed, range_ = spread(speeds(found, name), ",.0f")
    times = times_faster(found, name)
    faster = ratio(times) if times else "–"
    share = "–"
    both = [each for each in found["rounds"] if name in each and "matmul" in each]
    if both:
        flops = found["updates"]["flops_per_target_token"]
        rates = [flops * rate(each[name]) / (each["matmul"]["flops"] / each["matmul"]["seconds"]) for each in both]
        share = f"{statistics.median(rates):.0%}"
    memory = statistics.median(each[name]["peak_mib"] for each in found["rounds"] if name in each)
    return f"| {RUNNERS[name].title} | {speed} | {range_} | {faster} | {share} | {memory:,.0f} |"


def times_faster(found: dict[str, Any], name: str) -> list[float]:
    """Return how many times as fast as a runner ours is, round by round; nothing for ours and for torch.mm."""
    if name in ("ours", "matmul"):
        return []
    return [rate(each["ours"]) / rate(each[name]) for each in found["rounds"] if name in each and "ours" in each]


def speeds(found: dict[str, Any], name: str) -> list[float]:
    """Return the target tokens per second of a runner, round by round."""
    return [rate(each[name]) for each in found["rounds"] if name in each]


def rate(measured: dict[str, float]) -> float:
    """Return target tokens per second of one process."""
    return measured["tokens"] / measured["seconds"]
