"""Uploads an exported folder to the Hugging Face Hub, with huggingface_hub, which finds the user's token itself."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from transformer import atomic
from transformer.errors import ConfigError, TransformerError
from transformer.interchange.export import Choices, Export, export_run

LOCAL = [atomic.MANIFEST]
"""Files that are not uploaded: the digests of the folder on this machine."""


def check_name(name: str) -> None:
    """Raise ConfigError if a repository of the Hub cannot have this name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"{name!r} is no name of a repository, such as user/model: {error}") from None


def files_to_push(folder: Path) -> list[tuple[str, int]]:
    """Return name and size of each file that would be uploaded. Raises TransformerError if the folder is damaged."""
    if fault := atomic.damage(folder):
        raise TransformerError(f"{folder} is not an export to push: {fault}")
    return [(path.name, path.stat().st_size) for path in sorted(folder.iterdir()) if path.name not in LOCAL]


def export_again(path: Path, folder: Path, to: str, choices: Choices) -> Export:
    """Return the export that `folder` has, file by file, as after a dry run. Raises ConfigError if it has another.

    The same model gives the same bytes, so this shows that what is there is what was asked for, and whole.
    """
    files_to_push(folder)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        again = export_run(path, Path(beside) / folder.name, to, choices)
        if _digests(again.folder) != _digests(folder):
            raise ConfigError(f"{folder} is not this export of {path}; choose a new folder, or remove it")
    return replace(again, folder=folder)


def _digests(folder: Path) -> object:
    return atomic.read_json(folder / atomic.MANIFEST)["files"]


def push(folder: Path, name: str, private: bool) -> str:
    """Upload a folder as one commit and return its address. The repository is made if there is none.

    Raises TransformerError with the reason if the Hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=name, folder_path=folder, ignore_patterns=LOCAL, commit_message="Export by transformer"
        )
    except Exception as error:  # of the network, the Hub, or a token that is missing
        reason = str(error).strip().splitlines()
        raise TransformerError(f"cannot push to {name}: {reason[0] if reason else type(error).__name__}") from None
    return str(done.commit_url)
