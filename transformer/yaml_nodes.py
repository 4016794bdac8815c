"""Parses YAML to a tree of nodes, without anchors and aliases, up to a depth."""

from __future__ import annotations

import re

import yaml

from transformer.errors import ConfigError

DEEPEST = 20
"""Depth of nesting above which a text is refused."""
COMMAND_LINE = "command line"
"""The name of a text that is an argument."""
PRIVATE = 0x100000
"""First character of the plane for private use, in which characters are hidden that YAML does not accept."""
REFUSED = re.compile(r"[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
HIDDEN = re.compile(r"[\U00100000-\U0010ffff]")


def parse(text: str, name: str) -> yaml.Node:
    """Return the tree of a YAML text. `name` is that of the file, for errors. Raises ConfigError with the line."""
    depth, masked = 0, _mask(text) if name == COMMAND_LINE else text
    try:
        for event in yaml.parse(masked, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            line = event.start_mark.line + 1 if event.start_mark else "?"
            if depth > DEEPEST:
                raise ConfigError(f"{name}, line {line}: nested too deeply")
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise ConfigError(f"{name}, line {line}: YAML anchors and aliases are not supported")
        loader = yaml.SafeLoader(masked)
        loader.name = name
        node: yaml.Node | None = loader.get_single_node()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
        raise ConfigError(f"{name}{where}: not valid YAML: {problem}") from None
    if node is not None and masked is not text:
        _unmask(node)
    return node if node is not None else yaml.ScalarNode("tag:yaml.org,2002:null", "")


def _mask(text: str) -> str:
    """Hide characters of paths that YAML does not accept, such as bytes that are not UTF-8 (surrogates in Python)."""
    if not REFUSED.search(text) or HIDDEN.search(text):
        return text
    return REFUSED.sub(lambda found: chr(PRIVATE + ord(found[0])), text)


def _unmask(node: yaml.Node) -> None:
    """Restore the hidden characters in the values of a tree."""
    if isinstance(node, yaml.ScalarNode):
        node.value = HIDDEN.sub(lambda found: chr(ord(found[0]) - PRIVATE), node.value)
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        for each in child if isinstance(child, tuple) else (child,):
            _unmask(each)
