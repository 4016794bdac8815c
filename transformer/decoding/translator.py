"""Text in, text out: a model and its tokenizer as a translator. Order of input in, order of input out."""

from __future__ import annotations

import bisect
import hashlib
import logging
import math
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise, repeat
from typing import Any

import numpy as np
import torch

from transformer.config import DecodeConfig
from transformer.data import batching
from transformer.data.tokenizer import Tokenizer
from transformer.decoding import search
from transformer.decoding.int8.engine import Engine, fits
from transformer.decoding.sampling import Sampling, sample
from transformer.errors import ConfigError, DataError, DeviceError
from transformer.model.network import Transformer
from transformer.system.device import device_name, resolve_dtype
from transformer.system.memory import is_out_of_memory, release_cached_memory
from transformer.system.threads import start_workers

SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])\s*")
WINDOW, ROOM = 2000, 1 << 22
"""Lines that are sorted by length together, and characters after which they are enough."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Translation:
    """One way to translate a line."""

    text: str
    score: float
    """Log-probability over length penalty, by which translations are ranked; summed over the pieces of a long line."""
    log_prob: float
    """Natural logarithm of the probability."""
    ids: tuple[int, ...]
    """Target ids without eos."""


@dataclass(frozen=True)
class Piece:
    """One sentence to decode, with what its translation must begin with."""

    source: list[int]
    prefix: list[int]


class Translator:
    """Translates and scores text with one model on one device."""

    def __init__(
        self, model: Transformer, tok: Tokenizer, cfg: DecodeConfig, max_length: int, device: torch.device
    ) -> None:
        """Take the longest source, in tokens, that the model translates in one piece."""
        self.model, self.tok, self.cfg, self.max_length, self.device = model, tok, cfg, max_length, device
        self.lost = False
        self.room, self.lock = cfg.batch_tokens, threading.Lock()
        check_precision(model, cfg, device)
        native_fits = cfg.precision in ("auto", "int8") and not cfg.sampling and fits(model, cfg.beam)
        self.engine = Engine(model) if native_fits else None
        self.workers = start_workers(device, most=torch.get_num_threads() if self.engine else 2)

    @property
    def precision(self) -> str:
        """The arithmetic that translates, by its name in the configuration."""
        return "int8" if self.engine else str(resolve_dtype(self.cfg.precision, self.device)).removeprefix("torch.")

    def check(self, best: int) -> None:
        """Raise ConfigError where `best` translations of a line cannot be found with these settings."""
        if best > self.cfg.beam and not self.cfg.sampling:
            raise ConfigError(f"{best} translations need a beam of at least {best}, not {self.cfg.beam}")

    def translate(
        self, lines: Iterable[str], best: int = 1, prefixes: Iterable[str] | None = None, first: int = 1
    ) -> Iterator[list[Translation]]:
        """Yield the `best` translations of each line, in order; an empty line has one, empty, of score 0.

        `prefixes` are what translations must begin with; `first` is the number of the first line, for warnings.
        """
        self.check(best)
        each = iter(lines)
        starts = iter(prefixes) if prefixes is not None else repeat("")
        while window := _take(each):
            begin = list(islice(starts, len(window)))
            if len(begin) < len(window):
                raise ConfigError(f"there are fewer prefixes than lines: line {first + len(begin)} has none")
            yield from self._window(window, begin, best, first)
            first += len(window)

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[Translation]:
        """Return each given translation with its score; the same that `translate` gives for the same ids.

        In int8 it is the same to rounding only: this computes with torch.
        """
        ids = self.tok.encode_source(sources), self.tok.encode_target(targets)
        limit = max(self.max_length, 4096)
        for number, row in enumerate(zip(*ids, strict=True), 1):
            if (length := max(map(len, row))) > limit:
                raise DataError(f"line {number} has {length} tokens, more than the {limit} that can be scored")
        found = self.score_ids(*ids)
        empty = Translation("", 0.0, 0.0, ())
        return [one if source.strip() or one.ids else empty for source, one in zip(sources, found, strict=True)]

    @torch.inference_mode()
    def score_ids(self, sources: Sequence[list[int]], targets: Sequence[Sequence[int]]) -> list[Translation]:
        """Return the log-probability and score of each list of target ids."""
        log_probs = np.zeros(len(sources))
        lengths = [max(len(s), len(t)) + 1 for s, t in zip(sources, targets, strict=True)]
        for chosen in self._batches(lengths):
            source_BS = self._tensor([sources[i] for i in chosen], last=self.tok.eos)
            input_BT = self._tensor([targets[i] for i in chosen], first=self.model.start_id)
            answer_BT = self._tensor([targets[i] for i in chosen], last=self.tok.eos)
            logits_BTV = self._model()(source_BS, input_BT).float()
            found_BT = logits_BTV.gather(2, answer_BT[:, :, None])[:, :, 0] - logits_BTV.logsumexp(-1)
            log_probs[chosen] = found_BT.masked_fill(answer_BT == self.tok.pad, 0.0).double().sum(1).cpu().numpy()
        texts = self.tok.decode(targets)
        return [
            Translation(
                text, search.length_normalized(float(lp), len(ids) + 1, self.cfg.length_penalty), float(lp), tuple(ids)
            )
            for text, lp, ids in zip(texts, log_probs, targets, strict=True)
        ]

    def _window(self, lines: list[str], prefixes: list[str], best: int, first: int) -> list[list[Translation]]:
        """Translate lines, of which the first is line number `first`."""
        tasks: list[Piece] = []
        owners: list[range] = []
        for number, (ids, prefix) in enumerate(zip(self.tok.encode_source(lines), prefixes, strict=True), first):
            if self.tok.unk in ids and not self.lost:
                self.lost = True
                log.warning("line %d has characters that this model has never seen and cannot spell", number)
            pieces = self._pieces(lines[number - first], ids, number)
            owners.append(range(len(tasks), len(tasks) + len(pieces)))
            begin = self.tok.encode_target([prefix])[0] if prefix else []
            if len(begin) > self.max_length:
                raise DataError(f"the prefix of line {number} has {len(begin)} tokens, more than {self.max_length}")
            tasks.extend(Piece(piece, begin if i == 0 else []) for i, piece in enumerate(pieces))
        found = self._decode(tasks, best)
        joined = [self._join([found[i] for i in owner]) for owner in owners]
        return [each + each[-1:] * (best - len(each)) for each in joined]  # an empty line has but one translation

    def _pieces(self, line: str, ids: list[int], number: int) -> list[list[int]]:
        """Cut what is longer than the model allows: at sentence ends, else between words, else anywhere."""
        limit = self.max_length
        if len(ids) <= limit:
            return [ids] if ids else []
        log.warning(
            "line %d has %d tokens, more than the %d this model takes: translated in pieces",
            number,
            len(ids),
            limit,
        )
        cuts = [0, *(match.end() for match in SENTENCE_END.finditer(line)), len(line)]
        sentences = self.tok.encode_source([s for a, b in pairwise(cuts) if (s := line[a:b]).strip()])
        units: list[list[int]] = []
        for sentence in sentences:
            units.extend([sentence] if len(sentence) <= limit else self._words(sentence, limit))
        return _fill(units, limit)

    def _words(self, ids: list[int], limit: int) -> list[list[int]]:
        """Cut a sentence before pieces that begin a word."""
        starts = [i for i, t in enumerate(ids) if i == 0 or self.tok.source.id_to_piece(t).startswith("▁")]
        words = [ids[a:b] for a, b in zip(starts, [*starts[1:], len(ids)], strict=True)]
        return _fill([word[i : i + limit] for word in words for i in range(0, len(word), limit)], limit)

    def _join(self, pieces: list[list[search.Hypothesis]]) -> list[Translation]:
        """Put the pieces of a line together again, the best of each with the best of each, and so on."""
        if not pieces:
            return [Translation("", 0.0, 0.0, ())]
        joined = []
        for parts in zip(*pieces, strict=False):
            text = " ".join(filter(None, self.tok.decode([part.ids for part in parts])))
            ids = tuple(i for part in parts for i in part.ids)
            joined.append(Translation(text, sum(p.score for p in parts), sum(p.log_prob for p in parts), ids))
        return joined

    @torch.inference_mode()
    def _decode(self, tasks: list[Piece], best: int) -> list[list[search.Hypothesis]]:
        """Search for each task, in batches of like length, and restore the order."""
        rows = best if self.cfg.sampling else self.cfg.beam
        found: list[list[search.Hypothesis]] = [[]] * len(tasks)
        batches = self._batches([(len(t.source) + 1) * rows for t in tasks])
        results = self.workers.map(lambda chosen: self._fitting([tasks[i] for i in chosen], best), batches)
        for chosen, hypotheses in zip(batches, results, strict=True):
            for i, each in zip(chosen, hypotheses, strict=True):
                found[i] = each
        return found

    def _fitting(self, tasks: list[Piece], best: int) -> list[list[search.Hypothesis]]:
        """Search for each task of a batch, in halves where memory does not hold the whole."""
        try:
            return self._search(tasks, best)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        rows, longest = best if self.cfg.sampling else self.cfg.beam, max(len(task.source) for task in tasks) + 1
        if len(tasks) == 1:
            text = self.tok.source.decode(tasks[0].source)[:60]
            raise DeviceError(
                f"a sentence of {longest} tokens, decoded with {rows} hypotheses, does not fit the memory of "
                f"{device_name(self.device)}: {text!r}; lower decode.beam or data.max_length"
            )
        release_cached_memory(self.device)
        half = len(tasks) // 2
        with self.lock:
            if self.room > half * longest * rows:
                self.room = half * longest * rows
                log.warning("out of memory: from now on decode.batch_tokens is %d; the results are the same", self.room)
        return self._fitting(tasks[:half], best) + self._fitting(tasks[half:], best)

    @torch.inference_mode()
    def _search(self, tasks: list[Piece], best: int) -> list[list[search.Hypothesis]]:
        cfg, tok = self.cfg, self.tok
        limits = [len(t.source) + max(cfg.max_extra, 1) + len(t.prefix) for t in tasks]
        work = search.SearchTask(
            start=self.model.start_id,
            eos=tok.eos,
            banned=tuple({tok.pad, tok.bos, tok.unk}),
            limits=limits,
            prefixes=[t.prefix for t in tasks] if any(t.prefix for t in tasks) else None,
            alpha=cfg.length_penalty,
            best=best,
            device=self.device,
        )
        source_BS = self._tensor([t.source for t in tasks], last=tok.eos)
        if not cfg.sampling:
            state = (self.engine or self._model()).start(source_BS, cfg.beam)
            return search.beam_search(state, cfg.beam, work)
        numbers = np.stack([_uniform(t.source, k, cfg.seed, max(limits)) for t in tasks for k in range(best)])
        uniform_NT = torch.from_numpy(numbers).to(self.device)
        how = Sampling(temperature=cfg.temperature, top_k=cfg.top_k, top_p=cfg.top_p)
        return sample(self._model().start(source_BS, best), uniform_NT, how, work)

    def _model(self) -> Transformer:
        """Return the model set to decode: no dropout, the configured precision."""
        if self.model.training:
            self.model.eval()
        self.model.compute_dtype = resolve_dtype(self.cfg.precision, self.device)
        return self.model

    def _batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Return sentences by falling length in groups of as many tokens as there is room for, padding counted.

        The groups are about equal, and as many for one worker as for another.
        """
        ranked = sorted(range(len(lengths)), key=lambda i: -lengths[i])

        def cut(room: int) -> list[list[int]]:
            batches, start = [], 0
            while start < len(ranked):
                end = start + max(1, room // max(1, lengths[ranked[start]]))
                batches.append(ranked[start:end])
                start = end
            return batches

        wanted = math.ceil(len(cut(self.room)) / self.workers.count) * self.workers.count
        sizes = range(1, self.room)
        return cut(1 + bisect.bisect_left(sizes, True, key=lambda room: len(cut(room)) <= wanted))

    def _tensor(self, rows: Sequence[Any], first: int | None = None, last: int | None = None) -> torch.Tensor:
        return torch.from_numpy(batching.rectangle(rows, self.tok.pad, first, last)).to(self.device)


def make_translator(
    model: Transformer, tokenizer: Tokenizer, cfg: DecodeConfig, max_length: int, device: torch.device
) -> Translator:
    """Return a translator of this model."""
    return Translator(model, tokenizer, cfg, max_length, device)


def check_precision(model: Transformer, cfg: DecodeConfig, device: torch.device) -> None:
    """Raise ConfigError or DeviceError where a device or this machine cannot decode as it is asked to."""
    resolve_dtype(cfg.precision, device)
    if cfg.precision == "int8" and (device.type != "cpu" or not fits(model, cfg.beam)):
        raise ConfigError(
            "decode.precision int8 needs Linux, a processor with AVX-512 VNNI (not a GPU), a C compiler, a beam of at"
            " most 255, and a width and feed_forward that are multiples of 32, with heads of a multiple of 16"
        )


def _take(lines: Iterator[str]) -> list[str]:
    """Return the next lines that are translated together."""
    taken: list[str] = []
    room = ROOM
    while len(taken) < WINDOW and room > 0 and (line := next(lines, None)) is not None:
        taken.append(line)
        room -= len(line)
    return taken


def greedy(cfg: DecodeConfig) -> DecodeConfig:
    """Return the settings of greedy search."""
    return replace(cfg, beam=1, sampling=False)


def _fill(units: list[list[int]], limit: int) -> list[list[int]]:
    """Join neighbouring units into pieces of at most `limit` ids."""
    pieces: list[list[int]] = []
    for unit in units:
        if pieces and len(pieces[-1]) + len(unit) <= limit:
            pieces[-1] = pieces[-1] + unit
        else:
            pieces.append(unit)
    return pieces


def _uniform(source: list[int], which: int, seed: int, count: int) -> Any:
    """Return `count` numbers in [0, 1) that depend on the sentence, the seed and which sample it is, alone."""
    digest = hashlib.blake2b(np.array(source, np.int64).tobytes(), digest_size=8).digest()
    key = [int.from_bytes(digest, "little"), (seed << 32) | which]
    bits = np.random.Philox(key=key).random_raw(count)
    return ((bits >> np.uint64(40)).astype(np.float32)) * np.float32(2**-24)
