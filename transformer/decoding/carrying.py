"""What is carried from lines to their translations: word alignments and tags."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from transformer.data.tags import split_tag
from transformer.decoding.alignment import Aligner, Attended, Link
from transformer.decoding.markup import Marked, put_back, take_out
from transformer.decoding.parts import Translation
from transformer.decoding.translator import Translator


class Carrier:
    """Takes the tags out of lines as they are read, and puts them into the translations, in the same order."""

    def __init__(self, translator: Translator, guided: bool, tags: bool) -> None:
        """`guided`: the model was trained with `train.guided_alignment`. Without `tags` lines stay as they are."""
        self.translator, self.tags = translator, tags
        self.aligner = Aligner(translator.decoder, guided)
        self._lines: deque[tuple[str, Marked]] = deque()  # and the tag of a language before each

    def read(self, lines: Iterable[str]) -> Iterator[str]:
        """Yield the lines to translate."""
        for line in lines:
            before, text = split_tag(line, self.translator.tokenizer.has_tag) if self.tags else ("", line)
            marked = take_out(text) if self.tags else Marked(line, [], [])
            self._lines.append((before, marked))
            yield before + marked.text

    def carry(self, found: Sequence[Translation], links: bool) -> tuple[list[Translation], list[list[Link]]]:
        """Return the translations of the next line with its tags, and with `links` how their words are aligned."""
        before, marked = self._lines.popleft()
        attended: list[list[Attended]] = [[] for _ in found]
        if links or marked.elements or marked.marks:
            (parts,) = self.translator.parts.cut([before + marked.text])
            attended = self.aligner.attend([parts] * len(found), found)
        carried = list(found)
        if self.tags:
            for i, (one, each) in enumerate(zip(found, attended, strict=True)):
                aligned = self.aligner.tokens(marked.text, each, one.text)
                carried[i] = replace(one, text=put_back(marked, one.text, aligned))
        return carried, [self.aligner.links(each) for each in attended] if links else []
