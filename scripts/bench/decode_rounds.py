"""Rounds of bench/decode.py: runs the workers in turns and collects their numbers."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from common import FOLDER, ISAS, UnavailableError, environment, machine, run, say, version
from decode_models import Subject, Text, export_all, write_sentences
from decode_runners import BATCH_BEAMS, CT2, HF, LATENCIES, LATENCY_BEAMS, RUNNERS

from transformer.data.tokenizer import Tokenizer
from transformer.evaluation.metrics import score_corpus


class Bench:
    """Runs all rounds and saves the results to a file after each process."""

    def __init__(self, args: argparse.Namespace, results: dict[str, Any], file: Path) -> None:
        self.args, self.results, self.file = args, results, file
        self.pythons: dict[str, Path] = {}
        for name in args.runners:
            try:
                self.pythons[name] = environment(RUNNERS[name].environment, args.cache, build=not args.minute)
            except UnavailableError as reason:
                self.skip(name, reason)
        results["facts"] = facts(args, self.pythons)

    def skip(self, name: str, reason: object, where: str = "") -> None:
        """Skip a runner, for one model or for all."""
        self.results["left_out"][f"{where} {name}".strip()] = str(reason)
        say(f"{where} {name}: {reason}".strip())

    def names(self, where: str) -> list[str]:
        """Return the runners that are not skipped."""
        return [name for name in self.pythons if f"{where} {name}" not in self.results["left_out"]]

    def job(self, shared: dict[str, Any], subject: Subject, name: str, **more: Any) -> dict[str, Any]:
        """Return the job of a runner."""
        known = {"threads": self.args.threads, "parallel": RUNNERS[name].parallel, "precision": RUNNERS[name].precision}
        known["isa"] = self.args.other_isa if RUNNERS[name].environment else self.args.isa
        return {**shared, **known, "model": str(subject.model_of(name)), "batch": 0, **more}

    def subject(self, subject: Subject, texts: list[Text]) -> None:
        """Measure files, single sentences and the start of one model."""
        for name, reason in export_all(subject, list(self.pythons), self.pythons).items():
            self.skip(name, reason, subject.name)
        jobs = []
        for i, text in enumerate(texts):
            path = subject.folder / f"text-{i}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            jobs.append(write_sentences(subject, text, path))
        self.results["subjects"][subject.name] = {"title": subject.title, "batch": [], "latency": [], "start": []}
        for text, shared in zip(texts, jobs, strict=True):
            for beam in BATCH_BEAMS:
                self.batch(subject, text, {**shared, "beam": beam})
        for beam in LATENCY_BEAMS:
            self.latency(subject, {**jobs[0], "beam": beam, "most": LATENCIES})
        if not subject.fixed:
            self.start(subject, texts[0], {**jobs[0], "beam": LATENCY_BEAMS[0], "most": 1})

    def batch(self, subject: Subject, text: Text, shared: dict[str, Any]) -> None:
        """Measure the translation of a whole file."""
        sizes: dict[str, int] = {}
        part: dict[str, Any] = {"text": text.name, "beam": shared["beam"], "sizes": sizes, "agreement": {}}
        part |= {key: shared[key] for key in ("count", "left_out")}
        self.results["subjects"][subject.name]["batch"].append(part)
        (subject.folder / "ours.json").unlink(missing_ok=True)  # from another text or an earlier benchmark
        for name in [name for name in self.names(subject.name) if RUNNERS[name].candidates]:
            more = {"candidates": RUNNERS[name].candidates, "most": RUNNERS[name].sample, "task": "calibrate"}
            found = self.run(subject, name, self.job(shared, subject, name, **more))
            if found:
                sizes[name] = int(found["batch"])

        def one(name: str) -> dict[str, float] | None:
            output = subject.folder / f"{name}.json"
            more = {"task": "batch", "batch": sizes.get(name, 0), "output": str(output)}
            found = self.run(subject, name, self.job(shared, subject, name, **more))
            if found and not subject.fixed:
                part["agreement"][name] = agreement(subject, shared, name)
            return found

        part["rounds"] = []
        self.rounds(subject, f"{text.name}, beam {shared['beam']}", part["rounds"], one, self.names(subject.name))

    def latency(self, subject: Subject, shared: dict[str, Any]) -> None:
        """Measure the translation of one sentence at a time.

        CTranslate2 is measured with all threads on the sentence and with one: which is faster depends on the machine.
        """
        rounds: list[Any] = []
        self.results["subjects"][subject.name]["latency"].append({"beam": shared["beam"], "rounds": rounds})
        names = [name for name in self.names(subject.name) if RUNNERS[name].environment != HF]

        def one(name: str) -> dict[str, float] | None:
            return self.run(subject, name, self.job(shared, subject, name, task="latency"))

        self.rounds(subject, f"one at a time, beam {shared['beam']}", rounds, one, names)

    def start(self, subject: Subject, text: Text, shared: dict[str, Any]) -> None:
        """Measure the time from the start of a process to its first translation."""
        names = [name for name in self.names(subject.name) if RUNNERS[name].environment != HF]

        def one(name: str) -> dict[str, float]:
            job = self.job(shared, subject, name, task="start")
            return {"start_ms": first_translation(name, self.pythons[name], job, text.sources[0])}

        names = [name for name in names if not RUNNERS[name].parallel]
        self.rounds(subject, "start", self.results["subjects"][subject.name]["start"], one, names)

    def rounds(self, subject: Subject, what: str, rounds: list[Any], one: Any, names: list[str]) -> None:
        """Run all rounds in turns, and save the results after each process."""
        for number in range(self.args.rounds):
            rounds.append({})
            for name in [name for name in names if name in self.names(subject.name)]:
                found = one(name)
                if found:
                    rounds[-1][name] = found
                    say(f"{subject.name}, {what}, round {number + 1} of {self.args.rounds}, {name}: {one_line(found)}")
                self.file.write_text(json.dumps(self.results, indent=1))

    def run(self, subject: Subject, name: str, job: dict[str, Any]) -> dict[str, float] | None:
        """Run a worker; a runner that fails is skipped from then on."""
        try:
            return run(RUNNERS[name], self.pythons[name], job)
        except UnavailableError as reason:
            self.skip(name, reason, subject.name)
            return None


def first_translation(name: str, python: Path, job: dict[str, Any], line: str) -> float:
    """Return the milliseconds from the start of a process to its first translation."""
    runner = RUNNERS[name]
    command = [str(python), str(FOLDER / runner.script), json.dumps(job)]
    if not runner.environment:
        command = [str(python), "-m", "transformer", "translate", job["model"], "--beam", str(job["beam"])]
        command += ["decode.length_penalty=0", f"decode.precision={runner.precision}"]
        if runner.precision == "int8" and job["isa"] != "best":
            command.append(f"decode.instruction_set={job['isa']}")
    variables = {**os.environ, "OMP_NUM_THREADS": str(job["threads"]), **ISAS[job["isa"]]}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    started = time.perf_counter()
    with subprocess.Popen(command, env=variables, text=True, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line + "\n")
        process.stdin.close()
        process.stdout.readline()
        return (time.perf_counter() - started) * 1000


def agreement(subject: Subject, shared: dict[str, Any], name: str) -> dict[str, float]:
    """Return BLEU, and the number of translations that differ from those of ours in float32."""
    texts = read_translations(subject.folder / f"{name}.json", subject.run.tokenizer)
    references = json.loads(Path(shared["sentences"]).with_suffix(".references").read_text(encoding="utf-8"))
    found = {"bleu": score_corpus(texts, references, subject.run.config.data.target)["bleu"].score}
    ours = subject.folder / "ours.json"
    if ours.exists():
        pairs = zip(texts, read_translations(ours, subject.run.tokenizer), strict=True)
        found["differ"] = sum(theirs != our for theirs, our in pairs)
    return found


def read_translations(path: Path, tok: Tokenizer) -> list[str]:
    """Return the text of translations that a worker wrote as ids or pieces."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return tok.decode([[i if isinstance(i, int) else tok.target.piece_to_id(i) for i in row] for row in rows])


def one_line(found: dict[str, float]) -> str:
    """Return the result of a process as text."""
    if "start_ms" in found:
        return f"{found['start_ms']:,.0f} ms"
    if "median_ms" in found:
        return f"{found['median_ms']:,.1f} ms, 95th percentile {found['p95_ms']:,.1f} ms"
    return f"{found['sentences'] / found['seconds']:,.1f} sentences/s, {found['peak_mib']:,.0f} MiB"


def facts(args: argparse.Namespace, pythons: dict[str, Path]) -> dict[str, Any]:
    """Return machine and versions."""
    known = machine(args.threads) | {"isa": args.isa, "other_isa": args.other_isa}
    for package, kind in (("ctranslate2", CT2), ("transformers", HF)):
        python = next((pythons[name] for name in pythons if RUNNERS[name].environment == kind), None)
        if python is not None:
            known["versions"][package] = version(python, package)
    return known
