"""What is asked of models: the text of a synthetic corpus or the pairs to score, and what identifies the result."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from transformer.data import corpus
from transformer.data.lines import read_lines, sha256, undecodable
from transformer.data_config import BackTranslateConfig, CorpusConfig, DataConfig, DistillConfig, Synthetic, TextConfig
from transformer.paths import expanded
from transformer.runs.run import split_checkpoint

LINE_ENDS = re.compile(r"[\r\n]+")
"""What a text of other formats than lines may have, and a line not."""
NAMES = {"text", "model", *(field.name for field in fields(TextConfig))}
"""Settings that name texts and models, which are identified by their content."""
VERBS = {"back_translate": "back-translated", "distill": "distilled", "forward": "translated"}


class Line(NamedTuple):
    """A line to translate, and the translation that the text has of it, or nothing."""

    text: str
    reference: str = ""


@dataclass(frozen=True)
class Wanted:
    """What models make of one text."""

    corpus: CorpusConfig
    data: DataConfig
    dotted: str
    """The setting, such as `data.train[1].distill`."""
    prefix: ClassVar[str]
    """Begins the name of the folder of the result, before its key."""
    files_made: ClassVar[tuple[str, ...]]
    """The names of the files of the result."""
    verbs: ClassVar[tuple[str, str, str]]
    """What is done, for the log: to do, doing, done."""
    units: ClassVar[str] = "lines"

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models, as the configuration has them."""
        raise NotImplementedError

    @property
    def text_names(self) -> str:
        """The names of the text, short."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """The result in words, for the log, `data.json` and the model card."""
        raise NotImplementedError

    @property
    def asked(self) -> dict[str, Any]:
        """What is asked for, but for the names of the models. Reads every file."""
        raise NotImplementedError

    @property
    def origin(self) -> dict[str, Any]:
        """Where the text was downloaded from, if its corpus does not say it."""
        return {}

    def lines(self, left_out: Counter[str] | None = None) -> Iterator[Line | None]:
        """Yield the lines, in order; None for one that is not UTF-8, if `data.undecodable` says so.

        `left_out` counts, by reason, what is no line. Raises DataError as `corpus.read_pairs` does.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Recipe(Wanted):
    """How one synthetic corpus is made."""

    prefix: ClassVar[str] = "synthetic-"
    files_made: ClassVar[tuple[str, ...]] = corpus.SIDES
    verbs: ClassVar[tuple[str, str, str]] = ("translate", "translating", "translated")

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models, as the configuration has them."""
        return self.settings.model

    @property
    def settings(self) -> Synthetic:
        """The section of the configuration."""
        assert self.corpus.synthetic is not None
        return self.corpus.synthetic

    @property
    def kind(self) -> str:
        """The name of the section."""
        return self.dotted.rpartition(".")[2]

    @property
    def backwards(self) -> bool:
        """Whether the text is the target side and its translations are the source side."""
        return isinstance(self.settings, BackTranslateConfig)

    @property
    def languages(self) -> tuple[str, str]:
        """The codes of the languages that the model translates from and into."""
        codes = self.data.source, self.data.target
        return (codes[1], codes[0]) if self.backwards else codes

    @property
    def pairs(self) -> CorpusConfig | None:
        """The corpus that is distilled, or None for text in one language."""
        return corpus.as_corpus(self.settings) if isinstance(self.settings, DistillConfig) else None

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the text; of a distilled corpus both sides."""
        return corpus.local_files(self.corpus)

    @property
    def text_names(self) -> str:
        """The names of the files to translate, short, or of the corpus that is distilled."""
        if self.pairs is not None and self.pairs.files is None:
            return corpus.title(self.pairs)
        files = self.files if self.pairs is None else self.files[:1]
        names = [Path(name).name for name in files]
        return " + ".join(names if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more"])

    @property
    def title(self) -> str:
        """The corpus in words, for the log, `data.json` and the model card."""
        asked, search = self.settings, f"beam {self.settings.beam}"
        if isinstance(asked, BackTranslateConfig) and asked.sampling:
            search = f"sampling at temperature {asked.temperature:g}"
            search += f" from the {asked.top_k} best" if asked.top_k else ""
        elif isinstance(asked, DistillConfig) and asked.pick == "chrf":
            search += ", best by chrF"
        names = short_names(asked.model)
        return f"{self.text_names} {VERBS[self.kind]} by {names} ({search})"

    @cached_property
    def asked(self) -> dict[str, Any]:
        """What is asked for, but for the names of the models. Reads every file."""
        settings = {key: value for key, value in asdict(self.settings).items() if key not in NAMES}
        languages = self.data.source, self.data.target
        texts: list[Any]
        if self.pairs is not None and self.pairs.files is None:
            texts = [corpus.text_identity(self.pairs, *languages)]
        else:
            texts = [sha256(Path(name)) for name in self.files]
        return {
            "kind": self.kind,
            "languages": list(languages),
            "texts": texts,
            "undecodable": self.data.undecodable,
            "settings": settings,
        }

    @property
    def origin(self) -> dict[str, Any]:
        """Where the text was downloaded from: address, version, licence and SHA-256, or nothing."""
        return {} if self.pairs is None else corpus.origin(self.pairs, self.data.source, self.data.target)

    def lines(self, left_out: Counter[str] | None = None) -> Iterator[Line | None]:
        """Yield the lines to translate, in order; None for one that is not UTF-8, if `data.undecodable` says so.

        Raises DataError as `corpus.read_pairs` does.
        """
        drop = self.data.undecodable == "drop"
        if self.pairs is not None:
            for pair in corpus.read_pairs(self.pairs, self.data.source, self.data.target, drop, left_out):
                yield None if pair is None else Line(*(LINE_ENDS.sub(" ", side) for side in pair))
            return
        for path in map(Path, self.files):
            for number, text in enumerate(read_lines(path), 1):
                if text is None and not drop:
                    raise undecodable(path, f"{path}, line {number}")
                yield None if text is None else Line(text)


@dataclass(frozen=True)
class Scoring(Wanted):
    """How the pairs of a corpus are scored by a model, for `filters.score.model`."""

    prefix: ClassVar[str] = "scores-"
    files_made: ClassVar[tuple[str, ...]] = ("scores.txt",)
    verbs: ClassVar[tuple[str, str, str]] = ("score", "scoring", "scored")
    units: ClassVar[str] = "pairs"

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models, as the configuration has them."""
        assert self.corpus.filters is not None
        assert self.corpus.filters.score is not None
        return self.corpus.filters.score.model or ()

    @property
    def text_names(self) -> str:
        """The name of the corpus, short."""
        return corpus.title(self.corpus)

    @property
    def title(self) -> str:
        """The scores in words, for the log, `data.json` and the model card."""
        return f"{self.text_names} scored by {short_names(self.models)}"

    @cached_property
    def asked(self) -> dict[str, Any]:
        """What is asked for, but for the names of the models. Reads every file."""
        languages = self.data.source, self.data.target
        text = corpus.text_identity(self.corpus, *languages)
        asked = {"kind": "scores", "languages": list(languages), "text": text}
        return {**asked, "undecodable": self.data.undecodable}

    def lines(self, left_out: Counter[str] | None = None) -> Iterator[Line | None]:
        """Yield the pairs, in order; None for one that is not UTF-8, if `data.undecodable` says so.

        Raises DataError as `corpus.read_pairs` does.
        """
        drop = self.data.undecodable == "drop"
        for pair in corpus.read_pairs(self.corpus, self.data.source, self.data.target, drop, left_out):
            yield None if pair is None else Line(pair.source, pair.target)


def recipe(data: DataConfig, number: int) -> Recipe | None:
    """Return how a corpus of `data.train` is made, or None if it is text that is there."""
    each = data.train[number]
    kind = next((kind for kind in VERBS if getattr(each, kind) is not None), None)
    return None if kind is None else Recipe(each, data, f"{_place(data, number)}.{kind}")


def scoring(data: DataConfig, number: int) -> Scoring | None:
    """Return how the pairs of a corpus of `data.train` are scored, or None if no model is to score them."""
    each = data.train[number]
    if each.filters is None or each.filters.score is None or each.filters.score.model is None:
        return None
    return Scoring(each, data, f"{_place(data, number)}.filters.score")


def _place(data: DataConfig, number: int) -> str:
    return f"data.train[{number}]" if len(data.train) > 1 else "data.train"


def short_names(models: Sequence[str]) -> str:
    """Return the names of models for a title."""
    found = [split_checkpoint(expanded(name)) for name in models]
    return " + ".join(folder.resolve().name + (f"/{name}" if name else "") for folder, name in found)
