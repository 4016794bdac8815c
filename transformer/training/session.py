"""A training session: starts or resumes a run, given a configuration and a run directory."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from transformer import atomic, config_file
from transformer.config import Config
from transformer.data.prepare import check_corpora, prepare
from transformer.data.tokenizer import Tokenizer, load_tokenizer
from transformer.decoding.translator import check_precision
from transformer.errors import CheckpointError, ConfigError, TransformerError
from transformer.evaluation.metrics import check_select_by
from transformer.evaluation.model_card import write_model_card
from transformer.model.network import Transformer
from transformer.runs.checkpoint import first_usable, load_state
from transformer.runs.layout import CHECKPOINTS, CONFIG, FINISHED, is_run
from transformer.runs.models import build_model, load_model
from transformer.runs.progress import Progress
from transformer.runs.run import Run, open_run, refuse_links, write_run
from transformer.system.clock import Stopwatch
from transformer.system.device import device_name, missing_here, resolve_dtype
from transformer.system.distributed import Ranks, join_ranks
from transformer.system.memory import enough_memory
from transformer.training.log import BoardMaker, open_log, tensorboard
from transformer.training.loop import TrainingLoop
from transformer.training.microbatch import disk_in_words, disk_space, micro_batch_tokens
from transformer.training.optimizer import learning_rate
from transformer.training.stopping import UNFINISHED
from transformer.training.trainer import make_trainer

CHANGEABLE = (
    *(f"train.{key}" for key in ("max_steps", "time_limit", "micro_batch_tokens", "tensorboard")),
    *(f"train.{key}" for key in ("average_last", "samples", "validate_text", "patience")),
    *(f"train.{key}" for key in ("log_every", "validate_every", "save_every", "keep_last", "keep_best")),
    *("data.test", "data.prepared_dir", "decode"),
)
"""Settings and sections that may change when a run is resumed."""
JUMP = 2.0
"""Factor by which the learning rate must rise for a warning."""

log = logging.getLogger(__name__)


def train(cfg: Config, folder: Path, device: torch.device, fresh: bool = False, progress_bar: bool = False) -> str:
    """Start or resume the run in a directory, and return why training stopped.

    `fresh` moves an existing run aside and starts over. `progress_bar` shows a progress bar on a terminal.
    Raises TransformerError if the run cannot be trained.
    """
    watch = Stopwatch()
    check_select_by(cfg.train.select_by)
    check_corpora(cfg.data)
    for each in missing_here():
        log.warning("on this system %s", each)
    ranks, device = join_ranks(device)
    folder = folder.resolve()
    aside = fresh and folder.exists()
    with _locked(folder) if ranks.first else contextlib.nullcontext():
        if ranks.first and not aside:
            refuse_links(folder)
            atomic.clean_up(folder)
            atomic.clean_up(folder / CHECKPOINTS)
        ranks.wait()
        checkpoints = [] if fresh else _checkpoints_to_resume(cfg, folder)
        if checkpoints and (reason := _already_finished(cfg, folder, checkpoints, ranks)):
            return reason
        board = tensorboard() if cfg.train.tensorboard else None
        with enough_memory("training does not fit", "make the model smaller, or lower train.batch_tokens"):
            loop = build_loop(cfg, folder, device, ranks, watch, keep=not fresh, resume=bool(checkpoints))
            with _moved_aside(folder) if aside and ranks.first else contextlib.nullcontext():
                return _train(loop, checkpoints, board, progress_bar and ranks.first)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder while the block runs. Raises CheckpointError if another training holds the lock.

    A folder that did not exist is removed again if the block fails before it has written anything there.
    """
    existed = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.only_writer(folder) as alone:
        if not alone:
            raise CheckpointError(
                f"another training is writing to {folder}; wait for it, or choose another directory with --run"
            )
        try:
            yield
        except BaseException:
            if not existed and [each.name for each in folder.iterdir()] == [atomic.LOCK]:
                shutil.rmtree(folder, ignore_errors=True)
            raise


def _checkpoints_to_resume(cfg: Config, folder: Path) -> list[Path]:
    """Return the run's checkpoints, newest first, none for a new run. Raises ConfigError if settings have changed."""
    if not is_run(folder):
        return []
    run = open_run(folder)
    _check_unchanged(run.config, cfg, folder)
    checkpoints = run.steps()[::-1]
    if not checkpoints and (folder / "last").exists():
        raise CheckpointError(f"{folder} has been trained, but its checkpoints are gone; start over with --fresh")
    return checkpoints


def _already_finished(cfg: Config, folder: Path, checkpoints: list[Path], ranks: Ranks) -> str | None:
    """Return why the run is complete, or None if it is not. Updates the run's configuration if it is.

    It is not if other checkpoints are to be averaged than before.
    """
    if not (folder / FINISHED).exists():
        return None
    run = open_run(folder)
    _, state = first_usable(run, checkpoints, load_state)
    reason = Progress.from_state(state).finished(cfg)
    if cfg.train.average_last not in (None, run.config.train.average_last):
        return None
    if reason and ranks.first and run.config != cfg:
        write_run(folder, cfg, run.tokenizer)
    return reason


