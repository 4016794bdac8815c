"""Decodes and scores pieces: ids of sentences in, hypotheses out, in batches of similar length.

Shape letters: B sentences, S source positions, T target positions, R rows (samples of all sentences), V vocabulary.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transformer.config import DecodeConfig
from transformer.data.ragged import rectangle
from transformer.data.tokenizer import Tokenizer
from transformer.decoding import search, transfer
from transformer.decoding.backend import Backend, TorchBackend
from transformer.decoding.batches import DecodingSplitter, Piece, PieceBatch
from transformer.decoding.ensemble import mean_log_probs
from transformer.decoding.int8.engine import Engine
from transformer.decoding.limits import Limits
from transformer.decoding.sampling import Sampling, random_bits, sample
from transformer.model.network import Transformer
from transformer.runs.models import StoredModel, networks
from transformer.system.threads import Workers

log = logging.getLogger(__name__)


class PieceDecoder:
    """Searches, samples and scores with one model, or with several that have the same vocabulary."""

    def __init__(
        self,
        sources: Sequence[Transformer | StoredModel],
        tokenizer: Tokenizer,
        cfg: DecodeConfig,
        device: torch.device,
        backend: Backend,
        workers: Workers,
        limits: Limits,
    ) -> None:
        self.sources, self.tokenizer, self.cfg, self.device = sources, tokenizer, cfg, device
        self.backend, self.workers, self.limits = backend, workers, limits
        self.splitter = DecodingSplitter(device, tokenizer, cfg.batch_tokens, sources[0].cfg)
        self._failures = itertools.count()
        self.check_interruption: Callable[[], None] = lambda: None
        """Called at each position of a search, by the thread that searches; it may raise an exception to end it."""
        self.decoded: Callable[[float], None] = lambda pieces: None
        """Called after each batch with how many of the pieces it is by work: a long one is more than one.

        The longest come first, so their number alone would say for a minute that nothing happens.
        """

    @property
    def models(self) -> list[Transformer]:
        """The networks, whose weights are read if they are only stored."""
        return networks(self.sources)

    @torch.inference_mode()
    def decode(self, pieces: Sequence[Piece], count: int) -> list[list[search.Hypothesis]]:
        """Return the `count` best hypotheses or samples of each piece, in the order of the pieces."""
        beams = count if self.cfg.draws else self.cfg.beam
        batches = self.splitter.cut(pieces, beams, self.workers.count)

        def search_batch(numbers: list[int]) -> list[list[search.Hypothesis]]:
            batch = PieceBatch([pieces[i] for i in numbers], beams, count)
            return [each for part in self.splitter.run(batch, self._search) for each in part]

        hypotheses: list[list[search.Hypothesis]] = [[]] * len(pieces)
        work = [len(piece.source) + 1 for piece in pieces]
        try:
            for numbers, results in zip(batches, self.workers.results(search_batch, batches), strict=True):
                for i, result in zip(numbers, results, strict=True):
                    hypotheses[i] = result
                self.decoded(len(pieces) * sum(work[i] for i in numbers) / sum(work))
        finally:
            if isinstance(self.backend, Engine):
                self.backend.release()  # batches of one call share memory; a server would keep its largest for ever
        return hypotheses

    @torch.inference_mode()
    def _search(self, batch: PieceBatch) -> list[list[search.Hypothesis]]:
        """Search for the pieces of a batch, or sample, all at once."""
        cfg, pieces, task = self.cfg, batch.pieces, self._task(batch)
        source_BS, count = self._source_ids(batch), max(task.limits)
        if not cfg.draws:
            found, failed = self.backend.decode(
                source_BS,
                batch.beams,
                count,
                lambda state: (search.beam_search(state, batch.beams, task), getattr(state, "failed", [])),
            )
            return self._search_again(batch, found, failed) if failed else found
        rows = [random_bits(piece.source, k, cfg.seed, count) for piece in pieces for k in range(batch.nbest)]
        bits_RT = transfer.upload(np.stack(rows), self.device)
        sampling = Sampling(temperature=cfg.temperature, top_k=cfg.top_k, top_p=cfg.top_p)
        return self.backend.decode(source_BS, batch.beams, count, lambda state: sample(state, bits_RT, sampling, task))

    def _search_again(
        self, batch: PieceBatch, found: list[list[search.Hypothesis]], failed: Sequence[int]
    ) -> list[list[search.Hypothesis]]:
        """Return what was found, with the pieces that failed in 8 bits searched again in float32."""
        if next(self._failures) == 0:  # also of several threads
            log.warning("some sentences need float32, which is slower: half precision ends at 65,504")
        rest = replace(batch, pieces=[batch.pieces[i] for i in failed])
        task, backend = self._task(rest), TorchBackend(networks(self.sources[:1])[0], torch.float32, self.device)
        again = backend.decode(
            self._source_ids(rest),
            rest.beams,
            max(task.limits),
            lambda state: search.beam_search(state, rest.beams, task),
        )
        for number, hypotheses in zip(failed, again, strict=True):
            found[number] = hypotheses
        return found

    def _source_ids(self, batch: PieceBatch) -> Tensor:
        """Return the sources (B, S) of a batch."""
        return self.tensor([piece.source for piece in batch.pieces], last=self.tokenizer.eos)

    def _task(self, batch: PieceBatch) -> search.SearchTask:
        """Return what to search for."""
        tokenizer, pieces = self.tokenizer, batch.pieces
        return search.SearchTask(
            start_id=self.sources[0].start_id,
            eos=tokenizer.eos,
            banned=tokenizer.never_chosen,
            limits=[self.limits.most_tokens(piece) for piece in pieces],
            prefixes=[piece.prefix for piece in pieces] if any(piece.prefix for piece in pieces) else None,
            alpha=self.cfg.length_penalty,
            nbest=batch.nbest,
            read=tuple if batch.nbest == 1 else lambda ids: tokenizer.decode([ids])[0],
            device=self.device,
            check=self.check_interruption,
        )

    @torch.inference_mode()
    def log_probs(self, pieces: Sequence[Piece]) -> list[float]:
        """Return the log-probability of the target of each piece, computed in float32."""
        found = np.zeros(len(pieces))
        for numbers in self.splitter.cut_to_score(pieces):
            batch = PieceBatch([pieces[i] for i in numbers], beams=1, nbest=1)
            found[numbers] = np.concatenate(list(self.splitter.run(batch, self._log_probs)))
            self.decoded(len(numbers))
        values: list[float] = found.tolist()
        return values

    @torch.inference_mode()
    def _log_probs(self, batch: PieceBatch) -> NDArray[np.float64]:
        eos, targets = self.tokenizer.eos, [piece.target for piece in batch.pieces]
        answer_BT = self.tensor(targets, last=eos)
        models = [TorchBackend(model, torch.float32).ready() for model in self.models]
        logits_BTV = self._logits(models, [piece.source for piece in batch.pieces], targets)
        log_prob_BT = logits_BTV.gather(2, answer_BT[:, :, None])[:, :, 0] - logits_BTV.logsumexp(-1)
        log_prob_BT = log_prob_BT.masked_fill(answer_BT == self.tokenizer.pad, 0.0)
        found: NDArray[np.float64] = log_prob_BT.double().sum(1).cpu().numpy()
        return found

    @torch.inference_mode()
    def ends_itself(self, piece: Piece, ids: Sequence[int]) -> bool:
        """Return whether eos is the most probable token after these target ids."""
        if isinstance(self.backend, Engine):
            source_BS = self.tensor([piece.source], last=self.tokenizer.eos)
            best = self.backend.best_after(source_BS, [self.sources[0].start_id, *ids])
            if best is not None:
                return best == self.tokenizer.eos
        backend = self.backend if isinstance(self.backend, TorchBackend) else None
        models = [(backend or TorchBackend(model, torch.float32)).ready() for model in self.models]
        logits_BTV = self._logits(models, [piece.source], [ids])
        return int(logits_BTV[0, -1].argmax()) == self.tokenizer.eos

    def _logits(self, models: Sequence[Transformer], sources: Sequence[Any], targets: Sequence[Any]) -> Tensor:
        """Return the logits (B, T, V) of the ids after each id of the targets, the start token before them."""
        source_BS = self.tensor(sources, last=self.tokenizer.eos)
        return mean_log_probs([model(source_BS, self.tensor(targets, first=model.start_id)) for model in models])

    def tensor(self, rows: Sequence[Any], first: int | None = None, last: int | None = None) -> Tensor:
        """Return rows of ids as one padded tensor, with the token `first` before and `last` after each row if given."""
        return transfer.upload(rectangle(rows, self.tokenizer.pad, first, last), self.device)
