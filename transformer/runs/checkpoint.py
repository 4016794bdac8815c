"""Checkpoints: saved atomically, verified when loaded, pruned. No pickle is used."""

from __future__ import annotations

import json
import logging
import struct
import threading
import weakref
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from transformer import atomic
from transformer.errors import CheckpointError
from transformer.runs.progress import is_valid
from transformer.runs.run import Run

FORMAT = 1
WEIGHTS, TENSORS, STATE = "model.safetensors", "state.safetensors", "state.json"
PLAIN = "weights."
"""Prefix of the weights in `TENSORS`, where those in `WEIGHTS` are a moving average."""
LARGEST_HEADER = 16 << 20
T = TypeVar("T")
log = logging.getLogger(__name__)


def first_usable(
    run: Run, candidates: Iterable[Path], use: Callable[[Path], T], deep: bool | Container[str] = True
) -> tuple[Path, T]:
    """Return the first checkpoint that is undamaged and that `use` accepts, and the result of `use`.

    `deep` is as for `atomic.damage`. The checkpoints before it are logged with the reason. Raises CheckpointError if no
    checkpoint is usable.
    """
    fault: object = "there is none"
    for each in dict.fromkeys(candidates):
        try:
            if fault := atomic.damage(each, deep):
                raise CheckpointError(f"{each} is damaged: {fault}")
            return each, use(each)
        except CheckpointError as error:
            fault = error
            log.warning("%s; trying another", error)
    raise CheckpointError(f"no checkpoint in {run.checkpoints} can be used: {fault}")


def save_checkpoint(
    path: Path, weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor] | None, state: Mapping[str, Any]
) -> None:
    """Write a checkpoint atomically: the weights, the other tensors that resuming needs, and plain values."""
    with atomic.new_folder(path) as folder:
        _save_tensors(weights, folder / WEIGHTS)
        if tensors is not None:
            _save_tensors(tensors, folder / TENSORS)
        _write_state(folder, state)


