"""Reads the parameters of a request, as JSON or as a form, and not more of it than the limits allow."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from transformer.serving.limits import Limits, RefusalError

FIELDS = 20
"""Most fields of a form."""


async def read_parameters(request: Request, limits: Limits) -> dict[str, Any]:
    """Return the parameters of a request. In a form, those of the address come first, as in Flask.

    Raises RefusalError with status 400, 408 or 413.
    """
    body = await _read_body(request, limits)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return _parse_json(body)
    form = await _parse_parts(request, body, limits) if kind == "multipart/form-data" else _parse_form(body)
    return {name: _valid(value) for name, value in {**form, **request.query_params}.items()}


async def _read_body(request: Request, limits: Limits) -> bytes:
    too_large = RefusalError(413, f"Request entity too large: at most {limits.body} bytes are accepted")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limits.body:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.body:
                    raise too_large
    except TimeoutError:
        raise RefusalError(408, "The request did not arrive in time") from None
    return bytes(body)


def _parse_json(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise RefusalError(400, "Invalid JSON format")
    return {name: [_valid(each) for each in value] if isinstance(value, list) else _valid(value)
            for name, value in values.items()}  # fmt: skip


def _parse_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form. Bytes that should have been escaped are read as UTF-8, as curl sends them."""
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=FIELDS))
    except ValueError:
        raise RefusalError(400, f"Invalid request: more than {FIELDS} fields") from None


async def _parse_parts(request: Request, body: bytes, limits: Limits) -> dict[str, str]:
    async def replay() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        form = await Request(request.scope, replay).form(max_files=0, max_fields=FIELDS, max_part_size=limits.body)
    except HTTPException as error:
        raise RefusalError(400, f"Invalid request: {error.detail}") from None
    return {name: value for name, value in form.items() if not isinstance(value, UploadFile)}


def _valid(value: Any) -> Any:
    """Return a value; in a text, what UTF-8 cannot encode is replaced. JSON can spell halves of characters."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value
