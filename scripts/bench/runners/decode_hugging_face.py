"""Worker of bench/decode.py: `generate` of Hugging Face transformers, from ids to ids, sentences sorted by length."""

from __future__ import annotations

import torch
from decode_common import read_sentences, work
from transformers import AutoModelForSeq2SeqLM
from transformers.utils import logging
from worker import read_job


def main() -> None:
    """Load the exported model and run the task."""
    job = read_job()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(job["threads"])
    model = AutoModelForSeq2SeqLM.from_pretrained(job["model"], dtype=getattr(torch, job["precision"])).eval()
    lengths = {"min_new_tokens": job["fixed"]} if job["fixed"] else {}

    @torch.inference_mode()
    def translate(sentences: list[list[int]], batch: int) -> list[list[int]]:
        order = sorted(range(len(sentences)), key=lambda i: -len(sentences[i]))
        found: list[list[int]] = [[]] * len(sentences)
        for first in range(0, len(order), batch):
            chosen = order[first : first + batch]
            source_BS = rectangle([[*sentences[i], job["eos"]] for i in chosen], job["pad"])
            output_BT = model.generate(
                source_BS,
                attention_mask=(source_BS != job["pad"]).long(),
                num_beams=job["beam"],
                do_sample=False,
                length_penalty=0.0,
                max_new_tokens=job["fixed"] or job["longest"],
                **lengths,
            )
            for i, row in zip(chosen, output_BT[:, 1:].tolist(), strict=True):  # the first token starts the decoder
                found[i] = row[: row.index(job["eos"])] if job["eos"] in row else row
        return found

    work(job, translate, read_sentences(job, "ids"))


def rectangle(rows: list[list[int]], pad: int) -> torch.Tensor:
    """Return rows of ids as one padded tensor."""
    longest = max(map(len, rows))
    return torch.tensor([row + [pad] * (longest - len(row)) for row in rows])


if __name__ == "__main__":
    main()
