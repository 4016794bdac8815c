"""Corpora to token ids on disk: sampled for the vocabulary, filtered, encoded in parallel, memory-mapped.

A prepared folder holds, for each side, the ids of all sentences end to end (`source.ids`, `target.ids`) and
where each begins (`source.starts`, `target.starts`); `rows` lists the pairs that passed the filters, corpus
after corpus, and `prepared.json` tells counts. It is found again by a fingerprint of everything that decides
it. The ids stay on disk; in memory are some tens of bytes for each pair.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import random
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transformer import atomic
from transformer.config import Config, CorpusConfig, DataConfig
from transformer.data import corpus
from transformer.data.dataset import FORMAT, Dataset, offsets, open_dataset
from transformer.data.tokenizer import Flat, Tokenizer, learn_tokenizer, load_tokenizer
from transformer.errors import DataError

Ints = NDArray[Any]

CHUNK = 4_000
"""Pairs encoded at once by one thread."""
log = logging.getLogger(__name__)


def read_all_pairs(corpus_cfg: CorpusConfig, data: DataConfig) -> list[corpus.Pair]:
    """Return a validation or test corpus whole, as raw text; raises DataError where it is empty."""
    pairs = [pair for pair in corpus.read_pairs(corpus_cfg, data.source, data.target) if pair is not None]
    if not pairs:
        raise DataError(f"{corpus.title(corpus_cfg)} is empty")
    return pairs


def find_or_learn_tokenizer(cfg: Config, folder: Path) -> Tokenizer:
    """Return the tokenizer for these corpora and settings, learned now or found in `folder`."""
    settings = {"format": FORMAT, "tokenizer": repr(cfg.tokenizer), "seed": cfg.train.seed}
    kept = folder / f"tokenizer-{_fingerprint(cfg, settings)}"
    with _to_be_made(kept, "tokenizer") as missing:
        if not missing:
            return load_tokenizer(kept)
        sample, total = _sample(_training_pairs(cfg.data), cfg.tokenizer.sample, cfg.train.seed)
        log.info(
            "tokenizer: learning %s pieces from %s of %s pairs",
            *map(_n, (cfg.tokenizer.vocab_size, len(sample), total)),
        )
        tok = learn_tokenizer(sample, cfg.tokenizer)
        with atomic.new_folder(kept) as temporary:
            tok.save(temporary)
        return tok


def prepare_pairs(cfg: Config, tok: Tokenizer, held: Iterable[corpus.Pair], folder: Path) -> Dataset:
    """Return the training pairs encoded and filtered, built now or found in `folder`.

    `held` are the pairs of validation and test, which are looked for in the training text.
    """
    data = cfg.data
    held = list(held)
    secret = hashlib.sha256(b"\0".join(sorted(_digest(side) for pair in held for side in pair))).hexdigest()
    settings = {
        "format": FORMAT,
        "tokenizer": tok.fingerprint,
        "filters": [data.max_length, data.max_ratio, data.duplicates, data.overlap, data.undecodable],
        "dropped with": secret if data.overlap == "drop" else None,
    }
    text = _fingerprint(cfg, settings)  # decides the pairs; the rest only what is said about them
    settings["held"] = secret
    kept = folder / f"pairs-{_fingerprint(cfg, settings)}"
    with _to_be_made(kept, "training pairs") as missing:
        if missing:
            with atomic.new_folder(kept) as temporary:
                _build(cfg, tok, {_hash(side) for pair in held for side in pair}, temporary)
            tok.forget_words()
        return open_dataset(kept, [c.weight for c in data.train], text)


@contextlib.contextmanager
def _to_be_made(kept: Path, what: str) -> Iterator[bool]:
    """Give whether a folder is still to be made; if so nobody else makes one beside it while the block runs."""
    deep = what == "tokenizer"  # the ids of a large corpus would take long to read
    with contextlib.ExitStack() as stack:
        if missing := atomic.damage(kept, deep) is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(atomic.only_writer(kept.parent, wait=True))
            atomic.clean_up(kept.parent)
            missing = atomic.damage(kept, deep) is not None
        if not missing:
            log.info("%s: found in %s", what, kept)
        yield missing


def _training_pairs(data: DataConfig) -> Iterator[corpus.Pair]:
    for each in data.train:
        drop = data.undecodable == "drop"
        yield from (pair for pair in corpus.read_pairs(each, data.source, data.target, drop) if pair is not None)


def _fingerprint(cfg: Config, settings: dict[str, Any]) -> str:
    data = cfg.data
    settings["corpora"] = [corpus.identity(each) for each in data.train]
    settings["languages"] = [data.source, data.target]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _sample(pairs: Iterable[corpus.Pair], size: int, seed: int) -> tuple[list[corpus.Pair], int]:
    """Return `size` pairs at random, in the order read (reservoir sampling), and how many there were."""
    chance = random.Random(seed)
    chosen: list[tuple[int, corpus.Pair]] = []
    total = 0
    for pair in pairs:
        if total < size:
            chosen.append((total, pair))
        elif (place := int(chance.random() * (total + 1))) < size:
            chosen[place] = (total, pair)
        total += 1
    chosen.sort(key=lambda item: item[0])
    return [pair for _, pair in chosen], total


def _hash(text: str) -> int:
    """Return 64 bits by which texts are told apart while this process runs; Python's own are the cheapest."""
    return hash(text.strip())


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.strip().encode("utf-8", "replace"), digest_size=8).digest()


class _Encoded(NamedTuple):
    """A chunk of pairs of which the unusable ones are gone."""

    source: tuple[Ints, Ints]
    target: tuple[Ints, Ints]
    digests: Ints
    """Of each pair's two sides, (n, 2), 64 bits each."""
    dropped: Counter[str]


