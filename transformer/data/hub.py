"""Hugging Face `datasets`, by their names on the Hub or in a local folder."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import re
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformer.data import tables
from transformer.data.lines import sha256
from transformer.data.tables import Texts
from transformer.data_config import CorpusConfig
from transformer.errors import DataError
from transformer.paths import expanded
from transformer.system.caches import can_be_made, user_cache

PATIENCE = 10.0
"""Network timeout in seconds."""
COMMIT = re.compile(r"[0-9a-f]{40}")
OFFLINE = "run once with a network connection, or use local files with data.*.files"
FORMATS = {"json": (".json",), "parquet": (".parquet",), "csv": (".csv", ".tsv")}
"""Endings of the tables in a folder, by the modules of `datasets`, which reads one format of a folder only."""
TABLES = (".json", ".jsonl", ".parquet", ".csv", ".tsv")
NUMBERS = ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")
"""Variables that huggingface_hub reads as whole numbers when it is imported."""
CSV = {"keep_default_na": False}
"""How CSV is read: `NA` and `null` are text."""
log = logging.getLogger(__name__)
_asked: dict[tuple[str | None, str | None], tuple[str | None, str]] | None = None
"""What the Hub answered about a dataset and a revision, while `fixed_commits` holds."""


# ---- datasets -------------------------------------------------------------------------------------------


def read_dataset(corpus: CorpusConfig, title: str, source: str, target: str, drop: bool) -> Iterator[Texts]:
    """Yield the pairs of a Hugging Face dataset, by its name on the Hub or by a local folder."""
    assert corpus.dataset is not None
    columns = tables.Columns(title, source, target, drop)
    files: list[str] = []
    rows = None
    if folder := local_folder(corpus):
        builder, files = _local_files(corpus, folder)
        if _reader(builder) is None or not corpus.split.isidentifier():
            rows = _load_local(corpus, folder, builder, files)
    else:
        with contextlib.suppress(_UnlikeFilesError):
            rows = load_rows(corpus, title, source, target)
        if rows is None or tables.has_dates(rows.features.arrow_schema, columns.languages):
            builder, files = _downloaded(corpus, title)
            rows = None
    if rows is None:
        read = _reader(builder)
        assert read is not None
        for file in files:
            yield from read(Path(file), source, target, drop)
        return
    tables.wanted_columns(rows.features.arrow_schema, columns)
    for table in rows.with_format("arrow").iter(batch_size=1000):
        yield from tables.arrow_pairs(table.to_batches(), columns)


class _UnlikeFilesError(DataError):
    """Files of one dataset have columns that `datasets` cannot read as one table."""


def _downloaded(corpus: CorpusConfig, title: str) -> tuple[Any, list[str]]:
    """Return the builder of a dataset on the Hub and the files of its split, downloaded, to be read one by one."""
    datasets, commit = _datasets(), _commit(corpus, title)[0]
    try:
        builder = datasets.load_dataset_builder(corpus.dataset, corpus.name, revision=commit or corpus.revision)
        names = [str(file) for file in (builder.config.data_files or {})[corpus.split]]
        files = datasets.DownloadManager(dataset_name=corpus.dataset).download(names)
    except Exception as error:
        raise _cannot_load(corpus, title, error, "", "") from None
    if _reader(builder) is None:
        raise DataError(f"cannot load {title}: its files have different columns")
    return builder, files


def _reader(builder: Any) -> tables.Reader | None:
    """Return the reader for files of the format that the module of `datasets` is for, or None."""
    return tables.READERS.get(_module(builder))


def _module(builder: Any) -> str:
    return type(builder).__module__.rpartition(".")[2]


def dataset_identity(corpus: CorpusConfig, title: str) -> dict[str, Any]:
    """Return what identifies the text of a dataset: its commit on the Hub, or the digests of its local files."""
    part = {"kind": "dataset", "name": corpus.name, "split": corpus.split}
    if folder := local_folder(corpus):
        return {**part, "sha256": [sha256(Path(file)) for file in _local_files(corpus, folder)[1]]}
    commit = corpus.revision
    if commit is None or not COMMIT.fullmatch(commit):
        commit = _commit(corpus, title)[0] or _commit_of(load_rows(corpus, title, "", ""))
    return {**part, "dataset": corpus.dataset, "commit": commit}


def local_folder(corpus: CorpusConfig) -> Path | None:
    """Return the folder that `dataset` names, or None if it is a name on the Hub."""
    name = corpus.dataset or ""
    folder = expanded(name)
    if not folder.is_dir() and (folder.is_absolute() or name.startswith(".") or name.count("/") > 1):
        raise DataError(f"no such folder: {folder}")
    return folder if folder.is_dir() else None


def _local_files(corpus: CorpusConfig, folder: Path) -> tuple[Any, list[str]]:
    """Return the builder of a local dataset and the files of its split."""
    datasets = _datasets()
    split = re.split(r"\W", corpus.split)[0]
    try:
        with _offline(datasets):
            builder = datasets.load_dataset_builder(str(folder), corpus.name)
    except Exception as error:
        raise _cannot_load(corpus, str(folder), error, "", "") from None
    files = builder.config.data_files or {}
    if split not in files:
        raise DataError(f"{folder} has no split {split}; its splits are {', '.join(map(str, files)) or 'none'}")
    _warn_of_other_formats(folder, _module(builder))
    return builder, sorted(map(str, files[split]))


@functools.cache
def _warn_of_other_formats(folder: Path, module: str) -> None:
    """Log which tables of a folder are left out: `datasets` reads those of one format."""
    read = FORMATS.get(module, ("",))
    others = [
        file.name
        for file in sorted(folder.rglob("*"))
        if file.name.endswith(TABLES)
        and not any(ending in file.name for ending in read)
        and not file.name.startswith(("dataset_", "state.", "."))  # which describe a dataset
    ]
    if others:
        log.warning("%s is read as %s; left out: %s", folder, module, tables.listed(others))


def _load_local(corpus: CorpusConfig, folder: Path, builder: Any, files: list[str]) -> Any:
    """Return the rows of a local dataset of another format, cached by the digest of its files."""
    datasets = _datasets()
    digest = hashlib.sha256("".join(sha256(Path(file)) for file in files).encode()).hexdigest()[:16]
    cache = Path(datasets.config.HF_DATASETS_CACHE) / f"transformer-{digest}"
    more = CSV if type(builder).__module__.endswith(".csv") else {}
    try:
        with _offline(datasets):
            return datasets.load_dataset(str(folder), corpus.name, split=corpus.split, cache_dir=str(cache), **more)
    except Exception as error:
        raise _cannot_load(corpus, str(folder), error, "", "") from None


def load_rows(corpus: CorpusConfig, title: str, source: str, target: str) -> Any:
    """Return the rows of a dataset on the Hugging Face Hub, downloaded once and memory-mapped by `datasets`."""
    commit, unreachable = _commit(corpus, title)
    datasets, revision = _datasets(), corpus.revision
    try:
        with _offline(datasets) if unreachable else contextlib.nullcontext():
            rows = datasets.load_dataset(
                corpus.dataset, corpus.name, split=corpus.split, revision=commit or corpus.revision
            )
    except Exception as error:
        if unreachable and not isinstance(error, ValueError):
            raise DataError(f"cannot download {title}: {unreachable}; {OFFLINE}") from None
        found = _cannot_load(corpus, title, error, source, target)
        raise _UnlikeFilesError(str(found)) if type(error).__name__.startswith("DatasetGeneration") else found from None
    used = _commit_of(rows)
    if revision is not None and COMMIT.fullmatch(revision) and used != revision:
        # offline, `datasets` takes any cached commit
        raise DataError(
            f"{title}: revision {revision} is not downloaded, only {used}; run once with a network connection"
        )
    return rows


def _commit_of(rows: Any) -> str:
    """Return the commit of a dataset of the Hub that was loaded."""
    return Path(rows.cache_files[0]["filename"]).parent.name if rows.cache_files else ""


@contextlib.contextmanager
def fixed_commits() -> Iterator[None]:
    """Ask the Hub once for the commit of each dataset while the block runs, so that it reads one text throughout."""
    global _asked
    before, _asked = _asked, {} if _asked is None else _asked
    try:
        yield
    finally:
        _asked = before


def _commit(corpus: CorpusConfig, title: str) -> tuple[str | None, str]:
    """Return the commit of a dataset on the Hub, or None and why the Hub cannot be reached."""
    key = corpus.dataset, corpus.revision
    if _asked is None:
        return _ask(corpus, title)
    if key not in _asked:
        _asked[key] = _ask(corpus, title)
    return _asked[key]


def _ask(corpus: CorpusConfig, title: str) -> tuple[str | None, str]:
    """Ask the Hub for the commit of a dataset, with one request: `datasets` would retry for half a minute."""
    _prepare_environment()
    import huggingface_hub
    from huggingface_hub.errors import (
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        api = huggingface_hub.HfApi(_endpoint())
        return api.dataset_info(corpus.dataset or "", revision=corpus.revision, timeout=PATIENCE).sha, ""
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise DataError(
            f"no such dataset on the Hugging Face Hub, or no access to it: {title}: {tables.first_line(error)}"
        ) from None
    except OfflineModeIsEnabled:
        return None, "offline mode is enabled by HF_HUB_OFFLINE"
    except Exception as error:  # proxies and endpoints fail in any way
        reason = tables.first_line(error)
        log.warning("%s cannot be reached (%s): using the local cache only", _endpoint(), reason)
        return None, f"{_endpoint()} cannot be reached ({reason})"


def _datasets() -> Any:
    """Return the module `datasets`, which writes neither tables nor progress bars to what is no terminal."""
    _prepare_environment()
    import datasets
    import huggingface_hub
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    huggingface_hub.logging.set_verbosity_error()
    if sys.stderr is None or not sys.stderr.isatty():
        datasets.disable_progress_bars()
        disable_progress_bars()
    return datasets


def _prepare_environment() -> None:
    """Set HF_HOME if the usual folder cannot be made. Raises DataError if HF_ENDPOINT is no address.

    The libraries read both when they are imported.
    """
    if not os.environ.get("HF_ENDPOINT"):
        os.environ.pop("HF_ENDPOINT", None)  # the libraries would take an empty one
    try:
        address = urllib.parse.urlsplit(_endpoint())
        valid = address.scheme in ("http", "https") and address.hostname and address.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise DataError(f"HF_ENDPOINT is {_endpoint()!r}, which is not an address such as https://huggingface.co")
    for name in NUMBERS:
        if not os.environ.get(name, "1").isdecimal():
            raise DataError(f"{name} is {os.environ[name]!r}, which is not a number of seconds")
    if os.environ.get("HF_DATASETS_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        os.environ["HF_HUB_OFFLINE"] = "1"
    home = os.environ.get("HF_HOME", "")
    if home and not os.path.expanduser(home).startswith("~"):
        return
    if home or "XDG_CACHE_HOME" in os.environ or not can_be_made(Path(os.path.expanduser("~/.cache/huggingface"))):
        os.environ["HF_HOME"] = str(user_cache() / "huggingface")


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


@contextlib.contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """Make `datasets` use its cache, without trying the network."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _cannot_load(corpus: CorpusConfig, title: str, error: Exception, source: str, target: str) -> DataError:
    """Return the error for a dataset that `datasets` refuses."""
    if type(error).__name__ == "DatasetNotFoundError":
        return DataError(f"no such dataset on the Hugging Face Hub, or no access to it: {tables.first_line(error)}")
    if listed := re.search(r"[Aa]vailable(?: configs)?: \[([^]]*)\]", str(error)):
        names = re.findall(r"'([^']*)'", listed[1])
        problem = "data.*.name is missing" if corpus.name is None else f"it has no data.*.name {corpus.name}"
        return DataError(f"cannot load {title}: {problem}; {_choice(names, corpus, source, target)}")
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        return DataError(f"cannot download {title}: {tables.first_line(error)}; {OFFLINE}")
    return DataError(f"cannot load {title}: {tables.first_line(error)}")


def _choice(names: list[str], corpus: CorpusConfig, source: str, target: str) -> str:
    """Return the names that there are in words, those with both languages first."""
    fitting = [name for name in names if {source, target} <= set(re.split(r"\W|_", name))]
    hint = ""
    if corpus.name and (other := "-".join(reversed(corpus.name.split("-")))) != corpus.name and other in names:
        hint = f" (a pair has one name for both directions: try {other})"
    return f"the names are {tables.listed(dict.fromkeys([*fitting, *names]))}{hint}"
