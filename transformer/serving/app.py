"""The application: which address is answered by what, and errors as JSON."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from transformer.errors import TransformerError
from transformer.serving import libretranslate, page
from transformer.serving.libretranslate import service_of
from transformer.serving.limits import RefusalError
from transformer.serving.metrics import Measured
from transformer.serving.security import Guard
from transformer.serving.service import Service, bearer

DRAIN_SECONDS = 5.0
"""Seconds for each model to finish what waits, after all requests were answered or given up."""


async def health(request: Request) -> JSONResponse:
    """`GET /health`: whether requests are answered."""
    healthy = service_of(request).healthy
    return JSONResponse({"status": "ok" if healthy else "stopping"}, 200 if healthy else 503)


async def metrics(request: Request) -> Response:
    """`GET /metrics`: the counters, for Prometheus. It needs a key if translations do."""
    service = service_of(request)
    if service.keys and not service.keys.accepts(bearer(request)):
        raise RefusalError(401, "Unauthorized")
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def make_app(service: Service, names: Sequence[str] = (), origins: Sequence[str] = ()) -> Starlette:
    """Return the application. `names` and `origins` are accepted beside the machine's own, as in `Guard`."""
    routes = [*libretranslate.ROUTES, *page.ROUTES, Route("/health", health), Route("/metrics", metrics)]
    endpoints = frozenset(route.path for route in routes)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        service.catalogue.close(DRAIN_SECONDS)

    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(Measured, metrics=service.metrics, endpoints=endpoints),
            Middleware(Guard, names=names, origins=origins),
        ],
        exception_handlers={
            RefusalError: _refused,
            HTTPException: _failed,
            TransformerError: _impossible,
            ClientDisconnect: _gone,
            Exception: _broken,
        },
        lifespan=lifespan,
    )
    app.state.service = service
    return app


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    headers = {} if error.retry is None else {"Retry-After": str(error.retry)}
    if error.status in (408, 413):  # the rest of the request is not read
        headers["Connection"] = "close"
    return JSONResponse({"error": error.sentence}, error.status, headers)


def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _impossible(request: Request, error: Exception) -> Response:
    """Answer that a text cannot be translated, for example because it does not fit into memory."""
    return JSONResponse({"error": f"Cannot translate text: {error}"}, 500)


def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; nginx counts such requests under this status


def _broken(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "Internal server error"}, 500)
