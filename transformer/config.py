"""Every setting there is: read from YAML once, checked whole, and written back.

Scalars are read by the type of the field they are for, not by YAML's guesses: `1e-4` is a float wherever a
float is wanted, and the language code `no` stays text.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from transformer.errors import ConfigError

LARGEST_FILE, DEEPEST = 1 << 20, 20
"""Bytes, and levels of lists in lists; a configuration with more is not one."""

COMMAND_LINE = "command line"

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
    """Tokens; training pairs with a longer side are left out, longer input is translated in pieces."""
    max_ratio: Annotated[float, (1.0, 10**6)] | None = None
    """Training pairs whose longer side has more than this many times the tokens of the other are left out."""
    duplicates: Literal["keep", "drop"] = "keep"
    """What to do with training pairs that stand in the corpora again; their number is reported."""
    overlap: Literal["keep", "drop"] = "keep"
    """What to do with training pairs of which a side also stands in `valid` or `test`; reported."""
    undecodable: Literal["error", "drop"] = "error"
    """What to do with training lines that are not UTF-8."""
    prepared_dir: str | None = None
    """Where tokenised corpora are kept for later runs; by default `prepared` beside the run directory."""


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
    """Share zeroed of each sub-layer's output and of the sums of embedding and position."""
    attention_dropout: Fraction = 0.0
    """Share zeroed of the attention weights."""
    activation_dropout: Fraction = 0.0
    """Share zeroed between the two feed-forward projections."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, how hard and how safely to train."""

    max_steps: Count = 100_000
    """Updates of the weights."""
    batch_tokens: Annotated[int, (1, 10**8)] = 25_000
    """Target tokens an update, padding not counted."""
    micro_batch_tokens: Annotated[int, (1, 10**8)] | Literal["auto"] = "auto"
    """Tokens, padding counted, that go through the network at once; changes speed, memory and where dropout strikes."""
    time_limit: Annotated[float, (0.0, 10**9)] | None = None
    """Seconds of wall clock, then save and stop with exit code 0."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the network's arithmetic; weights and optimizer stay float32. `auto` is bfloat16 where it is fast."""
    seed: Annotated[int, (0, 2**32 - 1)] = 1
    """Of initial weights, order of batches, dropout and subword sampling."""
    rate: Literal["noam", "linear", "cosine", "constant"] = "noam"
    """Shape of the learning rate after warm-up: inverse square root, to zero at `max_steps`, or level."""
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
    """Largest norm of an update's gradient; a longer one is scaled down to it; null is off."""
    ema: Annotated[float, (0.0, 0.999999)] | None = None
    """Decay of an exponential moving average of the weights, which is then what is validated and kept."""
    subword_sampling: Annotated[float, (0.0, 1.0)] = 0.0
    """Train on random segmentations: dropout of BPE merges, or the smoothing of unigram sampling; 0 is off."""
    init_from: str | None = None
    """A run directory to take tokenizer and initial weights from."""
    log_every: Count = 100
    """Updates between two lines of the log."""
    validate_every: Count = 1000
    """Updates between two validations."""
    save_every: Count = 1000
    """Updates between two checkpoints; one is also saved at each validation and at the end."""
    keep_last: Annotated[int, (1, 10_000)] = 5
    """Newest checkpoints to keep, not counting those that a signal asked for."""
    keep_best: Annotated[int, (0, 10_000)] = 1
    """Best checkpoints to keep besides."""
    best: Literal["loss", "bleu", "chrf"] = "loss"
    """The validation score that makes a checkpoint the best one and that early stopping looks at."""
    patience: Count | None = None
    """Validations without a new best after which training stops."""
    validate_text: bool = True
    """Whether to translate the validation text too, greedily, and score it by BLEU and chrF."""
    samples: Annotated[int, (0, 100)] = 3
    """Translations shown in the log at each validation."""
    average_last: Annotated[int, (1, 10_000)] | None = None
    """At the end, average the weights of this many newest checkpoints; that is `best` unless it validates worse."""
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
    """Tokens that a translation may have more than its source."""
    sampling: bool = False
    """Draw translations at random instead of searching for the most probable one."""
    temperature: Annotated[float, (0.001, 1000.0)] = 1.0
    """Of the distribution to sample from; below 1 it is sharper."""
    top_k: Annotated[int, (0, 1_000_000)] = 0
    """Sample from this many most probable tokens only; 0 is from all."""
    top_p: Annotated[float, (0.0, 1.0)] = 1.0
    """Sample from the most probable tokens that together reach this probability."""
    seed: Annotated[int, (0, 2**32 - 1)] = 1
    """Of sampling; a sentence's samples depend on this and on the sentence alone."""
    batch_tokens: Annotated[int, (1, 10**8)] = 10_240
    """Source tokens, padding counted, times beam, that are decoded at once; changes speed only."""
    precision: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
    """Of the network's arithmetic; `auto` is int8 where it can be (beam search on CPUs with AVX-512 VNNI, Linux and a C
    compiler), else bfloat16 where the hardware multiplies matrices in it."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """One run, whole."""

    data: DataConfig
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)


KINDS = ("files", "tsv", "dataset", "parquet", "json", "testset")


def load(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file, put each `dotted.key=value` over it, and check the whole.

    Raises ConfigError that names the dotted key, the file and the line.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(LARGEST_FILE + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from None
    if len(text) > LARGEST_FILE:
        raise ConfigError(f"{path} is larger than a configuration can be ({LARGEST_FILE} bytes)")
    root = _parse(text, str(path))
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path} holds no configuration: expected sections such as `data:` and `model:`")
    for override in overrides:
        _put(root, override)
    config = _Reader().build(Config, root, "")
    assert isinstance(config, Config)
    return config


def override(config: Config, overrides: Iterable[str]) -> Config:
    """Return the configuration with each `dotted.key=value` put over it."""
    root = _parse(dump(config), "the configuration")
    assert isinstance(root, yaml.MappingNode)
    for text in overrides:
        _put(root, text)
    changed = _Reader().build(Config, root, "")
    assert isinstance(changed, Config)
    return changed


def dump(config: Config) -> str:
    """Return the configuration as YAML that `load` reads back to the same value."""
    return yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True, width=100)


def flat(config: Config) -> dict[str, Any]:
    """Return every setting under its dotted key."""
    return dict(_flatten(_plain(config), ""))


def _flatten(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _plain(value: Any) -> Any:
    """Turn dataclasses into dicts and tuples into lists; of a corpus, only what is set."""
    if isinstance(value, CorpusConfig):
        fields = dataclasses.fields(value)
        return {f.name: _plain(v) for f in fields if (v := getattr(value, f.name)) != f.default}
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


# ---- YAML as nodes, so that every value keeps its place -------------------------------------------------


def _parse(text: str, name: str) -> yaml.Node:
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            line = event.start_mark.line + 1 if event.start_mark else "?"
            if depth > DEEPEST:
                raise ConfigError(f"{name}, line {line}: nested too deeply")
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise ConfigError(f"{name}, line {line}: YAML anchors and aliases are not supported")
        loader = yaml.SafeLoader(text)
        loader.name = name
        node: yaml.Node | None = loader.get_single_node()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
        raise ConfigError(f"{name}{where}: not valid YAML: {problem}") from None
    return node if node is not None else yaml.ScalarNode("tag:yaml.org,2002:null", "")


def _put(root: yaml.MappingNode, override: str) -> None:
    """Place one `dotted.key=value` into the tree of nodes."""
    dotted, equals, text = override.partition("=")
    keys = dotted.split(".")
    if not equals or not all(keys):
        raise ConfigError(f"{override!r} is not an override; write section.key=value")
    node = root
    for depth, key in enumerate(keys):
        found = [i for i, (name, _) in enumerate(node.value) if name.value == key]
        if depth == len(keys) - 1:
            value = _parse(text, COMMAND_LINE)
            node.value = [pair for i, pair in enumerate(node.value) if i not in found]
            node.value.append((_key(key), value))
            return
        if not found:
            node.value.append((_key(key), yaml.MappingNode("tag:yaml.org,2002:map", [])))
            found = [-1]
        child = node.value[found[0]][1]
        if not isinstance(child, yaml.MappingNode):
            raise ConfigError(f"{override!r} reaches into {'.'.join(keys[: depth + 1])}, which has no keys")
        node = child


def _key(name: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", name)


class _Reader:
    """Builds dataclasses from nodes, by the types of their fields."""

    def fail(self, node: yaml.Node, sentence: str) -> ConfigError:
        mark = node.start_mark
        place = f"{mark.name}, line {mark.line + 1}" if mark and mark.name != COMMAND_LINE else COMMAND_LINE
        return ConfigError(f"{sentence} ({place})")

    def build(self, cls: type, node: yaml.Node, dotted: str) -> Any:
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"{dotted} needs keys of its own, such as {_some_keys(cls)}")
        hints = get_type_hints(cls, include_extras=True)
        given: dict[str, tuple[yaml.Node, Any]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.fail(key, f"a key of {dotted or 'the configuration'} must be plain text")
            path = f"{dotted}.{key.value}".lstrip(".")
            if key.value in given:
                raise self.fail(key, f"{path} is set twice")
            if key.value not in hints:
                raise self.fail(key, f"unknown key {path}; {_hint(dotted, str(key.value), list(hints))}")
            given[key.value] = (value, self.read(hints[key.value], value, path))
        missing = [f.name for f in dataclasses.fields(cls) if _required(f) and f.name not in given]
        if missing:
            raise self.fail(node, f"{dotted}.{missing[0]} is missing".lstrip("."))
        built = cls(**{name: value for name, (_, value) in given.items()})
        if complaint := _complaint(built, dotted):
            raise self.fail(node, complaint)
        return built

    def read(self, kind: Any, node: yaml.Node, dotted: str) -> Any:
        """Return the node's value as `kind`."""
        if get_origin(kind) in (Union, types.UnionType):
            return self.read_union(get_args(kind), node, dotted)
        if dataclasses.is_dataclass(kind):
            return self.build(kind, node, dotted)  # type: ignore[arg-type]
        if get_origin(kind) is tuple:
            return self.read_tuple(get_args(kind), node, dotted)
        value = _scalar(kind, node)
        if value is _WRONG:
            raise self.fail(node, f"{dotted} must be {describe(kind)}, not {_show(node)}")
        return value

    def read_union(self, kinds: tuple[Any, ...], node: yaml.Node, dotted: str) -> Any:
        if type(None) in kinds and _is_null(node):
            return None
        for kind in kinds:
            if get_origin(kind) in (Annotated, Literal) or kind in (str, int, float, bool):
                if (value := _scalar(kind, node)) is not _WRONG:
                    return value
            elif kind is not type(None):
                return self.read(kind, node, dotted)
        raise self.fail(node, f"{dotted} must be {describe_any(kinds)}, not {_show(node)}")

    def read_tuple(self, kinds: tuple[Any, ...], node: yaml.Node, dotted: str) -> tuple[Any, ...]:
        """Read a list; one item may stand without brackets."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if kinds[-1] is not ... and len(nodes) != len(kinds):
            raise self.fail(node, f"{dotted} needs {len(kinds)} values, not {len(nodes)}")
        if not nodes:
            raise self.fail(node, f"{dotted} is empty")
        each = [kinds[0]] * len(nodes) if kinds[-1] is ... else list(kinds)
        return tuple(
            self.read(kind, item, f"{dotted}[{i}]" if len(nodes) > 1 else dotted)
            for i, (kind, item) in enumerate(zip(each, nodes, strict=True))
        )


_WRONG = object()


def _scalar(kind: Any, node: yaml.Node) -> Any:
    """Return the node's text as `kind`, or _WRONG."""
    if not isinstance(node, yaml.ScalarNode):
        return _WRONG
    if get_origin(kind) is Annotated:
        base, (low, high) = get_args(kind)
        value = _scalar(base, node)
        return value if value is not _WRONG and low <= value <= high else _WRONG
    if get_origin(kind) is Literal:
        return node.value if node.value in get_args(kind) else _WRONG
    if kind is bool:
        return {"true": True, "false": False}.get(node.value.lower(), _WRONG)
    if kind is str:
        return node.value if node.value.isprintable() and not _is_null(node) else _WRONG
    try:
        number = kind(node.value.replace("_", "")) if kind is int else float(node.value.replace("_", ""))
    except ValueError:
        return _WRONG
    return number if isinstance(number, int) or math.isfinite(number) else _WRONG


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in ("", "~", "null")


