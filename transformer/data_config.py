"""The settings of corpora and of `data`, with the types of values that all settings share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from transformer.augment_config import AugmentConfig

Fraction = Annotated[float, (0.0, 0.999)]
Count = Annotated[int, (1, 10**12)]
File = Annotated[str, "path"]
"""A path. It may have any character that the file system allows."""

LONGEST_TAG = 31
"""Characters of a tag, which a tokenizer keeps in at most 127 bytes."""
Share = Annotated[float, (0.0, 1.0)]

SYNTHETIC_KINDS = ("back_translate", "distill", "forward")
"""The kinds of corpora that models make before the training."""
TEXT_KINDS = ("files", "tsv", "dataset", "parquet", "json", "testset", "opus", "zip", "tmx", "mtdata")
CORPUS_KINDS = (*TEXT_KINDS, *SYNTHETIC_KINDS)
KINDS_WITH = {"columns": "tsv", "version": "opus", "tmx_tags": "tmx"}
"""Settings of a text that are for one kind only."""
OF_DATASET = ("name", "split", "revision")
"""Settings of `dataset`. Elsewhere they are a warning: older runs may have them."""


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """A score for each pair, made by any program or by a model; higher is better. With `at_least` or `drop_worst`, or
    both."""

    file: File | None = None
    """A text file with the score of pair i on line i, plain or compressed, such as what `transformer score` prints."""
    column: str | None = None
    """The column of the corpus's `tsv`, or of `file`, that holds the score: a number from 1, or for `tsv` a name."""
    model: tuple[File, ...] | None = None
    """A run whose scores are used, those of `transformer score`, or `RUN/checkpoints/NAME`. If it translates from the
    target to the source language, it scores the pairs the other way round. Several with the same vocabulary score
    together, as with `decode.ensemble`. Scored once, before the training."""
    at_least: float | None = None
    """Pairs with a lower score are dropped."""
    drop_worst: Fraction | None = None
    """The share of the pairs of the corpus that is dropped: those with the lowest scores."""


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Which pairs of a training corpus are dropped, by their text. All filters are off unless they are set.

    They see each side without blanks at its ends. A pair counts for the first filter that drops it.
    """

    identical: Literal["keep", "drop"] = "keep"
    """Pairs whose two sides are the same text."""
    digits: Literal["keep", "drop"] = "keep"
    """Pairs whose two sides do not have the same digits, in whatever order and with whatever between them."""
    letters: Share | None = None
    """Least share of letters among the characters of each side that are not blanks."""
    script: Share | None = None
    """Least share of the letters of each side that are in a script of its language."""
    case: Literal["keep", "drop"] = "keep"
    """Pairs of which one side is in capitals, and the other is not."""
    end_mark: Literal["keep", "drop"] = "keep"
    """Pairs whose sides end differently: in a full stop, a question mark, an exclamation mark, a colon, or in none."""
    characters: tuple[Count, Count] | None = None
    """Least and greatest number of characters of each side."""
    near_duplicates: Literal["keep", "drop"] = "keep"
    """Pairs that an earlier pair of the corpus equals but for case, numbers, punctuation and blanks."""
    score: ScoreConfig | None = None
    """Drops pairs by scores that another program or a model has given them."""


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Parallel text that is there: exactly one of TEXT_KINDS, with the settings of its kind."""

    files: tuple[File, ...] | None = None
    """Two aligned text files, source then target; plain, or compressed by gzip, bzip2, xz, zstd or lz4."""
    tsv: File | None = None
    """A text file with `source<TAB>target` on each line; plain or compressed."""
    columns: tuple[str, ...] | None = None
    """The columns of `tsv` with source and target, if it has others: two names of its first line, or numbers from 1."""
    dataset: File | None = None
    """A Hugging Face dataset by name, or its local folder, with a `translation` column or one column per language."""
    parquet: tuple[File, ...] | None = None
    """Local Parquet files, with columns as for `dataset`. A name that no file has is a pattern: `part-*.parquet`."""
    json: tuple[File, ...] | None = None
    """Local files of JSON lines or arrays, plain or compressed, with columns as for `dataset`, or patterns."""
    testset: str | None = None
    """A test set that sacreBLEU knows, such as `wmt14/full`."""
    opus: str | None = None
    """A corpus of OPUS by its name, such as `Europarl`. It is downloaded once, to the user's cache."""
    version: str | None = None
    """The version of `opus`, such as `v8`; by default the latest. Pin it for results that others can reproduce."""
    zip: File | None = None
    """A zip archive with two aligned text files whose names end in the codes of the languages, as OPUS has them."""
    tmx: File | None = None
    """A translation memory in TMX, plain or compressed. `en` takes `en-GB` too."""
    tmx_tags: Literal["drop", "keep"] | None = None
    """Whether codes inside the sentences of `tmx`, such as those of bold text, are dropped (the default) or kept."""
    mtdata: str | None = None
    """A corpus by its identifier in mtdata, such as `Statmt-europarl-10-deu-eng`. Needs the extra `[mtdata]`."""
    name: str | None = None
    """The configuration of `dataset`, such as `de-en`."""
    split: str = "train"
    """The split of `dataset`."""
    revision: str | None = None
    """The commit of `dataset` to use; pin it for results that others can reproduce."""


