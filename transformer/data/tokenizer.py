"""The tokenizer: SentencePiece models and the ids of pad, unk, bos and eos."""

from __future__ import annotations

import functools
import hashlib
import logging
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
from transformer.data.learning import Again
from transformer.data.model_file import Outline, mark_prefix, read_outline
from transformer.data.placeholders import TERM_MARKS, hide_in_both
from transformer.data.placeholders import name as placeholder_name
from transformer.data.subword_sampling import SubwordSampler
from transformer.data.tags import TAG, split_tag, with_prefix, with_tag
from transformer.data.text import reveal_reserved, text_rule
from transformer.data.vocabulary import learn_vocabulary, reason
from transformer.data.word_cache import SPACE, SentenceEncoder, WordCache, splits_at_spaces
from transformer.errors import CheckpointError, ConfigError

Ints = NDArray[Any]
LARGEST_MODEL, MOST_PIECES = 64 << 20, 1_000_000
"""Bytes and pieces of a SentencePiece model. A larger file is refused before it is loaded."""
OTHER_FORMS = 0.01
"""Share of target texts that are not in NFC above which there is a warning. Not measured."""

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
        self.placeholders = self.outlines[-1].placeholders
        """How many pieces are reserved for placeholders."""
        self.takes_terms = set(TERM_MARKS) <= set(self.outlines[0].tags)
        """Whether the translations of terms can be given inside source text."""
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
        """Return whether a text is a tag, such as `>>fra<<`: one piece of the source vocabulary."""
        named = (text in self.outlines[0].tags and text not in TERM_MARKS) or TAG.fullmatch(text) is not None
        return named and self.source.piece_to_id(SPACE + text) != self.unk

    @property
    def sizes(self) -> tuple[int, int]:
        """Sizes of the source and target vocabularies."""
        return self.source.get_piece_size(), self.target.get_piece_size()

    @property
    def never_chosen(self) -> tuple[int, ...]:
        """Ids that a translation may contain only in a forced prefix: pad, unk, bos, and tags for source texts."""
        tags = [self.target.piece_to_id(SPACE + tag) for tag in self.outlines[-1].tags]
        return tuple(dict.fromkeys((self.pad, self.unk, self.bos, *tags)))

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
        """Return the texts of both sides as SentencePiece learns them, by the model's rule, with their placeholders."""
        clean = list(map(self.rules[0].learned, sources)), list(map(self.rules[1].learned, targets))
        if not self.placeholders or len(clean[0]) != len(clean[1]):
            return clean
        return hide_placeholders(self, *clean)

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


