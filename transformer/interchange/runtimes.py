"""The runtimes that exported models are made for, to compare them with ours."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch

from transformer.interchange.proof import Floats, Ids, in_batches, padded


class CTranslate2Runtime:
    """A folder of CTranslate2 with its SentencePiece models."""

    bans = True

    def __init__(self, folder: Path, source: Path, target: Path) -> None:
        """Take the folder and the models of both sides."""
        import ctranslate2

        self.name = f"CTranslate2 {ctranslate2.__version__}"
        with _quiet_ctranslate2():
            self.translator = ctranslate2.Translator(
                str(folder),
                device="cpu",
                compute_type="default",
                inter_threads=1,
                intra_threads=torch.get_num_threads(),
            )
        self.source = sentencepiece.SentencePieceProcessor(model_file=str(source))
        self.target = sentencepiece.SentencePieceProcessor(model_file=str(target))

    def encode(self, texts: Sequence[str]) -> Ids:
        """Return the source ids of texts."""
        return self.source.encode(list(texts))

    def decode(self, ids: Ids) -> list[str]:
        """Return the texts of target ids, from their pieces."""
        return [self.target.decode_pieces([self.target.id_to_piece(i) for i in row]) for row in ids]

    def log_probs(self, sources: Ids, targets: Ids) -> list[Floats]:
        """Return the log-probability of each target id and of eos."""
        pieces = [[self.target.id_to_piece(i) for i in row] for row in targets]
        scored = self.translator.score_batch(
            self._pieces(sources), pieces, max_batch_size=4096, batch_type="tokens", max_input_length=0
        )
        return [np.array(each.log_probs, np.float32) for each in scored]

    def search(self, sources: Ids, beam: int, most: int) -> Ids:
        """Return the best translation of each source."""
        found = self.translator.translate_batch(
            self._pieces(sources),
            beam_size=beam,
            length_penalty=0,
            min_decoding_length=0,
            max_decoding_length=most,
            max_input_length=0,
            max_batch_size=4096,
            batch_type="tokens",
        )
        return [[self.target.piece_to_id(piece) for piece in each.hypotheses[0]] for each in found]

    def _pieces(self, sources: Ids) -> list[list[str]]:
        return [[self.source.id_to_piece(i) for i in row] for row in sources]


class HuggingFaceRuntime:
    """A folder of Hugging Face transformers."""

    bans = False

    def __init__(self, folder: Path) -> None:
        """Load the model and its tokenizer. Nothing is downloaded, and no code of the folder is run."""
        with quiet_transformers() as transformers:
            self.name = f"transformers {transformers.__version__}"
            self.model: Any = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, local_files_only=True).eval()
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.pad, self.eos = self.model.config.pad_token_id, self.model.config.eos_token_id
        self.start = self.model.config.decoder_start_token_id

    def encode(self, texts: Sequence[str]) -> Ids:
        """Return the source ids of texts."""
        return [row[:-1] for row in self.tokenizer(list(texts))["input_ids"]]

    def decode(self, ids: Ids) -> list[str]:
        """Return the texts of target ids."""
        return self.tokenizer.batch_decode(ids, skip_special_tokens=True)

    @torch.inference_mode()
    def log_probs(self, sources: Ids, targets: Ids) -> list[Floats]:
        """Return the log-probability of each target id and of eos."""

        def compute(places: Sequence[int]) -> list[Floats]:
            source = padded([[*sources[i], self.eos] for i in places], self.pad)
            given = padded([[self.start, *targets[i]] for i in places], self.pad)
            answer = padded([[*targets[i], self.eos] for i in places], self.pad)
            mask = (source != self.pad).long()
            logits = self.model(input_ids=source, attention_mask=mask, decoder_input_ids=given).logits
            found = logits.log_softmax(-1).gather(2, answer[:, :, None])[:, :, 0].numpy()
            return [row[: len(targets[i]) + 1] for i, row in zip(places, found, strict=True)]

        return in_batches([len(target) for target in targets], compute)

    @torch.inference_mode()
    def search(self, sources: Ids, beam: int, most: int) -> Ids:
        """Return the best translation of each source."""

        def compute(places: Sequence[int]) -> list[list[int]]:
            source = padded([[*sources[i], self.eos] for i in places], self.pad)
            mask = (source != self.pad).long()
            with quiet_transformers():
                found = self.model.generate(
                    input_ids=source, attention_mask=mask, num_beams=beam, max_new_tokens=most, length_penalty=0.0
                )
            return [_until(self.eos, row[1:]) for row in found.tolist()]

        return in_batches([len(source) for source in sources], compute)


def _until(eos: int, row: list[int]) -> list[int]:
    return row[: row.index(eos)] if eos in row else row


@contextlib.contextmanager
def quiet_transformers() -> Iterator[Any]:
    """Import transformers and keep it from printing while the block runs."""
    import transformers

    level, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity(logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield transformers
        finally:
            transformers.logging.set_verbosity(level)
            if bars:
                transformers.logging.enable_progress_bar()


@contextlib.contextmanager
def _quiet_ctranslate2() -> Iterator[None]:
    """Keep CTranslate2 from logging that this CPU computes in another type than the weights have."""
    import ctranslate2

    level = ctranslate2.get_log_level()
    ctranslate2.set_log_level(logging.ERROR)
    try:
        yield
    finally:
        ctranslate2.set_log_level(level)