def _build(cfg: Config, tok: Tokenizer, held: set[int], folder: Path) -> None:
    """Read, encode and filter everything into `folder`."""
    counts: list[dict[str, Any]] = []
    digests: list[Ints] = []
    lengths: tuple[list[Ints], list[Ints]] = ([], [])
    with (folder / "source.ids").open("wb") as source, (folder / "target.ids").open("wb") as target:
        for each in cfg.data.train:
            dropped: Counter[str] = Counter()
            kept = 0
            for chunk in _encoded(each, cfg.data, tok):
                dropped.update(chunk.dropped)
                kept += len(chunk.digests)
                digests.append(chunk.digests)
                for side, stream, into in zip((chunk.source, chunk.target), (source, target), lengths, strict=True):
                    _write(side[0], stream)
                    into.append(np.diff(side[1]))
            counts.append({"name": corpus.title(each), "read": kept + dropped.total(), "usable": kept, **dropped})
            log.info("%s: %s", corpus.title(each), _counts(counts[-1]))
    _finish(folder, cfg.data, counts, np.concatenate([np.zeros((0, 2), np.uint64), *digests]), lengths, held)


def _finish(
    folder: Path,
    data: DataConfig,
    counts: list[dict[str, Any]],
    digests: Ints,
    lengths: tuple[list[Ints], list[Ints]],
    held: set[int],
) -> None:
    """Find duplicates and overlap among all digests, and write what makes the ids a dataset."""
    for name, side in zip(("source", "target"), lengths, strict=True):
        starts = np.cumsum(np.concatenate([np.zeros(1, np.int64), *side]))
        _write(starts, folder / f"{name}.starts")
    pair_digests = digests[:, 0] * np.uint64(0x9E3779B97F4A7C15) + digests[:, 1]
    first = np.zeros(len(digests), bool)
    first[np.unique(pair_digests, return_index=True)[1]] = True
    secret = np.array(list(held), np.int64).view(np.uint64)
    known = np.zeros(len(digests), bool)
    for column in (0, 1):
        known |= np.isin(digests[:, column], secret)
    good = np.ones(len(digests), bool)
    if data.duplicates == "drop":
        good &= first
    if data.overlap == "drop":
        good &= ~known
    ends = np.cumsum([0] + [count["usable"] for count in counts])
    for count, start, end in zip(counts, ends, ends[1:], strict=False):
        count["duplicates"], count["overlap"] = int((~first[start:end]).sum()), int(known[start:end].sum())
        count["pairs"] = int(good[start:end].sum())
    _write(np.flatnonzero(good).astype(np.int64), folder / "rows")
    total = int(good.sum())
    for what, number, setting in (
        ("stand in the training corpora again", int((~first).sum()), data.duplicates),
        ("have a side that also stands in valid or test", int(known.sum()), data.overlap),
    ):
        if number:
            log.info("%s training pairs %s: %s", _n(number), what, "dropped" if setting == "drop" else "kept")
    if total == 0:
        raise DataError("no training pair is left: " + "; ".join(f"{c['name']}: {_counts(c)}" for c in counts))
    report = {"pairs": total, "corpora": counts, "duplicates": data.duplicates, "overlap": data.overlap}
    width = "uint16" if (folder / "source.ids").stat().st_size == 0 else _width(folder, lengths)
    (folder / "prepared.json").write_text(json.dumps({"format": FORMAT, "dtype": width, **report}, indent=1) + "\n")


def _width(folder: Path, lengths: tuple[list[Ints], list[Ints]]) -> str:
    """Return the dtype that the ids were written in."""
    bytes_each = (folder / "source.ids").stat().st_size // int(sum(part.sum() for part in lengths[0]))
    return {2: "uint16", 4: "uint32"}[bytes_each]


def _encoded(each: CorpusConfig, data: DataConfig, tok: Tokenizer) -> Iterator[_Encoded]:
    """Yield a corpus in chunks, in order, encoded by all processors; a few chunks are in memory at a time."""
    pairs = corpus.read_pairs(each, data.source, data.target, data.undecodable == "drop")
    threads = max(1, min(8, os.cpu_count() or 1))
    waiting: deque[Future[_Encoded]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        while chunk := list(islice(pairs, CHUNK)):
            waiting.append(pool.submit(_encode, chunk, data, tok))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _encode(chunk: list[corpus.Pair | None], data: DataConfig, tok: Tokenizer) -> _Encoded:
    pairs = [pair for pair in chunk if pair is not None]
    source, target = tok.encode_pairs([pair.source for pair in pairs], [pair.target for pair in pairs])
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
    hashes = np.fromiter((_hash(side) for pair in pairs for side in pair), np.int64, 2 * len(pairs))
    dtype = np.uint16 if max(tok.sizes) <= 1 << 16 else np.uint32
    left, right = (
        offsets(Flat(side.ids[np.repeat(good, side.lengths)].astype(dtype), side.lengths[good]))
        for side in (source, target)
    )
    return _Encoded(left, right, hashes.view(np.uint64).reshape(-1, 2)[good], +dropped)


def _write(array: Ints, into: BinaryIO | Path) -> None:
    if isinstance(into, Path):
        into.write_bytes(np.ascontiguousarray(array).data)
    else:
        into.write(np.ascontiguousarray(array).data)


def _counts(count: dict[str, Any]) -> str:
    """Return one corpus's counts in words."""
    left_out = {key: count[key] for key in ("empty", "too long", "ratio", "undecodable") if count.get(key)}
    words = [f"{_n(count['usable'])} of {_n(count['read'])} pairs usable"]
    return ", ".join(words + [f"{_n(n)} {key}" for key, n in left_out.items()])


def _n(number: int) -> str:
    return f"{number:,}"
