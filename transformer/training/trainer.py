"""Training: from a configuration to a run directory that translates. Run again, it goes on where it was."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from transformer import __version__, atomic
from transformer.data import batching, corpus
from transformer.data.dataset import Dataset, from_pairs
from transformer.decoding.translator import greedy, make_translator
from transformer.errors import CheckpointError, TransformerError
from transformer.evaluation.metrics import score_corpus
from transformer.model.dropout import dropout_seed
from transformer.model.loss import LossSum, label_smoothed
from transformer.model.network import Transformer
from transformer.runs.averaging import average_weights
from transformer.runs.checkpoint import TENSORS, WEIGHTS, load_state, load_tensors, prune, save_checkpoint, whole
from transformer.runs.progress import Progress, checkpoint_name, finished
from transformer.runs.run import Run
from transformer.system.clock import Stopwatch
from transformer.system.device import device_name, resolve_dtype
from transformer.system.distributed import Ranks
from transformer.system.memory import is_out_of_memory, release_cached_memory
from transformer.system.signals import StopSignals
from transformer.system.threads import Prefetcher, prefetch, start_workers
from transformer.training.log import MetricsLog, perplexity, train_line, valid_line
from transformer.training.microbatch import micro_batch_tokens
from transformer.training.optimizer import (
    build_optimizer,
    gradient_norm,
    learning_rate,
    move_average,
    set_learning_rate,
)

WISHES = ("", "save", "time limit", "interrupted", "terminated")
MANY = 10
"""Updates skipped in a row after which training does not just go on."""
ADAM = ("step", "exp_avg", "exp_avg_sq")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """An update that nobody has looked at yet, since that is to wait for the device."""

    step: int
    tokens: int
    pairs: NDArray[Any]
    nll: Tensor
    norm: Tensor


@dataclass
class Tally:
    """Sums over the updates since the last line of the log."""

    nll: float = 0.0
    counted: int = 0
    """Tokens that `nll` is of: those of the updates that were not skipped."""
    skipped: int = 0
    tokens: int = 0
    real: int = 0
    padded: int = 0
    seconds: float = 0.0
    waited: float = 0.0


class Trainer:
    """Updates a model's weights, and knows how to stop and go on without a trace."""

    def __init__(self, run: Run, model: Transformer, dataset: Dataset, device: torch.device, ranks: Ranks) -> None:
        self.run, self.cfg, self.device, self.ranks = run, run.config, device, ranks
        self.model, self.dataset = model.to(device), dataset
        self.parameters = list(model.parameters())
        self.dtype = resolve_dtype(self.cfg.train.precision, device)
        self.workers = start_workers(device)
        self.scaler = torch.amp.GradScaler(device.type) if self.dtype == torch.float16 else None
        self.adam = build_optimizer(model, self.cfg.train)
        self.average = [p.detach().clone() for p in self.parameters] if self.cfg.train.ema is not None else None
        self.progress, self.tally = Progress(), Tally()
        self.done: list[Done] = []
        self.norm = math.nan
        self.usual: deque[float] = deque(maxlen=128)
        self.fitting: float = math.inf
        self.saved, self.save_seconds = -1, 0.0
        self.failures: list[Exception] = []
        self.journal: MetricsLog | None = None
        self.limit = -ranks.agree(-micro_batch_tokens(self.cfg, device, ranks.count), device)  # the smallest of all

    # ---- one update -------------------------------------------------------------------------------------

    def update(self, batches: list[batching.Batch]) -> None:
        """Move the weights by the gradient of the mean loss over all target tokens of these batches.

        Nothing in here waits for the device: what the log wants stays there until `_look_back`.
        """
        cfg, step = self.cfg.train, self.progress.step + 1
        tokens = sum(batch.tokens for batch in batches)
        seeds = np.random.SeedSequence([cfg.seed, step]).generate_state(len(batches), np.uint32)
        mine = list(zip(batches, seeds.tolist(), strict=True))[self.ranks.rank :: self.ranks.count]
        shares = [mine[i :: self.workers.count] for i in range(self.workers.count)]
        self.model.compute_dtype = self.dtype
        self.workers.map(lambda each: each[0].repack(each[1], self.dtype), self.model.packed_weights())
        sums = self.workers.map(lambda share: self._sum_of_gradients(share, tokens), [s for s in shares if s])
        nll = self.ranks.total(sum((nll for _, nll in sums), torch.zeros((), device=self.device)))
        for gradients, _ in sums[1:]:
            torch._foreach_add_(sums[0][0], gradients)
        for p, gradient in zip(self.parameters, sums[0][0] if sums else [], strict=False):
            p.grad = gradient
        self.ranks.sum_gradients(self.parameters)
        set_learning_rate(self.adam, self.rate(step))
        norm = self._apply_gradients(nll)
        self.done.append(Done(step, tokens, np.concatenate([batch.pairs for batch in batches]), nll, norm))
        if self.average is not None and cfg.ema is not None:
            move_average(self.average, self.parameters, cfg.ema, step)
        self.progress.step = step
        self.progress.tokens += tokens
        self.tally.tokens += tokens
        self.tally.real += sum(batch.real for batch in batches)
        self.tally.padded += sum(batch.padded for batch in batches)

    def _sum_of_gradients(self, share: list[tuple[batching.Batch, int]], tokens: int) -> tuple[list[Tensor], Tensor]:
        """Return the gradients of the loss per token, one for each parameter, and the summed nll of these batches."""
        gradients: list[Tensor] = []
        nll = torch.zeros((), device=self.device)
        todo = share[::-1]
        while todo:
            batch, seed = todo.pop()
            found = self._gradients(batch, seed, tokens)
            if found is None:
                seeds = np.random.SeedSequence(seed).generate_state(2, np.uint32).tolist()
                todo += reversed(list(zip(batch.halves(self.model.pad), seeds, strict=True)))
                continue
            if gradients:
                torch._foreach_add_(gradients, found[0])
            gradients = gradients or list(found[0])
            nll += found[1]
        return gradients, nll

    def _gradients(self, batch: batching.Batch, seed: int, tokens: int) -> tuple[tuple[Tensor, ...], Tensor] | None:
        """Return the same of one batch, or None where it has to be split to fit the memory."""
        if batch.size >= self.fitting and len(batch.pairs) > 1:
            return None
        try:
            return self._backward(batch, seed, tokens)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if len(batch.pairs) == 1:
            raise TransformerError(
                f"pair {batch.pairs[0]}, of {batch.source_BS.numel()} and {batch.input_BT.numel()} tokens, does not "
                f"fit the memory of {device_name(self.device)}; lower data.max_length or make the model smaller"
            )
        self.fitting = min(self.fitting, batch.size)  # here, where the error no longer holds what filled the memory
        release_cached_memory(self.device)
        log.warning(
            "out of memory in a batch of %d tokens a side: from now on such batches are split, with the same gradient; "
            "train.micro_batch_tokens=%d would avoid that", batch.size, batch.size // 2,
        )  # fmt: skip
        return None

    def _backward(self, batch: batching.Batch, seed: int, tokens: int) -> tuple[tuple[Tensor, ...], Tensor]:
        with dropout_seed(seed, self.device):
            found = self.loss(batch)
        mean = found.smoothed / tokens
        scaled = mean if self.scaler is None else self.scaler.scale(mean)
        return torch.autograd.grad(scaled, self.parameters), found.nll

    def loss(self, batch: batching.Batch) -> LossSum:
        """Return the summed loss of a batch in training precision."""
        batch = batch.to(self.device)
        hidden_BTD = self.model.hidden(batch.source_BS, batch.input_BT)
        hidden_ND = hidden_BTD.flatten(0, 1).index_select(0, batch.places_N)
        model, smoothing = self.model, self.cfg.train.label_smoothing
        return label_smoothed(
            hidden_ND, model.output_weight, model.output_bias, batch.target_N, smoothing, model.output_packed
        )

    def _apply_gradients(self, nll: Tensor) -> Tensor:
        """Clip and step, and return the gradient's norm; a gradient, or loss, that is not finite changes nothing."""
        if self.scaler is not None:
            assert self.parameters[0].grad is not None
            self.parameters[0].grad.add_(0 * nll)  # the scaler looks at gradients alone
            self.scaler.unscale_(self.adam)
        norm = gradient_norm(self.parameters) + 0 * nll
        if self.cfg.train.clip_norm is not None:
            factor = (self.cfg.train.clip_norm / (norm + 1e-6)).clamp(max=1.0)
            torch._foreach_mul_([p.grad for p in self.parameters if p.grad is not None], factor)
        if self.scaler is not None:
            self.scaler.step(self.adam)
            self.scaler.update()
        else:
            bad = (~norm.isfinite()).float()
            self.adam.found_inf = bad  # type: ignore[attr-defined]  # the fused kernel skips the step by itself
            self.adam.step()
        torch.autograd.graph.increment_version(self.parameters)  # which the fused kernel forgets, and Layouts go by
        self.adam.zero_grad(set_to_none=True)
        return norm

    def rate(self, step: int) -> float:
        """Return the learning rate of an update."""
        return learning_rate(step, self.cfg.train, self.cfg.model.width) * (0.5 if self.progress.calm else 1.0)

    # ---- what is out of the ordinary ---------------------------------------------------------------------

    def _look_back(self) -> None:
        """Fetch the losses of the updates since the last look, and report those that were skipped or stand out."""
        done, self.done = self.done, []
        if not done:
            return
        nlls, norms = torch.stack([torch.stack((each.nll, each.norm)) for each in done]).T.tolist()
        for each, nll, self.norm in zip(done, nlls, norms, strict=True):
            mean = nll / each.tokens
            if not math.isfinite(self.norm):
                self.progress.skips += 1
                self.tally.skipped += 1
                self._remark("skipped", each, mean, "its loss or gradient is not finite, so it changed nothing")
                continue
            self.progress.skips = 0
            self.tally.nll += nll
            self.tally.counted += each.tokens
            if len(self.usual) >= 32 and mean > np.mean(self.usual) + 6 * np.std(self.usual) + 0.1:
                self._remark("spike", each, mean, f"the loss of those before was about {np.mean(self.usual):.3f}")
            self.usual.append(mean)

    def _remark(self, kind: str, each: Done, mean: float, why: str) -> None:
        if not self.ranks.first:
            return
        pairs = each.pairs.tolist()
        some = ", ".join(map(str, pairs[:8])) + (", ..." if len(pairs) > 8 else "")
        log.warning("%s: update %d, loss %.3f, norm %.3f: %s; pairs %s", kind, each.step, mean, self.norm, why, some)
        if self.journal is not None:
            self.journal.write(kind, {"step": each.step, "loss": mean, "grad_norm": self.norm, "pairs": pairs})

    def _go_back(self) -> None:
        """Return to the last checkpoint from before the skipped updates, once, and go on at half the rate."""
        progress = self.progress
        told = f"{progress.skips} updates in a row, up to update {progress.step}, had losses or gradients not finite"
        path = self.run.checkpoints / progress.good
        if progress.calm or not progress.good or atomic.damage(path):
            raise TransformerError(
                f"{told}{', again at half the rate' if progress.calm else ''}: stopped; their losses and pairs are in "
                f"{self.run.path / 'metrics.jsonl'}; start over with a lower train.peak_rate or with train.clip_norm"
            )
        log.warning("%s: going back to %s, and on at half the learning rate", told, path)
        self.restore(path)
        self.progress.calm = True

    # ---- the whole training -----------------------------------------------------------------------------

    def fit(self, held: list[corpus.Pair] | None, journal: MetricsLog, watch: Stopwatch) -> str:
        """Train until something says stop; return what it was, in words. Saves before it returns."""
        cfg, self.journal = self.cfg.train, journal
        ahead = prefetch(self.cut_updates())
        try:
            with StopSignals() as interruption, self._bar() as bar:
                while (why := self.finished()) is None:
                    self._timed_update(ahead)
                    bar.update()
                    if any(map(self._due, (cfg.log_every, cfg.validate_every, cfg.save_every))):
                        self._look_back()
                    if self.progress.skips >= MANY:
                        ahead.close()
                        self._go_back()
                        ahead = prefetch(self.cut_updates())
                        continue
                    if self._due(cfg.log_every):
                        self._report(journal, watch)
                    if self._due(cfg.validate_every) and held is not None:
                        self._validate(held, journal)
                    elif self._due(cfg.save_every):
                        self.save()
                    wish = self._wish(interruption, watch)
                    if wish == "save":
                        self.save()
                    elif wish:
                        why = wish
                        break
                self._save_last(held, journal, why)
        finally:
            ahead.close()
        return why

    def _bar(self) -> Any:
        """Return a progress bar, shown on a terminal only."""
        hidden = None if self.ranks.first else True
        return tqdm(
            initial=self.progress.step, total=self.cfg.train.max_steps, unit=" updates", disable=hidden, leave=False
        )

    def finished(self) -> str | None:
        """Return why no update is left to do, or None."""
        return finished(self.progress, self.cfg)

    def _wish(self, interruption: StopSignals, watch: Stopwatch) -> str:
        """Return what signals and clock ask for, one of WISHES; all processes agree on the most urgent."""
        limit = self.cfg.train.time_limit
        late = limit is not None and watch.seconds + self.save_seconds >= limit
        wish = "time limit" if late else ""
        if interruption.stop is not None:
            wish = "interrupted" if interruption.stop == signal.SIGINT else "terminated"
        wish = wish or ("save" if interruption.save else "")
        interruption.save = False
        return WISHES[self.ranks.agree(WISHES.index(wish), self.device)]

    def cut_updates(self) -> Iterator[tuple[batching.Update, list[batching.Batch]]]:
        """Yield the updates from where training stands on, cut into batches."""
        cfg, tok = self.cfg.train, self.run.tokenizer
        cutter = batching.Batches(self.dataset, tok, self.model.start_id, self.limit, cfg.subword_sampling, cfg.seed)
        progress = self.progress
        for update in batching.updates(self.dataset, cfg.batch_tokens, cfg.seed, progress.epoch, progress.index):
            yield update, cutter.cut(update)

    def _timed_update(self, ahead: Prefetcher) -> None:
        started = time.perf_counter()
        update, batches = next(ahead)
        got = time.perf_counter()
        self.model.train()
        self.update(batches)
        self.progress.epoch, self.progress.index = (
            (update.epoch + 1, 0) if update.last else (update.epoch, update.index + 1)
        )
        self.tally.waited += got - started
        self.tally.seconds += time.perf_counter() - started
        self.progress.seconds += time.perf_counter() - started

    def _due(self, every: int) -> bool:
        return self.progress.step % every == 0

    def _report(self, journal: MetricsLog, watch: Stopwatch) -> None:
        """Log the updates since the last report."""
        values = self.metrics(watch)
        if self.ranks.first:
            log.info("%s", train_line(values))
            journal.write("train", values)

    def metrics(self, watch: Stopwatch) -> dict[str, Any]:
        """Return means over the updates since the last call; this waits for the device."""
        self._look_back()
        tally, cfg, progress = self.tally, self.cfg.train, self.progress
        self.tally = Tally()
        step_seconds = progress.seconds / max(progress.step, 1)
        left = (cfg.max_steps - progress.step) * step_seconds
        if cfg.time_limit is not None:
            left = min(left, max(0.0, cfg.time_limit - watch.seconds))
        mean = tally.nll / tally.counted if tally.counted else math.nan
        return {
            "step": progress.step,
            "epoch": progress.epoch + progress.index / max(self.updates_per_epoch(), 1),
            "loss": mean,
            "ppl": perplexity(mean),
            "rate": self.rate(progress.step),
            "grad_norm": self.norm,
            "tokens_per_second": tally.tokens / max(tally.seconds, 1e-9),
            "real": tally.real / max(tally.padded, 1),
            "data_wait": tally.waited / max(tally.seconds, 1e-9),
            "skipped": tally.skipped,
            "tokens": progress.tokens,
            "seconds": progress.seconds,
            "seconds_left": left,
        }

    def updates_per_epoch(self) -> float:
        """Return about how many updates an epoch has."""
        if not hasattr(self, "_epoch_tokens"):
            target = self.dataset.lengths()[1] + 1
            self._epoch_tokens = sum(float(target[a:b].sum()) * weight for a, b, weight in self.dataset.corpora)
        return math.ceil(self._epoch_tokens / self.cfg.train.batch_tokens)

    # ---- validation -------------------------------------------------------------------------------------

    def _validate(self, held: list[corpus.Pair], journal: MetricsLog) -> None:
        """Measure on held-out text, save, and remember whether this is the best so far."""
        better = False
        self.progress.validated = self.progress.step
        if self.ranks.first:
            values = {"step": self.progress.step, **self.validate(held)}
            better = self._rank(values)
            log.info("%s", valid_line(values, better))
            journal.write("valid", values)
        if self.ranks.agree(int(better), self.device):
            self.progress.since_best = 0
        else:
            self.progress.since_best += 1
        self.save(best=better)

    @torch.no_grad()
    def validate(self, held: list[corpus.Pair]) -> dict[str, float]:
        """Return loss, perplexity and, if asked for, BLEU and chrF of greedy translations."""
        cfg = self.cfg
        dataset = from_pairs(held, self.run.tokenizer)
        cutter = batching.Batches(dataset, self.run.tokenizer, self.model.start_id, self.limit, 0.0, 0)
        self.model.eval()
        self.model.compute_dtype = self.dtype
        with self.averaged():
            sums = [self.loss(batch) for batch in cutter.cut(batching.Update(0, 0, True, np.arange(len(held))))]
            mean = sum(float(s.nll) for s in sums) / sum(s.tokens for s in sums)
            values = {"loss": mean, "ppl": perplexity(mean)}
            if cfg.train.validate_text:
                translator = make_translator(
                    self.model, self.run.tokenizer, greedy(cfg.decode), cfg.data.max_length, self.device
                )
                texts = [found[0].text for found in translator.translate(pair.source for pair in held)]
                scores = score_corpus(texts, [pair.target for pair in held], cfg.data.target)
                values |= {"bleu": scores.bleu.score, "chrf": scores.chrf.score}
                _show(held, texts, self.progress.step, cfg.train.samples)
        return values

    def _rank(self, values: dict[str, float]) -> bool:
        """Enter a validation into the ranking; return whether it is the best so far."""
        cfg, progress = self.cfg.train, self.progress
        progress.valid = {k: v for k, v in values.items() if k != "step"}
        score = self._merit(values)
        if not math.isfinite(score):
            return False
        ranking = [*progress.ranking, (score, checkpoint_name(progress.step))]
        progress.ranking = sorted(ranking, key=lambda entry: -entry[0])[: max(cfg.keep_best, 1)]
        better = progress.best is None or score > progress.best
        progress.best = score if better else progress.best
        return better

    def _merit(self, values: dict[str, float]) -> float:
        """Return the validation score that decides, so that more is better."""
        best = self.cfg.train.best
        return -values[best] if best == "loss" else values[best]

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the model have its averaged weights, if there are any, while the block runs."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for p, mean in zip(self.parameters, self.average or [], strict=False):
            p.data, mean.data = mean.data, p.data
        torch.autograd.graph.increment_version(self.parameters)  # other values, which their versions do not tell

    # ---- saving and going on ----------------------------------------------------------------------------

    def save(self, best: bool = False) -> None:
        """Write a checkpoint of this step from which training goes on bit for bit.

        Where that fails, training goes on, and raises the error at its end or when it has failed three times in a row.
        """
        started, path = time.monotonic(), self.run.checkpoints / checkpoint_name(self.progress.step)
        self._look_back()
        before, failed = self.progress.good, False
        if not self.progress.skips:
            self.progress.good = path.name
        if self.ranks.first:
            try:
                self._write(path, best)
                self.failures.clear()
            except (OSError, CheckpointError) as error:
                failed = True
                self.failures.append(error)
                log.warning("step %d was NOT saved, the checkpoints before it are whole: %s", self.progress.step, error)
                if len(self.failures) == 3:
                    raise
        self.saved = self.progress.step
        self.save_seconds = max(self.save_seconds, time.monotonic() - started)
        if self.ranks.agree(int(failed), self.device):
            self.progress.good = before

    def _write(self, path: Path, best: bool) -> None:
        with self.averaged():
            weights = {name: p.detach() for name, p in self.model.named_parameters()}
            save_checkpoint(path, weights, self._state_tensors(), self._state_values())
        self.run.point("last", path)
        if best:
            self.run.point("best", path)
        steps = self._regular()[-self.cfg.train.keep_last :]
        needed = {path.name, self.progress.good, *(name for _, name in self.progress.ranking), *(p.name for p in steps)}
        prune(self.run, path, needed)

    def _regular(self) -> list[Path]:
        """Return the checkpoints so far that every run of this configuration has, however often it was stopped."""
        regular, now = [], self.progress.step
        for path in self.run.steps():
            step = int(path.name.removeprefix("step-"))
            due = step % self.cfg.train.save_every == 0 or step % self.cfg.train.validate_every == 0
            regular += [path] if (due and step < now) or step == now else []
        return regular

    def _state_tensors(self) -> dict[str, Tensor]:
        """Return Adam's state and, beside averaged weights, the plain ones."""
        tensors: dict[str, Tensor] = {}
        for i, (name, p) in enumerate(self.model.named_parameters()):
            tensors |= {f"adam.{key}.{name}": value for key, value in self.adam.state.get(p, {}).items()}
            if self.average is not None:
                tensors[f"weights.{name}"] = self.average[i]  # swapped: see `save`
        return tensors

    def _state_values(self) -> dict[str, Any]:
        return {
            "progress": vars(self.progress),
            "adam": bool(self.adam.state),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "tokenizer": self.run.tokenizer.fingerprint,
            "data": self.dataset.report.get("fingerprint"),
            "versions": {"transformer": __version__, "torch": torch.__version__},
        }

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint; raises CheckpointError where it does not fit this configuration."""
        state = load_state(path)
        if state["tokenizer"] != self.run.tokenizer.fingerprint:
            raise CheckpointError(f"{path} was trained with another tokenizer than the one in {self.run.path}")
        if state.get("data") != self.dataset.report.get("fingerprint"):
            raise CheckpointError(
                f"{path} was trained on other text than data.train names now; put it back, or start over with --fresh"
            )
        names = {name: tuple(p.shape) for name, p in self.model.named_parameters()}
        weights = load_tensors(path / WEIGHTS, names)
        needed = {f"weights.{name}": shape for name, shape in names.items()} if self.average is not None else {}
        for name, shape in names.items() if state.get("adam", True) else ():
            needed |= {f"adam.{key}.{name}": shape if key != "step" else () for key in ADAM}
        tensors = load_tensors(path / TENSORS, needed)
        for i, (name, p) in enumerate(self.model.named_parameters()):
            if self.average is not None:
                self.average[i].copy_(weights[name])
            with torch.no_grad():
                p.copy_(tensors[f"weights.{name}"] if self.average is not None else weights[name])
            if state.get("adam", True):
                self.adam.state[p] = {key: tensors[f"adam.{key}.{name}"].to(self.device) for key in ADAM}
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        self.progress = Progress.of(state)
        self.saved = self.progress.step

    def _save_last(self, held: list[corpus.Pair] | None, journal: MetricsLog, why: str) -> None:
        """Save where training stopped, and average the last checkpoints if it is complete and was asked for."""
        complete = self.finished() is not None or why == "time limit"
        if self.ranks.agree(int(self.saved != self.progress.step or bool(self.failures)), self.device):
            self.save()
        if held is not None and complete and self.progress.validated != self.progress.step:
            self._validate(held, journal)
        if self.failures:
            raise self.failures[-1]
        if self.cfg.train.average_last is not None and self.finished() is not None and self.ranks.first:
            self._average_last(held, journal)

    def _average_last(self, held: list[corpus.Pair] | None, journal: MetricsLog) -> None:
        """Average the newest checkpoints; the average becomes `best` unless validation says otherwise."""
        steps = whole(self._regular()[-(self.cfg.train.average_last or 1) :])
        path = self.run.checkpoints / f"average-{self.progress.step:08d}"
        weights = average_weights(self.run, steps)
        state = {**self._state_values(), "averaged": [step.name for step in steps]}
        save_checkpoint(path, weights, None, state)
        better = True
        if held is not None:
            names = [name for name, _ in self.model.named_parameters()]
            for name, p in zip(names, self.average or self.parameters, strict=True):
                with torch.no_grad():
                    p.copy_(weights[name])
            best = self.progress.best
            values = {"step": self.progress.step, **self.validate(held)}
            better = best is None or self._merit(values) > best
            log.info("average of %d: %s", len(steps), valid_line(values, better))
            journal.write("average", values)
        if better:
            self.run.point("best", path)


def _show(held: list[corpus.Pair], texts: list[str], step: int, count: int) -> None:
    """Log a few translations, other sentences each time."""
    for i in range(min(count, len(held))):
        pick = (step * 7919 + i * 104_729) % len(held)
        source, reference = held[pick]
        log.info(
            "  source       %s\n            reference    %s\n            translation  %s",
            source,
            reference,
            texts[pick],
        )
