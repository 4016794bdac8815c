"""The Python interface: load a model, translate, score, evaluate, compare, check, export, import and train.

Errors that a user can fix are a TransformerError with the sentence that the command line prints. Messages go to the
logger `transformer`; nothing is printed.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from transformer.errors import ConfigError, DataError
from transformer.paths import expanded
from transformer.runs.layout import CHECKPOINTS, CONFIG

if TYPE_CHECKING:
    from transformer.decoding.parts import Translation
    from transformer.decoding.translator import Translator
    from transformer.evaluation.check import Check
    from transformer.evaluation.compare import Comparison
    from transformer.evaluation.evaluate import Evaluation
    from transformer.interchange.export import Export
    from transformer.interchange.importing import Import
    from transformer.runs.run import Run

StrPath = str | os.PathLike[str]
Overrides = Mapping[str, object] | None
"""Settings by dotted key, such as `{"decode.beam": 8}`."""

logging.getLogger("transformer").addHandler(logging.NullHandler())


class Model:
    """A trained model that translates and scores text. Created by `load`."""

    def __init__(self, run: Run, translator: Translator, checkpoint: str) -> None:
        self._run, self._translator = run, translator
        self.path = run.path
        """The run directory."""
        self.checkpoint = checkpoint
        """The name of the checkpoint whose weights are used."""
        self.source = run.config.data.source
        """Language code of the text to translate."""
        self.target = run.config.data.target
        """Language code of the translations."""

    def __repr__(self) -> str:
        return f"<transformer.Model {self.source} to {self.target}: {self.path}, {self.checkpoint}>"

    @property
    def precision(self) -> str:
        """The precision of decoding: `int8`, `bfloat16`, `float16` or `float32`."""
        return self._translator.precision

    def translate(
        self, lines: Iterable[str], *, nbest: int = 1, prefixes: Iterable[str] | None = None
    ) -> list[Translation]:
        """Translate lines of text, one sentence each, and return one translation per line, in order.

        `nbest` is the most different translations per line: the best is returned, and the others are its
        `alternatives`. Beam search finds at most `decode.beam` of them. `prefixes` are the forced beginnings of the
        translations, one per line, `""` for none; they may stop anywhere, also inside a word. Lines of similar
        length are decoded together, so one call for many lines is much faster than one call per line.

        >>> model = transformer.load("runs/mine")
        >>> [translation.text for translation in model.translate(["seven", "eight"])]
        ['sieben', 'acht']
        >>> (best,) = model.translate(["seven"], nbest=2)
        >>> best.score > best.alternatives[0].score
        True
        """
        each = _list(lines, "lines")
        starts = None if prefixes is None else _list(prefixes, "prefixes")
        if nbest < 1:
            raise ConfigError(f"nbest must be at least 1, not {nbest}")
        if starts is not None and len(starts) != len(each):
            raise ConfigError(f"there are {len(starts)} prefixes for {len(each)} lines; give one per line, '' for none")
        found = self._translator.translate(each, nbest, starts)
        return [replace(best, alternatives=tuple(others)) for best, *others in found]

    def score(self, sources: Iterable[str], targets: Iterable[str]) -> list[Translation]:
        """Return the given translations `targets` with their scores and log-probabilities.

        >>> model = transformer.load("runs/mine")
        >>> right, wrong = model.score(["seven", "seven"], ["sieben", "acht"])
        >>> right.log_prob > wrong.log_prob
        True
        """
        before, after = _list(sources, "sources"), _list(targets, "targets")
        if len(before) != len(after):
            raise DataError(f"sources has {len(before)} lines but targets has {len(after)}")
        return self._translator.score(before, after)


def load(path: StrPath, overrides: Overrides = None, *, device: str = "auto", checkpoint: str | None = None) -> Model:
    """Load a model from a run directory.

    `overrides` may set `decode.*` and `data.*`. `device` is `auto`, `cpu`, `cuda` or `cuda:N`. `checkpoint` is the
    name of a checkpoint, by default the best.

    >>> model = transformer.load("runs/mine", {"decode.beam": 8}, device="cpu")
    >>> print(model.translate(["seven"])[0])
    sieben
    """
    return Model(*_load(path, overrides, device, checkpoint))


def evaluate(
    run: StrPath,
    overrides: Overrides = None,
    *,
    split: Literal["valid", "test"] = "test",
    source: StrPath | None = None,
    reference: StrPath | Sequence[StrPath] | None = None,
    testset: str | None = None,
    device: str = "auto",
    checkpoint: str | None = None,
    metrics: Iterable[str] = (),
    tokenizer: str | None = None,
    again: bool = False,
    save: bool = False,
) -> Evaluation:
    """Translate held-out text and score the translations with BLEU and chrF, and with the `metrics` beside them.

    The text is the run's `data.test`, or `data.valid` with `split="valid"`, or the files `source` and `reference`,
    or a sacreBLEU test set such as `wmt14/full`. `reference` may be several files, one for each translation of the
    source; of a test set all references are used. `save` also writes translations and scores into the run directory
    and updates its model card, as the command does: no evaluation replaces another, and if they cannot be written, a
    warning is logged. If the run directory has the same text's translations by the same weights, with the same
    settings, on the same kind of device, they are scored, unless `again` is set; `evaluation.translated` says when they
    were made. `metrics` are `chrf++`, `ter`, `meteor`, `comet`. `tokenizer` is sacreBLEU's name of one for BLEU, by
    default the one for the language. `overrides`, `device` and `checkpoint` are as in `load`.

    >>> evaluation = transformer.evaluate("runs/mine", {"decode.beam": 2}, split="valid")
    >>> evaluation.scores["bleu"].score > 90
    True
    >>> len(evaluation.translations)
    50
    """
    from transformer.evaluation.evaluate import Scoring, check_scoring, evaluated
    from transformer.evaluation.evaluated_model import EvaluatedModel
    from transformer.evaluation.texts import read_evaluation_text
    from transformer.system.device import resolve_device

    references = _paths(reference)
    if (source is None) != (not references):
        raise ConfigError("source and reference must be given together")
    _check_split(split)
    if isinstance(metrics, str):
        raise TypeError("metrics must be a list of names, not a string")
    system = EvaluatedModel(expanded(run), _texts(overrides), resolve_device(device), checkpoint)
    scoring = Scoring(tuple(metrics), tokenizer, again, keep=save)
    check_scoring(scoring, system.run.config.data.target)
    text = read_evaluation_text(system.run, split, _path(source), references, testset)
    return evaluated(system, text, scoring)


def compare(
    systems: Sequence[StrPath],
    *,
    split: Literal["valid", "test"] = "test",
    source: StrPath | None = None,
    reference: StrPath | Sequence[StrPath] | None = None,
    testset: str | None = None,
    languages: Sequence[str] = (),
    device: str = "auto",
    metrics: Iterable[str] = (),
    differences: int = 10,
    tests: bool = True,
    save: bool = False,
) -> Comparison:
    """Compare run directories, checkpoints (`"runs/mine@last"`) and files of translations on the same text.

    The first of the `systems` is the baseline of sacreBLEU's paired tests, which take seconds for each of the others;
    `tests=False` leaves them out. The text is chosen as in `evaluate`; a split is that of the first run. Where there
    are only files, it is `reference`, with or without `source`, or a `testset`; `languages` are then the codes of
    source and target. `differences` is the number of sentences that differ most to return. Translations that an
    evaluation has kept are not made again; `save` keeps new ones.

    >>> comparison = transformer.compare(["runs/mine", "runs/mine@step-00000150"], split="valid", tests=False)
    >>> best, early = comparison.systems
    >>> best.scores["chrf"].score > early.scores["chrf"].score, early.losses > early.wins
    (True, True)
    """
    from transformer.evaluation import compare as comparing
    from transformer.evaluation.systems import TextChoice, open_systems
    from transformer.system.device import resolve_device

    if isinstance(systems, (str, os.PathLike)):
        raise TypeError("systems must be a list of paths, not one path")
    _check_split(split)
    choice = TextChoice(split, _path(source), _paths(reference), testset, tuple(languages))
    found = open_systems(systems, choice, resolve_device(device), save)
    return comparing.compare(
        found.systems, found.text.pairs, found.target, differences=differences, metrics=metrics, tests=tests
    )


def check(
    run: StrPath,
    overrides: Overrides = None,
    *,
    split: Literal["valid", "test"] | None = None,
    source: StrPath | None = None,
    reference: StrPath | Sequence[StrPath] | None = None,
    lines: int = 500,
    device: str = "auto",
    checkpoint: str | None = None,
) -> Check:
    """Look for faults of a model's translations, of held-out text and of unusual inputs.

    The text is the run's `data.test`, else its `data.valid`, or what is chosen as in `evaluate`. If an evaluation has
    kept its translations, these are checked, else those of `lines` lines. A model whose `verdict` is `fail` should not
    be shipped. `overrides`, `device` and `checkpoint` are as in `load`.

    >>> found = transformer.check("runs/mine", lines=20)
    >>> {row.name: row.verdict for row in found.checks}["empty"]
    'ok'
    >>> {row.name: row.verdict for row in found.probes}["capitals"]
    'warn'
    """
    from transformer.evaluation.check import check_run
    from transformer.evaluation.systems import TextChoice

    _check_split(split or "test")
    opened, translator, used = _load(run, overrides, device, checkpoint)
    return check_run(opened, translator, used, TextChoice(split or "", _path(source), _paths(reference)), lines)


def export(
    run: StrPath,
    folder: StrPath,
    to: Literal["ctranslate2", "argos", "hugging-face", "marian"],
    *,
    quantization: str | None = None,
    checkpoint: str | None = None,
    lines: int = 100,
    licence: str | None = None,
    version: str = "1.0",
) -> Export:
    """Write a model for another runtime into a new folder, after comparing it with this one.

    The exported model is loaded in its runtime, and log-probabilities and translations of `lines` sentences of the run
    are compared. If they are not the same, TransformerError is raised and nothing is written. If the runtime is not
    installed, `proof` of the result is None. `quantization` is one of CTranslate2's, such as `int8`, for `ctranslate2`
    and `argos`. `licence` is for the model card; `version` is that of an Argos package.

    >>> found = transformer.export("runs/mine", "exported", "ctranslate2")
    >>> found.proof.largest < 1e-4, found.proof.greedy
    (True, (100, 100))
    """
    from transformer.interchange.export import FORMATS, Choices, export_run

    if to not in FORMATS:
        raise ConfigError(f"to must be one of {', '.join(FORMATS)}, not {to!r}")
    return export_run(expanded(run), expanded(folder), to, Choices(quantization, checkpoint, lines, licence, version))


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a call of `train`."""

    run: Path
    """The run directory, to pass to `load`."""
    reason: str
    """Why training stopped, such as `all 4 steps are done`."""
    finished: bool
    """Whether training is complete. If not, the same call resumes it."""


