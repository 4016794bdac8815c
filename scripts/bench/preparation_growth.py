"""Measure how the time and memory of preparation grow with the size of a corpus, and print a table.

    python scripts/bench/preparation_growth.py SOURCE TARGET [--sizes 10000 40000 160000 640000]

Each size is prepared in a process of its own, with a vocabulary learned once from the first 10,000 pairs; memory is
that process's largest resident set (Linux), of which the row for 0 pairs is what the program takes by itself.
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

from transformer import corpus, prepare, tokenizer
from transformer.config import Config, CorpusConfig, DataConfig, TokenizerConfig


def measure(folder: Path, pairs: int) -> dict[str, float]:
    """Prepare the files in `folder` and return seconds, peak memory and the size of what was written."""
    files = (str(folder / f"{pairs}.source"), str(folder / f"{pairs}.target"))
    cfg = Config(data=DataConfig(source="en", target="fr", train=(CorpusConfig(files=files),)))
    started = time.perf_counter()
    if pairs:
        prepare.prepare(cfg, tokenizer.load(folder), [], folder / "prepared")
    seconds = time.perf_counter() - started
    written = sum(f.stat().st_size for f in (folder / "prepared").glob("pairs-*/*") if f.is_file()) if pairs else 0
    status = Path("/proc/self/status").read_text()  # getrusage would tell the parent's peak where that is larger
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return {"seconds": seconds, "peak_mib": peak, "written_mib": written / 2**20}


def main() -> None:
    """Write corpora of each size, measure each in a fresh process, print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("source", type=Path)
    arguments.add_argument("target", type=Path)
    arguments.add_argument("--sizes", type=int, nargs="+", default=[10_000, 40_000, 160_000, 640_000])
    args = arguments.parse_args()
    files = CorpusConfig(files=(str(args.source), str(args.target)))
    print("| pairs | seconds | pairs/s | peak memory, MiB | written, MiB |\n|---|---|---|---|---|")
    for size in (0, *args.sizes):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            first = [p for p in itertools.islice(corpus.pairs(files, "en", "fr"), max(size, 10_000)) if p is not None]
            tokenizer.train(first[:10_000], TokenizerConfig(vocab_size=8000)).save(folder)
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
