"""Measure how time and memory of preparation grow with the corpus. Prints a table.

    python scripts/bench/preparation_growth.py SOURCE TARGET [--sizes 10000 40000 160000 640000] [--learn 37000]

Each size is prepared in its own process, with a vocabulary from the first 10,000 pairs, or with one that is learned in
the same process as training would (`--learn PIECES`). Memory is the largest sum of the resident sets of that process
and its children (Linux), looked at ten times a second. The row for 0 pairs shows what the program itself takes.

A size beyond the text repeats it with changes: a number at the end of each line, and in one line of three two letters
swapped, so that new words keep coming as in real text.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from transformer.config import Config, TokenizerConfig
from transformer.data import corpus
from transformer.data.prepare import find_or_learn_tokenizer, prepare_pairs
from transformer.data.tokenizer import learn_tokenizer, load_tokenizer
from transformer.data_config import CorpusConfig, DataConfig


def measure(folder: Path, pairs: int, learn: int, sample: int) -> None:
    """Prepare the files in a folder."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    files = (str(folder / f"{pairs}.source"), str(folder / f"{pairs}.target"))
    data = DataConfig(source="en", target="fr", train=(CorpusConfig(files=files),))
    cfg = Config(data=data, tokenizer=TokenizerConfig(vocab_size=learn or 8000, sample=sample))
    if pairs:
        tok = find_or_learn_tokenizer(cfg, folder / "prepared") if learn else load_tokenizer(folder)
        prepare_pairs(cfg, tok, [], folder / "prepared")


def resident(pid: int) -> int:
    """Return the bytes in memory of a process and its children."""
    total = 0
    with contextlib.suppress(OSError, IndexError):
        total = 1024 * int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            total += sum(resident(int(child)) for child in children.read_text().split())
    return total


def lines(files: CorpusConfig, size: int) -> Iterator[tuple[str, str]]:
    """Yield pairs of text, repeated with changes if there are fewer."""
    rng, left = random.Random(1), size
    for turn in itertools.count():
        for number, pair in enumerate(corpus.read_pairs(files, "en", "fr")):
            if not left:
                return
            if pair is not None:
                left -= 1
                sides = [swapped(side, rng) if number % 3 == 0 else side for side in pair] if turn else list(pair)
                yield tuple(f"{side} {turn}" for side in sides) if turn else pair  # type: ignore[misc]


def swapped(text: str, rng: random.Random) -> str:
    """Return text with two neighbouring letters swapped."""
    place = rng.randrange(max(1, len(text) - 1))
    return text[:place] + text[place : place + 2][::-1] + text[place + 2 :]


def row(folder: Path, size: int, learn: int, sample: int) -> str:
    """Measure one size in a fresh process, and return its row of the table."""
    code = f"import pathlib, sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import preparation_growth as p; "
    command = [sys.executable, "-c", code + f"p.measure(pathlib.Path({str(folder)!r}), {size}, {learn}, {sample})"]
    started, before, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN), 0
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(process.returncode)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    written = sum(f.stat().st_size for f in (folder / "prepared").glob("pairs-*/*") if f.is_file()) if size else 0
    speed = size / seconds
    return f"| {size:,} | {seconds:.1f} | {cpu:.1f} | {speed:,.0f} | {peak / 2**20:.0f} | {written / 2**20:.1f} |"


def main() -> None:
    """Write a corpus of each size, measure each in a fresh process, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="source text, plain or compressed")
    parser.add_argument("target", type=Path, help="its translation, line by line")
    sizes = [10_000, 40_000, 160_000, 640_000]
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes, help="numbers of pairs; default: %(default)s")
    parser.add_argument("--learn", type=int, default=0, metavar="PIECES", help="learn a vocabulary of this size too")
    parser.add_argument("--sample", type=int, default=1_000_000, help="pairs to learn it from; default: %(default)s")
    parser.add_argument("--folder", type=Path, help="where temporary files are written")
    args = parser.parse_args()
    files = CorpusConfig(files=(str(args.source), str(args.target)))
    print("| pairs | seconds | CPU seconds | pairs/s | peak memory, MiB | written, MiB |")
    print("|---|---|---|---|---|---|", flush=True)
    for size in (0, *args.sizes):
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            folder = Path(name)
            learn_tokenizer(list(lines(files, 10_000)), TokenizerConfig(vocab_size=8000)).save(folder)
            with (folder / f"{size}.source").open("w") as source, (folder / f"{size}.target").open("w") as target:
                for left, right in lines(files, size):
                    source.write(f"{left}\n")
                    target.write(f"{right}\n")
            print(row(folder, size, args.learn, args.sample), flush=True)


if __name__ == "__main__":
    main()
