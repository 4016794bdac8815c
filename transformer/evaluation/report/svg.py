"""matplotlib's SVG, made fit for a page with a strict policy: no styles, no scripts, colours of the page."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from transformer.evaluation.report.style import NAMES, quiet, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
DROPPED = {"font-family", "stroke-linejoin", "stroke-linecap"}
"""Properties that the style sheet of the page sets."""


class Svg(str):
    """A picture that this file has made: the only markup in a page besides its templates."""

    __slots__ = ()


def as_bytes(figure: Figure, kind: str) -> bytes:
    """Return a figure as a `svg` or `png` file. The same figure gives the same bytes."""
    stream = io.BytesIO()
    with style(), quiet():
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(stream, format=kind, metadata=metadata, dpi=200)
    return stream.getvalue()


def inline(figure: Figure, name: str, title: str, summary: str) -> Svg:
    """Return a figure as an element of a page. `name` makes its ids differ from those of other figures.

    `title` and `summary` say to those who cannot see it what it shows.
    """
    source = re.sub(r"<!DOCTYPE.*?>", "", as_bytes(figure, "svg").decode(), count=1, flags=re.DOTALL)
    root = ElementTree.fromstring(source)  # noqa: S314  # matplotlib has written it
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    used = {reference for node in root.iter() for value in node.attrib.values() for reference in _references(value)}
    for node in root.iter():
        _tidy(node, name, used)
    view = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib |= {"viewBox": view, "class": "chart", "role": "img", "aria-label": f"{title}. {summary}"}
    ElementTree.register_namespace("", SVG)
    text = ElementTree.tostring(_without_empty(root), encoding="unicode")
    return Svg(text.replace(f' xmlns="{SVG}"', "", 1))


def _references(value: str) -> list[str]:
    return [link or url for link, url in re.findall(r"^#(.+)|url\(#(.+?)\)", value)]


def _tidy(node: ElementTree.Element, name: str, used: set[str]) -> None:
    """Turn styles into attributes and classes, keep only ids that are referred to, and shorten numbers."""
    _style_to_attributes(node)
    if (link := node.attrib.pop(f"{{{XLINK}}}href", None)) is not None:
        node.set("href", link)
    if node.get("id") not in used:
        node.attrib.pop("id", None)
    for key, value in node.attrib.items():
        if key in ("id", "href", "clip-path"):
            node.set(key, re.sub(r"^(#|url\(#)?", rf"\g<1>{name}-", value))
        elif key in ("d", "x", "y", "transform", "points"):
            node.set(key, " ".join(re.sub(r"\d+\.\d+", _short, value).split()))
    if node.get("transform", "").startswith("rotate(-0 "):
        del node.attrib["transform"]
    node.tail = None
    node.text = node.text if (node.text or "").strip() else None


def _style_to_attributes(node: ElementTree.Element) -> None:
    classes = []
    for declaration in filter(None, node.attrib.pop("style", "").split(";")):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key in ("fill", "stroke") and (kind := NAMES.get(value)):
            classes.append(f"{key[0]}-{kind}")
        elif key not in DROPPED:
            node.set(key, value.removesuffix("px"))
    if classes:
        node.set("class", " ".join(classes))


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _without_empty(root: ElementTree.Element) -> ElementTree.Element:
    """Return the tree without groups that have no attributes."""
    for parent in list(root.iter())[::-1]:
        children: list[ElementTree.Element] = []
        for child in parent:
            children += list(child) if child.tag == f"{{{SVG}}}g" and not child.attrib else [child]
        parent[:] = children
    return root
