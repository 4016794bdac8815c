"""The page in a real browser: it is drawn without an error or a request, can be used, read everywhere, and printed."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.reports import copied, keep, pairs_and_translations

pytest.importorskip("matplotlib", reason="the report needs the extra [report]")

from transformer.config import DecodeConfig
from transformer.evaluation.report.build import build_report

PHONE, WIDE = 360, 1280
SECTIONS = "scores training data breakdown health sentences attention settings reproduce".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def pages(one_run: Any, two_runs: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the pages of one run and of two."""
    folder = tmp_path_factory.mktemp("pages")
    for name, report in {"one": one_run, "two": two_runs}.items():
        (folder / f"{name}.html").write_text(report.html, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in ("one", "two")}


class Watched:
    """A page in the browser, with what went wrong in it."""

    def __init__(
        self, browser: Any, file: Path, width: int = WIDE, scheme: str = "light", scripts: bool = True
    ) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts
        )
        self.page, self.faults = self.context.new_page(), list[str]()
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url, file.as_uri()))
        self.page.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective))"
        )
        self.page.goto(file.as_uri())

    def _note(self, url: str, own: str) -> None:
        if url != own and not url.startswith("data:"):
            self.faults.append(f"request of {url}")

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *_: object) -> None:
        self.context.close()
        assert self.faults == []


@pytest.mark.parametrize("name", ["one", "two"])
def test_pictures_are_there_without_errors_and_requests(browser: Any, pages: dict[str, Path], name: str) -> None:
    with Watched(browser, pages[name]) as page:
        assert [each.get_attribute("id") for each in page.query_selector_all("section[id]")] == SECTIONS
        charts = page.query_selector_all("figure svg.chart")
        assert len(charts) >= 12
        for chart in charts:
            box = chart.bounding_box()
            assert box["width"] > 100
            assert box["height"] > 50
            assert len(chart.query_selector_all("path, rect, use")) > 3
        assert page.evaluate("window.hacked") is None
        assert page.query_selector("b, img, iframe") is None
        for anchor in page.query_selector_all("nav a"):
            assert page.query_selector(anchor.get_attribute("href")) is not None


def lines(page: Any) -> list[str]:
    """Return the numbers of the sentences that the table shows."""
    return [cell.inner_text() for cell in page.query_selector_all("#table tbody tr:not([hidden]) td:first-child")]


def test_sentences_can_be_searched(browser: Any, pages: dict[str, Path]) -> None:
    with Watched(browser, pages["one"]) as page:
        assert len(lines(page)) == 25
        page.click("#more")
        assert len(lines(page)) == 48
        page.fill("#search", "<IMG SRC")
        assert lines(page) == ["1"]
        assert page.inner_text("#found") == "1 of 1 found"
        page.fill("#search", "eins")
        found = page.evaluate("[...document.querySelectorAll('#table tbody tr:not([hidden])')].map(r => r.textContent)")
        assert len(found) > 3
        assert all("eins" in text for text in found)
        page.fill("#search", "nothing has this")
        assert lines(page) == []
        page.fill("#search", "")
        assert lines(page)[:3] == ["1", "2", "3"]


def test_sentences_can_be_sorted_also_with_the_keyboard(browser: Any, pages: dict[str, Path]) -> None:
    with Watched(browser, pages["two"]) as page:
        scores = "[...document.querySelectorAll('#table tbody tr:not([hidden])')].map(r => +r.cells[5].textContent)"
        page.focus("#table thead th:nth-child(6) button")
        page.keyboard.press("Enter")
        assert page.evaluate(scores) == sorted(page.evaluate(scores))
        assert page.get_attribute("#table thead th:nth-child(6)", "aria-sort") == "ascending"
        assert page.input_value("#sort") == "number 5 1"
        page.keyboard.press("Space")
        assert page.evaluate(scores) == sorted(page.evaluate(scores), reverse=True)
        assert page.evaluate(scores)[0] == 100
        page.select_option("#sort", "length 1 -1")
        assert "six six six" in page.inner_text("#table tbody tr:first-child td:nth-child(2)")
        assert page.query_selector("[aria-sort]") is None
        page.click("#table thead th:nth-child(2) button")
        texts = page.evaluate(
            "[...document.querySelectorAll('#table tbody tr')].map(r => r.cells[1].textContent.trim())"
        )
        words = [text for text in texts if text.isascii() and text[:1].isalpha()]
        assert words == sorted(words)


def test_each_layer_and_head_can_be_chosen_and_read(browser: Any, pages: dict[str, Path]) -> None:
    with Watched(browser, pages["two"]) as page:
        data = json.loads(page.inner_text("#attention-data") or page.text_content("#attention-data"))
        assert page.inner_text("#value") == "mean of all layers and heads"
        page.select_option("#which", "1 2")
        page.check("input[value=encoder]")
        page.focus("#heads button[aria-label='layer 2, head 1']")
        page.keyboard.press("Enter")
        assert page.inner_text("#value") == "layer 2, head 1"
        assert page.get_attribute("#heads button[aria-label='layer 2, head 1']", "aria-pressed") == "true"
        page.focus("#map")
        for key in ("ArrowDown", "ArrowDown", "ArrowRight"):  # the first one goes to the first cell
            page.keyboard.press(key)
        chosen = data[1][2]
        weights = np.frombuffer(base64.b64decode(chosen["encoder"]["data"]), np.uint8).reshape(
            chosen["encoder"]["shape"]
        )
        row, column = chosen["source"][1], chosen["source"][1]
        assert page.inner_text("#value") == f"layer 2, head 1: {row} → {column}: {weights[1, 0, 1, 1] / 255:.2f}"
        for kind in ("cross", "decoder"):
            page.focus("input[name=kind]:checked")
            page.check(f"input[value={kind}]")
            cells = page.evaluate("document.querySelectorAll('#map rect').length")
            assert cells > 6
        page.click("#all")
        page.hover("#map rect:nth-of-type(2)")
        assert "mean of all layers and heads: " in page.inner_text("#value")


