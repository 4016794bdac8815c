"""Measure how time and memory of preparation grow with the corpus. Prints a table.

    python scripts/bench/preparation_growth.py SOURCE TARGET [--sizes 10000 40000 160000 640000]

Each size is prepared in its own process, with a vocabulary from the first 10,000 pairs. Memory is the peak resident set
of that process (Linux). The row for 0 pairs shows what the program itself takes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from transformer.config import Config, TokenizerConfig
from transformer.data import corpus
from transformer.data.prepare import prepare_pairs
from transformer.data.tokenizer import learn_tokenizer, load_tokenizer
from transformer.data_config import CorpusConfig, DataConfig


def measure(folder: Path, pairs: int) -> dict[str, float]:
    """Prepare the files in a folder; return seconds, peak memory and bytes written."""
    files = (str(folder / f"{pairs}.source"), str(folder / f"{pairs}.target"))
    cfg = Config(data=DataConfig(source="en", target="fr", train=(CorpusConfig(files=files),)))
    started = time.perf_counter()
    if pairs:
        prepare_pairs(cfg, load_tokenizer(folder), [], folder / "prepared")
    seconds = time.perf_counter() - started
    written = sum(f.stat().st_size for f in (folder / "prepared").glob("pairs-*/*") if f.is_file()) if pairs else 0
    status = Path("/proc/self/status").read_text()  # getrusage would return the parent's peak if larger
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return {"seconds": seconds, "peak_mib": peak, "written_mib": written / 2**20}


def main() -> None:
    """Write a corpus of each size, measure each in a fresh process, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="source text, plain or compressed")
    parser.add_argument("target", type=Path, help="its translation, line by line")
    sizes = [10_000, 40_000, 160_000, 640_000]
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes, help="numbers of pairs; default: %(default)s")
    args = parser.parse_args()
    files = CorpusConfig(files=(str(args.source), str(args.target)))
    print("| pairs | seconds | pairs/s | peak memory, MiB | written, MiB |\n|---|---|---|---|---|")
    for size in (0, *args.sizes):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            first = [
                p for p in itertools.islice(corpus.read_pairs(files, "en", "fr"), max(size, 10_000)) if p is not None
            ]
            learn_tokenizer(first[:10_000], TokenizerConfig(vocab_size=8000)).save(folder)
            for side, suffix in enumerate(("source", "target")):
                text = "".join(f"{pair[side]}\n" for pair in first[:size])
                (folder / f"{size}.{suffix}").write_text(text, encoding="utf-8")
            del first
            code = f"import json, pathlib, sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
            code += f"import preparation_growth as p; print(json.dumps(p.measure(pathlib.Path({name!r}), {size})))"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            row = json.loads(done.stdout)
            speed = size / row["seconds"] if size else 0
            print(
                f"| {size:,} | {row['seconds']:.1f} | {speed:,.0f} | {row['peak_mib']:.0f} | {row['written_mib']:.1f} |"
            )


if __name__ == "__main__":
    main()
