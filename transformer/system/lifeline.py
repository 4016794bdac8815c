"""The lifeline: every process is connected with the first one, which tells all others when one has ended.

NCCL does not notice the death of another process, and a process that validates or prepares data is not in touch with
the others. A thread watches these connections, whatever the main thread does.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from transformer.errors import ConfigError, TransformerError

IDLE, BETWEEN, PROBES = 20, 10, 4
"""Seconds without a word until the system asks the other machine for a sign of life, between two such questions, and
their number. A machine that is cut off is given up after a minute."""
ANSWER = 10.0
"""Seconds to wait for the first line of whoever has connected or listens. A stranger may have none."""
GRACE = 5.0
"""Seconds that the main thread has to end by itself after another process has ended."""
LONGEST = 1 << 12
"""Bytes of a first line above which it is not of this program, and characters of an error that are passed on."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ending:
    """How a process has ended that should not have."""

    rank: int
    host: str
    said: str = ""
    """Its error; nothing if it was killed, or its machine cannot be reached."""
    code: int = 1
    """Its exit code."""

    def as_error(self, advice: str) -> TransformerError:
        """Return the error of the processes that are left."""
        how = f"has ended: {self.said}" if self.said else "has died"
        advice = "" if self.code == ConfigError.exit_code else f"; {advice}"
        told = TransformerError(f"the process with RANK {self.rank} on {self.host} {how}{advice}")
        told.exit_code = self.code
        return told


class Lifeline:
    """The connections of this process: with all others if it is the first, else with the first. See `open_lifeline`."""

    def __init__(self, rank: int, peers: Mapping[int, socket.socket], hosts: Mapping[int, str]) -> None:
        """`peers` and `hosts` are by rank."""
        self.rank, self.peers, self.hosts = rank, dict(peers), hosts
        self.advice = "run the same command again"
        """What the user is told to do after the end of a process."""
        self._ending: Ending | None = None
        self._known, self._left, self._lock = threading.Event(), False, threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def address(self) -> str:
        """Return the address of this host by which others reach it, or that of the loopback if none is elsewhere."""
        found = [str(peer.getsockname()[0]).removeprefix("::ffff:") for peer in self.peers.values()]
        return next((each for each in found if not each.startswith("127.")), found[0])

    def ending(self, seconds: float = 0.0) -> Ending | None:
        """Return how another process has ended, waiting for that to be known, or None."""
        self._known.wait(seconds)
        return self._ending

    def leave(self, ending: Ending | None = None) -> None:
        """Say that this process ends as it should, or how else, and close the connections."""
        with self._lock:
            if self._left:
                return
            self._left = True
            if self._ending is None:  # else all have been told
                self._tell(ending)
        for peer in self.peers.values():
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)  # wakes the thread

    def _tell(self, ending: Ending | None) -> None:
        text = json.dumps(None if ending is None else asdict(ending)).encode() + b"\n"
        for peer in self.peers.values():
            with contextlib.suppress(OSError):
                peer.sendall(text)

    def _watch(self) -> None:
        said = dict.fromkeys(self.peers, b"")
        with selectors.DefaultSelector() as waiting:
            for rank, peer in self.peers.items():
                waiting.register(peer, selectors.EVENT_READ, rank)
            while waiting.get_map() and self._ending is None and not self._left:
                for key, _ in waiting.select():
                    said[key.data] += (text := _received(self.peers[key.data]))
                    if not text:
                        waiting.unregister(key.fileobj)
                        self._end(Ending(key.data, self.hosts[key.data]))
                    elif b"\n" in said[key.data]:
                        waiting.unregister(key.fileobj)
                        if (told := json.loads(said[key.data].splitlines()[0])) is not None:
                            self._end(Ending(**told))

    def _end(self, ending: Ending) -> None:
        """Tell the main thread, and the others if this is the first process. End this one if nothing else does."""
        with self._lock:
            if self._left or self._ending is not None:
                return
            self._ending = ending
            self._tell(ending)
        self._known.set()
        threading.Thread(target=self._end_process, args=(ending,), daemon=True).start()

    def _end_process(self, ending: Ending) -> None:
        end = time.monotonic() + GRACE
        while time.monotonic() < end:
            if self._left:
                return
            time.sleep(0.1)
        log.error("%s", ending.as_error(self.advice))
        os._exit(ending.code)


