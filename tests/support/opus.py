"""A stand-in for OPUS: its API and its storage of archives, over HTTP on 127.0.0.1, for tests without a network."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit


def archive(name: str, codes: tuple[str, str], pairs: Sequence[tuple[str, str]], licence: str = "CC0\n") -> bytes:
    """Return a zip archive as OPUS has them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("README", "about\n")
        file.writestr("LICENSE", licence)
        for side, code in enumerate(codes):
            file.writestr(f"{name}.{'-'.join(codes)}.{code}", "".join(f"{pair[side]}\n" for pair in pairs))
        file.writestr(f"{name}.{'-'.join(codes)}.xml", "<links/>\n")
    return buffer.getvalue()


class Opus:
    """Serves archives. Used as a context manager."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        """The addresses that were asked for, with the Range header if there was one."""
        self.cut = 0
        """After how many bytes of an answer the connection is closed; 0 for never."""
        self.careless = False
        """Whether If-Range is ignored, and a part of another file sent."""
        self.tells_length = True
        self.refuses: int | None = None
        """The status of all answers, if none is given."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"opus": self}))
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def put(self, name: str, version: str, codes: tuple[str, str], content: bytes) -> str:
        """Add an archive, and return its path."""
        path = f"/OPUS-{name}/{version}/moses/{'-'.join(codes)}.txt.zip"
        self.files[path] = content
        return path

    def api(self, query: dict[str, str]) -> bytes:
        """Return the answer of the API."""
        if "corpora" in query:
            return json.dumps({"corpora": sorted({path.split("/")[1][5:] for path in self.files})}).encode()
        wanted = f"/moses/{query['source']}-{query['target']}.txt.zip"
        fitting = [p for p in self.files if p.startswith(f"/OPUS-{query['corpus']}/") and p.endswith(wanted)]
        newest = max((path.split("/")[2] for path in fitting), default=None)
        found = [{"corpus": query["corpus"], "version": newest, "latest": "True"}] if newest else []
        return json.dumps({"corpora": found}).encode()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    opus: Opus

    def do_GET(self) -> None:
        """Answer as a storage with ranges does."""
        address, wanted = urlsplit(self.path), self.headers.get("Range", "")
        self.opus.requests.append(f"{address.path} {wanted}".strip())
        if self.opus.refuses is not None:
            self.send_error(self.opus.refuses)
            return
        if address.path == "/opusapi/":
            content = self.opus.api({key: values[0] for key, values in parse_qs(address.query).items()})
        elif address.path in self.opus.files:
            content = self.opus.files[address.path]
        else:
            self.send_error(404)
            return
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        same = self.opus.careless or self.headers.get("If-Range") == tag
        start = int(wanted[6:-1]) if wanted and same else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", tag)
        if self.opus.tells_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + self.opus.cut if self.opus.cut else len(content)
        self.wfile.write(content[start:end])
        if end < len(content) or not self.opus.tells_length:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""
