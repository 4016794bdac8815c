"""The page: templates and assets to one HTML file that may load nothing and run only its own script."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformer import __version__
from transformer.errors import ConfigError
from transformer.evaluation.report.style import DARK, PALETTE
from transformer.evaluation.report.svg import Svg
from transformer.evaluation.report.text import printable, printable_tree

ASSETS = Path(__file__).parent / "assets"
DOCTYPE = b"<!doctype html>"
GENERATOR = b'<meta name="generator" content="transformer '
HEAD = 4096
"""Bytes in which a page says what made it."""


def render(content: Mapping[str, Any]) -> str:
    """Return the page. All texts in `content` are made printable and escaped; only `Svg` is markup.

    Raises ConfigError if Jinja is not installed.
    """
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError:
        raise ConfigError(
            "the report needs the package jinja2: pip install 'transformer-translation[report]'"
        ) from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    css, js = _colors() + _asset("page.css"), _asset("page.js")
    return environment.get_template("page.html").render(
        **_with_markup(content, Markup),
        css=Markup(css),  # noqa: S704  # ours, like the script
        js=Markup(js),  # noqa: S704
        attention_json=Markup(_script_json(content["attention_data"])),  # noqa: S704  # has no `<`
        policy=_policy(css, js),
        version=__version__,
        colors=len(PALETTE),
    )


def is_page(path: Path) -> bool:
    """Return whether a file is a report, by how it begins. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    return head.startswith(DOCTYPE) and GENERATOR in head.partition(b"<style>")[0]


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _colors() -> str:
    """Return the part of the style sheet that has the colours of the runs."""
    light, dark = ("".join(f" --c{i}: {color};" for i, color in enumerate(each)) for each in (PALETTE, DARK))
    classes = "".join(
        f".f-c{i} {{ fill: var(--c{i}); }} .s-c{i} {{ stroke: var(--c{i}); }} .b-c{i} {{ background: var(--c{i}); }}\n"
        for i in range(len(PALETTE))
    )
    return f":root {{{light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{{dark} }} }}\n{classes}"


def _policy(css: str, js: str) -> str:
    """Return the content security policy: nothing but this style sheet, this script, and images in the page."""
    style, script = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (css, js))
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _script_json(value: Any) -> str:
    """Return JSON that cannot end the element `script`, in ASCII."""
    return json.dumps(printable_tree(value), separators=(",", ":")).replace("<", "\\u003c")


def _with_markup(value: Any, markup: type[Any]) -> Any:
    """Return the content with its pictures marked as markup. Nothing else is, whatever a stranger's data is called."""
    if isinstance(value, Svg):
        return markup(value)
    if isinstance(value, Mapping):
        return {key: _with_markup(each, markup) for key, each in value.items()}
    if type(value) in (list, tuple):  # not a named one
        return [_with_markup(each, markup) for each in value]
    return value
