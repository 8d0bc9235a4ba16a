"""Read a client's configuration file strictly, with the place of each server in its text.

1. Only the entries of servers are replaced. Every other byte stays: no layout, order or number of the file changes.
2. A key that occurs twice in one object is refused, because programs disagree about which of the two counts.
3. Comments and trailing commas, which VS Code allows, are skipped so that entries can be shown. Such a file is never
   written, because a comment inside an entry would be lost.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeAlias

from ascend_guard.errors import ConfigurationError

VARIABLE = re.compile(r"\$\{[^}]*\}")
"""A variable that the client replaces, such as ``${input:token}``."""

Span: TypeAlias = tuple[int, int]
"""The place of a value in a text: start and end."""

# Claude's and Cursor's files; VS Code's mcp.json; VS Code's settings.json.
_CONTAINERS = (("mcpServers",), ("servers",), ("mcp", "servers"))

_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\r\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'"(?:\\.|[^"\\])*"|,(?=[ \t\r\n]*[}\]])', re.DOTALL)


class ClientFileError(ConfigurationError):
    """A client's configuration file cannot be used as it is. The message says how to fix it; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that was read.

    Args:
        path: the real file; symbolic links are followed.
        data: its bytes.
        text: its text, without a byte order mark, with its own line endings.
        strict: whether it is JSON, without comments and trailing commas.
        servers: the entries, by the servers' names.
        spans: the place of each entry in ``text``.
    """

    path: Path
    data: bytes
    text: str
    strict: bool
    servers: Mapping[str, object]
    spans: Mapping[str, Span]

    def raw(self, name: str) -> str:
        """Return the text of a server's entry."""
        start, end = self.spans[name]
        return self.text[start:end]

    def line(self, name: str) -> int:
        """Return the line on which a server's entry begins, from 1."""
        return self.text.count("\n", 0, self.spans[name][0]) + 1

    def laid_out(self, name: str, entry: object) -> str:
        """Return the text of a new entry for a server: on one line, or indented, like the present one."""
        lines = self.raw(name).split("\n")
        if len(lines) == 1:
            return dumped(entry, None)
        start = self.text.rfind("\n", 0, self.spans[name][0]) + 1
        indent = _indent(self.text[start:])
        step = _indent(lines[1]).removeprefix(indent) or "  "
        newline = "\r\n" if "\r\n" in self.text else "\n"
        return dumped(entry, step).replace("\n", newline + indent)

    def with_entries(self, entries: Mapping[str, str]) -> bytes:
        """Return the bytes of the file with the texts of some entries replaced.

        Raises:
            ClientFileError: the result would not be JSON, for example because of a number that is too large.
        """
        text = self.text
        for name in sorted(entries, key=self.spans.__getitem__, reverse=True):
            start, end = self.spans[name]
            text = text[:start] + entries[name] + text[end:]
        _parsed(_strict(text))
        mark = codecs.BOM_UTF8 if self.data.startswith(codecs.BOM_UTF8) else b""
        return mark + text.encode("utf-8")


def read(path: Path) -> Configuration:
    """Read a configuration.

    Raises:
        ClientFileError: it cannot be used; the message says where and why.
    """
    try:
        target = path.resolve(strict=True)
        data = target.read_bytes()
    except FileNotFoundError:
        what = "is a link to a file that does not exist" if path.is_symlink() else "does not exist"
        raise ClientFileError(f"{path} {what}. Name the client's configuration file.") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: circular links, before Python 3.13
        why = getattr(error, "strerror", None) or error
        raise ClientFileError(f"{path} cannot be read ({why}). Name a readable file.") from None
    try:
        text = data.decode("utf-8-sig")
        plain = _strict(text)
        servers, start = _servers(plain)
        return Configuration(target, data, text, plain == text, servers, _members(plain, start))
    except UnicodeDecodeError:
        raise ClientFileError(f"{target} is not written in UTF-8. Save it as UTF-8.") from None
    except ClientFileError as error:
        raise ClientFileError(f"{target}: {error.message}") from None


def _servers(text: str) -> tuple[dict[str, object], int]:
    """Return the servers in strict JSON, and the index of the brace before them."""
    root = _parsed(text)
    if not isinstance(root, dict):
        raise ClientFileError(
            'it contains no object. A client\'s configuration looks like {"mcpServers": {"name": {"command": ...}}}.'
        )
    found: list[tuple[str, object, int]] = []
    for keys in _CONTAINERS:
        value: object = root
        at = len(text) - len(text.lstrip())
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                break
            at = _members(text, at)[key][0]
            value = value[key]
        else:
            found.append((".".join(keys), value, at))
    if not found:
        raise ClientFileError(
            'it has no servers: neither "mcpServers" (Claude, Cursor) nor "servers" (VS Code), nor "mcp": '
            '{"servers": ...} (settings of VS Code). Name another file, or add a server in the client first.'
        )
    if len(found) > 1:
        names = " and ".join(f'"{name}"' for name, _, _ in found)
        raise ClientFileError(
            f"it has servers in {names}, but a client reads only one of them. Keep that one."
        )
    ((name, servers, at),) = found
    if not isinstance(servers, dict):
        raise ClientFileError(f'"{name}" is not an object. Write {{"name": {{"command": ...}}}} there.')
    return servers, at


def _strict(text: str) -> str:
    """Replace comments and trailing commas by as many blanks, so that every place stays the same."""
    return _TRAILING_COMMA.sub(_blank, _COMMENT.sub(_blank, text))


def _blank(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else re.sub(r"[^\r\n]", " ", found[0])


def _parsed(text: str) -> object:
    try:
        value: object = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        what = f"{error.msg.removesuffix(' at')} at line {error.lineno}, column {error.colno}"
        raise ClientFileError(f"it is not JSON: {what}. Correct it in an editor.") from None
    except (ValueError, RecursionError) as error:  # thousands of digits, or of nested containers
        raise ClientFileError(f"it cannot be read as JSON ({error}).") from None
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ClientFileError(f"the key {twice!r} occurs twice in one object. Delete one of the two.")
    return made


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


def _members(text: str, at: int) -> dict[str, Span]:
    """Return the places of the values of an object in strict JSON, by key; the object begins at ``text[at]``."""
    decoder, spans = json.JSONDecoder(), {}
    at = _past(text, at + 1)
    while text[at] != "}":
        key, at = decoder.raw_decode(text, at)
        start = _past(text, _past(text, at) + 1)  # skips the colon
        _, end = decoder.raw_decode(text, start)
        spans[key] = (start, end)
        at = _past(text, end)
        if text[at] == ",":
            at = _past(text, at + 1)
    return spans


def _past(text: str, at: int) -> int:
    """Return the index after the blanks at an index."""
    while text[at] in " \t\r\n":
        at += 1
    return at


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def dumped(entry: object, indent: str | None) -> str:
    """Return the readable JSON of an entry, in characters that UTF-8 can encode.

    Args:
        entry: a value of JSON.
        indent: the indentation of its lines; None for one line.
    """
    text = json.dumps(entry, indent=indent, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate; all other characters stay readable
        return json.dumps(entry, indent=indent)
    return text
