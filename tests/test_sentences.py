"""Every error message of the package occurs in a test."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from transformer import errors

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "transformer"
KINDS = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
RUN = 3
"""Consecutive words of a message that a test must contain, if the message has as many between two values."""


class Sentence(NamedTuple):
    """The message of an error in the code."""

    place: str
    parts: tuple[tuple[str, ...], ...]
    """The words between the interpolated values."""

    def runs(self) -> set[tuple[str, ...]]:
        """Return the runs of words that identify the message: those of three words, else the longest."""
        longest = max(map(len, self.parts))
        size = min(RUN, longest)
        return {part[i : i + size] for part in self.parts for i in range(len(part) - size + 1)}


def words(text: str) -> tuple[str, ...]:
    """Return the words of a text, ignoring the backslashes of regular expressions."""
    return tuple(re.findall(r"[\w'`.-]*\w", text.replace("\\", "").lower()))


def literals(node: ast.expr) -> Iterator[str]:
    """Yield the literal parts of a message."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            if isinstance(part, ast.Constant):
                yield str(part.value)
    elif isinstance(node, ast.BinOp):
        yield from literals(node.left)
        yield from literals(node.right)
    elif isinstance(node, ast.IfExp):
        yield from literals(node.body)
        yield from literals(node.orelse)


def makers(trees: dict[str, ast.Module]) -> set[str]:
    """Return the names of error classes, and of functions that return an error."""
    functions = (node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return KINDS | {each.name for each in functions if isinstance(each.returns, ast.Name) and each.returns.id in KINDS}


def messages(tree: ast.Module, names: set[str]) -> Iterator[tuple[int, list[ast.expr]]]:
    """Yield the line and arguments of each error that is created, and each error text that a function returns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in names:
                yield node.lineno, node.args
        elif isinstance(node, ast.FunctionDef) and node.returns and ast.unparse(node.returns) == "str | None":
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and inner.value is not None:
                    yield inner.lineno, [inner.value]


def sentences() -> list[Sentence]:
    """Return the messages of all errors of the package."""
    paths = sorted(PACKAGE.rglob("*.py"))
    trees = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    names, found = makers(trees), []
    for place, tree in trees.items():
        for line, arguments in messages(tree, names):
            if parts := tuple(each for arg in arguments for text in literals(arg) if (each := words(text))):
                found.append(Sentence(f"{place}:{line}", parts))
    return found


def spelled() -> set[tuple[str, ...]]:
    """Return the runs of up to three words in all strings of the tests, except docstrings."""
    runs: set[tuple[str, ...]] = set()
    for path in TESTS.rglob("*.py"):
        if path == Path(__file__):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                each = words(node.value)
                runs |= {each[i : i + size] for size in range(1, RUN + 1) for i in range(len(each) - size + 1)}
    return runs


def test_every_error_sentence_is_spelled_by_a_test() -> None:
    found, tested = sentences(), spelled()
    assert len(found) > 100
    shared = Counter(run for each in found for run in each.runs())
    missing = []
    for each in found:
        own = {run for run in each.runs() if shared[run] == 1} or each.runs()  # runs that no other message has
        if not own & tested:
            missing.append(f"{each.place}: {' … '.join(' '.join(part) for part in each.parts)}")
    assert not missing, f"{len(missing)} messages of {len(found)} that no test contains:\n" + "\n".join(missing)
