"""Measure decoding speed on this CPU, ours and others', with the same weights and sentences, and print tables.

    python scripts/bench/decode.py runs/mine --source test.en --reference test.de
    python scripts/bench/decode.py runs/mine --source test.en --reference test.de --minute      # installs nothing
    python scripts/bench/decode.py --random-base --source test.en --reference test.de           # no run needed
    python scripts/bench/decode.py runs/mine --source test.en --reference test.de \\
        --other news.en news.de --random-base --write docs/benchmarks.md

A run's weights are exported to CTranslate2 and to Hugging Face transformers (transformer/export.py), and all translate
the same sentences: whole files, one sentence at a time, and the first sentence after the process starts. There is no
length penalty anywhere, as each has another formula. A runner's rounds are processes of their own, taken in turns with
the others'. Others get pieces or ids and need not make text, and the batch size that was fastest in a short search;
ours gets text, makes text, and cuts batches as the run's configuration says. `--random-base` is the paper's base model
with random weights, all of whose translations are given one length, for speed alone. Other packages get environments of
their own in the cache folder, by pip. What cannot be installed or fails is left out, with the reason. Linux only.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import random
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from train import (
    CONSTRAINTS,
    HERE,
    Runner,
    UnavailableError,
    environment,
    last_line,
    put_between,
    run,
    say,
    spread,
)

from transformer import checkpoint, corpus, durable, export, scoring, tokenizer
from transformer.config import Config, CorpusConfig, DataConfig, DecodeConfig, ModelConfig, TokenizerConfig
from transformer.errors import TransformerError
from transformer.tokenizer import Tokenizer

BEGIN, END = "<!-- bench_decode:begin -->", "<!-- bench_decode:end -->"
BATCH_BEAMS, LATENCY_BEAMS = (5, 1), (4, 1)
FIXED = 16
"""Tokens of every translation of the random model, the last one included."""
VOCABULARY = 8000
WARM, LATENCIES = 64, 100


@dataclass(frozen=True)
class Decoder(Runner):
    """One row of the tables."""

    parallel: bool = False
    """Threads that each translate a batch, instead of threads that share one batch."""
    candidates: tuple[int, ...] = ()
    """Batch sizes to choose from; none means that it chooses itself."""
    sample: int = 0
    """Sentences to choose by."""


CT2, HF = "ctranslate2", "marian"
TOKENS, SENTENCES = (256, 512, 1024, 2048, 4096, 8192), (8, 16, 32, 64, 128)
PRECISIONS = [each for each in get_args(get_type_hints(DecodeConfig)["precision"]) if each not in ("float16", "auto")]
RUNNERS = {
    "ours": Decoder("this repository, float32", "decode_ours.py", "float32"),
    **{f"ours-{p}": Decoder(f"this repository, {p}", "decode_ours.py", p) for p in PRECISIONS if p != "float32"},
    **{
        f"ctranslate2{'' if precision == 'float32' else f'-{precision}'}{'-parallel' if parallel else ''}": Decoder(
            f"CTranslate2, {precision}, {'inter_threads' if parallel else 'intra_threads'} = threads",
            "decode_ctranslate2.py",
            precision,
            CT2,
            parallel=parallel,
            candidates=TOKENS,
            sample=1000,
        )
        for precision in ("float32", "int8")
        for parallel in (False, True)
    },
    **{
        name: Decoder(
            f"transformers generate, {precision}",
            "decode_hugging_face.py",
            precision,
            HF,
            candidates=SENTENCES,
            sample=256,
        )
        for name, precision in (("hugging-face", "float32"), ("hugging-face-bfloat16", "bfloat16"))
    },
}
OURS = [name for name, each in RUNNERS.items() if not each.environment]
QUICK = [*OURS, "ctranslate2", "ctranslate2-int8", "ctranslate2-int8-parallel", "hugging-face"]


@dataclass(frozen=True)
class Text:
    """Sentences to translate and how others have translated them."""

    name: str
    sources: list[str]
    references: list[str]


@dataclass(frozen=True)
class Subject:
    """A model to decode with, and where its exports are."""

    name: str
    title: str
    run: checkpoint.Run
    folder: Path
    fixed: int
    """Tokens that every translation is made to have; 0 leaves them alone."""

    def model_of(self, name: str) -> Path:
        """Return the folder that a runner loads."""
        kind = RUNNERS[name].environment
        if not kind:
            return self.run.path
        return self.folder / (f"{kind}-{RUNNERS[name].precision}" if kind == CT2 else kind)


# ---- models and text ------------------------------------------------------------------------------------


def read_text(source: Path, reference: Path, most: int | None) -> Text:
    """Return two files as sentences, the first `most` pairs of them."""
    text = CorpusConfig(files=(str(source), str(reference)))
    corpus.check(text)
    pairs = [pair for pair in corpus.pairs(text, "source", "target") if pair is not None and pair.source.strip()]
    pairs = pairs[:most]
    return Text(source.name, [pair.source for pair in pairs], [pair.target for pair in pairs])


def trained(path: Path, cache: Path) -> Subject:
    """Return a run of ours as a subject."""
    opened = checkpoint.open_run(path)
    cfg = opened.config.model
    title = (
        f"A trained model: {cfg.encoder_layers}+{cfg.decoder_layers} layers, width {cfg.width}, {cfg.heads} heads, "
        f"feed-forward {cfg.feed_forward:,}, {opened.tokenizer.sizes[1]:,} pieces, {cfg.norm}-norm"
    )
    return Subject("run", title, opened, cache / "run", 0)


def random_base(texts: list[Text], cache: Path) -> Subject:
    """Make a run directory with the base model untrained, and a vocabulary from the text and made-up words."""
    chance = random.Random(1)
    words = [("".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=6)), "") for _ in range(20_000)]
    pairs = [pair for text in texts for pair in zip(text.sources, text.references, strict=True)]
    tok = tokenizer.train([*pairs, *words], TokenizerConfig(vocab_size=VOCABULARY))
    none = CorpusConfig(files=("none.source", "none.target"))
    cfg = Config(data=DataConfig(source="en", target="de", train=(none,), max_length=256), model=ModelConfig())
    made = checkpoint.create(cache / "base" / "run", cfg, tok)
    torch.manual_seed(1)
    model = checkpoint.build(cfg, tok)
    weights = made.checkpoints / "step-00000001"
    checkpoint.save(weights, model.state_dict(), None, {"tokenizer": tok.fingerprint})
    made.point("best", weights)
    title = (
        f"The base model, untrained: 6+6 layers, width 512, 8 heads, feed-forward 2,048, {tok.sizes[1]:,} pieces, "
        f"post-norm; every translation has {FIXED} tokens"
    )
    return Subject("base", title, made, cache / "base", FIXED)


def export_all(subject: Subject, names: list[str], pythons: dict[str, Path]) -> dict[str, str]:
    """Write the model's weights for every runtime; return why runners have to be left out."""
    model, _ = checkpoint.load_model(subject.run)
    left_out: dict[str, str] = {}
    for name in names:
        folder, runner = subject.model_of(name), RUNNERS[name]
        try:
            if runner.environment and folder.exists() and name not in left_out:
                durable.remove(folder)
            if runner.environment == CT2:
                borrow(pythons[name])
                quantization = None if runner.precision == "float32" else runner.precision
                export.ctranslate2(model, subject.run.tokenizer, folder, quantization)
            elif runner.environment == HF:
                export.hugging_face(model, subject.run.tokenizer, folder)
        except TransformerError as reason:
            left_out[name] = f"cannot be exported: {reason}"
    return left_out


