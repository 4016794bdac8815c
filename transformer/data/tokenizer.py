"""The tokenizer: SentencePiece models and the ids of pad, unk, bos and eos."""

from __future__ import annotations

import functools
import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args
from unicodedata import is_normalized

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from transformer import atomic
from transformer.config import Config, Normalization, TokenizerConfig
from transformer.data.learning import Again, learn_model
from transformer.data.model_file import Outline, mark_cleaned, mark_prefix, read_outline
from transformer.data.subword_sampling import SubwordSampler
from transformer.data.tags import TAG, with_prefix
from transformer.data.text import reveal_reserved, text_rule
from transformer.data.word_cache import SPACE, SentenceEncoder, WordCache, splits_at_spaces
from transformer.errors import CheckpointError, ConfigError, DataError

Ints = NDArray[Any]
LARGEST_MODEL, MOST_PIECES = 64 << 20, 1_000_000
"""Bytes and pieces of a SentencePiece model. A larger file is refused before it is loaded."""
OTHER_FORMS = 0.01
"""Share of target texts that are not in NFC above which there is a warning. Not measured."""
LONGEST_TEXT = 1 << 16
"""Characters of a line. Longer lines are skipped when a vocabulary is learned."""
SPECIAL = re.compile("<(?=(?:pad|unk|/?s|0x[0-9A-F]{2})>)")
"""The beginning of what looks like a special piece. SentencePiece learns nothing from the characters of one."""
TOO_MANY = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")

log = logging.getLogger(__name__)


class Flat(NamedTuple):
    """The ids of many texts end to end, and the number of ids of each."""

    ids: Ints
    lengths: Ints


