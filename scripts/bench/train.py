"""Measure training speed on this CPU, ours and others', and print a table for each size of model.

    python scripts/bench/train.py                        # everything, 5 rounds; 40 minutes on two cores
    python scripts/bench/train.py --minute               # the small model, few updates, nothing is installed
    python scripts/bench/train.py --write docs/benchmarks.md
    python scripts/bench/train.py --source train.en --target train.de --only small --runners ours,torch,eole

The text is Multi30k English-German, from the Hugging Face Hub unless two files are named. All train on it with one
vocabulary, in updates of about 4,096 target tokens; a runner's rounds are processes of their own, taken in turns with
the others', so that a machine that slows down slows down all. Other packages get environments of their own in the
cache folder, by pip. What cannot be installed or fails is left out, by name and with the reason. Linux only.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from transformer import batching, config, corpus, prepare, runtime
from transformer.config import Config, CorpusConfig, DataConfig, ModelConfig, TokenizerConfig, TrainConfig
from transformer.errors import TransformerError

HERE = Path(__file__).resolve().parent
CONSTRAINTS = HERE.parents[1] / "constraints.txt"
VOCABULARY, BATCH_TOKENS, SEED = 8000, 4096, 1
COMMON = {"dropout": 0.1, "label_smoothing": 0.1, "clip_norm": 1.0}
PATIENCE = 3600.0
"""Seconds that one process may take."""
BEGIN, END = "<!-- bench_train:begin -->", "<!-- bench_train:end -->"


@dataclass(frozen=True)
class Size:
    """A model, and how many updates of it are timed."""

    layers: int
    width: int
    heads: int
    feed_forward: int
    timed: int


SIZES = {"small": Size(3, 256, 4, 1024, timed=8), "base": Size(6, 512, 8, 2048, timed=2)}


@dataclass(frozen=True)
class Runner:
    """One row of the table."""

    title: str
    script: str
    precision: str
    environment: str = ""
    """The name of the environment that it needs; empty is this one."""


FAST = "bfloat16" if runtime.precision("auto", torch.device("cpu")) == torch.bfloat16 else "float32"
"""What `train.precision: auto` is on this machine."""
RUNNERS = {
    "matmul": Runner("torch.mm of the model's shapes", "train_matmul.py", FAST),
    "ours": Runner("this repository, as shipped", "train_ours.py", "auto"),
    "ours-float32": Runner("this repository, float32", "train_ours.py", "float32"),
    "torch": Runner("torch.nn.Transformer, float32", "train_torch.py", "float32"),
    "torch-medium": Runner('torch.nn.Transformer, matmul precision "medium"', "train_torch.py", "medium"),
    "torch-bf16": Runner("torch.nn.Transformer, bfloat16 autocast", "train_torch.py", "bfloat16"),
    "marian": Runner("transformers MarianMTModel, as shipped (float32)", "train_marian.py", "float32", "marian"),
    "marian-bf16": Runner("transformers MarianMTModel, bfloat16 autocast", "train_marian.py", "bfloat16", "marian"),
    "eole": Runner("Eole, as shipped (float32)", "train_eole.py", "float32", "eole"),
    "eole-bf16": Runner("Eole, compute_dtype bf16", "train_eole.py", "bfloat16", "eole"),
}
PACKAGES = {
    "marian": ["transformers"],
    "eole": ["eole>=0.6,<0.7", "aiohttp"],
}  # 0.6.4 imports aiohttp without asking for it
QUICK = ["matmul", "ours", "torch-bf16", "marian"]


class UnavailableError(Exception):
    """Why a runner is left out."""


def say(text: str) -> None:
    """Tell on stderr how far it is."""
    print(text, file=sys.stderr, flush=True)


# ---- text, vocabulary and updates -----------------------------------------------------------------------


def configuration(folder: Path, size: Size) -> Config:
    """Return what `transformer train` would be given for this size."""
    files = (str(folder / "train.source"), str(folder / "train.target"))
    model = {key: value for key, value in asdict(size).items() if key not in ("layers", "timed")}
    return Config(
        data=DataConfig(
            source="en", target="de", train=(CorpusConfig(files=files),), prepared_dir=str(folder / "prepared")
        ),
        tokenizer=TokenizerConfig(vocab_size=VOCABULARY),
        model=ModelConfig(
            **model, encoder_layers=size.layers, decoder_layers=size.layers, tied="all", dropout=COMMON["dropout"]
        ),
        train=TrainConfig(
            seed=SEED,
            batch_tokens=BATCH_TOKENS,
            label_smoothing=COMMON["label_smoothing"],
            clip_norm=COMMON["clip_norm"],
        ),
    )


def prepare_all(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write text, vocabulary, configurations and updates where all workers find them; return what jobs share."""
    folder.mkdir(parents=True, exist_ok=True)
    text = CorpusConfig(dataset="bentrevett/multi30k")
    if args.source:
        text = CorpusConfig(files=(str(args.source), str(args.target)))
    corpus.check(text)
    kept = folder / "train.source", folder / "train.target"
    if args.source or not all(path.exists() for path in kept):
        pairs = [pair for pair in corpus.pairs(text, "en", "de") if pair is not None and pair.source and pair.target]
        for side, path in enumerate(kept):
            path.write_text("".join(f"{pair[side]}\n" for pair in pairs), encoding="utf-8")
    for name, size in SIZES.items():
        (folder / f"{name}.yaml").write_text(config.dump(configuration(folder, size)), encoding="utf-8")
    cfg = configuration(folder, SIZES["small"])
    tok = prepare.train_tokenizer(cfg, folder / "prepared")
    tok.save(folder)
    pieces = tok.pieces(range(tok.sizes[0]))
    (folder / "vocabulary.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    dataset = prepare.prepare(cfg, tok, [], folder / "prepared")
    most = args.warm + max(timed(args, size) for size in SIZES.values())
    rows = []
    for update in itertools.islice(batching.updates(dataset, BATCH_TOKENS, SEED, 0, 0), most):
        source, target = dataset.pairs(update.pairs)
        rows.append({"source": [ids.tolist() for ids in source], "target": [ids.tolist() for ids in target]})
    (folder / "updates.json").write_text(json.dumps(rows))
    ids = {"pad": tok.pad, "bos": tok.bos, "eos": tok.eos, "vocabulary": tok.sizes[0], "pairs": len(dataset)}
    return {
        **ids,
        **COMMON,
        "folder": str(folder),
        "updates": str(folder / "updates.json"),
        "batch_tokens": BATCH_TOKENS,
    }


def timed(args: argparse.Namespace, size: Size) -> int:
    """Return how many updates of a size are timed."""
    return args.timed or size.timed


def describe_updates(job: dict[str, Any]) -> dict[str, float]:
    """Return means over the timed updates, and the operations that each target token stands for; real tokens only."""
    updates = json.loads(Path(job["updates"]).read_text())[job["warm"] : job["warm"] + job["timed"]]
    lengths = {side: [[len(row) + 1 for row in update[side]] for update in updates] for side in ("source", "target")}
    total = {side: sum(map(sum, found)) for side, found in lengths.items()}
    padded = sum(max(found) * len(found) for each in lengths.values() for found in each)
    sentences = sum(map(len, lengths["target"]))
    s, t = total["source"] / sentences, total["target"] / sentences
    size = job["size"]
    shape = size["layers"], size["width"], size["feed_forward"], job["vocabulary"]
    return {
        "source_tokens": total["source"] / len(updates),
        "target_tokens": total["target"] / len(updates),
        "padding": 1 - sum(total.values()) / padded,
        "flops_per_target_token": training_flops(*shape, s, t),
    }


def training_flops(layers: int, width: int, feed_forward: int, vocabulary: int, source: float, target: float) -> float:
    """Return the operations of training for each target token, of sentences of these mean lengths.

    Multiplications with weights and of attention count, each with its two gradients; as many layers on each side.
    """
    d, f = width, feed_forward
    source_macs = layers * (4 * d**2 + 2 * d * f) + layers * 2 * d**2 + layers * 2 * d * source
    target_macs = layers * (6 * d**2 + 2 * d * f) + vocabulary * d + layers * (2 * d * target / 2 + 2 * d * source)
    return 6 * (source_macs * source / target + target_macs)


# ---- environments and processes -------------------------------------------------------------------------


def environment(name: str, cache: Path, build: bool) -> Path:
    """Return the Python of an environment with a peer in it, made now or found; raises UnavailableError."""
    if not name:
        return Path(sys.executable)
    packages = [f"torch=={torch.__version__.split('+')[0]}", *PACKAGES[name]]
    folder = cache / "environments" / name
    python, ready, log = folder / "bin" / "python", folder / "ready", cache / f"pip-{name}.log"
    if ready.exists() and ready.read_text() == " ".join(packages):
        return python
    if not build:
        raise UnavailableError("its environment is not there; the command without --minute makes it")
    say(f"installing {' '.join(packages)} into {folder}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    for constraints in (["-c", str(CONSTRAINTS)], []):  # a peer may need versions other than ours
        command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", *constraints, *packages]
        with log.open("w") as stream:
            done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT)
        if done.returncode == 0:
            ready.write_text(" ".join(packages))
            return python
    raise UnavailableError(f"cannot be installed: {last_line(log.read_text())}")


def last_line(text: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def run(runner: Runner, python: Path, job: dict[str, Any]) -> dict[str, float]:
    """Run a worker in a process of its own and return what it found; raises UnavailableError."""
    job = {**job, "precision": runner.precision}
    threads = str(job["threads"])
    variables = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
    command = [str(python), str(HERE / "runners" / runner.script), json.dumps(job)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"not done after {PATIENCE:.0f} seconds") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise UnavailableError(f"failed: {last_line(done.stderr)}")
    found: dict[str, float] = json.loads(lines[-1])
    return found


def measure(args: argparse.Namespace, shared: dict[str, Any], results: dict[str, Any], file: Path) -> None:
    """Run all rounds, in turns, and save what is known after each process."""
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
        job |= {"warm": args.warm, "timed": timed(args, SIZES[size]), "threads": args.threads}
        rounds: list[dict[str, Any]] = []
        results["sizes"][size] = {"updates": describe_updates(job), "timed": job["timed"], "rounds": rounds}
        for number in range(args.rounds):
            rounds.append({})
            for name in [name for name in pythons if f"{size} {name}" not in results["left_out"]]:
                try:
                    rounds[-1][name] = found = run(RUNNERS[name], pythons[name], job)
                    say(f"{size}, round {number + 1} of {args.rounds}, {name}: {one_line(found)}")
                except UnavailableError as reason:
                    results["left_out"][f"{size} {name}"] = str(reason)
                    say(f"{size}, {name}: {reason}")
                file.write_text(json.dumps(results, indent=1))


def one_line(found: dict[str, float]) -> str:
    """Return a process's findings in words."""
    if "flops" in found:
        return f"{found['flops'] / found['seconds'] / 1e9:,.1f} GFLOP/s"
    speed = found["tokens"] / found["seconds"]
    return f"{speed:,.0f} target tokens/s, {found['tokens']:,} tokens, {found['peak_mib']:,.0f} MiB"


def facts(args: argparse.Namespace, pythons: dict[str, Path]) -> dict[str, Any]:
    """Return what a reader has to know about the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    versions = {"torch": torch.__version__, "this repository": importlib.metadata.version("transformer-translation")}
    for peer, package in (("marian", "transformers"), ("eole", "eole")):
        python = next((pythons[name] for name in pythons if RUNNERS[name].environment == peer), None)
        if python is not None:
            code = f"import importlib.metadata as m; print(m.version({package!r}), m.version('torch'))"
            done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
            found = done.stdout.split()
            versions[package] = f"{found[0]} (torch {found[1]})" if len(found) == 2 else "unknown"
    text = f"{args.source.name} and {args.target.name}" if args.source else "Multi30k English-German"
    known = {"cpu": cpu, "text": text, "precision": FAST, "threads": args.threads, "warm": args.warm}
    return {**known, "versions": versions}


# ---- tables ---------------------------------------------------------------------------------------------


def spread(values: list[float], form: str) -> tuple[str, str]:
    """Return the median, and the least and the most, in words."""
    return format(statistics.median(values), form), f"{min(values):{form}}–{max(values):{form}}"


def speeds(found: dict[str, Any], name: str) -> list[float]:
    """Return a runner's target tokens per second, round by round."""
    return [each[name]["tokens"] / each[name]["seconds"] for each in found["rounds"] if name in each]


def row(found: dict[str, Any], name: str) -> str:
    """Return a runner's row of the table."""
    speed, range_ = spread(speeds(found, name), ",.0f")
    ratio = share = "–"
    both = [each for each in found["rounds"] if name in each and "ours" in each]
    if both and name != "ours":
        times = [
            each["ours"]["tokens"] / each["ours"]["seconds"] / (each[name]["tokens"] / each[name]["seconds"])
            for each in both
        ]
        ratio = "{} ({})".format(*spread(times, ".2f"))
    both = [each for each in found["rounds"] if name in each and "matmul" in each]
    if both:
        flops = found["updates"]["flops_per_target_token"]
        rates = [
            flops * each[name]["tokens"] / each[name]["seconds"] / (each["matmul"]["flops"] / each["matmul"]["seconds"])
            for each in both
        ]
        share = f"{statistics.median(rates):.0%}"
    memory = statistics.median(each[name]["peak_mib"] for each in found["rounds"] if name in each)
    return f"| {RUNNERS[name].title} | {speed} | {range_} | {ratio} | {share} | {memory:,.0f} |"


def table(size: str, results: dict[str, Any]) -> list[str]:
    """Return the lines about one size."""
    found, left_out = results["sizes"][size], results["left_out"]
    shape, means = SIZES[size], found["updates"]
    lines = [
        f"**{size}**: {shape.layers}+{shape.layers} layers, width {shape.width}, {shape.heads} heads, feed-forward "
        f"{shape.feed_forward:,}; medians of {len(found['rounds'])} alternating rounds of {found['timed']} updates, of "
        f"{means['source_tokens']:,.0f} source and {means['target_tokens']:,.0f} target tokens each.",
        "",
        "| what | target tokens/s | min–max | ours is faster by | share of matmul rate | peak memory, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for name in RUNNERS:
        reason = left_out.get(name) or left_out.get(f"{size} {name}")
        if reason:
            lines.append(f"| {RUNNERS[name].title} | left out: {reason.replace('|', '/')} | | | | |")
        elif name != "matmul" and any(name in each for each in found["rounds"]):
            lines.append(row(found, name))
    cut = [each[name]["tokens"] / found["timed"] for each in found["rounds"] for name in each if "eole" in name]
    if cut:
        lines += ["", f"Eole's updates had {statistics.mean(cut):,.0f} real target tokens."]
    rates = [e["matmul"]["flops"] / e["matmul"]["seconds"] / 1e9 for e in found["rounds"] if "matmul" in e]
    if rates:
        precision = results["facts"]["precision"]
        lines += ["", "torch.mm of these shapes, {}: {} ({}) GFLOP/s.".format(precision, *spread(rates, ",.0f"))]
    return [*lines, ""]


def explain(results: dict[str, Any]) -> list[str]:
    """Return the lines about the machine and what the columns mean."""
    known = results["facts"]
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    padding = max(found["updates"]["padding"] for found in results["sizes"].values())
    return [
        f"`{results['command']}` on {known['cpu']}, {known['threads']} threads; {versions}.",
        "",
        f"All train on {known['text']}: 8,000 joint pieces, all embeddings tied, dropout 0.1, label smoothing 0.1, "
        f"Adam, clipping. Updates of warm-up, not timed: {known['warm']}. As shipped, this repository computes in "
        f"{known['precision']} on this machine. The plain loops get ready-made tensors of the same updates, one "
        f"rectangle a side (padding: {padding:.0%}); Eole cuts its own batches of at most {BATCH_TOKENS:,} padded "
        "tokens from the same text. Only real target tokens are counted. The share of the matmul rate is the "
        "arithmetic that the real tokens need, divided by what torch.mm does in that time at the model's shapes.",
        "",
    ]


def plot(results: dict[str, Any], path: Path) -> bool:
    """Draw the medians as bars, if matplotlib is there."""
    try:
        import matplotlib.figure
    except ImportError:
        say("No plot: matplotlib is not installed (pip install matplotlib).")
        return False
    sizes = results["sizes"]
    figure = matplotlib.figure.Figure(figsize=(9, 0.6 + 3.2 * len(sizes)), layout="constrained")
    for axes, (size, found) in zip(figure.subplots(len(sizes), squeeze=False)[:, 0], sizes.items(), strict=True):
        names = [name for name in reversed(RUNNERS) if name != "matmul" and speeds(found, name)]
        middle = [statistics.median(speeds(found, name)) for name in names]
        errors = [
            [m - min(speeds(found, name)) for m, name in zip(middle, names, strict=True)],
            [max(speeds(found, name)) - m for m, name in zip(middle, names, strict=True)],
        ]
        colors = ["tab:blue" if name.startswith("ours") else "tab:gray" for name in names]
        bars = axes.barh([RUNNERS[name].title for name in names], middle, xerr=errors, color=colors)
        axes.bar_label(bars, labels=[f"{value:,.0f}" for value in middle], padding=4)
        axes.set_xlim(0, max(middle, default=1) * 1.15)
        axes.set_title(f"{size}: target tokens a second (median, least and most)", loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    say(f"plot: {path}")
    return True


def publish(results: dict[str, Any], into: Path | None) -> None:
    """Print the tables, and put them between the marks in a file if one is named, with a plot beside it."""
    lines = explain(results)
    for size in results["sizes"]:
        lines += table(size, results)
    print("\n".join(lines))
    if into is None:
        return
    if plot(results, into.parent / "bench_train.svg"):
        lines += ["![Target tokens a second of each](bench_train.svg)", ""]
    put_between(BEGIN, END, lines, into)


def put_between(begin: str, end: str, lines: list[str], into: Path) -> None:
    """Put lines between two marks in a file, or at its end with the marks where it has none."""
    old = into.read_text(encoding="utf-8") if into.exists() else ""
    new = "\n".join([begin, *lines, end])
    if begin in old and end in old:
        new = old[: old.index(begin)] + new + old[old.index(end) + len(end) :]
    else:
        new = f"{old.rstrip()}\n\n{new}\n".lstrip()
    into.write_text(new, encoding="utf-8")


# ---- the command ----------------------------------------------------------------------------------------


def parse() -> argparse.Namespace:
    """Return the command line, --minute worked in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="English text, plain or compressed, one sentence a line")
    parser.add_argument("--target", type=Path, help="its German translation, line by line")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/transformer-bench"), help="default: %(default)s")
    parser.add_argument("--only", choices=list(SIZES), help="one size of model")
    parser.add_argument("--runners", help=f"some of {','.join(RUNNERS)}")
    parser.add_argument("--rounds", type=int, help="default: 5")
    parser.add_argument("--warm", type=int, help="updates before the clock runs, at least 1; default: 1")
    parser.add_argument("--timed", type=int, help="updates on the clock; default: 8 of small, 2 of base")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: %(default)s")
    parser.add_argument("--minute", action="store_true", help="small and short; nothing is installed")
    parser.add_argument("--write", type=Path, help="a Markdown file to put the tables into")
    parser.add_argument("--results", type=Path, help="measure nothing, take the rounds from this file")
    args = parser.parse_args()
    if (args.source is None) != (args.target is None):
        parser.error("--source and --target go together")
    usual = {"rounds": 2, "warm": 1, "timed": 4} if args.minute else {"rounds": 5, "warm": 1, "timed": None}
    for key, value in usual.items():
        setattr(args, key, getattr(args, key) or value)
    args.only = [args.only] if args.only else ["small"] if args.minute else list(SIZES)
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
    file = args.cache / f"results-{time.strftime('%Y%m%d-%H%M%S')}.json"
    results: dict[str, Any] = {"command": command(), "facts": {}, "left_out": {}, "sizes": {}}
    try:
        shared = prepare_all(args, args.cache / ("text" if args.source else "multi30k"))
    except TransformerError as error:
        sys.exit(f"bench/train.py: {error}")
    measure(args, shared, results, file)
    publish(results, args.write)
    say(f"every round: {file}")


def command() -> str:
    """Return the command line without what names this machine's own folders."""
    kept = sys.argv[1:]
    for name in ("--cache", "--source", "--target", "--write"):
        if name in kept:
            at = kept.index(name)
            kept = kept[:at] + kept[at + 2 :]
    return " ".join(["python", "scripts/bench/train.py", *kept])


if __name__ == "__main__":
    main()
