"""The structure of the package: folders form rows, imports point down, files and functions stay short."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "transformer"
ROWS = [
    "errors file_system config data_config augment_config config_file yaml_nodes atomic paths languages",
    "system",
    "data model",
    "runs",
    "decoding",
    "evaluation",
    "synthesis",
    "training interchange",
    "serving",
    "api",
    "cli",
]
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row.split()}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or not path.name.startswith("_"))
MOST_LINES, MOST_METHODS, MOST_FUNCTION = 250, 15, 40


def module(path: Path) -> str:
    """Return a file's dotted name below the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path) for path in FILES}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of this package that a file imports anywhere, except for type checking."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node in typing_only:
            continue
        name = node.module or ""
        if name == "transformer" or name.startswith("transformer."):
            base = name.removeprefix("transformer").removeprefix(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".removeprefix(".")
                if full in MODULES:
                    yield full
                elif base:
                    yield base


@pytest.mark.parametrize("path", FILES, ids=module)
def test_imports_point_down(path: Path) -> None:
    row, own = module(path).split(".")[0], module(path)
    for name in imports(path):
        other = name.split(".")[0]
        if other == row or (RANK[other] == 0 and RANK[row] == 0):
            continue
        assert RANK[other] < RANK[row], f"{own} may not import {name}"


def test_no_circle_between_files() -> None:
    edges = {module(path): set(imports(path)) - {module(path)} for path in FILES}
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name not in done:
            for other in edges.get(name, ()):
                visit(other, [*trail, name])
            done.add(name)

    for name in edges:
        visit(name, [])


@pytest.mark.parametrize("path", FILES, ids=module)
def test_functions_and_classes_stay_small(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= MOST_FUNCTION, f"{module(path)}.{node.name} has {lines} lines"
        elif isinstance(node, ast.ClassDef):
            methods = sum(isinstance(each, ast.FunctionDef) for each in node.body)
            assert methods <= MOST_METHODS, f"{module(path)}.{node.name} has {methods} methods"


@pytest.mark.parametrize("path", [*FILES, *sorted(PACKAGE.rglob("*.[ch]"))], ids=lambda path: path.name)
def test_files_stay_short(path: Path) -> None:
    """Count lines of code, without blank lines, comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    lines = count_python(text) if path.suffix == ".py" else count_c(text)
    assert lines <= MOST_LINES, f"{path.name} has {lines} lines of code"


PLACED = (ast.stmt, ast.expr, ast.arg, ast.keyword, ast.excepthandler, ast.alias, ast.pattern)


def count_python(text: str) -> int:
    tree = ast.parse(text)
    places = [(is_text(node), node.lineno, node.end_lineno) for node in ast.walk(tree) if isinstance(node, PLACED)]
    prose = {line for text, first, last in places if text for line in range(first, (last or first) + 1)}
    return len({line for _, first, last in places for line in (first, last)} - prose)


def count_c(text: str) -> int:
    return sum(1 for line in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).splitlines() if line.strip())


def is_text(node: ast.AST) -> bool:
    """Return whether a node is a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


DANGER = re.compile(
    r"\bpickle\b(?!\w)|torch\.load\((?!.*weights_only=True)|\beval\(|\bexec\(|yaml\.load\(|shell=True|extractall\("
)


@pytest.mark.parametrize("path", FILES, ids=module)
def test_nothing_runs_code_from_files(path: Path) -> None:
    code = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if "No pickle" not in line)
    assert not DANGER.search(re.sub(r"\.eval\(\)", "", code))


LEGEND = {
    "B": "sentences",
    "C": "candidates",
    "D": "model width",
    "E": "width of a head",
    "H": "heads",
    "J": "dropouts",
    "K": "hypotheses of a sentence",
    "L": "positions",
    "N": "target tokens",
    "P": "places in the KV cache",
    "R": "rows",
    "S": "source positions",
    "T": "target positions",
    "V": "vocabulary",
}


@pytest.mark.parametrize("path", FILES, ids=module)
def test_shape_letters_mean_one_thing_everywhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    legend = re.search(
        r"(?:Shape letters|Letters): (.*?)\.(?:\n|$)", ast.get_docstring(ast.parse(text)) or "", re.DOTALL
    )
    plain = re.sub(r"\([^)]*\)", "", " ".join(legend[1].split())) if legend else ""
    named = dict(part.strip().split(" ", 1) for part in plain.split(",") if part.strip())
    for letter, meaning in named.items():
        assert letter in LEGEND, f"{letter} is not in the legend"
        assert meaning.strip().startswith(LEGEND[letter]), f"{letter} is {LEGEND[letter]}, not {meaning}"
    tree = ast.walk(ast.parse(text))
    names = [
        node.id if isinstance(node, ast.Name) else node.arg for node in tree if isinstance(node, (ast.Name, ast.arg))
    ]
    suffixes = [found[1] for name in names if (found := re.fullmatch(r"[a-z][a-z0-9_]*_([A-Z0-9]+)", name))]
    used = {letter for letter in "".join(suffixes) if letter.isalpha()}
    assert used <= named.keys(), f"shape letters without a legend: {sorted(used - named.keys())}"
