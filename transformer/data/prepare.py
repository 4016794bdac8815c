"""Prepares the data of a run: tokenizer, training pairs and validation text. A cache is keyed by a fingerprint.

The fingerprint covers everything that the result depends on: the text, the languages, the tokenizer and the filters.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from transformer import atomic
from transformer.config import Config, TokenizerConfig
from transformer.data import corpus, hub
from transformer.data.corpus import Pair
from transformer.data.dataset import FORMAT, Dataset, open_dataset
from transformer.data.encode import encode_corpora, log_unknown, text_hashes, with_commas
from transformer.data.extending import Reserved, extended, with_reserved
from transformer.data.filters import FilteredPairs, filters_identity
from transformer.data.lines import sha256
from transformer.data.placeholders import TERM_MARKS
from transformer.data.sample import Sample
from transformer.data.tags import with_tag
from transformer.data.tokenizer import (
    Tokenizer,
    learn_tokenizer,
    load_tokenizer,
    reads_whole,
    refuse_placeholders,
    tagged,
)
from transformer.data_config import CorpusConfig, DataConfig
from transformer.errors import ConfigError, DataError
from transformer.paths import expanded

NEWER = ("user_symbols", "split_digits", "vocab_multiple", "placeholders")
"""Settings of the tokenizer that version 0.6 did not have."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """The prepared data of a run."""

    tokenizer: Tokenizer
    train: Dataset
    valid: list[Pair] | None
    """The validation text, raw, or None if the configuration names none."""

    @property
    def fingerprints(self) -> dict[str, str | None]:
        """What identifies the training text with its settings, and the validation text."""
        valid = None if self.valid is None else digest_of_text(self.valid)
        return {"data": self.train.report.get("fingerprint"), "valid": valid}


def check_corpora(data: DataConfig) -> None:
    """Raise DataError for a local file that does not exist, before any work is done; ConfigError if there is none."""
    if not data.train:
        raise ConfigError("data.train is empty; name the text to train on")
    for each in (*data.train, data.valid, data.test):
        if each is not None:
            corpus.check_files(each)


def prepare(
    cfg: Config,
    cache: Path,
    tokenizer: Tokenizer | None = None,
    shared: Callable[[Callable[[], Tokenizer]], Tokenizer] = lambda make: make(),
) -> Data:
    """Return the data of a run. The encoded pairs, and the tokenizer unless given, are cached in `cache`.

    Training text that overlaps with the validation or test text is reported, and dropped if `data.overlap` says so.
    `shared` gets what makes the tokenizer, and may return that of another process instead. Raises DataError for text
    that cannot be read.
    """
    data = cfg.data
    with hub.fixed_commits():
        valid = _read_untagged(data.valid, data) if data.valid is not None else None
        found = shared(lambda: tokenizer or find_or_learn_tokenizer(cfg, cache))
        _check_tags(data, found)
        train = prepare_pairs(cfg, found, [*(valid or []), *_test_pairs(data)], cache)
    return Data(found, train, None if data.valid is None or valid is None else _tagged(valid, data.valid.tag))


def _check_tags(data: DataConfig, tok: Tokenizer) -> None:
    """Raise ConfigError for a tag of a corpus that is not one piece of the vocabulary, and for terms without marks."""
    if _gives_terms(data) and not tok.takes_terms:
        raise ConfigError(
            "augment.glossary needs a vocabulary with the marks of terms, and that of train.init_from has none; "
            "tokenizer.extend adds them"
        )
    for each in (*data.train, data.valid, data.test):
        if each is not None and each.tag is not None and not (tok.has_tag(each.tag) and reads_whole(tok, each.tag)):
            raise ConfigError(
                f"{corpus.title(each)}: the vocabulary does not read its tag {each.tag!r} as one piece; it has the "
                "tags of the corpora of data.train that it was learned for; tokenizer.extend adds others to that of "
                "train.init_from"
            )


def read_all_pairs(corpus_cfg: CorpusConfig, data: DataConfig) -> list[Pair]:
    """Return all pairs of a validation or test corpus, as raw text, with its tag. Raises DataError if it is empty."""
    return _tagged(_read_untagged(corpus_cfg, data), corpus_cfg.tag)


def _tagged(pairs: list[Pair], tag: str | None) -> list[Pair]:
    return pairs if tag is None else [pair.with_source(with_tag(pair.source, tag)) for pair in pairs]


def _read_untagged(corpus_cfg: CorpusConfig, data: DataConfig) -> list[Pair]:
    pairs = [pair for pair in corpus.read_pairs(corpus_cfg, data.source, data.target) if pair is not None]
    if not pairs:
        raise DataError(f"{corpus.title(corpus_cfg)} is empty")
    return pairs


def _test_pairs(data: DataConfig) -> list[Pair]:
    """Return the test text. If it cannot be read, log a warning, or raise DataError if overlap must be dropped."""
    if data.test is None:
        return []
    try:
        return _read_untagged(data.test, data)
    except DataError as error:
        if data.overlap == "drop":
            raise
        log.warning("training text is not compared with the test text: %s", error)
        return []


def find_or_learn_tokenizer(cfg: Config, cache: Path) -> Tokenizer:
    """Return the tokenizer for these corpora and settings, from `cache` or newly learned."""
    asked = _set_settings(cfg.tokenizer)
    marks = {"marks": TERM_MARKS} if _gives_terms(cfg.data) else {}
    settings = {"format": FORMAT, "tokenizer": asked, "seed": cfg.train.seed, **_text_identity(cfg.data), **marks}
    folder = cache / f"tokenizer-{_fingerprint(settings)}"
    with _must_be_made(folder, "tokenizer") as missing:
        if not missing:
            return load_tokenizer(folder)
        sample = _sample(cfg)
        log.info(
            "tokenizer: learning %s pieces from %s of %s pairs",
            *map(with_commas, (cfg.tokenizer.vocab_size, len(sample), sample.total)),
        )
        tags = dict.fromkeys(each.tag for each in cfg.data.train if each.tag is not None)
        tokenizer = learn_tokenizer(sample, cfg.tokenizer, [*tags, *marks.get("marks", ())])
        with atomic.new_folder(folder) as temporary:
            tokenizer.save(temporary)
        return tokenizer


def _gives_terms(data: DataConfig) -> bool:
    """Return whether the source text of some pairs is to have the translations of terms."""
    return any(each.augment is not None and each.augment.glossary is not None for each in data.train)


def _set_settings(cfg: TokenizerConfig) -> str:
    """Return the settings as `repr` does, without newer ones that are not set: older vocabularies are found again."""
    given = {field.name: (getattr(cfg, field.name), field.default) for field in fields(cfg)}
    shown = [f"{name}={now!r}" for name, (now, usual) in given.items() if name not in NEWER or now != usual]
    return f"{type(cfg).__name__}({', '.join(shown)})"


def extend_tokenizer(cfg: Config, tok: Tokenizer, cache: Path) -> Tokenizer:
    """Return a tokenizer with `tokenizer.extend` more pieces, from `cache` or newly made of the training text.

    First come reserved pieces that it lacks. Raises ConfigError if they are more.
    """
    whole = _with_reserved(cfg, tok)
    more = {"extended": whole.fingerprint, "by": [cfg.tokenizer.extend, cfg.tokenizer.sample]}
    settings = {"format": FORMAT, **more, "seed": cfg.train.seed, **_text_identity(cfg.data)}
    folder = cache / f"tokenizer-{_fingerprint(settings)}"
    with hub.fixed_commits(), _must_be_made(folder, "tokenizer") as missing:
        if missing:
            left = [cfg.tokenizer.extend + a - b for a, b in zip(tok.sizes, whole.sizes, strict=True)]
            sample = list(_sample(cfg)) if any(left) else []
            sides = [pair[0] for pair in sample], [pair[1] for pair in sample]
            made = extended(whole, *sides, (left[0], left[1]))
            with atomic.new_folder(folder) as temporary:
                made.save(temporary)
        found = load_tokenizer(folder)
    log.info(
        "tokenizer: %s more pieces",
        " and ".join(with_commas(b - a) for a, b in zip(tok.sizes, found.sizes, strict=True)),
    )
    prefix = cfg.tokenizer.source_prefix
    return found if prefix is None else tagged(found, prefix)


def _with_reserved(cfg: Config, tok: Tokenizer) -> Tokenizer:
    """Return a tokenizer with the reserved pieces that the training asks for and that it lacks."""
    tags = dict.fromkeys(each.tag for each in cfg.data.train if each.tag is not None)
    refuse_placeholders(list(tags), cfg.tokenizer.placeholders)
    marks = TERM_MARKS if _gives_terms(cfg.data) else ()
    wanted = Reserved((*tags, *marks), cfg.tokenizer.user_symbols or (), cfg.tokenizer.placeholders)
    whole = with_reserved(tok, wanted)
    added = max(b - a for a, b in zip(tok.sizes, whole.sizes, strict=True))
    if added > cfg.tokenizer.extend:
        raise ConfigError(
            f"tokenizer.extend is {cfg.tokenizer.extend}, but the vocabulary of train.init_from lacks {added} reserved "
            f"pieces (tags, symbols, placeholders, marks of terms); it must be at least {added}"
        )
    return whole


def _sample(cfg: Config) -> Sample:
    """Return the pairs that a vocabulary is learned from. Reads the training text."""
    progress = corpus.reading("reading the training text", cfg.data.train)
    return Sample(lambda: _training_pairs(cfg.data), cfg.tokenizer.sample, cfg.train.seed, progress)


def prepare_pairs(cfg: Config, tokenizer: Tokenizer, held_out: Iterable[Pair], cache: Path) -> Dataset:
    """Return the encoded and filtered training pairs, from `cache` or newly made.

    `held_out` are the validation and test pairs, with which the training text is compared.
    """
    data, held_out = cfg.data, list(held_out)
    held_out_digest = digest_of_text(held_out)
    settings = {
        "format": FORMAT,
        "tokenizer": tokenizer.fingerprint,
        "filters": [data.max_length, data.max_ratio, data.duplicates, data.overlap, data.undecodable],
        "dropped with": held_out_digest if data.overlap == "drop" else None,
        **_text_identity(data),
    }
    if any(each.alignments for each in data.train) and not cfg.train.guided_alignment:
        log.info("alignments are not read, as train.guided_alignment is 0")
    if cfg.train.guided_alignment:
        settings["alignments"] = [each.alignments and sha256(expanded(each.alignments)) for each in data.train]
    named = [
        {**former, **filters_identity(each)} if (former := corpus.former_identity(each)) else now
        for each, now in zip(data.train, settings["corpora"], strict=True)
    ]
    former = {**settings, "corpora": named}
    fingerprints = _fingerprint(settings), _fingerprint(former)  # without what changes only the report
    folder = cache / f"pairs-{_fingerprint({**settings, 'held': held_out_digest})}"
    with _must_be_made(folder, "training pairs") as missing:
        if missing:
            with atomic.new_folder(folder) as temporary:
                clean = tokenizer.clean_pairs((pair.source for pair in held_out), (pair.target for pair in held_out))
                encode_corpora(cfg, tokenizer, set(text_hashes(held_out, clean, tokenizer)), temporary)
            tokenizer.forget_words()
        dataset = open_dataset(folder, [each.weight for each in data.train], fingerprints)
        log_unknown(dataset.report, byte_fallback=int(tokenizer.lacking[1].sum()) > 1)
        return dataset


@contextlib.contextmanager
def _must_be_made(folder: Path, what: str) -> Iterator[bool]:
    """Yield whether a folder is missing or damaged. If so, the block runs under a lock and must make it."""
    deep = what == "tokenizer"  # hashing all ids of a large corpus would take too long
    with contextlib.ExitStack() as stack:
        if missing := atomic.damage(folder, deep) is not None:
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(atomic.only_writer(folder.parent, wait=True))
            atomic.clean_up(folder.parent)
            missing = atomic.damage(folder, deep) is not None
        if not missing:
            log.info("%s: found in %s", what, folder)
        yield missing


def _training_pairs(data: DataConfig) -> Iterator[Pair]:
    for each in data.train:
        pairs = FilteredPairs(each, data.source, data.target, data.undecodable == "drop")
        yield from (pair for pair in pairs if pair is not None)


def _text_identity(data: DataConfig) -> dict[str, Any]:
    """Return what decides the training text. Reads every local file."""
    languages = data.source, data.target
    corpora = [{**corpus.identity(each, *languages), **filters_identity(each)} for each in data.train]
    return {"corpora": corpora, "languages": list(languages)}


def digest_of_text(pairs: Iterable[Pair]) -> str:
    """Return a digest of the sides of these pairs, in whatever order."""
    sides = sorted(_digest(side) for pair in pairs for side in pair)
    return hashlib.sha256(b"\0".join(sides)).hexdigest()


def _fingerprint(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.strip().encode("utf-8", "replace"), digest_size=8).digest()
