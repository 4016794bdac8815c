"""What is asked for: the text of a synthetic corpus, line by line, and what identifies the corpus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from transformer.data import corpus
from transformer.data.lines import read_lines, sha256, undecodable
from transformer.data_config import BackTranslateConfig, CorpusConfig, DataConfig, DistillConfig, Synthetic
from transformer.paths import expanded
from transformer.runs.run import split_checkpoint

VERBS = {"back_translate": "back-translated", "distill": "distilled", "forward": "translated"}


class Line(NamedTuple):
    """A line to translate, and the translation that the text has of it, or nothing."""

    text: str
    reference: str = ""


@dataclass(frozen=True)
class Recipe:
    """How one synthetic corpus is made."""

    corpus: CorpusConfig
    data: DataConfig
    dotted: str
    """The setting, such as `data.train[1].distill`."""

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
    def files(self) -> tuple[str, ...]:
        """The files of the text; of a distilled corpus both sides."""
        return corpus.local_files(self.corpus)

    @property
    def text_names(self) -> str:
        """The names of the files to translate, short."""
        files = self.files[:1] if isinstance(self.settings, DistillConfig) else self.files
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
        names = " + ".join(_short(name) for name in asked.model)
        return f"{self.text_names} {VERBS[self.kind]} by {names} ({search})"

    @cached_property
    def asked(self) -> dict[str, Any]:
        """What is asked for, but for the names of the models. Reads every file."""
        settings = {key: value for key, value in asdict(self.settings).items() if key not in ("text", "files", "model")}
        return {
            "kind": self.kind,
            "languages": [self.data.source, self.data.target],
            "texts": [sha256(Path(name)) for name in self.files],
            "undecodable": self.data.undecodable,
            "settings": settings,
        }

    def lines(self) -> Iterator[Line | None]:
        """Yield the lines to translate, in order; None for one that is not UTF-8, if `data.undecodable` says so.

        Raises DataError as `corpus.read_pairs` does.
        """
        drop = self.data.undecodable == "drop"
        if isinstance(self.settings, DistillConfig):
            pairs = CorpusConfig(files=self.settings.files)
            for pair in corpus.read_pairs(pairs, self.data.source, self.data.target, drop):
                yield None if pair is None else Line(*pair)
            return
        for path in map(Path, self.files):
            for number, text in enumerate(read_lines(path), 1):
                if text is None and not drop:
                    raise undecodable(path, f"{path}, line {number}")
                yield None if text is None else Line(text)


def recipe(data: DataConfig, number: int) -> Recipe | None:
    """Return how a corpus of `data.train` is made, or None if it is text that is there."""
    each = data.train[number]
    kind = next((kind for kind in VERBS if getattr(each, kind) is not None), None)
    place = f"data.train[{number}]" if len(data.train) > 1 else "data.train"
    return None if kind is None else Recipe(each, data, f"{place}.{kind}")


def _short(name: str) -> str:
    folder, checkpoint = split_checkpoint(expanded(name))
    return folder.resolve().name + (f"/{checkpoint}" if checkpoint else "")
