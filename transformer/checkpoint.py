"""The run directory: what is in it, saved whole or not at all, checked when loaded. No pickle anywhere."""

from __future__ import annotations

import json
import logging
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from transformer import config, durable, tokenizer
from transformer.config import Config
from transformer.errors import CheckpointError, ConfigError
from transformer.model import Transformer
from transformer.tokenizer import Tokenizer

FORMAT = 1
WEIGHTS, TENSORS, STATE = "model.safetensors", "state.safetensors", "state.json"
LARGEST_HEADER = 16 << 20
LARGEST = 2**62
"""Whole numbers of a state are below it."""

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run or model directory: its configuration and tokenizer, and where its checkpoints are."""

    path: Path
    config: Config
    tokenizer: Tokenizer

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    def steps(self) -> list[Path]:
        """Return the checkpoints that training saved, oldest first."""
        return sorted(path for path in self.checkpoints.glob("step-*") if path.name[5:].isdecimal())

    def pointer(self, name: str) -> Path | None:
        """Return the checkpoint that the file `best` or `last` names, if it names one."""
        file = self.path / name
        if not file.is_file():
            return None
        with file.open(encoding="utf-8", errors="replace") as stream:
            target = stream.read(256).strip()
        if not target:
            log.warning("%s is empty", file)
            return None
        if Path(target).name != target or target in (".", ".."):
            raise CheckpointError(f"{file} should name a checkpoint, not {target!r}")
        found = self.checkpoints / target
        if not found.is_dir():
            log.warning("%s names %s, which is not there", file, target)
            return None
        return found

    def point(self, name: str, checkpoint: Path) -> None:
        """Let `best` or `last` name a checkpoint."""
        durable.write_text(self.path / name, checkpoint.name + "\n")


def create(path: Path, cfg: Config, tok: Tokenizer) -> Run:
    """Make a run directory, or bring the configuration of one up to date."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "checkpoints").mkdir(exist_ok=True)
    tok.save(path)
    durable.write_text(path / "config.yaml", config.dump(cfg))
    return Run(path, cfg, tok)


def open_run(path: Path) -> Run:
    """Return the run at `path`; raises CheckpointError where there is none."""
    if not (path / "config.yaml").is_file():
        what = "no such directory" if not path.exists() else "it has no config.yaml"
        raise CheckpointError(f"{path} is not a run directory: {what}")
    refuse_links(path)
    cfg, tok = config.load(path / "config.yaml"), tokenizer.load(path)
    if cfg.model.tied == "all" and not tok.joint:
        raise CheckpointError(f"{path} has two vocabularies, but model.tied: all needs one")
    return Run(path, cfg, tok)


def refuse_links(path: Path) -> None:
    """Raise CheckpointError where a run directory holds links."""
    if links := sorted(each.name for each in path.iterdir() if each.is_symlink()):
        raise CheckpointError(f"{path / links[0]} is a link, which may lead anywhere; copy the folder with cp -rL")


def build(cfg: Config, tok: Tokenizer) -> Transformer:
    """Return the network of this configuration with fresh weights; raises ConfigError where no memory could hold it."""
    parts = outline(cfg, tok)
    needed = sum(part.numel() for part in (*parts.parameters(), *parts.buffers())) * 4
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise ConfigError(
            f"these `model` settings need {needed / 2**30:,.0f} GiB for the weights alone, "
            f"but this machine has {memory / 2**30:,.0f} GiB of memory"
        )
    return _network(cfg, tok)


def outline(cfg: Config, tok: Tokenizer) -> Transformer:
    """Return the network with the shapes of its weights, but no memory for them."""
    with torch.device("meta"):
        return _network(cfg, tok)


def _network(cfg: Config, tok: Tokenizer) -> Transformer:
    start = tok.bos if cfg.model.decoder_start == "bos" else tok.pad
    return Transformer(cfg.model, tok.sizes, tok.pad, start, cfg.data.max_length)


def load_model(run: Run, name: str | None = None) -> tuple[Transformer, Path]:
    """Return the network with the weights of the named checkpoint, else of the best one that can be used."""
    if name:
        found = _named(run, name)
        tensors = _weights(run, found)
    else:
        candidates = [run.pointer("best"), run.pointer("last"), *reversed(run.steps())]
        found, tensors = first_usable(run, [c for c in candidates if c is not None], lambda path: _weights(run, path))
    model = build(run.config, run.tokenizer)
    model.load_state_dict(tensors)
    return model.eval(), found


def _weights(run: Run, path: Path) -> dict[str, Tensor]:
    if load_state(path).get("tokenizer") != run.tokenizer.fingerprint:
        raise CheckpointError(f"{path} was trained with another tokenizer than the one in {run.path}")
    with torch.device("meta"):
        model = build(run.config, run.tokenizer)
    return load_tensors(path / WEIGHTS, {k: tuple(v.shape) for k, v in model.state_dict().items()})


def _named(run: Run, name: str) -> Path:
    """Return the checkpoint of this name, or that `best` or `last` name; raises CheckpointError unless it is whole."""
    found = run.pointer(name) if name in ("best", "last") else run.checkpoints / name
    if found is None or not found.is_dir() or found.parent != run.checkpoints:
        there = ", ".join(path.name for path in sorted(run.checkpoints.glob("*-*"))) or "none"
        raise CheckpointError(f"{run.path} has no checkpoint {name!r}; there are: {there}")
    if fault := durable.damage(found):
        raise CheckpointError(f"{found} cannot be used: {fault}")
    return found


