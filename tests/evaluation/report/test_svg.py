"""Charts become elements of a page that allows no styles, and are the same each time."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib", reason="charts need the extra [report]")

from transformer.evaluation.report import charts, svg  # noqa: E402
from transformer.evaluation.report.style import DARK, PALETTE, matplotlib  # noqa: E402


def figure(label: str = "loss") -> Any:
    lines = [charts.Line(label, [(1, 3.0), (2, 2.0)], 0), charts.Line("b", [(1, 2.0), (2, 2.5)], 1, dashed=True)]
    return charts.curves(label, lines, [charts.Mark(2, "skipped")])


def test_an_inline_chart_has_no_styles_no_doctype_and_no_fixed_size() -> None:
    text = svg.inline(figure(), "one", "Loss", "from 3 to 2")
    root = ElementTree.fromstring(text)
    for node in root.iter():
        assert "style" not in node.attrib
        assert not node.tag.endswith(("style", "script", "metadata"))
        assert not any(name.startswith("on") for name in node.attrib)
    assert "<!DOCTYPE" not in text
    assert "xmlns" not in text
    assert (root.get("role"), root.get("aria-label")) == ("img", "Loss. from 3 to 2")
    assert root.get("width") is None
    assert "matplotlib" not in text


def test_colours_are_classes() -> None:
    text = svg.inline(figure(), "one", "Loss", "")
    assert {"s-c0", "s-c1", "s-grid", "f-ink"} <= set(re.findall(r"[fs]-\w+", text))
    assert not re.findall(r'"#[0-9a-f]{6}"', text)


def test_ids_of_two_charts_differ_and_references_hold() -> None:
    one, two = (svg.inline(figure(), name, "Loss", "") for name in ("one", "two"))
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for text, own in zip((one, two), ids, strict=True):
        assert {a or b for a, b in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)} == own


def test_the_same_figure_gives_the_same_bytes() -> None:
    assert svg.inline(figure(), "one", "Loss", "") == svg.inline(figure(), "one", "Loss", "")
    for kind in ("svg", "png"):
        assert svg.as_bytes(figure(), kind) == svg.as_bytes(figure(), kind)


@pytest.mark.parametrize("name", ["$x_1$", "_hidden", "</script><b>&amp;", "中文 שלום", "\\alpha^2", "$"])
def test_any_name_is_a_label_and_no_markup(name: str) -> None:
    text = svg.inline(figure(name), "one", name, "")
    words = "".join(ElementTree.fromstring(text).itertext())
    assert name in words


def test_lines_without_points_and_flat_or_endless_ones_can_be_drawn() -> None:
    charts.curves("x", [charts.Line("a", [], 0)], [])
    charts.curves("x", [charts.Line("a", [(3, 0.0)], 0), charts.Line("a", [(3, 1e90)], 0)], [], log_scale=True)
    charts.bars(["a"], [("x", [None])], "chrF")


def test_the_users_settings_of_matplotlib_do_not_matter() -> None:
    before = svg.inline(figure(), "one", "Loss", "")
    with matplotlib().rc_context({"axes.facecolor": "#123456", "font.size": 33, "svg.fonttype": "path"}):
        assert svg.inline(figure(), "one", "Loss", "") == before


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours by WCAG 2.2."""

    def light(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_colours_of_runs_have_contrast() -> None:
    assert len(PALETTE) == len(DARK) == len({*PALETTE}) == len({*DARK})
    assert min(contrast(color, "#ffffff") for color in PALETTE) >= 4.5
    assert min(contrast(color, "#161b22") for color in DARK) >= 4.5
