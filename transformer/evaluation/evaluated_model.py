"""What is evaluated: a checkpoint of a run with its settings, on a device. Its model is loaded when it is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from transformer import __version__, atomic
from transformer.decoding.batches import WINDOW
from transformer.decoding.loading import changed, load_translator, open_member
from transformer.decoding.parts import Translation
from transformer.decoding.shared import refuse_other_models, translate_shared
from transformer.decoding.translator import Translator, planned_precision, shown
from transformer.errors import CheckpointError
from transformer.evaluation.texts import EvaluationText
from transformer.runs.checkpoint import weights_digest
from transformer.runs.models import candidates, named_checkpoint
from transformer.runs.run import Run, open_run
from transformer.system.distributed import Ranks


class EvaluatedModel:
    """A checkpoint of a run, with settings of decoding, on a device."""

    def __init__(
        self,
        path: Path,
        overrides: Iterable[str] = (),
        device: torch.device | None = None,
        checkpoint: str | None = None,
        plain: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        """`overrides`, `checkpoint` and `plain` are as in `load_translator`; `ranks` are processes that help.

        Raises ConfigError or CheckpointError.
        """
        self.overrides, self.device = list(overrides), device or torch.device("cpu")
        self.stored = open_run(path)
        """The run with its own settings."""
        self.run = changed(self.stored, self.overrides)
        """The run with the settings that are used."""
        self.ranks, self.plain, self._asked = ranks, plain, checkpoint
        self._translator: Translator | None = None
        self.checkpoint = self._find()
        """The checkpoint. Whether it is damaged is seen when it is loaded; then it may become another one."""

    def _find(self) -> Path:
        """Return the checkpoint that will probably be loaded."""
        if (found := probable_checkpoint(self.stored, self._asked)) is None:
            self._load()  # which says what is wrong with each
            return self.checkpoint
        return found

    @classmethod
    def loaded(cls, run: Run, translator: Translator, checkpoint: str) -> EvaluatedModel:
        """Return the model of a translator that was loaded already; `run` has the settings that it uses."""
        self = cls.__new__(cls)
        self.overrides, self.device, self.stored, self.run = [], translator.device, open_run(run.path), run
        self.ranks, self.plain, self._asked, self._translator = None, False, checkpoint, translator
        self.checkpoint = run.checkpoints / checkpoint
        return self

    def load(self) -> Translator:
        """Return the translator, after loading the model if that was not done before.

        Of several processes only the first calls this, before each call of `translate`.
        """
        if self.ranks is not None:
            self.ranks.of_first(lambda: [self._asked, self.plain])
        return self._load()

    def _load(self) -> Translator:
        if self._translator is None:
            path, name = self.stored.path, self._asked
            _, self._translator, used = load_translator(path, self.overrides, self.device, name, self.plain)
            self.checkpoint = self.stored.checkpoints / used
            if self.ranks is not None:
                refuse_other_models(self.ranks, self._translator, weights_digest(self.checkpoint, self.plain))
        return self._translator

    @property
    def precision(self) -> str:
        """The precision of decoding, by its name in the configuration."""
        if self._translator is not None:
            return self._translator.precision
        return planned_precision(self.run.config.model, self.run.config.decode, self.device)

    @property
    def name(self) -> str:
        """The name of the checkpoint, and whether its plain weights are used."""
        return self.checkpoint.name + (" without moving average" if self.plain else "")

    def origin(self, text: EvaluationText) -> dict[str, Any]:
        """Return what the translations of a text depend on, by the names in JSON. Raises CheckpointError."""
        data, decode = self.run.config.data, self.run.config.decode
        try:
            digest = weights_digest(self.checkpoint, self.plain)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self.checkpoint} has no manifest that can be read: {error}") from None
        own = translation_settings(self.stored)
        return {
            "text": {"sha256": text.sha256, "sources_sha256": text.sources_sha256, "files": list(text.files)},
            "languages": [data.source, data.target],
            "checkpoint": {
                "name": self.checkpoint.name,
                "sha256": digest,
                **({"weights": "plain"} if self.plain else {}),
                **({"ensemble": [member_digest(each) for each in decode.ensemble]} if decode.ensemble else {}),
            },
            "decode": dict(vars(decode)),
            "max_length": data.max_length,
            "changed": {key: value for key, value in translation_settings(self.run).items() if own[key] != value},
            "device": self.device.type,
            "version": __version__,
        }

    def translate(self, sources: list[str]) -> list[str]:
        """Return the best translation of each source, and show the progress."""
        return [nbest[0].text for nbest in shown(self._load(), self._shared(sources), len(sources))]

    def help(self) -> None:
        """Translate a share of what the first process translates."""
        for _ in self._shared([]):
            pass

    def _shared(self, sources: list[str]) -> Iterator[list[Translation]]:
        """Yield the translations of the first process's sources."""
        translator, ranks = self._load(), self.ranks
        if ranks is None:
            yield from translator.translate(sources)
            return
        sources, warnings = ranks.of_first(lambda: sources), translator.warnings()
        size = WINDOW * ranks.count
        for start in range(0, len(sources), size):
            lines = sources[start : start + size]
            yield from translate_shared(translator, lines, ranks, first=start + 1, warnings=warnings)


def probable_checkpoint(run: Run, name: str | None) -> Path | None:
    """Return the named checkpoint, or the best one that seems usable, without reading its weights."""
    if name:
        return named_checkpoint(run, name, deep=False)
    return next((path for path in candidates(run) if atomic.damage(path, deep=False) is None), None)


def member_digest(name: str) -> str | None:
    """Return what identifies the weights of a run of `decode.ensemble`."""
    run, asked = open_member(name)
    found = probable_checkpoint(run, asked)
    return None if found is None else weights_digest(found)


def translation_settings(run: Run) -> dict[str, Any]:
    """Return the settings that translations depend on and that can be changed, by their dotted keys."""
    decode = {f"decode.{key}": value for key, value in vars(run.config.decode).items()}
    return {**decode, "data.max_length": run.config.data.max_length}


def help_evaluate(path: Path, overrides: Sequence[str], device: torch.device, ranks: Ranks) -> None:
    """Translate a share of what the first process evaluates, until it calls `end_help`."""
    models: dict[tuple[str | None, bool], EvaluatedModel] = {}
    while (job := ranks.of_first(lambda: None)) is not None:
        asked, plain = job
        if (asked, plain) not in models:
            models[asked, plain] = EvaluatedModel(path, overrides, device, asked, plain, ranks)
        models[asked, plain].help()


def end_help(ranks: Ranks) -> None:
    """Let the other processes leave `help_evaluate`."""
    ranks.of_first(lambda: None)
