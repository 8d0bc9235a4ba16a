"""One server of a client's configuration: led through the proxy, and back.

A server that the client starts keeps its entry: only its command is put behind the proxy's, in the same text. A server
that is reached by URL becomes a command, the proxy's; its headers become environment variables of the entry, because
everybody on the machine can read a process's arguments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ascend_guard.errors import ConfigurationError
from ascend_guard_mcp.proxy.options import require_headers, require_url

from .facts import VARIABLE, is_plain_http, says_who_decides, url_of
from .jsonc import Edit, Member, Node, apply

HEADER_VARIABLE = "ASCEND_MCP_HEADER_"
"""With a number behind it: the environment variable that holds a header's value."""

_HTTP_TYPES = ("http", "streamable-http", "streamable_http", "streamableHttp")
_OWN_SIGN_IN = ("oauth", "auth", "authProviderType", "headersHelper")
_ROOT_OPTIONS = ("--policy", "--database-url")
_TAKE_A_VALUE = (*_ROOT_OPTIONS, "--url", "--header", "--listen", "--name", "--namespace", "--wait")
_OUR_NAMES = ("ascend-guard", "ascend-guard.exe")


class Unroutable(Exception):
    """A server cannot be led through the proxy, or not back. Its message is the reason, as half a sentence."""


@dataclass(frozen=True, slots=True)
class Launcher:
    """How the proxy is started.

    Args:
        command: the absolute path of an executable.
        options: what comes before ``mcp-proxy``: how that executable becomes this program, options of its root.
        policy: further such options, for entries whose own environment does not say who decides.
    """

    command: str
    options: tuple[str, ...] = ()
    policy: tuple[str, ...] = ()


@dataclass(slots=True)
class _Routed:
    """What the arguments of a routed entry say: indexes into them."""

    word: int
    behind: int | None = None
    url: int | None = None
    headers: tuple[int, ...] = ()


def is_routed(entry: Node) -> bool:
    """Whether this server goes through the proxy already, whoever wrote that."""
    return _routed(entry) is not None


def options_of(entry: Node) -> tuple[list[str], list[str]]:
    """Of a routed entry, the words before ``mcp-proxy``, and the server's own command line (none when it has a URL)."""
    found, args = _routed(entry), entry.get("args")
    words = [str(item.value) for item in (args.items if args is not None else None) or ()]
    if found is None:
        raise Unroutable("it does not go through the proxy")
    return words[: found.word], [] if found.behind is None else words[found.behind :]


def routed(text: str, server: Member, launcher: Launcher) -> str:
    """The text of this server's entry, led through the proxy.

    Args:
        text: the whole file.
        server: one of its servers.
        launcher: how the proxy is started.

    Raises:
        Unroutable: the proxy cannot stand before this server.
    """
    entry = server.node
    if entry.members is None:
        raise Unroutable("its entry is not an object")
    kind = entry.get("type")
    word = None if kind is None else kind.value
    command, url = entry.get("command"), entry.get("url")
    if word == "sse":
        raise Unroutable("it speaks the older SSE transport; the proxy speaks streamable HTTP")
    if kind is not None and word != "stdio" and word not in _HTTP_TYPES:
        raise Unroutable(f"its type {kind.plain()!r} is none the proxy knows (stdio, http)")
    if word is None and command is not None and url is not None:
        raise Unroutable('it has both a "command" and a "url"; keep one')
    if word == "stdio" or (word is None and command is not None):
        return _wrapped(text, server, launcher)
    if url is None:
        raise Unroutable('it has neither a "command" nor a "url"')
    return _behind_url(text, server, launcher)


def unrouted(text: str, server: Member, kind: str = "http") -> str:
    """The text of a routed server's entry as it would stand without the proxy.

    Args:
        text: the whole file.
        server: one of its servers.
        kind: the ``type`` a server reached by URL had, if it had one.

    Raises:
        Unroutable: its arguments do not say which server is behind the proxy.
    """
    found = _routed(server.node)
    command, args = server.node.get("command"), server.node.get("args")
    if found is None or command is None or args is None or args.items is None:
        raise Unroutable("it does not go through the proxy")
    items = args.items
    if found.behind is not None:
        own, behind = items[found.behind], items[found.behind + 1 :]
        end = behind[0].start if behind else own.end if own.comma < 0 else own.comma + 1
        edits = [(command.start, command.end, _raw(text, own)), (items[0].start, end, "")]
        return _edited(text, server.node, edits)
    if found.url is None:
        raise Unroutable('its arguments have neither "-- COMMAND" nor "--url URL"')
    return _by_url(text, server.node, found, kind)


# --- a server that is started ---------------------------------------------------------------------