@dataclass(frozen=True, kw_only=True)
class BackTranslateConfig:
    """Text in the target language, translated into the source language by a model of the other direction."""

    text: tuple[File, ...]
    """Text in the target language, a sentence a line: one file or several, plain or compressed, or patterns."""
    model: tuple[File, ...]
    """A run that translates from the target to the source language, or `RUN/checkpoints/NAME`. Several with the same
    vocabulary translate together, as with `decode.ensemble`."""
    beam: Annotated[int, (1, 1024)] = 4
    """Beam size; 1 is greedy."""
    sampling: bool = False
    """Draw translations at random instead of searching for the most probable ones."""
    temperature: Annotated[float, (0.001, 1000.0)] = 1.0
    """Temperature of sampling; below 1 the distribution is sharper."""
    top_k: Annotated[int, (0, 1_000_000)] = 0
    """Sample from this many of the most probable tokens; 0 means all."""


@dataclass(frozen=True, kw_only=True)
class DistillConfig(TextConfig):
    """Parallel text whose target side is replaced by the translations of a model, the teacher.

    The text is named as that of a corpus: by one of `files`, `tsv`, `dataset`, `parquet`, `json`, `testset`, `opus`,
    `zip`, `tmx` and `mtdata`, with the keys of its kind, such as `columns` and `version`.
    """

    model: tuple[File, ...]
    """The run of the teacher, or `RUN/checkpoints/NAME`. Several with the same vocabulary are an ensemble."""
    beam: Annotated[int, (1, 1024)] = 8
    """Beam size; 1 is greedy."""
    pick: Literal["best", "chrf"] = "best"
    """Which hypothesis of the beam to keep: the best one, or the one with the highest chrF against the target side."""


@dataclass(frozen=True, kw_only=True)
class ForwardConfig:
    """Text in the source language, translated by a model, the teacher."""

    text: tuple[File, ...]
    """Text in the source language, a sentence a line: one file or several, plain or compressed, or patterns."""
    model: tuple[File, ...]
    """The run of the teacher, or `RUN/checkpoints/NAME`. Several with the same vocabulary are an ensemble."""
    beam: Annotated[int, (1, 1024)] = 4
    """Beam size; 1 is greedy."""


Synthetic = BackTranslateConfig | DistillConfig | ForwardConfig


