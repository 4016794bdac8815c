"""Validation: loss and metrics on the validation text, and the ranking of checkpoints by them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import numpy as np
import torch

from transformer.data.batching import BatchCutter, Update
from transformer.data.corpus import Pair
from transformer.data.dataset import from_pairs
from transformer.data.lengths import Lengths
from transformer.data.tokenizer import Tokenizer
from transformer.decoding.translator import greedy, make_translator
from transformer.evaluation import metrics
from transformer.runs.layout import step_name
from transformer.runs.progress import Progress
from transformer.training.log import perplexity
from transformer.training.trainer import Trainer

log = logging.getLogger(__name__)


class Validator:
    """Measures a model on the validation text."""

    def __init__(
        self,
        trainer: Trainer,
        tokenizer: Tokenizer,
        pairs: list[Pair],
        micro_batch_tokens: int,
        lengths: Lengths | None = None,
    ) -> None:
        """Take how many tokens of a side go through the network at once, and the lengths of the training pairs."""
        self.lengths = lengths
        self.trainer, self.tokenizer, self.pairs, self.micro_batch_tokens = (
            trainer,
            tokenizer,
            pairs,
            micro_batch_tokens,
        )

    @torch.no_grad()
    def measure(self, step: int) -> dict[str, float]:
        """Return loss, perplexity and, with `train.validate_text`, every metric of greedy translations."""
        model = self.trainer.model
        model.eval()
        model.compute_dtype = self.trainer.dtype
        with self.trainer.averaged():
            loss = self._mean_loss()
            values = {"loss": loss, "ppl": perplexity(loss)}
            if self.trainer.cfg.train.validate_text:
                texts = self._translate()
                references = [pair.target for pair in self.pairs]
                scores = metrics.score_corpus(texts, references, self.trainer.cfg.data.target)
                values |= {name: score.score for name, score in scores.items()}
                self._log_samples(texts, step)
        return values

    def _mean_loss(self) -> float:
        """Return the mean negative log-likelihood per target token, in nats."""
        trainer, count = self.trainer, len(self.pairs)
        dataset = from_pairs(self.pairs, self.tokenizer)
        cutter = BatchCutter(dataset, self.tokenizer, trainer.model.start_id, self.micro_batch_tokens, 0.0, 0)
        batches = cutter.cut(Update(0, 0, True, np.arange(count)))
        sums = [
            loss for batch in batches for loss in trainer.splitter.run((batch, 0), lambda part: trainer.loss(part[0]))
        ]
        return sum(float(loss.nll) for loss in sums) / sum(loss.tokens for loss in sums)

    def _translate(self) -> list[str]:
        cfg, trainer = self.trainer.cfg, self.trainer
        data, decode = cfg.data, greedy(cfg.decode)
        translator = make_translator(
            trainer.model, self.tokenizer, decode, data.max_length, trainer.device, self.lengths, data.source
        )
        return [found[0].text for found in translator.translate(pair.source for pair in self.pairs)]

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
