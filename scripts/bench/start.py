"""Measure how long `transformer translate` takes to start, and how much memory it needs beside CTranslate2.

    python scripts/bench/start.py RUN [--against CHECKOUT] [--rounds 9]
    python scripts/bench/start.py RUN --memory TEXT [--beam 5]

A start is the whole process, from its beginning to its end, with one sentence on standard input. `--against` is another
checkout of this repository; processes take turns. Memory is the most that a process has resident: decoding TEXT in one
thread, with 8 bits on both sides, the same weights, the same beam and as many tokens in a batch. What Python and the
libraries take before the model is loaded is told apart. Needs the package ctranslate2. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BATCH_TOKENS = 10_240
"""Source tokens of a batch times beams."""
OURS = """
import sys
from pathlib import Path
import torch
import transformer.decoding.loading, transformer.decoding.int8.engine
from transformer.system.device import resolve_device

def kib(name):
    return int(Path("/proc/self/status").read_text().split(name)[1].split()[0])

run, text, beam, tokens = sys.argv[1:]
before = kib("VmRSS:")
overrides = [f"decode.beam={beam}", f"decode.batch_tokens={tokens}"]
overrides += ["decode.precision=int8", "decode.length_penalty=0", "decode.max_extra=50"]
_, translator, _ = transformer.decoding.loading.load_translator(Path(run), overrides, resolve_device("cpu"))
loaded = kib("VmHWM:")
lines = [line for line in Path(text).read_text(encoding="utf-8").split("\\n") if line.strip()]
for _ in translator.translate(lines):
    pass
print([before, loaded, kib("VmHWM:")])
"""
CTRANSLATE2 = """
import sys
from pathlib import Path
import ctranslate2, sentencepiece

def kib(name):
    return int(Path("/proc/self/status").read_text().split(name)[1].split()[0])

folder, text, beam, tokens = sys.argv[1:]
before = kib("VmRSS:")
translator = ctranslate2.Translator(folder, device="cpu", compute_type="int8", inter_threads=1, intra_threads=1)
found = sorted(Path(folder).glob("*sentencepiece.model")) or sorted(Path(folder).glob("source.spm"))
spm = sentencepiece.SentencePieceProcessor(str(found[0]))
loaded = kib("VmHWM:")
lines = [line for line in Path(text).read_text(encoding="utf-8").split("\\n") if line.strip()]
pieces = spm.encode(lines, out_type=str)
translator.translate_batch(
    pieces, beam_size=int(beam), length_penalty=0, max_batch_size=int(tokens) // int(beam),
    batch_type="tokens", max_input_length=0, max_decoding_length=50 + max(map(len, pieces)),
)
print([before, loaded, kib("VmHWM:")])
"""


def started(tree: Path, run: Path | None) -> tuple[float, float]:
    """Return the seconds and the CPU seconds of a process: of a translation, or without a run of `import torch`."""
    command = ["-c", "import torch"] if run is None else ["-m", "transformer", "translate", str(run)]
    before, watch = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *command],
        cwd=tempfile.gettempdir(),
        env={**os.environ, "PYTHONPATH": str(tree)},
        input=b"The old teacher has not sold the red car.\n",
        stdout=subprocess.DEVNULL,
        check=True,
    )
    seconds, after = time.perf_counter() - watch, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_starts(run: Path, against: Path | None, rounds: int) -> None:
    """Print the table of starts."""
    ways = {"this checkout": (ROOT, run), **({"the other checkout": (against, run)} if against else {})}
    all_ways: dict[str, tuple[Path, Path | None]] = {**ways, "`import torch`": (ROOT, None)}
    for way in all_ways.values():
        started(*way)  # compiles kernels and modules
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in all_ways}
    for _ in range(rounds):
        for name, way in all_ways.items():
            found[name].append(started(*way))
    print("| process | seconds | min–max | CPU seconds | seconds, this checkout = 1 |\n|---|---|---|---|---|")
    for name, each in found.items():
        seconds = [one for one, _ in each]
        ratios = [one / own for (one, _), (own, _) in zip(each, found["this checkout"], strict=True)]
        print(
            f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f}–{max(seconds):.2f} | "
            f"{statistics.median(cpu for _, cpu in each):.2f} | {statistics.median(ratios):.2f} |"
        )


def measure_memory(run: Path, text: Path, beam: int) -> None:
    """Print the table of memory."""
    from transformer import export

    print("| what | before the model, MiB | model loaded, MiB | most, MiB | most, less what was before, MiB |")
    print("|---|---|---|---|---|")
    grown = []
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "exported"
        export(run, exported, "ctranslate2", quantization="int8", lines=1)
        for name, program, model in (
            ("this repository, int8", OURS, run),
            ("CTranslate2, int8", CTRANSLATE2, exported),
        ):
            command = [sys.executable, "-c", program, str(model), str(text), str(beam), str(BATCH_TOKENS)]
            variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
            before, loaded, most = (kib / 1024 for kib in json.loads(done.stdout.splitlines()[-1]))
            grown.append(most - before)
            print(f"| {name} | {before:,.0f} | {loaded:,.0f} | {most:,.0f} | {most - before:,.0f} |")
    print(f"\nThe last column of this repository is {grown[0] / grown[1]:.2f} times that of CTranslate2.")


def main() -> None:
    """Measure starts, or with --memory memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--against", type=Path, help="another checkout, whose start is measured in turns with this one")
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    parser.add_argument("--memory", type=Path, metavar="TEXT", help="measure the memory of decoding this text")
    parser.add_argument("--beam", type=int, default=5, help="default: %(default)s")
    args = parser.parse_args()
    if args.memory is not None:
        measure_memory(args.run, args.memory, args.beam)
    else:
        measure_starts(args.run, args.against, args.rounds)


if __name__ == "__main__":
    main()