def _wrapped(text: str, server: Member, launcher: Launcher) -> str:
    command, args = server.node.get("command"), server.node.get("args")
    if command is None or not isinstance(command.value, str) or not command.value.strip():
        raise Unroutable('its "command" is not a text')
    if args is not None and (
        args.items is None or not all(isinstance(item.value, str) for item in args.items)
    ):
        raise Unroutable('its "args" are not a list of texts')
    words = [*_start(text, server, launcher), '"--"', _raw(text, command)]
    edits: list[Edit] = [(command.start, command.end, _quoted(launcher.command))]
    if args is None:
        layout = _Layout.of(text, server.node)
        edits.append((command.end, command.end, f',{layout.between}"args"{layout.colon}[{", ".join(words)}]'))
    elif args.items:
        first = args.items[0].start
        edits.append((first, first, f"{', '.join(words)},{_blank_before(text, first) or ' '}"))
    else:
        edits.append((args.start + 1, args.start + 1, ", ".join(words)))
    return _edited(text, server.node, edits)


# --- a server that is reached by URL --------------------------------------------------------------


def _behind_url(text: str, server: Member, launcher: Launcher) -> str:
    entry = server.node
    url, env = entry.get("url"), entry.get("env")
    _check_url(entry)
    assert url is not None
    variables, names = _headers(text, entry)
    words = [", ".join(_start(text, server, launcher)), f'"--url", {_raw(text, url)}']
    if is_plain_http(entry):  # as the client did it so far
        words.append('"--insecure"')
    for (variable, _), name in zip(variables, names, strict=True):
        words.append(f'"--header", {_quoted(f"{name}: env:{variable}")}')
    layout = _Layout.of(text, entry)
    new = [(_quoted(variable), value) for variable, value in variables]
    pairs: list[tuple[str, str]] = []
    for member in entry.members or ():
        if member.key == "type":
            pairs.append((_key(text, member), '"stdio"'))
        elif member.key == "url":
            pairs += [('"command"', _quoted(launcher.command)), ('"args"', layout.inner().array(words))]
        elif member.key == "env" or (member.key == "headers" and env is None):
            own = _pairs(text, member.node) if member.key == "env" else []
            if member.key == "env" or new:
                pairs.append(('"env"', _Layout.of(text, member.node).object([*own, *new])))
        elif member.key != "headers":
            pairs.append((_key(text, member), _raw(text, member.node)))
    return layout.object(pairs)


def _check_url(entry: Node) -> None:
    address, headers, env = entry.get("url"), entry.get("headers"), entry.get("env")
    url = None if address is None else address.value
    if not isinstance(url, str) or not url.strip():
        raise Unroutable('its "url" is not a text')
    # What the client fills in is not known yet; "1" may stand for a host, a port or a part of a path.
    known = url_of(entry)
    if not url.startswith("${"):
        _accepted(lambda: require_url(known, insecure=True))
    path = re.split(r"[?#]", url)[0].rstrip("/")
    if entry.get("type") is None and path.endswith("/sse"):
        raise Unroutable(
            'its address looks like the older SSE transport\'s; if it speaks streamable HTTP, add "type": "http"'
        )
    for key in _OWN_SIGN_IN:
        if entry.get(key) is not None:
            raise Unroutable(f'the client signs in there by itself ("{key}"), which the proxy cannot')
    if headers is not None and headers.members is None:
        raise Unroutable('its "headers" are not an object')
    if env is not None and env.members is None:
        raise Unroutable('its "env" is not an object')


def _accepted(check: Callable[[], object]) -> None:
    """What the proxy would refuse when it starts is refused now."""
    try:
        check()
    except ConfigurationError as error:
        raise Unroutable(f"the proxy refuses it: {error.message.rstrip('.')}") from None


def _headers(text: str, entry: Node) -> tuple[list[tuple[str, str]], list[str]]:
    """Of each header, the variable it becomes with the value as written; and the headers' names."""
    headers, env = entry.get("headers"), entry.get("env")
    taken = {member.key for member in (env.members if env is not None else None) or ()}
    values: dict[str, str] = {}
    number, variables, names = 0, [], []
    for member in (headers.members if headers is not None else None) or ():
        if not isinstance(member.node.value, str):
            raise Unroutable(f"its header {member.key!r} is not a text")
        number += 1
        while f"{HEADER_VARIABLE}{number}" in taken:
            number += 1
        variables.append((f"{HEADER_VARIABLE}{number}", _raw(text, member.node)))
        names.append(member.key)
        values[f"{HEADER_VARIABLE}{number}"] = VARIABLE.sub("1", member.node.value)
    lines = [f"{name}: env:{variable}" for name, variable in zip(names, values, strict=True)]
    _accepted(lambda: require_headers(lines, values))
    return variables, names


