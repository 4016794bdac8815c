"""Translate a text in each precision. Prints how many sentences differ from float32, and BLEU.

    python scripts/bench/compare_precisions.py RUN SOURCE REFERENCE [--beam 5]

Other settings of decoding are those of the run.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from transformer.data.lines import read_text
from transformer.decoding.parts import Translation
from transformer.decoding.translator import make_translator
from transformer.evaluation.metrics import score_corpus
from transformer.runs.models import load_model
from transformer.runs.run import open_run


def main() -> None:
    """Print a table row for each precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("source", type=Path, help="text to translate")
    parser.add_argument("reference", type=Path, help="its translation, line by line")
    parser.add_argument("--beam", type=int, default=5, help="default: %(default)s")
    args = parser.parse_args()
    run = open_run(args.run)
    model, _ = load_model(run)
    sources, references = read_text(args.source), read_text(args.reference)
    exact: list[Translation] = []
    print(f"| {args.source.name}, beam {args.beam} | sentences that differ | BLEU | difference |\n|---|---|---|---|")
    for precision in ("float32", "bfloat16", "int8"):
        cfg = replace(run.config.decode, beam=args.beam, precision=precision)
        translator = make_translator(model, run.tokenizer, cfg, run.config.data.max_length, torch.device("cpu"))
        found = [best[0] for best in translator.translate(sources)]
        exact = exact or found
        bleu, first = (
            score_corpus([each.text for each in texts], references, run.config.data.target)["bleu"].score
            for texts in (found, exact)
        )
        differ = sum(a.text != b.text for a, b in zip(found, exact, strict=True))
        print(f"| {precision} | {differ} of {len(sources)} | {bleu:.2f} | {bleu - first:+.2f} |", flush=True)


if __name__ == "__main__":
    main()
