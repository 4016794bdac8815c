"""The tasks that the workers of bench/decode.py share. Needs only the standard library.

A worker gets its job as one JSON argument: the folder of the model, the file of sentences (JSON lists of `ids`,
`pieces` and `text`), `beam`, `batch`, `threads`, `task` and more. It prints one JSON line. Tasks:

    batch      warm up, then time the translation of the whole file; write the target ids or pieces to `output`
    calibrate  translate the first sentences with each of several batch sizes; print the seconds of each
    latency    time the translation of one sentence after another
    start      translate one sentence and print it
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker import Job, report

Translate = Callable[[list[Any], int], list[list[Any]]]
"""Maps sentences and a batch size to the target tokens of each sentence, without end of sentence."""


def read_sentences(job: Job, key: str) -> list[Any]:
    """Return the sentences of a job as `ids`, `pieces` or `text`."""
    found: list[Any] = json.loads(Path(job["sentences"]).read_text(encoding="utf-8"))[key]
    return found[: job.get("most")]


def work(job: Job, translate: Translate, sentences: list[Any]) -> None:
    """Run the task of a job and report."""
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
