"""Worker of bench/decode.py: CTranslate2, from pieces to pieces; tokenization is not timed."""

from __future__ import annotations

import ctranslate2
from decode_common import read_sentences, work
from worker import read_job


def main() -> None:
    """Load the exported model and run the task."""
    job = read_job()
    inter, intra = (job["threads"], 1) if job["parallel"] else (1, job["threads"])
    translator = ctranslate2.Translator(
        job["model"], device="cpu", compute_type=job["precision"], inter_threads=inter, intra_threads=intra
    )

    def translate(sentences: list[list[str]], batch: int) -> list[list[str]]:
        found = translator.translate_batch(
            sentences,
            beam_size=job["beam"],
            length_penalty=0,
            max_batch_size=batch,
            batch_type="tokens",
            max_input_length=0,
            min_decoding_length=job["fixed"],  # the default is 1, which rules out empty translations
            max_decoding_length=job["fixed"] or job["longest"],
        )
        return [each.hypotheses[0] for each in found]

    work(job, translate, read_sentences(job, "pieces"))


if __name__ == "__main__":
    main()
