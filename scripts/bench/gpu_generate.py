"""Decoding by `generate` of Hugging Face transformers, with the loads and sizes of gpu_decoding.py."""

from __future__ import annotations

import importlib.util
import statistics
import time
from typing import Any

import torch
from gpu_decoding import EOS, LOADS, PAD, START, TINY_LOADS, TOKENS
from gpu_report import Report
from gpu_work import Work, wait

from transformer.system.device import resolve_dtype


def generate(work: Work, report: Report, tiny: bool) -> None:
    """Measure a MarianMTModel of the same size with random weights, if the package is installed."""
    if importlib.util.find_spec("transformers") is None:
        report.say("Hugging Face generate: not measured", reason="the package transformers is not installed")
        return
    import transformers

    size = work.model
    cfg = transformers.MarianConfig(
        vocab_size=work.vocabulary, d_model=size.width, encoder_layers=size.encoder_layers,
        decoder_layers=size.decoder_layers, encoder_attention_heads=size.heads, decoder_attention_heads=size.heads,
        encoder_ffn_dim=size.feed_forward, decoder_ffn_dim=size.feed_forward, pad_token_id=PAD, eos_token_id=EOS,
        bos_token_id=START, decoder_start_token_id=START, forced_eos_token_id=None, max_position_embeddings=256,
    )  # fmt: skip
    torch.manual_seed(1)
    model: Any = transformers.MarianMTModel(cfg).eval()  # whose annotations leave out the device
    model.to(work.device, resolve_dtype("auto", work.device))
    for load in TINY_LOADS if tiny else LOADS:
        source_BS = torch.randint(EOS + 1, work.vocabulary, (load.sentences, TOKENS), device=work.device)
        seconds = []
        for _ in range(3):
            wait(work.device)
            started = time.perf_counter()
            with torch.inference_mode():
                model.generate(
                    source_BS, attention_mask=torch.ones_like(source_BS), num_beams=load.beams, do_sample=False,
                    min_new_tokens=TOKENS, max_new_tokens=TOKENS,
                )  # fmt: skip
            wait(work.device)
            seconds.append(time.perf_counter() - started)
        best = statistics.median(seconds[1:])
        report.say(
            f"transformers {transformers.__version__}, generate", beams=load.beams, batch_tokens=load.batch_tokens,
            sentences=load.sentences, ms_per_step=1e3 * best / TOKENS, sentences_per_second=load.sentences / best,
        )  # fmt: skip
