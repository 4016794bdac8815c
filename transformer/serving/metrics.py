"""What a server has done, in the format of Prometheus."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from transformer import __version__
from transformer.serving.batcher import Batch

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
PARTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The counters of a server. No label has a value that a client chooses."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        own: dict[str, Any] = {"namespace": "transformer", "registry": self.registry}
        Gauge("info", "The version that is running", ["version"], **own).labels(__version__).set(1)
        self.requests = Counter("http_requests", "Requests, by their answer", ["endpoint", "status"], **own)
        self.seconds = Histogram(
            "http_request_seconds", "Seconds from a request to its answer", ["endpoint"], buckets=SECONDS, **own
        )
        self.open = Gauge("http_requests_open", "Requests without an answer yet", **own)
        self.waiting = Gauge("waiting_lines", "Lines that wait or are being translated", ["pair"], **own)
        self.lines = Counter(
            "lines", "Lines that were processed; sentences of long lines count alone", ["pair", "task"], **own
        )
        self.tokens = Counter("source_tokens", "Source tokens that were processed", ["pair", "task"], **own)
        self.batches = Histogram(
            "batch_lines", "Lines, or sentences of long lines, in a batch", ["pair"], buckets=PARTS, **own
        )

    def observe(self, pair: str, batch: Batch) -> None:
        """Count a batch of a pair of languages."""
        self.lines.labels(pair, batch.task).inc(batch.parts)
        self.tokens.labels(pair, batch.task).inc(batch.tokens)
        self.batches.labels(pair).observe(batch.parts)

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


class Measured:
    """ASGI middleware: counts the requests of each endpoint and measures their time."""

    def __init__(self, app: Any, metrics: Metrics, endpoints: frozenset[str]) -> None:
        self.app, self.metrics, self.endpoints = app, metrics, endpoints

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        endpoint = scope["path"] if scope["path"] in self.endpoints else "other"
        status = "none"  # the client went away

        async def watched(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        started = time.monotonic()
        try:
            with self.metrics.open.track_inprogress():
                await self.app(scope, receive, watched)
        finally:
            self.metrics.requests.labels(endpoint, status).inc()
            self.metrics.seconds.labels(endpoint).observe(time.monotonic() - started)