def _train(loop: TrainingLoop, checkpoints: list[Path], board: BoardMaker | None, progress_bar: bool) -> str:
    """Resume from the first usable checkpoint, or start if there are none. Train and write the model card.

    Nothing is written into the run directory before the run can be trained.
    """
    run, first, cfg = loop.run, loop.trainer.ranks.first, loop.cfg
    if checkpoints:
        path, loop.progress = first_usable(run, checkpoints, loop.writer.restore)
        log.info("resuming from %s", path)
        _warn_of_a_jump(config_file.load(run.path / CONFIG), loop)
    with contextlib.ExitStack() as stack:
        if first:
            (run.path / FINISHED).unlink(missing_ok=True)
            write_run(run.path, cfg, run.tokenizer)
            finished = loop.progress.finished(cfg) is not None
            metrics_log = open_log(run.path, board, loop.progress, finished)
            loop.write_metrics_to(stack.enter_context(contextlib.closing(metrics_log)))
        _log_start(loop)
        reason = loop.fit(progress_bar)
    if first:
        write_model_card(run, dataset_report=loop.data.train.report)
        if reason not in UNFINISHED:
            atomic.write_text(run.path / FINISHED, reason + "\n")
    return reason


def _warn_of_a_jump(before: Config, loop: TrainingLoop) -> None:
    """Log a warning if a changed `train.max_steps` raises the learning rate of a schedule that falls to zero."""
    step = loop.progress.step + 1
    old = learning_rate(min(step, before.train.max_steps), before.train, before.model.width)
    new = learning_rate(step, loop.cfg.train, loop.cfg.model.width)
    if new > JUMP * old:
        log.warning(
            "train.max_steps was %d and is %d: with train.schedule: %s the learning rate jumps from %.2e to %.2e at "
            "step %d; a new run with train.init_from and a lower train.peak_rate would warm up instead",
            before.train.max_steps, loop.cfg.train.max_steps, loop.cfg.train.schedule, old, new, step,
        )  # fmt: skip


def build_loop(
    cfg: Config,
    folder: Path,
    device: torch.device,
    ranks: Ranks,
    watch: Stopwatch,
    keep: bool = True,
    resume: bool = False,
) -> TrainingLoop:
    """Return the loop of a training at step 0, with its data and model. Writes nothing into the run directory.

    Without `keep`, a run in this directory is not looked at. With `resume`, the weights will be restored from a
    checkpoint, so those of `train.init_from` are not loaded.
    """
    resolve_dtype(cfg.train.precision, device)  # now, instead of after the data have been prepared
    if not ranks.first:
        ranks.wait()  # the first process prepares the data, the others read it from the cache
    cache = Path(cfg.data.prepared_dir).expanduser() if cfg.data.prepared_dir else folder.parent / "prepared"
    data = prepare(cfg, cache, _known_tokenizer(cfg, folder if keep else None))
    run = Run(folder, cfg, data.tokenizer)
    if ranks.first:
        ranks.wait()
    torch.manual_seed(cfg.train.seed)
    model = build_model(cfg, data.tokenizer)
    if data.valid is not None:
        check_precision(model, cfg.decode, device)  # now, instead of at the first validation
    if cfg.train.init_from is not None and not resume:
        _warm_start(model, Path(cfg.train.init_from))
    trainer = make_trainer(model, cfg, device, ranks)
    tokens = ranks.smallest(micro_batch_tokens(cfg, device, ranks.count), device)  # of the memory that the model leaves
    return TrainingLoop(run, data, trainer, tokens, watch)


def _known_tokenizer(cfg: Config, folder: Path | None) -> Tokenizer | None:
    """Return the tokenizer of the run, or of `train.init_from`, or None if it is yet to be learned."""
    if folder is not None and is_run(folder):
        return load_tokenizer(folder)
    if cfg.train.init_from is not None:
        return load_tokenizer(Path(cfg.train.init_from).expanduser())
    return None


def _warm_start(model: Transformer, folder: Path) -> None:
    """Copy the weights of another run."""
    donor, path = load_model(open_run(folder.expanduser()))
    try:
        model.load_state_dict(donor.state_dict())
    except RuntimeError:
        raise ConfigError(
            f"train.init_from: the model in {folder} has a different shape; give this run the same `model` settings"
        ) from None
    log.info("initial weights loaded from %s", path)


def _check_unchanged(before: Config, now: Config, folder: Path) -> None:
    """Raise ConfigError if settings have changed that must not change when a run is resumed."""
    old, new = config_file.flat(before), config_file.flat(now)
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    safe = [key for key in changed if any(key == one or key.startswith(f"{one}.") for one in CHANGEABLE)]
    words = {key: f"{key} (was {old.get(key)}, is {new.get(key)})" for key in changed}
    if unsafe := ", ".join(words[key] for key in changed if key not in safe):
        fine = f"; these changes are fine: {', '.join(safe)}" if safe else ""
        raise ConfigError(
            f"{folder} was started with other settings: {unsafe}; "
            f"change them back, choose another directory with --run, or start over with --fresh{fine}"
        )
    if changed:
        log.info("resuming with changed settings: %s", ", ".join(words.values()))


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
        return folder.rename(old)
    except OSError as error:
        raise TransformerError(f"cannot move {folder} to {old}: {error.strerror}") from None


def _log_start(loop: TrainingLoop) -> None:
    cfg, trainer = loop.cfg, loop.trainer
    parameters = sum(p.numel() for p in trainer.parameters)
    log.info(
        "%s -> %s: %s pairs, %s updates per epoch, %s parameters, %s on %s",
        cfg.data.source,
        cfg.data.target,
        f"{len(loop.data.train):,}",
        f"{loop.updates_per_epoch:,}",
        f"{parameters:,}",
        str(trainer.dtype).removeprefix("torch."),
        device_name(trainer.device),
    )
    needed, free = disk_space(loop.run, parameters, trainer.average is not None)
    if needed > free:
        log.warning(
            "the checkpoints may not fit on the disk (%s): lower train.keep_last or free space",
            disk_in_words(needed, free),
        )
