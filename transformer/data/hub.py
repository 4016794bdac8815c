"""Downloads: Hugging Face `datasets` and sacreBLEU test sets. No other module uses the network."""

from __future__ import annotations

import logging
import os
import socket
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformer.config import CorpusConfig
from transformer.errors import DataError

PATIENCE = 10.0
"""Network timeout in seconds."""
log = logging.getLogger(__name__)


def testset_files(name: str, source: str, target: str) -> tuple[Path, Path]:
    """Return the files of a sacreBLEU test set, downloaded on first use."""
    import sacrebleu

    pair = f"{source}-{target}"
    known = sacrebleu.get_available_testsets()
    if name not in known:
        raise DataError(f"sacreBLEU has no test set {name!r}; see `sacrebleu --list`")
    if pair not in sacrebleu.get_langpairs_for_testset(name):
        raise DataError(f"sacreBLEU's test set {name} has no language pair {pair}")
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)  # sacreBLEU sets no timeout
    try:
        found = sacrebleu.get_source_file(name, pair), sacrebleu.get_reference_files(name, pair)[0]
    except (OSError, EOFError, SystemExit) as error:
        raise DataError(
            f"test set {name} {pair} is not in sacreBLEU's cache and cannot be downloaded ({error}); "
            "run once with a network connection, or give the text with --source and --reference"
        ) from None
    finally:
        socket.setdefaulttimeout(patience)
    return Path(found[0]), Path(found[1])


def load_local_rows(kind: str, files: list[str], title: str) -> Any:
    """Return the rows of local `parquet` or `json` files, memory-mapped by `datasets`."""
    import datasets

    try:
        return datasets.load_dataset(kind, data_files={"train": files}, split="train")
    except (datasets.exceptions.DatasetGenerationError, ValueError, OSError, RuntimeError, StopIteration) as error:
        reason = "it is empty" if isinstance(error, StopIteration) else _first_line(error)
        raise DataError(f"cannot read {title} as {kind}: {reason}") from None


def load_rows(corpus: CorpusConfig, title: str, source: str, target: str) -> Any:
    """Return the rows of a dataset on the Hugging Face Hub, downloaded once and memory-mapped by `datasets`."""
    _go_offline_if_unreachable()
    import datasets

    assert corpus.dataset is not None
    name, revision = corpus.dataset, corpus.revision
    try:
        rows = datasets.load_dataset(name, corpus.name, split=corpus.split, revision=revision)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise DataError(f"no such dataset on the Hugging Face Hub, or no access to it: {_first_line(error)}") from None
    except OSError as error:
        raise DataError(
            f"cannot download {title}: {_first_line(error)}; "
            "run once with a network connection, or use local files with data.*.files"
        ) from None
    except (ValueError, RuntimeError) as error:
        hint = _order_hint(corpus, source, target)
        raise DataError(f"cannot load {title}: {_first_line(error)}{hint}") from None
    commit = Path(rows.cache_files[0]["filename"]).parent.name if rows.cache_files else ""
    if (
        revision is not None and len(revision) == 40 and commit != revision
    ):  # offline, `datasets` takes any cached commit
        raise DataError(
            f"{title}: revision {revision} is not downloaded, only {commit}; run once with a network connection"
        )
    return rows


def _go_offline_if_unreachable() -> None:
    """Make `datasets` use its cache if the Hub cannot be reached, instead of retrying for half a minute.

    `datasets` reads the environment variable when it is imported, so this must run first.
    """
    endpoint = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    host, port = endpoint.hostname or "", endpoint.port or (443 if endpoint.scheme == "https" else 80)
    if "datasets" in sys.modules or (urllib.request.getproxies() and not urllib.request.proxy_bypass(host)):
        return
    try:
        socket.create_connection((host, port), PATIENCE).close()
    except OSError as error:
        log.warning(
            "%s cannot be reached (%s): using the local cache only",
            host,
            error.strerror or error,
        )
        os.environ["HF_HUB_OFFLINE"] = "1"


def _order_hint(corpus: CorpusConfig, source: str, target: str) -> str:
    if corpus.name in (f"{source}-{target}", f"{target}-{source}"):
        other = "-".join(reversed(corpus.name.split("-")))
        return f" (a pair has one name for both directions: try {other})"
    return ""


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def read_columns(rows: Any, source: str, target: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield pairs from a column `translation` of `{"de": …, "en": …}`, or from one column per language."""
    columns = rows.column_names
    nested = "translation" in columns
    if not nested and not {source, target} <= set(columns):
        raise DataError(f"{name} has columns {', '.join(columns)}; expected translation, or {source} and {target}")
    for batch in rows.iter(batch_size=1000):
        if nested:
            first = batch["translation"][0]
            if not isinstance(first, dict) or not {source, target} <= set(first):
                known = ", ".join(sorted(first)) if isinstance(first, dict) else "none"
                raise DataError(f"{name} has the languages {known}, not {source} and {target}")
            sides = ([(row or {}).get(side) for row in batch["translation"]] for side in (source, target))
        else:
            sides = (batch[side] for side in (source, target))
        for both in zip(*sides, strict=True):
            if not all(side is None or isinstance(side, str) for side in both):
                raise DataError(f"{name} contains a value that is not text: {both!r:.60}")
            yield both[0] or "", both[1] or ""
