"""The packages, precisions and threading modes that bench/decode.py measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args, get_type_hints

from common import Runner

from transformer.config import DecodeConfig

BATCH_BEAMS, LATENCY_BEAMS = (5, 1), (4, 1)
WARM, LATENCIES = 64, 100
"""Numbers of warm-up sentences and of sentences timed one at a time."""


@dataclass(frozen=True)
class Decoder(Runner):
    """One row of the tables, and how it finds its batch size."""

    parallel: bool = False
    """One batch per thread, instead of all threads on one batch."""
    candidates: tuple[int, ...] = ()
    """Batch sizes to try; empty means that the runner sizes its own batches."""
    sample: int = 0
    """Number of sentences to try batch sizes on."""


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
