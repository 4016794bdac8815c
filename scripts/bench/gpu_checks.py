"""Correctness on a GPU: the same numbers as on a CPU, and the laws of an update."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from gpu_decoding import EOS, START, TOKENS, Load, base_model
from gpu_report import Report, forget
from gpu_work import Work, make_loop, news, wait
from torch import Tensor

from transformer.config import ModelConfig
from transformer.decoding.backend import TorchBackend
from transformer.decoding.search import SearchTask, beam_search
from transformer.training.loop import TrainingLoop

CPU = torch.device("cpu")
LIMITS = {"float32": 1e-4, "bfloat16": 1e-1, "float16": 2e-2}
"""Largest difference, relative to the norm, from float32 on a CPU."""
SMALL = ModelConfig(width=64, heads=2, feed_forward=128, encoder_layers=2, decoder_layers=2, dropout=0.0)
TRAIN: dict[str, Any] = {"peak_rate": 1e-3, "warmup_steps": 2, "clip_norm": 1.0, "ema": 0.9}
UPDATES = 6


def paths(work: Work) -> list[str]:
    """Return the values of `train.fast` that differ on this device."""
    return ["auto", "off"] if work.cuda else ["off"]


def gradients(loop: TrainingLoop, cut: Any) -> tuple[float, dict[str, Tensor]]:
    """Return the mean negative log-likelihood of an update and its gradients, on the CPU. Weights do not change."""
    pending = loop.trainer.update(1, cut, rate=0.0)
    weights = loop.trainer.weights
    found = {name: view.detach().cpu().double() for name, view in weights.views(weights.gradients).items()}
    return float(pending.nll) / cut.tokens, found


def difference(found: Tensor, wanted: Tensor) -> float:
    """Return the norm of a difference, relative to what is wanted."""
    return float((found.cpu().double() - wanted).norm() / wanted.norm())


def trained(loop: TrainingLoop) -> Iterator[tuple[str, Tensor]]:
    """Do some updates; yield the matrices."""
    cuts = loop.cut_updates()
    for _ in range(UPDATES):
        loop.update(next(cuts))
    for name, p in loop.trainer.weights.views(loop.trainer.weights.weights).items():
        if p.ndim > 1:
            yield name, p.detach().cpu().double()


def correct(work: Work, report: Report) -> None:
    """Compare loss, gradients and the weights after six updates with those of float32 on a CPU."""
    work = replace(work, batch_tokens=min(work.batch_tokens, 5000), vocabulary=min(work.vocabulary, 8000))
    dataset = news(work, pairs=min(work.pairs, 20_000))

    def make(device: torch.device, precision: str, fast: str) -> TrainingLoop:
        return make_loop(work, SMALL, dataset, device, True, precision=precision, fast=fast, **TRAIN)

    reference = make(CPU, "float32", "off")
    loss, wanted = gradients(reference, next(reference.cut_updates()))
    matrices = dict(trained(make(CPU, "float32", "off")))
    for precision in ("float32", "bfloat16", *(["float16"] if work.cuda else [])):
        for fast in paths(work) if precision != "float16" else ["off"]:
            loop = make(work.device, precision, fast)
            other, found = gradients(loop, next(loop.cut_updates()))
            worst = max((difference(found[name], wanted[name]), name) for name in wanted if wanted[name].norm() > 0)
            moved = max(difference(p, matrices[name]) for name, p in trained(make(work.device, precision, fast)))
            limit, loss_off = LIMITS[precision], abs(other / loss - 1)
            report.say(
                f"{precision}, fast: {fast}", passed=max(loss_off, worst[0], moved) < limit, limit=limit,
                loss=loss_off, worst_gradient=worst[0], of=worst[1], weights_after_six=moved,
            )  # fmt: skip
            forget()
    same_translations(work, report)


def same_translations(work: Work, report: Report) -> None:
    """Compare the translations of a tiny model in float32 with those on a CPU."""
    load = Load(beams=4, batch_tokens=2000)
    source_BS = torch.randint(EOS + 1, 300, (load.sentences, TOKENS), generator=torch.Generator().manual_seed(1))

    def decode(device: torch.device, fast: bool) -> list[list[int]]:
        backend = TorchBackend(base_model(device, tiny=True), torch.float32, device, fast)
        limits = [TOKENS] * load.sentences
        task = SearchTask(start_id=START, eos=EOS, banned=(0, 1, 2), limits=limits, device=device)

        def search(state: Any) -> Any:
            return beam_search(state, load.beams, task)

        with torch.inference_mode():
            found = backend.decode(source_BS.to(device), load.beams, TOKENS, search)
        return [list(best[0].ids) for best in found]

    wanted = decode(CPU, fast=False)
    for fast in [True, False] if work.cuda else [False]:
        same = sum(one == other for one, other in zip(decode(work.device, fast), wanted, strict=True))
        report.say(
            f"translations, fast: {'auto' if fast else 'off'}", passed=same == len(wanted), same=same, of=len(wanted)
        )


def laws(work: Work, report: Report) -> None:
    """Check on a GPU: no bad update changes anything, no update waits, and the same update has the same bits."""
    dataset = news(work)
    for fast in paths(work):
        forget()
        loop = make_loop(work, work.model, dataset, work.device, True, fast=fast, clip_norm=1.0, ema=0.99)
        cuts, trainer = loop.cut_updates(), loop.trainer
        first, second = next(cuts), next(cuts)
        for cut in (first, second, first):
            loop.update(cut)
        report.say(f"a bad update changes nothing, fast: {fast}", passed=_bad_update_changes_nothing(loop, first))
        again = []
        for _ in range(2):
            loss, found = gradients(loop, second)
            again.append((loss, found))
        differ = [name for name, each in again[0][1].items() if not torch.equal(each, again[1][1][name])]
        same = again[0][0] == again[1][0] and not differ
        report.say(f"the same bits twice, fast: {fast}", passed=same, differ=", ".join(differ[:5]) or None)
        if work.cuda:
            wait(work.device)
            torch.cuda.set_sync_debug_mode("error")
            try:
                trainer.update(5, second, 1e-4)
                report.say(f"an update does not wait, fast: {fast}", passed=True)
            except RuntimeError as error:
                report.say(f"an update does not wait, fast: {fast}", passed=False, reason=str(error)[:200])
            finally:
                torch.cuda.set_sync_debug_mode("default")


def _bad_update_changes_nothing(loop: TrainingLoop, cut: Any) -> bool:
    """Return whether all weights and the state of the optimizer survive an update whose gradient is not a number."""
    trainer = loop.trainer
    before = [each.clone() for each in _state(loop)]
    trainer.update(4, replace(cut, tokens=float("nan")), 1e-3)
    return all(torch.equal(old, new) for old, new in zip(before, _state(loop), strict=True))


def _state(loop: TrainingLoop) -> list[Tensor]:
    state = loop.trainer.optimizer.state.values()
    tensors = [each for values in state for each in values.values() if isinstance(each, Tensor)]
    return [loop.trainer.weights.weights, *tensors]
