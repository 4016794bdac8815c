"""Corpora of OPUS (Tiedemann 2012, https://opus.nlpl.eu), by their names. Downloaded once, as zip archives of text."""

from __future__ import annotations

import contextlib
import difflib
import functools
import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from transformer import languages
from transformer.data.archives import check_zip, read_zip
from transformer.data.download import NETWORK, NotFoundError, ask, download
from transformer.data.tables import first_line
from transformer.data_config import CorpusConfig
from transformer.errors import DataError
from transformer.system.caches import user_cache

API, FILES = "https://opus.nlpl.eu/opusapi/", "https://object.pouta.csc.fi"
MIRROR = "OPUS_MIRROR"
"""Environment variable: an address that is asked instead of both, at `/opusapi/` and at `/OPUS-…`."""
NAME, CODE = re.compile(r"[A-Za-z0-9][\w.+-]*"), re.compile(r"[A-Za-z]{2,3}([_-][A-Za-z]{2,8})*")
"""What can be part of an address and of the name of a file."""
OFFLINE = "run once with a network connection, or use local files with data.*.files or data.*.zip"
ADDRESS = re.compile(r"/OPUS-([^/]+)/([^/]+)/moses/[^/]+$")
"""The end of the address of an archive, with the names of the corpus and of its version."""
log = logging.getLogger(__name__)

_kept: dict[str, str] = {}
"""The versions of corpora that are named without one, while `kept_versions` holds."""


@contextlib.contextmanager
def kept_versions(addresses: Iterable[str], named: Collection[tuple[str, str]]) -> Iterator[None]:
    """Read the versions at these addresses, where a corpus is named without one, while the block runs.

    `named` are the corpora and versions that are named together: an address may be theirs.
    """
    global _kept
    found = [(each[1], each[2]) for address in addresses if (each := ADDRESS.search(address)) is not None]
    before, _kept = _kept, dict(sorted(found, key=lambda each: each not in named))  # the others last, so they count
    try:
        yield
    finally:
        _kept = before


def read_opus(
    corpus: CorpusConfig, source: str, target: str, drop: bool, *_rest: object
) -> Iterator[tuple[str, str] | None]:
    """Yield the pairs of a corpus, which is downloaded first. `drop` is as in `corpus.read_pairs`."""
    path, _ = opus_file(corpus, source, target)
    return read_zip(path, source, target, drop)


def opus_file(corpus: CorpusConfig, source: str, target: str) -> tuple[Path, dict[str, Any]]:
    """Return the archive of a corpus in the cache, and its facts: address, version, licence, bytes and SHA-256.

    Raises DataError if OPUS has no such corpus, and, without a network, if it is not in the cache.
    """
    name = corpus.opus or ""
    version = corpus.version or _kept.get(name, "latest")
    for each in (name, version):
        if not NAME.fullmatch(each) or ".." in each:
            raise DataError(f"{each!r} is not the name of a corpus or version of OPUS, such as Europarl and v8")
    cache = user_cache() / "transformer" / "opus" / name
    return _file(name, version, source, target, os.environ.get(MIRROR, "").rstrip("/"), cache)


@functools.cache  # so that a preparation asks once, and reads one version throughout
def _file(name: str, version: str, source: str, target: str, mirror: str, cache: Path) -> tuple[Path, dict[str, Any]]:
    what = f"OPUS {name} {version} {source}-{target}"
    for codes in _spellings(source, target):
        try:
            number = _latest(name, *codes, mirror) if version == "latest" else version
        except NETWORK as error:
            number = _newest_in_cache(cache, *codes)
            if number is None:
                raise DataError(f"cannot find {what}: OPUS cannot be asked ({first_line(error)}); {OFFLINE}") from None
            log.warning("OPUS cannot be asked (%s): using %s %s of the local cache", first_line(error), name, number)
        if number is None:
            continue
        archive = f"OPUS-{name}/{number}/moses/{'-'.join(codes)}.txt.zip"
        path = cache / number / f"{'-'.join(codes)}.txt.zip"
        try:
            facts = download(f"{mirror or FILES}/{archive}", path, lambda file: _checked(file, source, target))
        except NotFoundError:
            continue
        except DataError as error:
            raise DataError(f"{what}: {error}; {OFFLINE}") from None
        return path, {**facts, "version": number}
    raise DataError(f"OPUS has no corpus {name} {version} in {source} and {target}{_hint(name, mirror)}")


def _checked(file: Path, source: str, target: str) -> dict[str, str]:
    licence = check_zip(file, source, target)
    return {"licence": licence} if licence else {}


def _spellings(source: str, target: str) -> list[tuple[str, str]]:
    """Return the pairs of codes under which OPUS may have two languages, each pair in the order of the alphabet.

    Those of two letters come first, unless a code names a region or script, such as `zh_TW`.
    """
    made = [(languages.parse(source).code, languages.parse(target).code), (source, target)]
    if any("_" in code for code in (source, target)):
        made.reverse()
    fitting = [(min(pair), max(pair)) for pair in made if all(CODE.fullmatch(code) for code in pair)]
    return list(dict.fromkeys(fitting))


def _latest(name: str, first: str, second: str, mirror: str) -> str | None:
    """Return the latest version of a corpus, or None if it has not these languages. Raises OSError or ValueError."""
    query = f"?corpus={name}&source={first}&target={second}&preprocessing=moses&version=latest"
    answer = ask((f"{mirror}/opusapi/" if mirror else API) + query)
    listed = answer.get("corpora") if isinstance(answer, dict) else None
    if not isinstance(listed, list):
        raise ValueError("the answer of OPUS is not what it is documented to be")
    versions = [str(each.get("version")) for each in listed if isinstance(each, dict) and each.get("corpus") == name]
    return next((version for version in versions if NAME.fullmatch(version) and ".." not in version), None)


def _newest_in_cache(cache: Path, first: str, second: str) -> str | None:
    """Return the version of a corpus that was downloaded last."""
    found = cache.glob(f"*/{first}-{second}.txt.zip")
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    return None if newest is None else newest.parent.name


def _hint(name: str, mirror: str) -> str:
    """Return which corpus may be meant."""
    try:
        answer = ask((f"{mirror}/opusapi/" if mirror else API) + "?corpora=True")
        known = [each for each in answer["corpora"] if isinstance(each, str)]
    except (*NETWORK, KeyError, TypeError):
        return ""
    same = [each for each in known if each.lower() == name.lower()]
    close = same or difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close and close[0] != name else ""