def borrow(python: Path) -> None:
    """Let this process import what is in another environment and not in this one."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    folder = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    if folder not in sys.path:
        sys.path.append(folder)


def write_sentences(subject: Subject, text: Text, path: Path) -> dict[str, Any]:
    """Write what the workers read; return what their jobs share. What the model takes in pieces is left out."""
    tok = subject.run.tokenizer
    all_ids = tok.encode_source(text.sources)
    chosen = [i for i, ids in enumerate(all_ids) if 0 < len(ids) <= subject.run.config.data.max_length]
    ids = [all_ids[i] for i in chosen]
    pieces = [[tok.source.id_to_piece(i) for i in row] for row in ids]
    found = {"text": [text.sources[i] for i in chosen], "ids": ids, "pieces": pieces}
    path.write_text(json.dumps(found), encoding="utf-8")
    path.with_suffix(".references").write_text(json.dumps([text.references[i] for i in chosen]), encoding="utf-8")
    longest = max(map(len, ids)) + subject.run.config.decode.max_extra
    shared = {"sentences": str(path), "longest": longest, "fixed": subject.fixed, "pad": tok.pad, "eos": tok.eos}
    return {**shared, "warm": WARM, "left_out": len(all_ids) - len(ids), "count": len(ids)}


# ---- environments ---------------------------------------------------------------------------------------


def python_of(name: str, cache: Path, build: bool) -> Path:
    """Return the Python of a runner's environment, made now or found; raises UnavailableError."""
    if RUNNERS[name].environment != CT2:
        return environment(RUNNERS[name].environment, cache, build)
    folder = cache / "environments" / CT2  # without torch, which CTranslate2 does not need
    python, log = folder / "bin" / "python", cache / f"pip-{CT2}.log"
    if python.exists() and not subprocess.run([str(python), "-c", f"import {CT2}"], capture_output=True).returncode:
        return python
    if not build:
        raise UnavailableError("its environment is not there; the command without --minute makes it")
    say(f"installing {CT2} into {folder}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-c", str(CONSTRAINTS), CT2]
    with log.open("w") as stream:
        if subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT).returncode == 0:
            return python
    raise UnavailableError(f"cannot be installed: {last_line(log.read_text())}")


