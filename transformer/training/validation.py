"""Validation: loss and metrics on the validation text, and the ranking of checkpoints by them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch

from transformer.data.batching import Batch, BatchCutter, Update
from transformer.data.corpus import Pair
from transformer.data.dataset import from_pairs
from transformer.data.lengths import Lengths
from transformer.data.reading import UpdateReader
from transformer.data.tokenizer import Tokenizer
from transformer.decoding.shared import translate_shared
from transformer.decoding.translator import greedy, make_translator
from transformer.errors import DataError
from transformer.evaluation import metrics
from transformer.evaluation.texts import reference_columns
from transformer.model.loss import LossSum
from transformer.runs.layout import step_name
from transformer.runs.progress import Progress
from transformer.training.log import perplexity
from transformer.training.microbatch import SeededBatch
from transformer.training.trainer import Trainer

log = logging.getLogger(__name__)


class Validator:
    """Measures a model on the validation text, without the pairs that are longer than `data.max_length`."""

    def __init__(
        self,
        trainer: Trainer,
        tokenizer: Tokenizer,
        pairs: list[Pair],
        micro_batch_tokens: int,
        lengths: Lengths | None = None,
    ) -> None:
        """Take how many tokens of a side go through the network at once, and the lengths of the training pairs.

        Raises DataError if no pair is left.
        """
        self.trainer, self.tokenizer, self.micro_batch_tokens = trainer, tokenizer, micro_batch_tokens
        self.lengths = lengths
        whole = from_pairs(pairs, tokenizer)
        longest = trainer.cfg.data.max_length
        short = np.flatnonzero(np.maximum(*whole.lengths()) <= longest)
        if left_out := len(pairs) - len(short):
            what = f"pairs of data.valid have a side of more than data.max_length: {longest} tokens"
            if not len(short):
                raise DataError(f"all {len(pairs):,} {what}, so there is nothing to validate on")
            if trainer.ranks.first:
                log.warning("%s of %s %s; validation leaves them out", f"{left_out:,}", f"{len(pairs):,}", what)
        self.pairs = [pairs[i] for i in short]
        self.dataset = replace(whole, rows=whole.rows[short])

    @torch.no_grad()
    def measure(self, step: int, check: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Return loss, perplexity and, with `train.validate_text`, the metrics of greedy translations.

        The loss is that of the first reference. Metrics take all, and are the same on each machine. The processes share
        the work; all must call this. `check` is called often, from several threads, and may raise StoppedError to end
        the validation, in all of them.
        """
        model = self.trainer.model
        model.eval()
        model.compute_dtype = self.trainer.dtype
        with self.trainer.averaged():
            loss = self._mean_loss(check)
            values = {"loss": loss, "ppl": perplexity(loss)}
            if self.trainer.cfg.train.validate_text:
                texts = self._translate(check)
                values |= self.trainer.ranks.of_first(lambda: self._scores(texts, check))
                if self.trainer.ranks.first:
                    self._log_samples(texts, step)
        return values

    def _scores(self, texts: list[str], check: Callable[[], None]) -> dict[str, float]:
        """Return the usual metrics of the translations, and the one that selects checkpoints."""
        references, cfg = reference_columns(self.pairs), self.trainer.cfg
        chosen = [cfg.train.select_by] if cfg.train.select_by in metrics.METRICS else []
        texts = _Checked(texts, check)
        scores = metrics.score_corpus(texts, references, cfg.data.target, portable=True, metrics=chosen)
        return {name: score.score for name, score in scores.items()}

    def _mean_loss(self, check: Callable[[], None]) -> float:
        """Return the mean negative log-likelihood per target token, in nats."""
        trainer = self.trainer
        reader = UpdateReader(self.dataset, self.tokenizer, 0.0, 0)
        cutter = BatchCutter(reader, trainer.model.start_id, self.micro_batch_tokens)
        by_length = np.argsort(np.maximum(*self.dataset.lengths()), kind="stable")  # needs less padding
        batches = cutter.cut(Update(0, 0, True, by_length)).batches

        def loss_of(part: SeededBatch) -> LossSum:
            check()
            return trainer.loss(part[0])

        def sums_of(mine: list[Batch]) -> list[list[tuple[float, int]]]:
            each = ([*trainer.splitter.run((batch, 0), loss_of)] for batch in mine)
            return [[(float(loss.nll), loss.tokens) for loss in losses] for losses in each]

        ranks = trainer.ranks
        parts = ranks.parts(lambda: sums_of(batches[ranks.rank :: ranks.count]))
        in_order = [parts[i % ranks.count][i // ranks.count] for i in range(len(batches))]
        sums = [loss for losses in in_order for loss in losses]  # added in the order of one process, for the same sum
        return sum(nll for nll, _ in sums) / sum(tokens for _, tokens in sums)

    def _translate(self, check: Callable[[], None]) -> list[str]:
        cfg, trainer = self.trainer.cfg, self.trainer
        data, decode = cfg.data, greedy(cfg.decode)
        translator = make_translator(
            trainer.model, self.tokenizer, decode, data.max_length, trainer.device, self.lengths, data.source
        )
        translator.decoder.check_interruption = check
        sources = [pair.source for pair in self.pairs]
        return [found[0].text for found in translate_shared(translator, sources, trainer.ranks)]

    def _log_samples(self, texts: list[str], step: int) -> None:
        """Log a few translations, of different sentences at each validation."""
        count = len(self.pairs)
        for i in range(min(self.trainer.cfg.train.samples, count)):
            pick = (step * 7919 + i * 104_729) % count  # primes, so that the picks go through the whole text
            source, reference = self.pairs[pick]
            log.info(
                "  source       %s\n            reference    %s\n            translation  %s",
                source,
                reference,
                texts[pick],
            )


class _Checked(list[str]):
    """Texts that call a function before each of them is scored."""

    def __init__(self, texts: Iterable[str], check: Callable[[], None]) -> None:
        super().__init__(texts)
        self.check = check

    def __iter__(self) -> Iterator[str]:
        for text in super().__iter__():
            self.check()
            yield text


def rank(progress: Progress, values: Mapping[str, float], select_by: str, keep_best: int) -> bool:
    """Add a validation to the ranking of checkpoints, and return whether it is the best so far."""
    progress.last_validation = {key: value for key, value in values.items() if key != "step"}
    score = metrics.merit(values, select_by)
    if not math.isfinite(score):
        return False
    ranking = [*progress.ranking, (score, step_name(progress.step))]
    progress.ranking = sorted(ranking, key=lambda entry: -entry[0])[: max(keep_best, 1)]
    better = progress.best_score is None or score > progress.best_score
    progress.best_score = score if better else progress.best_score
    return better
