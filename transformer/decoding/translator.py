"""The translator: translates and scores text with a model and its tokenizer, in the order of the input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice, repeat
from typing import TypeVar

import torch

from transformer.config import DecodeConfig, ModelConfig
from transformer.data.lengths import Lengths
from transformer.data.text import visible
from transformer.data.tokenizer import Tokenizer, hide_placeholders
from transformer.decoding import search
from transformer.decoding.backend import Backend, TorchBackend
from transformer.decoding.batches import Piece, take_window
from transformer.decoding.ensemble import EnsembleBackend
from transformer.decoding.int8.engine import make_engine, obstacle
from transformer.decoding.limits import Limits, Warnings, make_limits
from transformer.decoding.long_lines import Part, Ways
from transformer.decoding.parts import EMPTY, PartDecoder, Translation
from transformer.decoding.pieces import PieceDecoder
from transformer.decoding.prefix import PieceTable, TextPrefix, spread_prefix
from transformer.errors import ConfigError, DataError
from transformer.model.network import Transformer
from transformer.runs.models import StoredModel, networks
from transformer.system.device import DTYPES, resolve_dtype
from transformer.system.progress_bar import ProgressBar
from transformer.system.threads import start_single_threads, start_workers

Found = TypeVar("Found")

MOST_SCORED = 4096
"""Tokens of a line that can always be scored, even if `data.max_length` is less."""
TORCH_WORKERS = 2
"""Batches decoded in parallel by torch on a CPU; `start_workers` says why two. More were not measured."""


def make_translator(
    model: Transformer | StoredModel,
    tokenizer: Tokenizer,
    cfg: DecodeConfig,
    max_length: int,
    device: torch.device,
    lengths: Lengths | None = None,
    language: str = "",
    others: Sequence[Transformer | StoredModel] = (),
) -> Translator:
    """Return a translator for a model on its device.

    Lines of more than `max_length` tokens, or longer than the `lengths` of the training pairs if known, are translated
    sentence by sentence. `language` is the code of the source language, which helps to find sentences. `others` are
    models with the same vocabulary that translate together with this one.
    For 8-bit decoding it quantizes the model and, if necessary, compiles the kernels. It also starts threads.
    A stored model must decode in 8 bits; its weights are in memory once something else needs them.
    Raises ConfigError or DeviceError if `cfg` is not possible here.
    """
    check_precision(model.cfg, cfg, device)
    precision = planned_precision(model.cfg, cfg, device)
    if precision == "int8":
        backend: Backend = make_engine(model, cfg.instruction_set)
    else:
        fast = cfg.fast == "auto" and not others
        each = [TorchBackend(one, DTYPES[precision], device, fast) for one in networks([model, *others])]
        backend = EnsembleBackend(each) if others else each[0]
    workers = start_single_threads() if precision == "int8" else start_workers(device, TORCH_WORKERS)
    limits = make_limits(cfg, max_length, lengths)
    decoder = PieceDecoder([model, *others], tokenizer, cfg, device, backend, workers, limits)
    return Translator(decoder, max_length, language)


def planned_precision(model: ModelConfig, cfg: DecodeConfig, device: torch.device) -> str:
    """Return the precision in which `make_translator` will decode, by its name in the configuration."""
    if cfg.precision in ("auto", "int8") and _no_int8(model, cfg, device) is None:
        return "int8"
    precision = "float32" if cfg.draws and cfg.precision == "auto" else cfg.precision
    return str(resolve_dtype(precision, device)).removeprefix("torch.")


def check_precision(model: ModelConfig, cfg: DecodeConfig, device: torch.device) -> None:
    """Raise ConfigError or DeviceError if the device or machine cannot decode in the requested precision."""
    resolve_dtype(cfg.precision, device)
    named = f"instruction_set={cfg.instruction_set}" if cfg.instruction_set != "auto" else "precision=int8"
    needs_int8 = cfg.precision == "int8" or cfg.instruction_set != "auto"
    if needs_int8 and (reason := _no_int8(model, cfg, device)):
        raise ConfigError(f"decode.{named} is not possible here: {reason}")


def _no_int8(model: ModelConfig, cfg: DecodeConfig, device: torch.device) -> str | None:
    """Return why a model of this shape cannot decode in 8 bits, or None if it can."""
    if cfg.draws or cfg.ensemble:
        return f"{'decode.ensemble' if cfg.ensemble else 'sampling'} needs the probabilities of all tokens"
    return obstacle(model, cfg.beam, device, cfg.instruction_set)


def with_settings(translator: Translator, cfg: DecodeConfig) -> Translator:
    """Return a translator of the same models with other settings."""
    model, *others = translator.decoder.sources
    same = translator.max_length, translator.device, translator.limits.trained, translator.language
    return make_translator(model, translator.tokenizer, cfg, *same, others)


def shown(translator: Translator, found: Iterator[Found], lines: int) -> Iterator[Found]:
    """Yield what this translator finds for so many lines, and show the progress, also inside a window of lines."""
    bar = ProgressBar("translating", lines)

    def decoded(pieces: float) -> None:
        bar.advance(min(pieces, lines - bar.count))  # a long line has several

    before, translator.decoder.decoded = translator.decoder.decoded, decoded
    try:
        with bar:
            for number, each in enumerate(found, 1):
                bar.advance(max(number - bar.count, 0))
                yield each
    finally:
        translator.decoder.decoded = before


def greedy(cfg: DecodeConfig) -> DecodeConfig:
    """Return the settings of greedy search."""
    return replace(cfg, beam=1, sampling=False, mbr_samples=0, ensemble=None)


class Translator:
    """Translates and scores text with one model on one device. Created by `make_translator`."""

    def __init__(self, decoder: PieceDecoder, max_length: int, language: str = "") -> None:
        """Take what decodes pieces, the most tokens of a line, and the code of the source language."""
        self.decoder, self.max_length, self.language = decoder, max_length, language
        self.parts = PartDecoder(decoder, language)
        self.tokenizer, self.cfg, self.device = decoder.tokenizer, decoder.cfg, decoder.device

    @property
    def model(self) -> Transformer:
        """The model, of an ensemble the first one."""
        return self.decoder.models[0]

    @property
    def limits(self) -> Limits:
        """The longest lines and translations."""
        return self.decoder.limits

    @property
    def precision(self) -> str:
        """The precision of decoding, by its name in the configuration."""
        return self.decoder.backend.precision

    @cached_property
    def piece_table(self) -> PieceTable:
        """The target pieces, for forced prefixes."""
        return PieceTable(self.tokenizer)

    def check(self, nbest: int) -> None:
        """Raise ConfigError if these settings cannot return `nbest` translations of a line."""
        cfg = self.cfg
        if cfg.mbr_samples and nbest > cfg.mbr_samples:
            raise ConfigError(
                f"{nbest} translations need decode.mbr_samples of at least {nbest}, not {cfg.mbr_samples}"
            )
        if nbest > cfg.beam and not cfg.draws:
            raise ConfigError(f"{nbest} translations need a beam of at least {nbest}, not {cfg.beam}")

    def translate(
        self,
        lines: Iterable[str],
        nbest: int = 1,
        prefixes: Iterable[str] | None = None,
        first: int = 1,
        warnings: Warnings | None = None,
    ) -> Iterator[list[Translation]]:
        """Yield the best translations of each line, in order: `nbest` different ones, or fewer if there are fewer.

        An empty line has one, empty, with score 0. Samples are `nbest` independent ones, which may be the same.
        `prefixes` are the forced beginnings of the translations. `first` is the number of the first line, for warnings.
        Each warning is given once, for the first line; `warnings` has those given so far, for a text in many calls.
        """
        self.check(nbest)
        warnings = warnings or self.warnings()
        lines = iter(lines)
        all_prefixes = iter(prefixes) if prefixes is not None else repeat("")
        while window := take_window(lines):
            window_prefixes = list(islice(all_prefixes, len(window)))
            if len(window_prefixes) < len(window):
                raise ConfigError(f"there are fewer prefixes than lines: line {first + len(window_prefixes)} has none")
            yield from self._translate_window(window, window_prefixes, nbest, first, warnings)
            first += len(window)

    def warnings(self) -> Warnings:
        """Return the warnings of a text, of which none has been given."""
        return Warnings(self.limits, self.tokenizer)

    @property
    def most_scored(self) -> int:
        """Most tokens of a line that can be scored."""
        return max(self.max_length, MOST_SCORED)

    def score(
        self, sources: Sequence[str], targets: Sequence[str], first: int = 1, warnings: Warnings | None = None
    ) -> list[Translation]:
        """Return the given translations with their scores, computed in float32 whatever `decode.precision` is.

        `translate` gives the same score for the same ids if it decodes in float32. `first` and `warnings` are as there.
        """
        if self.tokenizer.placeholders:
            sources, targets = hide_placeholders(self.tokenizer, sources, targets)
        ids = self.tokenizer.encode_source(sources), self.tokenizer.encode_target(targets)
        limit, warnings = self.most_scored, warnings or self.warnings()
        for number, (source, *row) in enumerate(zip(sources, *ids, strict=True), first):
            if (length := max(map(len, row))) > limit:
                raise DataError(f"line {number} has {length} tokens, more than the {limit} that can be scored")
            warnings.unseen(number, source, row[0])
            warnings.long_line(number, len(row[0]), "scored whole, unlike in `translate`")
        scored = self.score_ids(*ids)
        return [one if source or one.ids else EMPTY for source, one in zip(ids[0], scored, strict=True)]

    def score_ids(self, sources: Sequence[list[int]], targets: Sequence[Sequence[int]]) -> list[Translation]:
        """Return the log-probability and score of each list of target ids, computed in float32."""
        pieces = [Piece(source, target=target) for source, target in zip(sources, targets, strict=True)]
        log_probs, alpha = self.decoder.log_probs(pieces), self.cfg.length_penalty
        return [
            Translation(text, search.length_normalized(log_prob, len(ids) + 1, alpha), log_prob, tuple(ids))
            for text, log_prob, ids in zip(self.tokenizer.decode(targets), log_probs, targets, strict=True)
        ]

    def _translate_window(
        self, lines: list[str], prefixes: list[str], nbest: int, first: int, warnings: Warnings
    ) -> list[list[Translation]]:
        """Translate lines. `first` is the number of the first line."""
        pieces: list[Piece] = []
        parts_of_line: list[list[Part]] = []
        hidden = self.parts.hide(lines)
        sources = self.tokenizer.encode_source([each.text for each in hidden])
        prefixes = [each.hide(visible(prefix)) for each, prefix in zip(hidden, prefixes, strict=True)]
        for number, (line, ids, prefix) in enumerate(zip(hidden, sources, prefixes, strict=True), first):
            parts = self.parts.of_line(line, ids)
            warnings.unseen(number, line.text, ids)
            if len(parts) > 1:
                warnings.long_line(number, len(ids), "translated sentence by sentence")
            begins = self._begins(prefix, len(parts), number)
            parts_of_line.append(parts)
            pieces += [Piece(part.ids, begin) for part, begin in zip(parts, begins, strict=True)]
        found = self.parts.decode(pieces, nbest)
        translations, end = [], 0
        for number, (line, parts, prefix) in enumerate(zip(hidden, parts_of_line, prefixes, strict=True), first):
            start, end = end, end + len(parts)
            for piece, ways in zip(pieces[start:end], found[start:end], strict=True):
                self._warn_of_cuts(number, piece, ways, warnings)
            joined = self.parts.join(parts, found[start:end], nbest, prefix, pieces[start:end])
            warnings.placeholders(number, [each for each in line.originals if each not in joined[0].text])
            translations.append(joined)
        return translations

    def _begins(self, prefix: str, parts: int, number: int) -> Sequence[TextPrefix | None]:
        """Return the forced beginnings of the translations of a line's parts."""
        if not prefix or not parts:
            return [None] * parts
        if (length := len(self.tokenizer.encode_target([prefix])[0])) > self.max_length:
            raise DataError(f"the prefix of line {number} has {length} tokens, more than {self.max_length}")
        return spread_prefix(prefix, parts, self.piece_table)

    def _warn_of_cuts(self, number: int, piece: Piece, ways: Ways, warnings: Warnings) -> None:
        """Warn if a translation of a piece of a line had to end at its limit."""
        most = self.limits.most_tokens(piece)
        for _, each in ways:
            at_limit = len(each.ids) + 1 >= most and "cut translation" not in warnings.given
            if at_limit and not self.decoder.ends_itself(piece, each.ids):
                warnings.cut_translation(number, most)
