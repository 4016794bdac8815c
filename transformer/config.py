"""All settings but those of the text: types, defaults (the paper's values if it gives them), meanings, cross-checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from transformer import data_config
from transformer.data_config import Count, DataConfig, File, Fraction, idle_update

Normalization = Literal["nfc", "identity", "nfkc", "nmt_nfkc", "nfkc_cf", "nmt_nfkc_cf"]


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """The SentencePiece model, which is trained on the corpora at the start of a run."""

    kind: Literal["bpe", "unigram"] = "bpe"
    """The segmentation algorithm."""
    vocab_size: Annotated[int, (16, 1_000_000)] = 37_000
    """Number of pieces, including the special ones. A small corpus may yield fewer."""
    joint: bool = True
    """One vocabulary for both languages; otherwise one for each, of `vocab_size` pieces."""
    byte_fallback: bool = True
    """Whether to encode characters outside the vocabulary as bytes instead of as the unknown token."""
    character_coverage: Annotated[float, (0.98, 1.0)] = 1.0
    """Share of the characters in the sample that the vocabulary must cover. SentencePiece takes no less than 0.98."""
    normalization: Normalization = "nfc"
    """How characters are unified before the model sees them. Only `nfc` (Unicode's composed form) and `identity` (as
    they are) let the model write every character that it was trained on. The others are SentencePiece's: `nfkc` and
    `nmt_nfkc`, the rule up to version 0.2.0, write `½` as `1⁄2`, `，` as `,` and `ﬁ` as `fi`; with `_cf`, in small
    letters too."""
    sample: Annotated[int, (1, 10**9)] = 1_000_000
    """Number of sentence pairs, drawn at random from the corpora, to learn the vocabulary from."""
    extend: Annotated[int, (0, 1_000_000)] = 0
    """Pieces to add to the vocabulary of `train.init_from` for each of its SentencePiece models: first the reserved
    ones that it lacks (tags of corpora, `user_symbols`, `placeholders`, marks of terms), then pieces learned from the
    training text. Each starts from the mean of the pieces that stood for it."""
    source_prefix: str | None = None
    """A tag to put before each source text, such as `>>fra<<`: it tells a multilingual model which language to
    translate into. The vocabulary must have it: as an imported model does, or as the `tag` of a training corpus. A text
    that begins with a tag keeps its own. `""` puts nothing there."""
    user_symbols: tuple[str, ...] | None = None
    """Texts without blanks that are always one piece, on both sides, such as `<b>`."""
    split_digits: bool = False
    """Whether each digit is a piece of its own, so that numbers are read and written digit by digit."""
    placeholders: Annotated[int, (0, 100)] = 0
    """Pieces reserved for placeholders: `{name}`, `%s`, `__PH0__`, tags such as `<b>`, addresses. This many of a line
    come out as they went in. `augment.placeholders` of a corpus has the model learn to copy them."""
    vocab_multiple: Annotated[int, (1, 4096)] = 1
    """The size of the vocabulary is a multiple of this: `vocab_size` is rounded up, and pieces that are never used are
    added if a small corpus yields fewer. Marian's 8-bit models need 8; GPUs are fastest with 64."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The encoder-decoder network; the defaults are the paper's base model."""

    width: Annotated[int, (2, 16_384)] = 512
    """Size of the embeddings and of each layer's output; d_model in the paper."""
    heads: Annotated[int, (1, 256)] = 8
    """Number of attention heads; `width` must be a multiple of it."""
    feed_forward: Annotated[int, (1, 65_536)] = 2048
    """Inner size of the feed-forward layers; d_ff in the paper."""
    encoder_layers: Annotated[int, (1, 256)] = 6
    """Number of encoder layers."""
    decoder_layers: Annotated[int, (1, 256)] = 6
    """Number of decoder layers."""
    norm: Literal["post", "pre"] = "post"
    """Position of LayerNorm: after each residual sum as in the paper (`post`), or before each sub-layer (`pre`)."""
    activation: Literal["relu", "gelu", "swish"] = "relu"
    """Activation function between the two feed-forward projections."""
    tied: Literal["all", "target", "none"] = "all"
    """Which of source embedding, target embedding and output projection share one matrix."""
    output_bias: bool = False
    """Whether the output projection adds a bias per vocabulary piece."""
    positions: Literal["paper", "marian"] = "paper"
    """Position table: the paper's, as in most programs, or Marian's, whose wavelengths differ by an exponent."""
    norm_epsilon: Annotated[float, (1e-12, 0.1)] = 1e-5
    """Added to the variance in LayerNorm: 1e-5 in PyTorch and most programs, 1e-6 in Marian."""
    decoder_start: Literal["bos", "pad", "zero"] = "bos"
    """First input of the decoder: the embedding of bos or of pad, or a vector of zeros as in Marian."""
    dropout: Fraction = 0.1
    """Dropout rate of each sub-layer's output and of the sums of embeddings and position encodings."""
    attention_dropout: Fraction = 0.0
    """Dropout rate of the attention weights."""
    activation_dropout: Fraction = 0.0
    """Dropout rate of the activations between the two feed-forward projections."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Training: batches, optimizer, validation and checkpoints."""

    max_steps: Count = 100_000
    """Number of updates after which training ends."""
    batch_tokens: Annotated[int, (1, 10**8)] = 25_000
    """Target tokens per update, not counting padding."""
    micro_batch_tokens: Annotated[int, (1, 10**8)] | Literal["auto"] = "auto"
    """Most tokens per side of a micro-batch, counting padding. Changes speed, memory and the draws of dropout."""
    time_limit: Annotated[float, (0.0, 10**9)] | None = None
    """Wall-clock limit in seconds, for all from the start of the command. Training saves and stops with exit code 0
    before it: by as much as the slowest save and validation so far took. A validation that takes longer is ended. But
    text is prepared to its end."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the network's arithmetic. Weights and optimizer state stay float32. `auto` is bfloat16 if the
    hardware multiplies matrices in it, else float32."""
    fast: Literal["auto", "off"] = "auto"
    """On a GPU: compute batches of constant shape, compiled and captured, where that proves right. Changes speed,
    rounding and the draws of dropout; at the start of a run also which pairs form an update."""
    gradient_precision: Literal["float32", "bfloat16"] = "float32"
    """Precision in which several processes sum their gradients. bfloat16 halves the traffic between them."""
    shard_optimizer: bool = False
    """Let each of several processes keep and apply the optimizer's state of a part of the weights. Saves memory."""
    seed: Annotated[int, (0, 2**32 - 1)] = 1
    """Seed of the initial weights, the order of batches, dropout and subword sampling."""
    schedule: Literal["noam", "linear", "cosine", "constant"] = "noam"
    """Learning-rate schedule after warm-up: `noam` decays with the inverse square root of the step, `linear` and
    `cosine` decay to zero, `constant` stays at the peak."""
    peak_rate: Annotated[float, (0.0, 100.0)] | None = None
    """Peak learning rate, at the end of warm-up; by default the paper's (width * warmup_steps) ** -0.5."""
    warmup_steps: Annotated[int, (0, 10**9)] = 4000
    """Number of updates in which the learning rate rises linearly from zero."""
    adam_betas: tuple[Fraction, Fraction] = (0.9, 0.98)
    """Decay rates of Adam's running means of the gradient and of its square."""
    adam_epsilon: Annotated[float, (1e-20, 1.0)] = 1e-9
    """Added to the denominator of Adam's update."""
    weight_decay: Annotated[float, (0.0, 10.0)] = 0.0
    """Decoupled weight decay, for matrices only, scaled by the learning rate."""
    label_smoothing: Fraction = 0.1
    """Share of each target's probability that is spread evenly over the vocabulary."""
    clip_norm: Annotated[float, (1e-9, 10**9)] | None = None
    """Largest norm of an update's gradient; a larger gradient is scaled down to it. `null` disables clipping."""
    ema: Annotated[float, (0.0, 0.999999)] | None = None
    """Decay of an exponential moving average (EMA) of the weights. If set, the average is validated and saved."""
    guided_alignment: Annotated[float, (0.0, 100.0)] = 0.0
    """Weight of a second loss, by which the first head of the last decoder layer learns to attend to the words that the
    `alignments` of a corpus name (Garg et al. 2019). 0 disables it."""
    subword_sampling: Annotated[float, (0.0, 1.0)] = 0.0
    """Train on random segmentations: the rate of BPE-dropout, or the smoothing of unigram sampling. 0 disables it."""
    init_from: File | None = None
    """Run directory to take the tokenizer and the initial weights from, and the `model` settings unless some are given.
    A model of another program becomes one by `transformer import`."""
    freeze: tuple[str, ...] | None = None
    """Parts of the model that training leaves as they are, by the names of weights: `encoder`, `target_embedding`,
    `encoder.0`, or a pattern such as `decoder.*.cross`."""
    log_every: Count = 100
    """Number of updates between two log lines."""
    validate_every: Count = 1000
    """Number of updates between two validations."""
    save_every: Count = 1000
    """Number of updates between two checkpoints. One is also saved at each validation and at the end."""
    keep_last: Annotated[int, (1, 10_000)] = 5
    """Number of newest checkpoints to keep, not counting those requested by a signal."""
    keep_best: Annotated[int, (0, 10_000)] = 1
    """Best checkpoints to keep in addition. The best one is always kept."""
    select_by: str = "loss"
    """The validation score that selects the best checkpoint and drives early stopping: `loss`, `bleu` or `chrf`."""
    patience: Count | None = None
    """Number of validations without a new best score after which training stops (early stopping)."""
    validate_text: bool = True
    """Whether validation also translates its text, greedily, and scores the translations with BLEU and chrF."""
    samples: Annotated[int, (0, 100)] = 3
    """Number of translations logged at each validation."""
    average_last: Annotated[int, (1, 10_000)] | None = None
    """At the end, average this many newest checkpoints. The average becomes `best` unless it validates worse."""
    tensorboard: bool = False
    """Whether to also write the metrics for TensorBoard, into `tensorboard` in the run directory."""


