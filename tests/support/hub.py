"""A stand-in for the Hugging Face Hub and for the test set folder of sacrebleu, for tests without a network.

`Hub` is an HTTP server on 127.0.0.1 that answers the requests of `datasets.load_dataset`. As `datasets` and
`sacrebleu` read their settings when they are imported, a test runs them in a separate process, with the environment
that `Hub.environment` returns:

    with hub.Hub() as server:
        server.push("wmt/wmt14", hub.parquet_files({"de-en": {"train": [("Guten Tag.", "Good day.")]}}))
        subprocess.run([sys.executable, "-c", program], env=server.environment(tmp_path), check=True)
"""

import hashlib
import importlib
import io
import json
import os
import re
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

Pairs = Sequence[tuple[str, str]]
Files = Mapping[str, bytes]

SACREBLEU_FIELDS = {"docid": "document", "genre": "news", "origlang": "en"}

_API = re.compile(r"/api/datasets/(?P<repo>[^/]+(?:/[^/]+)?)(?:/(?P<what>revision|tree|paths-info)/(?P<rest>.+))?")
_RESOLVE = re.compile(r"/datasets/(?P<repo>[^/]+(?:/[^/]+)?)/resolve/(?P<rest>.+)")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def parquet_files(configs: Mapping[str, Mapping[str, Pairs]]) -> dict[str, bytes]:
    """Returns the files of a data set like `wmt/wmt14`, given the sentence pairs of each config and split.

    The pairs are in the order of the config's name: ("Hallo", "Hello") in "de-en". No other config exists.
    """
    files: dict[str, bytes] = {}
    data_files, infos = [], []
    for name, splits in configs.items():
        languages = name.split("-")
        sizes = []
        for split, pairs in splits.items():
            content = _parquet(languages, pairs)
            files[f"{name}/{split}-00000-of-00001.parquet"] = content
            sizes.append({"name": split, "num_bytes": len(content), "num_examples": len(pairs)})
        paths = [{"split": split, "path": f"{name}/{split}-*"} for split in splits]
        data_files.append({"config_name": name, "data_files": paths})
        features = [{"name": "translation", "dtype": {"translation": {"languages": languages}}}]
        total = sum(len(content) for path, content in files.items() if path.startswith(f"{name}/"))
        sums = {"download_size": total, "dataset_size": total}
        infos.append({"config_name": name, "features": features, "splits": sizes, **sums})
    files["README.md"] = _readme({"dataset_info": infos, "configs": data_files})
    return files


def jsonl_files(splits: Mapping[str, Pairs], languages: tuple[str, str] = ("en", "de")) -> dict[str, bytes]:
    """Returns the files of a data set like `bentrevett/multi30k`: a column per language and no named config.

    The files are train.jsonl, val.jsonl and test.jsonl, which `datasets` calls train, validation and test.
    """
    files = {"README.md": _readme({"language": list(languages), "task_categories": ["translation"]})}
    for split, pairs in splits.items():
        lines = (json.dumps(dict(zip(languages, pair, strict=True)), ensure_ascii=False) for pair in pairs)
        name = "val" if split == "validation" else split
        files[f"{name}.jsonl"] = "".join(line + "\n" for line in lines).encode()
    return files


def fill_sacrebleu(folder: Path, test_set: str, pair: str, sources: Sequence[str], references: Sequence[str]) -> None:
    """Writes a test set as sacrebleu keeps it once downloaded; `SACREBLEU` has to name `folder`."""
    directory = folder / test_set
    directory.mkdir(parents=True, exist_ok=True)
    columns = {"src": sources, "ref": references}
    columns |= {name: [value] * len(sources) for name, value in SACREBLEU_FIELDS.items()}
    for name, lines in columns.items():
        path = directory / f"{test_set.replace('/', '_')}.{pair}.{name}"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def environment(folder: Path, endpoint: str) -> dict[str, str]:
    """Returns this process's environment, but with `endpoint` as the Hub and all caches in `folder`.

    The endpoint is also the proxy for every other address, which it refuses: nothing can reach a network.
    """
    dropped = ("HF_", "HUGGINGFACE_", "SACREBLEU", "TRANSFORMERS_OFFLINE")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(dropped) and not name.lower().endswith("_proxy")
    }
    return kept | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "SACREBLEU": str(folder / "sacrebleu"),
        "http_proxy": endpoint,
        "https_proxy": endpoint,
        "no_proxy": "127.0.0.1",
    }


