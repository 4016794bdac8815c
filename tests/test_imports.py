"""The shape of the package: imports point down, files stay readable, nothing dangerous is used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "transformer"
ROWS = [
    "errors",
    "config durable runtime linear",
    "corpus tokenizer model loss optim search scoring journal",
    "prepare checkpoint",
    "batching card export info",
    "translator",
    "train evaluate",
    "launch",
    "cli",
]
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row.split()}
FILES = sorted(PACKAGE.glob("[!_]*.py"))


def imports(source: str) -> Iterator[str]:
    """Names of our own modules that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "transformer":
            yield from (alias.name for alias in node.names if not alias.name.startswith("_"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("transformer."):
            yield str(node.module).removeprefix("transformer.")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_imports_point_down(path: Path) -> None:
    for name in imports(path.read_text(encoding="utf-8")):
        assert RANK[name] < RANK[path.stem], f"{path.stem} may not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_function_is_a_paragraph(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= 45, f"{path.stem}.{node.name} has {lines} lines"


def test_the_package_can_be_read_in_an_afternoon() -> None:
    """Lines of code, that is without blank lines, comments and docstrings."""
    total = 0
    for path in PACKAGE.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        places = [(is_text(node), node.lineno, node.end_lineno) for node in ast.walk(tree) if isinstance(node, PLACED)]
        prose = {line for text, first, last in places if text for line in range(first, (last or first) + 1)}
        total += len({line for _, first, last in places for line in (first, last)} - prose)
    assert total < 4100


PLACED = (ast.stmt, ast.expr, ast.arg, ast.keyword, ast.excepthandler, ast.alias, ast.pattern)


def is_text(node: ast.AST) -> bool:
    """Whether a node is a docstring, of whatever it stands under."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


DANGER = re.compile(r"\bpickle\b(?!\w)|torch\.load\(|\beval\(|\bexec\(|yaml\.load\(|shell=True|extractall\(")


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_nothing_that_runs_code_from_files(path: Path) -> None:
    code = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if "No pickle" not in line)
    assert not DANGER.search(re.sub(r"\.eval\(\)", "", code))
