"""A stand-in for the part of the Hugging Face Hub that takes models: repositories, large files and commits.

`ModelHub` is an HTTP server on 127.0.0.1 that answers what `HfApi.create_repo` and `HfApi.upload_folder` ask. A program
reaches it by the variables of `ModelHub.environment`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support import hub

TOKEN = "hf_standin"
LARGE = 10_000
"""Bytes from which a file is uploaded apart from its commit."""


class ModelHub:
    """The models of a stand-in Hub."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        """The files of each repository."""
        self.private: dict[str, bool] = {}
        self.requests: list[str] = []
        self.objects: dict[str, bytes] = {}

        class Handler(_Handler):
            models = self

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def environment(self, folder: Path, token: str | None = TOKEN) -> dict[str, str]:
        """Return the environment of a program that uses this Hub with a token."""
        found = hub.environment(folder, self.endpoint)
        return found if token is None else found | {"HF_TOKEN": token}

    def create(self, body: dict[str, Any]) -> tuple[int, Any]:
        name = "/".join(filter(None, (body.get("organization") or "me", body["name"])))
        there = name in self.repos
        self.repos.setdefault(name, {})
        self.private.setdefault(name, body.get("visibility") == "private" or bool(body.get("private")))
        return (409 if there else 200), {"url": f"{self.endpoint}/{name}", "name": name}

    def preupload(self, body: dict[str, Any]) -> tuple[int, Any]:
        files = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if each["size"] >= LARGE else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for each in body["files"]
        ]
        return 200, {"files": files}

    def batch(self, body: dict[str, Any]) -> tuple[int, Any]:
        found = []
        for each in body["objects"]:
            link = {"href": f"{self.endpoint}/objects/{each['oid']}", "header": {}}
            found.append({"oid": each["oid"], "size": each["size"], "actions": {"upload": link}})
        return 200, {"transfer": "basic", "objects": found}

    def commit(self, name: str, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        for each in lines:
            value = each["value"]
            if each["key"] == "file":
                self.repos[name][value["path"]] = base64.b64decode(value["content"])
            elif each["key"] == "lfsFile":
                self.repos[name][value["path"]] = self.objects[value["oid"]]
        oid = hashlib.sha1(json.dumps(lines).encode()).hexdigest()
        return 200, {"commitUrl": f"{self.endpoint}/{name}/commit/{oid}", "commitOid": oid, "success": True}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    models: ModelHub

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.models.requests.append(f"{self.command} {self.path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, {"error": "Invalid credentials in Authorization header"})
        elif self.path == "/api/validate-yaml":
            self._send(200, {"errors": [], "warnings": []})
        elif self.path == "/api/repos/create":
            self._send(*self.models.create(json.loads(content)))
        elif found := re.fullmatch(r"/api/models/(.+)/preupload/main", self.path):
            self._send(*self.models.preupload(json.loads(content)))
        elif re.fullmatch(r"/.+\.git/info/lfs/objects/batch", self.path):
            self._send(*self.models.batch(json.loads(content)))
        elif found := re.fullmatch(r"/api/models/(.+)/commit/main", self.path):
            self._send(*self.models.commit(found[1], [json.loads(line) for line in content.splitlines()]))
        else:
            self._send(404, {"error": "Not found"})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.models.objects[hashlib.sha256(content).hexdigest()] = content
        self._send(200, {})

    def do_GET(self) -> None:
        self.models.requests.append(f"{self.command} {self.path}")
        found = re.fullmatch(r"/api/models/([^?]+?)(/revision/main)?(\?.*)?", self.path)
        if found and found[1] in self.models.repos:
            info: dict[str, Any] = {"id": found[1], "sha": "0" * 40, "siblings": [], "private": False, "tags": []}
            self._send(200, info)
        else:
            self._send(404, {"error": "Not found"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""
