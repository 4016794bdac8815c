"""A training session: starts or resumes a run, given a configuration and a run directory."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from transformer import atomic, config_file, file_system
from transformer.config import Config
from transformer.data import hub
from transformer.data.curriculum import check_phases, distinct, phases, scheduled, warn_of_unused
from transformer.data.lengths import with_lengths
from transformer.data.prepare import check_corpora, extend_tokenizer
from transformer.decoding.translator import check_precision
from transformer.errors import CheckpointError, TransformerError
from transformer.evaluation.metrics import check_select_by
from transformer.evaluation.model_card import write_model_card
from transformer.paths import expanded
from transformer.runs.checkpoint import first_usable
from transformer.runs.layout import CHECKPOINTS, CONFIG, FINISHED, REPORT, is_run
from transformer.runs.models import build_model
from transformer.runs.run import Run, check_destination, refuse_links, write_run
from transformer.system.clock import Stopwatch
from transformer.system.device import advice_on_precision, device_name, missing_here, resolve_dtype
from transformer.system.distributed import Ranks, joined
from transformer.system.launcher import job, restarted
from transformer.system.memory import enough_memory
from transformer.training.agreement import (
    prepare_together,
    refuse_other_settings,
    settings_of_first,
    spread_state,
    synthesize_together,
    versions_of,
)
from transformer.training.log import BoardMaker, open_log, tensorboard
from transformer.training.loop import TrainingLoop
from transformer.training.microbatch import disk_in_words, disk_space, micro_batch_tokens
from transformer.training.resuming import (
    already_finished,
    known_tokenizer,
    warn_of_a_jump,
    what_to_resume,
    with_inherited,
)
from transformer.training.stopping import UNFINISHED
from transformer.training.trainer import make_trainer
from transformer.training.warm_start import warm_start

RESUME = "re-run the same command to resume from the last checkpoint"
"""What to do after a process has ended."""

FRESH = ".fresh"
"""The file that names the job which began a run with `fresh`, so that its restarts do not begin again."""
LOCK_OF_THE_DEAD = 120.0
"""Seconds after a restart that a file server may keep the lock of a machine that died."""

log = logging.getLogger(__name__)


def train(cfg: Config, folder: Path, device: torch.device, fresh: bool = False, progress_bar: bool = False) -> str:
    """Start or resume the run in a directory, and return why training stopped.

    `fresh` moves an existing run aside and starts over. `progress_bar` shows a progress bar on a terminal.
    Raises TransformerError if the run cannot be trained.
    """
    watch = Stopwatch()
    check_select_by(cfg.train.select_by)
    warn_of_unused(cfg.data.train, cfg.train.max_steps)
    for each in missing_here():
        log.warning("on this system %s", each)
    with joined(device, RESUME) as (ranks, device):
        refuse_other_settings(cfg, ranks)
        check_corpora(cfg.data)
        folder = folder.resolve()
        with _alone(folder) if ranks.first else contextlib.nullcontext():
            start = _Start(cfg, folder, fresh, ranks)
            if start.finished:
                return start.finished
            board = tensorboard() if cfg.train.tensorboard and ranks.first else None
            versions = versions_of(start.cfg, folder if start.resumes else None, ranks)
            with (
                versions,
                enough_memory("training does not fit", "make the model smaller, or lower train.batch_tokens"),
            ):
                loop = build_loop(start.cfg, folder, device, ranks, watch, resume=start.resumes)
                with _moved_aside(folder) if start.aside else contextlib.nullcontext():
                    return _train(loop, start, board, progress_bar and ranks.first)


class _Start:
    """What is done with the run directory, as the first process finds it. All others learn it from the first."""

    def __init__(self, cfg: Config, folder: Path, fresh: bool, ranks: Ranks) -> None:
        self.fresh = fresh
        """Whether the run begins anew, though there may be one."""
        self.aside = False
        """Whether the run that is there is moved aside. Only in the first process."""
        self.checkpoints: list[Path] = []
        """Where to resume, the newest first. Only in the first process."""
        self.finished: str | None = None
        """Why the run is complete, if it is."""
        if ranks.first:
            cfg = self._look(cfg, folder)
        self.cfg = settings_of_first(cfg, ranks)
        """The settings, with what is true of the tokenizer."""
        self.finished = ranks.of_first(lambda: self.finished)
        self.resumes = ranks.of_first(lambda: bool(self.checkpoints))

    def _look(self, cfg: Config, folder: Path) -> Config:
        if not restarted():
            (folder / FRESH).unlink(missing_ok=True)  # of a job before this one, which may have the same name
        elif self.fresh and (folder / FRESH).is_file() and (folder / FRESH).read_text() == job():
            log.info("--fresh was done before this restart, so the run is resumed")
            self.fresh = False
        self.aside = self.fresh and is_run(folder)
        if not self.aside:
            refuse_links(folder)
            atomic.clean_up(folder)
            atomic.clean_up(folder / CHECKPOINTS)
        if self.fresh:
            return with_inherited(cfg, None)
        cfg, self.checkpoints = what_to_resume(cfg, folder)
        if self.checkpoints:
            self.finished = already_finished(cfg, folder, self.checkpoints)
        return cfg


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock the run directory, or what is to become it, while the block runs. Raises CheckpointError if it is none."""
    check_destination(folder)
    with _locked(folder):
        yield


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder while the block runs. Raises CheckpointError if another training holds the lock.

    After a restart, wait for the lock: a file server keeps that of a dead machine for a while. A folder that did not
    exist is removed again if the block fails before it has written anything there.
    """
    existed = folder.exists()
    file_system.make_folder(folder)
    with contextlib.ExitStack() as stack:
        end = time.monotonic() + (LOCK_OF_THE_DEAD if restarted() else 0.0)
        while not stack.enter_context(atomic.only_writer(folder)):
            if time.monotonic() >= end:
                raise CheckpointError(
                    f"another training is writing to {folder}; wait for it, or choose another directory with --run"
                )
            log.info("waiting for the lock of %s, which the training before this restart may hold", folder)
            time.sleep(min(5.0, LOCK_OF_THE_DEAD))
        try:
            yield
        except BaseException:
            if not existed and [each.name for each in folder.iterdir()] == [atomic.LOCK]:
                shutil.rmtree(folder, ignore_errors=True)
            raise


def _train(loop: TrainingLoop, start: _Start, board: BoardMaker | None, progress_bar: bool) -> str:
    """Resume from the first usable checkpoint, or start if there are none. Train and write the model card.

    Nothing is written into the run directory before the run can be trained.
    """
    run, ranks, cfg = loop.run, loop.trainer.ranks, loop.cfg
    if start.checkpoints:
        path, loop.progress = first_usable(run, start.checkpoints, loop.writer.restore)
        log.info("resuming from %s", path)
        warn_of_a_jump(config_file.load(run.path / CONFIG), cfg, loop.progress.step + 1)
    loop.progress = spread_state(loop.trainer, loop.writer, loop.progress)
    if start.resumes:
        loop.resume(loop.progress)
    with contextlib.ExitStack() as stack:
        if ranks.first:
            (run.path / FINISHED).unlink(missing_ok=True)
            write_run(run.path, cfg, run.tokenizer)
            if start.fresh:
                atomic.write_text(run.path / FRESH, job())
            report = with_lengths(loop.data.train.report, loop.data.train)  # now: a run that is stopped has it too
            atomic.write_text(run.path / REPORT, json.dumps(report, indent=1) + "\n")
            finished = loop.progress.finished(cfg) is not None
            metrics_log = open_log(run.path, board, loop.progress, finished)
            loop.write_metrics_to(stack.enter_context(contextlib.closing(metrics_log)))
            if loop.progress.step and not finished:
                metrics_log.write("resumed", {"step": loop.progress.step})
            _log_start(loop)
        reason = loop.fit(progress_bar)
    if ranks.first:
        write_model_card(run)
        if reason not in UNFINISHED:
            atomic.write_text(run.path / FINISHED, reason + "\n")
    return reason


@hub.fixed_commits()
def build_loop(
    cfg: Config,
    folder: Path,
    device: torch.device,
    ranks: Ranks,
    watch: Stopwatch,
    resume: bool = False,
) -> TrainingLoop:
    """Return the loop of a training at step 0, with its data and model. Writes nothing into the run directory.

    With `resume`, the run's tokenizer is used, and the weights will be restored from a checkpoint, so those of
    `train.init_from` are not loaded. Without it, a run in this directory is not looked at.
    """
    resolve_dtype(cfg.train.precision, device)  # now, instead of after the data have been prepared
    cache = cache_of(cfg, folder)
    made = synthesize_together(cfg, cache, device, ranks, folder if resume else None)
    encoded, places = distinct(made.data.train)
    text = replace(cfg, data=replace(made.data, train=encoded))
    tokenizer = known_tokenizer(cfg, folder if resume else None) if ranks.first else None
    if tokenizer is not None and cfg.tokenizer.extend and not resume:
        tokenizer = extend_tokenizer(text, tokenizer, cache)
    data = prepare_together(text, cache, tokenizer, ranks)
    data = replace(data, train=scheduled(data.train, made.data.train, places))
    check_phases(data.train, made.data.train, cfg.train.max_steps)
    made.add_to(data.train.report)
    run = Run(folder, cfg, data.tokenizer)
    torch.manual_seed(cfg.train.seed)
    model = build_model(cfg, data.tokenizer)
    if data.valid is not None:
        check_precision(cfg.model, cfg.decode, device)  # now, instead of at the first validation
    if cfg.train.init_from is not None and not resume and ranks.first:
        warm_start(model, data.tokenizer, expanded(cfg.train.init_from))
    trainer = make_trainer(model, cfg, device, ranks)
    tokens = ranks.smallest(micro_batch_tokens(cfg, device, ranks.count))  # of the memory that the model leaves
    loop = TrainingLoop(run, data, trainer, tokens, watch)
    loop.phases = phases(made.data.train, cfg.train.max_steps)
    loop.progress.mixed_updates = trainer.fast is not None  # rows of constant length are fuller then
    return loop


def cache_of(cfg: Config, folder: Path) -> Path:
    """Return the directory of prepared text of a run."""
    return expanded(cfg.data.prepared_dir) if cfg.data.prepared_dir else folder.parent / "prepared"


@contextlib.contextmanager
def _moved_aside(folder: Path) -> Iterator[None]:
    """Rename a run directory, and lock the new one that takes its place while the block runs."""
    log.info("moved the contents of %s to %s", folder, _move_aside(folder))
    with _locked(folder):
        yield


def _move_aside(folder: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    old = folder.with_name(f"{folder.name}.old-{stamp}")
    try:
        file_system.move(folder, old)
    except OSError as error:
        raise TransformerError(
            f"cannot move {folder} to {old}: {error.strerror}; choose another directory with --run"
        ) from None
    return old


def _log_start(loop: TrainingLoop) -> None:
    cfg, trainer = loop.cfg, loop.trainer
    parameters = sum(p.numel() for p in trainer.parameters)
    log.info(
        "%s -> %s: %s pairs, %s updates per epoch, %s parameters, %s on %s",
        cfg.data.source,
        cfg.data.target,
        f"{len(loop.data.train):,}",
        f"{loop.cutting.updates_per_epoch(loop.progress.step):,}",
        f"{parameters:,}",
        str(trainer.dtype).removeprefix("torch."),
        device_name(trainer.device),
    )
    for line in loop.phases:
        log.info("%s", line)
    if advice := advice_on_precision(cfg.train.precision, trainer.device):
        log.info("%s", advice)
    pieces = loop.run.tokenizer.sizes[1]
    if trainer.device.type == "cuda" and pieces % 8:
        log.info(
            "the products with %s target pieces would be faster if their number were a multiple of 8", f"{pieces:,}"
        )
    needed, free = disk_space(loop.run, parameters, trainer.average is not None)
    if needed > free:
        log.warning(
            "the checkpoints may not fit on the disk (%s): lower train.keep_last or free space",
            disk_in_words(needed, free),
        )