def _show(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value) if len(node.value) <= 60 else repr(node.value[:57] + "...")
    return "a list" if isinstance(node, yaml.SequenceNode) else "a section"


def describe(kind: Any) -> str:
    """Return a field's type in words, for errors and for the reference page."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return f"{describe(args[0])} from {args[1][0]:g} to {args[1][1]:g}"
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in args)
    if origin in (Union, types.UnionType):
        return describe_any(args)
    if origin is tuple:
        return f"a list of {len(args)}" if args[-1] is not ... else "one or a list of them"
    names = {int: "a whole number", float: "a number", str: "text", bool: "`true` or `false`"}
    return names.get(kind, "a section")


def describe_any(kinds: tuple[Any, ...]) -> str:
    """Return in words that a value may be of any of these types."""
    return " or ".join("`null`" if kind is type(None) else describe(kind) for kind in kinds)


def _required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _some_keys(cls: type) -> str:
    return ", ".join(f.name for f in dataclasses.fields(cls)[:3])


def _hint(section: str, key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {f'{section}.{close[0]}'.lstrip('.')}?"
    return f"{section or 'a configuration'} has {', '.join(known)}"


def _complaint(built: Any, dotted: str) -> str | None:
    """Return what is impossible about a section whose every value is possible by itself."""
    match built:
        case CorpusConfig():
            given = [kind for kind in KINDS if getattr(built, kind) is not None]
            if len(given) != 1:
                named = " and ".join(given) or "none"
                return f"{dotted} must name exactly one of {', '.join(KINDS)}, not {named}"
            if built.files is not None and len(built.files) != 2:
                return f"{dotted}.files needs two files, source and target, not {len(built.files)}"
        case ModelConfig(width=width, heads=heads) if width % heads or width % 2:
            return f"model.width {width} must be even and a multiple of model.heads {heads}"
        case Config(tokenizer=tokenizer, model=model) if model.tied == "all" and not tokenizer.joint:
            return "model.tied: all needs one vocabulary for both sides; set tokenizer.joint or model.tied"
        case Config(data=data, train=train) if data.valid is None and train.patience is not None:
            return "train.patience needs data.valid to look at"
        case Config(train=train) if (train.average_last or 0) > train.keep_last:
            return (
                f"train.average_last {train.average_last} needs train.keep_last to be as large, not {train.keep_last}"
            )
        case Config(train=train) if train.best != "loss" and not train.validate_text:
            return f"train.best: {train.best} needs train.validate_text: true"
        case DataConfig(source=source, target=target) if source == target:
            return f"data.source and data.target are both {source!r}"
    return None
