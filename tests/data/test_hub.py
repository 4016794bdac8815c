"""Tests of the stand-ins in hub.py with the real libraries."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support import hub

WMT14 = "wmt/wmt14"
MULTI30K = "bentrevett/multi30k"
SIZES = {"train": 300, "validation": 20, "test": 10}

# Reads a list of [arguments, keyword arguments] and prints the results of `load_dataset` as a JSON list.
# It exits without Python's clean-up, in which pyarrow's threads may abort the process (apache/arrow#34314).
LOAD = """
import json, os, sys, time
naps = []
time.sleep = naps.append
from datasets import load_dataset
results = []
for arguments, options in json.loads(sys.argv[1]):
    naps.clear()
    try:
        data = load_dataset(*arguments, **options)
        result = {"features": str(data.features), "rows": list(data)}
    except Exception as error:
        kinds = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
        result = {"kinds": kinds, "message": str(error)}
    results.append(result | {"naps": list(naps)})
print(json.dumps(results), flush=True)
os._exit(0)
"""

# Reads a list of [function, arguments] and prints the results of sacrebleu as a JSON list.
SACREBLEU = """
import json, sys, sacrebleu
results = []
for function, arguments in json.loads(sys.argv[1]):
    try:
        results.append({"paths": getattr(sacrebleu, function)(*arguments)})
    except Exception as error:
        kind = type(error)
        results.append({"kind": f"{kind.__module__}.{kind.__qualname__}", "message": str(error)})
print(json.dumps(results))
"""

# Requests the newest commit of a data set, and measures how fast a missing network is detected.
ASK = """
import json, sys, time
from huggingface_hub import HfApi
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import httpx
start = time.monotonic()
try:
    result = HfApi().dataset_info(sys.argv[1], timeout=5).sha
except (httpx.ConnectError, OfflineModeIsEnabled) as error:
    result = type(error).__name__
print(json.dumps([result, time.monotonic() - start]))
"""


@dataclass
class World:
    """A Hub with two commits of one data set and one of another."""

    server: hub.Hub
    old: str
    new: str


def pairs(size: int, name: str) -> list[tuple[str, str]]:
    """Returns generated sentence pairs."""
    return [(f"{name} Satz «{number}» für Köln.", f"{name} sentence {number}.") for number in range(size)]


def wmt14_files(name: str) -> dict[str, bytes]:
    """Returns a commit of WMT14."""
    configs = ("de-en", "fr-en")
    return hub.parquet_files(
        {config: {part: pairs(size, f"{name} {part}") for part, size in SIZES.items()} for config in configs}
    )


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with hub.Hub() as server:
        old = server.push(WMT14, wmt14_files("old"))
        new = server.push(WMT14, wmt14_files("new"))
        server.push(MULTI30K, hub.jsonl_files({split: pairs(size, split) for split, size in SIZES.items()}))
        yield World(server, old, new)


def run(program: str, environment: dict[str, str], *arguments: str, **settings: str) -> Any:
    """Runs a program which prints JSON, and returns that."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment | settings, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def load(environment: dict[str, str], *calls: tuple[list[str], dict[str, Any]], **settings: str) -> Any:
    """Calls `load_dataset` in a separate process."""
    return run(LOAD, environment, json.dumps(calls), **settings)


