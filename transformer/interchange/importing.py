"""Makes a run of another program's model. It translates, is evaluated and exported again, and can be fine-tuned."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from transformer import __version__, atomic, config_file
from transformer.config import Config, contradiction
from transformer.data.tokenizer import tagged, tokenizer_in_use
from transformer.data_config import DataConfig
from transformer.errors import CheckpointError, ConfigError
from transformer.evaluation.model_card import write_model_card
from transformer.interchange.checking import check_import
from transformer.interchange.foreign import Folder, Imported, built
from transformer.interchange.read_ctranslate2 import is_ctranslate2, read_ctranslate2
from transformer.interchange.read_hugging_face import is_hugging_face, read_hugging_face
from transformer.interchange.read_marian import is_marian, read_marian
from transformer.runs.checkpoint import save_checkpoint
from transformer.runs.layout import step_name
from transformer.runs.run import Run, write_run
from transformer.system.memory import enough_memory, is_out_of_memory

READERS: tuple[tuple[Callable[[Folder], bool], Callable[[Folder], Imported]], ...] = (
    (is_hugging_face, read_hugging_face),
    (is_ctranslate2, read_ctranslate2),
    (is_marian, read_marian),
)
"""How each kind of folder is recognized and read."""
PAIR = re.compile(r"(?:^|[-_])([a-z]{2,3})-([a-z]{2,3})$")
"""The languages at the end of names such as opus-mt-en-de."""


class Import(NamedTuple):
    """An imported model."""

    run: Run
    kind: str
    """The program that it is from."""
    difference: float | None
    """The largest difference of a log-probability from that program, or None if it is not installed."""
    check: str
    """What was checked, in words."""
    notes: tuple[str, ...]
    """What is not as in the source."""


def import_model(
    source: Path,
    folder: Path,
    languages: tuple[str, str] | None,
    prefix: str | None,
    name: str,
    root: Path | None = None,
) -> Import:
    """Read a model, compare it with its own runtime, and write it as a new run.

    `prefix` is a tag that is put before each source text. `name` is what the source is called, and `root` the folder
    that links in it may not leave. Raises CheckpointError for a source that cannot be read, and ConfigError if the
    folder exists or the languages are not known.
    """
    if folder.exists():
        raise ConfigError(f"{folder} already exists; choose a new folder to import to")
    with enough_memory("the imported model does not fit"):
        opened = Folder(source, root)
        with one_sentence(name):
            found = _read(opened)
        tok = found.tokenizer if prefix is None else tagged(found.tokenizer, prefix)
        cfg = Config(data=_data(languages or found.languages or _named(name), name), model=found.cfg)
        cfg = tokenizer_in_use(replace(cfg, tokenizer=replace(cfg.tokenizer, vocab_size=max(tok.sizes))), tok)
        if complaint := contradiction(cfg, ""):
            raise CheckpointError(f"{name} is a model that this package cannot have: {complaint}")
        try:
            config_file.read(config_file.dump(cfg), "its configuration")
        except ConfigError as error:  # a value out of its bounds
            raise CheckpointError(f"{name} is a model that this package cannot have: {error}") from None
        with one_sentence(name):
            model = built(found, cfg.data.max_length)
        check = check_import(found, model, source)
        with atomic.whole_folder(folder) as temporary:
            run = write_run(temporary, cfg, tok)
            path = run.checkpoints / step_name(0)
            origin = {"from": found.kind, "name": name, "check": check.words, "notes": list(found.notes)}
            state = {"tokenizer": tok.fingerprint, "imported": origin, "versions": {"transformer": __version__}}
            save_checkpoint(path, model.state_dict(), None, state)
            run.point("best", path)
        run = Run(folder, cfg, tok)
        write_model_card(run)
    return Import(run, found.kind, check.difference, check.words, found.notes)


@contextlib.contextmanager
def one_sentence(name: str) -> Iterator[None]:
    """Report a source that is not built as its program builds it. There are more ways to that than can be checked."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().partition("\n")[0][:200]
        raise CheckpointError(f"{name} cannot be read as a model: {type(error).__name__}: {reason}") from None


def _read(folder: Folder) -> Imported:
    for recognizes, read in READERS:
        if recognizes(folder):
            return read(folder)
    raise CheckpointError(
        f"{folder.path} has no model that can be imported: expected a folder of Hugging Face transformers (config.json "
        "and model.safetensors), of CTranslate2 (model.bin), or of Marian (model.npz and its vocabulary)"
    )


def _data(languages: tuple[str, str] | None, name: str) -> DataConfig:
    if languages is None:
        raise ConfigError(f"{name} does not say its languages; give them with --languages en de")
    data = DataConfig(source=languages[0], target=languages[1], train=())
    if complaint := contradiction(data, "data"):
        raise ConfigError(complaint)
    return data


def _named(name: str) -> tuple[str, str] | None:
    """Return the languages in a name such as Helsinki-NLP/opus-mt-en-de."""
    found = PAIR.search(Path(name).stem.lower())
    return (found[1], found[2]) if found and found[1] != found[2] else None