def facts(args: argparse.Namespace, pythons: dict[str, Path]) -> dict[str, Any]:
    """Return what a reader has to know about the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    versions = {"torch": torch.__version__, "this repository": importlib.metadata.version("transformer-translation")}
    for package, kind in (("ctranslate2", CT2), ("transformers", HF)):
        python = next((pythons[name] for name in pythons if RUNNERS[name].environment == kind), None)
        if python is not None:
            code = f"import importlib.metadata as m; print(m.version({package!r}))"
            done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
            versions[package] = done.stdout.strip() or "unknown"
    return {"cpu": cpu, "threads": args.threads, "versions": versions}


# ---- measuring ------------------------------------------------------------------------------------------


class Bench:
    """All rounds of everything, and what is known after each process, in a file."""

    def __init__(self, args: argparse.Namespace, results: dict[str, Any], file: Path) -> None:
        self.args, self.results, self.file = args, results, file
        self.pythons: dict[str, Path] = {}
        for name in args.runners:
            try:
                self.pythons[name] = python_of(name, args.cache, build=not args.minute)
            except UnavailableError as reason:
                self.leave_out(name, reason)
        results["facts"] = facts(args, self.pythons)

    def leave_out(self, name: str, reason: object, where: str = "") -> None:
        """Note that a runner takes no part, there or anywhere."""
        self.results["left_out"][f"{where} {name}".strip()] = str(reason)
        say(f"{where} {name}: {reason}".strip())

    def names(self, where: str) -> list[str]:
        """Return the runners that take part."""
        return [name for name in self.pythons if f"{where} {name}" not in self.results["left_out"]]

    def job(self, shared: dict[str, Any], subject: Subject, name: str, **more: Any) -> dict[str, Any]:
        """Return a runner's job."""
        known = {"threads": self.args.threads, "parallel": RUNNERS[name].parallel, "precision": RUNNERS[name].precision}
        return {**shared, **known, "model": str(subject.model_of(name)), "batch": 0, **more}

    def subject(self, subject: Subject, texts: list[Text]) -> None:
        """Measure everything with one model."""
        for name, reason in export_all(subject, list(self.pythons), self.pythons).items():
            self.leave_out(name, reason, subject.name)
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
        """Translate a whole file in rounds."""
        sizes: dict[str, int] = {}
        part: dict[str, Any] = {"text": text.name, "beam": shared["beam"], "sizes": sizes, "agreement": {}}
        part |= {key: shared[key] for key in ("count", "left_out")}
        self.results["subjects"][subject.name]["batch"].append(part)
        (subject.folder / "ours.json").unlink(missing_ok=True)  # of another text, or another day
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
        """Translate one sentence after the other in rounds."""
        rounds: list[Any] = []
        self.results["subjects"][subject.name]["latency"].append({"beam": shared["beam"], "rounds": rounds})
        names = [name for name in self.names(subject.name) if RUNNERS[name].environment != HF]

        def one(name: str) -> dict[str, float] | None:
            return self.run(subject, name, self.job(shared, subject, name, task="latency"))

        names = [name for name in names if not RUNNERS[name].parallel]
        self.rounds(subject, f"one at a time, beam {shared['beam']}", rounds, one, names)

    def start(self, subject: Subject, text: Text, shared: dict[str, Any]) -> None:
        """Start processes and wait for the first translation, in rounds."""
        names = [name for name in self.names(subject.name) if RUNNERS[name].environment != HF]

        def one(name: str) -> dict[str, float]:
            job = self.job(shared, subject, name, task="start")
            return {"start_ms": first_translation(name, self.pythons[name], job, text.sources[0])}

        names = [name for name in names if not RUNNERS[name].parallel]
        self.rounds(subject, "start", self.results["subjects"][subject.name]["start"], one, names)

    def rounds(self, subject: Subject, what: str, rounds: list[Any], one: Any, names: list[str]) -> None:
        """Run all rounds, in turns, and save what is known after each process."""
        for number in range(self.args.rounds):
            rounds.append({})
            for name in [name for name in names if name in self.names(subject.name)]:
                found = one(name)
                if found:
                    rounds[-1][name] = found
                    say(f"{subject.name}, {what}, round {number + 1} of {self.args.rounds}, {name}: {one_line(found)}")
                self.file.write_text(json.dumps(self.results, indent=1))

    def run(self, subject: Subject, name: str, job: dict[str, Any]) -> dict[str, float] | None:
        """Run a worker; a runner that fails once takes no part any more."""
        try:
            return run(RUNNERS[name], self.pythons[name], job)
        except UnavailableError as reason:
            self.leave_out(name, reason, subject.name)
            return None