@dataclass(frozen=True, kw_only=True)
class CorpusConfig(TextConfig):
    """One parallel corpus: exactly one of `files`, `tsv`, `dataset`, `parquet`, `json`, `testset`, `opus`, `zip`,
    `tmx`, `mtdata`, `back_translate`, `distill` and `forward`."""

    back_translate: BackTranslateConfig | None = None
    """Text in the target language with translations by a model; for training only. Translated once, before the
    training."""
    distill: DistillConfig | None = None
    """Parallel text whose target side a model translates anew; likewise."""
    forward: ForwardConfig | None = None
    """Text in the source language with translations by a model; likewise."""
    weight: Annotated[float, (0.001, 1000.0)] = 1.0
    """How often an epoch sees each pair: 2 is twice, 0.5 is a random half, drawn anew each epoch."""
    from_: Annotated[int, (0, 10**12)] = 0
    """Number of updates after which the training begins to use this corpus. An epoch ends there."""
    until: Count | None = None
    """Number of updates after which the training uses this corpus no more. An epoch ends there."""
    alignments: File | None = None
    """Word alignments of the pairs, for `train.guided_alignment`: a line for each pair with the numbers of aligned
    words, source and target, as fast_align and eflomal write them: `0-0 1-2`. Words are what is between blanks."""
    tag: str | None = None
    """A tag to put before the source of each pair: the language to translate into, such as `>>fra<<`, or where the
    pairs are from, such as `<bt>`. It becomes one piece of the vocabulary. Text that is translated gets
    `tokenizer.source_prefix`, or no tag."""
    filters: FilterConfig | None = None
    """Which pairs of a training corpus are dropped, by their text."""
    augment: AugmentConfig | None = None
    """Changes to the pairs of a training corpus as they are read: capitals, typos, sentences joined."""

    @property
    def synthetic(self) -> Synthetic | None:
        """How a model makes this corpus, or None for text that is there."""
        return self.back_translate or self.distill or self.forward


@dataclass(frozen=True, kw_only=True)
class MadeCorpus(CorpusConfig):
    """A corpus that a model has made: `files`, with a title that says so. No configuration has it."""

    title: str


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


Span = tuple[int, int | None]
"""The number of updates after which a corpus is used, and that after which it is used no more."""


def active(spans: Sequence[Span], step: int) -> list[int]:
    """Return which corpora are used in the update after `step` others, by their places."""
    return [i for i, (start, end) in enumerate(spans) if start <= step and (end is None or step < end)]


def changes(spans: Sequence[Span]) -> list[int]:
    """Return the numbers of updates after which a corpus begins or ends, but for the start of the training."""
    return sorted({each for span in spans for each in span if each})


def idle_update(corpora: Sequence[CorpusConfig], steps: int) -> int | None:
    """Return the number of the first of so many updates that has no corpus, or None if all have one."""
    spans = [(each.from_, each.until) for each in corpora]
    return next((step + 1 for step in [0, *changes(spans)] if step < steps and not active(spans, step)), None)


def contradiction(built: Any, dotted: str) -> str | None:
    """Return how the values of a section contradict each other, or None."""
    match built:
        case CorpusConfig(from_=start, until=end) if end is not None and end <= start:
            return f"{dotted} is used from {start} until {end} updates are done, so it is never used"
        case CorpusConfig():
            return _corpus_contradiction(built, dotted)
        case FilterConfig(characters=(least, most)) if least > most:
            return f"{dotted}.characters allows at least {least} and at most {most} characters, so nothing is left"
        case ScoreConfig():
            return _score_contradiction(built, dotted)
        case DataConfig(source=source, target=target) if source == target:
            return f"data.source and data.target are both {source!r}"
        case DataConfig(valid=valid, test=test):
            for name, corpus in (("valid", valid), ("test", test)):
                if corpus is not None and (complaint := _held_out_contradiction(corpus, f"data.{name}")):
                    return complaint
        case BackTranslateConfig() | DistillConfig():
            return _synthetic_contradiction(built, dotted)
    return None


def _synthetic_contradiction(asked: BackTranslateConfig | DistillConfig, dotted: str) -> str | None:
    """Return which settings would be ignored, or how the text is not named."""
    if isinstance(asked, DistillConfig):
        return _text_contradiction(asked, TEXT_KINDS, dotted)
    if asked.sampling and asked.beam != BackTranslateConfig.beam:
        return f"{dotted}.beam is for the search, and {dotted}.sampling draws translations; set one"
    if not asked.sampling and (asked.temperature, asked.top_k) != (1.0, 0):
        return f"{dotted}: temperature and top_k need sampling: true"
    return None