def train(
    config: StrPath,
    overrides: Overrides = None,
    *,
    run: StrPath | None = None,
    device: str = "auto",
    fresh: bool = False,
) -> TrainingResult:
    """Train a model, or resume a run.

    `config` is a YAML file; `overrides` replaces some of its settings. `run` is the run directory, by default
    `runs/<name of the config>`. `fresh` moves an existing run directory aside and starts over.

    In the main thread, SIGINT, SIGTERM, SIGHUP, SIGUSR2 and SIGXCPU first save a checkpoint and then have their usual
    effect: Ctrl-C raises KeyboardInterrupt.

    >>> result = transformer.train("config.yaml", {"train.max_steps": 4}, run="runs/short", device="cpu")
    >>> result.finished, result.reason
    (True, 'all 4 steps are done')
    >>> model = transformer.load(result.run)
    """
    from transformer import config_file
    from transformer.system.device import resolve_device
    from transformer.system.signals import signal_of
    from transformer.training import session
    from transformer.training.stopping import UNFINISHED

    path = expanded(config)
    folder = _path(run) or default_run(path)
    cfg = config_file.load(path, _texts(overrides))
    reason = session.train(cfg, folder, resolve_device(device), fresh)
    if (number := signal_of(reason)) is not None:
        signal.raise_signal(number)
    return TrainingResult(folder, reason, reason not in UNFINISHED)


