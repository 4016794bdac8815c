"""Reads a configuration from YAML and `KEY=VALUE`, names each mistake with its place, and writes it back.

A scalar is read by the type of its field, not by YAML's guesses: `1e-4` is a float wherever a float is wanted, and
the language code `no` stays text.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import logging
import math
import os
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from transformer.config import Config, contradiction
from transformer.data_config import CorpusConfig, File
from transformer.errors import ConfigError
from transformer.yaml_nodes import COMMAND_LINE, parse

LARGEST_FILE = 1 << 20
"""Size in bytes above which a configuration file is refused."""
RENAMED = {"train.rate": "train.schedule", "train.best": "train.select_by"}
"""Settings of version 0.1 and their current names. The old names are still accepted."""

log = logging.getLogger(__name__)


def load(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file, apply each `dotted.key=value`, and check the result.

    Raises ConfigError with the dotted key, the file and the line.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(LARGEST_FILE + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from None
    if len(text) > LARGEST_FILE:
        raise ConfigError(f"{path} is larger than a configuration can be ({LARGEST_FILE} bytes)")
    return read(text, str(path), overrides)


def override(config: Config, overrides: Iterable[str]) -> Config:
    """Return the configuration with each `dotted.key=value` applied."""
    return read(dump(config), "the configuration", overrides)


def read(text: str, name: str, overrides: Iterable[str] = ()) -> Config:
    """Return the configuration in a text of this name, as `load` does."""
    root = parse(text, name)
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{name} is not a configuration: expected sections such as `data:` and `model:`")
    _rename_old(root, "")
    for override in overrides:
        _put(root, override)
    _rename_old(root, "")
    config = _Reader().section(Config, root, "")
    assert isinstance(config, Config)
    return config


def dump(config: Config, ascii_only: bool = False) -> str:
    """Return the configuration as YAML that `load` reads back to the same value. `ascii_only` escapes the rest."""
    return yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=not ascii_only, width=100)


def flat(config: Config) -> dict[str, Any]:
    """Return every setting under its dotted key."""
    return dict(_flatten(_plain(config), ""))


def _flatten(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _plain(value: Any, sparse: bool = False) -> Any:
    """Turn dataclasses into dicts and tuples into lists. The unset keys of a corpus and its sections are omitted."""
    if dataclasses.is_dataclass(value):
        sparse = sparse or isinstance(value, CorpusConfig)
        found = {f: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {key_of(f.name): _plain(each, sparse) for f, each in found.items() if not (sparse and each == f.default)}
    if isinstance(value, tuple):
        return [_plain(item, sparse) for item in value]
    return value


def _rename_old(node: yaml.Node, section: str) -> None:
    """Rename old settings in a tree of nodes to their current names."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(key, yaml.ScalarNode):
            dotted = _new_name(f"{section}{key.value}")
            key.value = dotted.removeprefix(section)
            _rename_old(value, f"{dotted}.")


def _new_name(dotted: str) -> str:
    if dotted not in RENAMED:
        return dotted
    _log_renamed(dotted)
    return RENAMED[dotted]


@functools.cache
def _log_renamed(dotted: str) -> None:
    """Log that a setting was renamed, once per name."""
    log.info("the setting %s is now called %s; the old name still works", dotted, RENAMED[dotted])


def _put(root: yaml.MappingNode, override: str) -> None:
    """Set one `dotted.key=value` in a tree of nodes."""
    dotted, equals, text = override.partition("=")
    keys = _new_name(dotted).split(".")
    if not equals or not all(keys):
        raise ConfigError(f"{override!r} is not an override; write section.key=value")
    node = root
    for depth, key in enumerate(keys):
        found = [i for i, (name, _) in enumerate(node.value) if name.value == key]
        if depth == len(keys) - 1:
            value = _path_node(text) if is_path(dotted_kind(Config, keys)) else parse(text, COMMAND_LINE)
            node.value = [pair for i, pair in enumerate(node.value) if i not in found]
            node.value.append((_key_node(key), value))
            return
        if not found:
            node.value.append((_key_node(key), yaml.MappingNode("tag:yaml.org,2002:map", [])))
            found = [-1]
        child = node.value[found[0]][1]
        if not isinstance(child, yaml.MappingNode):
            raise ConfigError(f"{override!r} cannot be set: {'.'.join(keys[: depth + 1])} is not a section")
        node = child


