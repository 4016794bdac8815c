"""The API answers as LibreTranslate does, which its own client confirms."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest
from support.served import FORM, JSON, Server, Shouter, engine_of, served

from transformer.decoding.translator import Translator
from transformer.errors import ConfigError
from transformer.serving.limits import Limits
from transformer.serving.models import Catalogue

LIMITS = Limits(characters=60, texts=5, lines=8, body=2000)


@pytest.fixture(scope="module")
def server(translator: Translator) -> Iterator[Server]:
    """Return a server with a real model, and others that only shout."""
    engines = {
        ("en", "de"): engine_of(translator),
        ("de", "en"): Shouter(),
        ("en", "fr"): Shouter(),
        ("zh-Hans", "en"): Shouter(),
    }
    with served(engines, LIMITS) as started:
        yield started


def test_the_real_client_works(server: Server, translator: Translator) -> None:
    libretranslatepy = pytest.importorskip("libretranslatepy", reason="tested with LibreTranslate's own client")
    client = libretranslatepy.LibreTranslateAPI(server.url)
    (best,) = [ways[0].text for ways in translator.translate(["seven two"])]
    assert client.translate("seven two", "en", "de") == best == "zwei sieben"
    assert client.detect("Wo ist der Bahnhof?")[0]["language"] == "de"
    assert {"code": "en", "name": "English", "targets": ["de", "fr"]} in client.languages()
    with pytest.raises(HTTPError) as refused:
        client.translate("seven", "en", "xx")
    assert json.loads(refused.value.read()) == {"error": "xx is not supported"}


def test_texts_come_as_json_or_as_a_form(server: Server) -> None:
    boundary = "XX"
    parts = {"q": "grün", "source": "de", "target": "en"}
    multipart = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in parts.items()
    )
    bodies: list[tuple[str | bytes, str]] = [
        (json.dumps(parts), JSON),
        (json.dumps(parts), "application/vnd.x+json; charset=utf-8"),
        ("q=gr%C3%BCn&source=de&target=en", FORM),
        ("q=grün&source=de&target=en".encode(), FORM),
        (f"{multipart}--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"),
    ]
    for body, kind in bodies:
        answer = server.ask("POST", "/translate", body, kind)
        assert (answer.status, answer.json) == (200, {"translatedText": "GRÜN"}), kind
    assert server.ask("POST", "/translate?q=gr%C3%BCn&source=de", "target=en&q=x").json == {"translatedText": "GRÜN"}


def test_a_list_is_answered_in_its_order(server: Server) -> None:
    texts = ["seven two", "three", "nine nine one"]
    found = [server.translate(text).json["translatedText"] for text in texts]
    assert found == ["zwei sieben", "drei", "eins neun neun"]
    assert server.translate(texts).json == {"translatedText": found}


def test_lines_stay_lines(server: Server) -> None:
    answer = server.translate("seven two\r\n\r\n  three \rfour")
    assert answer.json == {"translatedText": "zwei sieben\n\n  drei \nvier"}
    assert server.translate("  ").json == {"translatedText": "  "}
    assert server.ask("POST", "/translate", "q=a%0D%0Ab&source=de&target=en").json == {"translatedText": "A\nB"}


def test_alternatives_are_different_and_as_many_as_there_are(server: Server) -> None:
    answer = server.translate("seven two", alternatives=2).json
    assert answer["translatedText"] == "zwei sieben"
    assert len({answer["translatedText"], *answer["alternatives"]}) == 3
    assert server.translate("a\nb", alternatives=1, source="de", target="en").json["alternatives"] == ["A!\nB!"]
    assert server.translate("a", alternatives=50, source="de", target="en").json["alternatives"] == ["A!", "A!!"]
    listed = server.translate(["a", " "], alternatives="1", source="de", target="en").json
    assert listed == {"translatedText": ["A", " "], "alternatives": [["A!"], []]}
    assert "alternatives" not in server.translate("a", alternatives=-1).json


def test_html_keeps_its_tags(server: Server) -> None:
    answer = server.translate(
        "<p title='a'>seven &amp; <b>two</b><!-- x --></p>", format="html", source="de", target="en"
    )
    assert answer.json == {"translatedText": "<p title='a'>SEVEN &amp; <b>TWO</b><!-- x --></p>"}
    assert server.translate("a<b>", format="html", alternatives=1).json["alternatives"] == []
    assert server.translate("<![<p>", format="html").error == "Invalid request: q is not HTML that can be read"


def test_the_language_is_detected_among_those_served(server: Server) -> None:
    text = "Wo ist denn bitte der nächste Bahnhof?"
    answer = server.translate(text, source="auto", target="en").json
    assert answer["translatedText"] == text.upper()
    assert answer["detectedLanguage"]["language"] == "de"
    assert 50 < answer["detectedLanguage"]["confidence"] <= 100
    listed = server.translate([text, "Guten Tag"], source="auto", target="en").json
    assert [each["language"] for each in listed["detectedLanguage"]] == ["de", "de"]
    ranked = server.post("/detect", q=text).json
    assert [each["language"] for each in ranked][0] == "de"
    assert {each["language"] for each in ranked} == {"en", "de", "zh-Hans"}
    assert sum(each["confidence"] for each in ranked) == pytest.approx(100, abs=0.5)
    assert (
        server.translate("你好，今天天气很好", source="auto", target="en").json["detectedLanguage"]["language"]
        == "zh-Hans"
    )


def test_what_is_in_the_wanted_language_comes_back(server: Server) -> None:
    """LibreTranslate does so too, and clients that send `auto` rely on it."""
    text = "Wo ist denn bitte der nächste <b>Bahnhof</b>?"
    answer = server.translate([text, ""], source="auto", target="de", format="html", alternatives=2).json
    assert answer["translatedText"] == [text, ""]
    assert answer["alternatives"] == [[], []]
    assert answer["detectedLanguage"][0]["language"] == "de"
    assert server.translate("one", source="en", target="en").json == {"translatedText": "one"}


def test_a_single_source_is_assumed() -> None:
    with served() as server:
        assert server.post("/detect", q="Hallo").json == [{"confidence": 0.0, "language": "en"}]
        answer = server.translate("hallo", source="auto").json
        assert answer == {"translatedText": "HALLO", "detectedLanguage": {"confidence": 0.0, "language": "en"}}
        assert server.ask("GET", "/frontend/settings").json["language"]["source"]["code"] == "en"


def test_codes_are_read_in_any_form(server: Server) -> None:
    for source, target in (("de", "en"), ("deu", "eng"), ("de_DE", "en-US"), ("zh", "en"), ("zh-Hans", "en")):
        assert server.translate("a", source=source, target=target).json == {"translatedText": "A"}, source
    assert server.translate("a", source="x" * 1000).status == 400


def test_what_a_page_asks_first(server: Server) -> None:
    languages = server.ask("GET", "/languages").json
    assert [each["code"] for each in languages] == ["de", "en", "fr", "zh-Hans"]
    assert languages[3] == {"code": "zh-Hans", "name": "Chinese (Hans)", "targets": ["en"]}
    settings = server.ask("GET", "/frontend/settings").json
    assert settings["charLimit"] == 60
    assert (
        settings["keyRequired"]
        is settings["apiKeys"]
        is settings["suggestions"]
        is settings["filesTranslation"]
        is False
    )
    assert settings["language"]["source"] == {"code": "auto", "name": "Auto Detect"}
    assert settings["language"]["target"]["code"] == "de"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"q": ""}, "Invalid request: missing q parameter"),
        ({"q": []}, "Invalid request: missing q parameter"),
        ({"source": ""}, "Invalid request: missing source parameter"),
        ({"target": None}, "Invalid request: missing target parameter"),
        ({"alternatives": "many"}, "Invalid request: alternatives parameter is not a number"),
        ({"alternatives": {}}, "Invalid request: alternatives parameter is not a number"),
        ({"q": {"a": 1}}, "Invalid request: q must be a text or a list of texts"),
        ({"q": ["a", 1]}, "Invalid request: q must be a text or a list of texts"),
        ({"q": ["a"] * 6}, "Invalid request: request (6) exceeds text limit (5)"),
        ({"q": ["a", "b" * 61]}, "Invalid request: request (61) exceeds text limit (60)"),
        ({"source": "xx"}, "xx is not supported"),
        ({"target": "xx"}, "xx is not supported"),
        ({"format": "xml"}, "xml format is not supported"),
        ({"source": "de", "target": "fr"}, "French (fr) is not available as a target language from German (de)"),
    ],
)
def test_errors_are_those_of_libretranslate(server: Server, values: dict[str, Any], sentence: str) -> None:
    answer = server.translate(**{"q": "a", **values})
    assert (answer.status, answer.json) == (400, {"error": sentence})


def test_other_errors_are_json_too(server: Server) -> None:
    assert server.ask("POST", "/translate", "[1]", JSON).error == "Invalid JSON format"
    assert server.ask("POST", "/translate", "[" * 1500, JSON).error == "Invalid JSON format"
    assert server.ask("POST", "/translate", b"\xff{", JSON).error == "Invalid JSON format"
    assert server.ask("POST", "/translate", "&".join(f"a{i}=" for i in range(21))).error == (
        "Invalid request: more than 20 fields"
    )
    assert server.ask("POST", "/translate", "x", "multipart/form-data").status == 400
    assert server.ask("POST", "/detect", "").error == "Invalid request: missing q parameter"
    assert server.ask("GET", "/nothing").json == {"error": "Not Found"}
    wrong = server.ask("GET", "/translate")
    assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")
    assert server.post("/suggest", q="a").error == "Suggestions are disabled on this server."
    assert server.post("/translate_file").error == "Files translation are disabled on this server."


def test_too_much_is_refused(server: Server) -> None:
    large = server.ask("POST", "/translate", b"q=" + b"a" * 2000)
    assert (large.status, large.error) == (413, "Request entity too large: at most 2000 bytes are accepted")
    chunked = server.ask("POST", "/translate", iter([b"a" * 1500] * 2))  # type: ignore[arg-type]
    assert chunked.status == 413
    lines = server.translate("a\n" * 9)
    assert (lines.status, lines.error) == (413, "Invalid request: at most 8 lines are translated at a time")


def test_halves_of_characters_are_answered(server: Server) -> None:
    body = b'{"q": "a\\ud83d\\ude00 \\ud800", "source": "de", "target": "en", "format": "html"}'
    answer = server.ask("POST", "/translate", body, JSON)
    assert answer.json == {"translatedText": "A\N{GRINNING FACE} \N{REPLACEMENT CHARACTER}"}


VALUES: list[Any] = [
    *(
        None,
        "",
        0,
        -1,
        1.5,
        1e308,
        True,
        [],
        {},
        "en",
        "de",
        "auto",
        "html",
        "a\0b",
        "\ud800",
        "x" * 50,
        ["a", "b"],
        ["a", None],
    ),
    *(
        [["a"]],
        {"a": 1},
        "<p>x",
        "<![",
        "9" * 5000,
        10**30,
        "nan",
        "\u202e",
        "zh_Hans",
        "-",
        "_",
        "@",
        "..",
        "%00",
        "e" * 35,
    ),
]
NAMES = ("q", "source", "target", "format", "alternatives", "api_key", "translation")


def test_any_request_is_answered_or_refused() -> None:
    rng = random.Random(1)
    with served({("en", "de"): Shouter(), ("de", "en"): Shouter()}) as server:
        for _ in range(300):
            values = {name: rng.choice(VALUES) for name in NAMES if rng.random() < 0.8}
            values |= {"source": "en", "target": "de"} if rng.random() < 0.6 else {}
            path = rng.choice(("/translate", "/detect", "/page/translate", "/page/attention"))
            answer = server.post(path, **values)
            assert answer.status in (200, 400), values
            assert answer.json is not None
        for _ in range(200):
            kind = rng.choice((FORM, JSON, "multipart/form-data; boundary=x", "multipart/form-data", "text/plain", ""))
            answer = server.ask("POST", "/translate", rng.randbytes(rng.randrange(60)), kind)
            assert answer.status in (200, 400), kind
        assert server.translate("a").json == {"translatedText": "A"}


def test_what_fails_says_so(said: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with served() as server:
        failed = server.translate("FAIL")
        assert (failed.status, failed.error) == (500, "Cannot translate text: a sentence does not fit")
        broken = server.translate("BREAK")
        assert (broken.status, broken.error) == (500, "Internal server error")
        assert server.translate("a").json == {"translatedText": "A"}
    assert said == ["a request failed"]


def test_two_models_of_a_pair_are_refused() -> None:
    from transformer.serving.batcher import start_batcher
    from transformer.serving.models import Pair

    batcher = start_batcher(Limits())
    twice = [Pair("en", "de", Shouter(), batcher, name) for name in ("one", "two")]
    with pytest.raises(ConfigError, match="one and two both translate en to de; serve one of them"):
        Catalogue(twice)
    assert batcher.close(5)
