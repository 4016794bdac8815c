"""Changes to training pairs as they are read: capitals, typos, a full stop left out, sentences joined.

After Mozilla's OpusTrainer, which has such modifiers. What becomes of a pair is a pure function of the seed, the epoch
and the pair: it depends neither on the update, nor on the number of processes, nor on where training was resumed.
Only the pairs that are changed are decoded to text, changed, and encoded again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformer import languages
from transformer.augment_config import AugmentConfig
from transformer.data.changes import characters, lower, places_of_typos, spoil, title, upper, without_end
from transformer.data.dataset import Dataset
from transformer.data.glossary import Glossary, read_glossary
from transformer.data.placeholders import FOUND, with_placeholders
from transformer.data.ragged import Ragged
from transformer.data.symbols import in_tag, symbol
from transformer.data.tags import split_tag
from transformer.data.tokenizer import Flat, Tokenizer
from transformer.data_config import DataConfig
from transformer.paths import expanded

KINDS = ("merge", "upper", "lower", "title", "no_end_mark", "typos", "blanks", "symbols", "placeholders", "glossary")
"""In the order in which they are made. Their places are streams of random numbers, so new ones go to the end."""
GOLDEN, FIRST, SECOND = (np.uint64(each) for each in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
"""The constants of SplitMix64 (Steele, Lea & Flood 2014)."""
KEPT = re.compile(f"({FOUND.pattern})", FOUND.flags)
"""Addresses, tags and placeholders: they keep their case."""
INSIDE_WORD = re.compile(r"(?<=[^\W\d_])(?=[^\W\d_])")
BEFORE_MARK, AFTER_MARK = re.compile(r"(?<=\w)(?=[,.!?;:])"), re.compile(r"(?<=[,;:]) (?=\w)")
BETWEEN_WORDS = re.compile(r"(?<=\w) (?=\w)")
Ints = NDArray[Any]
Change = Callable[[str, str], str]


def mixed(numbers: Ints) -> Ints:
    """Return numbers, uint64, each mixed to one that looks random: the output function of SplitMix64."""
    with np.errstate(over="ignore"):
        numbers = (numbers ^ (numbers >> np.uint64(30))) * FIRST
        numbers = (numbers ^ (numbers >> np.uint64(27))) * SECOND
        return numbers ^ (numbers >> np.uint64(31))


class Draws:
    """Random numbers for one pair."""

    def __init__(self, key: int) -> None:
        """`key` is a number of 64 bits that looks random."""
        self._words = np.random.Philox(key=key)  # its raw bits are the same in every version of numpy

    def below(self, count: int) -> int:
        """Return a number from 0 to `count` - 1."""
        return int(self._words.random_raw()) % count


class Augmenter:
    """Changes pairs as the settings of their corpora say."""

    def __init__(
        self,
        settings: Sequence[AugmentConfig | None],
        dataset: Dataset,
        tok: Tokenizer,
        codes: tuple[str, str],
        max_length: int,
        seed: int,
    ) -> None:
        """`settings` has those of each corpus of the dataset, `codes` the languages of both sides."""
        self.dataset, self.tok, self.codes, self.max_length, self.seed = dataset, tok, codes, max_length, seed
        rates = [each.rates if each is not None else {} for each in settings]
        self._rates = np.array([[each.get(kind, 0.0) for each in rates] for kind in KINDS])
        self._glossaries = [_glossary(each) for each in settings]
        self._ends = np.array([end for _, end, _ in dataset.corpora])
        self._sorted, self._first = np.unique(self._ends, return_index=True)  # a corpus may be named twice
        without = languages.CHINESE, languages.JAPANESE  # Thai and others have a blank between sentences
        self._joints = ["" if languages.parse(code).script in without else " " for code in codes]

    def augment(self, pairs: Ints, source: Ragged, target: Ragged, epoch: int) -> tuple[Ragged, Ragged]:
        """Return the ids of these pairs in this epoch, given those that they have. Most stay as they are."""
        keys = self.keys(pairs, epoch)
        corpora = self._corpora(pairs)
        wanted = self._wanted(keys, corpora)
        chosen = np.flatnonzero(wanted.any(0))
        chosen = chosen[[self._known(source[i], target[i]) for i in chosen.tolist()]] if len(chosen) else chosen
        if not len(chosen):
            return source, target
        texts = self._texts(source.take(chosen), target.take(chosen))
        joined = np.flatnonzero(wanted[0, chosen] & (pairs[chosen] + 1 < self._ends[corpora[chosen]]))
        others = self.dataset.ids(pairs[chosen[joined]] + 1)
        known = [i for i, sides in enumerate(zip(*others, strict=True)) if self._known(*sides)]
        joined, following = joined[known], self._texts(*(side.take(np.array(known, np.int64)) for side in others))
        for place, other in zip(joined.tolist(), following, strict=True):
            texts[place] = self._join(texts[place], other)
        news: tuple[list[str], list[str]] = ([], [])
        for text, key, kinds, place in zip(
            texts, keys[chosen].tolist(), wanted[1:, chosen].T, corpora[chosen].tolist(), strict=True
        ):
            glossary = self._glossaries[place]
            source_text, target_text = self._changed(text, np.flatnonzero(kinds).tolist(), Draws(key), glossary)
            news[0].append(source_text)
            news[1].append(target_text)
        flat = self.tok.encode_pairs(*news)
        return self._put(flat, chosen, source, target)

    def touches(self, pairs: Ints, epoch: int) -> NDArray[np.bool_]:
        """Return which of these pairs may be changed in this epoch."""
        return np.asarray(self._wanted(self.keys(pairs, epoch), self._corpora(pairs)).any(0))

    def _corpora(self, pairs: Ints) -> Ints:
        return np.asarray(self._first[np.searchsorted(self._sorted, pairs, "right")])

    def keys(self, pairs: Ints, epoch: int) -> Ints:
        """Return a number of 64 bits for each pair in this epoch."""
        with np.errstate(over="ignore"):
            base = mixed(mixed(np.array([self.seed], np.uint64)) + np.array([epoch], np.uint64) * GOLDEN)
            return mixed(base + (pairs.astype(np.uint64) + np.uint64(1)) * GOLDEN)

    def _wanted(self, keys: Ints, corpora: Ints) -> NDArray[np.bool_]:
        """Return which changes (rows) are made to which pairs (columns)."""
        with np.errstate(over="ignore"):
            streams = np.arange(1, len(KINDS) + 1).astype(np.uint64)[:, None] * FIRST
            draws = (mixed(keys[None] + streams) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return np.asarray(draws < self._rates[:, corpora])

    def _known(self, *sides: Ints) -> bool:
        """Return whether all of a pair can be read back: no piece is the unknown one."""
        return all(self.tok.unk not in side for side in sides)

    def _texts(self, source: Ragged, target: Ragged) -> list[tuple[str, str]]:
        sides = (self.tok.source, source), (self.tok.target, target)
        left, right = (side.decode([ids.tolist() for ids in rows]) if len(rows) else [] for side, rows in sides)
        return list(zip(left, right, strict=True))

    def _join(self, one: tuple[str, str], other: tuple[str, str]) -> tuple[str, str]:
        """Return a pair followed by another one, which has the same tag."""
        source, target = split_tag(other[0], self.tok.has_tag)[1], other[1]
        return self._joints[0].join((one[0], source)), self._joints[1].join((one[1], target))

    def _changed(
        self, text: tuple[str, str], kinds: list[int], draws: Draws, glossary: Glossary | None
    ) -> tuple[str, str]:
        tag, source = split_tag(text[0], self.tok.has_tag)
        target = text[1]
        for kind in (KINDS[1 + place] for place in kinds):
            if kind in CASES:
                source, target = self._on_both(source, target, CASES[kind])
            elif kind == "no_end_mark":
                source, target = self._on_both(source, target, lambda side, _: without_end(side))
            elif kind == "typos":
                source = _in_longest_part(source, lambda part: with_typos(part, draws))
            elif kind == "blanks":
                source = _in_longest_part(source, lambda part: with_blanks(part, draws))
            elif kind == "symbols":
                source, target = with_symbol(source, target, draws)
            elif kind == "placeholders":
                source, target = with_placeholders(source, target, self.tok.placeholders, draws.below)
            elif glossary is not None:
                source = glossary.annotate_pair(source, target)
        return tag + source, target

    def _on_both(self, source: str, target: str, change: Change) -> tuple[str, str]:
        """Change both sides, the target only if the source is changed by it."""
        new = change(source, self.codes[0])
        return (new, change(target, self.codes[1])) if new != source else (source, target)

    def _put(self, flat: tuple[Flat, Flat], chosen: Ints, source: Ragged, target: Ragged) -> tuple[Ragged, Ragged]:
        """Return both sides with new ids in the chosen rows, but where these are empty, unknown or too long."""
        good = np.ones(len(chosen), bool)
        for each in flat:
            ends = np.cumsum(each.lengths)
            unknown = np.searchsorted(ends, np.flatnonzero(each.ids == self.tok.unk), "right")
            good &= (each.lengths > 0) & (each.lengths <= self.max_length)
            good[unknown] = False
        left, right = (with_rows(old, chosen, new, good) for old, new in zip((source, target), flat, strict=True))
        return left, right


def with_rows(old: Ragged, chosen: Ints, new: Flat, good: NDArray[np.bool_]) -> Ragged:
    """Return rows of which the chosen ones are new where they are good."""
    flat, lengths = old.flat().astype(np.int64), old.lengths_R.copy()
    starts = np.cumsum(lengths) - lengths
    starts[chosen[good]] = len(flat) + (np.cumsum(new.lengths) - new.lengths)[good]
    lengths[chosen[good]] = new.lengths[good]
    return Ragged(np.concatenate([flat, new.ids]), starts, lengths)


def _glossary(settings: AugmentConfig | None) -> Glossary | None:
    wanted = None if settings is None else settings.glossary
    return None if wanted is None else Glossary(read_glossary(expanded(wanted.file)))


def make_augmenter(cfg: DataConfig, dataset: Dataset, tok: Tokenizer, seed: int) -> Augmenter | None:
    """Return what changes the pairs of a dataset, or None if no corpus asks for changes."""
    settings = [each.augment for each in cfg.train]
    if not any(each is not None and any(each.rates.values()) for each in settings):
        return None
    return Augmenter(settings, dataset, tok, (cfg.source, cfg.target), cfg.max_length, seed)


# ---- changes ---------------------------------------------------------------------------------------------


def _but_kept(change: Change) -> Change:
    """Return the change for all of a text but what must stay as it is."""

    def changed(text: str, language: str) -> str:
        return "".join(part if i % 2 else change(part, language) for i, part in enumerate(KEPT.split(text)))

    return changed


def _in_longest_part(text: str, change: Callable[[str], str]) -> str:
    """Return the text with its longest part changed that need not stay as it is."""
    parts = KEPT.split(text)
    place = max(range(0, len(parts), 2), key=lambda i: len(parts[i]))
    return "".join([*parts[:place], change(parts[place]), *parts[place + 1 :]])


CASES: dict[str, Change] = {"upper": _but_kept(upper), "lower": _but_kept(lower), "title": _but_kept(title)}


def with_typos(text: str, draws: Draws) -> str:
    """Return the text with some letters inside words exchanged, left out, doubled or replaced by others of it."""
    shown = characters(text)
    inside, count = places_of_typos(shown)
    places = {inside[draws.below(len(inside))] for _ in range(count)} if inside else set()
    for place in sorted(places, reverse=True):  # from the end: places stay valid
        kind = draws.below(4)
        if kind < 3:
            spoil(shown, place, kind)
        else:
            shown[place] = shown[inside[draws.below(len(inside))]]
    return "".join(shown)


def with_blanks(text: str, draws: Draws) -> str:
    """Return the text with a blank inside a word or before a mark, or without one after a mark or between words."""
    pattern, blank = ((INSIDE_WORD, " "), (BEFORE_MARK, " "), (AFTER_MARK, ""), (BETWEEN_WORDS, ""))[draws.below(4)]
    places = list(pattern.finditer(text))
    if not places:
        return text
    found = places[draws.below(len(places))]
    return text[: found.start()] + blank + text[found.end() :]


def with_symbol(source: str, target: str, draws: Draws) -> tuple[str, str]:
    """Return both sides with the same symbol at the beginning or the end, or inside the same tag."""
    kind = draws.below(6)
    if kind == 0:
        name = draws.below(1 << 16)
        return in_tag(source, name), in_tag(target, name)
    made = symbol(draws.below)
    return (f"{made} {source}", f"{made} {target}") if kind == 1 else (f"{source} {made}", f"{target} {made}")