def first_translation(name: str, python: Path, job: dict[str, Any], line: str) -> float:
    """Return the milliseconds from the start of a process to its first translation."""
    runner = RUNNERS[name]
    command = [str(python), str(HERE / "runners" / runner.script), json.dumps(job)]
    if not runner.environment:
        command = [str(python), "-m", "transformer", "translate", job["model"], "--beam", str(job["beam"])]
        command += ["decode.length_penalty=0", f"decode.precision={runner.precision}"]
    variables = {**os.environ, "OMP_NUM_THREADS": str(job["threads"])}
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
    """Compare a runner's translations with those of ours in float32, and score them."""
    texts = read_translations(subject.folder / f"{name}.json", subject.run.tokenizer)
    references = json.loads(Path(shared["sentences"]).with_suffix(".references").read_text(encoding="utf-8"))
    found = {"bleu": scoring.corpus(texts, references, subject.run.config.data.target).bleu.score}
    ours = subject.folder / "ours.json"
    if ours.exists():
        pairs = zip(texts, read_translations(ours, subject.run.tokenizer), strict=True)
        found["differ"] = sum(theirs != our for theirs, our in pairs)
    return found


def read_translations(path: Path, tok: Tokenizer) -> list[str]:
    """Return as text what a worker wrote as ids or as pieces."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return tok.decode([[i if isinstance(i, int) else tok.target.piece_to_id(i) for i in row] for row in rows])


def one_line(found: dict[str, float]) -> str:
    """Return a process's findings in words."""
    if "start_ms" in found:
        return f"{found['start_ms']:,.0f} ms"
    if "median_ms" in found:
        return f"{found['median_ms']:,.1f} ms, 95th percentile {found['p95_ms']:,.1f} ms"
    return f"{found['sentences'] / found['seconds']:,.1f} sentences/s, {found['peak_mib']:,.0f} MiB"


# ---- tables ---------------------------------------------------------------------------------------------


def values(rounds: list[Any], name: str, of: str, per: str = "") -> list[float]:
    """Return what a runner found in each round, if wanted as a rate."""
    return [each[name][of] / (each[name][per] if per else 1) for each in rounds if name in each]


def yardsticks(rounds: list[Any], key: str) -> list[str]:
    """Return which of ours the others are compared with: the first one, and the one that takes least time `key`."""
    there = [name for name in OURS if values(rounds, name, key)]
    best = min(there, key=lambda name: statistics.median(values(rounds, name, key)), default=OURS[0])
    return list(dict.fromkeys([OURS[0], best]))


def compared(rounds: list[Any], name: str, key: str) -> str:
    """Return cells of how many times as long as ours a runner takes, round by round."""
    cells = []
    for ours in yardsticks(rounds, key):
        both = [each[name][key] / each[ours][key] for each in rounds if name in each and ours in each]
        cells.append("{} ({})".format(*spread(both, ".2f")) if both and name != ours else "–")
    return " | ".join(cells)


