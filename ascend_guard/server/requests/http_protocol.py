"""uvicorn's HTTP protocol, changed so that the server reads exactly what was sent (promise 2), with one write per answer.

1. A request for another protocol (``Upgrade: h2c``, which Java's client and ``curl --http2`` send) is an ordinary HTTP/1
   request: its body is read as its head says. The parser stops after such a head, drops the body, and takes what follows
   for a new request. So the head is parsed a second time without the upgrade fields (RFC 9110, 7.8: a server may ignore
   them).
2. A request that cannot be answered as an ordinary one (``CONNECT``, a WebSocket) is refused, and the connection closed.
3. The head is what comes before the body. Trailer fields after a chunked body are not headers of the request (RFC 9110,
   6.5.1): a trailer that a proxy passed on must not identify the caller.
4. Heads are limited in size, and so is everything else that is not the body: trailers, and chunk extensions.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 64 << 10
"""Bytes of a request's line and headers together."""


class Protocol(HttpToolsProtocol):
    """Collects the writes of one turn of the event loop: the second write took a fifth of the server's time."""

    parser: httptools.HttpRequestParser  # None only after the connection, when nothing is read any more

    _unread = 0
    """Bytes since the last part of a body, or since the beginning of the request."""

    _in_head = True
    _moved = False
    _upgrading = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Cork(transport, self.loop))  # type: ignore[arg-type]

    def on_message_begin(self) -> None:
        self._unread, self._in_head, self._upgrading = 0, True, False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._advance()
        self._upgrading = self.parser.should_upgrade()
        if not self._upgrading:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._advance()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._advance()
        if not self._upgrading:  # else the parser has read only the head
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._moved = False
        try:
            self._read(memoryview(data))
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if (self._in_head or not self._moved) and not self.transport.is_closing():
            self._unread += len(data)
            if self._unread > LARGEST_HEAD:
                self.send_400_response("The request's head is too large.")

    def _advance(self) -> None:
        self._unread, self._moved = 0, True

    def _read(self, data: memoryview) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as stopped:
                if self.parser.get_method() == b"CONNECT" or b"websocket" in self._upgrades():
                    self.send_400_response("WebSocket and CONNECT are not supported.")
                    return
                data = data[stopped.args[0] :]
                self.parser.feed_data(self._head_without_upgrade())

    def _upgrades(self) -> list[bytes]:
        return [part for name, value in self.headers if name == b"upgrade" for part in _tokens(value)]

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join(part for part in _tokens(value) if part not in _HOP)
                if not value:
                    continue
            if name not in _HOP:
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join([*lines, b"", b""])


_HOP = frozenset({b"upgrade", b"http2-settings"})
"""The header fields of a request for another protocol, which ``Connection`` lists too."""


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip().lower() for token in value.split(b",")]


class _Cork:
    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
