"""Translation shared out over several processes: each translates a part of the lines, and all get all translations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from transformer.decoding.limits import Warnings
from transformer.decoding.parts import Translation
from transformer.decoding.translator import Translator
from transformer.system.distributed import Ranks


def translate_shared(
    translator: Translator,
    lines: Sequence[str],
    ranks: Ranks,
    nbest: int = 1,
    prefixes: Sequence[str] | None = None,
    first: int = 1,
    warnings: Warnings | None = None,
) -> Iterator[list[Translation]]:
    """Yield what `Translator.translate` yields. All processes must call this with the same lines.

    Each translates neighbouring lines, of about as many characters as those of any other process. Raises StoppedError
    in all of them if one was interrupted.
    """
    if ranks.count == 1:
        yield from translator.translate(lines, nbest, prefixes, first, warnings)
        return
    mine = shares([len(line) for line in lines], ranks.count)[ranks.rank]
    begin = None if prefixes is None else prefixes[mine]
    parts = ranks.parts(
        lambda: [
            [(each.text, each.score, each.log_prob, each.ids, each.lengths) for each in found]
            for found in translator.translate(lines[mine], nbest, begin, first + mine.start, warnings)
        ]
    )
    for part in parts:
        for found in part:
            yield [
                Translation(text, score, log_prob, tuple(ids), tuple(lengths))
                for text, score, log_prob, ids, lengths in found
            ]


def refuse_other_models(ranks: Ranks, translator: Translator, digest: str) -> None:
    """Raise ConfigError in all processes if they have different weights, by their digest, or different settings."""
    ranks.refuse_differences({"the weights": digest, **{f"decode.{k}": v for k, v in vars(translator.cfg).items()}})


def shares(lengths: Sequence[int], count: int) -> list[slice]:
    """Return `count` slices that cover all items, of about equal length in sum."""
    ends = [0, *accumulate(length + 1 for length in lengths)]
    cuts = [0]
    for i in range(1, count):
        wanted = ends[-1] * i / count
        cuts.append(max(cuts[-1], sum(end <= wanted for end in ends) - 1))
    return [slice(start, end) for start, end in zip(cuts, [*cuts[1:], len(lengths)], strict=True)]
