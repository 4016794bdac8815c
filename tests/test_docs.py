"""The documentation matches the program."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from transformer import config_file
from transformer.config import ModelConfig

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_loads(path: Path) -> None:
    assert config_file.load(path).data.train


def test_wmt_configurations_match_the_paper() -> None:
    base, big = (config_file.load(ROOT / "configs" / f"wmt14_en_de_{size}.yaml") for size in ("base", "big"))
    assert base.model == ModelConfig()
    assert (big.model.width, big.model.heads, big.model.feed_forward, big.model.dropout) == (1024, 16, 4096, 0.3)
    assert (base.train.max_steps, big.train.max_steps) == (100_000, 300_000)
    assert (base.train.average_last, big.train.average_last) == (5, 20)


def test_the_reference_is_current() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "config_reference.py"))["reference"]()
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == page, "run: make docs"


def test_files_that_the_readme_names_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / link).exists(), link
    for path in re.findall(r"\b(?:configs|scripts|docs)/[\w./-]+\.(?:yaml|py|md)", text):
        assert (ROOT / path).exists(), path
    for command in re.findall(r"^make (\w+)", text, re.MULTILINE):
        assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command


def test_no_placeholder_is_left() -> None:
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        assert "@@" not in path.read_text(encoding="utf-8"), path


def test_the_architecture_page_names_what_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "transformer"
    files = set(re.findall(r"`((?:\w+/)*\w+\.(?:py|c|h))`", text))
    for name in files:
        assert (package / name).exists() or any(ROOT.glob(f"tests/**/{name}")), name
    sources = {path: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    for path, symbols in re.findall(r"`((?:\w+/)+\w+\.py)`, ((?:`[\w.]+`(?:, | and )?)+)", text):
        for symbol in re.findall(r"`([\w.]+)`", symbols):
            assert re.search(rf"\b{symbol.split('.')[-1]}\b", sources[package / path]), f"{path}: {symbol}"


def test_the_architecture_page_has_the_legend_of_shape_letters() -> None:
    from test_layout import LEGEND

    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    legend = dict(re.findall(r"^\| ([A-Z]) \| (.*?) \|$", text, re.MULTILINE))
    assert legend.keys() == LEGEND.keys()
    for letter, meaning in LEGEND.items():
        assert legend[letter].startswith(meaning), letter