def hide_placeholders(tok: Tokenizer, sources: Sequence[str], targets: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return pairs with reserved pieces for the placeholders of both sides. A tag before a source is none."""
    pairs = []
    for source, target in zip(sources, targets, strict=True):
        tag, text = split_tag(source, tok.has_tag)
        text, target = hide_in_both(text, target, tok.placeholders)
        pairs.append((tag + text, target))
    return [source for source, _ in pairs], [target for _, target in pairs]


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


def learn_tokenizer(sample: Iterable[tuple[str, str]], cfg: TokenizerConfig, tags: Sequence[str] = ()) -> Tokenizer:
    """Learn a tokenizer from raw sentence pairs. The same pairs in the same order give the same bytes.

    A `sample` that is not an iterator is read anew for each model, and never held in memory. `tags` are those before
    source texts. Raises ConfigError if one of them or of `tokenizer.user_symbols` would not be read as one piece.
    """
    if cfg.source_prefix and cfg.source_prefix not in tags:
        raise ConfigError(
            "tokenizer.source_prefix needs a vocabulary that has it: that of an imported model, by train.init_from, or "
            "one that is learned for a corpus with this tag"
        )
    refuse_placeholders(tags, cfg.placeholders)
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
        learn_vocabulary(Again(functools.partial(texts, *sides)), cfg, tags if 0 in sides else ())
        for sides in ([(0, 1)] if cfg.joint else [(0,), (1,)])
    ]
    if cfg.normalization == "nfc":
        forms.warn()
    tok = Tokenizer(*models)
    check_symbols(tok, (*map(placeholder_name, range(cfg.placeholders)), *(cfg.user_symbols or ())))
    return tagged(tok, cfg.source_prefix or "")


def check_symbols(tok: Tokenizer, symbols: Iterable[str]) -> None:
    """Raise ConfigError for a symbol that is not one piece of both sides."""
    for symbol in symbols:
        if not (reads_whole(tok, symbol) and symbol in tok.pieces(tok.encode_target([symbol])[0])):
            raise ConfigError(f"tokenizer.user_symbols: the vocabulary does not read {symbol!r} as one piece")


def refuse_placeholders(tags: Sequence[str], count: int) -> None:
    """Raise ConfigError if a tag is the piece of a placeholder."""
    if clash := {*tags} & set(map(placeholder_name, range(count))):
        raise ConfigError(f"the tag {min(clash)} of a corpus is a piece of tokenizer.placeholders; choose another one")


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


def unseen_characters(tok: Tokenizer, text: str, ids: Sequence[int]) -> str:
    """Return the characters that the source vocabulary has no piece for, of a text and its ids, each once."""
    if not tok.lacking[0][list(ids)].any():
        return ""
    found = b""
    for piece in tok.source.encode(tok.rules[0].given(text).removeprefix(tok.source_prefix), out_type=str):
        number = tok.source.piece_to_id(piece)
        if tok.source.is_byte(number):
            found += bytes.fromhex(piece[3:5])  # <0xC3>
        elif number == tok.unk:
            found += piece.encode()
    unseen = found.decode("utf-8", "replace").replace("\ufffd", "")
    return reveal_reserved("".join(dict.fromkeys(unseen)))


def tokenizer_in_use(cfg: Config, tok: Tokenizer) -> Config:
    """Return the configuration of a run with what is true of its tokenizer.

    It differs from what was asked for if the tokenizer is that of `train.init_from`, or of a version that had not all
    settings. What a model does not say, such as the size of the sample, stays.
    """
    asked, outline, size = cfg.tokenizer, tok.outlines[-1], max(tok.sizes)
    more = cfg.train.init_from is not None and asked.extend > 0  # reserved pieces are added that are lacking
    own = cfg.train.init_from is None
    fewer = own and size <= asked.vocab_size  # than asked for, as the corpus is small
    symbols = tuple(each for each in asked.user_symbols or () if own or more or tok.source.piece_to_id(each) != tok.unk)
    known: dict[str, Any] = {
        "kind": outline.kind,
        "vocab_size": asked.vocab_size if fewer else size,
        "joint": tok.joint,
        "source_prefix": tok.source_prefix or None,
        "split_digits": outline.split_digits,
        "placeholders": max(outline.placeholders, asked.placeholders if more else 0),
        "vocab_multiple": asked.vocab_multiple if not any(each % asked.vocab_multiple for each in tok.sizes) else 1,
        "byte_fallback": int(tok.lacking[1].sum()) > 1,
        "character_coverage": round(outline.coverage, 6),
        "normalization": outline.normalization if outline.normalization in get_args(Normalization) else None,
    }
    if np.float32(asked.character_coverage) == np.float32(outline.coverage):
        del known["character_coverage"]  # the model has it with less precision
    known = {key: value for key, value in known.items() if value is not None}
    return replace(cfg, tokenizer=replace(asked, **known, user_symbols=symbols or None))


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
        why = reason(error) if isinstance(error, RuntimeError) else "it is cut short, or a piece is not UTF-8"
        raise CheckpointError(f"the tokenizer's file is not a SentencePiece model: {why}") from None


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
        tags = [each[1:] for each in _pieces(tok.source) if each[:1] == SPACE and tok.has_tag(each[1:])]
        known = f"it has {', '.join(sorted(tags)[:10])}" if tags else "it has none"
        raise ConfigError(f"tokenizer.source_prefix: the vocabulary has no tag {prefix!r}; {known}")
    return Tokenizer(mark_prefix(tok.models[0], prefix), *tok.models[1:])


def reads_whole(tok: Tokenizer, symbol: str) -> bool:
    """Return whether a symbol in source text is read as one piece, alone or with the space before it."""
    given = tok.rules[0].given(symbol)
    pieces = tok.source.id_to_piece(tok.source.encode(given))
    return given.endswith(symbol) and (symbol in pieces or SPACE + symbol in pieces)


def with_tag_of_corpus(tok: Tokenizer, sources: Iterable[str], tag: str) -> list[str]:
    """Return source texts as `clean_pairs` returned them, with this tag instead of the run's prefix."""
    prefix = f"{tok.source_prefix} " if tok.source_prefix else ""
    return [with_tag(text.removeprefix(prefix), tag) for text in sources]
