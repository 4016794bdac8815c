"""The run directory: configuration, tokenizer, checkpoints, and the pointers `best` and `last`."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path

from transformer import atomic, config_file, file_system
from transformer.config import Config
from transformer.data.tokenizer import Tokenizer, load_tokenizer, tokenizer_in_use
from transformer.errors import CheckpointError
from transformer.runs.layout import CHECKPOINTS, CONFIG, foreign, is_run, saved_steps

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run or model directory: its path, configuration and tokenizer."""

    path: Path
    config: Config
    tokenizer: Tokenizer

    @property
    def name(self) -> str:
        """The name of the directory, also where the path is `.`."""
        return self.path.resolve().name

    @property
    def checkpoints(self) -> Path:
        """The folder with the checkpoints."""
        return self.path / CHECKPOINTS

    def steps(self) -> list[Path]:
        """Return the checkpoints that training saved, oldest first."""
        return saved_steps(self.checkpoints)

    def pointer(self, name: str) -> Path | None:
        """Return the checkpoint named in the file `best` or `last`, or None if there is none."""
        file = self.path / name
        if not file.is_file():
            return None
        with file.open(encoding="utf-8", errors="replace") as stream:
            target = stream.read(256).strip()
        if not target:
            log.warning("%s is empty", file)
            return None
        if Path(target).name != target or target in (".", ".."):
            raise CheckpointError(f"{file} must name a checkpoint, not {target!r}")
        found = self.checkpoints / target
        if not found.is_dir():
            _warn_once(f"{file} names {target}, which does not exist")
            return None
        return found

    def point(self, name: str, checkpoint: Path) -> None:
        """Make `best` or `last` name a checkpoint."""
        atomic.write_text(self.path / name, checkpoint.name + "\n")


def write_run(path: Path, cfg: Config, tok: Tokenizer) -> Run:
    """Create a run directory, or update the configuration of an existing one."""
    file_system.make_folder(path)
    (path / CHECKPOINTS).mkdir(exist_ok=True)
    tok.save(path)
    atomic.write_text(path / CONFIG, config_file.dump(cfg))
    return Run(path, cfg, tok)


def check_destination(path: Path) -> None:
    """Raise CheckpointError if training in `path` would write among other things than those of a run.

    Nothing is written. A directory may be missing, empty, a run, or one in which a run was about to start.
    """
    _check_name(path)
    try:
        if path.exists() and not path.is_dir():
            raise CheckpointError(f"{path} is not a directory; choose another with --run")
        strange = foreign(path)
    except PermissionError as error:
        raise file_system.unreadable(path, error) from None
    if strange is not None:
        raise CheckpointError(
            f"{path} is not a run directory, but it contains {strange}; choose a new or an empty directory with --run"
        )


def open_run(path: Path) -> Run:
    """Return the run at `path`, whose configuration says what is true of its tokenizer.

    Raises CheckpointError if there is none.
    """
    _check_name(path)
    try:
        (path / CONFIG).stat()
    except PermissionError as error:
        raise file_system.unreadable(path / CONFIG, error) from None
    except OSError:  # said below
        pass
    if not is_run(path):
        what = "no such directory" if not path.exists() else f"it has no {CONFIG}"
        raise CheckpointError(f"{path} is not a run directory: {what}")
    refuse_links(path)
    cfg, tok = config_file.load(path / CONFIG), load_tokenizer(path)
    if cfg.model.tied == "all" and not tok.joint:
        raise CheckpointError(f"{path} has two vocabularies, but model.tied: all needs one")
    return Run(path, tokenizer_in_use(cfg, tok), tok)


def split_checkpoint(path: Path) -> tuple[Path, str | None]:
    """Return the run directory and the name of the checkpoint of `RUN/checkpoints/NAME`, or `RUN` and None."""
    return (path.parent.parent, path.name) if path.parent.name == CHECKPOINTS else (path, None)


@functools.cache
def _warn_once(sentence: str) -> None:
    log.warning("%s", sentence)


def _check_name(path: Path) -> None:
    """Raise CheckpointError for a name that safetensors cannot open."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise CheckpointError(f"the name of {path} is not UTF-8, so it cannot hold a run; rename it") from None


def refuse_links(path: Path) -> None:
    """Raise CheckpointError if a run directory contains symbolic links."""
    if links := sorted(each.name for each in path.iterdir() if each.is_symlink()):
        raise CheckpointError(
            f"{path / links[0]} is a symbolic link, which could point anywhere; copy the folder with cp -rL"
        )
