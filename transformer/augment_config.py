"""The settings of augmentation: changes that are made to training pairs as they are read, drawn anew in each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

Rate = Annotated[float, (0.0, 1.0)]


@dataclass(frozen=True, kw_only=True)
class GlossaryConfig:
    """Terms whose translations are given in the source text of some pairs, for `translate --glossary`."""

    file: Annotated[str, "path"]
    """A text file with `source<TAB>target` on each line. A pair can get those of its terms that both its sides have. A
    term should have several translations, on lines of their own, or the model need not read which one is given."""
    rate: Rate = 0.1
    """The share of pairs that get their terms."""


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Changes to the pairs of a training corpus. Each rate is the share of pairs that is changed so, drawn anew in each
    epoch. Several changes may meet in one pair. A pair that becomes longer than `data.max_length` stays as it is."""

    upper: Rate = 0.0
    """In capital letters, on both sides."""
    lower: Rate = 0.0
    """In small letters, on both sides."""
    title: Rate = 0.0
    """With a Capital At The Beginning Of Each Word, on both sides."""
    no_end_mark: Rate = 0.0
    """Without the full stop or other mark at its end, on both sides."""
    typos: Rate = 0.0
    """With letters exchanged, left out, doubled or replaced, one in 40; on the source side only."""
    blanks: Rate = 0.0
    """With a blank too many or one too few, also before a punctuation mark; on the source side only. Of doubled blanks
    the model always reads one."""
    symbols: Rate = 0.0
    """With an emoji, an address, a number or a sign at the beginning or the end, or inside a tag such as `<b>`; on both
    sides, so that the model learns to copy it."""
    merge: Rate = 0.0
    """Joined with the pair that follows it in the corpus, on both sides: two sentences in a line."""

    placeholders: Rate = 0.0
    """With `tokenizer.placeholders` instead of words that both sides have once, such as numbers and names; where there
    are none, at the beginning or the end; on both sides."""
    glossary: GlossaryConfig | None = None
    """With the translations of terms in the source, so that the model learns to use them."""

    @property
    def rates(self) -> dict[str, float]:
        """All rates by their names."""
        return {**vars(self), "glossary": 0.0 if self.glossary is None else self.glossary.rate}
