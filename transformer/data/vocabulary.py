"""Learns the SentencePiece model of a vocabulary: its settings, reserved pieces, and its size as a multiple."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from transformer.config import TokenizerConfig
from transformer.data.learning import Again, learn_model
from transformer.data.model_file import mark_cleaned, mark_placeholders, mark_tags, read_outline
from transformer.data.model_pieces import CONTROL, LAST, Piece, with_more_pieces
from transformer.data.placeholders import name
from transformer.data.word_cache import SPACE
from transformer.errors import DataError

LONGEST_TEXT = 1 << 16
"""Characters of a line. Longer lines are skipped when a vocabulary is learned."""
SPECIAL = re.compile("<(?=(?:pad|unk|/?s|0x[0-9A-F]{2})>)")
"""The beginning of what looks like a special piece. SentencePiece learns nothing from the characters of one."""
TOO_MANY = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")


def learn_vocabulary(texts: Iterable[str], cfg: TokenizerConfig, tags: Sequence[str] = ()) -> bytes:
    """Return the serialized model learned from clean texts. The same texts in the same order give the same bytes.

    `texts` is no iterator, as it is read several times. `tags` become pieces that begin with a space, as text that
    begins with one has it. Raises DataError if SentencePiece cannot learn from the texts.
    """
    fitting = Again(lambda: (SPECIAL.sub("< ", text) for text in texts if text and len(text) <= LONGEST_TEXT))
    if next(iter(fitting), None) is None:
        raise DataError(
            f"no text to learn a vocabulary from: every training line is empty or longer than {LONGEST_TEXT} characters"
        )
    settings: dict[str, Any] = {
        "model_type": cfg.kind,
        "vocab_size": _rounded_up(cfg.vocab_size, cfg.vocab_multiple),
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
    symbols = dict.fromkeys([*map(name, range(cfg.placeholders)), *(cfg.user_symbols or ())])
    if reserved := [*(SPACE + tag for tag in tags), *symbols]:
        settings["user_defined_symbols"] = reserved
    if cfg.split_digits:
        settings["split_digits"] = True
    try:
        model = learn_model(fitting, settings)
    except RuntimeError as error:
        raise DataError(
            f"cannot learn a vocabulary of {cfg.vocab_size} pieces from this text: {_in_our_words(reason(error), cfg)}"
        ) from None
    model = mark_tags(mark_cleaned(_padded(model, cfg.vocab_multiple), cfg.normalization), tags)
    return mark_placeholders(model, cfg.placeholders) if cfg.placeholders else model


def _rounded_up(size: int, multiple: int) -> int:
    return math.ceil(size / multiple) * multiple


def _padded(model: bytes, multiple: int) -> bytes:
    """Return a model whose size is a multiple. A small corpus gives fewer pieces than were asked for.

    The pieces that are added are control pieces: no text is segmented into one, and one is decoded to nothing.
    """
    size = read_outline(model).pieces
    missing = _rounded_up(size, multiple) - size
    return with_more_pieces(model, [Piece(f"<unused{i}>", LAST, CONTROL) for i in range(missing)])


def _in_our_words(found: str, cfg: TokenizerConfig) -> str:
    """Return SentencePiece's reason, with our settings if it is that there are more characters than pieces."""
    if not (needed := TOO_MANY.search(found)):
        return found
    return (
        f"its characters and the special pieces{' and bytes' if cfg.byte_fallback else ''} alone are {needed[1]}; "
        "raise tokenizer.vocab_size, or lower tokenizer.character_coverage (not below 0.98), so that rare characters "
        f"have no pieces{', or set tokenizer.byte_fallback: false, which saves 256' if cfg.byte_fallback else ''}"
    )


def reason(error: RuntimeError) -> str:
    """Return SentencePiece's error message without the source location before it."""
    return str(error).strip().splitlines()[-1].split("] ")[-1]
