"""Worker of bench/train.py: MarianMTModel of Hugging Face transformers in the plain loop."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from train_common import start, train_plainly
from transformers import MarianConfig, MarianMTModel
from worker import Job


def build(job: Job) -> Any:
    """Return the model; as by default in Marian, attention weights have no dropout."""
    size = job["size"]
    cfg = MarianConfig(
        vocab_size=job["vocabulary"],
        d_model=size["width"],
        encoder_layers=size["layers"],
        decoder_layers=size["layers"],
        encoder_attention_heads=size["heads"],
        decoder_attention_heads=size["heads"],
        encoder_ffn_dim=size["feed_forward"],
        decoder_ffn_dim=size["feed_forward"],
        activation_function="relu",
        scale_embedding=True,
        dropout=job["dropout"],
        pad_token_id=job["pad"],
        eos_token_id=job["eos"],
        forced_eos_token_id=job["eos"],
        decoder_start_token_id=job["bos"],
    )
    return MarianMTModel(cfg)


if __name__ == "__main__":
    job = start()
    model = build(job)

    def logits(source_BS: Tensor, input_BT: Tensor) -> Tensor:
        """Return logits (B, T, V)."""
        found: Tensor = model(
            input_ids=source_BS, attention_mask=source_BS != job["pad"], decoder_input_ids=input_BT, use_cache=False
        ).logits
        return found

    train_plainly(job, model, logits)