def _by_url(text: str, entry: Node, found: _Routed, kind: str) -> str:
    args, env = entry.get("args"), entry.get("env")
    items = (args.items if args is not None else None) or []
    variables = {member.key: member for member in (env.members if env is not None else None) or ()}
    headers: list[tuple[str, str]] = []
    for index in found.headers:
        name, _, value = str(items[index].value).partition(":")
        value, variable = value.strip(), value.strip().removeprefix("env:")
        if variable == value:
            headers.append((_quoted(name.strip()), _quoted(value)))
        elif variable in variables:
            headers.append((_quoted(name.strip()), _raw(text, variables.pop(variable).node)))
        else:
            raise Unroutable(f'its header {name!r} is read from {variable}, which its "env" does not have')
    assert found.url is not None
    whole, pairs = _Layout.of(text, entry), []
    for member in entry.members or ():
        if member.key == "type":
            pairs.append(
                (
                    _key(text, member),
                    _quoted(kind) if member.node.value == "stdio" else _raw(text, member.node),
                )
            )
        elif member.key == "command":
            pairs.append(('"url"', _raw(text, items[found.url])))
            if headers and env is None:
                pairs.append(('"headers"', whole.inner().object(headers)))
        elif member.key == "env":
            layout = _Layout.of(text, member.node)
            if headers:
                pairs.append(('"headers"', layout.object(headers)))
            if variables:
                left = [(_key(text, own), _raw(text, own.node)) for own in variables.values()]
                pairs.append((_key(text, member), layout.object(left)))
        elif member.key != "args":
            pairs.append((_key(text, member), _raw(text, member.node)))
    return whole.object(pairs)


# --- the proxy's arguments ------------------------------------------------------------------------


def _start(text: str, server: Member, launcher: Launcher) -> list[str]:
    policy = () if says_who_decides(server.node) else launcher.policy
    return [*map(_quoted, (*launcher.options, *policy, "mcp-proxy", "--name")), _key(text, server)]


def _routed(entry: Node) -> _Routed | None:
    command, args = entry.get("command"), entry.get("args")
    words = [item.value for item in (args.items if args is not None else None) or ()]
    if command is None or not isinstance(command.value, str):
        return None
    at = 0
    if PurePosixPath(command.value.replace("\\", "/")).name not in _OUR_NAMES:
        if words[:2] != ["-m", "ascend_guard"]:
            return None
        at = 2
    at = _past_options(words, at)
    if words[at : at + 1] != ["mcp-proxy"]:
        return None
    at, found, headers = at + 1, _Routed(at), []
    while at < len(words):
        if words[at] == "--":
            found.behind = at + 1 if at + 1 < len(words) else None
            break
        if words[at] == "--url" and at + 1 < len(words):
            found.url = at + 1
        if words[at] == "--header" and at + 1 < len(words):
            headers.append(at + 1)
        at += 2 if words[at] in _TAKE_A_VALUE else 1
    found.headers = tuple(headers)
    return found


def _past_options(words: Sequence[object], at: int) -> int:
    while at < len(words) and str(words[at]).startswith("--"):
        at += 2 if words[at] in _ROOT_OPTIONS else 1
    return at


# --- text -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Layout:
    """How an object is laid out: the blanks after its brace, between members, before its end, and its colon."""

    opening: str
    between: str
    closing: str
    colon: str

    @staticmethod
    def of(text: str, node: Node) -> _Layout:
        members = node.members or []
        if not members:
            return _Layout("", " ", "", ": ")
        first = members[0]
        opening = _blank_before(text, first.start)
        between = _blank_before(text, members[1].start) if len(members) > 1 else opening or " "
        colon = text[first.end : first.node.start]
        plain = colon.strip(" ") == ":"
        return _Layout(opening, between, _blank_before(text, node.end - 1), colon if plain else ": ")

    def inner(self) -> _Layout:
        """How an object inside it would be: one step further in, where it has lines."""
        if "\n" not in self.opening:
            return self
        further = self.closing and self.opening.startswith(self.closing)
        step = self.opening.removeprefix(self.closing) if further else "  "
        return _Layout(self.opening + step, self.opening + step, self.opening, self.colon)

    def array(self, items: Iterable[str]) -> str:
        return f"[{self.opening}{f',{self.between}'.join(items)}{self.closing}]"

    def object(self, pairs: Iterable[tuple[str, str]]) -> str:
        inside = f",{self.between}".join(f"{key}{self.colon}{value}" for key, value in pairs)
        return f"{{{self.opening}{inside}{self.closing}}}"


def _pairs(text: str, node: Node) -> list[tuple[str, str]]:
    return [(_key(text, member), _raw(text, member.node)) for member in node.members or ()]


def _blank_before(text: str, at: int) -> str:
    head = text[:at]
    return head[len(head.rstrip(" \t\r\n")) :]


def _edited(text: str, entry: Node, edits: Iterable[Edit]) -> str:
    at = entry.start
    return apply(_raw(text, entry), ((start - at, end - at, new) for start, end, new in edits))


def _raw(text: str, node: Node) -> str:
    return text[node.start : node.end]


def _key(text: str, member: Member) -> str:
    return text[member.start : member.end]


def _quoted(word: str) -> str:
    # A lone surrogate cannot be written in UTF-8; everything else is for people to read.
    plain = word.encode("utf-8", "surrogatepass") == word.encode("utf-8", "replace")
    return json.dumps(word, ensure_ascii=not plain)
