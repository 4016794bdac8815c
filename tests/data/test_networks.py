"""Networks of companies: whatever a proxy or an endpoint does is one sentence with the reason."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import sacrebleu
from support import hub as stand_in

from transformer.data import corpus, download, hub, testsets
from transformer.data_config import CorpusConfig
from transformer.errors import DataError
from transformer.system import caches


def http(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Length: 2", *headers, "", "no"]).encode()


ANSWERS: dict[str, tuple[bytes | None, str]] = {
    "a proxy that asks": (http("407 Proxy Authentication Required", "Proxy-Authenticate: Basic"), "407 Proxy Auth"),
    "a proxy that refuses": (http("403 Forbidden"), "403 Forbidden"),
    "a broken gateway": (http("502 Bad Gateway"), "502 Bad Gateway"),
    "a page to log in": (b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>", "Expecting value|EOF"),
    "a host that hangs up": (None, "reset by peer|disconnected|closed"),
    "another protocol": (b"SSH-2.0-x\r\n", "SSH|reset by peer|disconnected"),
}  # fmt: skip


@contextlib.contextmanager
def server(answer: bytes | None) -> Iterator[str]:
    """Yield the address of a server that gives each request the same answer, or hangs up."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                if answer is not None:
                    connection.recv(4096)
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("name", ANSWERS)
def test_what_an_endpoint_does_is_a_sentence_with_the_reason(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: list[str]
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    answer, reason = ANSWERS[name]
    with server(answer) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(DataError) as raised:
            list(corpus.read_pairs(CorpusConfig(dataset="some/corpus", name="de-en"), "en", "de"))
    sentence = str(raised.value)
    assert sentence.startswith(f"cannot download some/corpus de-en train: {address} cannot be reached (")
    assert re.search(reason, sentence), sentence
    assert sentence.endswith("; run once with a network connection, or use local files with data.*.files")
    assert len(said) == 1


@pytest.mark.parametrize("name", ANSWERS)
def test_what_a_proxy_does_to_a_test_set_is_a_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sacrebleu.DATASETS["wmt14"], "_outdir", str(tmp_path / "wmt14"))
    monkeypatch.setattr(sacrebleu.DATASETS["wmt14"], "_rawdir", str(tmp_path / "wmt14" / "raw"))
    monkeypatch.setattr(urllib.request, "_opener", None)
    answer, _ = ANSWERS[name]
    with server(answer) as address:
        for scheme in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(scheme, address)
        with pytest.raises(
            DataError, match=r"test set wmt14 en-de is not in sacreBLEU's cache and cannot be down.* \(.+\);"
        ):
            testsets.testset_files("wmt14", "en", "de")
    urllib.request._opener = None  # type: ignore[attr-defined]


def test_a_redirection_to_itself_is_one_line(tmp_path: Path) -> None:
    with (
        server(http("302 Found", "Location: /x", "Connection: close")) as address,
        pytest.raises(DataError, match="the server answers 302 ") as raised,
    ):
        download.download(f"{address}/x", tmp_path / "x", lambda file: {})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "endpoint",
    ["huggingface.co", "ftp://x", "http://", "http://127.0.0.1:port", "http://127.0.0.1:99999", "http://[::1"],
)
def test_odd_endpoints_are_refused(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(DataError, match="HF_ENDPOINT is .*, which is not an address such as https://huggingface.co"):
        list(corpus.read_pairs(CorpusConfig(dataset="some/corpus"), "en", "de"))


def test_an_empty_endpoint_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "")
    hub._prepare_environment()
    assert hub._endpoint() == "https://huggingface.co"


def test_names_of_datasets_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", stand_in.closed_endpoint())
    with pytest.raises(
        DataError, match="no such dataset on the Hugging Face Hub, or no access to it: a b train: Repo id"
    ):
        list(corpus.read_pairs(CorpusConfig(dataset="a b"), "en", "de"))


MISSING = "Config name is missing.\nPlease pick one among the available configs: ['cs-en', 'de-en', 'fr-en']"
UNKNOWN = "BuilderConfig '{}' not found. Available: ['cs-en', 'de-en', 'fr-en']"


@pytest.mark.parametrize(
    ("name", "message", "sentence"),
    [
        (None, MISSING, "cannot load x: data.*.name is missing; the names are de-en, cs-en, fr-en"),
        ("xx", UNKNOWN, "cannot load x: it has no data.*.name xx; the names are de-en, cs-en, fr-en"),
        ("en-xx", UNKNOWN, "cannot load x: it has no data.*.name en-xx; the names are de-en, cs-en, fr-en"),
        (
            "en-de", UNKNOWN, "cannot load x: it has no data.*.name en-de; the names are de-en, cs-en, fr-en "
            "(a pair has one name for both directions: try de-en)",
        ),
    ],
)  # fmt: skip
def test_the_names_that_there_are_are_listed(name: str | None, message: str, sentence: str) -> None:
    each = CorpusConfig(dataset="some/corpus", name=name)
    found = hub._cannot_load(each, "x", ValueError(message.format(name)), "en", "de")
    assert str(found) == sentence


def test_the_reason_of_a_library_is_in_the_sentence() -> None:
    error = ValueError("An error occurred while generating the dataset")
    error.__cause__ = KeyError("column 'en'")
    found = hub._cannot_load(CorpusConfig(dataset="some/corpus"), "x", error, "en", "de")
    assert str(found) == "cannot load x: An error occurred while generating the dataset: \"column 'en'\""


# ---- machines without a home directory ------------------------------------------------------------------


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change to a folder in which nothing may appear, without a home directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # a user without an entry in /etc/passwd
    for name in ("HOME", "XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    caches.temporary_cache.cache_clear()
    yield tmp_path
    caches.temporary_cache.cache_clear()


@pytest.mark.parametrize("stated", [None, "", "cache"])
def test_nothing_appears_in_the_working_folder(
    homeless: Path, monkeypatch: pytest.MonkeyPatch, stated: str | None
) -> None:
    if stated is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", stated)
    private = caches.user_cache()
    assert private.parent == homeless
    assert private.stat().st_mode & 0o777 == 0o700
    hub._prepare_environment()
    assert Path(os.environ["HF_HOME"]) == private / "huggingface"
    monkeypatch.setattr(sacrebleu.DATASETS["wmt14"], "_outdir", "~/.sacrebleu/wmt14")
    assert testsets._folder(sacrebleu.DATASETS["wmt14"]) == private / "sacrebleu" / "wmt14"
    assert not list((homeless / "here").iterdir())


def test_odd_values_of_the_libraries_variables(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", "~/hf")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    hub._prepare_environment()
    assert Path(os.environ["HF_HOME"]).is_absolute()
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "soon")
    with pytest.raises(DataError, match="HF_HUB_ETAG_TIMEOUT is 'soon', which is not a number of seconds"):
        hub._prepare_environment()


def test_a_home_directory_is_used_if_it_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert caches.user_cache() == tmp_path / ".cache"
    monkeypatch.setenv("HOME", "/dev/null")
    assert caches.user_cache() == caches.temporary_cache()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert caches.user_cache() == tmp_path / "x"


def test_a_private_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    planted = tmp_path / f"transformer-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    caches.temporary_cache.cache_clear()
    assert caches.temporary_cache() != planted
    caches.temporary_cache.cache_clear()
