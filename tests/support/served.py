"""A real server in a thread of this process, and a client that sends what it is told to."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

pytest.importorskip("starlette", reason="serving needs the extra [serve]")

from transformer.decoding.parts import Translation
from transformer.decoding.translator import Translator
from transformer.errors import DataError
from transformer.serving.app import make_app
from transformer.serving.batcher import Task, start_batcher
from transformer.serving.detection import make_detector
from transformer.serving.engine import Engine, TranslatorEngine
from transformer.serving.limits import Limits
from transformer.serving.metrics import Metrics
from transformer.serving.models import Catalogue, Pair
from transformer.serving.security import Keys
from transformer.serving.server import bind, make_server
from transformer.serving.service import Service

FORM, JSON = "application/x-www-form-urlencoded", "application/json"


class Shouter:
    """An engine that writes in capitals. It can be held, counts what it does, and fails at `FAIL`."""

    most = 3
    attention: Task | None = None

    def __init__(self) -> None:
        self.free, self.lines = threading.Event(), list[str]()
        self.free.set()
        self.busy = threading.Event()
        self.best = Task("best", lambda lines: self.run(lines, 1), self.sizes)
        self.several = Task("several", lambda lines: self.run(lines, self.most), self.sizes)

    def run(self, lines: list[str], nbest: int) -> list[list[Translation]]:
        self.lines += lines
        self.busy.set()
        self.free.wait(20)
        if "FAIL" in lines:
            raise DataError("a sentence does not fit")
        if "BREAK" in lines:
            raise ZeroDivisionError
        return [[Translation(line.upper() + "!" * rank, -rank, -rank, ()) for rank in range(nbest)] for line in lines]

    @staticmethod
    def sizes(lines: list[str]) -> list[int]:
        return [len(line) for line in lines]


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


class Server(NamedTuple):
    """A server that is running."""

    port: int
    service: Service
    engines: dict[tuple[str, str], Any]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes | str | None = None, kind: str = FORM, **headers: str) -> Answer:
        """Send a request and return the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request(method, path, body, {**({} if body is None else {"Content-Type": kind}), **named})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def post(self, path: str = "/translate", /, **values: Any) -> Answer:
        """Send JSON."""
        return self.ask("POST", path, json.dumps(values), JSON)

    def translate(self, q: Any, **values: Any) -> Answer:
        """Ask for a translation from English to German."""
        return self.post(q=q, **{"source": "en", "target": "de", **values})


def engine_of(translator: Translator) -> Engine:
    return TranslatorEngine(translator)


@contextlib.contextmanager
def served(
    engines: dict[tuple[str, str], Any] | None = None,
    limits: Limits | None = None,
    keys: Sequence[str] = (),
    names: Sequence[str] = (),
    origins: Sequence[str] = (),
) -> Iterator[Server]:
    """Serve engines, or one that shouts."""
    engines, limits, metrics = engines or {("en", "de"): Shouter()}, limits or Limits(), Metrics()

    def watch(label: str) -> Any:
        return lambda batch: metrics.observe(label, batch)

    catalogue = Catalogue(
        [
            Pair(*pair, engine, start_batcher(limits, observe=watch("-".join(pair))), "-".join(pair))
            for pair, engine in engines.items()
        ]
    )
    service = Service(catalogue, make_detector(catalogue.sources), limits, Keys(keys), metrics)
    bound = bind("127.0.0.1", 0)
    listens = threading.Event()
    server = make_server(make_app(service, names, origins), limits.seconds, drain=5, started=listens.set)
    thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
    thread.start()
    port = bound.getsockname()[1]
    assert listens.wait(20)
    try:
        yield Server(port, service, engines)
    finally:
        server.should_exit = True
        thread.join(20)
        bound.close()
        assert not thread.is_alive()
