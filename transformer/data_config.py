"""The settings of corpora and of `data`, with the types of values that all settings share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from transformer.augment_config import AugmentConfig

Fraction = Annotated[float, (0.0, 0.999)]
Count = Annotated[int, (1, 10**12)]
File = Annotated[str, "path"]
"""A path. It may have any character that the file system allows."""

LONGEST_TAG = 31
"""Characters of a tag, which a tokenizer keeps in at most 127 bytes."""
CORPUS_KINDS = ("files", "tsv", "dataset", "parquet", "json", "testset")


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """One parallel corpus: exactly one of `files`, `tsv`, `dataset`, `parquet`, `json` and `testset`."""

    files: tuple[File, ...] | None = None
    """Two aligned text files, source then target; plain, or compressed by gzip, bzip2, xz, zstd or lz4."""
    tsv: File | None = None
    """A text file with `source<TAB>target` on each line; plain or compressed."""
    dataset: File | None = None
    """A Hugging Face dataset by name, or its local folder, with a `translation` column or one column per language."""
    parquet: tuple[File, ...] | None = None
    """Local Parquet files, with columns as for `dataset`. A name that no file has is a pattern: `part-*.parquet`."""
    json: tuple[File, ...] | None = None
    """Local files of JSON lines or arrays, plain or compressed, with columns as for `dataset`, or patterns."""
    testset: str | None = None
    """A test set that sacreBLEU knows, such as `wmt14/full`."""
    name: str | None = None
    """The configuration of `dataset`, such as `de-en`."""
    split: str = "train"
    """The split of `dataset`."""
    revision: str | None = None
    """The commit of `dataset` to use; pin it for results that others can reproduce."""
    weight: Annotated[float, (0.001, 1000.0)] = 1.0
    """How often an epoch sees each pair: 2 is twice, 0.5 is a random half, drawn anew each epoch."""
    tag: str | None = None
    """A tag to put before the source of each pair: the language to translate into, such as `>>fra<<`, or where the
    pairs are from, such as `<bt>`. It becomes one piece of the vocabulary. Text that is translated gets
    `tokenizer.source_prefix`, or no tag."""
    augment: AugmentConfig | None = None
    """Changes to the pairs of a training corpus as they are read: capitals, typos, sentences joined."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The training, validation and test text, and the filters for training pairs."""

    source: str
    """Language code of the text to translate from."""
    target: str
    """Language code of the text to translate into."""
    train: tuple[CorpusConfig, ...]
    """The training corpora, mixed by their weights."""
    valid: CorpusConfig | None = None
    """Held-out text for validation during training."""
    test: CorpusConfig | None = None
    """Held-out text for `evaluate`."""
    max_length: Annotated[int, (2, 16_384)] = 256
    """Longest sentence, in tokens. Longer training and validation pairs are left out. Input longer than that, or than
    999 in 1,000 training sentences, is translated sentence by sentence; given to `translate`, this setting alone
    decides."""
    max_ratio: Annotated[float, (1.0, 10**6)] | None = None
    """Largest ratio of the two sides' lengths, in tokens. Training pairs above it are dropped."""
    duplicates: Literal["keep", "drop"] = "keep"
    """Whether to keep or drop duplicate training pairs. Their number is logged."""
    overlap: Literal["keep", "drop"] = "keep"
    """Whether to keep or drop training pairs with a side that occurs in `valid` or `test`. Their number is logged."""
    undecodable: Literal["error", "drop"] = "error"
    """For a training line that is not UTF-8: `error` stops, `drop` drops its pair."""
    prepared_dir: File | None = None
    """Directory that caches tokenized corpora for later runs; by default `prepared`, next to the run directory."""


def contradiction(built: Any, dotted: str) -> str | None:
    """Return how the values of a section contradict each other, or None."""
    match built:
        case CorpusConfig():
            return _corpus_contradiction(built, dotted)
        case DataConfig(source=source, target=target) if source == target:
            return f"data.source and data.target are both {source!r}"
        case DataConfig(valid=valid, test=test):
            for name, each in (("valid", valid), ("test", test)):
                if each is not None and each.augment is not None:
                    return f"data.{name}.augment would change what is measured; augmentation is for training corpora"
    return None


def _corpus_contradiction(corpus: CorpusConfig, dotted: str) -> str | None:
    given = [kind for kind in CORPUS_KINDS if getattr(corpus, kind) is not None]
    if len(given) != 1:
        return f"{dotted} must name exactly one of {', '.join(CORPUS_KINDS)}, not {' and '.join(given) or 'none'}"
    if corpus.files is not None and len(corpus.files) != 2:
        return f"{dotted}.files needs two files, source and target, not {len(corpus.files)}"
    if corpus.tag is not None and (not corpus.tag or " " in corpus.tag or len(corpus.tag) > LONGEST_TAG):
        return f"{dotted}.tag must be a text without blanks of at most {LONGEST_TAG} characters"
    return None