EIGHT_BITS = ("auto", "int8")
"""Precisions in which decoding may use 8 bits."""


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """Beam search, sampling, minimum-Bayes-risk decoding and ensembles."""

    beam: Annotated[int, (1, 1024)] = 4
    """Hypotheses kept at each step; 1 is greedy."""
    length_penalty: Annotated[float, (0.0, 10.0)] = 0.6
    """alpha in ((5 + n) / 6) ** alpha, by which the log-probability of a translation of n tokens is divided."""
    max_extra: Annotated[int, (0, 16_384)] | Literal["auto"] = "auto"
    """Most tokens of a translation, eos counted, beyond those of its source without eos. `auto` is 50, or 10 more than
    the targets of 999 in 1,000 training pairs have, or what their ratio to long sources asks for, if that is more."""
    ensemble: tuple[File, ...] | None = None
    """Other runs with the same vocabulary, which translate together with this one by the mean of their probabilities.
    `RUN/checkpoints/NAME` names a checkpoint of a run, also of this one; otherwise the best is used."""
    sampling: bool = False
    """Draw translations at random instead of searching for the most probable one."""
    mbr_samples: Annotated[int, (0, 1024)] = 0
    """Minimum-Bayes-risk decoding: draw this many translations, and return the one that has the highest mean chrF with
    all of them. 0 disables it."""
    temperature: Annotated[float, (0.001, 1000.0)] = 1.0
    """Temperature of sampling; below 1 the distribution is sharper."""
    top_k: Annotated[int, (0, 1_000_000)] = 0
    """Sample from this many of the most probable tokens; 0 means all."""
    top_p: Annotated[float, (0.0, 1.0)] = 1.0
    """Sample from the fewest most probable tokens whose probabilities add up to this."""
    seed: Annotated[int, (0, 2**32 - 1)] = 1
    """Seed of sampling. The samples of a sentence depend only on the seed and the sentence."""
    batch_tokens: Annotated[int, (1, 10**8)] | Literal["auto"] = "auto"
    """Most source tokens, counting padding, times the beam size, to decode at once. Changes speed only. `auto` is
    10,240 on a CPU, and 65,536 on a GPU, or fewer if they would take more than a fifth of its memory."""
    fast: Literal["auto", "off"] = "auto"
    """`auto`: on CUDA, decode in buffers of constant shape, with steps that are captured once. The first steps are
    compared with the plain way; if they differ by more than rounding or fail, decoding goes on the plain way."""
    precision: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
    """Precision of the network's arithmetic. `auto` is int8 if possible (beam search on a CPU with AVX2 or NEON, on
    Linux or macOS, with a C compiler or the platform's wheel), else bfloat16 if the hardware multiplies matrices in it,
    else float32. For sampling it is float32, so that samples do not depend on the batch. Ensembles cannot use int8."""
    instruction_set: Literal["auto", "avx512", "avxvnni", "avx2", "dotprod", "neon", "portable"] = "auto"
    """Instructions that int8 uses. Changes speed only. `auto` is the fastest that the processor has: on x86-64 avx512
    (AVX-512 VNNI), avxvnni (AVX-VNNI) or avx2; on 64-bit Arm dotprod or neon. `portable` is plain C, which is slow."""

    @property
    def draws(self) -> bool:
        """Whether translations are drawn at random, to be returned or to choose among."""
        return self.sampling or self.mbr_samples > 0


