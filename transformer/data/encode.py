"""Encodes corpora to token ids on disk: in parallel, filtered, with duplicates and overlap counted.

A prepared folder holds, for each side, the ids of all sentences end to end (`source.ids`, `target.ids`) and where
each begins (`source.starts`, `target.starts`). `rows` lists the pairs that passed the filters, corpus after corpus.
`prepared.json` has the counts.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transformer.config import Config
from transformer.data import corpus
from transformer.data.alignments import Guide
from transformer.data.dataset import FORMAT, offsets
from transformer.data.digests import Digests
from transformer.data.filters import FINDINGS, FilteredPairs
from transformer.data.ragged import Ragged
from transformer.data.tmx import LACKING
from transformer.data.tokenizer import Flat, Tokenizer, with_tag_of_corpus
from transformer.data_config import DataConfig
from transformer.errors import DataError
from transformer.system.processors import available

CHUNK = 4_000
"""Number of pairs that a thread encodes at a time."""

REASONS = ("empty", "too long", "ratio", "undecodable", LACKING)
"""Why a pair is not usable, besides what filters find."""
MUCH_UNKNOWN = 0.01
"""Share of the pieces of a side above which unknown ones are a warning. Not measured."""
Ints = NDArray[Any]
log = logging.getLogger(__name__)


def text_hashes(pairs: Sequence[corpus.Pair], clean: tuple[list[str], list[str]], tok: Tokenizer) -> list[int]:
    """Return 64-bit hashes of the sides of pairs, given raw and clean. Texts that the model reads as equal have equal
    ones, within this process. Python's hash is the cheapest."""
    if tok.outlines[-1].cleaned:
        return [hash(side) for pair in zip(*clean, strict=True) for side in pair]
    return [hash(side.strip()) for pair in pairs for side in pair]


class _Encoded(NamedTuple):
    """An encoded chunk of pairs, without the unusable ones."""

    source: tuple[Ints, Ints]
    target: tuple[Ints, Ints]
    digests: Ints
    """64-bit hashes of the two sides of each pair, of shape (pairs, 2)."""
    dropped: Counter[str]
    links: tuple[Ints, Ints]
    """The links between words, as `source` has its ids: source word, target word, and so on."""
    pieces: Counter[str]
    """The pieces of each side, and those among them that stand for characters that the vocabulary lacks."""


def encode_corpora(cfg: Config, tok: Tokenizer, held_out: set[int], folder: Path) -> None:
    """Read, encode and filter the training corpora into `folder`; `held_out` are hashes of validation and test text."""
    counts: list[dict[str, Any]] = []
    aligned = any(each.alignments for each in cfg.data.train) and cfg.train.guided_alignment > 0
    guide = Guide(tok) if aligned else None
    notes: dict[str, list[dict[str, Any]]] = {"examples": [], "origins": []}
    with (
        _Side(folder, "source") as source,
        _Side(folder, "target") as target,
        _Side(folder, "links") if aligned else contextlib.nullcontext() as links,
        Digests(folder) as digests,
        corpus.reading("encoding the training text", cfg.data.train) as bar,
    ):
        for each in cfg.data.train:
            dropped: Counter[str] = Counter()
            pieces: Counter[str] = Counter()
            kept = seen = 0
            pairs = FilteredPairs(each, cfg.data.source, cfg.data.target, cfg.data.undecodable == "drop", aligned)
            for chunk in _encoded(iter(pairs), cfg.data, tok, each.tag, guide):
                bar.advance(len(chunk.digests) + chunk.dropped.total() + pairs.dropped.total() - seen)
                seen = pairs.dropped.total()
                dropped.update(chunk.dropped)
                pieces.update(chunk.pieces)
                kept += len(chunk.digests)
                digests.add(chunk.digests)
                source.add(*chunk.source)
                target.add(*chunk.target)
                if links is not None:
                    links.add(*chunk.links)
            dropped += pairs.dropped
            read, name = kept + dropped.total(), corpus.title(each)
            counts.append({"name": name, "read": read, "usable": kept, **dropped, **pieces})
            log.info("%s: %s", name, _counts(counts[-1]))
            notes["examples"] += pairs.log_examples(name)
            if facts := corpus.origin(each, cfg.data.source, cfg.data.target):
                notes["origins"].append({"corpus": name, **facts})
        dtype = source.dtype if source.ids else np.dtype(np.uint16)
        more = {key: value for key, value in notes.items() if value}
        _finish(folder, cfg.data, counts, digests, held_out, {"format": FORMAT, "dtype": dtype.name}, more)


class _Side:
    """Writes the ids of one side of all pairs, and where each text begins. Used as a context manager."""

    def __init__(self, folder: Path, name: str) -> None:
        self._files = (folder / f"{name}.ids").open("wb"), (folder / f"{name}.starts").open("wb")
        self._files[1].write(bytes(8))  # the first text begins at 0
        self.ids = 0
        """Number of ids so far."""
        self.dtype = np.dtype(np.uint16)

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def add(self, ids: Ints, starts: Ints) -> None:
        """Write some texts: their ids, and the start of each, followed by the end of the last one."""
        for array, file in zip((ids, starts[1:] + self.ids), self._files, strict=True):
            file.write(np.ascontiguousarray(array).data)
        self.ids += len(ids)
        self.dtype = ids.dtype


