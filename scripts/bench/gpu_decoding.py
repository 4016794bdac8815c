"""Measure decoding on a GPU: milliseconds a step and sentences a second, the plain way and with captured steps.

    python scripts/bench/gpu_decoding.py
    python scripts/bench/gpu_decoding.py --device cpu --tiny      # runs the same code in seconds; measures nothing

The paper's base model with random weights, in the precision that `decode.precision: auto` has. Sources have 28 tokens,
translations 28. Prints a line of JSON for each measurement.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from transformer.config import ModelConfig
from transformer.decoding.backend import TorchBackend
from transformer.decoding.fast import FastDecoder
from transformer.decoding.search import SearchTask, beam_search
from transformer.model.network import Transformer
from transformer.system.device import device_name, resolve_device, resolve_dtype

PAD, START, EOS, TOKENS = 0, 2, 3, 28


@dataclass(frozen=True)
class Load:
    """What is decoded."""

    beams: int
    batch_tokens: int

    @property
    def sentences(self) -> int:
        """Sentences of a batch."""
        return max(2, self.batch_tokens // self.beams // TOKENS)


LOADS = tuple(Load(beams, tokens) for tokens in (10_240, 65_536) for beams in (1, 4))
TINY_LOADS = (Load(1, 200), Load(4, 400))


def base_model(device: torch.device, tiny: bool = False) -> Transformer:
    """Return a base model of 37,000 pieces with random weights, or a tiny one."""
    torch.manual_seed(1)
    cfg = ModelConfig(width=32, heads=2, feed_forward=64, encoder_layers=1, decoder_layers=2) if tiny else ModelConfig()
    vocabulary = 300 if tiny else 37_000
    return Transformer(cfg, (vocabulary, vocabulary), PAD, START, 256).to(device).eval()


def measure(model: Transformer, device: torch.device, load: Load, fast: bool, rounds: int = 3) -> dict[str, Any]:
    """Return the median speed of decoding one batch, after two batches that are not measured.

    If the fast way fails, the result has `"fast": False`, and the log says why.
    """
    backend = TorchBackend(model, resolve_dtype("auto", device), device, fast)
    if fast and backend.fast is None:  # on a CPU: the same buffers, without captured steps
        backend.fast = FastDecoder(backend.ready(), device)
    generator = torch.Generator().manual_seed(1)
    source_BS = torch.randint(EOS + 1, len(model.output_weight), (load.sentences, TOKENS), generator=generator).to(
        device
    )
    task = SearchTask(
        start_id=START, eos=EOS, banned=tuple(range(EOS + 1)), limits=[TOKENS] * load.sentences, device=device
    )  # the end of sentence is banned up to the limit, where nothing else is allowed

    def decode() -> float:
        start = time.perf_counter()
        found = backend.decode(source_BS, load.beams, TOKENS, lambda state: beam_search(state, load.beams, task))
        assert all(len(best[0].ids) == TOKENS - 1 for best in found)
        return time.perf_counter() - start

    with torch.inference_mode():
        seconds = statistics.median([decode() for _ in range(2 + rounds)][2:])
    return {
        "fast": backend.fast is not None,
        "beams": load.beams,
        "batch_tokens": load.batch_tokens,
        "sentences": load.sentences,
        "ms_per_step": round(1e3 * seconds / TOKENS, 3),
        "sentences_per_second": round(load.sentences / seconds, 1),
    }


def measurements(device: torch.device, tiny: bool = False) -> Iterator[dict[str, Any]]:
    """Yield a result for each load, the plain and the fast way by turns."""
    model = base_model(device, tiny)
    for load in TINY_LOADS if tiny else LOADS:
        for fast in (False, True):
            yield measure(model, device, load, fast)


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="default: %(default)s")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and few sentences")
    args = parser.parse_args()
    device = resolve_device(args.device)
    for found in measurements(device, args.tiny):
        print(json.dumps({"device": device_name(device), **found}), flush=True)


if __name__ == "__main__":
    main()
