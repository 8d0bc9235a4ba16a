"""Requests and answers in ASGI form: headers, bodies of limited size, JSON answers."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from .failures import RequestRefused

LARGEST_BODY = 2 << 20
"""Bytes of a request's body: a call's arguments may have one mebibyte, and JSON may double that."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_PRINTABLE = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_ONCE = frozenset(
    {
        "authorization",
        "x-api-key",
        "content-length",
        "idempotency-key",
        "x-correlation-id",
        "x-request-timestamp",
        "x-signature",
    }
)


def heads(scope: Scope) -> tuple[dict[str, str], str | None]:
    """Return a request's headers by lower-case name, and the name of a security-relevant header that occurs twice."""
    found: dict[str, str] = {}
    twice = None
    for name, value in scope["headers"]:
        key = name.decode("latin-1")
        if key in found and key in _ONCE:
            twice = key
        found[key] = value.decode("latin-1")
    return found, twice


def require_once(twice: str | None) -> None:
    """Refuse a header that occurs twice.

    Raises:
        RequestRefused: a header occurs twice.
    """
    if twice:
        raise RequestRefused(
            f"The header {twice} occurs twice. Send it once.", status=400, code="INVALID_HEADER"
        )


def correlation_of(headers: Mapping[str, str]) -> str:
    """Return the request's correlation identifier, or a new one if it has none or an invalid one."""
    given = headers.get("x-correlation-id", "")
    if _PRINTABLE.fullmatch(given):
        return given
    return f"action_{time.strftime('%Y%m%d')}_{random.getrandbits(64):016x}"


async def read_body(receive: Receive, headers: Mapping[str, str]) -> bytes:
    """Return the whole body.

    Raises:
        RequestRefused: it is larger than ``LARGEST_BODY``, or compressed, or the client disconnected.
    """
    if headers.get("content-encoding", "identity") != "identity":
        raise RequestRefused(
            "Compressed bodies are not accepted. Send it uncompressed.",
            status=415,
            code="UNSUPPORTED_ENCODING",
        )
    declared = headers.get("content-length", "0")
    size = int(declared) if declared.isascii() and declared.isdigit() else 0
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestRefused("The client disconnected.", status=400, code="DISCONNECTED")
        part = message.get("body", b"")
        length += len(part)
        if max(size, length) > LARGEST_BODY:
            raise RequestRefused(
                f"The body has more than {LARGEST_BODY} bytes. Pass a reference instead of the data.",
                status=413,
                code="BODY_TOO_LARGE",
            )
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def respond(
    send: Send,
    status: int,
    body: bytes,
    extra: list[tuple[bytes, bytes]],
    content_type: bytes = b"application/json",
) -> None:
    """Send an answer with headers against caching and content sniffing."""
    headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
