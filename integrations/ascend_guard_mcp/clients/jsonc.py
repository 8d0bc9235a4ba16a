"""JSON with comments and trailing commas, read with the place of everything in it.

Files that people keep are edited in place: what is not changed stays as it is written, comments and all. So a document
is not turned into values and back; it is scanned once, and whoever changes it replaces spans of its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

from ascend_guard.errors import ConfigurationError

DEEPEST = 100
"""Most containers inside one another; far more than any client's configuration has."""

Edit: TypeAlias = tuple[int, int, str]
"""A span of the text, and what is to stand there."""

_BLANK = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None}


class ClientFileError(ConfigurationError):
    """A client's configuration file cannot be used as it is. The message names the mend; nothing was changed."""


@dataclass(slots=True)
class Node:
    """One value and where it stands: ``text[start:end]``.

    Args:
        start: index of its first character.
        end: index after its last.
        value: a string, a number, a truth value or None; of an array or object, None (see ``plain``).
        items: of an array, its elements.
        members: of an object, its members in order.
        comma: index of the comma after it, or -1 where there is none.
    """

    start: int
    end: int = -1
    value: str | float | bool | None = None
    items: list[Node] | None = None
    members: list[Member] | None = None
    comma: int = -1

    def get(self, key: str) -> Node | None:
        """The value of a member of an object; None where there is none, or this is no object."""
        found = (member.node for member in self.members or () if member.key == key)
        return next(found, None)

    def plain(self) -> object:
        """The value as ``json.loads`` would answer it."""
        if self.members is not None:
            return {member.key: member.node.plain() for member in self.members}
        return self.value if self.items is None else [item.plain() for item in self.items]


@dataclass(slots=True)
class Member:
    """One member of an object: its key, the key's span, its value."""

    key: str
    start: int
    end: int
    node: Node = field(repr=False)


def parse(text: str) -> Node:
    """Scan a document.

    Args:
        text: the whole file, without a byte order mark.

    Raises:
        ClientFileError: it is not JSON, not even with comments and trailing commas; or a key stands twice in one object,
            of which nobody can say which one counts. The message begins with ``line L, column C:``.
    """
    return _Scanner(text).document()


def apply(text: str, edits: Iterable[Edit]) -> str:
    """The text with spans replaced; they may not overlap."""
    pieces: list[str] = []
    at = 0
    for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
        assert start >= at
        pieces += (text[at:start], new)
        at = end
    return "".join((*pieces, text[at:]))


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def document(self) -> Node:
        self.skip()
        if self.at == len(self.text):
            self.fail('the file is empty. Write at least {"mcpServers": {}}')
        root = self.value(0)
        self.skip()
        if self.at != len(self.text):
            self.fail("something follows the end of the document. Delete it")
        return root

    def fail(self, what: str, at: int | None = None) -> NoReturn:
        at = self.at if at is None else at
        line = self.text.count("\n", 0, at) + 1
        column = at - (self.text.rfind("\n", 0, at) + 1) + 1
        raise ClientFileError(f"line {line}, column {column}: {what}.")

    def skip(self) -> None:
        """Blanks and comments."""
        while True:
            self.at = _end(_BLANK, self.text, self.at)
            if self.text.startswith("//", self.at):
                ends = [self.text.find(char, self.at) for char in "\r\n"]
                self.at = min((end for end in ends if end >= 0), default=len(self.text))
            elif self.text.startswith("/*", self.at):
                end = self.text.find("*/", self.at + 2)
                if end < 0:
                    self.fail("a comment begins here and never ends. Write */ where it does")
                self.at = end + 2
            else:
                return

    def value(self, depth: int) -> Node:
        if depth > DEEPEST:
            self.fail(f"more than {DEEPEST} containers inside one another")
        node = Node(self.at)
        char = self.text[self.at : self.at + 1]
        if char == "{":
            node.members = list(self.object(depth))
        elif char == "[":
            node.items = list(self.array(depth))
        elif char == '"':
            node.value = self.string()
        else:
            node.value = self.scalar()
        node.end = self.at
        return node

    def scalar(self) -> float | bool | None:
        for word, value in _WORDS.items():
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return value
        end = _end(_NUMBER, self.text, self.at)
        if end == self.at:
            self.fail(
                "a value belongs here: a string in double quotes, a number, true, false, null, [...] or {...}"
            )
        text, self.at = self.text[self.at : end], end
        try:
            number: float = json.loads(text)
        except ValueError:  # an integer of thousands of digits; clients read a float as well
            number = float(text)
        return number

    def string(self) -> str:
        end = _end(_STRING, self.text, self.at)
        if end == self.at:
            self.fail(
                "a string begins here that does not end on its line, or has an escape that JSON does not know"
            )
        value: str = json.loads(self.text[self.at : end])
        self.at = end
        return value

    def array(self, depth: int) -> Iterator[Node]:
        more = self.open("]")
        while more:
            item = self.value(depth + 1)
            more = self.separated(item, "]")
            yield item

    def object(self, depth: int) -> Iterator[Member]:
        seen: set[str] = set()
        more = self.open("}")
        while more:
            start = self.at
            if not self.text.startswith('"', start):
                self.fail('a key in double quotes belongs here, or "}"')
            key = self.string()
            if key in seen:
                self.fail(f"the key {key!r} stands twice in one object. Delete one of the two", start)
            seen.add(key)
            end = self.at
            self.skip()
            if not self.text.startswith(":", self.at):
                self.fail(f'":" belongs after the key {key!r}')
            self.at += 1
            self.skip()
            node = self.value(depth + 1)
            more = self.separated(node, "}")
            yield Member(key, start, end, node)

    def open(self, close: str) -> bool:
        """Step into a container; whether anything is in it."""
        self.at += 1
        self.skip()
        return not self.closed(close)

    def separated(self, node: Node, close: str) -> bool:
        """Step over what follows an element; whether another one comes."""
        end = self.at
        self.skip()
        if self.text.startswith(",", self.at):
            node.comma = self.at
            self.at += 1
            self.skip()
            return not self.closed(close)
        if not self.closed(close):
            self.fail(f'"," or "{close}" belongs after this value', end)
        return False

    def closed(self, close: str) -> bool:
        if self.text.startswith(close, self.at):
            self.at += 1
            return True
        return False


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()
