"""Who may ask: the checks of Host, Origin and API key, and the headers that tell a browser what a page may do.

A page of another site can send requests to a server on the loopback interface. Its Origin tells it apart. With a name
that it makes resolve to 127.0.0.1 (DNS rebinding) it has the right Origin, but the name is in Host.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse, Response

from transformer.errors import ConfigError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of each response."""
KEY_FILE = 1 << 16
"""Most bytes of a file of API keys."""
SHORTEST_KEY = 16
"""Characters of an API key, so that none can be guessed."""


class Keys:
    """The API keys that are accepted. Without any, everyone is."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = [_digest(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accepts(self, key: str) -> bool:
        """Return whether a key is one of these, in a time that depends neither on the key nor on which one it is."""
        wanted = _digest(key)
        return bool(sum([hmac.compare_digest(wanted, each) for each in self._digests]))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def read_keys(path: Path) -> Keys:
    """Return the API keys of a file, one a line. Raises ConfigError if it cannot be used."""
    try:
        with path.open("rb") as file:
            content = file.read(KEY_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    keys = content.decode("utf-8", "replace").split()
    if len(content) > KEY_FILE or not keys:
        raise ConfigError(f"{path} must have one API key a line, and at most {KEY_FILE} bytes")
    if min(map(len, keys)) < SHORTEST_KEY:
        raise ConfigError(f"{path} has an API key of less than {SHORTEST_KEY} characters, which could be guessed")
    return Keys(keys)


class Guard:
    """ASGI middleware: refuses requests for other hosts and from other sites, and adds the headers of `HEADERS`.

    Accepted hosts are IP addresses, `localhost` and the given names; origins are those hosts and the given ones.
    """

    def __init__(self, app: Any, names: Iterable[str], origins: Iterable[str]) -> None:
        self.app = app
        self.names = {"localhost", *(name.lower().rstrip(".") for name in names)}
        self.origins = {origin.lower().rstrip("/") for origin in origins}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get(b"origin", "").lower()
        foreign = origin in self.origins

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                found = [*message["headers"], *((name.encode(), value.encode()) for name, value in HEADERS.items())]
                message = {**message, "headers": [*found, *(_cors(origin) if foreign else [])]}
            await send(message)

        refusal: Response | None = None
        if not self._is_own(headers.get(b"host", "")):
            refusal = JSONResponse({"error": "This server does not answer to that Host; see --allow-host"}, 403)
        elif origin and not foreign and not self._is_same(origin, headers[b"host"]):
            refusal = JSONResponse({"error": "Pages of that origin may not use this server; see --allow-origin"}, 403)
        elif foreign and scope["method"] == "OPTIONS":
            refusal = Response(status_code=204)
        await (refusal or self.app)(scope, receive, send_with_headers)

    def _is_own(self, host: str) -> bool:
        name = _name(f"//{host}")
        return name is not None and (name in self.names or _is_address(name))

    @staticmethod
    def _is_same(origin: str, host: str) -> bool:
        return origin.partition("://")[2] == host.lower()


def _cors(origin: str) -> list[tuple[bytes, bytes]]:
    allowed = {"Origin": origin, "Methods": "GET, POST", "Headers": "Authorization, Content-Type"}
    found = [(f"Access-Control-Allow-{name}".encode(), value.encode("latin-1")) for name, value in allowed.items()]
    return [*found, (b"Vary", b"Origin")]


def _name(address: str) -> str | None:
    try:
        return (urlsplit(address).hostname or "").rstrip(".") or None
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
