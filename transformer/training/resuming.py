"""What decides whether and how a run is resumed: its settings, its tokenizer, its checkpoints."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from transformer import config_file
from transformer.config import Config, ModelConfig, TokenizerConfig, contradiction
from transformer.data.tokenizer import Tokenizer, load_tokenizer, tagged, tokenizer_in_use
from transformer.errors import CheckpointError, ConfigError
from transformer.model.weights import TRAINING_ONLY
from transformer.paths import expanded
from transformer.runs.checkpoint import check_tokenizer, first_usable, load_state
from transformer.runs.layout import CHECKPOINTS, FINISHED, is_run, saved_steps
from transformer.runs.progress import Progress
from transformer.runs.run import Run, open_run, write_run
from transformer.training.optimizer import learning_rate

CHANGEABLE = (
    *(f"train.{key}" for key in ("max_steps", "time_limit", "micro_batch_tokens", "fast", "tensorboard")),
    *(f"train.{key}" for key in ("average_last", "samples", "validate_text", "patience")),
    *(f"train.{key}" for key in ("log_every", "validate_every", "save_every", "keep_last", "keep_best")),
    "train.shard_optimizer",
    *("data.test", "data.prepared_dir", "decode"),
)
"""Settings and sections that may change when a run is resumed."""
JUMP = 2.0
"""Factor by which the learning rate must rise for a warning."""

log = logging.getLogger(__name__)


def what_to_resume(cfg: Config, folder: Path) -> tuple[Config, list[Path]]:
    """Return the configuration with what is true of the tokenizer, and the run's checkpoints, newest first.

    There are none in a new run, and in one that was killed before the first: such a start binds nothing, not even the
    tokenizer. Raises ConfigError if settings have changed.
    """
    checkpoints = saved_steps(folder / CHECKPOINTS)[::-1] if is_run(folder) else []
    if not checkpoints:
        if is_run(folder) and (folder / "last").exists():
            raise CheckpointError(f"{folder} has been trained, but its checkpoints are gone; start over with --fresh")
        return with_inherited(cfg, None), []
    run = open_run(folder)
    _refuse_imported(folder, checkpoints)
    cfg = with_inherited(cfg, folder)
    _check_tokenizer(run, checkpoints)  # before the settings, which an exchanged one would seem to have changed
    _check_unchanged(run.config, cfg, folder)
    return cfg, checkpoints


def _check_tokenizer(run: Run, checkpoints: list[Path]) -> None:
    """Raise CheckpointError if no checkpoint was trained with the run's tokenizer. Damaged ones do not count."""
    states = []
    for path in checkpoints:
        with contextlib.suppress(CheckpointError):
            states.append((path, load_state(path)))
    if states and all(state["tokenizer"] != run.tokenizer.fingerprint for _, state in states):
        check_tokenizer(run, *states[0])


def _refuse_imported(folder: Path, checkpoints: list[Path]) -> None:
    """Raise ConfigError for an imported model, which has no training that could go on."""
    with contextlib.suppress(CheckpointError):
        if "imported" not in load_state(checkpoints[-1]):
            return
        raise ConfigError(f"{folder} is an imported model; start another run from it, with train.init_from={folder}")


def already_finished(cfg: Config, folder: Path, checkpoints: list[Path]) -> str | None:
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
    if reason and run.config != cfg:
        write_run(folder, cfg, run.tokenizer)
    return reason


def _check_unchanged(before: Config, now: Config, folder: Path) -> None:
    """Raise ConfigError if settings have changed that must not change when a run is resumed."""
    old, new = config_file.flat(before), config_file.flat(now)
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    changeable = (*CHANGEABLE, *_may_have_moved(before, now))
    safe = [key for key in changed if any(key == one or key.startswith(f"{one}.") for one in changeable)]
    words = {key: f"{key} (was {old.get(key)}, is {new.get(key)})" for key in changed}
    if unsafe := ", ".join(words[key] for key in changed if key not in safe):
        fine = f"; these changes are fine: {', '.join(safe)}" if safe else ""
        raise ConfigError(
            f"{folder} was started with other settings: {unsafe}; "
            f"change them back, choose another directory with --run, or start over with --fresh{fine}"
        )
    if changed:
        log.info("resuming with changed settings: %s", ", ".join(words.values()))


