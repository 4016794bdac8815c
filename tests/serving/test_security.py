"""Who may ask: hosts, origins and keys; and what a browser is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.served import Server, served

from transformer.errors import ConfigError
from transformer.serving.limits import Limits
from transformer.serving.security import Keys, read_keys

KEY = "a-key-of-some-length-ä"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served(
        keys=[KEY, "another-key-of-some-length"], names=["Translate.Example."], origins=["https://a.example/"]
    ) as it:
        yield it


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:5000", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:5000", 200),
        ("192.168.1.7", 200),
        ("translate.example:80", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("[", 403),
        ("user@localhost@evil.example", 403),
    ],
)
def test_only_own_names_are_answered(server: Server, host: str, status: int) -> None:
    answer = server.ask("GET", "/health", Host=host)
    assert answer.status == status
    if status == 403:
        assert answer.error == "This server does not answer to that Host; see --allow-host"


def test_pages_of_other_sites_are_refused(server: Server) -> None:
    own = f"127.0.0.1:{server.port}"
    for origin in ("https://evil.example", "null", "http://localhost:1", f"http://evil.example/{own}", "x"):
        answer = server.ask("POST", "/translate", "q=a", Origin=origin)
        assert (answer.status, answer.error) == (
            403,
            "Pages of that origin may not use this server; see --allow-origin",
        ), origin
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert server.ask("GET", "/health", Origin=f"http://{own}").status == 200


def test_pages_of_a_named_site_may_ask(server: Server) -> None:
    asked = server.ask("OPTIONS", "/translate", Origin="https://a.example")
    assert (asked.status, asked.headers["Access-Control-Allow-Methods"]) == (204, "GET, POST")
    answer = server.ask("GET", "/health", Origin="https://A.example")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert server.ask("OPTIONS", "/translate").status == 405


def test_each_answer_tells_the_browser_what_it_may_do(server: Server) -> None:
    for path, host in (("/", ""), ("/health", ""), ("/nothing", ""), ("/health", "evil.example")):
        headers = server.ask("GET", path, **({"Host": host} if host else {})).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert "server" not in headers


@pytest.mark.parametrize(
    "path", ["/page.js/", "/assets/page.js", "/../page.js", "//page.js", "/%2e%2e/page.py", "/app.py"]
)
def test_nothing_of_the_disk_is_served(server: Server, path: str) -> None:
    answer = server.ask("GET", path)
    assert answer.status in (307, 404)
    assert b"import" not in answer.body


def test_a_key_is_needed_and_compared(server: Server) -> None:
    missing = server.translate("a")
    assert (missing.status, missing.error) == (400, "Please contact the server operator to get an API key")
    for wrong in ("x", KEY[:-1], KEY + " ", [KEY], {"a": KEY}, 1):
        answer = server.translate("a", api_key=wrong)
        assert (answer.status, answer.error) == (403, "Invalid API key"), wrong
    for right in (KEY, "another-key-of-some-length"):
        assert server.translate("a", api_key=right).json == {"translatedText": "A"}
    bearer = server.ask(
        "POST", "/translate", "q=a&source=en&target=de", Authorization="bearer another-key-of-some-length"
    )
    assert bearer.status == 200
    for path in ("/detect", "/page/translate", "/page/attention"):
        assert server.post(path, q="a").status == 400, path
    assert server.ask("GET", "/frontend/settings").json["keyRequired"] is True
    assert server.ask("GET", "/languages").status == server.ask("GET", "/health").status == 200


def test_counters_need_the_key_too(server: Server) -> None:
    refused = server.ask("GET", "/metrics")
    assert (refused.status, refused.error) == (401, "Unauthorized")
    assert server.ask("GET", "/metrics", Authorization="Bearer another-key-of-some-length").status == 200


def test_without_keys_everyone_is_accepted() -> None:
    assert not Keys()
    with served(limits=Limits(requests=2)) as server:
        assert [server.translate("a").status for _ in range(3)] == [200, 200, 429]
        slow = server.translate("a")
        assert (slow.error, slow.headers["Retry-After"]) == ("Slowdown: 2 per 1 minute", "30")
        assert server.ask("GET", "/health").status == 200


def test_clients_behind_a_proxy_are_told_apart() -> None:
    with served(limits=Limits(requests=1)) as server:
        asked = "q=a&source=en&target=de"
        clients = ["1.2.3.4", "1.2.3.4", "5.6.7.8", "5.6.7.8, 9.9.9.9"]
        statuses = [server.ask("POST", "/translate", asked, X_Forwarded_For=client).status for client in clients]
        assert statuses == [200, 429, 200, 200]


def test_a_file_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n\nanother-key-of-some-length\n")
    keys = read_keys(file)
    assert keys.accepts(KEY)
    assert not keys.accepts("")
    for content, sentence in (
        ("", "must have one API key a line, and at most 65536 bytes"),
        ("k" * 70_000, "must have one API key a line"),
        ("short", "has an API key of less than 16 characters, which could be guessed"),
    ):
        file.write_text(content)
        with pytest.raises(ConfigError, match=sentence):
            read_keys(file)
    with pytest.raises(ConfigError, match=r"nothing cannot be read: No such file"):
        read_keys(tmp_path / "nothing")
