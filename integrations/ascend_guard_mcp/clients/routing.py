"""Put the entry of one server behind the proxy, and remove the proxy from it.

1. The entry of a server that the client starts keeps everything except its command line, which follows the proxy's.
2. A server with a URL becomes a command, the proxy's. Its headers become environment variables of the entry,
   because every user of a machine can read the arguments of a process.
3. The proxy's arguments contain everything that the original entry contained, except an empty list or object and the
   spelling of ``type``. So the proxy can be removed without any other record, and later changes by a person are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

from ascend_guard.errors import ConfigurationError
from ascend_guard.redaction.secret_names import is_secret_name
from ascend_guard_mcp.proxy.options import is_loopback, require_headers, require_url

from .configuration import VARIABLE

HEADER_VARIABLE = "ASCEND_MCP_HEADER_"
"""Prefix of the environment variable that contains a header's value, followed by a number."""

DECIDERS = ("ASCEND_POLICY", "ASCEND_API_KEY")
"""Variables of which one names the control plane."""

HTTP_TYPES = ("http", "streamable-http", "streamable_http", "streamableHttp")
"""How clients spell the type of a server that the proxy reaches by URL."""

Entry: TypeAlias = Mapping[str, object]

_OWN_SIGN_IN = ("oauth", "auth", "authProviderType", "headersHelper")
_ROOT_OPTIONS = ("--policy", "--database-url")
_TAKE_A_VALUE = (*_ROOT_OPTIONS, "--url", "--header", "--listen", "--name", "--namespace", "--wait")
_OUR_NAMES = ("ascend-guard", "ascend-guard.exe")


class Unroutable(Exception):
    """The proxy cannot be put before a server, or not be removed. The message is the reason, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Launcher:
    """How the proxy is started.

    Args:
        command: the absolute path of an executable.
        options: the words before ``mcp-proxy``: how that executable becomes this program, and options of its root.
        policy: further such options, for entries whose own environment names no control plane.
    """

    command: str
    options: tuple[str, ...] = ()
    policy: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """What the entry of a server behind the proxy contains.

    Args:
        launcher: how the proxy is started.
        command: the server's own command line; empty if it has a URL.
        url: its address, if it has one.
        headers: the values of ``--header``, each ``Name: value`` or ``Name: env:VARIABLE``.
    """

    launcher: Launcher
    command: tuple[str, ...]
    url: str | None
    headers: tuple[str, ...]


def route_of(entry: object) -> Route | None:
    """Return how this server goes through the proxy, by any author; None when it does not."""
    command = entry.get("command") if isinstance(entry, Mapping) else None
    args = entry.get("args") if isinstance(entry, Mapping) else None
    if not isinstance(command, str) or not isinstance(args, list):
        return None
    words = [str(word) for word in args]
    at = 0
    if PurePosixPath(command.replace("\\", "/")).name not in _OUR_NAMES:
        if words[:2] != ["-m", "ascend_guard"]:
            return None
        at = 2
    while words[at : at + 1] and words[at].startswith("--"):
        at += 2 if words[at] in _ROOT_OPTIONS else 1
    if words[at : at + 1] != ["mcp-proxy"]:
        return None
    launcher, url, headers = Launcher(command, tuple(words[:at])), None, []
    at += 1
    while at < len(words) and words[at] != "--":
        word, value = words[at], words[at + 1 : at + 2]
        if word == "--url" and value:
            url = value[0]
        if word == "--header":
            headers += value
        at += 2 if word in _TAKE_A_VALUE else 1
    return Route(launcher, tuple(words[at + 1 :]), url, tuple(headers))


def routed(name: str, entry: object, launcher: Launcher) -> Entry:
    """Return the entry of this server behind the proxy.

    Args:
        name: the server's name.
        entry: its present entry.
        launcher: how the proxy is started.

    Raises:
        Unroutable: the proxy cannot be used with this server.
    """
    if not isinstance(entry, Mapping):
        raise Unroutable("its entry is not an object")
    kind, command, url = (entry.get(key) for key in ("type", "command", "url"))
    if kind == "sse":
        raise Unroutable("it uses the older SSE transport; the proxy supports streamable HTTP")
    if "type" in entry and kind != "stdio" and kind not in HTTP_TYPES:
        raise Unroutable(f"the proxy does not know its type {kind!r} (stdio and http are known)")
    if kind is None and command is not None and url is not None:
        raise Unroutable('it has both a "command" and a "url"; keep one')
    policy = () if says_who_decides(entry) else launcher.policy
    start = [*launcher.options, *policy, "mcp-proxy", "--name", name]
    if kind == "stdio" or (kind is None and command is not None):
        return _wrapped(entry, launcher.command, start)
    if url is None:
        raise Unroutable('it has neither a "command" nor a "url"')
    return _behind_url(entry, launcher.command, start)


def unrouted(entry: object, kind: str = "http") -> Entry:
    """Return the entry of a server behind the proxy without the proxy, from the proxy's arguments alone.

    Args:
        entry: its present entry.
        kind: the ``type`` of a server with a URL, if it has one.

    Raises:
        Unroutable: its arguments do not name the server behind the proxy.
    """
    route = route_of(entry)
    if route is None or not isinstance(entry, Mapping):
        raise Unroutable("it does not go through the proxy")
    if route.command:
        return {**entry, "command": route.command[0], "args": list(route.command[1:])}
    if route.url is None:
        raise Unroutable('its arguments have neither "-- COMMAND" nor "--url URL"')
    env, headers = dict(_object(entry, "env")), {}
    for header in route.headers:
        name, _, value = (part.strip() for part in header.partition(":"))
        variable = value.removeprefix("env:")
        if variable != value and variable not in env:
            raise Unroutable(f'its header {name!r} is read from {variable}, which its "env" does not have')
        headers[name] = value if variable == value else env.pop(variable)
    made: dict[str, object] = {}
    for key, value in entry.items():
        if key == "command":
            made["url"] = route.url
        elif key == "type":
            made[key] = kind if value == "stdio" else value
        elif key not in ("args", "env"):
            made[key] = value
    return made | ({"headers": headers} if headers else {}) | ({"env": env} if env else {})


def variables(entry: Entry) -> dict[str, str]:
    """Return the text values of its environment."""
    return {name: value for name, value in _object(entry, "env").items() if isinstance(value, str)}


def says_who_decides(entry: Entry) -> bool:
    """Return whether its own environment names a policy or a server's key."""
    return any(variables(entry).get(name) for name in DECIDERS)