def open_lifeline(rank: int, count: int, host: str, store: Any, patience: float) -> tuple[Lifeline, str]:
    """Connect with the first process, which waits for all others, `patience` seconds at most.

    `host` is where the first process is, `store` a store of `torch.distributed`. Also returns a name of this meeting
    that no other has, as the store may be that of a meeting before. Raises OSError or RuntimeError if that is
    impossible.
    """
    if rank == 0:
        return _await_all(count, store, patience)
    end = time.monotonic() + patience
    while True:
        port, meeting, name = json.loads(store.get("lifeline"))
        for where in dict.fromkeys((host, name)):
            with contextlib.suppress(OSError, ValueError, TypeError):
                peer = socket.create_connection((where, port), timeout=ANSWER)
                _keep_alive(peer)
                peer.sendall(json.dumps([meeting, rank, socket.gethostname()]).encode() + b"\n")
                if json.loads(_line(peer)) == meeting:
                    peer.settimeout(None)
                    return Lifeline(rank, {0: peer}, {0: str(name)}), meeting
        if time.monotonic() > end:
            raise TimeoutError(f"the first process cannot be reached on port {port}")
        time.sleep(0.5)  # the first process of a meeting before has written this, or it is still to listen


def _await_all(count: int, store: Any, patience: float) -> tuple[Lifeline, str]:
    """Return the lifeline of the first process, when all others have connected, and the name of the meeting."""
    meeting, peers, hosts = secrets.token_hex(16), dict[int, socket.socket](), {0: socket.gethostname()}
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    started = time.monotonic()
    with socket.create_server(("", 0), family=family, backlog=count, dualstack_ipv6=dual) as server:
        store.set("lifeline", json.dumps([server.getsockname()[1], meeting, hosts[0]]))
        server.settimeout(1.0)
        while len(peers) < count - 1:
            if time.monotonic() - started > patience:
                raise TimeoutError(f"only {len(peers) + 1} of {count} have come")
            with contextlib.suppress(TimeoutError):
                peer, _ = server.accept()
                rank, host = _greeting(peer, meeting)
                if 0 < rank < count and rank not in peers:
                    peers[rank], hosts[rank] = peer, host
                else:
                    peer.close()
    return Lifeline(0, peers, hosts), meeting


def _greeting(peer: socket.socket, meeting: str) -> tuple[int, str]:
    """Return the rank and the host of a process that has connected, or rank -1 of a stranger."""
    try:
        peer.settimeout(ANSWER)
        told, rank, host = json.loads(_line(peer))
        if told != meeting:
            return -1, ""
        _keep_alive(peer)
        peer.sendall(json.dumps(meeting).encode() + b"\n")
        peer.settimeout(None)
        return int(rank), str(host)
    except (OSError, ValueError, TypeError):
        return -1, ""


def _received(peer: socket.socket) -> bytes:
    """Return what another process has sent, nothing if the connection is closed, reset, or without a sign of life."""
    try:
        return peer.recv(4096)
    except OSError:
        return b""


def _line(peer: socket.socket) -> bytes:
    """Return the first line that another process sends."""
    text = b""
    while not text.endswith(b"\n") and len(text) < LONGEST:
        if not (more := peer.recv(1)):
            raise ConnectionError("the first process has closed the connection")
        text += more
    return text


def _keep_alive(peer: socket.socket) -> None:
    """Let the system notice that the other machine is gone."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": IDLE, "TCP_KEEPINTVL": BETWEEN, "TCP_KEEPCNT": PROBES}
    options["TCP_USER_TIMEOUT"] = 1000 * (IDLE + BETWEEN * PROBES)  # milliseconds
    for name, value in options.items():
        if hasattr(socket, name):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
