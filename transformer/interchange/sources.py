"""What a model is imported from: a folder, an archive, or a name on the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from transformer.errors import CheckpointError, TransformerError
from transformer.interchange.foreign import LARGEST_WEIGHTS
from transformer.interchange.read_hugging_face import FILES
from transformer.paths import expanded

MOST_FILES = 10_000
"""Members of an archive. One with more is refused."""


DAMAGE: tuple[type[Exception], ...] = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
DAMAGE += (ValueError, FileExistsError, NotADirectoryError, IsADirectoryError)
"""What zipfile raises for files that are damaged, and a folder of files with names that exclude each other."""


@contextlib.contextmanager
def opened(source: str) -> Iterator[tuple[Path, Path | None]]:
    """Yield the folder of a model, and the folder that links in it may not leave, while the block runs.

    An archive is unpacked for as long. Raises CheckpointError for what is no model.
    """
    path = expanded(source)
    if path.is_dir():
        yield path, None
    elif path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            _unpack(path, Path(folder))
            yield _inside(Path(folder)), None
    elif source.count("/") == 1 and not source.startswith((".", "~", "/")):
        yield _downloaded(source)
    else:
        raise CheckpointError(f"no such folder or file: {path}")


def _unpack(path: Path, folder: Path) -> None:
    """Unpack the files of a zip. Raises CheckpointError for one that is damaged, too large or leads elsewhere."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [each for each in archive.infolist() if not each.is_dir()]
            if len(members) > MOST_FILES or sum(each.file_size for each in members) > LARGEST_WEIGHTS:
                raise CheckpointError(f"{path} is larger than {LARGEST_WEIGHTS} bytes, or has too many files")
            for each in members:
                name = PurePosixPath(each.filename)
                if name.is_absolute() or ".." in name.parts or "\\" in each.filename:
                    raise CheckpointError(f"{path} has a file outside its folder: {each.filename!r}")
                target = folder.joinpath(*name.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(each) as content, target.open("xb") as file:
                    shutil.copyfileobj(content, file)
    except DAMAGE as error:
        raise CheckpointError(f"{path} is not a zip that can be unpacked: {error}") from None


def _inside(folder: Path) -> Path:
    """Return the only folder in a folder, or the folder itself."""
    there = list(folder.iterdir())
    return there[0] if len(there) == 1 and there[0].is_dir() else folder


def _downloaded(name: str) -> tuple[Path, Path]:
    """Return the files of a model on the Hub in the cache of huggingface_hub, and the folder with all its versions."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise TransformerError("a model on the Hub needs a package: pip install huggingface-hub") from None
    try:
        path = Path(snapshot_download(name, allow_patterns=FILES))
        if not (path / "model.safetensors").exists():
            path = Path(snapshot_download(name, allow_patterns=[*FILES, "pytorch_model.bin"]))
    except Exception as error:  # it has errors of several libraries
        reason = str(error).strip().partition("\n")[0]
        raise TransformerError(f"cannot download {name} from the Hugging Face Hub: {reason}") from None
    return path, path.parent.parent
