"""The page to try a model, and what its script asks for: translations with scores, and attention between words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from transformer.decoding.parts import Translation
from transformer.serving.body import read_parameters
from transformer.serving.libretranslate import find_languages, find_pair, read_wanted, service_of
from transformer.serving.limits import RefusalError

ASSETS = Path(__file__).parent / "assets"
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""The files of the page by their addresses. Nothing else is served from a disk, and these are read once."""


async def translate(request: Request) -> JSONResponse:
    """`POST /page/translate`: for each line of `q`, its translations with their scores, best first."""
    service = service_of(request)
    values = await read_parameters(request, service.limits)
    asked = service.admit(request, values.get("api_key"))
    wanted = read_wanted(values, service.limits)
    source, target, detected = find_languages(service, wanted)
    pair = find_pair(service, source, target)
    documents = await service.read(wanted.texts, markup=False)
    lines = [line for document in documents for line in document.lines]
    found = iter(await service.wait(pair, pair.engine.several, lines, asked))
    results = [[[_scored(way) for way in next(found)] for _ in document.places] or [[]] for document in documents]
    return JSONResponse(
        {"lines": [line for each in results for line in each], "source": pair.source, "detected": detected}
    )


async def attention(request: Request) -> JSONResponse:
    """`POST /page/attention`: the words of the line `q` and of its `translation`, and the attention between them."""
    service = service_of(request)
    values = await read_parameters(request, service.limits)
    asked = service.admit(request, values.get("api_key"))
    wanted = read_wanted(values, service.limits)
    translation = values.get("translation")
    if not isinstance(translation, str) or not translation:
        raise RefusalError(400, "Invalid request: missing translation parameter")
    pair = find_pair(service, *find_languages(service, wanted)[:2])
    if pair.engine.attention is None:
        raise RefusalError(400, "Invalid request: this model cannot show its attention")
    pairs = [(wanted.texts[0], translation[: service.limits.characters])]
    (alignment,) = await service.wait(pair, pair.engine.attention, pairs, asked)
    return JSONResponse(alignment._asdict())


def _scored(way: Translation) -> dict[str, Any]:
    return {"text": way.text, "score": round(way.score, 3), "log_prob": round(way.log_prob, 3), "tokens": way.tokens}


def _file(name: str, kind: str) -> Any:
    content = (ASSETS / name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


ROUTES = [
    *(Route(path, _file(*each)) for path, each in FILES.items()),
    Route("/page/translate", translate, methods=["POST"]),
    Route("/page/attention", attention, methods=["POST"]),
]
