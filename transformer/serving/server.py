"""Listens, serves, and stops: the socket, the time-outs of connections, and draining after a signal."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from transformer.errors import ConfigError, TransformerError

HEAD_SECONDS = 15.0
"""Seconds within which a connection must have sent the head of a request, or the next one."""
ANSWER_SECONDS = 30.0
"""Seconds for a client to send a request and to read the answer, beyond those in which it is answered."""
CONNECTIONS = 4000
"""Most connections; with more, requests are answered with 503."""
SPARE_FILES = 100
"""Files that a process may have open beside its connections."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address but does not listen yet. Raises ConfigError or TransformerError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise ConfigError(f"--host {host} is no address of this machine") from None
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise TransformerError(
            f"{host}:{port} cannot be used: {error.strerror}; choose another with --host or --port"
        ) from None
    return bound


def is_loopback(bound: socket.socket) -> bool:
    """Return whether only this machine can reach a socket."""
    return ipaddress.ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback


def address_of(bound: socket.socket) -> str:
    """Return the address of a socket as a URL."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class PatientProtocol(H11Protocol):  # type: ignore[misc]  # uvicorn is an extra
    """HTTP/1.1 of uvicorn, with limits for how long a connection may send and read, beside uvicorn's for an idle one.

    A client that sends a byte a minute, or never reads its answer, would keep its connection for ever.
    """

    answer_seconds = ANSWER_SECONDS

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._busy: bool | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def _watch(self) -> None:
        """Start the clock when a connection turns to waiting for a request, or to answering one."""
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy == self._busy:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._busy = busy
        self._timer = self.loop.call_later(self.answer_seconds if busy else HEAD_SECONDS, self.transport.abort)


class Announcing(uvicorn.Server):  # type: ignore[misc]
    """uvicorn's server, which calls `started` as soon as it listens."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = started

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop, or after a second SIGINT end at once. What is cancelled then is no news for the log."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()


def make_server(
    app: Starlette, seconds: float, drain: float, started: Callable[[], None] = lambda: None
) -> uvicorn.Server:
    """Return a server. Its method `run` takes sockets and serves until SIGTERM or SIGINT.

    It then accepts nothing more, answers what was asked within `drain` seconds, and lets the signal end the process.
    `seconds` is the time in which a request is answered. `started` is called when it listens.
    """
    for name in ("uvicorn.error", "python_multipart"):
        logging.getLogger(name).setLevel(logging.ERROR)  # not each broken request of a client
    protocol = type("Protocol", (PatientProtocol,), {"answer_seconds": seconds + ANSWER_SECONDS})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=int(HEAD_SECONDS),
        timeout_graceful_shutdown=max(1, round(drain)),
        limit_concurrency=_most_connections(),
        backlog=1024,
    )
    return Announcing(config, started)


def _most_connections() -> int:
    with contextlib.suppress(ImportError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = CONNECTIONS + SPARE_FILES
        if soft != resource.RLIM_INFINITY and soft < wanted:
            soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            return max(1, soft - SPARE_FILES)
    return CONNECTIONS
