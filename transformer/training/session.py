"""A training session: starts or resumes a run, given a configuration and a run directory."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from transformer import atomic, config_file
from transformer.config import Config
from transformer.data.lengths import with_lengths
from transformer.data.prepare import check_corpora, prepare
from transformer.data.tokenizer import Tokenizer, load_tokenizer
from transformer.decoding.translator import check_precision
from transformer.errors import CheckpointError, ConfigError, TransformerError
from transformer.evaluation.metrics import check_select_by
from transformer.evaluation.model_card import write_model_card
from transformer.model.network import Transformer
from transformer.runs.checkpoint import first_usable, load_state
from transformer.runs.layout import CHECKPOINTS, FINISHED, REPORT, is_run
from transformer.runs.models import build_model, load_model
from transformer.runs.progress import Progress
from transformer.runs.run import Run, open_run, refuse_links, write_run
from transformer.system.clock import Stopwatch
from transformer.system.device import device_name
from transformer.system.distributed import Ranks, join_ranks
from transformer.training.log import MetricsLog, open_log
from transformer.training.loop import TrainingLoop
from transformer.training.microbatch import disk_in_words, disk_space, micro_batch_tokens
from transformer.training.trainer import make_trainer

CHANGEABLE = (
    *(f"train.{key}" for key in ("max_steps", "time_limit", "micro_batch_tokens", "tensorboard")),
    *(f"train.{key}" for key in ("average_last", "samples", "validate_text", "patience")),
    *(f"train.{key}" for key in ("log_every", "validate_every", "save_every", "keep_last", "keep_best")),
    *("data.test", "data.prepared_dir", "decode"),
)
"""Settings and sections that may change when a run is resumed."""

log = logging.getLogger(__name__)


def train(cfg: Config, folder: Path, device: torch.device, fresh: bool = False, progress_bar: bool = False) -> str:
    """Start or resume the run in a directory, and return why training stopped.

    `fresh` moves an existing run aside and starts over. `progress_bar` shows a progress bar on a terminal.
    Raises TransformerError if the run cannot be trained.
    """
    watch = Stopwatch()
    check_select_by(cfg.train.select_by)
    check_corpora(cfg.data)
    ranks, device = join_ranks(device)
    folder = folder.resolve()
    if fresh and ranks.first and folder.exists():
        with _locked(folder):
            log.info("moved the contents of %s to %s", folder, _move_aside(folder))
    ranks.wait()
    with _locked(folder) if ranks.first else contextlib.nullcontext():
        if ranks.first:
            refuse_links(folder)
            atomic.clean_up(folder)
            atomic.clean_up(folder / CHECKPOINTS)
        ranks.wait()
        checkpoints = _checkpoints_to_resume(cfg, folder)
        if checkpoints and (reason := _already_finished(cfg, folder, checkpoints, ranks)):
            return reason
        with _metrics_log(cfg, folder, ranks) as metrics_log:
            loop = build_loop(cfg, folder, device, ranks, watch, metrics_log, resume=bool(checkpoints))
            return _train(loop, checkpoints, progress_bar and ranks.first)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder while the block runs. Raises CheckpointError if another training holds the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.only_writer(folder) as alone:
        if not alone:
            raise CheckpointError(
                f"another training is writing to {folder}; wait for it, or choose another directory with --run"
            )
        yield


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
    """Return why the run is complete, or None if it is not. Updates the run's configuration if it is."""
    if not (folder / FINISHED).exists():
        return None
    run = open_run(folder)
    _, state = first_usable(run, checkpoints, load_state)
    reason = Progress.from_state(state).finished(cfg)
    if reason and ranks.first and run.config != cfg:
        write_run(folder, cfg, run.tokenizer)
    return reason


def _train(loop: TrainingLoop, checkpoints: list[Path], progress_bar: bool) -> str:
    """Resume from the first usable checkpoint, or start if there are none. Train and write the model card."""
    run, first = loop.run, loop.trainer.ranks.first
    if checkpoints:
        path, loop.progress = first_usable(run, checkpoints, loop.writer.restore)
        log.info("resuming from %s", path)
    if first:
        (run.path / FINISHED).unlink(missing_ok=True)
    _log_start(loop)
    reason = loop.fit(progress_bar)
    if first:
        write_model_card(run)
        if loop.progress.finished(loop.cfg):
            atomic.write_text(run.path / FINISHED, reason + "\n")
    return reason


@contextlib.contextmanager
def _metrics_log(cfg: Config, folder: Path, ranks: Ranks) -> Iterator[MetricsLog | None]:
    """Open the metrics log in the first process, which writes. Yield None in the others."""
    if not ranks.first:
        yield None
        return
    with contextlib.closing(open_log(folder, cfg.train.tensorboard)) as metrics_log:
        yield metrics_log


def build_loop(
    cfg: Config,
    folder: Path,
    device: torch.device,
    ranks: Ranks,
    watch: Stopwatch,
    metrics_log: MetricsLog | None = None,
    keep: bool = True,
    resume: bool = False,
) -> TrainingLoop:
    """Return the loop of a training at step 0, with its data and model.

    Without `keep`, no run directory is written. With `resume`, the weights will be restored from a checkpoint, so those
    of `train.init_from` are not loaded.
    """
    if not ranks.first:
        ranks.wait()  # the first process prepares the data, the others read it from the cache
    cache = Path(cfg.data.prepared_dir).expanduser() if cfg.data.prepared_dir else folder.parent / "prepared"
    data = prepare(cfg, cache, _known_tokenizer(cfg, folder if keep else None))
    run = write_run(folder, cfg, data.tokenizer) if keep and ranks.first else Run(folder, cfg, data.tokenizer)
    if keep and ranks.first:
        report = with_lengths(data.train.report, data.train)
        atomic.write_text(folder / REPORT, json.dumps(report, indent=1) + "\n")  # a run that is stopped has it too
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
    return TrainingLoop(run, data, trainer, tokens, metrics_log, watch)


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