def update_state(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the plain values of a checkpoint atomically. Its tensors are not written again."""
    with atomic.new_folder(path, keep=(WEIGHTS, TENSORS)) as folder:
        _write_state(folder, state)


def _write_state(folder: Path, state: Mapping[str, Any]) -> None:
    (folder / STATE).write_text(json.dumps({"format": FORMAT, **state}, indent=1) + "\n")


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    try:
        save_file(plain, path, metadata={"format": "pt"})
    except SafetensorError as error:  # such as a full disk
        raise CheckpointError(f"cannot write {path.name} of a checkpoint into {path.parent.parent}: {error}") from None


def load_state(path: Path) -> dict[str, Any]:
    """Return the plain values of a checkpoint."""
    try:
        state = atomic.read_json(path / STATE)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path / STATE} cannot be read: {error}") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {state.get('format') if isinstance(state, dict) else '?'}; this version reads {FORMAT}"
        )
    if not isinstance(state.get("tokenizer"), str) or ("progress" in state and not is_valid(state["progress"])):
        raise CheckpointError(f"{path / STATE} is not what training wrote")
    return state


def weights_digest(path: Path, plain: bool = False) -> str:
    """Return the SHA-256 of a checkpoint's weights, as its manifest has it.

    `plain` is for the weights beside their moving average; the digest is that of the optimizer's state, too.
    """
    return str(atomic.read_json(path / atomic.MANIFEST)["files"][TENSORS if plain else WEIGHTS]["sha256"])


def has_plain(path: Path) -> bool:
    """Return whether the weights of a checkpoint are a moving average, so that it has plain ones, too."""
    try:
        with safe_open(path / TENSORS, "pt") as file:
            return any(name.startswith(PLAIN) for name in file.keys())  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError):
        return False


def load_tensors(path: Path, expected: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Tensor]:
    """Return the tensors of a file. With `expected`, check names, shapes, and that all are finite float32."""
    try:
        with path.open("rb") as stream:
            header_length(stream, path)
        with safe_open(path, "pt") as file:
            if expected is not None:
                _compare(path, file, expected)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, struct.error, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if bad := [name for name in expected or () if not tensors[name].isfinite().all()]:
        raise CheckpointError(f"{path}: {bad[0]} has values that are not finite")
    return tensors


class StoredWeights(Mapping[str, Tensor]):
    """The weights of a checkpoint, each read whenever it is asked for. The file is kept open, so it may be removed."""

    def __init__(self, path: Path, expected: Mapping[str, tuple[int, ...]], prefix: str = "") -> None:
        """Take those whose names in the file begin with `prefix`. Check names, shapes, and that all are finite float32.

        Raises CheckpointError.
        """
        self.path, self.shapes, self.prefix = path, expected, prefix
        try:
            self._file = path.open("rb", buffering=0)
            weakref.finalize(self, self._file.close)
            length = header_length(self._file, path)
            with safe_open(path, "pt") as file:  # refuses a damaged header
                _compare(path, file, expected, prefix)
            self._header = json.loads(self._file.read(length))
        except (OSError, struct.error, SafetensorError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from None
        self._data, self._lock = 8 + length, threading.Lock()
        if bad := [name for name in expected if not np.isfinite(self[name].numpy()).all()]:
            raise CheckpointError(f"{path}: {bad[0]} has values that are not finite")

    def __getitem__(self, name: str) -> Tensor:
        """Read a tensor."""
        tensor = torch.empty(self.shapes[name])
        into = tensor.numpy().reshape(-1).view(np.uint8).data
        with self._lock:
            self._file.seek(self._data + self._header[self.prefix + name]["data_offsets"][0])
            while into:
                read = self._file.readinto(into)
                if not read:
                    raise CheckpointError(f"{self.path} cannot be read: it was cut")
                into = into[read:]
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def header_length(stream: IO[bytes], path: Path) -> int:
    """Read the length of a safetensors file's header. Raises CheckpointError if it is too long to be one."""
    (length,) = struct.unpack("<Q", stream.read(8))
    if length > LARGEST_HEADER:
        raise CheckpointError(f"{path} is not a safetensors file: its header claims {length} bytes")
    return int(length)


def _compare(path: Path, file: Any, expected: Mapping[str, tuple[int, ...]], prefix: str = "") -> None:
    names = {name.removeprefix(prefix) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118 (not a dict)
    if prefix and not names:
        raise CheckpointError(f"{path.parent} has no weights beside the moving average that fit this configuration")
    if missing := sorted(set(expected) - names):
        raise CheckpointError(f"{path} lacks {missing[0]}: it belongs to another configuration")
    if extra := sorted(names - set(expected)):
        raise CheckpointError(f"{path} has {extra[0]}, which this configuration does not")
    for name, shape in expected.items():
        part = file.get_slice(prefix + name)
        if tuple(part.get_shape()) != shape:
            found = tuple(part.get_shape())
            raise CheckpointError(f"{path}: {name} has shape {found}, but this configuration needs {shape}")
        if part.get_dtype() != "F32":
            raise CheckpointError(f"{path}: {name} has {part.get_dtype()} values instead of F32")


def check_tokenizer(run: Run, checkpoint: Path, state: Mapping[str, Any]) -> None:
    """Raise CheckpointError if a checkpoint with this state was trained with another tokenizer than the run has."""
    if state["tokenizer"] != run.tokenizer.fingerprint:
        raise CheckpointError(f"{checkpoint} was trained with a different tokenizer than the one in {run.path}")


def prune(run: Run, newest: Path, needed: set[str]) -> None:
    """Remove checkpoints that are neither named in `needed` nor pointed to. Those that resist are kept, with a warning.

    Checkpoints of later steps than `newest` are kept: they are damaged, and training resumed from an earlier one.
    """
    steps = [path for path in run.steps() if path.name <= newest.name]
    kept = needed | {found.name for name in ("best", "last") if (found := run.pointer(name)) is not None}
    for path in steps:
        if path.name not in kept:
            try:
                atomic.remove(path)
            except OSError as error:
                log.warning("%s is no longer needed, but cannot be removed: %s", path, error.strerror)
