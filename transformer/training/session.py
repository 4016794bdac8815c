"""Starting a training run, going on with one, and rehearsing one."""

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
from transformer.data import corpus
from transformer.data.prepare import find_or_learn_tokenizer, prepare_pairs, read_all_pairs
from transformer.data.tokenizer import Tokenizer, load_tokenizer
from transformer.decoding.translator import check_precision
from transformer.errors import CheckpointError, ConfigError, DataError, TransformerError
from transformer.evaluation.model_card import write_model_card
from transformer.model.network import Transformer
from transformer.runs.checkpoint import first_usable, load_state
from transformer.runs.models import build_model, load_model
from transformer.runs.progress import Progress, finished
from transformer.runs.run import Run, create_run, open_run, refuse_links
from transformer.system.clock import Stopwatch
from transformer.system.device import device_name
from transformer.system.distributed import Ranks, join_ranks
from transformer.training.log import MetricsLog
from transformer.training.trainer import Trainer

CHANGEABLE = (
    *(
        f"train.{key}"
        for key in ("max_steps", "time_limit", "micro_batch_tokens", "tensorboard", "average_last", "samples")
    ),
    *(f"train.{key}" for key in ("log_every", "validate_every", "save_every", "keep_last", "keep_best", "patience")),
    *("train.validate_text", "data.test", "data.prepared_dir", "decode"),
)
"""Settings, or sections, that a run may go on with after they were changed."""
FINISHED = "finished"
"""The file that says that nothing is left to do, not even averaging."""
log = logging.getLogger(__name__)


def train(cfg: Config, folder: Path, device: torch.device, fresh: bool = False) -> str:
    """Train into a run directory, or go on with what is there; return in words why it stopped."""
    watch = Stopwatch()
    ranks, device = join_ranks(device)
    for each in (*cfg.data.train, cfg.data.valid, cfg.data.test):
        if each is not None:
            corpus.check_files(each)
    folder = folder.resolve()
    if fresh and ranks.first and folder.exists():
        with _alone(folder):
            log.info("moved what was in %s to %s", folder, _move_aside(folder))
    ranks.wait()
    with _alone(folder) if ranks.first else contextlib.nullcontext():
        return _train_alone(cfg, folder, device, ranks, watch)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Raise CheckpointError unless nobody else is training into this folder; nobody can while the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.only_writer(folder) as alone:
        if not alone:
            raise CheckpointError(f"another training is writing to {folder}; wait for it, or name another with --run")
        yield


def _train_alone(cfg: Config, folder: Path, device: torch.device, ranks: Ranks, watch: Stopwatch) -> str:
    steps: list[Path] = []
    if ranks.first:
        refuse_links(folder)
        atomic.clean_up(folder)
        atomic.clean_up(folder / "checkpoints")
    ranks.wait()
    if (folder / "config.yaml").is_file():
        run = open_run(folder)
        _check_unchanged(run.config, cfg, folder)
        steps = run.steps()[::-1]
        if not steps and (folder / "last").exists():
            raise CheckpointError(f"{folder} has been trained, but its checkpoints are gone; start over with --fresh")
        if steps and (folder / FINISHED).exists():
            _, state = first_usable(run, steps, load_state)
            if why := finished(Progress.of(state), cfg):
                if ranks.first and run.config != cfg:
                    create_run(folder, cfg, run.tokenizer)
                return why
    trainer, held = build(cfg, folder, device, ranks, fresh=not steps)
    return _go(trainer, held, steps, watch)


def _go(trainer: Trainer, held: list[corpus.Pair] | None, steps: list[Path], watch: Stopwatch) -> str:
    """Train from the first of these checkpoints that can be used, or from the start, and write the card."""
    run, first = trainer.run, trainer.ranks.first
    if steps:
        found, _ = first_usable(run, steps, trainer.restore)
        log.info("going on from %s", found)
    if first:
        (run.path / FINISHED).unlink(missing_ok=True)
    _log_start(trainer)
    with contextlib.closing(MetricsLog(run.path, trainer.cfg.train.tensorboard and first)) as journal:
        why = trainer.fit(held, journal, watch)
    if first:
        write_model_card(run, dataset_report=trainer.dataset.report)
        if trainer.finished():
            atomic.write_text(run.path / FINISHED, why + "\n")
    return why


