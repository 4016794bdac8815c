"""Throughput of training on a GPU: this repository, the same without its fast path, and torch.nn.Transformer."""

from __future__ import annotations

import itertools
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gpu_checks import paths
from gpu_report import Report, forget
from gpu_work import (
    BOS,
    LONGEST,
    PAD,
    Work,
    make_loop,
    news,
    operations,
    peak_operations,
    special_ids,
    wait,
)
from torch import Tensor, nn

from transformer.data import batching
from transformer.data.reading import UpdateReader
from transformer.model.network import sinusoids
from transformer.system.threads import prefetch
from transformer.training.loop import TrainingLoop


def train(work: Work, report: Report) -> None:
    """Measure updates as `transformer train` does them, with the reader in its thread."""
    dataset = news(work)
    for fast in paths(work):
        mixed = work.cuda and fast == "auto"  # as in a run that begins
        loop = make_loop(work, work.model, dataset, work.device, mixed, fast=fast, clip_norm=1.0)
        prefetched = prefetch(loop.cut_updates())
        try:
            _measure(work, report, f"this repository, fast: {fast}", loop, prefetched)
        finally:
            prefetched.close()
        del loop
        forget()


def _measure(work: Work, report: Report, title: str, loop: TrainingLoop, prefetched: Any) -> None:
    started = time.perf_counter()
    cuts = list(itertools.islice(prefetched, work.updates))
    for cut in cuts:
        loop.update(cut)
    wait(work.device)
    warm = time.perf_counter() - started
    _reset_peak(work)
    loop.take_statistics()
    started, count = time.perf_counter(), 0
    while count < work.updates or time.perf_counter() - started < work.seconds:
        loop.take_and_update(prefetched)
        count += 1
    wait(work.device)
    seconds = time.perf_counter() - started
    target, both = loop.window.tokens, loop.window.real
    done = operations(work.model, work.vocabulary, both - target, target) / seconds
    peak = peak_operations(work.device)
    report.say(
        title, tokens_per_second=round(target / seconds), share_of_peak=None if peak is None else done / peak,
        ms_per_update=1e3 * seconds / count, host_ms=_host_time(work, loop, cuts),
        waiting_for_data=loop.window.data_seconds / seconds, real_tokens=both / loop.window.padded,
        batches_per_update=statistics.mean(len(cut.batches) for cut in cuts), seconds_to_warm_up=warm,
        peak_GiB=_peak(work),
    )  # fmt: skip
    if work.cuda:
        _profile(report, title, loop, cuts)


def _host_time(work: Work, loop: TrainingLoop, cuts: list[Any]) -> float:
    """Return the milliseconds in which the program has given an update to the idle device."""
    found = []
    for step, cut in enumerate(cuts[:5]):
        wait(work.device)
        started = time.perf_counter()
        loop.trainer.update(step + 1, cut, 1e-4)
        found.append(1e3 * (time.perf_counter() - started))
    wait(work.device)
    return statistics.median(found)