def _finish(
    folder: Path,
    data: DataConfig,
    counts: list[dict[str, Any]],
    digests: Digests,
    held_out: set[int],
    form: dict[str, Any],
    notes: dict[str, Any],
) -> None:
    """Find duplicates and overlap by the hashes, and write the remaining files of the dataset."""
    first, known = digests.first(), digests.known(held_out)
    good = np.ones(len(digests), bool)
    if data.duplicates == "drop":
        good &= first
    if data.overlap == "drop":
        good &= ~known
    ends = np.cumsum([0] + [count["usable"] for count in counts])
    for count, start, end in zip(counts, ends, ends[1:], strict=False):
        count["duplicates"], count["overlap"] = int((~first[start:end]).sum()), int(known[start:end].sum())
        count["pairs"] = int(good[start:end].sum())
    (folder / "rows").write_bytes(np.flatnonzero(good).astype(np.int64).data)
    total = int(good.sum())
    for what, number, setting in (
        ("are duplicates of others", int((~first).sum()), data.duplicates),
        ("have a side that also occurs in valid or test", int(known.sum()), data.overlap),
    ):
        if number:
            log.info("%s training pairs %s: %s", with_commas(number), what, "dropped" if setting == "drop" else "kept")
    if total == 0:
        raise DataError("no training pair is left: " + "; ".join(f"{c['name']}: {_counts(c)}" for c in counts))
    report = {"pairs": total, "corpora": counts, "duplicates": data.duplicates, "overlap": data.overlap}
    (folder / "prepared.json").write_text(json.dumps({**form, **report, **notes}, indent=1) + "\n")


def _encoded(
    pairs: Iterator[corpus.Pair | None], data: DataConfig, tok: Tokenizer, tag: str | None, guide: Guide | None
) -> Iterator[_Encoded]:
    """Yield the encoded chunks of a corpus in order. Threads encode in parallel, a few chunks ahead."""
    threads = min(8, available().threads)
    waiting: deque[Future[_Encoded]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        while chunk := list(islice(pairs, CHUNK)):
            waiting.append(pool.submit(_encode, chunk, data, tok, tag, guide))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a signal need not wait for what is not encoded yet


def _encode(
    chunk: list[corpus.Pair | None],
    data: DataConfig,
    tok: Tokenizer,
    tag: str | None = None,
    guide: Guide | None = None,
) -> _Encoded:
    pairs = [pair for pair in chunk if pair is not None]
    clean = tok.clean_pairs([pair.source for pair in pairs], [pair.target for pair in pairs])
    sources = clean[0] if tag is None else with_tag_of_corpus(tok, clean[0], tag)
    source, target = tok.encode_clean(sources, clean[1])
    short, long = np.minimum(source.lengths, target.lengths), np.maximum(source.lengths, target.lengths)
    dropped = Counter(undecodable=len(chunk) - len(pairs))
    good = np.ones(len(pairs), bool)
    for reason, bad in (
        ("empty", short == 0),
        ("too long", long > data.max_length),
        ("ratio", long > data.max_ratio * short if data.max_ratio is not None else ~good),
    ):
        dropped[reason] = int((good & bad).sum())
        good &= ~bad
    pieces: Counter[str] = Counter()
    for name, side, lacking in zip(("source", "target"), (source, target), tok.lacking, strict=True):
        used = side.ids[np.repeat(good, side.lengths)]
        pieces[f"{name} pieces"], pieces[f"{name} unknown"] = len(used), int(lacking[used].sum())
    hashes = np.array(text_hashes(pairs, clean, tok), np.int64)
    dtype = np.uint16 if max(tok.sizes) <= 1 << 16 else np.uint32
    left, right = (
        offsets(Flat(side.ids[np.repeat(good, side.lengths)].astype(dtype), side.lengths[good]))
        for side in (source, target)
    )
    between = np.empty(0, np.uint16), np.zeros(1, np.int64)
    if guide is not None:
        links = guide.links_of(
            pairs,
            *(Ragged(side.ids, np.cumsum(side.lengths) - side.lengths, side.lengths) for side in (source, target)),
        ).take(np.flatnonzero(good))
        pieces["aligned pairs"] = int((links.lengths_R > 0).sum())
        between = offsets(Flat(links.flat().astype(np.uint16), links.lengths_R))
    return _Encoded(left, right, hashes.view(np.uint64).reshape(-1, 2)[good], +dropped, between, pieces)


def _counts(count: dict[str, Any]) -> str:
    """Return the counts of one corpus as text."""
    left_out = {key: count[key] for key in (*REASONS, *FINDINGS) if count.get(key)}
    words = [f"{with_commas(count['usable'])} of {with_commas(count['read'])} pairs usable"]
    return ", ".join(words + [f"{with_commas(n)} {key}" for key, n in left_out.items()])


def log_unknown(report: dict[str, Any], byte_fallback: bool) -> None:
    """Log how much of each corpus is made of characters that the vocabulary lacks; warn if it is much."""
    what = "single bytes of characters that the vocabulary has no piece for" if byte_fallback else "unknown"
    for count, side in ((count, side) for count in report["corpora"] for side in ("source", "target")):
        pieces, unknown = count.get(f"{side} pieces", 0), count.get(f"{side} unknown", 0)  # not in older reports
        if unknown:
            level = logging.WARNING if unknown > MUCH_UNKNOWN * pieces else logging.INFO
            text = "%s: %s of %s %s pieces (%.2g %%) are %s"
            share = 100 * unknown / pieces
            log.log(level, text, count["name"], *map(with_commas, (unknown, pieces)), side, share, what)


def with_commas(number: int) -> str:
    """Return a number with thousands separators: 1,234,567."""
    return f"{number:,}"