def _path_node(text: str) -> yaml.Node:
    """Return the value of a setting that names files: the path as it is, unless it is quoted, a list or `null`."""
    if text in ("", "~", "null") or (text[0] in "'\"[" and not os.path.lexists(text)):
        with contextlib.suppress(ConfigError):
            return parse(text, COMMAND_LINE)
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style="'")


def dotted_kind(kind: Any, keys: list[str]) -> Any:
    """Return the type of a setting below `kind`, or None if there is no such setting."""
    for key in keys:
        section = next(filter(dataclasses.is_dataclass, _parts(kind)), None)
        kind = None if section is None else _hints(section).get(key, (None, None))[1]
    return kind


def key_of(field: str) -> str:
    """Return the key of a field in YAML. The field of a key that is a word of Python ends with `_`."""
    return field.removesuffix("_")


def _hints(section: Any) -> dict[str, tuple[str, Any]]:
    """Return the fields of a section and their types, by their keys."""
    return {key_of(name): (name, kind) for name, kind in get_type_hints(section, include_extras=True).items()}


def is_path(kind: Any) -> bool:
    """Return whether a setting of this type names one file or several."""
    return File in _parts(kind)


def _parts(kind: Any) -> list[Any]:
    """Return a type and, for a union or a tuple, the types in it."""
    inner = get_args(kind) if get_origin(kind) in (Union, types.UnionType, tuple) else ()
    return [kind, *(part for each in inner for part in _parts(each))]