def _profile(report: Report, title: str, loop: TrainingLoop, cuts: list[Any]) -> None:
    """Count the kernels of an update and the time of the device; write the longest of them into a file."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        loop.trainer.update(1, cuts[0], 1e-4)
        torch.cuda.synchronize()
    events = [each for each in found.events() if str(each.device_type).endswith("CUDA")]
    report.say(
        f"{title}, one update by the profiler", kernels=len(events),
        launches=sum("Launch" in each.name for each in found.events() if each.name.startswith("cu")),
        device_ms=sum(each.device_time_total for each in events) / 1e3,
    )  # fmt: skip
    name = "profile-" + title.rpartition(" ")[2]
    report.folder.mkdir(parents=True, exist_ok=True)
    text = found.key_averages().table(sort_by="self_device_time_total", row_limit=60)
    (report.folder / f"{name}.txt").write_text(text, encoding="utf-8")


def _reset_peak(work: Work) -> None:
    if work.cuda:
        torch.cuda.reset_peak_memory_stats(work.device)


def _peak(work: Work) -> float | None:
    return torch.cuda.max_memory_allocated(work.device) / 2**30 if work.cuda else None


class Plain(nn.Module):
    """What one writes around torch.nn.Transformer."""

    positions_PD: Tensor

    def __init__(self, work: Work) -> None:
        super().__init__()
        size = work.model
        self.embedding = nn.Embedding(work.vocabulary, size.width, padding_idx=PAD)
        nn.init.normal_(self.embedding.weight, std=size.width**-0.5)
        self.transformer = nn.Transformer(
            size.width, size.heads, size.encoder_layers, size.decoder_layers, size.feed_forward,
            dropout=size.dropout, batch_first=True,
        )  # fmt: skip
        self.dropout = size.dropout
        self.register_buffer("positions_PD", sinusoids(2 * LONGEST, size.width))

    def forward(self, source_BS: Tensor, input_BT: Tensor, answer_BT: Tensor) -> Tensor:
        """Return the mean of the smoothed loss."""
        length, padding = input_BT.shape[1], source_BS == PAD
        later_TT = torch.ones(length, length, dtype=torch.bool, device=input_BT.device).triu(1)
        hidden_BTD = self.transformer(
            self.embed(source_BS), self.embed(input_BT), tgt_mask=later_TT, src_key_padding_mask=padding,
            memory_key_padding_mask=padding, tgt_is_causal=True,
        )  # fmt: skip
        logits = F.linear(hidden_BTD, self.embedding.weight).flatten(0, 1)
        return F.cross_entropy(logits, answer_BT.flatten(), ignore_index=-100, label_smoothing=0.1)

    def embed(self, ids: Tensor) -> Tensor:
        """Return scaled embeddings plus positions."""
        x = self.embedding(ids) * math.sqrt(self.embedding.embedding_dim) + self.positions_PD[: ids.shape[1]]
        return F.dropout(x, self.dropout, self.training)


def rectangles(work: Work, multiple: int) -> list[tuple[Tensor, Tensor, Tensor, int, int]]:
    """Return updates of the same pairs as one padded rectangle a side, with their source and target tokens."""
    cutter = batching.BatchCutter(UpdateReader(news(work), special_ids(), 0.0, 1), BOS, limit=10**9, workers=1)
    found = []
    for update in itertools.islice(batching.updates(cutter.reader.dataset, work.batch_tokens, 1, 0, 0), work.updates):
        (batch,) = cutter.cut(update).batches
        answers = torch.full((batch.input_BT.numel(),), -100)
        answers[batch.places_N] = batch.target_N
        sides = (batch.source_BS, PAD), (batch.input_BT, PAD), (answers.view_as(batch.input_BT), -100)
        padded = [F.pad(side, (0, -side.shape[1] % multiple), value=fill).to(work.device) for side, fill in sides]
        found.append((padded[0], padded[1], padded[2], batch.real - batch.tokens, batch.tokens))
    return found


def torch_transformer(work: Work, report: Report, compiled: bool) -> None:
    """Measure torch.nn.Transformer in bfloat16 autocast, with a fused optimizer and ready-made tensors."""
    if compiled and not work.cuda:
        report.say("torch.nn.Transformer, torch.compile: not measured", reason="the device is no GPU")
        return
    torch.manual_seed(1)
    model = Plain(work).to(work.device).train()
    adam = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    network: Any = torch.compile(model, dynamic=True) if compiled else model
    updates = rectangles(work, 32 if compiled else 8)

    def update(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
        with torch.autocast(work.device.type, torch.bfloat16):
            loss = network(*tensors)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)

    started = time.perf_counter()
    for each in updates[: len(updates) // 2 + 1]:
        update(each[:3])
    wait(work.device)
    warm = time.perf_counter() - started
    _reset_peak(work)
    started, count, source, target = time.perf_counter(), 0, 0, 0
    while count < len(updates) or time.perf_counter() - started < work.seconds:
        each = updates[count % len(updates)]
        update(each[:3])
        source, target, count = source + each[3], target + each[4], count + 1
    wait(work.device)
    seconds = time.perf_counter() - started
    peak = peak_operations(work.device)
    done = operations(work.model, work.vocabulary, source, target) / seconds
    report.say(
        f"torch.nn.Transformer, bfloat16 autocast{', torch.compile' if compiled else ''}",
        tokens_per_second=round(target / seconds), share_of_peak=None if peak is None else done / peak,
        ms_per_update=1e3 * seconds / count, seconds_to_warm_up=warm, peak_GiB=_peak(work),
    )  # fmt: skip


def ratios(report: Report) -> None:
    """Say how many times as fast the fastest row of this repository is as torch.nn.Transformer."""
    rates = {row["what"]: row["tokens_per_second"] for row in report.rows if "tokens_per_second" in row}
    ours = max((rate for name, rate in rates.items() if name.startswith("this")), default=None)
    for name, rate in rates.items():
        if ours is not None and name.startswith("torch"):
            report.say(f"this repository is faster than {name} by", times=ours / rate)


def first_update(work: Work, report: Report, tiny: bool) -> None:
    """Measure the seconds from the command to the first update, of text that has been prepared."""
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("abcdefghiklmnoprstuvw"), rng.integers(2, 9))) for _ in range(20_000)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side in ("en", "de"):
            lengths = np.clip(rng.lognormal(3.0, 0.6, 300 if tiny else 30_000), 1, 80).astype(int)
            lines = (" ".join(rng.choice(words, length)) for length in lengths)
            (folder / f"text.{side}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        model = f"{{width: {work.model.width}, heads: {work.model.heads}, feed_forward: {work.model.feed_forward}, "
        model += f"encoder_layers: {work.model.encoder_layers}, decoder_layers: {work.model.decoder_layers}}}"
        path = folder / "config.yaml"
        path.write_text(
            f"data: {{source: en, target: de, train: {{files: ['{folder}/text.en', '{folder}/text.de']}}}}\n"
            f"tokenizer: {{vocab_size: {400 if tiny else 8000}}}\nmodel: {model}\n"
            f"train: {{batch_tokens: {work.batch_tokens}, log_every: 1}}\n"
        )
        command = [sys.executable, "-m", "transformer", "train", str(path), "--device", str(work.device), "--run"]
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder / "compiled")}
        for name, run in (("nothing prepared or compiled before", "one"), ("prepared and compiled before", "two")):
            seconds = _until_step([*command, str(folder / run)], environment)
            report.say(f"from the command to the first update, {name}", seconds=seconds)


def _until_step(command: list[str], environment: dict[str, str]) -> float:
    started, seconds, last = time.perf_counter(), math.nan, ""
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    assert child.stderr is not None
    try:
        for line in child.stderr:
            last = line.strip() or last
            if "step 1 " in line:
                seconds = time.perf_counter() - started
                break
    finally:
        child.kill()
        child.wait()
        child.stderr.close()
    if math.isnan(seconds):
        raise RuntimeError(f"no update: {last}")
    return seconds
