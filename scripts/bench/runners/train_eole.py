"""Worker of bench/train.py: Eole's own training command, from text.

Wraps `Trainer._train_step`, which Eole offers to subclasses, and records target tokens and time after each call. So
everything between two updates (reading, batching, reporting) is timed. The final checkpoint is not. The data pipeline
runs in the same process (num_workers 0). One bucket holds the whole corpus; it is read and tokenized in the warm-up.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import eole.trainer
from eole.bin.run.train import train
from eole.config.run import TrainConfig
from train_common import clock_of, start
from worker import Job, report


class EnoughError(Exception):
    """Stops Eole after the timed updates."""


def model(size: dict[str, int]) -> dict[str, Any]:
    """Return the `model` section; Eole's defaults are pre-norm and no biases."""
    return {
        "architecture": "transformer",
        "layers": size["layers"],
        "hidden_size": size["width"],
        "word_vec_size": size["width"],
        "heads": size["heads"],
        "transformer_ff": size["feed_forward"],
        "share_embeddings": True,
        "share_decoder_embeddings": True,
        "embeddings": {"word_vec_size": size["width"], "position_encoding": True},
    }


def settings(job: Job) -> dict[str, Any]:
    """Return the configuration of this job; what is not set here has Eole's default."""
    folder = Path(job["folder"])
    subwords = {
        "src_subword_model": str(folder / "tokenizer.model"),
        "tgt_subword_model": str(folder / "tokenizer.model"),
    }
    return {
        "seed": 1,
        "src_vocab": str(folder / "vocabulary.txt"),
        "share_vocab": True,
        "src_vocab_size": job["vocabulary"],
        "tgt_vocab_size": job["vocabulary"],
        "pad_token": "<pad>",
        "data": {"corpus": {"path_src": str(folder / "train.source"), "path_tgt": str(folder / "train.target")}},
        "transforms": ["sentencepiece"],
        "transforms_configs": {"sentencepiece": subwords},
        "model": model(job["size"]),
        "training": {
            "model_path": str(folder / "eole"),
            "batch_type": "tokens",
            "batch_size": job["batch_tokens"],
            "bucket_size": job["pairs"],
            "num_workers": 0,
            "normalization": "tokens",
            "train_steps": job["warm"] + job["timed"] + 1,
            "optim": "adam",
            "adam_beta2": 0.98,
            "learning_rate": 1.0,
            "decay_method": "noam",
            "max_grad_norm": job["clip_norm"],
            "label_smoothing": job["label_smoothing"],
            "dropout": [job["dropout"]],
            "attention_dropout": [0.0],
            "compute_dtype": {"float32": "fp32", "bfloat16": "bf16"}[job["precision"]],
        },
    }


def count_updates(job: Job) -> None:
    """Record tokens and time after every update, and stop after the last timed one."""
    step, clock = eole.trainer.Trainer._train_step, clock_of(job)
    ends: list[float] = []
    tokens: list[int] = []

    def counted(self: Any, batches: list[dict[str, Any]], *args: Any, **kwargs: Any) -> None:
        step(self, batches, *args, **kwargs)
        pad, shift = self.train_loss.padding_idx, self.train_loss.tgt_shift_index
        tokens.append(sum(int(batch["tgt"][:, shift:].ne(pad).sum()) for batch in batches))
        ends.append(clock())
        if len(ends) == job["warm"] + job["timed"]:
            report(tokens=sum(tokens[job["warm"] :]), seconds=ends[-1] - ends[job["warm"] - 1])
            raise EnoughError

    eole.trainer.Trainer._train_step = counted


def main() -> None:
    """Train until the timed updates are done."""
    job = start()
    count_updates(job)
    with contextlib.suppress(EnoughError):
        train(TrainConfig(**settings(job)))


if __name__ == "__main__":
    main()
