"""The page in a real browser: with the mouse, with the keyboard only, on a phone, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.served import Server, Shouter, engine_of, served

from transformer.decoding.translator import Translator
from transformer.serving.limits import Limits

PHONE, WIDE = 360, 1280
STRANGE = "<b>seven</b> & <script>hacked = 1</script>"


@pytest.fixture(scope="module")
def server(translator: Translator) -> Iterator[Server]:
    """Return a server of one pair."""
    with served({("en", "de"): engine_of(translator)}, Limits(characters=2000)) as started:
        yield started


class Watched:
    """The page in the browser, with what went wrong in it."""

    def __init__(
        self, browser: Any, server: Server, width: int = WIDE, scheme: str = "light", faults: bool = False
    ) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page, self.faults, self.allowed = self.context.new_page(), list[str](), faults
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url, server.url))
        self.page.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective))"
        )
        self.page.set_default_timeout(15_000)
        self.page.goto(server.url)
        self.page.wait_for_selector("#target option", state="attached")

    def _note(self, url: str, own: str) -> None:
        if not url.startswith((f"{own}/", f"blob:{own}/")):
            self.faults.append(f"request of {url}")

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *_: object) -> None:
        self.context.close()
        assert self.allowed or self.faults == []


def wait_for(page: Any, selector: str, text: str) -> None:
    """Wait until an element has a text."""
    page.wait_for_function("([s, t]) => document.querySelector(s)?.textContent === t", arg=[selector, text])


def texts(page: Any, selector: str) -> list[str]:
    return [each.text_content() for each in page.query_selector_all(selector)]


def test_the_translation_appears_as_one_types(browser: Any, server: Server) -> None:
    with Watched(browser, server) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.type("#text", "seven two", delay=10)
        wait_for(page, "#lines li button", "zwei sieben")
        assert sum(url.endswith("/page/translate") for url in asked) == 1
        page.press("#text", "End")
        page.type("#text", "\n\nthree")
        wait_for(page, "#lines li:nth-child(3)", "drei")
        assert texts(page, "#lines li") == ["zwei sieben", "", "drei"]
        page.fill("#text", "")
        page.wait_for_selector("#lines button", state="detached")
        assert not page.is_visible("#details")


def test_alternatives_with_scores_can_be_chosen(browser: Any, server: Server) -> None:
    with Watched(browser, server) as page:
        page.fill("#text", "seven two\nthree")
        wait_for(page, "#lines li:nth-child(2)", "drei")
        page.click("#lines li:nth-child(1) button")
        ways = texts(page, "#ways td:first-child")
        scores = [float(score) for score in texts(page, "#ways td:last-child")]
        assert ways[0] == "zwei sieben"
        assert len(set(ways)) == len(ways) == 4
        assert scores == sorted(scores, reverse=True)
        page.click("#ways tr:nth-child(2) button")
        assert texts(page, "#lines li") == [ways[1], "drei"]
        assert page.get_attribute("#ways tr:nth-child(2) button", "aria-pressed") == "true"


def test_hovering_shows_what_the_model_looks_at(browser: Any, server: Server) -> None:
    with Watched(browser, server) as page:
        page.fill("#text", "one two three four")
        page.wait_for_selector("#target-words button:nth-child(4)")
        assert texts(page, "#source-words button") == ["one", "two", "three", "four"]
        assert texts(page, "#target-words button") == ["vier", "drei", "zwei", "eins"]
        weights = "[...document.querySelectorAll('#%s-words button')].map(e => +e.style.getPropertyValue('--weight'))"
        page.hover("#target-words button:nth-child(1)")
        found = page.evaluate(weights % "source")
        assert 0.2 < sum(found) <= 1.01
        best = ["one", "two", "three", "four"][found.index(max(found))]
        assert page.inner_text("#value").startswith(f"vier ← {best} {max(found):.2f}, ")
        colors = page.evaluate(
            "[...document.querySelectorAll('#source-words button')].map(e => getComputedStyle(e).backgroundColor)"
        )
        assert len(set(colors)) > 1
        page.hover("#source-words button:nth-child(2)")
        assert page.inner_text("#value").startswith("two → ")
        assert sum(page.evaluate(weights % "target")) > 0
        assert sum(page.evaluate(weights % "source")) == 0


def test_everything_works_with_the_keyboard_alone(browser: Any, server: Server) -> None:
    with Watched(browser, server, faults=True) as page:
        focused = "document.activeElement.id || document.activeElement.textContent"

        def tab_to(wanted: str) -> None:
            for _ in range(12):
                page.keyboard.press("Tab")
                if page.evaluate(focused) == wanted:
                    return
            raise AssertionError(f"{wanted} is not reached")

        tab_to("text")
        page.keyboard.type("seven two\nthree")
        wait_for(page, "#lines li:nth-child(2)", "drei")
        tab_to("drei")
        page.keyboard.press("Enter")
        assert page.get_attribute("#lines li:nth-child(2) button", "aria-pressed") == "true"
        page.wait_for_selector("#target-words button")
        ways = texts(page, "#ways td:first-child")
        tab_to(ways[1])
        page.keyboard.press("Space")
        assert page.evaluate(focused) == ways[1]
        assert texts(page, "#lines li")[1] == ways[1]
        page.fill("#text", "one two three")
        page.wait_for_selector("#target-words button:nth-child(3)")
        page.focus("#source-words button")
        for key, word in (
            ("ArrowRight", "two"),
            ("End", "three"),
            ("ArrowDown", "eins"),
            ("ArrowLeft", "zwei"),
            ("Home", "drei"),
            ("ArrowUp", "one"),
        ):
            page.keyboard.press(key)
            assert page.evaluate(focused) == word
            assert page.inner_text("#value").startswith(word)
        tab_to("file")


def test_a_file_goes_in_and_comes_out(browser: Any, server: Server, tmp_path: Path) -> None:
    lines = ["seven two", "", "three", *["four five"] * 120, "nine"]
    with Watched(browser, server) as page:
        content = "\ufeff" + "\r\n".join(lines) + "\r\n"
        page.set_input_files("#file", {"name": "a.b.txt", "mimeType": "text/plain", "buffer": content.encode()})
        page.wait_for_selector("#download:not([hidden])")
        assert page.inner_text("#file-status") == "124 lines are translated."
        with page.expect_download() as download:
            page.click("#download")
        assert download.value.suggested_filename == "a.b.de.txt"
        download.value.save_as(tmp_path / "out.txt")
        out = (tmp_path / "out.txt").read_text(encoding="utf-8")
        assert out == "\n".join(["zwei sieben", "", "drei", *["fünf vier"] * 120, "neun", ""])
        page.set_input_files("#file", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"a\n" + b"b" * 2001})
        wait_for(page, "#file-status", "Line 2 has more than 2000 characters.")
        assert not page.is_visible("#download")


def test_a_file_can_be_stopped(browser: Any) -> None:
    engine = Shouter()
    with served({("en", "de"): engine}) as server, Watched(browser, server) as page:
        engine.free.clear()
        page.set_input_files("#file", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"a\nb"})
        page.click("#stop")
        wait_for(page, "#file-status", "Stopped.")
        assert not page.is_visible("#progress")
        engine.free.set()


def test_text_is_never_markup(browser: Any) -> None:
    with served({("en", "de"): Shouter()}) as server, Watched(browser, server, faults=True) as page:
        page.fill("#text", STRANGE)
        wait_for(page, "#lines li", STRANGE.upper())
        assert page.evaluate("window.hacked") is None
        assert page.query_selector("main b") is None
        wait_for(page, "#value", "Invalid request: this model cannot show its attention")


def test_languages_are_chosen_swapped_and_detected(browser: Any) -> None:
    engines = {("en", "de"): Shouter(), ("de", "en"): Shouter(), ("en", "fr"): Shouter()}
    with served(engines) as server, Watched(browser, server, faults=True) as page:
        assert texts(page, "#source option") == ["Detect language", "German", "English"]
        page.fill("#text", "Wo ist denn bitte der nächste Bahnhof?")
        page.select_option("#target", "en")
        wait_for(page, "#lines li", "WO IST DENN BITTE DER NÄCHSTE BAHNHOF?")
        assert page.inner_text("#status").startswith("Detected: German (")
        assert page.is_disabled("#swap")
        page.select_option("#source", "en")
        assert texts(page, "#target option") == ["German", "French"]
        page.select_option("#target", "fr")
        assert page.is_disabled("#swap")
        page.select_option("#target", "de")
        page.click("#swap")
        assert (page.input_value("#source"), page.input_value("#target")) == ("de", "en")
        assert page.input_value("#text") == "WO IST DENN BITTE DER NÄCHSTE BAHNHOF?"


def test_a_busy_server_is_asked_again_and_a_refusal_is_shown(browser: Any) -> None:
    key = "a-key-of-some-length"
    with (
        served({("en", "de"): Shouter()}, Limits(requests=60), keys=[key]) as server,
        Watched(browser, server, faults=True) as page,
    ):
        page.fill("#text", "a")
        wait_for(page, "#status.error", "Please contact the server operator to get an API key")
        page.fill("#key", key)
        page.keyboard.press("Tab")
        wait_for(page, "#lines li", "A")
        for _ in range(60):
            server.translate("x", api_key=key)
        page.fill("#text", "b")
        wait_for(page, "#lines li", "B")
        page.fill("#text", "c" * 10_001)
        wait_for(page, "#status.error", "Line 1 has more than 10000 characters.")


OVERFLOW = """() => [...document.querySelectorAll('body *')].filter(each => {
  const box = each.getBoundingClientRect();
  return box.width > 0 && box.right > innerWidth + 0.5;
}).map(each => each.tagName + '#' + each.id)"""

CONTRAST = """() => {
  const channel = c => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const light = rgb => 0.2126 * channel(rgb[0]) + 0.7152 * channel(rgb[1]) + 0.0722 * channel(rgb[2]);
  const painted = colors => {
    canvas.clearRect(0, 0, 1, 1);
    for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const behind = node => {
    const colors = [];
    for (let each = node; each; each = each.parentElement) colors.unshift(getComputedStyle(each).backgroundColor);
    return ['white', ...colors];
  };
  const bad = [];
  let count = 0;
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some(each => each.nodeType === 3 && each.data.trim());
    if (!own || !node.checkVisibility() || node.tagName === 'NOSCRIPT') continue;
    const back = behind(node);
    const [a, b] = [painted([...back, getComputedStyle(node).color]), painted(back)].map(light).sort((x, y) => y - x);
    count += 1;
    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(node.tagName + ': ' + node.textContent.slice(0, 30));
  }
  return [count, bad];
}"""


@pytest.mark.parametrize("width", [PHONE, WIDE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_on_every_screen(browser: Any, server: Server, width: int, scheme: str) -> None:
    with Watched(browser, server, width, scheme) as page:
        page.fill("#text", f"one two three four five\n{'seven' * 30}\n{STRANGE}")
        page.wait_for_selector("#lines li:nth-child(3) button")
        page.click("#lines li:nth-child(1) button")
        page.wait_for_selector("#target-words button:nth-child(5)")
        page.evaluate("for (const e of document.querySelectorAll('.words button')) e.style.setProperty('--weight', 1)")
        count, bad = page.evaluate(CONTRAST)
        assert count > 30
        assert bad == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(OVERFLOW) == []
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
        controls = "[...document.querySelectorAll('button, select, input, textarea')]"
        assert page.evaluate(f"{controls}.every(each => each.labels.length || each.textContent || each.ariaLabel)")
