"""The tokenizer: SentencePiece models and the ids of pad, unk, bos and eos."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from transformer import atomic
from transformer.config import TokenizerConfig
from transformer.data.learning import learn_model
from transformer.data.subword_sampling import SubwordSampler
from transformer.data.word_cache import SentenceEncoder, WordCache, splits_at_spaces
from transformer.errors import CheckpointError, DataError

Ints = NDArray[Any]
LARGEST_MODEL, MOST_PIECES = 64 << 20, 1_000_000
"""Bytes and pieces of a SentencePiece model. A larger file is refused before it is loaded."""
LONGEST_TEXT = 1 << 16
"""Characters of a line. Longer lines are skipped when a vocabulary is learned."""
CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
"""Line ends, control characters and lone surrogates: the model never reads or writes them."""


def clean(text: str) -> str:
    """Return the text with each run of control characters replaced by one space."""
    return text if text.isprintable() else CONTROLS.sub(" ", text)


class Flat(NamedTuple):
    """The ids of many texts end to end, and the number of ids of each."""

    ids: Ints
    lengths: Ints


class Tokenizer:
    """Converts text to ids and back, for one pair of languages. The ids have no bos or eos."""

    def __init__(self, source: bytes, target: bytes | None = None) -> None:
        """Take serialized SentencePiece models. Without `target`, the source model is used for both sides."""
        self.models = (source,) if target is None else (source, target)
        processors = [_processor(model) for model in self.models]
        self.source, self.target = processors[0], processors[-1]
        self._coders: list[WordCache | SentenceEncoder] = []
        self._samplers: dict[float, tuple[SubwordSampler, SubwordSampler]] = {}
        self.pad, self.unk, self.bos, self.eos = _special_ids(self.target)
        if _special_ids(self.source) != (self.pad, self.unk, self.bos, self.eos):
            raise CheckpointError("the two vocabularies disagree on the ids of their special pieces")

    @property
    def joint(self) -> bool:
        """Whether both sides share one vocabulary."""
        return len(self.models) == 1

    @property
    def sizes(self) -> tuple[int, int]:
        """Sizes of the source and target vocabularies."""
        return self.source.get_piece_size(), self.target.get_piece_size()

    @property
    def never_chosen(self) -> tuple[int, ...]:
        """Ids that a translation may contain only in a forced prefix: pad, unk and bos."""
        return self.pad, self.unk, self.bos

    @property
    def fingerprint(self) -> str:
        """Digest of the models, which determine every id."""
        return hashlib.sha256(b"\0".join(self.models)).hexdigest()

    def encode_source(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text."""
        return [self.source.encode(clean(text)) for text in texts]

    def encode_target(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text."""
        return [self.target.encode(clean(text)) for text in texts]

    def encode_pairs(self, sources: Sequence[str], targets: Sequence[str]) -> tuple[Flat, Flat]:
        """Return the ids of both sides. The fastest way to encode many texts."""
        if not self._coders:
            made = [
                WordCache(side) if splits_at_spaces(side) else SentenceEncoder(side)
                for side in (self.source, self.target)
            ]
            self._coders = made[:1] * 2 if self.joint else made
        rows = [
            coder.encode([clean(text) for text in texts])
            for coder, texts in zip(self._coders, (sources, targets), strict=True)
        ]
        left, right = (
            Flat(np.frombuffer(b"".join(side), np.int32), np.fromiter(map(len, side), np.int64, len(side)) // 4)
            for side in rows
        )
        return left, right

    def forget_words(self) -> None:
        """Release the word cache of `encode_pairs`."""
        self._coders = []

    def sample(
        self, sources: Sequence[str], targets: Sequence[str], strength: float, seed: int
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Return random segmentations, a pure function of texts, strength and seed.

        `strength` is the share of merges dropped (BPE-dropout, Provilkov et al. 2020) or the smoothing of
        unigram sampling (Kudo 2018). Raises ConfigError for a model that `SubwordSampler` cannot sample with.
        """
        if strength not in self._samplers:
            made = [SubwordSampler(side, strength) for side in (self.source, self.target)[: len(self.models)]]
            self._samplers[strength] = made[0], made[-1]
        source, target = self._samplers[strength]
        return (
            source.sample([clean(text) for text in sources], seed, 0),
            target.sample([clean(text) for text in targets], seed, 1),
        )

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of each list of target ids, as one line without control characters."""
        try:
            return [clean(self.target.decode(list(row))) for row in ids]
        except UnicodeDecodeError:
            raise CheckpointError("the tokenizer turns ids into bytes that are not UTF-8") from None

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the pieces of a list of target ids."""
        return [self.target.id_to_piece(int(i)) for i in ids]

    def save(self, folder: Path) -> None:
        """Write `tokenizer.model`, or `source.model` and `target.model`."""
        for name, model in zip(file_names(self.joint), self.models, strict=True):
            atomic.write_bytes(folder / name, model)


def file_names(joint: bool) -> tuple[str, ...]:
    """Return the names of a tokenizer's files."""
    return ("tokenizer.model",) if joint else ("source.model", "target.model")


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer of a run or model folder. Raises CheckpointError if there is none."""
    joint = (folder / file_names(True)[0]).exists()
    models = []
    for name in file_names(joint):
        path = folder / name
        if not path.is_file():
            raise CheckpointError(
                f"{folder} has no tokenizer: expected tokenizer.model, or source.model and target.model"
            )
        if path.stat().st_size > LARGEST_MODEL:
            raise CheckpointError(f"{path} is larger than a tokenizer can be ({LARGEST_MODEL} bytes)")
        models.append(path.read_bytes())
    return Tokenizer(*models)


def learn_tokenizer(sample: Iterable[tuple[str, str]], cfg: TokenizerConfig) -> Tokenizer:
    """Learn a tokenizer from raw sentence pairs. The same pairs in the same order give the same bytes."""
    pairs = [(clean(source), clean(target)) for source, target in sample]
    if cfg.joint:
        return Tokenizer(_learn([text for pair in pairs for text in pair], cfg))
    return Tokenizer(_learn([source for source, _ in pairs], cfg), _learn([target for _, target in pairs], cfg))


def _learn(texts: list[str], cfg: TokenizerConfig) -> bytes:
    texts = [text for text in texts if text.strip() and len(text) <= LONGEST_TEXT]
    if not texts:
        raise DataError(
            f"no text to learn a vocabulary from: every training line is empty or longer than {LONGEST_TEXT} characters"
        )
    settings = {
        "model_type": cfg.kind,
        "vocab_size": cfg.vocab_size,
        "hard_vocab_limit": False,
        "byte_fallback": cfg.byte_fallback,
        "character_coverage": cfg.character_coverage,
        "max_sentence_length": 1 << 20,
        "pad_id": 0,
        "unk_id": 1,
        "bos_id": 2,
        "eos_id": 3,
        "num_threads": 1,  # the bytes of the model depend on the number of threads
        "minloglevel": 2,
    }
    try:
        return learn_model(texts, settings)
    except RuntimeError as error:
        raise DataError(
            f"cannot learn a vocabulary of {cfg.vocab_size} pieces from this text: {_reason(error)}"
        ) from None


def _reason(error: RuntimeError) -> str:
    """Return SentencePiece's error message without the source location before it."""
    return str(error).strip().splitlines()[-1].split("] ")[-1]


def _processor(model: bytes) -> sentencepiece.SentencePieceProcessor:
    if not model:
        raise CheckpointError("the tokenizer's file is empty")
    try:
        if (pieces := _count_pieces(model)) > MOST_PIECES:
            raise CheckpointError(f"the tokenizer's file has {pieces} pieces, more than {MOST_PIECES}")
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        processor.id_to_piece(list(range(processor.get_piece_size())))  # each must be UTF-8
        return processor
    except (RuntimeError, UnicodeDecodeError, IndexError) as error:
        reason = _reason(error) if isinstance(error, RuntimeError) else "it is cut short, or a piece is not UTF-8"
        raise CheckpointError(f"the tokenizer's file is not a SentencePiece model: {reason}") from None


def _count_pieces(model: bytes) -> int:
    """Return the number of pieces of a serialized model, which are its fields numbered 1, without loading it."""
    place = pieces = 0
    while place < len(model):
        tag, place = _varint(model, place)
        pieces += tag == 0b1010
        match tag & 7:
            case 0:
                _, place = _varint(model, place)
            case 2:
                size, place = _varint(model, place)
                place += size
            case kind:
                place += {1: 8, 5: 4}.get(kind, len(model))
    return pieces


def _varint(model: bytes, place: int) -> tuple[int, int]:
    """Return a protocol buffers varint, seven bits per byte, and the index after it. Raises IndexError at the end."""
    number = shift = 0
    while shift < 70:
        byte = model[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            break
    return number, place


def _special_ids(processor: sentencepiece.SentencePieceProcessor) -> tuple[int, int, int, int]:
    ids = (processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id())
    if min(ids) < 0 or len(set(ids)) < 4:
        raise CheckpointError("the tokenizer lacks one of the pieces for pad, unk, bos and eos")
    return ids
