"""HTTP headers that repeat parts of a request's body, since protocol version 2026-07-28: both must always agree."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping

from .jsonrpc import LISTING, Message

VERSION = "mcp-protocol-version"
SESSION = "mcp-session-id"
METHOD = "mcp-method"
NAME = "mcp-name"
PARAMETER = "mcp-param-"
MISMATCH = -32020
"""The protocol's code for headers that contradict the body."""

_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_PLAIN = re.compile(r"[\x20-\x7e]*")
_WRAPPED = re.compile(r"=\?base64\?(.*)\?=")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ANNOTATION = "x-mcp-header"

Path = tuple[str, ...]
Parameters = dict[Path, str]
"""For one tool: which arguments are repeated in which headers."""


def encode_value(text: str) -> str:
    """Encode text as a header's value."""
    if _PLAIN.fullmatch(text) and text == text.strip() and not _WRAPPED.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def decode_value(value: str) -> str | None:
    """Decode a header's value; None when it is malformed."""
    wrapped = _WRAPPED.fullmatch(value)
    if wrapped is None:
        return value
    try:
        raw = base64.b64decode(wrapped[1], validate=True)
        return raw.decode() if base64.b64encode(raw).decode() == wrapped[1] else None
    except ValueError:
        return None


def routing(message: Message, parameters: Mapping[str, Parameters]) -> dict[str, str]:
    """Return the headers for a message that states its version itself; empty for other messages.

    Args:
        message: the request.
        parameters: by tool, from its list.
    """
    version, method = message.version, message.method
    if version is None or method is None:
        return {}
    made = {VERSION: encode_value(version), METHOD: encode_value(method)}
    named = message.params.get(_NAMED_BY.get(method, ""))
    if isinstance(named, str):
        made[NAME] = encode_value(named)
        arguments = message.params.get("arguments")
        if method == "tools/call" and isinstance(arguments, dict):
            for path, token in parameters.get(named, {}).items():
                text = _text(_at(arguments, path))
                if text is not None:
                    made[PARAMETER + token.lower()] = encode_value(text)
    return made


def contradiction(headers: Mapping[str, str], message: Message) -> str | None:
    """Return the header that contradicts the message; None when none does.

    Args:
        headers: the request's headers, by lower-case name.
        message: its body.
    """
    method = message.method
    if METHOD in headers and (method is None or decode_value(headers[METHOD]) != method):
        return METHOD
    named = message.params.get(_NAMED_BY.get(method or "", ""))
    if NAME in headers and (not isinstance(named, str) or decode_value(headers[NAME]) != named):
        return NAME
    if VERSION in headers and message.version not in (None, headers[VERSION]):
        return VERSION
    values = {text for _, text in _leaves(message.params.get("arguments"))}
    for name, value in headers.items():
        if name.startswith(PARAMETER) and decode_value(value) not in values:
            return name
    return None


def following(headers: Mapping[str, str], before: Message, after: Message) -> dict[str, str] | None:
    """Return the argument headers after an approver's edit; None if they are unknown.

    Args:
        headers: the client's headers, by lower-case name; they agree with ``before``.
        before: the message from the client.
        after: the message that will run.
    """
    fixed: dict[str, str] = {}
    leaves = list(_leaves(before.params.get("arguments")))
    for name, value in headers.items():
        if name.startswith(PARAMETER):
            said = decode_value(value)
            paths = [path for path, text in leaves if text == said]
            texts = {_text(_at(after.params.get("arguments"), path)) for path in paths}
            text = texts.pop() if len(texts) == 1 else None
            if text is None:
                return None
            fixed[name] = encode_value(text)
    return fixed


def learn(response: dict[str, object], parameters: dict[str, Parameters]) -> None:
    """Remember from a list of tools which arguments are repeated in headers."""
    result = response.get("result")
    tools = result.get("tools") if isinstance(result, dict) else None
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and isinstance(tool.get("name"), str):
            found = dict(_annotated(tool.get("inputSchema"), ()))
            parameters.pop(tool["name"], None)
            if found:
                parameters[tool["name"]] = found


def lists_tools(message: Message) -> bool:
    """Return whether the answer to this is a list for ``learn``."""
    return message.method == LISTING


def _annotated(schema: object, path: Path) -> Iterator[tuple[Path, str]]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    for name, inner in (properties if isinstance(properties, dict) else {}).items():
        if not isinstance(inner, dict):
            continue
        token = inner.get(_ANNOTATION)
        if isinstance(token, str) and _TOKEN.fullmatch(token):
            yield (*path, name), token
        yield from _annotated(inner, (*path, name))


def _at(value: object, path: Path) -> object:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        return None
    try:
        return str(value)
    except ValueError:
        return None


def _leaves(value: object, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, (*path, name))
    elif (text := _text(value)) is not None:
        yield path, text
        if isinstance(value, float) and value.is_integer():
            yield path, str(int(value))
