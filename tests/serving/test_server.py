"""No client holds up another, whatever it does, and a server that is stopped answers what it was asked."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from support.command import main
from support.nursery import Nursery, open_nursery, wait_until
from support.served import JSON, Server, Shouter, served

from transformer.serving import server as serving
from transformer.serving.limits import Limits
from transformer.serving.models import split_name

ASKING = b"POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture
def server() -> Iterator[Server]:
    with served() as started:
        yield started


def connect(server: Server, *parts: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), 10)
    for part in parts:
        connection.sendall(part)
    return connection


def waiting(server: Server) -> int:
    return sum(pair.batcher.waiting for pair in server.service.catalogue.pairs.values())


def counted(server: Server, pattern: str) -> float:
    """Return a number of the metrics."""
    found = re.search(rf"^{pattern} ([\d.e+]+)$", server.ask("GET", "/metrics").body.decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_many_clients_get_their_own_answers(server: Server) -> None:
    def ask(client: int) -> bool:
        texts = [f"client {client} text {i}" for i in range(client % 3 + 1)]
        return bool(server.translate(texts).json["translatedText"] == [text.upper() for text in texts])

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(ask, range(256)))
    assert counted(server, r'transformer_lines_total\{pair="en-de",task="best"\}') == sum(i % 3 + 1 for i in range(256))
    assert counted(server, r'transformer_http_requests_total\{endpoint="/translate",status="200"\}') == 256
    assert waiting(server) == 0


def test_clients_share_batches(server: Server) -> None:
    engine: Shouter = server.engines["en", "de"]
    engine.free.clear()
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(server.translate, f"text {i}") for i in range(20)]
        wait_until(lambda: waiting(server) == 20, 10, "the texts do not arrive")
        engine.free.set()
        assert [each.result().json["translatedText"] for each in answers] == [f"TEXT {i}" for i in range(20)]
    assert counted(server, r'transformer_batch_lines_count\{pair="en-de"\}') == 2


def test_idle_and_broken_clients_are_sent_away(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 1)
    with served() as server, contextlib.ExitStack() as stack:
        silent = [connect(server) for _ in range(50)]
        halves = [connect(server, b"GET /health HTTP/1.1\r\nHo") for _ in range(50)]
        second = connect(server, b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in second.recv(9999)
        second.sendall(b"GET /")
        garbage = connect(server, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
        for each in (*silent, *halves, second, garbage):
            stack.enter_context(each)
        assert server.translate("a").json == {"translatedText": "A"}
        assert b"400" in garbage.recv(9999)
        assert server.ask("POST", "/translate", b"\xa4\xa4\xa4", "multipart/form-data; boundary=x").status == 400
        for each in (*silent, *halves, second):
            with contextlib.suppress(ConnectionResetError):
                assert each.recv(1) == b""
    assert capfd.readouterr().err == ""


def test_a_slow_request_is_refused() -> None:
    with served(limits=Limits(body_seconds=0.2)) as server, connect(server, ASKING % 100, b"{") as slow:
        started = time.monotonic()
        with slow.makefile("rb") as file:
            answer = file.read().decode()
        assert time.monotonic() - started < 5
        assert "408 Request Timeout" in answer
        assert "connection: close" in answer.lower()
        assert json.loads(answer.split("\r\n\r\n")[1]) == {"error": "The request did not arrive in time"}


def test_a_client_that_does_not_read_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "ANSWER_SECONDS", 0.5)
    size = 8_000_000
    with served(limits=Limits(characters=size, body=2 * size, seconds=1)) as server:
        body = json.dumps({"q": "a" * size, "source": "en", "target": "de"}).encode()
        with connect(server, ASKING % len(body), body):
            wait_until(lambda: counted(server, "transformer_http_requests_open") == 2, 10, "it was not asked")
            assert server.translate("a").json == {"translatedText": "A"}
            wait_until(lambda: counted(server, "transformer_http_requests_open") == 1, 10, "it is still there")


def test_what_a_client_that_left_asked_for_is_given_up(server: Server) -> None:
    engine: Shouter = server.engines["en", "de"]
    engine.free.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.translate, "first")
        assert engine.busy.wait(10)
        body = json.dumps({"q": ["gone"] * 50, "source": "en", "target": "de"}).encode()
        with connect(server, ASKING % len(body), body):
            wait_until(lambda: waiting(server) == 51, 10, "it does not arrive")
        open_requests = "transformer_http_requests_open"
        wait_until(lambda: counted(server, open_requests) == 2, 10, "nobody saw that the client left")
        engine.free.set()
        assert first.result().json == {"translatedText": "FIRST"}
    assert server.translate("next").json == {"translatedText": "NEXT"}
    assert engine.lines == ["first", "next"]


def test_a_request_that_takes_too_long_is_refused() -> None:
    with served(limits=Limits(seconds=0.2)) as server:
        engine: Shouter = server.engines["en", "de"]
        engine.free.clear()
        late = server.translate("a")
        assert (late.status, late.headers["Retry-After"]) == (503, "5")
        assert late.error == "The server is busy: no translation within 0.2 seconds"
        engine.free.set()
        assert server.translate("b").json == {"translatedText": "B"}


def test_a_full_queue_is_refused() -> None:
    with served(limits=Limits(queue=4)) as server:
        engine: Shouter = server.engines["en", "de"]
        engine.free.clear()
        with ThreadPoolExecutor(1) as pool:
            kept = pool.submit(server.translate, ["a", "b"])
            wait_until(lambda: waiting(server) == 2, 10, "it does not arrive")
            greedy = server.translate("c")
            assert (greedy.status, greedy.error) == (429, "Slowdown: too many of your texts are waiting")
            full = server.translate(["c"] * 3)
            assert (full.status, full.error) == (503, "The server is busy: its queue is full")
            assert full.headers["Retry-After"] == "1"
            assert server.ask("GET", "/health").json == {"status": "ok"}
            engine.free.set()
            assert kept.result().json == {"translatedText": ["A", "B"]}


def test_health_tells_of_a_model_that_stopped(server: Server) -> None:
    assert server.service.catalogue.close(5)
    health = server.ask("GET", "/health")
    assert (health.status, health.json) == (503, {"status": "stopping"})
    stopping = server.translate("a")
    assert (stopping.status, stopping.error) == (503, "The server is stopping")


def test_requests_are_counted_by_known_names_only(server: Server) -> None:
    for path in ("/health", "/x", "/y?z", "/translate/"):
        server.ask("GET", path)
    text = server.ask("GET", "/metrics").body.decode()
    assert set(re.findall(r'http_requests_total\{endpoint="(.*?)"', text)) == {"/health", "other"}
    assert "process_resident_memory_bytes" in text
    assert 'transformer_waiting_lines{pair="en-de"} 0.0' in text


# ---- the command -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with open_nursery() as found:
        yield found


def ask(port: int, values: dict[str, object]) -> dict[str, object]:
    from urllib.request import Request

    request = Request(f"http://127.0.0.1:{port}/translate", json.dumps(values).encode(), {"Content-Type": JSON})
    with urlopen(request, timeout=60) as answer:
        found: dict[str, object] = json.load(answer)
        return found


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_a_signal_lets_what_was_asked_be_answered(
    nursery: Nursery, shared_run: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    child = nursery.start(tmp_path / "log", "serve", shared_run, "decode.beam=8", "--port", "0", "--batch-tokens", "1")
    texts = [f"{word} two three four five" for word in ("one", "two", "three", "four")] * 20
    with ThreadPoolExecutor(1) as pool:
        try:
            child.wait_for("serving on http://127.0.0.1:")
            port = int(re.findall(r"serving on http://127.0.0.1:(\d+); Ctrl-C stops", child.log())[0])
            answer = pool.submit(ask, port, {"q": texts, "source": "en", "target": "de"})
            metrics = f"http://127.0.0.1:{port}/metrics"
            wait_until(lambda: b'waiting_lines{pair="en-de"} 80.0' in urlopen(metrics).read(), 10, "it does not arrive")
        except BaseException:
            number = signal.SIGKILL
            raise
        finally:
            os.kill(child.pid, number)
            ended = child.wait()
        assert ended == code
        found = answer.result(10)["translatedText"]
    assert isinstance(found, list)
    assert len(found) == 80
    assert found[:4] == found[4:8]
    assert found[0] == "fünf vier drei zwei eins"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 5)
    assert "Traceback" not in child.log()


def test_what_cannot_be_answered_in_time_is_refused(nursery: Nursery, shared_run: Path, tmp_path: Path) -> None:
    command = [
        "serve",
        shared_run,
        "decode.beam=8",
        "--port",
        "0",
        "--batch-tokens",
        "1",
        "--drain",
        "1",
        "--char-limit",
        "99999",
    ]
    child = nursery.start(tmp_path / "log", *command)
    text = "\n".join(["one two three four five"] * 1000)
    child.wait_for("serving on http://127.0.0.1:")
    port = int(re.findall(r"serving on http://127.0.0.1:(\d+); Ctrl-C stops", child.log())[0])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, port, {"q": text, "source": "en", "target": "de"})
        try:
            metrics = f"http://127.0.0.1:{port}/metrics"
            wait_until(lambda: b'waiting_lines{pair="en-de"} 1000.0' in urlopen(metrics).read(), 10, "not there")
        finally:
            os.kill(child.pid, signal.SIGTERM)
        assert child.wait() == -signal.SIGTERM
        error = answer.exception(10)
    assert isinstance(error, OSError)  # an HTTPError, or the connection ended
    assert not isinstance(error, HTTPError) or error.code == 503
    assert "Traceback" not in child.log()
    assert "Cancel" not in child.log()


def test_a_checkpoint_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a@b").mkdir()
    assert split_name(str(tmp_path / "a@b")) == (tmp_path / "a@b", None)
    assert split_name("runs/mine@last") == (Path("runs/mine"), "last")
    assert split_name("runs/mine/checkpoints/step-1") == (Path("runs/mine"), "step-1")


def test_mistakes_are_one_sentence(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "keys"
    keys.write_text("short")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        port_taken = f"127.0.0.1:{port} cannot be used: Address already in use; choose another with --host or --port"
        for argv, code, sentence in (
            (["decode.beam=2"], 2, "give the run directory of a model"),
            ([trained_run, f"{trained_run}@last"], 2, "both translate en to de; serve one of them"),
            ([tmp_path / "missing"], 1, "missing is not a run directory: no such directory"),
            ([trained_run, "--host", "nowhere.invalid"], 2, "--host nowhere.invalid is no address of this machine"),
            (
                [trained_run, "--port", port],
                1,
                port_taken,
            ),
            ([trained_run, "--host", "0.0.0.0"], 2, "other machines can reach 0.0.0.0: give --api-keys FILE, or"),
            ([trained_run, "--api-keys", keys], 2, "has an API key of less than 16 characters"),
            ([trained_run, "train.seed=2"], 2, "train.seed=2 cannot be changed after training"),
            ([f"{trained_run}@step-1"], 1, "has no checkpoint 'step-1'"),
        ):
            outcome = main("serve", "--port", 0, *argv)
            assert outcome.code == code, outcome.err
            assert sentence in outcome.err
    for name in ("starlette", "uvicorn", "prometheus_client", "python_multipart"):
        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, name, None)
            outcome = main("serve", trained_run)
            assert outcome.code == 2
            assert f"serve needs the package {name}: pip install 'transformer-translation[serve]'" in outcome.err


def test_detection_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformer.errors import ConfigError
    from transformer.serving.detection import make_detector

    monkeypatch.setitem(__import__("sys").modules, "py3langid.langid", None)
    assert make_detector(["en"]).rank(["a"]) == [{"confidence": 0.0, "language": "en"}]
    with pytest.raises(ConfigError, match="to detect the language of a text, serve needs the package py3langid"):
        make_detector(["en", "de"])


def test_languages_that_cannot_be_detected_are_named(said: list[str]) -> None:
    pytest.importorskip("py3langid", reason="detection needs the extra [serve]")
    from transformer.serving.detection import make_detector

    detector = make_detector(["en", "xx", "de"])
    assert said == ["the languages xx cannot be detected in a text; clients must name them"]
    assert detector.rank(["Guten Morgen, wie geht es dir?"])[0]["language"] == "de"
    assert make_detector(["xx", "yy"]).rank(["a"])[0]["language"] == "xx"
