"""Compare decoding speed on this CPU with other packages, with the same weights and sentences. Prints tables.

    python scripts/bench/decode.py runs/mine --source test.en --reference test.de
    python scripts/bench/decode.py runs/mine --source test.en --reference test.de --minute      # installs nothing
    python scripts/bench/decode.py --random-base --source test.en --reference test.de           # needs no run
    python scripts/bench/decode.py runs/mine --source test.en --reference test.de \\
        --other news.en news.de --random-base --write docs/benchmarks.md

Exports the weights of a run to CTranslate2 and to Hugging Face transformers. All packages then translate the same
sentences: whole files, one sentence at a time, and the first sentence after the start of the process. No package uses a
length penalty, because their formulas differ. Each round of a package is a separate process; packages take turns.

Other packages get pieces or ids, need not make text, and use the fastest of several batch sizes. Ours gets text, makes
text, and batches as the configuration of the run says. `--random-base` is the paper's base model with random weights
and translations of one forced length: it measures speed only. Other packages are installed by pip in environments in
the cache folder. A package that cannot be installed or fails is skipped; the table says why. Linux only.
`--isa avx2` forces AVX2 on all packages and the libraries that they multiply with.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import plots
from common import CACHE, ISAS, say
from decode_models import random_base, read_text, trained
from decode_rounds import Bench
from decode_runners import QUICK, RUNNERS
from decode_tables import page
from tables import shown_command

from transformer.errors import TransformerError


def publish(results: dict[str, Any], into: Path | None) -> None:
    """Print the tables; with a file, also write them and their plot there."""
    lines = page(results)
    print("\n".join(lines))
    if into is not None:
        plots.write("bench_decode", lines, into)


def parse() -> argparse.Namespace:
    """Return the command line, with the defaults of --minute filled in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="run directory of this repository")
    parser.add_argument("--random-base", action="store_true", help="measure an untrained base model too, or only")
    parser.add_argument("--source", type=Path, help="text to translate, one sentence per line")
    parser.add_argument("--reference", type=Path, help="its translation, line by line")
    parser.add_argument(
        "--other", type=Path, nargs=2, metavar=("SOURCE", "REFERENCE"), help="a second text and its translation"
    )
    parser.add_argument("--sentences", type=int, help="use only the first N sentences of each text; default: all")
    parser.add_argument("--cache", type=Path, default=CACHE, help="default: %(default)s")
    parser.add_argument("--runners", help=f"comma-separated, of {','.join(RUNNERS)}")
    parser.add_argument("--rounds", type=int, help="default: 5")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: %(default)s")
    parser.add_argument("--isa", choices=ISAS, default="best", help="instruction set of all rows; default: %(default)s")
    parser.add_argument(
        "--other-isa", choices=ISAS, help="instruction set of the other packages; default: that of --isa"
    )
    parser.add_argument("--minute", action="store_true", help="100 sentences, one round; installs nothing")
    parser.add_argument("--write", type=Path, help="Markdown file to write tables and plot to")
    parser.add_argument("--results", type=Path, help="measure nothing; make the tables from the rounds in this file")
    args = parser.parse_args()
    if args.results is None and (args.source is None or args.reference is None):
        parser.error("--source and --reference are needed")
    if args.results is None and args.run is None and not args.random_base:
        parser.error("name a run directory, or --random-base")
    args.other_isa = args.other_isa or args.isa
    args.rounds = args.rounds or (1 if args.minute else 5)
    args.sentences = args.sentences or (100 if args.minute else None)
    args.runners = args.runners.split(",") if args.runners else QUICK if args.minute else list(RUNNERS)
    unknown = [name for name in args.runners if name not in RUNNERS]
    if unknown:
        parser.error(f"unknown runner {unknown[0]!r}; choose from {', '.join(RUNNERS)}")
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
    command = shown_command("scripts/bench/decode.py", ("--cache", "--write"), names_only=True)
    results: dict[str, Any] = {"command": command, "facts": {}, "left_out": {}, "subjects": {}}
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
    say(f"all rounds: {file}")


if __name__ == "__main__":
    main()
