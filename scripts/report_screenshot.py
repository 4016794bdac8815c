"""Makes `docs/report.png`: two views of the report of a run, in a headless chromium.

    python scripts/report_screenshot.py RUN [RUN ...] -o docs/report.png

It needs the extras [report] and [dev], and the program chromium.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

from transformer.evaluation.report.build import build_report

WIDTH, HEIGHT = 860, 1330
VIEWS = (("light", "body"), ("dark", "#attention"))
"""Colour scheme, and what is at the top."""


def main() -> None:
    """Build the page, take pictures of it, and put them side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("-o", dest="output", type=Path, default=Path("docs/report.png"), metavar="FILE")
    parser.add_argument("--sentence", type=int, action="append", default=[], metavar="N")
    args = parser.parse_args()
    report = build_report(args.runs, lines=args.sentence)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        page.write_text(report.html, encoding="utf-8")
        views = screenshots(page)
    args.output.write_bytes(side_by_side(views))
    print(f"{args.output}: {args.output.stat().st_size:,} bytes")


def screenshots(page: Path) -> list[bytes]:
    """Return a picture of each view, as PNG."""
    from playwright.sync_api import sync_playwright

    taken = []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme, top in VIEWS:
            context = browser.new_context(
                viewport={"width": WIDTH, "height": HEIGHT},
                color_scheme="dark" if scheme == "dark" else "light",
            )
            tab = context.new_page()
            tab.goto(page.as_uri())
            tab.evaluate("top => scrollTo(0, document.querySelector(top).getBoundingClientRect().top - 60)", top)
            taken.append(tab.screenshot())
        browser.close()
    return taken


def side_by_side(views: list[bytes]) -> bytes:
    """Return one picture, as PNG."""
    from PIL import Image

    images: list[Any] = [Image.open(io.BytesIO(view)) for view in views]
    whole = Image.new("RGB", (sum(image.width for image in images), images[0].height))
    left = 0
    for image in images:
        whole.paste(image, (left, 0))
        left += image.width
    stream = io.BytesIO()
    few = whole.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)  # rare colours stay
    few.save(stream, "PNG", optimize=True)
    return stream.getvalue()


if __name__ == "__main__":
    main()