def _held_out_contradiction(corpus: CorpusConfig, dotted: str) -> str | None:
    """Return what a corpus for validation or testing cannot have."""
    if (corpus.from_, corpus.until) != (0, None):
        return f"{dotted} is used in every validation and test; from and until are for training corpora"
    if corpus.filters is not None:
        return f"{dotted}.filters would change what is measured; filters are for training corpora"
    if corpus.augment is not None:
        return f"{dotted}.augment would change what is measured; augmentation is for training corpora"
    if corpus.alignments is not None:
        return f"{dotted}.alignments would not be read; alignments are for training corpora"
    if corpus.synthetic is not None:
        return f"{dotted} must be text that is there; only data.train can be made by a model"
    return None


def _corpus_contradiction(corpus: CorpusConfig, dotted: str) -> str | None:
    if complaint := _text_contradiction(corpus, CORPUS_KINDS, dotted):
        return complaint
    if corpus.tag is not None and (not corpus.tag or " " in corpus.tag or len(corpus.tag) > LONGEST_TAG):
        return f"{dotted}.tag must be a text without blanks of at most {LONGEST_TAG} characters"
    if corpus.alignments is not None and corpus.synthetic is not None:
        kind = next(kind for kind in SYNTHETIC_KINDS if getattr(corpus, kind) is not None)
        return f"{dotted}.alignments is for text that is there, not for {kind}"
    return _score_column_contradiction(corpus, dotted)


def _text_contradiction(text: TextConfig, kinds: Sequence[str], dotted: str) -> str | None:
    """Return what is wrong about how a text is named, or which settings would be ignored."""
    given = [kind for kind in kinds if getattr(text, kind) is not None]
    if len(given) != 1:
        return f"{dotted} must name exactly one of {', '.join(kinds)}, not {' and '.join(given) or 'none'}"
    if text.files is not None and len(text.files) != 2:
        return f"{dotted}.files needs two files, source and target, not {len(text.files)}"
    for key, kind in KINDS_WITH.items():
        if getattr(text, key) != getattr(TextConfig, key) and given[0] != kind:
            return f"{dotted}.{key} is for {kind}, not for {given[0]}"
    return None if text.columns is None else _columns_contradiction(text.columns, dotted)


def _score_column_contradiction(corpus: CorpusConfig, dotted: str) -> str | None:
    score = corpus.filters.score if corpus.filters is not None else None
    if score is None or score.file is not None or score.column is None:
        return None
    if corpus.tsv is None:
        return f"{dotted}.filters.score.column is a column of {dotted}.tsv, which is not set; give the scores with file"
    if not score.column.isdecimal() and (corpus.columns is None or corpus.columns[0].isdecimal()):
        return f"{dotted}.filters.score.column is a name, so {dotted}.columns must name the columns of the text too"
    return None


def _columns_contradiction(columns: tuple[str, ...], dotted: str) -> str | None:
    if (
        len(columns) != 2
        or len({each.isdecimal() for each in columns}) != 1
        or len({int(each) if each.isdecimal() else each for each in columns}) != 2
        or any(each.isdecimal() and int(each) == 0 for each in columns)
    ):
        return f"{dotted}.columns needs two names, or two numbers from 1, not {', '.join(columns)}"
    return None


def _score_contradiction(score: ScoreConfig, dotted: str) -> str | None:
    if score.file is None and score.column is None and score.model is None:
        return f"{dotted} needs a file of scores, a column of tsv, or a model"
    if score.model is not None and (score.file is not None or score.column is not None):
        return f"{dotted} has a model and other scores; the scores are from one of them"
    if score.at_least is None and score.drop_worst is None:
        return f"{dotted} needs at_least or drop_worst"
    if score.file is not None and score.column is not None and not score.column.isdecimal():
        return f"{dotted}.column must be a number from 1, as the file has no names of columns"
    return None