def warnings(entry: object) -> Iterator[str]:
    """Yield what may not work, or not be safe, for a server with a URL behind the proxy."""
    if not isinstance(entry, Mapping) or entry.get("command") is not None:
        return
    # A secret in the path of an address looks like any other part of a path.
    said = [*_object(entry, "headers").items(), *parse_qsl(urlsplit(_known_url(entry)).query)]
    if not any(value and is_secret_name(name) for name, value in said):
        yield (
            "it has no credentials. If the client signs in there itself (OAuth), the proxy cannot do that, and the "
            "server will refuse it: put a token into its headers, or do not route it"
        )
    if _is_plain_http(entry):
        yield "its calls use plain http, which others in the network can read: use https"


def _wrapped(entry: Entry, program: str, start: list[str]) -> Entry:
    command, args = entry.get("command"), entry.get("args", [])
    if not isinstance(command, str) or not command.strip():
        raise Unroutable('its "command" is not text')
    if not isinstance(args, list) or not all(isinstance(word, str) for word in args):
        raise Unroutable('its "args" are not a list of strings')
    return {**entry, "command": program, "args": [*start, "--", command, *args]}


def _behind_url(entry: Entry, program: str, start: list[str]) -> Entry:
    url = entry.get("url")
    _check_url(entry, url)
    env: dict[str, object] = dict(_object(entry, "env"))
    # The client did not encrypt, either, what the proxy does not encrypt.
    args = [*start, "--url", url, *(["--insecure"] if _is_plain_http(entry) else [])]
    for name, variable, header in _headers(entry):
        args += ["--header", f"{name}: env:{variable}"]
        env[variable] = header
    made: dict[str, object] = {}
    for key, value in entry.items():
        if key == "url":
            made |= {"command": program, "args": args}
        elif key == "type":
            made[key] = "stdio"
        elif key == "env":
            made[key] = env
        elif key != "headers":
            made[key] = value
    return made | ({"env": env} if env else {})


def _check_url(entry: Entry, url: object) -> None:
    if not isinstance(url, str) or not url.strip():
        raise Unroutable('its "url" is not text')
    if not url.startswith("${"):
        _accepted(lambda: require_url(_known_url(entry), insecure=True))
    if "type" not in entry and re.split(r"[?#]", url)[0].rstrip("/").endswith("/sse"):
        raise Unroutable(
            'its address looks like the older SSE transport\'s; if it speaks streamable HTTP, add "type": "http"'
        )
    for key in _OWN_SIGN_IN:
        if key in entry:
            raise Unroutable(f'the client signs in there itself ("{key}"), which the proxy cannot do')
    if not isinstance(entry.get("headers", {}), dict):
        raise Unroutable('its "headers" are not an object')
    if not isinstance(entry.get("env", {}), dict):
        raise Unroutable('its "env" is not an object')


def _headers(entry: Entry) -> list[tuple[str, str, str]]:
    """Return for each header its name, a variable that is free in the entry's environment, and its value."""
    taken, found, number = _object(entry, "env"), [], 0
    for name, value in _object(entry, "headers").items():
        if not isinstance(value, str):
            raise Unroutable(f"its header {name!r} is not text")
        number += 1
        while f"{HEADER_VARIABLE}{number}" in taken:
            number += 1
        found.append((name, f"{HEADER_VARIABLE}{number}", value))
    lines = [f"{name}: env:{variable}" for name, variable, _ in found]
    _accepted(
        lambda: require_headers(lines, {variable: VARIABLE.sub("1", value) for _, variable, value in found})
    )
    return found


def _accepted(check: Callable[[], object]) -> None:
    """Refuse now what the proxy would refuse at its start."""
    try:
        check()
    except ConfigurationError as error:
        raise Unroutable(f"the proxy refuses it: {error.message.rstrip('.')}") from None


def _known_url(entry: Entry) -> str:
    """Return its address, with ``1`` for variables of the client: they may stand for a host, a port or a part of a path."""
    return VARIABLE.sub("1", str(entry.get("url", "")))


def _is_plain_http(entry: Entry) -> bool:
    """Return whether this server is reached over the network without encryption."""
    parts = urlsplit(_known_url(entry))
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _object(entry: Entry, key: str) -> dict[str, object]:
    value = entry.get(key)
    return value if isinstance(value, dict) else {}
