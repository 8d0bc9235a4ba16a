"""One connection, with limits on what an unknown client can make the server do and hold.

1. A connection over the limit, in all or for its address, is answered 503 and closed; so the process always has file
   descriptors left for the others.
2. The head of a request must arrive within ``HEAD_SECONDS``, its body within ``BODY_SECONDS`` after that, and the
   client must read an answer within ``WRITE_SECONDS``. An idle connection between two requests is closed as well.
3. The parser's work for one read from the socket is limited: the number of headers, chunks and pipelined requests.
4. What a client still sends after it was refused is read, so that it receives the refusal, but slowly, for all such clients
   together.

The times are checked once a second for all connections together, which costs a request nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque

import uvicorn

from ascend_guard.server.limit_log import Notices

from .asgi import LARGEST_BODY
from .connection_limits import Doors
from .http_protocol import LARGEST_HEAD, Protocol

HEAD_SECONDS = 10.0
BODY_SECONDS = 30.0
WRITE_SECONDS = 30.0

MOST_HEADERS = 200
MOST_CHUNKS = 1_024
MOST_AHEAD = 32
"""Requests that a client may send before the first of them is answered."""

READ_ON = 8
"""How many refused clients are read from at a time, ten times a second, some 64 to 256 KiB each."""

_MOST_RECEIVED = 2 * LARGEST_BODY
"""Bytes of one request's body with its framing: a refused body is read to its end, so that the client gets the refusal."""

_IDLE, _HEAD, _BODY, _WHOLE = range(4)
_TIMES = {_IDLE: HEAD_SECONDS, _HEAD: HEAD_SECONDS, _BODY: BODY_SECONDS}


class Bounds(uvicorn.Config):
    """uvicorn's configuration, with what all connections share."""

    doors: Doors
    notices: Notices
    refused: deque[Connection]


class Connection(Protocol):
    """One connection."""

    config: Bounds
    _phase = _IDLE
    _since = 0.0
    _stuck: float | None = None
    _address: str | None = None
    _received = _headers = _chunks = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        self._since = self.loop.time()
        if self.config.doors.enter(address):
            self._address = address
        else:
            self._refuse(503, "Too many connections.")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._address is not None:
            self.config.doors.leave(self._address)
            self._address = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._address is None:
            return
        if self._phase is _BODY:
            self._received += len(data)
            if self._received > _MOST_RECEIVED:
                self.transport.close()
                return
        super().data_received(data)
        if self._phase is _BODY and self.cycle.response_complete and not self.transport.is_closing():
            self.transport.pause_reading()
            self.config.refused.append(self)

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MOST_AHEAD:
            raise ValueError("too many pipelined requests")
        self._phase, self._since = _HEAD, self.loop.time()
        self._received = self._headers = self._chunks = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        if self._headers > MOST_HEADERS:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        # A head that arrived whole in one read has not been counted yet.
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > LARGEST_HEAD:
            raise ValueError("the head is too large")
        self._phase, self._since = _BODY, self.loop.time()
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """A chunk of a chunked body begins."""
        self._chunks += 1
        if self._chunks > MOST_CHUNKS:
            raise ValueError("too many chunks")

    def on_message_complete(self) -> None:
        self._phase = _WHOLE
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._phase is _WHOLE:
            self._phase, self._since = _IDLE, self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._stuck = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck = None
        super().resume_writing()

    def read_on(self) -> None:
        """Read a little more of a refused request."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def look(self, now: float) -> None:
        """Close the connection if it has taken too long."""
        if self._stuck is not None and now - self._stuck > WRITE_SECONDS:
            self._note("slow readers", f"did not read an answer within {WRITE_SECONDS:.0f} s")
            self.transport.abort()
        elif now - self._since > _TIMES.get(self._phase, float("inf")) and not self.transport.is_closing():
            if self._phase is _IDLE:
                self.transport.close()
                return
            part, seconds = ("head", HEAD_SECONDS) if self._phase is _HEAD else ("body", BODY_SECONDS)
            self._note("slow requests", f"did not send the {part} of a request within {seconds:.0f} s")
            answering = (
                self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
            )
            if answering or (self._phase is _BODY and self.cycle.response_complete):
                self.transport.close()
            else:
                self._refuse(408, f"The {part} of the request did not arrive within {seconds:.0f} s.")

    def _note(self, limit: str, what: str) -> None:
        self.config.notices.note(limit, self._address or "", what)

    def _refuse(self, status: int, detail: str) -> None:
        code = "REQUEST_TIMEOUT" if status == 408 else "TOO_MANY_CONNECTIONS"
        phrase = "Request Timeout" if status == 408 else "Service Unavailable"
        body = f'{{"detail":"{detail}","error_code":"{code}","status_code":{status}}}'
        head = (
            f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        )
        self.transport.write(f"{head}retry-after: 1\r\nconnection: close\r\n\r\n{body}".encode())
        self.transport.close()
