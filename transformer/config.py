"""Every setting: its type, its default (the paper's value where it has one), its meaning, and what contradicts it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

Fraction = Annotated[float, (0.0, 0.999)]
Count = Annotated[int, (1, 10**12)]


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """One parallel corpus: exactly one of `files`, `tsv`, `dataset`, `parquet`, `json` and `testset`."""

    files: tuple[str, ...] | None = None
    """Two aligned text files, source then target; plain, .gz, .bz2 or .xz."""
    tsv: str | None = None
    """A text file with `source<TAB>target` on each line; plain or compressed."""
    dataset: str | None = None
    """A Hugging Face dataset by name, with a `translation` column or one column per language."""
    parquet: tuple[str, ...] | None = None
    """Local Parquet files, with columns as for `dataset`."""
    json: tuple[str, ...] | None = None
    """Local JSON-lines files, with columns as for `dataset`."""
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


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The text to learn from, and what of it to leave out."""

    source: str
    """Language code of the text to translate from."""
    target: str
    """Language code of the text to translate into."""
    train: tuple[CorpusConfig, ...]
    """The corpora to train on, mixed by their weights."""
    valid: CorpusConfig | None = None
    """Held-out text for validation while training."""
    test: CorpusConfig | None = None
    """Held-out text for `evaluate`."""
    max_length: Annotated[int, (2, 16_384)] = 256
    """Tokens. Training pairs with a longer side are dropped; longer input is translated in pieces."""
    max_ratio: Annotated[float, (1.0, 10**6)] | None = None
    """Training pairs whose longer side has more than this many times the tokens of the other are dropped."""
    duplicates: Literal["keep", "drop"] = "keep"
    """What to do with duplicate training pairs. Their number is reported."""
    overlap: Literal["keep", "drop"] = "keep"
    """What to do with training pairs of which a side also occurs in `valid` or `test`. Their number is reported."""
    undecodable: Literal["error", "drop"] = "error"
    """What to do with training lines that are not UTF-8."""
    prepared_dir: str | None = None
    """Where tokenised corpora are cached for later runs; by default `prepared` beside the run directory."""


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """The SentencePiece model trained on the corpora at the start of a run."""

    kind: Literal["bpe", "unigram"] = "bpe"
    """The segmentation algorithm."""
    vocab_size: Annotated[int, (16, 1_000_000)] = 37_000
    """Pieces, the special ones included; fewer where the text does not yield that many."""
    joint: bool = True
    """One vocabulary for both languages; otherwise one for each, of `vocab_size` pieces."""
    byte_fallback: bool = True
    """Spell characters never seen in training as bytes, instead of losing them."""
    character_coverage: Annotated[float, (0.5, 1.0)] = 1.0
    """Share of the characters in the sample that get a piece of their own."""
    sample: Annotated[int, (1, 10**9)] = 1_000_000
    """Sentence pairs, drawn at random from the corpora, that the vocabulary is learned from."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The encoder-decoder network; the defaults are the paper's base model."""

    width: Annotated[int, (2, 16_384)] = 512
    """Size of embeddings and of each layer's output; d_model in the paper."""
    heads: Annotated[int, (1, 256)] = 8
    """Attention heads; `width` must be a multiple."""
    feed_forward: Annotated[int, (1, 65_536)] = 2048
    """Inner size of the feed-forward layers; d_ff in the paper."""
    encoder_layers: Annotated[int, (1, 256)] = 6
    """Layers of the encoder."""
    decoder_layers: Annotated[int, (1, 256)] = 6
    """Layers of the decoder."""
    norm: Literal["post", "pre"] = "post"
    """Where LayerNorm sits: after each residual sum as in the paper, or before each sub-layer."""
    activation: Literal["relu", "gelu", "swish"] = "relu"
    """Between the two feed-forward projections."""
    tied: Literal["all", "target", "none"] = "all"
    """Which of source embedding, target embedding and output projection share one matrix."""
    output_bias: bool = False
    """Whether the output projection adds a bias per vocabulary piece."""
    decoder_start: Literal["bos", "pad"] = "bos"
    """The token that the decoder reads first."""
    dropout: Fraction = 0.1
    """Share of each sub-layer's output, and of the sums of embedding and position, that is zeroed."""
    attention_dropout: Fraction = 0.0
    """Share of the attention weights that is zeroed."""
    activation_dropout: Fraction = 0.0
    """Share of the values between the two feed-forward projections that is zeroed."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, how hard and how safely to train."""

    max_steps: Count = 100_000
    """Updates of the weights."""
    batch_tokens: Annotated[int, (1, 10**8)] = 25_000
    """Target tokens an update, padding not counted."""
    micro_batch_tokens: Annotated[int, (1, 10**8)] | Literal["auto"] = "auto"
    """Tokens of a side, padding counted, in the network at once. Changes speed, memory and dropout's draws."""
    time_limit: Annotated[float, (0.0, 10**9)] | None = None
    """Seconds of wall clock, then save and stop with exit code 0."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the network's arithmetic. Weights and optimizer stay float32. `auto` is bfloat16 where it is fast."""
    seed: Annotated[int, (0, 2**32 - 1)] = 1
    """Of the initial weights, the order of batches, dropout and subword sampling."""
    schedule: Literal["noam", "linear", "cosine", "constant"] = "noam"
    """Learning rate after warm-up: falls with the inverse square root of the step, falls to zero, or stays."""
    peak_rate: Annotated[float, (0.0, 100.0)] | None = None
    """Learning rate at the end of warm-up; by default the paper's (width * warmup_steps) ** -0.5."""
    warmup_steps: Annotated[int, (0, 10**9)] = 4000
    """Updates during which the rate rises linearly from zero."""
    adam_betas: tuple[Fraction, Fraction] = (0.9, 0.98)
    """Decay of Adam's running means of the gradient and of its square."""
    adam_epsilon: Annotated[float, (1e-20, 1.0)] = 1e-9
    """Added to the root of the mean square."""
    weight_decay: Annotated[float, (0.0, 10.0)] = 0.0
    """Decoupled weight decay of the matrices, times the rate, each update."""
    label_smoothing: Fraction = 0.1
    """Share of each target's probability that is spread evenly over the vocabulary."""
    clip_norm: Annotated[float, (1e-9, 10**9)] | None = None
    """Largest norm of an update's gradient; a larger gradient is scaled down to it. `null` is off."""
    ema: Annotated[float, (0.0, 0.999999)] | None = None
    """Decay of an exponential moving average of the weights; the average is then validated and saved."""
    subword_sampling: Annotated[float, (0.0, 1.0)] = 0.0
    """Train on random segmentations: BPE-dropout, or the smoothing of unigram sampling. 0 is off."""
    init_from: str | None = None
    """A run directory to take tokenizer and initial weights from."""
    log_every: Count = 100
    """Updates between two log lines."""
    validate_every: Count = 1000
    """Updates between two validations."""
    save_every: Count = 1000
    """Updates between two checkpoints. One is also saved at each validation and at the end."""
    keep_last: Annotated[int, (1, 10_000)] = 5
    """Newest checkpoints to keep, not counting those that a signal asked for."""
    keep_best: Annotated[int, (0, 10_000)] = 1
    """Best checkpoints to keep in addition."""
    select_by: str = "loss"
    """The validation score that selects the best checkpoint and drives early stopping: `loss`, `bleu` or `chrf`."""
    patience: Count | None = None
    """Validations without a new best after which training stops (early stopping)."""
    validate_text: bool = True
    """Whether to translate the validation text too, greedily, and score it by BLEU and chrF."""
    samples: Annotated[int, (0, 100)] = 3
    """Translations shown in the log at each validation."""
    average_last: Annotated[int, (1, 10_000)] | None = None
    """At the end, average this many newest checkpoints. The average becomes `best` unless it validates worse."""
    tensorboard: bool = False
    """Whether to write the metrics for TensorBoard too, into `tensorboard` in the run directory."""


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """How to search for a translation."""

    beam: Annotated[int, (1, 1024)] = 4
    """Hypotheses kept at each step; 1 is greedy."""
    length_penalty: Annotated[float, (0.0, 10.0)] = 0.6
    """alpha of ((5 + n) / 6) ** alpha, by which a translation of n tokens has its log-probability divided."""
    max_extra: Annotated[int, (0, 16_384)] = 50
    """Most tokens of a translation beyond those of its source."""
    sampling: bool = False
    """Draw translations at random instead of searching for the most probable one."""
    temperature: Annotated[float, (0.001, 1000.0)] = 1.0
    """Of the distribution to sample from; below 1 it is sharper."""
    top_k: Annotated[int, (0, 1_000_000)] = 0
    """Sample from this many most probable tokens only; 0 is from all."""
    top_p: Annotated[float, (0.0, 1.0)] = 1.0
    """Sample from the most probable tokens that together reach this probability."""
    seed: Annotated[int, (0, 2**32 - 1)] = 1
    """Of sampling. A sentence's samples depend only on this and on the sentence."""
    batch_tokens: Annotated[int, (1, 10**8)] = 10_240
    """Source tokens, padding counted, times beam, that are decoded at once. Changes speed only."""
    precision: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
    """Of the network's arithmetic; `auto` is int8 where it can be (beam search on CPUs with AVX-512 VNNI, Linux and a C
    compiler), else bfloat16 where the hardware multiplies matrices in it."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The configuration of a run."""

    data: DataConfig
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)