def request(server: hub.Hub, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Sends one request to a Hub."""
    connection = HTTPConnection(urlsplit(server.endpoint).netloc, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def test_parquet_configs_load_with_all_their_splits(world: World, tmp_path: Path) -> None:
    calls = [([WMT14, "de-en"], {"split": split}) for split in SIZES]
    results = load(world.server.environment(tmp_path), *calls, ([WMT14, "fr-en"], {"split": "test"}))
    for split, result in zip([*SIZES, "test"], results, strict=True):
        first, second = ("fr", "en") if result is results[-1] else ("de", "en")
        assert result["features"] == f"{{'translation': Translation(languages=['{first}', '{second}'])}}"
        rows = [{"translation": {first: a, second: b}} for a, b in pairs(SIZES[split], f"new {split}")]
        assert result["rows"] == rows


def test_jsonl_files_load_as_the_three_splits(world: World, tmp_path: Path) -> None:
    calls = [([MULTI30K], {"split": split}) for split in SIZES]
    results = load(world.server.environment(tmp_path), *calls, ([MULTI30K, "de-en"], {}))
    for split, result in zip(SIZES, results[:-1], strict=True):
        assert result["features"] == "{'en': Value('string'), 'de': Value('string')}"
        assert result["rows"] == [{"en": a, "de": b} for a, b in pairs(SIZES[split], split)]
    assert results[-1]["message"] == "BuilderConfig 'de-en' not found. Available: ['default']"


def test_data_stream_without_a_download(world: World, tmp_path: Path) -> None:
    environment = world.server.environment(tmp_path)
    [result] = load(environment, ([WMT14, "de-en"], {"split": "test", "streaming": True}))
    assert len(result["rows"]) == SIZES["test"]


def test_a_revision_is_a_commit(world: World, tmp_path: Path) -> None:
    calls = [([WMT14, "de-en"], {"split": "test", "revision": name}) for name in (world.old, world.new, "main")]
    unknown = ([WMT14, "de-en"], {"revision": "f" * 40})
    old, new, main, missing = load(world.server.environment(tmp_path), *calls, unknown)
    assert old["rows"][0]["translation"]["en"] == "old test sentence 0."
    assert new["rows"][0]["translation"]["en"] == "new test sentence 0."
    assert main["rows"] == new["rows"]
    assert missing["kinds"][0] == "datasets.exceptions.DatasetNotFoundError"
    assert missing["message"] == f"Revision '{'f' * 40}' doesn't exist for dataset '{WMT14}' on the Hub."


@pytest.mark.parametrize("name", ["no/such", "nosuch"])
def test_an_unknown_data_set_is_not_found(world: World, tmp_path: Path, name: str) -> None:
    [result] = load(world.server.environment(tmp_path), ([name, "de-en"], {}))
    assert result["kinds"][0] == "datasets.exceptions.DatasetNotFoundError"
    assert "builtins.FileNotFoundError" in result["kinds"]
    assert result["message"] == f"Dataset '{name}' doesn't exist on the Hub or cannot be accessed."
    assert result["naps"] == []


def test_an_unknown_config_or_split_is_a_value_error(world: World, tmp_path: Path) -> None:
    environment = world.server.environment(tmp_path)
    calls: list[tuple[list[str], dict[str, Any]]] = [
        ([WMT14, "en-de"], {}),
        ([WMT14], {}),
        ([WMT14, "de-en"], {"split": "dev"}),
    ]
    results = load(environment, *calls)
    assert [result["kinds"][0] for result in results] == ["builtins.ValueError"] * 3
    reversed_order, missing, split = [result["message"] for result in results]
    assert reversed_order == "BuilderConfig 'en-de' not found. Available: ['de-en', 'fr-en']"
    assert missing.startswith(
        "Config name is missing.\nPlease pick one among the available configs: ['de-en', 'fr-en']"
    )
    assert split == "Unknown split \"dev\". Should be one of ['train', 'validation', 'test']."


def test_without_a_network_load_dataset_retries_and_then_fails(tmp_path: Path) -> None:
    environment = hub.environment(tmp_path, hub.closed_endpoint())
    [result] = load(environment, ([WMT14, "de-en"], {}))
    assert result["kinds"][0] == "builtins.ConnectionError"
    assert result["message"] == f"Couldn't reach '{WMT14}' on the Hub (LocalEntryNotFoundError)"
    assert result["naps"] == [1, 2, 4, 8, 8]  # fixed in huggingface_hub: no setting shortens it


def test_a_question_for_the_newest_commit_tells_at_once_whether_there_is_a_network(
    world: World, tmp_path: Path
) -> None:
    closed = hub.environment(tmp_path, hub.closed_endpoint())
    assert run(ASK, world.server.environment(tmp_path), WMT14)[0] == world.new
    error, seconds = run(ASK, closed, WMT14)
    assert error == "ConnectError"
    assert seconds < 3
    assert run(ASK, closed, WMT14, HF_HUB_OFFLINE="1")[0] == "OfflineModeIsEnabled"


def test_a_second_process_downloads_nothing_and_offline_mode_uses_the_cache(world: World, tmp_path: Path) -> None:
    environment = world.server.environment(tmp_path)
    call = ([WMT14, "de-en"], {"split": "test", "revision": world.old})
    [first] = load(environment, call)
    world.server.requests.clear()
    assert load(environment, call) == [first]
    assert world.server.requests
    assert not [line for line in world.server.requests if line.startswith("GET /datasets/")]
    world.server.requests.clear()
    calls = [
        ([WMT14, "fr-en"], {}),
        ([MULTI30K], {}),
        ([WMT14, "de-en"], {"split": "test", "revision": world.new}),
    ]
    cached, config, missing, other = load(environment, call, *calls, HF_HUB_OFFLINE="1")
    assert world.server.requests == []
    assert cached == first
    assert config["kinds"][0] == "builtins.ValueError"
    assert config["message"] == (
        f"Couldn't find cache for {WMT14} for config 'fr-en'\nAvailable configs in the cache: ['de-en']"
    )
    assert missing["kinds"][0] == "builtins.ConnectionError"
    assert missing["message"] == f"Couldn't reach '{MULTI30K}' on the Hub (OfflineModeIsEnabled)"
    assert other == first  # the newest cache, whichever revision was requested


def test_without_a_network_the_cache_is_used_after_the_retries(world: World, tmp_path: Path) -> None:
    call = ([WMT14, "de-en"], {"split": "test"})
    [first] = load(world.server.environment(tmp_path), call)
    [second] = load(hub.environment(tmp_path, hub.closed_endpoint()), call)
    assert second["rows"] == first["rows"]
    assert second["naps"] == [1, 2, 4, 8, 8]


def test_an_environment_has_its_own_caches_and_no_way_out(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("HF_DATASETS_CACHE", "/elsewhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid")
    monkeypatch.setenv("no_proxy", "")
    environment = world.server.environment(tmp_path)
    assert not {"HF_TOKEN", "HF_DATASETS_CACHE", "HTTPS_PROXY"} & set(environment)
    assert environment["HF_HOME"].startswith(str(tmp_path))
    assert environment["SACREBLEU"].startswith(str(tmp_path))
    proxies = {scheme: environment[f"{scheme}_proxy"] for scheme in ("http", "https")}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    with pytest.raises(urllib.error.URLError, match="501"):
        opener.open("https://example.org/", timeout=10)
    with pytest.raises(urllib.error.HTTPError, match="404") as refused:
        opener.open("http://example.org/", timeout=10)
    refused.value.close()


def test_a_file_is_served_whole_or_in_part(world: World) -> None:
    path = f"/datasets/{MULTI30K}/resolve/main/test.jsonl"
    status, headers, content = request(world.server, "GET", path)
    assert (status, len(content)) == (200, int(headers["Content-Length"]))
    assert json.loads(content.splitlines()[0]) == dict(zip(("en", "de"), pairs(1, "test")[0], strict=True))
    assert headers["ETag"].startswith('"')
    assert len(headers["X-Repo-Commit"]) == 40
    assert request(world.server, "HEAD", path)[1]["Content-Length"] == str(len(content))
    assert request(world.server, "HEAD", path)[2] == b""
    status, headers, part = request(world.server, "GET", path, Range="bytes=5-9")
    assert (status, headers["Content-Range"], part) == (206, f"bytes 5-9/{len(content)}", content[5:10])
    assert request(world.server, "GET", path, Range="bytes=7-")[2] == content[7:]
    assert request(world.server, "GET", path, Range="bytes=-3")[2] == content[-3:]
    assert request(world.server, "GET", path, Range=f"bytes={len(content)}-")[0] == 416


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/datasets/no/such/resolve/main/README.md", "RepoNotFound"),
        ("/api/datasets/no/such", "RepoNotFound"),
        ("/api/datasets/nosuch/revision/main", "RepoNotFound"),
        (f"/api/datasets/{WMT14}/revision/refs%2Fpr%2F1", "RevisionNotFound"),
        (f"/api/datasets/{WMT14}/tree/main/cs-en", "EntryNotFound"),
        (f"/datasets/{WMT14}/resolve/main/cs-en/train.parquet", "EntryNotFound"),
        ("/api/models/gpt2", "NotFound"),
    ],
)
def test_what_is_missing_is_refused_by_its_code(world: World, path: str, code: str) -> None:
    status, headers, content = request(world.server, "GET", path)
    assert (status, headers["X-Error-Code"]) == (404, code)
    assert json.loads(content) == {"error": headers["X-Error-Message"]}


def test_the_tree_lists_one_level_or_all(world: World) -> None:
    top = json.loads(request(world.server, "GET", f"/api/datasets/{WMT14}/tree/main?recursive=false")[2])
    assert [(entry["type"], entry["path"]) for entry in top] == [
        ("directory", "de-en"),
        ("directory", "fr-en"),
        ("file", "README.md"),
    ]
    everything = json.loads(request(world.server, "GET", f"/api/datasets/{WMT14}/tree/main?recursive=true")[2])
    assert len(everything) == 9
    inner = json.loads(request(world.server, "GET", f"/api/datasets/{WMT14}/tree/{world.old}/fr-en")[2])
    assert [entry["path"] for entry in inner] == [f"fr-en/{split}-00000-of-00001.parquet" for split in sorted(SIZES)]


def test_paths_info_describes_the_paths_asked_for(world: World) -> None:
    body = b"paths=README.md&paths=no-such&paths=de-en&expand=false"
    url = f"{world.server.endpoint}/api/datasets/{WMT14}/paths-info/main"
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=10) as response:
        assert [entry["path"] for entry in json.load(response)] == ["de-en", "README.md"]


@pytest.mark.parametrize("pair", ["en-de", "en-fr"])
def test_sacrebleu_finds_a_filled_test_set(tmp_path: Path, pair: str) -> None:
    sources, references = ["A cat.", "Two  dogs “bark”."], ["Eine Katze.", "Zwei Hunde bellen."]
    environment = hub.environment(tmp_path, hub.closed_endpoint())
    hub.fill_sacrebleu(Path(environment["SACREBLEU"]), "wmt14/full", pair, sources, references)
    calls = [("get_source_file", ["wmt14/full", pair]), ("get_reference_files", ["wmt14/full", pair])]
    source, reference = run(SACREBLEU, environment, json.dumps(calls))
    assert Path(source["paths"]).read_text(encoding="utf-8").splitlines() == sources
    [path] = reference["paths"]
    assert Path(path).read_text(encoding="utf-8").splitlines() == references


def test_the_command_of_sacrebleu_scores_against_a_filled_test_set(tmp_path: Path) -> None:
    references = ["Eine kleine Katze sitzt dort.", "Zwei große Hunde bellen laut."]
    environment = hub.environment(tmp_path, hub.closed_endpoint())
    hub.fill_sacrebleu(Path(environment["SACREBLEU"]), "wmt14/full", "en-de", ["A", "B"], references)
    command = [sys.executable, "-m", "sacrebleu", "-t", "wmt14/full", "-l", "en-de", "--score-only"]
    text = "\n".join(references) + "\n"
    done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "100.0", done.stderr


def test_sacrebleu_fails_at_once_when_a_test_set_is_not_there(tmp_path: Path) -> None:
    environment = hub.environment(tmp_path, hub.closed_endpoint())
    names = [("wmt14/full", "en-de"), ("wmt14/full", "en-xx"), ("wmt00", "en-de")]
    calls = json.dumps([("get_source_file", name) for name in names])
    offline, pair, test_set = run(SACREBLEU, environment, calls)
    assert offline["kind"] == "urllib.error.URLError"
    assert pair == {"kind": "builtins.Exception", "message": "No such language pair wmt14/full/en-xx"}
    assert test_set == {"kind": "builtins.Exception", "message": "No such test set wmt00"}
