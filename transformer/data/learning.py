"""Learns a SentencePiece model: a long one in a child process, which a signal ends at once. The bytes are the same."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import sentencepiece

from transformer.system.child import FAILED, ChildError, NoChildError, end_child, run_child, texts_sent
from transformer.system.progress_bar import ProgressBar, Ticking

SMALL = 1 << 18
"""Characters from which a model is learned in well under a second, in this process."""
MERGES = re.compile(r"merges=(\d+)")
"""In what SentencePiece logs while it learns BPE: the merges so far, of which each makes a piece."""


WORK = "learning the vocabulary"
SOME = 10_000
"""Texts after which the number of texts that were read is shown again."""


class Again:
    """Texts that are read anew each time, so that they need no memory."""

    def __init__(self, read: Callable[[], Iterator[str]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[str]:
        return self._read()


def learn_model(texts: Iterable[str], settings: Mapping[str, Any]) -> bytes:
    """Return the serialized model that SentencePiece learns from these texts. `settings` are plain values.

    `texts` is no iterator, as it may be read several times. Raises RuntimeError with SentencePiece's reason if it
    cannot.
    """
    if _are_few(texts):
        # A list: no code of ours runs inside SentencePiece, which would hide what a signal raises there.
        return _learn(list(texts), settings)
    bpe = settings["model_type"] == "bpe"
    shown = ProgressBar(WORK, settings["vocab_size"] if bpe else None, "pieces")

    def heard(line: str) -> None:
        if found := MERGES.search(line):
            shown.count = int(found[1])

    arguments = json.dumps({**settings, "minloglevel": 0})
    try:
        with Ticking(shown):
            return run_child("transformer.data.learning", arguments, _told(texts, shown), WORK, heard)
    except ChildError as error:
        raise RuntimeError(str(error)) from None
    except NoChildError:
        return _learn(list(texts), settings)


def _told(texts: Iterable[str], shown: ProgressBar) -> Iterator[str]:
    """Yield the texts, with their number shown."""
    for number, text in enumerate(texts):
        if number % SOME == 0:
            shown.what = f"{WORK}, {number:,} texts read"
        yield text
    shown.what = WORK


def _are_few(texts: Iterable[str]) -> bool:
    total = 0
    for text in texts:
        total += len(text)
        if total > SMALL:
            return False
    return True


def _learn(texts: Iterable[str], settings: Mapping[str, Any]) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=model, **settings)
    return model.getvalue()


def _answer() -> None:
    """Learn in the child process and write the model to standard output."""
    try:
        model = _learn(texts_sent(), json.loads(sys.argv[1]))
    except RuntimeError as error:
        end_child(str(error).encode(errors="replace"), FAILED)
    end_child(model)


if __name__ == "__main__":
    _answer()