def closed_endpoint() -> str:
    """Returns an address where nothing listens, which is what a machine without a network sees."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


class Hub:
    """A Hub on a free port of 127.0.0.1, which serves between `__enter__` and `__exit__`."""

    def __init__(self) -> None:
        """Opens the port; the Hub has no data sets yet."""
        self.requests: list[str] = []
        self._repos: dict[str, _Repository] = {}

        class Handler(_Handler):
            hub = self

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def endpoint(self) -> str:
        """The address to be named by `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def push(self, repo: str, files: Files) -> str:
        """Makes `files` the newest commit of a data set and returns its hash. Older commits are kept."""
        repository = self._repos.setdefault(repo, _Repository())
        lines = [repository.head, *(f"{path} {_oid(content)}" for path, content in sorted(files.items()))]
        repository.head = hashlib.sha1("\n".join(lines).encode()).hexdigest()
        repository.commits[repository.head] = dict(files)
        return repository.head

    def environment(self, folder: Path) -> dict[str, str]:
        """Returns the environment for a process that uses this Hub, with its caches in `folder`."""
        return environment(folder, self.endpoint)

    def answer(self, target: str, paths: Sequence[str]) -> "_Answer":
        """Returns the answer to a GET of `target`, or to a POST of it that asks for `paths`."""
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        resolve, api = _RESOLVE.fullmatch(path), _API.fullmatch(path)
        match = resolve or api
        if match is None:
            return _refusal("NotFound", "Not found")
        repository = self._repos.get(match["repo"])
        if repository is None:
            return _refusal("RepoNotFound", "Repository not found")
        quoted, _, inner = (match["rest"] or "main").partition("/")
        commit = repository.head if unquote(quoted) == "main" else unquote(quoted)
        if commit not in repository.commits:
            return _refusal("RevisionNotFound", f"Invalid rev id: {unquote(quoted)}")
        files, inner = repository.commits[commit], unquote(inner)
        if resolve:
            return _file(files, inner, commit)
        if match["what"] == "tree":
            return _tree(files, inner, recursive=query.get("recursive", [""])[0].lower() in ("true", "1"))
        if match["what"] == "paths-info":
            return _json([entry for path, entry in _entries(files).items() if path in paths])
        return _info(match["repo"], files, commit)

    def close(self) -> None:
        """Stops serving."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        """Starts to serve."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops serving."""
        self.close()


class _Server(ThreadingHTTPServer):
    """A multi-threaded server that does not look up its own name."""

    request_queue_size = 64

    def server_bind(self) -> None:
        """Takes a port."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]


@dataclass
class _Repository:
    """The commits of one data set, and which one is the branch `main`."""

    head: str = ""
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)


@dataclass
class _Answer:
    """A response."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def cut(self, wanted: str | None) -> "_Answer":
        """Returns the part that a Range header requests."""
        match = _RANGE.fullmatch(wanted or "")
        if self.status != 200 or match is None or match.groups() == ("", ""):
            return self
        size = len(self.body)
        first, last = match.groups()
        start = int(first) if first else max(size - int(last), 0)
        stop = min(int(last) + 1, size) if first and last else size
        if start >= stop:
            return _Answer(b"", 416, {"Content-Range": f"bytes */{size}"})
        headers = self.headers | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
        return _Answer(self.body[start:stop], 206, headers)


class _Handler(BaseHTTPRequestHandler):
    """Sends the answers of the Hub that it belongs to."""

    hub: Hub

    def do_GET(self) -> None:
        """Sends an answer."""
        self.hub.requests.append(f"{self.command} {self.path}")
        length = int(self.headers.get("Content-Length", 0))
        form = parse_qs(self.rfile.read(length).decode())
        answer = self.hub.answer(self.path, form.get("paths", [])).cut(self.headers.get("Range"))
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def do_HEAD(self) -> None:
        """Sends the headers of an answer."""
        self.do_GET()

    def do_POST(self) -> None:
        """Sends the answer to a form."""
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing, as `Hub.requests` has all requests."""


def _readme(metadata: Mapping[str, object]) -> bytes:
    """Returns a data set card; its header is YAML, of which JSON is a part."""
    return f"---\n{json.dumps(metadata, indent=1)}\n---\n\n# Generated\n".encode()


def _parquet(languages: Sequence[str], pairs: Pairs) -> bytes:
    """Returns a Parquet file with the one column `translation`."""
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    kind = arrow.struct([(language, arrow.string()) for language in languages])
    rows = arrow.array([dict(zip(languages, pair, strict=True)) for pair in pairs], kind)
    buffer = io.BytesIO()
    parquet.write_table(arrow.table({"translation": rows}), buffer)
    return buffer.getvalue()


def _oid(content: bytes) -> str:
    """Returns the name git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()


def _entries(files: Files) -> dict[str, dict[str, object]]:
    """Returns the Hub's metadata of each folder and file, by path."""
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents} - {"."}
    found: dict[str, dict[str, object]] = {}
    for path in sorted(folders):
        found[path] = {"type": "directory", "oid": _oid(path.encode()), "size": 0, "path": path}
    for path, content in sorted(files.items()):
        found[path] = {"type": "file", "oid": _oid(content), "size": len(content), "path": path}
    return found


def _tree(files: Files, folder: str, recursive: bool) -> _Answer:
    """Lists a folder."""
    prefix = f"{folder}/" if folder else ""
    found = []
    for path, entry in _entries(files).items():
        inner = path.removeprefix(prefix)
        if path.startswith(prefix) and (recursive or "/" not in inner):
            found.append(entry)
    return _json(found) if found else _refusal("EntryNotFound", f"{folder} does not exist")


def _info(repo: str, files: Files, commit: str) -> _Answer:
    """Sends the metadata of a data set."""
    siblings = [{"rfilename": path} for path in sorted(files)]
    flags = {"private": False, "gated": False, "disabled": False, "tags": [], "downloads": 0, "likes": 0}
    return _json({"id": repo, "author": repo.split("/")[0], "sha": commit, "siblings": siblings, **flags})


def _file(files: Files, path: str, commit: str) -> _Answer:
    """Sends one file."""
    headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    if path not in files:
        missing = _refusal("EntryNotFound", "Entry not found")
        missing.headers["X-Repo-Commit"] = commit
        return missing
    return _Answer(files[path], headers=headers | {"ETag": f'"{_oid(files[path])}"'})


def _json(value: object) -> _Answer:
    """Sends a JSON value."""
    return _Answer(json.dumps(value).encode(), headers={"Content-Type": "application/json; charset=utf-8"})


def _refusal(code: str, message: str) -> _Answer:
    """Sends error 404 with the two headers that say what was not found."""
    answer = _json({"error": message})
    answer.status = 404
    answer.headers |= {"X-Error-Code": code, "X-Error-Message": message}
    return answer
