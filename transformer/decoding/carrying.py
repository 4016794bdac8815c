"""What is carried from lines to their translations: word alignments and tags."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from transformer.data.tags import split_tag
from transformer.decoding.alignment import Aligner, Link
from transformer.decoding.markup import Marked, put_back, take_out
from transformer.decoding.parts import Translation
from transformer.decoding.translator import Translator


class Carrier:
    """Takes the tags out of lines as they are read, and puts them into the translations, in the same order."""

    def __init__(self, translator: Translator, guided: bool, tags: bool) -> None:
        """`guided`: the model was trained with `train.guided_alignment`. `tags`: carry tags, not only align."""
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

    def carry(self, found: Sequence[Translation]) -> tuple[list[Translation], list[list[Link]]]:
        """Return the translations of the next line with its tags, and their links to its words."""
        before, marked = self._lines.popleft()
        (parts,) = self.translator.parts.cut([before + marked.text])
        links = self.aligner.align([parts] * len(found), found)
        if not self.tags:
            return list(found), links
        align = self.aligner.align_tokens
        texts = [put_back(marked, each.text, align(marked.text, parts, each)) for each in found]
        return [replace(each, text=text) for each, text in zip(found, texts, strict=True)], links