def _may_have_moved(before: Config, now: Config) -> Iterator[str]:
    """Yield the sections whose text may be found elsewhere. That it is the same is checked with the checkpoint."""
    used = [[(each.weight, each.from_, each.until, each.augment) for each in cfg.data.train] for cfg in (before, now)]
    if used[0] == used[1]:
        yield "data.train"
    if before.data.valid is not None and now.data.valid is not None:
        yield "data.valid"


def known_tokenizer(cfg: Config, folder: Path | None) -> Tokenizer | None:
    """Return the tokenizer of the run, or of `train.init_from`, or None if it is yet to be learned."""
    if folder is not None:
        return load_tokenizer(folder)
    if cfg.train.init_from is not None:
        tok, prefix = load_tokenizer(expanded(cfg.train.init_from)), cfg.tokenizer.source_prefix
        is_added = cfg.tokenizer.extend > 0 and prefix and not tok.has_tag(prefix)
        return tok if prefix is None or is_added else tagged(tok, prefix)
    return None


def with_inherited(cfg: Config, folder: Path | None) -> Config:
    """Return the configuration with what is true of the model and the tokenizer, where it cannot choose them.

    That is what `train.init_from` has, and `tokenizer.normalization` of a run of version 0.2.0 or before.
    """
    cfg = _with_model_of_donor(cfg, folder)
    tokenizer = known_tokenizer(cfg, folder)
    if tokenizer is None:
        return cfg
    used = tokenizer_in_use(cfg, tokenizer).tokenizer
    if cfg.train.init_from is None:
        old = not tokenizer.outlines[-1].cleaned and cfg.tokenizer.normalization == TokenizerConfig.normalization
        used = replace(cfg.tokenizer, normalization=used.normalization) if old else cfg.tokenizer
    asked = vars(cfg.tokenizer)
    if differing := [f"{key}={value}" for key, value in vars(used).items() if value != asked[key]]:
        origin = "its tokenizer" if folder is not None else f"the tokenizer of {cfg.train.init_from}"
        log.info("this run uses %s, so tokenizer.* is: %s", origin, ", ".join(differing))
    cfg = replace(cfg, tokenizer=used)
    if complaint := contradiction(cfg, ""):
        raise ConfigError(complaint)
    return cfg


def _with_model_of_donor(cfg: Config, folder: Path | None) -> Config:
    """Return the configuration with the model of `train.init_from` if it says nothing of its own but on dropout."""
    kept = {name: getattr(cfg.model, name) for name in TRAINING_ONLY}
    if cfg.train.init_from is None or cfg.model != ModelConfig(**kept):
        return cfg
    origin = expanded(cfg.train.init_from) if folder is None else folder
    model = replace(open_run(origin).config.model, **kept)
    if differing := [f"{key}={value}" for key, value in vars(model).items() if value != getattr(cfg.model, key)]:
        log.info("this run has the model of %s, so model.* is: %s", origin, ", ".join(differing))
    return replace(cfg, model=model)


def warn_of_a_jump(before: Config, now: Config, step: int) -> None:
    """Log a warning if a changed `train.max_steps` raises the learning rate at this step, after it fell to zero."""
    old = learning_rate(min(step, before.train.max_steps), before.train, before.model.width)
    new = learning_rate(step, now.train, now.model.width)
    if new > JUMP * old:
        log.warning(
            "train.max_steps was %d and is %d: with train.schedule: %s the learning rate jumps from %.2e to %.2e at "
            "step %d; a new run with train.init_from and a lower train.peak_rate would warm up instead",
            before.train.max_steps, now.train.max_steps, now.train.schedule, old, new, step,
        )  # fmt: skip
