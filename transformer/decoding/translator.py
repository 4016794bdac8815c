"""The translator: translates and scores text with a model and its tokenizer, in the order of the input.

Shape letters: B sentences, S source positions, T target positions, R rows (samples of all sentences), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from transformer.config import DecodeConfig, ModelConfig
from transformer.data.lengths import Lengths
from transformer.data.ragged import rectangle
from transformer.data.text import visible
from transformer.data.tokenizer import Tokenizer
from transformer.decoding import search, transfer
from transformer.decoding.backend import Backend, TorchBackend
from transformer.decoding.batches import DecodingSplitter, Piece, PieceBatch, take_window
from transformer.decoding.int8.engine import make_engine, obstacle
from transformer.decoding.limits import Warnings, make_limits
from transformer.decoding.long_lines import Part, cut_line, join_best, join_samples, restore_beginning
from transformer.decoding.prefix import PieceTable, TextPrefix, spread_prefix
from transformer.decoding.sampling import Sampling, random_bits, sample
from transformer.errors import ConfigError, DataError
from transformer.model.network import Transformer
from transformer.system.device import DTYPES, resolve_dtype
from transformer.system.threads import Workers, start_workers

MOST_SCORED = 4096
"""Tokens of a line that can always be scored, even if `data.max_length` is less."""
TORCH_WORKERS = 2
"""Batches decoded in parallel by torch on a CPU; `start_workers` says why two. More were not measured."""


@dataclass(frozen=True)
class Translation:
    """A translation of a line. `str()` returns its text."""

    text: str
    score: float
    """Log-probability divided by the length penalty, for ranking; a long line has the sum of its pieces."""
    log_prob: float
    """Natural logarithm of the probability."""
    ids: tuple[int, ...]
    """Target ids without eos."""
    alternatives: tuple[Translation, ...] = ()
    """The next best translations, best first, if the Python interface was called with `nbest`."""

    def __str__(self) -> str:
        return self.text

    @property
    def tokens(self) -> int:
        """Number of target tokens, including eos."""
        return len(self.ids) + 1


EMPTY = Translation("", 0.0, 0.0, ())
"""The translation of an empty line."""


def make_translator(
    model: Transformer,
    tokenizer: Tokenizer,
    cfg: DecodeConfig,
    max_length: int,
    device: torch.device,
    lengths: Lengths | None = None,
    language: str = "",
) -> Translator:
    """Return a translator for a model on its device.

    Lines of more than `max_length` tokens, or longer than the `lengths` of the training pairs if known, are translated
    sentence by sentence. `language` is the code of the source language, which helps to find sentences.
    For 8-bit decoding it quantizes the model and, if necessary, compiles the kernels. It also starts threads.
    Raises ConfigError or DeviceError if `cfg` is not possible here.
    """
    check_precision(model, cfg, device)
    precision = planned_precision(model.cfg, cfg, device)
    if precision == "int8":
        backend: Backend = make_engine(model)
    else:
        backend = TorchBackend(model, DTYPES[precision], device, cfg.fast == "auto")
    workers = start_workers(device, most=torch.get_num_threads() if precision == "int8" else TORCH_WORKERS)
    return Translator(model, tokenizer, cfg, max_length, device, backend, workers, lengths, language)


def planned_precision(model: ModelConfig, cfg: DecodeConfig, device: torch.device) -> str:
    """Return the precision in which `make_translator` will decode, by its name in the configuration."""
    if not cfg.sampling and cfg.precision in ("auto", "int8") and obstacle(model, cfg.beam, device) is None:
        return "int8"
    precision = "float32" if cfg.sampling and cfg.precision == "auto" else cfg.precision
    return str(resolve_dtype(precision, device)).removeprefix("torch.")


def check_precision(model: Transformer, cfg: DecodeConfig, device: torch.device) -> None:
    """Raise ConfigError or DeviceError if the device or machine cannot decode in the requested precision."""
    resolve_dtype(cfg.precision, device)
    reason = "decode.sampling needs logits" if cfg.sampling else obstacle(model.cfg, cfg.beam, device)
    if cfg.precision == "int8" and reason:
        raise ConfigError(f"decode.precision=int8 is not possible here: {reason}")


def greedy(cfg: DecodeConfig) -> DecodeConfig:
    """Return the settings of greedy search."""
    return replace(cfg, beam=1, sampling=False)


class Translator:
    """Translates and scores text with one model on one device. Created by `make_translator`."""

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        cfg: DecodeConfig,
        max_length: int,
        device: torch.device,
        backend: Backend,
        workers: Workers,
        lengths: Lengths | None = None,
        language: str = "",
    ) -> None:
        self.model, self.tokenizer, self.cfg, self.max_length, self.device = model, tokenizer, cfg, max_length, device
        self.backend, self.workers, self.language = backend, workers, language
        self.limits = make_limits(cfg, max_length, lengths)
        self.splitter = DecodingSplitter(device, tokenizer, cfg.batch_tokens, model.cfg)
        self.check_interruption: Callable[[], None] = lambda: None
        """Called at each position of a search, by the thread that searches; it may raise an exception to end it."""

    @property
    def precision(self) -> str:
        """The precision of decoding, by its name in the configuration."""
        return self.backend.precision

    @cached_property
    def piece_table(self) -> PieceTable:
        """The target pieces, for forced prefixes."""
        return PieceTable(self.tokenizer)

    def check(self, nbest: int) -> None:
        """Raise ConfigError if beam search with these settings cannot return `nbest` translations of a line."""
        if nbest > self.cfg.beam and not self.cfg.sampling:
            raise ConfigError(f"{nbest} translations need a beam of at least {nbest}, not {self.cfg.beam}")

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

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[Translation]:
        """Return the given translations with their scores, computed in float32 whatever `decode.precision` is.

        `translate` gives the same score for the same ids if it decodes in float32.
        """
        ids = self.tokenizer.encode_source(sources), self.tokenizer.encode_target(targets)
        limit, warnings = max(self.max_length, MOST_SCORED), self.warnings()
        for number, (source, *row) in enumerate(zip(sources, *ids, strict=True), 1):
            if (length := max(map(len, row))) > limit:
                raise DataError(f"line {number} has {length} tokens, more than the {limit} that can be scored")
            warnings.unseen(number, source, row[0])
            warnings.long_line(number, len(row[0]), "scored whole, unlike in `translate`")
        scored = self.score_ids(*ids)
        return [one if source or one.ids else EMPTY for source, one in zip(ids[0], scored, strict=True)]

    @torch.inference_mode()
    def score_ids(self, sources: Sequence[list[int]], targets: Sequence[Sequence[int]]) -> list[Translation]:
        """Return the log-probability and score of each list of target ids, computed in float32."""
        pieces = [Piece(source, target=target) for source, target in zip(sources, targets, strict=True)]
        log_probs = np.zeros(len(pieces))
        for numbers in self.splitter.cut_to_score(pieces):
            batch = PieceBatch([pieces[i] for i in numbers], beams=1, nbest=1)
            log_probs[numbers] = np.concatenate(list(self.splitter.run(batch, self._log_probs)))
        alpha = self.cfg.length_penalty
        return [
            Translation(text, search.length_normalized(log_prob, len(ids) + 1, alpha), log_prob, tuple(ids))
            for text, log_prob, ids in zip(self.tokenizer.decode(targets), log_probs.tolist(), targets, strict=True)
        ]

    @torch.inference_mode()
    def _log_probs(self, batch: PieceBatch) -> NDArray[np.float64]:
        """Return the log-probability of each piece's translation, computed in float32."""
        model, eos = TorchBackend(self.model, torch.float32).ready(), self.tokenizer.eos
        targets = [piece.target for piece in batch.pieces]
        source_BS = self._tensor([piece.source for piece in batch.pieces], last=eos)
        answer_BT = self._tensor(targets, last=eos)
        logits_BTV = model(source_BS, self._tensor(targets, first=self.model.start_id))
        log_prob_BT = logits_BTV.gather(2, answer_BT[:, :, None])[:, :, 0] - logits_BTV.logsumexp(-1)
        log_prob_BT = log_prob_BT.masked_fill(answer_BT == self.tokenizer.pad, 0.0)
        found: NDArray[np.float64] = log_prob_BT.double().sum(1).cpu().numpy()
        return found

    def _translate_window(
        self, lines: list[str], prefixes: list[str], nbest: int, first: int, warnings: Warnings
    ) -> list[list[Translation]]:
        """Translate lines. `first` is the number of the first line."""
        pieces: list[Piece] = []
        parts_of_line: list[list[Part]] = []
        sources = self.tokenizer.encode_source(lines)
        prefixes = [visible(prefix) for prefix in prefixes]
        for number, (line, ids, prefix) in enumerate(zip(lines, sources, prefixes, strict=True), first):
            parts = self._parts(line, ids, number, warnings)
            begins = self._begins(prefix, len(parts), number)
            parts_of_line.append(parts)
            pieces += [Piece(part.ids, begin) for part, begin in zip(parts, begins, strict=True)]
        hypotheses = self._decode(pieces, nbest)
        translations, end = [], 0
        join = join_samples if self.cfg.sampling else join_best
        for number, (parts, prefix) in enumerate(zip(parts_of_line, prefixes, strict=True), first):
            start, end = end, end + len(parts)
            found = list(zip(pieces[start:end], hypotheses[start:end], strict=True))
            _warn_of_cuts(self, number, found, warnings)
            joined = join([_with_texts(*each, self.tokenizer) for each in found], parts, nbest)
            joined = restore_beginning(joined, prefix, [piece.prefix for piece, _ in found], parts)
            translations.append([Translation(*way) for way in joined] or [EMPTY])
        return translations

    def _parts(self, line: str, ids: list[int], number: int, warnings: Warnings) -> list[Part]:
        """Return the parts of a line to decode: one, several for a long line, none for an empty line."""
        warnings.unseen(number, line, ids)
        limits = self.limits
        if len(ids) <= limits.longest_line:
            return [Part(ids)] if ids else []
        parts = cut_line(line, self.tokenizer, limits.longest_line, self.language, limits.longest_sentence)
        if len(parts) > 1:
            warnings.long_line(number, len(ids), "translated sentence by sentence")
        return parts

    def _begins(self, prefix: str, parts: int, number: int) -> Sequence[TextPrefix | None]:
        """Return the forced beginnings of the translations of a line's parts."""
        if not prefix or not parts:
            return [None] * parts
        if (length := len(self.tokenizer.encode_target([prefix])[0])) > self.max_length:
            raise DataError(f"the prefix of line {number} has {length} tokens, more than {self.max_length}")
        return spread_prefix(prefix, parts, self.piece_table)

    @torch.inference_mode()
    def _decode(self, pieces: list[Piece], nbest: int) -> list[list[search.Hypothesis]]:
        """Decode the pieces in batches of similar length, and restore their order."""
        beams = nbest if self.cfg.sampling else self.cfg.beam
        batches = self.splitter.cut(pieces, beams, self.workers.count)

        def search_batch(numbers: list[int]) -> list[list[search.Hypothesis]]:
            batch = PieceBatch([pieces[i] for i in numbers], beams, nbest)
            return [each for part in self.splitter.run(batch, self._search) for each in part]

        hypotheses: list[list[search.Hypothesis]] = [[]] * len(pieces)
        for numbers, results in zip(batches, self.workers.map(search_batch, batches), strict=True):
            for i, result in zip(numbers, results, strict=True):
                hypotheses[i] = result
        return hypotheses

    @torch.inference_mode()
    def _search(self, batch: PieceBatch) -> list[list[search.Hypothesis]]:
        """Search for the pieces of a batch, all at once."""
        cfg, tokenizer, pieces = self.cfg, self.tokenizer, batch.pieces
        task = search.SearchTask(
            start_id=self.model.start_id,
            eos=tokenizer.eos,
            banned=tokenizer.never_chosen,
            limits=[self.limits.most_tokens(piece) for piece in pieces],
            prefixes=[piece.prefix for piece in pieces] if any(piece.prefix for piece in pieces) else None,
            alpha=cfg.length_penalty,
            nbest=batch.nbest,
            read=tuple if batch.nbest == 1 else lambda ids: tokenizer.decode([ids])[0],
            device=self.device,
            check=self.check_interruption,
        )
        source_BS = self._tensor([piece.source for piece in pieces], last=tokenizer.eos)
        count = max(task.limits)
        if not cfg.sampling:
            return self.backend.decode(
                source_BS, batch.beams, count, lambda state: search.beam_search(state, batch.beams, task)
            )
        rows = [random_bits(piece.source, k, cfg.seed, count) for piece in pieces for k in range(batch.nbest)]
        bits_RT = transfer.upload(np.stack(rows), self.device)
        sampling = Sampling(temperature=cfg.temperature, top_k=cfg.top_k, top_p=cfg.top_p)
        return self.backend.decode(source_BS, batch.beams, count, lambda state: sample(state, bits_RT, sampling, task))

    def _tensor(self, rows: Sequence[Any], first: int | None = None, last: int | None = None) -> torch.Tensor:
        """Return rows of ids as one padded tensor, with the token `first` before and `last` after each row if given."""
        return transfer.upload(rectangle(rows, self.tokenizer.pad, first, last), self.device)


