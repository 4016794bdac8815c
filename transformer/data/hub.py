"""Downloads: Hugging Face `datasets` and sacreBLEU test sets. No other module uses the network."""

from __future__ import annotations

import difflib
import logging
import os
import socket
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from transformer import languages
from transformer.config import CorpusConfig
from transformer.data.lines import read_lines
from transformer.errors import DataError

PATIENCE = 10.0
"""Network timeout in seconds."""
log = logging.getLogger(__name__)


def testset_files(name: str, source: str, target: str) -> list[Path]:
    """Return the files of a sacreBLEU test set, downloaded on first use: the source and each reference.

    `source` and `target` may be codes of any form. Raises DataError with the reason if the set is not to be had.
    """
    import sacrebleu

    known = sacrebleu.get_available_testsets()
    if name not in known:
        close = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {close[0]}?" if close else "see `sacrebleu --list`"
        raise DataError(f"sacreBLEU has no test set {name!r}; {hint}")
    pair = _langpair(sacrebleu.get_langpairs_for_testset(name), source, target)
    if pair is None:
        raise DataError(f"sacreBLEU's test set {name} has no language pair {source}-{target}")
    if "SACREBLEU" not in os.environ and not os.path.isabs(os.path.expanduser("~")):
        raise DataError(
            "sacreBLEU keeps test sets in the home directory, which is unknown; set SACREBLEU to a directory"
        )
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)  # sacreBLEU sets no timeout
    try:
        files = [sacrebleu.get_source_file(name, pair), *sacrebleu.get_reference_files(name, pair)]
    except (Exception, SystemExit) as error:  # of networks, proxies, archives and XML, and sacreBLEU's own
        folder = _testset_folder(name)
        found = any(not name.endswith(".lock") for _, _, names in os.walk(folder) for name in names)
        rest = f"; if a download was interrupted, first remove {folder}" if found else ""
        raise DataError(
            f"test set {name} {pair} is not in sacreBLEU's cache and cannot be downloaded ({_reason(error)}); "
            f"run once with a network connection, or give the text with --source and --reference{rest}"
        ) from None
    finally:
        socket.setdefaulttimeout(patience)
    return _check_testset(name, pair, [Path(file) for file in files])


def _langpair(known: Iterable[str], source: str, target: str) -> str | None:
    """Return which of these pairs is that of two languages, whose codes may have another form."""
    wanted = [languages.parse(code).code for code in (source, target)]
    same = (pair for pair in known if [languages.parse(code).code for code in pair.split("-")] == wanted)
    return f"{source}-{target}" if f"{source}-{target}" in known else next(same, None)


def _check_testset(name: str, pair: str, files: list[Path]) -> list[Path]:
    """Return the files of a test set if there is a reference and all are of one length.

    sacreBLEU keeps and uses what an interrupted download has left (sacrebleu#16).
    """
    if len(files) < 2:
        raise DataError(f"sacreBLEU's test set {name} {pair} has no reference; another version of sacreBLEU may have")
    counts = {file.name: sum(1 for _ in read_lines(file)) for file in files}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{file} has {count}" for file, count in counts.items())
        raise DataError(
            f"test set {name} {pair} in sacreBLEU's cache is damaged: its files differ in their numbers of lines "
            f"({found}); remove {_testset_folder(name)} to download it again"
        )
    return files


def _testset_folder(name: str) -> Path:
    from sacrebleu.utils import SACREBLEU_DIR

    return Path(SACREBLEU_DIR, name)


def _reason(error: BaseException) -> str:
    if isinstance(error, SystemExit):  # which is how sacreBLEU ends after a wrong checksum
        return "what was downloaded is something else"
    kind = "" if isinstance(error, OSError) or not str(error) else f"{type(error).__name__}: "
    return kind + _first_line(error)


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