def build(
    cfg: Config, folder: Path, device: torch.device, ranks: Ranks, keep: bool = True, fresh: bool = True
) -> tuple[Trainer, list[corpus.Pair] | None]:
    """Return a trainer at step 0 and the validation text.

    `keep` writes the run directory; unless `fresh`, weights are about to be restored and need no donor.
    """
    held = read_all_pairs(cfg.data.valid, cfg.data) if cfg.data.valid is not None else None
    prepared = Path(cfg.data.prepared_dir).expanduser() if cfg.data.prepared_dir else folder.parent / "prepared"
    if not ranks.first:
        ranks.wait()  # the first process prepares, the others find it
    tok = _tokenizer(cfg, folder if keep else None, prepared)
    dataset = prepare_pairs(cfg, tok, [*(held or []), *_test_pairs(cfg)], prepared)
    run = create_run(folder, cfg, tok) if keep and ranks.first else Run(folder, cfg, tok)
    if ranks.first:
        ranks.wait()
    torch.manual_seed(cfg.train.seed)
    model = build_model(cfg, tok)
    if held is not None:
        check_precision(model, cfg.decode, device)  # now, and not at the first validation
    if cfg.train.init_from is not None and fresh:
        _warm_start(model, Path(cfg.train.init_from))
    return Trainer(run, model, dataset, device, ranks), held


def _tokenizer(cfg: Config, folder: Path | None, prepared: Path) -> Tokenizer:
    """Return the run's tokenizer, that of the run it starts from, or one for these corpora."""
    if folder is not None and (folder / "config.yaml").is_file():
        return load_tokenizer(folder)
    if cfg.train.init_from is not None:
        return load_tokenizer(Path(cfg.train.init_from).expanduser())
    return find_or_learn_tokenizer(cfg, prepared)


def _test_pairs(cfg: Config) -> list[corpus.Pair]:
    """Return the test text, to look for it in the training text; without it training goes on, with a warning."""
    if cfg.data.test is None:
        return []
    try:
        return read_all_pairs(cfg.data.test, cfg.data)
    except DataError as error:
        if cfg.data.overlap == "drop":
            raise
        log.warning("training text is not compared with the test text: %s", error)
        return []


def _warm_start(model: Transformer, folder: Path) -> None:
    donor, path = load_model(open_run(folder.expanduser()))
    try:
        model.load_state_dict(donor.state_dict())
    except RuntimeError:
        raise ConfigError(
            f"train.init_from: the model in {folder} has another shape; give this run the same `model` settings"
        ) from None
    log.info("weights from %s", path)


def _check_unchanged(before: Config, now: Config, folder: Path) -> None:
    """Raise ConfigError where settings changed that a run cannot go on with."""
    old, new = config_file.flat(before), config_file.flat(now)
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    safe = [key for key in changed if any(key == one or key.startswith(f"{one}.") for one in CHANGEABLE)]
    words = {key: f"{key} (was {old.get(key)}, is {new.get(key)})" for key in changed}
    if unsafe := ", ".join(words[key] for key in changed if key not in safe):
        fine = f"; a run can go on with these changed: {', '.join(safe)}" if safe else ""
        raise ConfigError(
            f"{folder} was started with other settings: {unsafe}; "
            f"change them back, name another directory with --run, or start over with --fresh{fine}"
        )
    if changed:
        log.info("changed settings, with which a run can go on: %s", ", ".join(words.values()))


def _move_aside(folder: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    old = folder.with_name(f"{folder.name}.old-{stamp}")
    try:
        return folder.rename(old)
    except OSError as error:
        raise TransformerError(f"cannot move {folder} to {old}: {error.strerror}") from None


def _log_start(trainer: Trainer) -> None:
    cfg, parameters = trainer.cfg, sum(p.numel() for p in trainer.parameters)
    updates = trainer.updates_per_epoch()
    log.info(
        "%s -> %s: %s pairs, %s updates an epoch, %s parameters, %s on %s",
        cfg.data.source,
        cfg.data.target,
        f"{len(trainer.dataset):,}",
        f"{updates:,}",
        f"{parameters:,}",
        str(trainer.dtype).removeprefix("torch."),
        device_name(trainer.device),
    )
    needed, free = disk_space(trainer)
    if needed > free:
        log.warning("the checkpoints may not fit the disk: %s; lower train.keep_last or make room", _room(needed, free))


def disk_space(trainer: Trainer) -> tuple[int, int]:
    """Return how many more bytes the checkpoints of a run may take at a time, and how many are free."""
    cfg, folder = trainer.cfg.train, trainer.run.checkpoints
    weights = 4 * sum(p.numel() for p in trainer.parameters)
    whole = weights * (3 if trainer.average is None else 4)  # with Adam's two means
    count = cfg.keep_last + max(cfg.keep_best, 1) + 2  # one of them good to go back to, one half written
    most = whole * count + (weights if cfg.average_last else 0)
    there = sum(file.stat().st_size for file in folder.glob("*/*"))
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return max(most - there, 0), shutil.disk_usage(existing).free


def _room(needed: int, free: int) -> str:
    return f"up to {needed / 2**30:.3f} GiB more, of {free / 2**30:.3f} GiB that are free"
