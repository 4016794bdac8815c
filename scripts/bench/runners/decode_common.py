"""What the workers of bench/decode.py share. Needs Python alone, so that every environment can import it.

A worker is started with one JSON argument, its job, which names the model's folder, the file of sentences (JSON lists
of `ids` and `pieces`, and `text`), `beam`, `batch`, `threads`, `task` and more, and prints one JSON line. Tasks:

    batch      warm up, then translate the whole file on the clock; the target ids or pieces go into `output`
    calibrate  translate the file's first sentences with each of several batch sizes; print the seconds of each
    latency    translate sentence after sentence on the clock
    start      translate one sentence and print it
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Job = dict[str, Any]
Translate = Callable[[list[Any], int], list[list[Any]]]
"""Sentences and a batch size to the target tokens of each, without end of sentence."""


def read_job() -> Job:
    """Return the job named on the command line."""
    job: Job = json.loads(sys.argv[1])
    return job


def read_sentences(job: Job, key: str) -> list[Any]:
    """Return the sentences as `ids`, `pieces` or `text`."""
    found: list[Any] = json.loads(Path(job["sentences"]).read_text(encoding="utf-8"))[key]
    return found[: job.get("most")]


def work(job: Job, translate: Translate, sentences: list[Any]) -> None:
    """Do what the job's task says and print what was found."""
    tasks = {"batch": _batch, "calibrate": _calibrate, "latency": _latency, "start": _start}
    tasks[job["task"]](job, translate, sentences)


def _batch(job: Job, translate: Translate, sentences: list[Any]) -> None:
    translate(sentences[: job["warm"]], job["batch"])
    started = time.perf_counter()
    found = translate(sentences, job["batch"])
    seconds = time.perf_counter() - started
    Path(job["output"]).write_text(json.dumps(found), encoding="utf-8")
    tokens = sum(job["fixed"] or len(row) + 1 for row in found)
    report(seconds=seconds, sentences=len(found), tokens=tokens)


def _calibrate(job: Job, translate: Translate, sentences: list[Any]) -> None:
    translate(sentences[: job["warm"]], job["candidates"][0])
    seconds = []
    for size in job["candidates"]:
        started = time.perf_counter()
        translate(sentences, size)
        seconds.append(time.perf_counter() - started)
    best = min(range(len(seconds)), key=seconds.__getitem__)
    report(batch=job["candidates"][best], **{f"{c}": s for c, s in zip(job["candidates"], seconds, strict=True)})


def _latency(job: Job, translate: Translate, sentences: list[Any]) -> None:
    for sentence in sentences[:8]:
        translate([sentence], job["batch"])
    times = []
    for sentence in sentences:
        started = time.perf_counter()
        translate([sentence], job["batch"])
        times.append((time.perf_counter() - started) * 1000)
    cuts = statistics.quantiles(times, n=20, method="inclusive")
    report(median_ms=statistics.median(times), p95_ms=cuts[-1], sentences=len(times))


def _start(job: Job, translate: Translate, sentences: list[Any]) -> None:
    print(json.dumps(translate(sentences[:1], job["batch"])), flush=True)


def report(**found: float) -> None:
    """Print one JSON line of these and the largest resident set of this process so far (Linux)."""
    status = Path("/proc/self/status").read_text()  # getrusage would tell the parent's peak where that is larger
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({**found, "peak_mib": peak}), flush=True)
