"""The rule for raw text inside a SentencePiece model, for runtimes that apply nothing else to text.

`data/text.py` cleans text before SentencePiece sees it. Here the same is written as SentencePiece's own normalization,
as far as it can express it: it replaces strings, the longest first, and does not look at what is around them.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import permutations
from pathlib import Path
from unicodedata import normalize

import sentencepiece

from transformer.data import text
from transformer.data.model_file import read_charsmap, with_charsmap
from transformer.data.tokenizer import Tokenizer

CONTEXT = re.compile(rf"[{text.JOINERS}{text.SELECTORS}{text.TAGS}{text.MONGOLIAN_SELECTORS}\u115f\u1160\u180e]")
"""Characters that the rule keeps or drops by what is around them."""
NEVER = re.compile(f"[{text.NEVER_MEANT}]")
MOST_MARKS = 3
"""Combining marks of a character whose orders are all listed."""
INSIDE = (
    "The SentencePiece model normalizes text as before training, except that U+2581 is read as a blank, runs of blanks "
    "other than the space are kept, and joiners and variation selectors are kept or dropped whatever is around them."
)
OUTSIDE = (
    "The SentencePiece model has a rule of its own to normalize text; control and invisible characters, which were "
    "replaced or dropped before training, may be read differently."
)


def differences(tokenizer: Tokenizer) -> str:
    """Return in which way exported models may read raw text differently."""
    return INSIDE if all(outline.plain for outline in tokenizer.outlines) else OUTSIDE


def portable_models(tokenizer: Tokenizer) -> tuple[bytes, ...]:
    """Return the tokenizer's SentencePiece models with the rule for raw text in them.

    Models that unify characters by a rule of SentencePiece (`tokenizer.normalization: nfkc` and the like, or before
    version 0.3) have it already, and are returned as they are.
    """
    return tuple(
        with_charsmap(model, _charsmap(outline.normalization == "nfc", _kept(tokenizer, side)))
        if outline.plain
        else model
        for side, (model, outline) in enumerate(zip(tokenizer.models, tokenizer.outlines, strict=True))
    )


def same_ids(tokenizer: Tokenizer, model: bytes, texts: list[str]) -> list[bool]:
    """Return for each text whether an exported source model gives it the ids that the tokenizer gives."""
    exported = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [ids == exported.encode(each) for ids, each in zip(tokenizer.encode_source(texts), texts, strict=True)]


def unusual(line: str) -> list[str]:
    """Return a sentence in forms that the rule for raw text unifies."""
    middle = len(line) // 2
    wide = "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in line)
    inserted = ("\u200b", "\u200d", "\ufeff", "\xad", "\u200e", "\x07", "\t", "\u2028", "\x85", "  ", "\ufe0f")
    return [
        normalize("NFD", line),
        wide,
        f" {line}  ",
        f"{line}\r",
        f"\ufeff{line}",
        *(line[:middle] + each + line[middle:] for each in inserted),
    ]


def _kept(tokenizer: Tokenizer, side: int) -> str:
    """Return the characters of CONTEXT that the vocabulary knows, which are kept."""
    processor = (tokenizer.source, tokenizer.target)[side]
    pieces = processor.id_to_piece(list(range(processor.get_piece_size())))
    return "".join(sorted(set(CONTEXT.findall("".join(pieces)))))


@cache
def _charsmap(nfc: bool, kept: str) -> bytes:
    """Return SentencePiece's compiled form of the rule. `kept` are characters of CONTEXT that stay."""
    rules = dict(_single(kept))
    if nfc:
        rules |= _composed()
    lines = (f"{_hex(before)}\t{_hex(after)}\n" for before, after in sorted(rules.items()))
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "rules.tsv"
        table.write_text("".join(lines), encoding="ascii")
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a"]),
            model_writer=model,
            model_type="char",
            vocab_size=5,
            normalization_rule_tsv=str(table),
            minloglevel=2,
        )
    return read_charsmap(model.getvalue())


def _single(kept: str) -> Iterator[tuple[str, str]]:
    """Yield what becomes of single characters: controls are spaces, invisible ones are dropped."""
    for each in map(chr, range(1, sys.maxunicode + 1)):
        if "\ud800" <= each <= "\udfff":
            continue
        if text.TABS_AND_CONTROLS.match(each):
            yield each, " "
        elif NEVER.match(each) or (CONTEXT.match(each) and each not in kept):
            yield each, ""


@cache
def _composed() -> dict[str, str]:
    """Return the forms of each character that Unicode composes, and what they become."""
    rules = {}
    for each in map(chr, range(0xC0, sys.maxunicode + 1)):
        apart = normalize("NFD", each)
        if apart == each:
            continue
        composed = normalize("NFC", apart)
        if composed != each:
            rules[each] = composed
            continue
        base, marks = apart[0], apart[1:]
        orders = permutations(marks) if len(marks) <= MOST_MARKS else [tuple(marks)]
        for order in map("".join, orders):
            for cut in range(len(order)):
                form = normalize("NFC", base + order[:cut]) + order[cut:]
                if normalize("NFC", form) == each:
                    rules[form] = each
    return rules


def _hex(characters: str) -> str:
    return " ".join(f"{ord(each):X}" for each in characters)
