"""Which language pairs are served, by which runs, under which codes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from transformer import languages
from transformer.decoding.loading import load_translator
from transformer.errors import ConfigError
from transformer.paths import expanded
from transformer.runs.run import split_checkpoint
from transformer.serving.batcher import Batch, Batcher, start_batcher
from transformer.serving.engine import Engine, TranslatorEngine
from transformer.serving.limits import Limits

LONGEST_CODE = 35
"""Characters of a language code, as RFC 5646 advises for buffers."""
WARM_UP = ("1", "One sentence to begin with.")
log = logging.getLogger(__name__)
Observe = Callable[[str, Batch], None]


@dataclass(frozen=True)
class Pair:
    """A model that is served for a pair of languages."""

    source: str
    """A short code, such as `en`, `pt-BR` or `zh-Hant`."""
    target: str
    engine: Engine
    batcher: Batcher
    name: str
    """Run directory and checkpoint."""

    @property
    def label(self) -> str:
        """The pair in the metrics and in messages."""
        return f"{self.source}-{self.target}"


class Catalogue:
    """The pairs that are served. Raises ConfigError if two models are of the same pair."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs: dict[tuple[str, str], Pair] = {}
        for pair in pairs:
            other = self.pairs.setdefault((pair.source, pair.target), pair)
            if other is not pair:
                raise ConfigError(
                    f"{other.name} and {pair.name} both translate {pair.source} to {pair.target}; serve one of them"
                )
        self.sources = sorted({source for source, _ in self.pairs})
        self.languages = sorted({code for pair in self.pairs for code in pair})

    def targets(self, source: str) -> list[str]:
        """Return the languages that a language is translated to."""
        return sorted(target for each, target in self.pairs if each == source)

    def find(self, code: str) -> str | None:
        """Return the served language that a code in any form means, or None. A variety may stand for its language."""
        if len(code) > LONGEST_CODE:
            return None
        short = languages.short_code(code)
        if short in self.languages:
            return short
        base = languages.parse(code).code
        varieties = [each for each in self.languages if languages.parse(each).code == base]
        return varieties[0] if len(varieties) == 1 else None

    def close(self, seconds: float) -> bool:
        """Finish what waits, within so many seconds for each model. Return whether all was done."""
        return sum(pair.batcher.close(seconds) for pair in self.pairs.values()) == len(self.pairs)


def load_models(
    names: Iterable[str], overrides: Sequence[str], device: torch.device, limits: Limits, observe: Observe
) -> Catalogue:
    """Load runs, each named RUN or RUN@CHECKPOINT, and start their batchers."""
    lock, pairs = threading.Lock(), []
    for name in names:
        path, checkpoint = split_name(name)
        run, translator, used = load_translator(path, overrides, device, checkpoint)
        source, target = (languages.short_code(code) for code in (run.config.data.source, run.config.data.target))
        watch = _watch(observe, f"{source}-{target}")
        pair = Pair(source, target, TranslatorEngine(translator), start_batcher(limits, lock, watch), f"{path}@{used}")
        log.info("%s to %s: %s, decoding in %s", source, target, pair.name, translator.precision)
        pairs.append(pair)
    catalogue = Catalogue(pairs)
    for pair in pairs:  # what is compiled or captured at the first use is so before the first request
        for task in (pair.engine.best, pair.engine.several):
            pair.batcher.submit(task, WARM_UP, "").result()
    return catalogue


def split_name(name: str) -> tuple[Path, str | None]:
    """Return the run directory and the checkpoint of `RUN@CHECKPOINT` or `RUN/checkpoints/CHECKPOINT`.

    A path that exists is not cut at its `@`.
    """
    path = expanded(name)
    if not path.exists() and "@" in name:
        before, _, checkpoint = name.rpartition("@")
        return expanded(before), checkpoint
    return split_checkpoint(path)


def _watch(observe: Observe, label: str) -> Callable[[Batch], None]:
    return lambda batch: observe(label, batch)