def _warn_of_cuts(
    translator: Translator, number: int, found: list[tuple[Piece, list[search.Hypothesis]]], warnings: Warnings
) -> None:
    """Warn if a translation of a line had to end at its limit."""
    for piece, hypotheses in found:
        most = translator.limits.most_tokens(piece)
        for each in hypotheses:
            at_limit = len(each.ids) + 1 >= most and "cut translation" not in warnings.given
            if at_limit and not _ends_itself(translator, piece, each):
                warnings.cut_translation(number, most)


@torch.inference_mode()
def _ends_itself(translator: Translator, piece: Piece, found: search.Hypothesis) -> bool:
    """Return whether eos is the most probable token after a translation."""
    backend, eos = translator.backend, translator.tokenizer.eos
    model = (backend if isinstance(backend, TorchBackend) else TorchBackend(translator.model, torch.float32)).ready()
    source_BS = translator._tensor([piece.source], last=eos)
    logits_BTV = model(source_BS, translator._tensor([found.ids], first=model.start_id))
    return int(logits_BTV[0, -1].argmax()) == eos


def _with_texts(
    piece: Piece, hypotheses: list[search.Hypothesis], tokenizer: Tokenizer
) -> list[tuple[str, search.Hypothesis]]:
    """Return the translations of a piece with their texts."""
    if piece.prefix is not None:
        return [(piece.prefix.text(each.ids), each) for each in hypotheses]
    return list(zip(tokenizer.decode([each.ids for each in hypotheses]), hypotheses, strict=True))
