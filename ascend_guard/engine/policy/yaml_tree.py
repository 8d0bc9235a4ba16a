"""Parse YAML text to a tree with line numbers.

It is built from the parser's events, because only they contain quotes, anchors and tags, and because no object is
constructed. Anchors, aliases, tags and second documents are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import yaml

__all__ = ["KINDS", "List", "Map", "Node", "Scalar", "Unreadable", "described", "read_tree", "shown"]

KINDS = {"bool": "the boolean", "int": "the number", "float": "the number", "timestamp": "the date"}
"""The kinds of scalars that are not text, as words for messages."""

_DEEPEST = 16


class Scalar(NamedTuple):
    """The text, its YAML type (``str``, ``null``, a key of KINDS), and whether it is a ``|`` block."""

    line: int
    text: str
    kind: str
    literal: bool


class List(NamedTuple):
    """A sequence."""

    line: int
    items: list[Node]


class Map(NamedTuple):
    """A mapping; its keys are neither checked nor made unique."""

    line: int
    pairs: list[tuple[Node, Node]]


Node = Scalar | List | Map


class Unreadable(Exception):
    """A mistake after which the file cannot be read any further."""

    def __init__(self, line: int, what: str, remedy: str) -> None:
        super().__init__(what)
        self.line, self.what, self.remedy = line, what, remedy


def read_tree(text: str) -> Node:
    """Return the only document in ``text``.

    Raises:
        Unreadable: the text is not YAML, or uses a refused feature.
    """
    odd = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if odd:
        line = text.count("\n", 0, odd.start()) + 1
        raise Unreadable(line, f"there is a control character (U+{ord(odd[0]):04X})", "remove it")
    try:
        events = _events(text)
        event = next(events, None)
        if event is None:
            raise Unreadable(1, "the file is empty", "begin with `version: 1`, or run `ascend-guard init`")
        tree = _node(event, events, 0)
        extra = next(events, None)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = min(mark.line + 1, text.count("\n") + 1) if mark else 1
        problem = error.problem or "something"
        raise Unreadable(line, f"this is not YAML: {problem}", _yaml_remedy(problem, text, line)) from None
    except yaml.YAMLError as error:
        raise Unreadable(1, f"this is not YAML: {shown(str(error))}", "fix the syntax") from None
    if extra is not None:
        raise Unreadable(_line(extra), "a second document begins here", "keep one document in a file")
    return tree


def _events(text: str) -> Iterator[yaml.Event]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    frame = (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)
    return (event for event in yaml.parse(text, loader) if not isinstance(event, frame))


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _node(event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
    line = _line(event)
    if depth > _DEEPEST:
        raise Unreadable(line, "this is nested too deeply", "a rule has a few plain fields")
    if isinstance(event, yaml.AliasEvent):
        remedy = "put a pattern that begins with * in quotes"
        raise Unreadable(line, f"*{shown(str(event.anchor))} is a YAML alias", remedy)
    if isinstance(event, yaml.ScalarEvent):
        _refuse_marks(event, line)
        kind = _kind(event.value) if event.implicit[0] else "str"
        return Scalar(line, event.value, kind, event.style == "|")
    if isinstance(event, yaml.SequenceStartEvent):
        _refuse_marks(event, line)
        items: list[Node] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_node(event, events, depth + 1))
        return List(line, items)
    if isinstance(event, yaml.MappingStartEvent):
        _refuse_marks(event, line)
    pairs: list[tuple[Node, Node]] = []
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _node(event, events, depth + 1)
        pairs.append((key, _node(next(events), events, depth + 1)))
    return Map(line, pairs)


def _refuse_marks(event: yaml.ScalarEvent | yaml.CollectionStartEvent, line: int) -> None:
    if event.anchor is not None:
        remedy = "put text that begins with & in quotes"
        raise Unreadable(line, f"&{shown(event.anchor)} is a YAML anchor", remedy)
    if event.tag is not None:
        remedy = "put a condition that begins with ! in quotes"
        raise Unreadable(line, f"{shown(event.tag)} is a YAML tag", remedy)


def _kind(plain: str) -> str:
    """Return the YAML 1.1 type of unquoted text: str, bool, int, float, null, timestamp."""
    for tag, pattern in yaml.SafeLoader.yaml_implicit_resolvers.get(plain[:1], ()):
        if pattern.match(plain):
            kind: str = tag.rpartition(":")[2]
            return kind if kind in KINDS or kind == "null" else "str"
    return "str"


def _yaml_remedy(problem: str, text: str, line: int) -> str:
    written = text.split("\n")[line - 1]
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return "indent with spaces, not tabs"
    if "mapping values" in problem:
        return "put text that contains a colon in quotes, and check the indentation"
    if "alphabetic or numeric" in problem:
        return "put a pattern that begins with * in quotes"
    if "cannot start any token" in problem:
        return "put the text in quotes"
    return "fix the syntax here or just above: a quote, a bracket, the indentation"


def shown(text: str) -> str:
    """At most 60 printable characters of the text, for a message."""
    text = "".join(c if c.isprintable() else "?" for c in text[:61])
    return text if len(text) <= 60 else text[:57] + "..."


def described(node: Node) -> str:
    """A description of the node, for a message."""
    if isinstance(node, List):
        return "a list"
    if isinstance(node, Map):
        return "a mapping"
    if node.kind == "null" or not node.text:
        return "empty"
    return f"{KINDS[node.kind]} {shown(node.text)}" if node.kind in KINDS else repr(shown(node.text))
