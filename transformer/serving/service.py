"""Translates the texts of a request, whatever API it came by: cuts them into lines, waits for a model, joins lines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from transformer.decoding.parts import Translation
from transformer.serving.batcher import Task
from transformer.serving.detection import Detector
from transformer.serving.documents import Document, read_html, read_text
from transformer.serving.limits import Limits, RateLimiter, RefusalError
from transformer.serving.metrics import Metrics
from transformer.serving.models import Catalogue, Pair
from transformer.serving.security import Keys


@dataclass(frozen=True)
class Asked:
    """Who asks, and the request, whose end is watched."""

    client: str
    request: Request


class Service:
    """All that answers requests: the models, their limits, the keys and the counters."""

    def __init__(self, catalogue: Catalogue, detector: Detector, limits: Limits, keys: Keys, metrics: Metrics) -> None:
        self.catalogue, self.detector, self.limits = catalogue, detector, limits
        self.keys, self.metrics = keys, metrics
        self._rates = RateLimiter(limits.requests)
        for pair in catalogue.pairs.values():
            metrics.waiting.labels(pair.label).set_function(lambda batcher=pair.batcher: batcher.waiting)

    @property
    def healthy(self) -> bool:
        """Whether all models work."""
        return all(pair.batcher.alive for pair in self.catalogue.pairs.values())

    def admit(self, request: Request, key: Any) -> Asked:
        """Return who asks. Raises RefusalError without a valid key, where one is needed, or after too many requests."""
        key = key or bearer(request)
        if self.keys and not key:
            raise RefusalError(400, "Please contact the server operator to get an API key")
        if self.keys and not (isinstance(key, str) and self.keys.accepts(key)):
            raise RefusalError(403, "Invalid API key")
        address = request.client.host if request.client else ""
        client = f"key {hash(key)}" if self.keys else address
        self._rates.check(client)
        return Asked(client, request)

    async def translate(
        self, pair: Pair, texts: Sequence[str], markup: bool, ways: int, asked: Asked
    ) -> list[list[str]]:
        """Return the `ways` best translations of each text, or fewer, best first. Of HTML there is one.

        Raises RefusalError.
        """
        documents = await self.read(texts, markup)
        several = ways > 1 and not markup
        lines = [line for document in documents for line in document.lines]
        task = pair.engine.several if several else pair.engine.best
        found = iter(await self.wait(pair, task, lines, asked))
        results = []
        for document in documents:
            each = [next(found) for _ in document.places]
            results.append(joined(document, each)[: ways if several else 1])
        return results

    async def read(self, texts: Sequence[str], markup: bool) -> list[Document]:
        """Return the texts with their lines. Raises RefusalError if there are too many lines."""
        if markup:  # in a thread, as HTML can be made slow to parse
            try:
                documents = await asyncio.to_thread(lambda: [read_html(text) for text in texts])
            except ValueError:
                raise RefusalError(400, "Invalid request: q is not HTML that can be read") from None
        else:
            documents = [read_text(text) for text in texts]
        if sum(len(document.places) for document in documents) > self.limits.lines:
            raise RefusalError(413, f"Invalid request: at most {self.limits.lines} lines are translated at a time")
        return documents

    async def wait(self, pair: Pair, task: Task, items: Sequence[Any], asked: Asked) -> list[Any]:
        """Return the result of each item.

        Raises RefusalError if that takes too long, and ClientDisconnect if the client went away; both give the items
        up.
        """
        if not items:
            return []
        future: Future[list[Any]] = pair.batcher.submit(task, items, asked.client)
        answer = asyncio.wrap_future(future)
        gone = asyncio.ensure_future(_disconnected(asked.request))
        try:
            either: set[asyncio.Future[Any]] = {answer, gone}
            await asyncio.wait(either, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if gone.done():
                raise ClientDisconnect
            raise RefusalError(503, f"The server is busy: no translation within {self.limits.seconds:g} seconds", 5)
        except asyncio.CancelledError:  # the end of the time for draining
            raise RefusalError(503, "The server is stopping", 5) from None
        finally:
            gone.cancel()
            answer.cancel()


async def _disconnected(request: Request) -> None:
    """Return when the client of a request that was read has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def joined(document: Document, found: Sequence[Sequence[Translation]]) -> list[str]:
    """Return the translations of a document, best first and all different: those of all lines of the same rank.

    A line that has fewer than the others has its best one again.
    """
    ranks = max(map(len, found), default=1)
    texts = [
        document.rebuilt([(each[rank] if rank < len(each) else each[0]).text for each in found])
        for rank in range(ranks)
    ]
    return list(dict.fromkeys(texts))


def bearer(request: Request) -> str:
    """Return the key of the header `Authorization: Bearer`, or an empty text."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
