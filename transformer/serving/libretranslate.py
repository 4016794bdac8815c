"""The API of LibreTranslate, with its parameters, answers and errors, so that its clients work.

It follows LibreTranslate 1.7, except that it changes neither case nor punctuation of a translation, keeps comments of
HTML, and does not unescape translated HTML, which would turn text into tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from transformer import languages
from transformer.serving.body import read_parameters
from transformer.serving.limits import Limits, RefusalError
from transformer.serving.models import Pair
from transformer.serving.service import Service

FORMATS = ("text", "html")


class Wanted(NamedTuple):
    """What a request asks for."""

    texts: list[str]
    is_list: bool
    source: str
    target: str
    alternatives: int
    markup: bool


async def translate(request: Request) -> JSONResponse:
    """`POST /translate`: the translation of `q`, a text or a list of texts."""
    service = service_of(request)
    values = await read_parameters(request, service.limits)
    asked = service.admit(request, values.get("api_key"))
    wanted = read_wanted(values, service.limits)
    source, target, detected = find_languages(service, wanted)
    if source == target:  # as LibreTranslate does, on which clients that send `auto` rely
        found = [[text] for text in wanted.texts]
    else:
        pair = find_pair(service, source, target)
        ways = min(1 + wanted.alternatives, pair.engine.most)
        found = await service.translate(pair, wanted.texts, wanted.markup, ways, asked)
    best, others = [ways[0] for ways in found], [[way for way in ways[1:] if way] for ways in found]
    answer: dict[str, Any] = {"translatedText": best if wanted.is_list else best[0]}
    if detected is not None:
        answer["detectedLanguage"] = [detected] * len(best) if wanted.is_list else detected
    if wanted.alternatives:
        answer["alternatives"] = others if wanted.is_list else others[0]
    return JSONResponse(answer)


async def detect(request: Request) -> JSONResponse:
    """`POST /detect`: the served languages in which `q` may be written, the most probable first."""
    service = service_of(request)
    values = await read_parameters(request, service.limits)
    service.admit(request, values.get("api_key"))
    return JSONResponse(service.detector.rank(_texts(values.get("q"), service.limits)))


async def list_languages(request: Request) -> JSONResponse:
    """`GET /languages`: the languages, and those that each is translated to."""
    catalogue = service_of(request).catalogue
    return JSONResponse([{**_named(code), "targets": catalogue.targets(code)} for code in catalogue.languages])


async def settings(request: Request) -> JSONResponse:
    """`GET /frontend/settings`: what a page needs to know of the server."""
    service = service_of(request)
    source, target = next(iter(service.catalogue.pairs))
    several = len(service.catalogue.sources) > 1
    return JSONResponse(
        {
            "charLimit": service.limits.characters,
            "frontendTimeout": 500,
            "apiKeys": bool(service.keys),
            "keyRequired": bool(service.keys),
            "suggestions": False,
            "filesTranslation": False,
            "supportedFilesFormat": [],
            "language": {
                "source": {"code": "auto", "name": "Auto Detect"} if several else _named(source),
                "target": _named(target),
            },
        }
    )


async def suggest(request: Request) -> JSONResponse:
    """`POST /suggest`: not offered."""
    raise RefusalError(403, "Suggestions are disabled on this server.")


async def translate_file(request: Request) -> JSONResponse:
    """`POST /translate_file`: not offered."""
    raise RefusalError(403, "Files translation are disabled on this server.")


ROUTES = [
    Route("/translate", translate, methods=["POST"]),
    Route("/detect", detect, methods=["POST"]),
    Route("/languages", list_languages),
    Route("/frontend/settings", settings),
    Route("/suggest", suggest, methods=["POST"]),
    Route("/translate_file", translate_file, methods=["POST"]),
]


def service_of(request: Request) -> Service:
    """Return the service of the application that got a request."""
    service: Service = request.app.state.service
    return service


def read_wanted(values: dict[str, Any], limits: Limits) -> Wanted:
    """Return what the parameters of a request ask for. Raises RefusalError, in the order of LibreTranslate."""
    q, source, target = (values.get(name) for name in ("q", "source", "target"))
    for name, value in (("q", q), ("source", source), ("target", target)):
        if not value:
            raise RefusalError(400, f"Invalid request: missing {name} parameter")
    try:
        raw = values.get("alternatives")
        alternatives = 0 if raw is None else max(0, int(raw))
    except (ValueError, TypeError, OverflowError):
        raise RefusalError(400, "Invalid request: alternatives parameter is not a number") from None
    texts = _texts(q, limits)
    kind = values.get("format") or "text"
    if kind not in FORMATS:
        raise RefusalError(400, f"{kind} format is not supported")
    return Wanted(texts, isinstance(q, list), str(source), str(target), alternatives, kind == "html")


def _texts(q: Any, limits: Limits) -> list[str]:
    """Return the texts of `q`, with the line ends of UNIX. Raises RefusalError if they are none, or too many."""
    if not q:
        raise RefusalError(400, "Invalid request: missing q parameter")
    texts = q if isinstance(q, list) else [q]
    if not all(isinstance(text, str) for text in texts):
        raise RefusalError(400, "Invalid request: q must be a text or a list of texts")
    if len(texts) > limits.texts:
        raise _over(len(texts), limits.texts)
    longest = max(map(len, texts))
    if longest > limits.characters:
        raise _over(longest, limits.characters)
    return [text.replace("\r\n", "\n").replace("\r", "\n") for text in texts]


def _over(size: int, limit: int) -> RefusalError:
    return RefusalError(400, f"Invalid request: request ({size}) exceeds text limit ({limit})")


def find_languages(service: Service, wanted: Wanted) -> tuple[str, str, dict[str, Any] | None]:
    """Return the served languages of a request, and the detected one if the source is `auto`."""
    find, detected = service.catalogue.find, None
    if wanted.source == "auto":
        detected = _detected(service, wanted.texts)
        source: str | None = detected["language"]
    else:
        source = find(wanted.source)
    target = find(wanted.target)
    if source is None or target is None:
        raise RefusalError(400, f"{wanted.source if source is None else wanted.target} is not supported")
    return source, target, detected


def find_pair(service: Service, source: str, target: str) -> Pair:
    """Return the model that translates from one served language to another."""
    pair = service.catalogue.pairs.get((source, target))
    if pair is None:
        one, other = (f"{languages.english_name(code)} ({code})" for code in (target, source))
        raise RefusalError(400, f"{one} is not available as a target language from {other}")
    return pair


def _detected(service: Service, texts: Sequence[str]) -> dict[str, Any]:
    return service.detector.rank(texts)[0]


def _named(code: str) -> dict[str, str]:
    return {"code": code, "name": languages.english_name(code)}
