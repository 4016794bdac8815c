"""Decode random models with random settings, with kernels compiled from the given source with sanitizers.

python sanitized_decoding.py ENGINE_C ROUNDS INSTRUCTION_SET. A fault in C ends the process.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from transformer.config import ModelConfig
from transformer.decoding import search
from transformer.decoding.int8 import build
from transformer.decoding.int8.engine import make_engine, obstacle
from transformer.model.network import Transformer

SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
PAD, UNK, BOS, EOS = range(4)


def random_model(rng: random.Random) -> Transformer:
    """Return a small model with random settings that the kernels accept."""
    heads, head_width = rng.choice([(1, 32), (2, 16), (2, 32), (3, 32), (4, 16)])
    tied: Any = rng.choice(["all", "target", "none"])
    cfg = ModelConfig(
        width=heads * head_width,
        heads=heads,
        feed_forward=32 * rng.randint(1, 5),
        encoder_layers=rng.randint(1, 3),
        decoder_layers=rng.randint(1, 3),
        norm=rng.choice(["post", "pre"]),
        activation=rng.choice(["relu", "gelu", "swish"]),
        tied=tied,
        output_bias=rng.random() < 0.5,
    )
    vocabulary = rng.choice([rng.randint(5, 100), rng.randint(2000, 2100), rng.randint(4000, 4200)])
    sizes = (vocabulary, vocabulary) if tied == "all" else (rng.randint(5, 100), vocabulary)
    return Transformer(cfg, sizes, PAD, BOS, max_length=9).eval()


class IdPrefix(NamedTuple):
    """A forced beginning of at most `longest` ids, each of which is one of a few."""

    longest: int
    choices: list[int]

    def allowed(self, ids: Sequence[int]) -> Sequence[int]:
        return self.choices if len(ids) < self.longest else ()


def decode(rng: random.Random) -> str:
    """Decode a batch and return its description."""
    model = random_model(rng)
    cfg, sentences, beams = model.cfg, rng.choice([1, rng.randint(2, 8), rng.randint(60, 130)]), rng.randint(1, 7)
    assert obstacle(cfg, beams, torch.device("cpu"), sys.argv[3]) is None
    lengths = [rng.randint(0, rng.choice([3, 40])) for _ in range(sentences)]
    sources, targets = len(model.encoder_embedding.weight), len(model.output_weight)
    source = torch.full((sentences, max(lengths) + 1), PAD)
    for row, length in zip(source, lengths, strict=True):
        row[: length + 1] = torch.tensor([*(rng.randrange(EOS, sources) for _ in range(length)), EOS])
    limits = [rng.randint(1, 40) for _ in range(sentences)]
    prefixes = [
        IdPrefix(rng.randint(0, limit - 1), [rng.randrange(targets) for _ in range(rng.randint(1, 9))])
        for limit in limits
    ]
    banned = tuple(rng.sample(range(targets), rng.randint(0, min(targets - 3, 6))))
    task = search.SearchTask(
        start_id=BOS,
        eos=EOS,
        banned=tuple(i for i in banned if i != EOS),
        limits=limits,
        prefixes=rng.choice([None, prefixes]),
        nbest=rng.randint(1, beams),
    )
    found = search.beam_search(make_engine(model, sys.argv[3]).start(source, beams), beams, task)
    for hypotheses, limit in zip(found, limits, strict=True):
        assert all(len(each.ids) < limit and each.log_prob <= 1e-3 for each in hypotheses)
    return f"{cfg}, vocabulary {targets}, {sentences} sentences, {beams} beams"


def main() -> None:
    """Decode the given number of rounds."""
    build.SOURCE, build.EXTRA_FLAGS = Path(sys.argv[1]), SANITIZE
    assert build.library(sys.argv[3]) is not None, "the kernels cannot be compiled with sanitizers"
    for seed in range(int(sys.argv[2])):
        torch.manual_seed(seed)
        with torch.inference_mode():
            print(seed, decode(random.Random(seed)), flush=True)


if __name__ == "__main__":
    main()