@dataclass(frozen=True, kw_only=True)
class Config:
    """The configuration of a run."""

    data: DataConfig
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)


def contradiction(built: Any, dotted: str) -> str | None:
    """Return how the values of a section contradict each other, or None."""
    if type(built).__module__ == data_config.__name__:
        return data_config.contradiction(built, dotted)
    match built:
        case ModelConfig(width=width, heads=heads) if width % heads or width % 2:
            return f"model.width {width} must be even and a multiple of model.heads {heads}"
        case TokenizerConfig(user_symbols=symbols) if any(not each or " " in each for each in symbols or ()):
            return "tokenizer.user_symbols must be texts without blanks"
        case DecodeConfig(sampling=True, mbr_samples=samples) if samples:
            return "decode.sampling and decode.mbr_samples exclude each other; set one"
        case DecodeConfig(precision=precision, instruction_set=name) if name != "auto" and precision not in EIGHT_BITS:
            return f"decode.instruction_set is of int8, and decode.precision is {precision}"
        case Config():
            return _between_sections(built)
    return None


def _between_sections(cfg: Config) -> str | None:
    if not cfg.tokenizer.placeholders and any(each.augment and each.augment.placeholders for each in cfg.data.train):
        return "augment.placeholders needs the pieces of tokenizer.placeholders, which are 0"
    match cfg:
        case Config(tokenizer=tokenizer, model=model) if model.tied == "all" and not tokenizer.joint:
            return "model.tied: all needs one vocabulary for both sides; set tokenizer.joint or model.tied"
        case Config(data=data, train=train) if train.guided_alignment and not any(c.alignments for c in data.train):
            return "train.guided_alignment needs a corpus of data.train with alignments"
        case Config(tokenizer=tokenizer, train=train) if tokenizer.extend and train.init_from is None:
            return "tokenizer.extend needs train.init_from, whose vocabulary it extends"
        case Config(data=data, train=train) if data.train and (idle := idle_update(data.train, train.max_steps)):
            return f"no corpus of data.train is used in update {idle}; change its from or until, or train.max_steps"
        case Config(data=data, train=train) if data.valid is None and train.patience is not None:
            return "train.patience needs data.valid"
        case Config(train=train) if (train.average_last or 0) > train.keep_last:
            return f"train.average_last {train.average_last} is more than train.keep_last {train.keep_last}"
        case Config(train=train) if train.select_by != "loss" and not train.validate_text:
            return f"train.select_by: {train.select_by} needs train.validate_text: true"
    return None