def comparisons(rounds: list[Any], key: str) -> str:
    """Return the heads of these cells."""
    return " | ".join(f"ours in {RUNNERS[ours].precision} is faster by" for ours in yardsticks(rounds, key))


def left_out_rows(results: dict[str, Any], subject: str, columns: int) -> list[str]:
    """Return a row for each runner that took no part."""
    rows = []
    for name, runner in RUNNERS.items():
        reason = results["left_out"].get(name) or results["left_out"].get(f"{subject} {name}")
        if reason:
            rows.append(f"| {runner.title} | left out: {reason.replace('|', '/')} |" + " |" * (columns - 2))
    return rows


def batch_table(results: dict[str, Any], subject: str, part: dict[str, Any]) -> list[str]:
    """Return the lines about whole files."""
    rounds = part["rounds"]
    columns = 6 + len(yardsticks(rounds, "seconds"))
    without = f" ({part['left_out']} longer ones left out)" if part["left_out"] else ""
    how = "greedy" if part["beam"] == 1 else f"beam {part['beam']}"
    lines = [
        f"{part['text']}, {part['count']:,} sentences{without}, {how}, medians of {len(rounds)} alternating rounds:",
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
    lines += left_out_rows(results, subject, columns)
    return [*lines, ""]


def agreement_table(parts: list[dict[str, Any]]) -> list[str]:
    """Return the lines about whether all translate the same."""
    parts = [part for part in parts if part["agreement"]]
    if not parts:
        return []
    heads = [f"{part['text']}, {'greedy' if part['beam'] == 1 else 'beam ' + str(part['beam'])}" for part in parts]
    lines = [
        "BLEU, and in how many sentences the text is another than that of ours in float32:",
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


def latency_table(found: dict[str, Any]) -> list[str]:
    """Return the lines about one sentence at a time, and about starting."""
    lines: list[str] = []
    for part in found["latency"]:
        rounds = part["rounds"]
        how = "greedy" if part["beam"] == 1 else f"beam {part['beam']}"
        lines += [
            f"One sentence at a time, {how}, medians of {len(rounds)} rounds:",
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
        lines.append("")
    if not found["start"]:
        return lines
    lines += ["From the start of the process to the first translation (ours: `transformer translate`), beam 4:", ""]
    lines += ["| what | median, ms | min–max |", "|---|---|---|"]
    for name, runner in RUNNERS.items():
        if values(found["start"], name, "start_ms"):
            middle, range_ = spread(values(found["start"], name, "start_ms"), ",.0f")
            lines.append(f"| {runner.title} | {middle} | {range_} |")
    return [*lines, ""]


def explain(results: dict[str, Any]) -> list[str]:
    """Return the lines about the machine and about what is compared."""
    known = results["facts"]
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    return [
        f"`{results['command']}` on {known['cpu']}, {known['threads']} threads; {versions}.",
        "",
        "All decode with the same weights and without length penalty. Tokens are those of the translations, end of "
        "sentence included. Ours reads and writes text on the clock, CTranslate2 pieces, transformers ids. With "
        "intra_threads the threads share a batch, with inter_threads each has its own. A ratio above 1 means that ours "
        "is faster; in brackets, the least and the most of the rounds.",
        "",
    ]


def plot(results: dict[str, Any], path: Path) -> bool:
    """Draw the speeds of whole files as bars, if matplotlib is there."""
    try:
        import matplotlib.figure
    except ImportError:
        say("No plot: matplotlib is not installed (pip install matplotlib).")
        return False
    parts = [(name, part) for name, found in results["subjects"].items() for part in found["batch"]]
    figure = matplotlib.figure.Figure(figsize=(9, 0.6 + 2.8 * len(parts)), layout="constrained")
    for axes, (subject, part) in zip(figure.subplots(len(parts), squeeze=False)[:, 0], parts, strict=True):
        speeds = {name: values(part["rounds"], name, "sentences", "seconds") for name in reversed(RUNNERS)}
        speeds = {name: each for name, each in speeds.items() if each}
        middle = [statistics.median(each) for each in speeds.values()]
        errors = [
            [m - min(each) for m, each in zip(middle, speeds.values(), strict=True)],
            [max(each) - m for m, each in zip(middle, speeds.values(), strict=True)],
        ]
        colors = ["tab:blue" if name in OURS else "tab:gray" for name in speeds]
        bars = axes.barh([RUNNERS[name].title for name in speeds], middle, xerr=errors, color=colors)
        axes.bar_label(bars, labels=[f"{value:,.1f}" for value in middle], padding=4)
        axes.set_xlim(0, max(middle, default=1) * 1.15)
        model = "base model, untrained" if subject == "base" else part["text"]
        how = "greedy" if part["beam"] == 1 else f"beam {part['beam']}"
        axes.set_title(f"{model}, {how}: sentences a second", loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    say(f"plot: {path}")
    return True


def publish(results: dict[str, Any], into: Path | None) -> None:
    """Print the tables, and put them between the marks in a file if one is named, with a plot beside it."""
    lines = explain(results)
    for subject, found in results["subjects"].items():
        lines += [f"**{found['title']}.**", ""]
        for part in found["batch"]:
            lines += batch_table(results, subject, part)
        lines += agreement_table(found["batch"]) + latency_table(found)
    print("\n".join(lines))
    if into is None:
        return
    if plot(results, into.parent / "bench_decode.svg"):
        lines += ["![Sentences a second of each: median, least and most](bench_decode.svg)", ""]
    put_between(BEGIN, END, lines, into)


# ---- the command ----------------------------------------------------------------------------------------


def parse() -> argparse.Namespace:
    """Return the command line, --minute worked in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="a run directory of this repository")
    parser.add_argument("--random-base", action="store_true", help="also, or only, an untrained base model")
    parser.add_argument("--source", type=Path, help="text to translate, one sentence a line")
    parser.add_argument("--reference", type=Path, help="its translation, line by line")
    parser.add_argument("--other", type=Path, nargs=2, metavar=("SOURCE", "REFERENCE"), help="a second text")
    parser.add_argument("--sentences", type=int, help="use the first so many of each text; default: all")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/transformer-bench"), help="default: %(default)s")
    parser.add_argument("--runners", help=f"some of {','.join(RUNNERS)}")
    parser.add_argument("--rounds", type=int, help="default: 5")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: %(default)s")
    parser.add_argument("--minute", action="store_true", help="few sentences and rounds; nothing is installed")
    parser.add_argument("--write", type=Path, help="a Markdown file to put the tables into")
    parser.add_argument("--results", type=Path, help="measure nothing, take the rounds from this file")
    args = parser.parse_args()
    if args.results is None and (args.source is None or args.reference is None):
        parser.error("--source and --reference are needed")
    if args.results is None and args.run is None and not args.random_base:
        parser.error("name a run directory, or --random-base")
    args.rounds = args.rounds or (1 if args.minute else 5)
    args.sentences = args.sentences or (100 if args.minute else None)
    args.runners = args.runners.split(",") if args.runners else QUICK if args.minute else list(RUNNERS)
    unknown = [name for name in args.runners if name not in RUNNERS]
    if unknown:
        parser.error(f"unknown runner {unknown[0]!r}; there are {', '.join(RUNNERS)}")
    args.cache = args.cache.expanduser().resolve()
    return args


def main() -> None:
    """Prepare, measure, publish."""
    args = parse()
    if args.results is not None:
        publish(json.loads(args.results.read_text()), args.write)
        return
    cache = args.cache / "decode"
    cache.mkdir(parents=True, exist_ok=True)
    file = args.cache / f"decode-{time.strftime('%Y%m%d-%H%M%S')}.json"
    results: dict[str, Any] = {"command": command(), "facts": {}, "left_out": {}, "subjects": {}}
    try:
        files = [(args.source, args.reference), *([args.other] if args.other else [])]
        texts = [read_text(source, reference, args.sentences) for source, reference in files]
        bench = Bench(args, results, file)
        if args.run is not None:
            bench.subject(trained(args.run, cache), texts)
        if args.random_base:
            bench.subject(random_base(texts, cache), texts[:1])
    except TransformerError as error:
        sys.exit(f"bench/decode.py: {error}")
    publish(results, args.write)
    say(f"every round: {file}")


def command() -> str:
    """Return the command line without what names this machine's own folders."""
    kept = sys.argv[1:]
    for name in ("--cache", "--write"):
        if name in kept:
            at = kept.index(name)
            kept = kept[:at] + kept[at + 2 :]
    return " ".join(["python", "scripts/bench/decode.py", *(Path(each).name for each in kept)])


if __name__ == "__main__":
    main()