def test_arrow_keys_choose_the_kind_of_attention(browser: Any, pages: dict[str, Path]) -> None:
    with Watched(browser, pages["one"]) as page:
        page.focus("input[value=cross]")
        before = page.inner_html("#map")
        page.keyboard.press("ArrowDown")
        assert page.is_checked("input[value=decoder]")
        assert page.inner_html("#map") != before
        assert "&lt;s&gt;" in page.inner_html("#map")


OVERFLOW = """() => [...document.querySelectorAll('body *')].filter(each => {
  if (each.closest('.scroll, pre, nav ul, [hidden], .skip')) return false;
  if (each.closest('svg') !== null && each.tagName !== 'svg') return false;
  const box = each.getBoundingClientRect();
  return box.width > 0 && box.right > innerWidth + 0.5;
}).map(each => each.tagName + '.' + each.className)"""


@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("width", [PHONE, WIDE])
def test_nothing_is_wider_than_the_screen(browser: Any, pages: dict[str, Path], name: str, width: int) -> None:
    with Watched(browser, pages[name], width) as page:
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(OVERFLOW) == []
        for box in page.query_selector_all(".scroll"):
            assert box.evaluate("each => each.getBoundingClientRect().width") <= width


CONTRAST = """() => {
  const channel = c => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const parse = text => ({ rgb: numbers(text).slice(0, 3), alpha: numbers(text)[3] ?? 1 });
  const light = rgb => 0.2126 * channel(rgb[0]) + 0.7152 * channel(rgb[1]) + 0.0722 * channel(rgb[2]);
  const behind = node => {
    for (let each = node; each; each = each.parentElement) {
      const color = parse(getComputedStyle(each).backgroundColor);
      if (color.alpha === 1) return color.rgb;
    }
    return [255, 255, 255];
  };
  const bad = [];
  let count = 0;
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some(each => each.nodeType === 3 && each.data.trim());
    if (!own || !node.checkVisibility() || ['SCRIPT', 'STYLE'].includes(node.tagName)) continue;
    const style = getComputedStyle(node), svg = node.namespaceURI.endsWith('svg');
    if (svg && node.classList.contains('blank')) continue;
    const back = behind(svg ? node.closest('svg').parentElement : node);
    const [a, b] = [light(parse(svg ? style.fill : style.color).rgb), light(back)].sort((x, y) => y - x);
    count += 1;
    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(node.tagName + ': ' + node.textContent.slice(0, 30));
  }
  return [count, bad];
}"""


def test_the_table_of_scores_fits_a_screen(browser: Any, plain_run: Path, tmp_path: Path) -> None:
    """Of two runs, with four metrics, plain weights, and an ensemble in folders far away."""
    runs = [copied(plain_run, tmp_path / name) for name in ("baseline", "with-dropout")]
    for run in runs:
        decode = vars(DecodeConfig())
        for values in (
            {"checkpoint": {"name": "step-00000008", "sha256": "0", "weights": "plain"}},
            {"decode": {**decode, "beam": 8, "length_penalty": 1.5, "mbr_samples": 16, "temperature": 0.6}},
            {"decode": {**decode, "ensemble": [f"/far/away/m/checkpoints/step-0000{i}000" for i in range(4)]}},
        ):
            keep(run, *pairs_and_translations(8), **values)
        for file in (run / "evaluations").glob("*.json"):
            kept = json.loads(file.read_text())
            file.write_text(json.dumps({**kept, "chrf++": kept["chrf"], "ter": kept["bleu"]}))
    page = tmp_path / "page.html"
    page.write_text(build_report(runs, attention=0).html, encoding="utf-8")
    with Watched(browser, page) as opened:
        widths = opened.evaluate(
            "[...document.querySelectorAll('#scores .scroll')].map(e => [e.scrollWidth, e.clientWidth])"
        )
        assert len(widths) == 2
        assert all(inner <= outer for inner, outer in widths), widths


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser: Any, pages: dict[str, Path], scheme: str) -> None:
    """At least 4.5 to 1 (WCAG 2.2, 1.4.3), also in charts."""
    with Watched(browser, pages["two"], scheme=scheme) as page:
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        count, bad = page.evaluate(CONTRAST)
        assert count > 300
        assert bad == []
        page.fill("#search", "eins")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (dark == "rgb(13, 17, 23)") is (scheme == "dark")


def test_it_can_be_printed(browser: Any, pages: dict[str, Path]) -> None:
    with Watched(browser, pages["two"], scheme="dark") as page:
        assert page.pdf()[:5] == b"%PDF-"
        page.emulate_media(media="print", color_scheme="dark")
        for hidden in ("nav", "#explorer", "#tools", "#more"):
            assert not page.is_visible(hidden)
        assert page.is_visible(".alignments svg")
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(31, 35, 40)"
        assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.query_selector("details:not([open])") is None
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.query_selector("details:not([open])") is not None


def test_without_scripts_everything_but_the_tools_is_there(browser: Any, pages: dict[str, Path]) -> None:
    with Watched(browser, pages["one"], scripts=False) as page:
        assert page.locator("#table tbody tr").count() == 48
        assert page.locator("#table tbody tr >> visible=true").count() == 48
        assert not page.locator("#tools").is_visible()
        assert page.locator(".alignments svg >> visible=true").count() == 6