def first_usable(run: Run, candidates: Iterable[Path], use: Callable[[Path], T]) -> tuple[Path, T]:
    """Return the first of these checkpoints that is whole and that `use` takes, with what it makes of it.

    The others are named with what is wrong; raises CheckpointError where none is left.
    """
    fault: object = "there is none"
    for each in dict.fromkeys(candidates):
        try:
            if fault := durable.damage(each):
                raise CheckpointError(f"{each} is damaged: {fault}")
            return each, use(each)
        except CheckpointError as error:
            fault = error
            log.warning("%s; trying another", error)
    raise CheckpointError(f"no checkpoint in {run.checkpoints} can be used: {fault}")


def save(
    path: Path, weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor] | None, state: Mapping[str, Any]
) -> None:
    """Write one checkpoint whole: the weights to use, what else training goes on from, and plain values."""
    with durable.new_folder(path) as folder:
        _save_tensors(weights, folder / WEIGHTS)
        if tensors is not None:
            _save_tensors(tensors, folder / TENSORS)
        (folder / STATE).write_text(json.dumps({"format": FORMAT, **state}, indent=1) + "\n")


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    try:
        save_file(plain, path, metadata={"format": "pt"})
    except SafetensorError as error:  # a full disk, for one
        raise CheckpointError(f"cannot write {path.name} of a checkpoint into {path.parent.parent}: {error}") from None


def load_state(path: Path) -> dict[str, Any]:
    """Return the plain values of a checkpoint."""
    try:
        state = durable.read_json(path / STATE)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path / STATE} cannot be read: {error}") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {state.get('format') if isinstance(state, dict) else '?'}; this version reads {FORMAT}"
        )
    if not isinstance(state.get("tokenizer"), str) or ("progress" in state and not _plausible(state["progress"])):
        raise CheckpointError(f"{path / STATE} holds something else than what training wrote")
    return state


def _plausible(progress: Any) -> bool:
    """Return whether this is what training writes about how far it is, as far as can be told from kinds and sizes."""
    if not isinstance(progress, dict) or not isinstance(progress.get("valid", {}), dict):
        return False
    ranking = progress.get("ranking", [])
    if not isinstance(ranking, list) or not all(isinstance(each, list) and len(each) == 2 for each in ranking):
        return False
    whole = [progress.get(key) for key in ("step", "epoch", "index", "tokens")]
    whole += [progress.get(key, 0) for key in ("since_best", "validated", "skips")]
    numbers = [progress.get("seconds"), progress.get("best") or 0.0, *progress.get("valid", {}).values()]
    names = [progress.get("good", ""), *(name for _, name in ranking)]
    return (
        all(type(each) is int and -1 <= each < LARGEST for each in whole)
        and all(type(each) in (int, float) for each in numbers + [score for score, _ in ranking])
        and abs(progress["seconds"]) < LARGEST
        and all(isinstance(each, str) and Path(each).name == each for each in names)
        and type(progress.get("calm", False)) is bool
    )


def load_tensors(path: Path, expected: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Tensor]:
    """Return a file's tensors; where names and shapes are expected, these first, then float32 and finite numbers."""
    try:
        with path.open("rb") as stream:
            (header,) = struct.unpack("<Q", stream.read(8))
        if header > LARGEST_HEADER:
            raise CheckpointError(f"{path} is not a file of tensors: its header claims {header} bytes")
        with safe_open(path, "pt") as file:
            if expected is not None:
                _compare(path, file, expected)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, struct.error, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if strange := [name for name in expected or () if not tensors[name].isfinite().all()]:
        raise CheckpointError(f"{path}: {strange[0]} holds numbers that are not finite")
    return tensors


def _compare(path: Path, file: Any, expected: Mapping[str, tuple[int, ...]]) -> None:
    names = set(file.keys())
    if missing := sorted(set(expected) - names):
        raise CheckpointError(f"{path} lacks {missing[0]}: it belongs to another configuration")
    if extra := sorted(names - set(expected)):
        raise CheckpointError(f"{path} has {extra[0]}, which this configuration does not")
    for name, shape in expected.items():
        part = file.get_slice(name)
        if tuple(part.get_shape()) != shape:
            found = tuple(part.get_shape())
            raise CheckpointError(f"{path}: {name} has shape {found}, but this configuration needs {shape}")
        if part.get_dtype() != "F32":
            raise CheckpointError(f"{path}: {name} holds {part.get_dtype()} numbers instead of F32")


def whole(paths: list[Path]) -> list[Path]:
    """Return those checkpoints that are not damaged, and warn of the others."""
    faults = {path: durable.damage(path) for path in paths}
    for path, fault in faults.items():
        if fault:
            log.warning("%s is left out: %s", path, fault)
    return [path for path, fault in faults.items() if not fault]


def average(run: Run, paths: list[Path]) -> dict[str, Tensor]:
    """Return the mean of the weights of several checkpoints, each of which must be whole."""
    total: dict[str, Tensor] = {}
    shapes = {name: tuple(part.shape) for name, part in outline(run.config, run.tokenizer).state_dict().items()}
    for path in paths:
        if fault := durable.damage(path):
            raise CheckpointError(f"{path} cannot be averaged: {fault}")
        for name, tensor in load_tensors(path / WEIGHTS, shapes).items():
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    return {name: (tensor / len(paths)).float() for name, tensor in total.items()}


def prune(run: Run, newest: Path, needed: set[str]) -> None:
    """Remove checkpoints that are neither named in `needed` nor pointed to.

    Those of later steps than the newest are damaged ones that training went back from; these stay.
    """
    steps = [path for path in run.steps() if path.name <= newest.name]
    kept = needed | {found.name for name in ("best", "last") if (found := run.pointer(name)) is not None}
    for path in steps:
        if path.name not in kept:
            durable.remove(path)