class Tokenizer:
    """Converts text to ids and back, for one pair of languages. The ids have no bos or eos."""

    def __init__(self, source: bytes, target: bytes | None = None) -> None:
        """Take serialized SentencePiece models. Without `target`, the source model is used for both sides."""
        self.models = (source,) if target is None else (source, target)
        opened = [open_model(model) for model in self.models]
        self.source, self.target = opened[0][0], opened[-1][0]
        self.outlines = [outline for _, outline in opened]
        self.source_prefix = self.outlines[0].prefix
        """What is put before each source text."""
        rules = [text_rule(outline.cleaned, outline.normalization == "nfc") for outline in self.outlines]
        self.rules = with_prefix(rules[0], self.source_prefix, self.has_tag), rules[-1]
        """For each side, what is done to text besides what SentencePiece does."""
        self.lacking = [_lacking(processor) for processor, _ in (opened[0], opened[-1])]
        """For each side, which ids stand for characters that the vocabulary lacks: the unknown piece, and bytes."""
        self._coders: list[WordCache | SentenceEncoder] = []
        self._samplers: dict[float, tuple[SubwordSampler, SubwordSampler]] = {}
        self.pad, self.unk, self.bos, self.eos = _special_ids(self.target)
        if _special_ids(self.source) != (self.pad, self.unk, self.bos, self.eos):
            raise CheckpointError("the two vocabularies disagree on the ids of their special pieces")
        self.joint = len(opened) == 1 or _pieces(self.source) == _pieces(self.target)
        """Whether both sides share one vocabulary. Each may have a model that segments text into a part of it."""

    def has_tag(self, text: str) -> bool:
        """Return whether a text such as `>>fra<<` is one piece of the source vocabulary."""
        return bool(TAG.fullmatch(text)) and self.source.piece_to_id(SPACE + text) != self.unk

    @property
    def sizes(self) -> tuple[int, int]:
        """Sizes of the source and target vocabularies."""
        return self.source.get_piece_size(), self.target.get_piece_size()

    @property
    def never_chosen(self) -> tuple[int, ...]:
        """Ids that a translation may contain only in a forced prefix: pad, unk and bos."""
        return tuple(dict.fromkeys((self.pad, self.unk, self.bos)))

    @property
    def fingerprint(self) -> str:
        """Digest of the models, which determine every id."""
        return hashlib.sha256(b"\0".join(self.models)).hexdigest()

    def encode_source(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text."""
        return [self.source.encode(self.rules[0].given(text)) for text in texts]

    def encode_target(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text."""
        return [self.target.encode(self.rules[1].given(text)) for text in texts]

    def clean_pairs(self, sources: Iterable[str], targets: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return the texts of both sides as SentencePiece learns them, by the model's rule."""
        return list(map(self.rules[0].learned, sources)), list(map(self.rules[1].learned, targets))

    def encode_pairs(self, sources: Sequence[str], targets: Sequence[str]) -> tuple[Flat, Flat]:
        """Return the ids of both sides. The fastest way to encode many texts."""
        return self.encode_clean(*self.clean_pairs(sources, targets))

    def encode_clean(self, sources: list[str], targets: list[str]) -> tuple[Flat, Flat]:
        """Return the ids of both sides, given what `clean_pairs` returned."""
        if not self._coders:
            made = [
                WordCache(side, outline.plain) if splits_at_spaces(side) else SentenceEncoder(side)
                for side, outline in ((self.source, self.outlines[0]), (self.target, self.outlines[-1]))
            ]
            self._coders = made[:1] * 2 if len(self.models) == 1 else made
        rows = [coder.encode(texts) for coder, texts in zip(self._coders, (sources, targets), strict=True)]
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
        clean_sources, clean_targets = self.clean_pairs(sources, targets)
        return source.sample(clean_sources, seed, 0), target.sample(clean_targets, seed, 1)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of each list of target ids, as one line without control characters.

        `decode(encode_target([text]))` is the text by the model's rule for it (`transformer.data.text`) and by
        `tokenizer.normalization`, if no character was unknown.
        """
        try:
            return [self.rules[1].decoded(self.target.decode(list(row))) for row in ids]
        except UnicodeDecodeError:
            raise CheckpointError("the tokenizer turns ids into bytes that are not UTF-8") from None

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the pieces of a list of target ids."""
        return [self.target.id_to_piece(int(i)) for i in ids]

    def save(self, folder: Path) -> None:
        """Write `tokenizer.model`, or `source.model` and `target.model`."""
        for name, model in zip(file_names(len(self.models) == 1), self.models, strict=True):
            atomic.write_bytes(folder / name, model)


def file_names(single: bool) -> tuple[str, ...]:
    """Return the names of a tokenizer's files."""
    return ("tokenizer.model",) if single else ("source.model", "target.model")


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer of a run or model folder. Raises CheckpointError if there is none."""
    models = []
    for name in file_names((folder / file_names(True)[0]).exists()):
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
    """Learn a tokenizer from raw sentence pairs. The same pairs in the same order give the same bytes.

    A `sample` that is not an iterator is read anew for each model, and never held in memory.
    """
    if cfg.source_prefix:
        raise ConfigError(
            "tokenizer.source_prefix needs a vocabulary that has it: that of an imported model, by train.init_from"
        )
    pairs = list(sample) if isinstance(sample, Iterator) else sample
    clean, forms = text_rule(True, cfg.normalization == "nfc").learned, _Forms()

    def texts(*sides: int) -> Iterator[str]:
        if 1 in sides:
            forms.other = forms.all = 0  # of the last time that the texts are read
        for pair in pairs:
            for side in sides:
                if side == 1:
                    forms.note(pair[1])
                yield clean(pair[side])

    models = [
        _learn(Again(functools.partial(texts, *sides)), cfg) for sides in ([(0, 1)] if cfg.joint else [(0,), (1,)])
    ]
    if cfg.normalization == "nfc":
        forms.warn()
    return Tokenizer(*models)


class _Forms:
    """Counts target texts that are not in the form in which the model will write."""

    def __init__(self) -> None:
        self.other = self.all = 0

    def note(self, text: str) -> None:
        self.all += 1
        self.other += not is_normalized("NFC", text)

    def warn(self) -> None:
        """Log a warning if there are many."""
        if self.other > OTHER_FORMS * self.all:
            log.warning(
                "%d of %d target texts are not in Unicode's composed form (NFC), but translations will be, and so "
                "differ from such references; tokenizer.normalization=identity keeps text as it is",
                self.other,
                self.all,
            )


def _learn(texts: Iterable[str], cfg: TokenizerConfig) -> bytes:
    fitting = Again(lambda: (SPECIAL.sub("< ", text) for text in texts if text and len(text) <= LONGEST_TEXT))
    if next(iter(fitting), None) is None:
        raise DataError(
            f"no text to learn a vocabulary from: every training line is empty or longer than {LONGEST_TEXT} characters"
        )
    settings = {
        "model_type": cfg.kind,
        "vocab_size": cfg.vocab_size,
        "hard_vocab_limit": False,
        "byte_fallback": cfg.byte_fallback,
        "character_coverage": cfg.character_coverage,
        "normalization_rule_name": "identity" if cfg.normalization == "nfc" else cfg.normalization,
        "max_sentence_length": 1 << 20,
        "pad_id": 0,
        "unk_id": 1,
        "bos_id": 2,
        "eos_id": 3,
        "num_threads": 1,  # the bytes of the model depend on the number of threads
        "minloglevel": 2,
    }
    try:
        model = learn_model(fitting, settings)
    except RuntimeError as error:
        raise DataError(
            f"cannot learn a vocabulary of {cfg.vocab_size} pieces from this text: {_in_our_words(_reason(error), cfg)}"
        ) from None
    return mark_cleaned(model, cfg.normalization)


def _in_our_words(reason: str, cfg: TokenizerConfig) -> str:
    """Return SentencePiece's reason, with our settings if it is that there are more characters than pieces."""
    if not (found := TOO_MANY.search(reason)):
        return reason
    return (
        f"its characters and the special pieces{' and bytes' if cfg.byte_fallback else ''} alone are {found[1]}; raise "
        "tokenizer.vocab_size, or lower tokenizer.character_coverage (not below 0.98), so that rare characters have no "
        f"pieces{', or set tokenizer.byte_fallback: false, which saves 256' if cfg.byte_fallback else ''}"
    )


def unseen_characters(tok: Tokenizer, text: str, ids: Sequence[int]) -> str:
    """Return the characters that the source vocabulary has no piece for, of a text and its ids, each once."""
    if not tok.lacking[0][list(ids)].any():
        return ""
    given = tok.rules[0].given(text).removeprefix(tok.source_prefix)
    normal = tok.source.normalize(given).replace("\ufffd", "")
    return reveal_reserved("".join(c for c in dict.fromkeys(normal) if tok.source.piece_to_id(c) == tok.unk))


def tokenizer_in_use(cfg: Config, tok: Tokenizer) -> Config:
    """Return the configuration of a run with what is true of its tokenizer.

    It differs from what was asked for if the tokenizer is that of `train.init_from`, or of a version that had not all
    settings. What a model does not say, such as the size of the sample, stays.
    """
    asked, outline, size = cfg.tokenizer, tok.outlines[-1], max(tok.sizes)
    fewer = cfg.train.init_from is None and size <= asked.vocab_size  # than asked for, as the corpus is small
    known: dict[str, Any] = {
        "kind": outline.kind,
        "vocab_size": asked.vocab_size if fewer else size,
        "joint": tok.joint,
        "source_prefix": tok.source_prefix or None,
        "byte_fallback": int(tok.lacking[1].sum()) > 1,
        "character_coverage": round(outline.coverage, 6),
        "normalization": outline.normalization if outline.normalization in get_args(Normalization) else None,
    }
    if np.float32(asked.character_coverage) == np.float32(outline.coverage):
        del known["character_coverage"]  # the model has it with less precision
    return replace(cfg, tokenizer=replace(asked, **{key: value for key, value in known.items() if value is not None}))


def _reason(error: RuntimeError) -> str:
    """Return SentencePiece's error message without the source location before it."""
    return str(error).strip().splitlines()[-1].split("] ")[-1]


def open_model(model: bytes) -> tuple[sentencepiece.SentencePieceProcessor, Outline]:
    """Return the processor of a serialized model and what it says about itself. Raises CheckpointError for others."""
    if not model:
        raise CheckpointError("the tokenizer's file is empty")
    try:
        outline = read_outline(model)
        if outline.pieces > MOST_PIECES:
            raise CheckpointError(f"the tokenizer's file has {outline.pieces} pieces, more than {MOST_PIECES}")
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        processor.id_to_piece(list(range(processor.get_piece_size())))  # each must be UTF-8
        return processor, outline
    except (RuntimeError, UnicodeDecodeError, IndexError) as error:
        reason = _reason(error) if isinstance(error, RuntimeError) else "it is cut short, or a piece is not UTF-8"
        raise CheckpointError(f"the tokenizer's file is not a SentencePiece model: {reason}") from None


def _lacking(processor: sentencepiece.SentencePieceProcessor) -> Ints:
    ids = range(processor.get_piece_size())
    return np.array(processor.is_byte(list(ids))) | np.array(processor.is_unknown(list(ids)))


def _special_ids(processor: sentencepiece.SentencePieceProcessor) -> tuple[int, int, int, int]:
    """Return the ids of pad, unk, bos and eos. Vocabularies of Marian have no bos; that of pad takes its place."""
    pad, unk, bos, eos = processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id()
    if min(pad, unk, eos) < 0 or len({pad, unk, bos, eos}) < 4:
        raise CheckpointError("the tokenizer lacks one of the pieces for pad, unk and eos")
    return pad, unk, pad if bos < 0 else bos, eos


def _pieces(processor: sentencepiece.SentencePieceProcessor) -> list[str]:
    pieces: list[str] = processor.id_to_piece(list(range(processor.get_piece_size())))
    return pieces


def tagged(tok: Tokenizer, prefix: str) -> Tokenizer:
    """Return a tokenizer that puts a tag before each source text, or none if `prefix` is empty."""
    if prefix == tok.source_prefix:
        return tok
    if prefix and not tok.has_tag(prefix):
        tags = [each[1:] for each in _pieces(tok.source) if TAG.fullmatch(each[1:])]
        known = f"it has {', '.join(sorted(tags)[:10])}" if tags else "it has none"
        raise ConfigError(f"tokenizer.source_prefix: the vocabulary has no tag {prefix!r}; {known}")
    return Tokenizer(mark_prefix(tok.models[0], prefix), *tok.models[1:])
