"""Downloads a file: resumed where it broke off, complete or absent, with its address and SHA-256 beside it."""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformer import __version__, atomic
from transformer.data.tables import first_line
from transformer.errors import DataError
from transformer.system.progress_bar import ProgressBar

PATIENCE = 10.0
"""Network timeout in seconds."""
ATTEMPTS = 4
"""Times that a download is resumed without having got a byte, before it fails."""
CHUNK = 1 << 20
LARGEST_UNTOLD = 64 << 30
"""Bytes of a file whose length the server does not tell."""
LARGEST_ANSWER = 16 << 20
"""Bytes of an answer that is no file."""
PART, FACTS = ".part", ".json"
NETWORK = (OSError, http.client.HTTPException, ValueError)
"""What urllib raises for networks, proxies and addresses; its own errors are OSErrors."""
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
log = logging.getLogger(__name__)


class NotFoundError(DataError):
    """A server has no such file."""


def ask(address: str) -> Any:
    """Return the JSON that a server answers. Raises OSError or ValueError if it cannot be had."""
    with _open(address, {}) as answer:
        return json.loads(answer.read(LARGEST_ANSWER))


def download(address: str, path: Path, check: Callable[[Path], dict[str, str]]) -> dict[str, Any]:
    """Make a file from its address, unless it is there, and return its facts: address, bytes, SHA-256 and what `check`
    returns, which gets the file before it appears and raises DataError if it is no good.

    A file that has changed since is downloaded again. Raises NotFoundError, and DataError with the reason.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.only_writer(path.parent, wait=True):
        if (facts := known_facts(path)) is not None:
            return facts
        part = path.with_name(path.name + PART)
        _fetch(address, part)
        try:
            more = check(part)
        except DataError:
            part.unlink()  # the same bytes would come again
            part.with_name(part.name + FACTS).unlink(missing_ok=True)
            raise
        facts = {"address": address, "bytes": part.stat().st_size, "sha256": atomic.sha256(part), **more}
        atomic.write_text(path.with_name(path.name + FACTS), json.dumps(facts, indent=1) + "\n")
        os.replace(part, path)
        part.with_name(part.name + FACTS).unlink(missing_ok=True)
        return facts


def known_facts(path: Path) -> dict[str, Any] | None:
    """Return the facts of a file that was downloaded, or None if it is not there, or is another by now."""
    try:
        facts = atomic.read_json(path.with_name(path.name + FACTS))
        if not path.is_symlink() and path.stat().st_size == facts["bytes"] and atomic.sha256(path) == facts["sha256"]:
            return dict(facts)
        log.warning("%s has changed since it was downloaded", path)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _fetch(address: str, part: Path) -> None:
    """Download to a file that may hold a beginning."""
    left = ATTEMPTS
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _fetch_rest(address, part):
                return
            raise OSError("the connection was closed before the end")
        except urllib.error.HTTPError as error:
            if error.code in (404, 410):
                raise NotFoundError(f"the server has no file {address}") from None
            reason = f"the server answers {error.code} {str(error.reason).partition(chr(10))[0]}"
            again = error.code >= 500
        except NETWORK as error:
            reason, again = first_line(error), not isinstance(error, ValueError)
        left = ATTEMPTS if part.is_file() and part.stat().st_size > before else left - 1
        if not again or left <= 0:
            raise DataError(f"cannot download {address}: {reason}")


def _fetch_rest(address: str, part: Path) -> bool:
    """Download what is missing, and return whether that is all. A file that has changed meanwhile begins anew."""
    state = part.with_name(part.name + FACTS)
    try:
        tag = atomic.read_json(state)["tag"]
        have = part.stat().st_size if tag else 0
    except (OSError, ValueError, KeyError, TypeError):
        tag, have = "", 0
    headers = {"Range": f"bytes={have}-", "If-Range": tag} if have else {}
    try:
        answer = _open(address, headers)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        state.unlink(missing_ok=True)  # all bytes are there, or it has become shorter: begin anew
        answer = _open(address, {})
    with answer:
        resumed = answer.status == 206 and (found := RANGE.match(answer.headers.get("Content-Range", ""))) is not None
        changed = (answer.headers.get("ETag") or answer.headers.get("Last-Modified") or tag) != tag
        if resumed and (changed or int(found[1]) != have):  # type: ignore[index]
            state.unlink(missing_ok=True)
            return False
        length = answer.headers.get("Content-Length")
        total = (have if resumed else 0) + int(length) if length and length.isdecimal() else None
        if not resumed:
            tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            atomic.write_text(state, json.dumps({"tag": "" if tag.startswith("W/") else tag}))
        with (
            part.open("ab" if resumed else "wb") as file,
            ProgressBar(f"downloading {address.rpartition('/')[2]}", total, "bytes") as bar,
        ):
            bar.count = have if resumed else 0
            while content := answer.read(CHUNK):
                file.write(content)
                if total is None and file.tell() > LARGEST_UNTOLD:
                    part.unlink()
                    raise ValueError(f"it has more than {LARGEST_UNTOLD:,} bytes, and the server tells no length")
                bar.advance(len(content))
            file.flush()
            os.fsync(file.fileno())
            return total is None or file.tell() == total


def _open(address: str, headers: dict[str, str]) -> Any:
    """Open an address. Only HTTP and HTTPS are allowed, also where a server redirects to."""
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"{address} is not an address such as https://opus.nlpl.eu")
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPRedirectHandler, urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):  # fmt: skip
        opener.add_handler(handler())
    request = urllib.request.Request(address, headers={"User-Agent": f"transformer/{__version__}", **headers})
    return opener.open(request, timeout=PATIENCE)