def _key_node(name: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", name)


class _Reader:
    """Builds dataclasses from nodes, by the types of their fields."""

    def fail(self, node: yaml.Node, sentence: str) -> ConfigError:
        mark = node.start_mark
        place = f"{mark.name}, line {mark.line + 1}" if mark and mark.name != COMMAND_LINE else COMMAND_LINE
        return ConfigError(f"{sentence} ({place})")

    def section(self, cls: type, node: yaml.Node, dotted: str) -> Any:
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"{dotted} must be a section with keys such as {_some_keys(cls)}")
        hints = _hints(cls)
        given: dict[str, tuple[yaml.Node, Any]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.fail(key, f"a key of {dotted or 'the configuration'} must be plain text")
            path = f"{dotted}.{key.value}".lstrip(".")
            if key.value in given:
                raise self.fail(key, f"{path} is set twice")
            if key.value not in hints:
                raise self.fail(key, f"unknown key {path}; {_hint(dotted, str(key.value), list(hints))}")
            given[key.value] = (value, self.read(hints[key.value][1], value, path))
        missing = [f.name for f in dataclasses.fields(cls) if _required(f) and f.name not in given]
        if missing:
            raise self.fail(node, f"{dotted}.{missing[0]} is missing".lstrip("."))
        built = cls(**{hints[name][0]: value for name, (_, value) in given.items()})
        if complaint := contradiction(built, dotted):
            raise self.fail(node, complaint)
        return built

    def read(self, kind: Any, node: yaml.Node, dotted: str) -> Any:
        """Return the node's value converted to `kind`."""
        if get_origin(kind) in (Union, types.UnionType):
            return self.read_union(get_args(kind), node, dotted)
        if dataclasses.is_dataclass(kind):
            return self.section(kind, node, dotted)  # type: ignore[arg-type]
        if get_origin(kind) is tuple:
            return self.read_tuple(get_args(kind), node, dotted)
        value = _scalar(kind, node)
        if value is _WRONG:
            raise self.fail(node, f"{dotted} must be {type_in_words(kind)}, not {_show(node)}")
        return value

    def read_union(self, kinds: tuple[Any, ...], node: yaml.Node, dotted: str) -> Any:
        if type(None) in kinds and _is_null(node):
            return None
        for kind in kinds:
            if get_origin(kind) in (Annotated, Literal) or kind in (str, int, float, bool):
                if (value := _scalar(kind, node)) is not _WRONG:
                    return value
            elif kind is not type(None):
                return self.read(kind, node, dotted)
        raise self.fail(node, f"{dotted} must be {any_type_in_words(kinds)}, not {_show(node)}")

    def read_tuple(self, kinds: tuple[Any, ...], node: yaml.Node, dotted: str) -> tuple[Any, ...]:
        """Read a list. A single item needs no brackets."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if kinds[-1] is not ... and len(nodes) != len(kinds):
            raise self.fail(node, f"{dotted} needs {len(kinds)} values, not {len(nodes)}")
        if not nodes and dotted != "data.train":  # which an imported model does not have
            raise self.fail(node, f"{dotted} is empty")
        each = [kinds[0]] * len(nodes) if kinds[-1] is ... else list(kinds)
        return tuple(
            self.read(kind, item, f"{dotted}[{i}]" if len(nodes) > 1 else dotted)
            for i, (kind, item) in enumerate(zip(each, nodes, strict=True))
        )


_WRONG = object()


def _scalar(kind: Any, node: yaml.Node) -> Any:
    """Return the node's text converted to `kind`, or _WRONG if that is impossible."""
    if not isinstance(node, yaml.ScalarNode):
        return _WRONG
    if kind == File:
        return _WRONG if _is_null(node) or "\0" in node.value else node.value
    if get_origin(kind) is Annotated:
        base, (low, high) = get_args(kind)
        value = _scalar(base, node)
        return value if value is not _WRONG and low <= value <= high else _WRONG
    if get_origin(kind) is Literal:
        return node.value if node.value in get_args(kind) else _WRONG
    if kind is bool:
        return {"true": True, "false": False}.get(node.value.lower(), _WRONG)
    if kind is str:
        return node.value if node.value.isprintable() and not _is_null(node) else _WRONG
    try:
        number = kind(node.value.replace("_", "")) if kind is int else float(node.value.replace("_", ""))
    except ValueError:
        return _WRONG
    return number if isinstance(number, int) or math.isfinite(number) else _WRONG


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in ("", "~", "null")


def _show(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value) if len(node.value) <= 60 else repr(node.value[:57] + "...")
    return "a list" if isinstance(node, yaml.SequenceNode) else "a section"


def type_in_words(kind: Any) -> str:
    """Return a field's type in words, for errors and for the reference page."""
    origin, args = get_origin(kind), get_args(kind)
    if kind == File:
        return "a path"
    if origin is Annotated:
        return f"{type_in_words(args[0])} from {args[1][0]:g} to {args[1][1]:g}"
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in args)
    if origin in (Union, types.UnionType):
        return any_type_in_words(args)
    if origin is tuple:
        return f"a list of {len(args)}" if args[-1] is not ... else "one or a list of them"
    names = {int: "a whole number", float: "a number", str: "text", bool: "`true` or `false`"}
    return names.get(kind, "a section")


def any_type_in_words(kinds: tuple[Any, ...]) -> str:
    """Return several allowed types in words, joined by "or"."""
    return " or ".join("`null`" if kind is type(None) else type_in_words(kind) for kind in kinds)


def _required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _some_keys(cls: type) -> str:
    return ", ".join(f.name for f in dataclasses.fields(cls)[:3])


def _hint(section: str, key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {f'{section}.{close[0]}'.lstrip('.')}?"
    return f"{section or 'a configuration'} has {', '.join(known)}"