def default_run(config: Path) -> Path:
    """Return the run directory of a configuration: `runs/<its name>`, or its own folder if that is a run."""
    if config.name == CONFIG and (config.parent / CHECKPOINTS).is_dir():
        return config.parent
    return Path("runs") / config.name.removesuffix(".yaml").removesuffix(".yml")


def _load(path: StrPath, overrides: Overrides, device: str, checkpoint: str | None) -> tuple[Run, Translator, str]:
    from transformer.decoding.loading import load_translator
    from transformer.system.device import resolve_device

    return load_translator(expanded(path), _texts(overrides), resolve_device(device), checkpoint)


def _texts(overrides: Overrides) -> list[str]:
    """Return each setting as `KEY=VALUE`, the value as JSON, which is valid YAML."""
    if overrides is not None and not isinstance(overrides, Mapping):
        raise TypeError('overrides must be a mapping such as {"decode.beam": 8}')
    return [f"{key}={json.dumps(value, ensure_ascii=False, default=str)}" for key, value in (overrides or {}).items()]


def _path(path: StrPath | None) -> Path | None:
    if path is not None and not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"expected the path of a file or folder, not {type(path).__name__}")
    return None if path is None else expanded(path)


def _check_split(split: str) -> None:
    if split not in ("valid", "test"):
        raise ConfigError(f"split must be valid or test, not {split!r}")


def _paths(reference: StrPath | Sequence[StrPath] | None) -> list[Path]:
    several = (reference,) if isinstance(reference, (str, os.PathLike)) else reference or ()
    return [expanded(each) for each in several]


def _list(lines: Iterable[str], name: str) -> list[str]:
    """Return lines as a list. Refuse a single string, which Python would iterate over by character, and other items.

    pandas and datasets, for example, have None for a missing text.
    """
    if isinstance(lines, str):
        raise TypeError(f"{name} must be a list of strings, not a string")
    found = list(lines)
    for number, each in enumerate(found):
        if not isinstance(each, str):
            raise TypeError(f"{name}[{number}] must be a string, not {type(each).__name__}")
    return found


def import_model(
    source: StrPath, folder: StrPath, *, languages: tuple[str, str] | None = None, tag: str | None = None
) -> Import:
    """Make a run of a model of another program: a folder, a zip, or a name on the Hugging Face Hub.

    The model is compared with its own runtime. If they are not the same, TransformerError is raised and nothing is
    written. If the runtime is not installed, `difference` of the result is None. `languages` are the codes of source
    and target, if the source does not say them; `tag` is put before each source text, such as `>>fra<<`.

    >>> found = transformer.export("runs/mine", "exported", "ctranslate2")
    >>> made = transformer.import_model("exported", "runs/again", languages=("en", "de"))
    >>> made.difference < 1e-4
    True
    """
    from transformer.interchange.importing import import_model as read
    from transformer.interchange.sources import opened

    with opened(os.fspath(source)) as (path, root):
        return read(path, expanded(folder), languages, tag, os.fspath(source), root)
