"""What several processes agree on before they train: settings, what to resume, text, tokenizer, weights.

Only the first process needs the run directory. The others get all from it, whatever their disks hold.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import torch

from transformer import atomic, config_file, file_system
from transformer.config import Config
from transformer.data import opus
from transformer.data.prepare import Data, prepare
from transformer.data.tokenizer import Tokenizer
from transformer.errors import ConfigError
from transformer.runs.layout import REPORT
from transformer.runs.progress import Progress
from transformer.synthesis.making import Made, make_corpora, needs_models
from transformer.system.distributed import Ranks
from transformer.training.saving import CheckpointWriter
from transformer.training.trainer import Trainer

OWN = ("data.prepared_dir",)
"""Settings that may differ between processes, since they are of the disk of a node."""
log = logging.getLogger(__name__)


def refuse_other_settings(cfg: Config, ranks: Ranks) -> None:
    """Raise ConfigError in all processes if they have different settings."""
    ranks.refuse_differences({key: value for key, value in config_file.flat(cfg).items() if key not in OWN})


def settings_of_first(cfg: Config, ranks: Ranks) -> Config:
    """Return the settings of the first process, which knows what is true of the run."""
    if ranks.count == 1:
        return cfg
    text = ranks.share(config_file.dump(cfg).encode("utf-8", "surrogateescape"))
    shared = config_file.read(text.decode("utf-8", "surrogateescape"), "the configuration")
    return replace(shared, data=replace(shared.data, prepared_dir=cfg.data.prepared_dir))


def synthesize_together(cfg: Config, cache: Path, device: torch.device, ranks: Ranks, folder: Path | None) -> Made:
    """Return the data of a run with what models make, made by all processes. `folder` is a run to resume.

    Raises as `make_corpora` does.
    """
    if not needs_models(cfg.data):
        return Made(cfg.data, {})
    make_cache(cache)
    sees = ranks.count == 1 or _sees_first_disk(cache, ranks)  # which all of them call
    writes = ranks.first or (not sees and ranks.local == 0)
    recorded = _recorded(folder / REPORT) if folder is not None and ranks.first else []
    return make_corpora(cfg.data, cache, device, ranks, writes, recorded)


def _recorded(report: Path) -> list[str]:
    """Return the keys of what models made for a run, or nothing if its report is damaged."""
    try:
        made = atomic.read_json(report)
        return [str(each["key"]) for name in ("synthetic", "scores") for each in made.get(name, ())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def versions_of(cfg: Config, folder: Path | None, ranks: Ranks) -> AbstractContextManager[None]:
    """Return a context in which corpora of OPUS that are named without a version have that of a run to resume."""
    addresses = ranks.of_first(lambda: [] if folder is None else _addresses(folder / REPORT))
    texts = [text for each in cfg.data.train for text in (each, each.distill) if text is not None]
    named = {(text.opus, text.version) for text in texts if text.opus is not None and text.version is not None}
    return opus.kept_versions(addresses, named)


def _addresses(report: Path) -> list[str]:
    """Return where the corpora of a run were downloaded from, or nothing if its report is damaged."""
    try:
        return [str(each["address"]) for each in atomic.read_json(report).get("origins", ())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def prepare_together(cfg: Config, cache: Path, tokenizer: Tokenizer | None, ranks: Ranks) -> Data:
    """Return the data of a run, prepared once on each disk. `tokenizer` is that of the first process, if it has one.

    The first process makes the tokenizer. It prepares the pairs, and so does the first process of each node that does
    not see the disk of the first. The others then find them in the cache. Raises ConfigError if the text differs.
    """
    if ranks.count == 1:
        make_cache(cache)
        return prepare(cfg, cache, tokenizer)
    prepares = not _sees_first_disk(cache, ranks) and ranks.local == 0

    def shared(make: Callable[[], Tokenizer]) -> Tokenizer:
        found = _shared_tokenizer(make, ranks)
        if not (ranks.first or prepares):
            ranks.wait()  # until the pairs are in the cache
        return found

    data = prepare(cfg, cache, tokenizer, shared)
    if ranks.first or prepares:
        ranks.wait()
    names = {"data": "the text of data.train", "valid": "the text of data.valid"}
    ranks.refuse_differences({names[key]: value for key, value in data.fingerprints.items()})
    return data


def _sees_first_disk(cache: Path, ranks: Ranks) -> bool:
    """Return whether this process finds what the first one writes into the cache.

    The name is random, so no file system can have kept the answer from before.
    """
    make_cache(cache)
    token = cache / ranks.of_first(lambda: f"{atomic.TEMPORARY}{secrets.token_hex(8)}")
    if ranks.first:
        token.touch()
    ranks.wait()
    seen = token.exists()
    ranks.wait()
    if ranks.first:
        token.unlink(missing_ok=True)
    return seen


def make_cache(folder: Path) -> None:
    """Make the directory of prepared text. Raises ConfigError if that is impossible, as next to a mounted run."""
    try:
        file_system.make_folder(folder)
    except OSError as error:
        raise ConfigError(
            f"cannot make {folder}, the directory of prepared text: {error.strerror}; set data.prepared_dir to another"
        ) from None


def _shared_tokenizer(make: Callable[[], Tokenizer], ranks: Ranks) -> Tokenizer:
    """Return the tokenizer that the first process makes."""
    found = make() if ranks.first else None
    count = ranks.of_first(lambda: len(found.models) if found is not None else 0)
    models = [ranks.share(found.models[i] if found is not None else b"") for i in range(count)]
    return found if found is not None else Tokenizer(*models)


def spread_state(trainer: Trainer, writer: CheckpointWriter, progress: Progress) -> Progress:
    """Give all processes what the first has restored: weights, optimizer, progress. Return the progress.

    Of a new run those are the initial weights, which processors of another kind might draw otherwise.
    """
    restored, writer.restored = writer.restored, None
    if (ranks := trainer.ranks).count == 1:
        return progress
    ranks.wait()  # the first may have to try several checkpoints, longer than NCCL waits
    flat, average, scaler = trainer.weights, trainer.average, trainer.scaler
    ranks.spread([flat.weights] + ([] if average is None else [average.average]))
    if ranks.of_first(lambda: restored is not None):
        trainer.exchange.spread_state(trainer.optimizer, restored)
    flat.changed()
    if scaler is not None:
        scaler.load_state_dict(ranks.of_first(scaler.state_dict))
    writer.saved_at = ranks.of_first(lambda: writer.saved_at)
    values = ranks.of_first(lambda: {"progress": vars(progress)})
    return progress if ranks.first else Progress.from_state(values)