CORPUS_KINDS = ("files", "tsv", "dataset", "parquet", "json", "testset")


def contradiction(built: Any, dotted: str) -> str | None:
    """Return what is impossible about a section whose every value is possible by itself."""
    match built:
        case CorpusConfig():
            return _corpus_contradiction(built, dotted)
        case ModelConfig(width=width, heads=heads) if width % heads or width % 2:
            return f"model.width {width} must be even and a multiple of model.heads {heads}"
        case Config(tokenizer=tokenizer, model=model) if model.tied == "all" and not tokenizer.joint:
            return "model.tied: all needs one vocabulary for both sides; set tokenizer.joint or model.tied"
        case Config(data=data, train=train) if data.valid is None and train.patience is not None:
            return "train.patience needs data.valid"
        case Config(train=train) if (train.average_last or 0) > train.keep_last:
            return (
                f"train.average_last {train.average_last} needs train.keep_last of at least that, not {train.keep_last}"
            )
        case Config(train=train) if train.select_by != "loss" and not train.validate_text:
            return f"train.select_by: {train.select_by} needs train.validate_text: true"
        case DecodeConfig(sampling=True, precision="int8"):
            return "decode.sampling needs another decode.precision than int8, such as auto"
        case DataConfig(source=source, target=target) if source == target:
            return f"data.source and data.target are both {source!r}"
    return None


def _corpus_contradiction(corpus: CorpusConfig, dotted: str) -> str | None:
    given = [kind for kind in CORPUS_KINDS if getattr(corpus, kind) is not None]
    if len(given) != 1:
        return f"{dotted} must name exactly one of {', '.join(CORPUS_KINDS)}, not {' and '.join(given) or 'none'}"
    if corpus.files is not None and len(corpus.files) != 2:
        return f"{dotted}.files needs two files, source and target, not {len(corpus.files)}"
    return None
