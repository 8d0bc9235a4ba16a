"""A urllib3 connection whose every wait ends with the call, and whose answers are bounded.

urllib3's time-outs hold for one wait, and its way through http.client costs as much as all the rest of a call
(docs/adr/0044). This module replaces what a urllib3 pool calls on a connection (``connect``, ``request``, ``getresponse``),
and uses no private part of urllib3 or http.client.

Rules (promise 1: any fault on the way ends the call with an error, in time):

1. One deadline holds from looking up the host to the last byte. Connecting is left to urllib3, in a thread that is abandoned
   when the time is over: no step of it, not even the system's resolver or a proxy that answers byte by byte, holds a call.
2. A request is sent in one piece, in one packet where it fits: that wakes the server once.
3. A connection is used again only if its answer was read to its end, nothing followed it, and the answer allowed it.
4. The connection of a stream is never used again: another thread may shut it down at any time.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from urllib3 import HTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from ascend_guard.bounded_socket import BoundedSocket, Bounds, first_reachable

from .reading import Body, framing, read_head

LONGEST = 86_400.0
"""Seconds a call may take at most: poll(2) counts milliseconds in an int."""

_HEAD = 8 << 20  # bytes; a head may have 99 lines of 64 KiB, and any number of interim ones come before it
_SLACK = 64 << 10  # bytes of framing that a short chunked body may have

_BODILESS = frozenset({"GET", "HEAD", "DELETE", "TRACE", "OPTIONS", "CONNECT"})  # need not say "no body"


class RequestProgress(Bounds):
    """One request: how long it may still take, how much it may still read, how far it got.

    Args:
        seconds: that the whole call may take; for a stream, until its head is there.
        limit: bytes its body may have.
        silence: seconds that a stream may be silent; None for any other call.
    """

    __slots__ = ("began", "fields", "head", "limit", "seconds", "sent", "silence", "sock")

    def __init__(self, seconds: float, limit: float, silence: float | None = None) -> None:
        self.seconds = min(seconds, LONGEST)
        self.began = time.monotonic()
        super().__init__(self.began + self.seconds, _HEAD)
        self.silence = None if silence is None else min(silence, LONGEST)
        self.limit = limit
        self.head = True
        self.sent = False
        self.sock: BoundedSocket | None = None
        self.fields: dict[str, str] = {}

    def left(self) -> float:
        if self.silence is not None and not self.head:
            return self.silence
        return super().left()

    def taken(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def over(self) -> bool:
        """Whether no time is left."""
        return not time.monotonic() < self.deadline


current: ContextVar[RequestProgress] = ContextVar("ascend_guard_client_call")


class Connection(HTTPConnection):
    """A connection for calls that are ``current``. The bodies of its requests are bytes, or none."""

    _asked: tuple[str, bool] | None = None
    _lines: io.BufferedReader | None = None

    def __init__(self, host: str, port: int | None = None, **options: Any) -> None:  # Any: urllib3's options
        super().__init__(host, port, **options)
        self._looked_up = host

    def connect(self) -> None:
        """Connect as urllib3 does, but within the deadline of the current call."""
        call = current.get()
        came: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        abandoned = threading.Event()

        def work() -> None:
            try:
                self._connect_within(call)
                came.put(None)
            except BaseException as error:  # raised again where the call waits
                came.put(error)
            if abandoned.is_set():
                self.close()

        try:
            try:
                threading.Thread(target=work, name="ascend-guard-connect", daemon=True).start()
            except RuntimeError:  # the interpreter is ending, and starts no thread any more
                work()
            try:
                failure = came.get(timeout=call.left())
            except queue.Empty:
                raise TimeoutError from None
        except BaseException:  # Ctrl-C too; it is raised again
            abandoned.set()
            sock = self.sock
            if sock is not None:
                # TLS may have taken the socket over. Then the handshake ends by its own time-out.
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            raise
        if failure is not None:
            raise failure
        self.sock = BoundedSocket(self.sock, call)
        self._lines = self.sock.makefile()

    def _connect_within(self, call: RequestProgress) -> None:
        found = socket.getaddrinfo(self._looked_up.strip("[]"), self.port, type=socket.SOCK_STREAM)

        def connect(address: str, seconds: float) -> None:
            self.host, self.timeout = address, seconds
            super(Connection, self).connect()

        try:
            first_reachable(
                list(dict.fromkeys(_literal(address) for *_, address in found)),
                call,
                connect,
                (NewConnectionError, ConnectTimeoutError),
            )
        finally:
            self.host = self._looked_up

    def request(  # type: ignore[override]  # urllib3's method, whose signature is not http.client's
        self,
        method: str,
        url: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        preload_content: bool = True,
        **_: bool,
    ) -> None:
        """Send a request. urllib3's other options are about framing and decoding, which is decided here."""
        if not (body is None or isinstance(body, bytes)):
            raise TypeError("A body is bytes, or None.")
        call = current.get()
        if self.sock is None:
            self.connect()
        sock = self.sock
        assert isinstance(sock, BoundedSocket)
        data = _written(method, url, headers or {}, body)
        self._asked = method, preload_content
        sock.bounds = call
        if call.silence is not None:
            call.sock = sock
        sock.arm()
        call.sent = True
        sock.raw.sendall(data)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3's own
        """The answer; all of it is read unless the request said otherwise."""
        if self._asked is None or self._lines is None:
            raise http.client.ResponseNotReady
        (method, preload), self._asked = self._asked, None
        call, lines = current.get(), self._lines
        minor, status, fields = read_head(lines)
        while status == 100:
            minor, status, fields = read_head(lines)
        end = framing(method, minor, status, fields, call.limit)
        call.fields, call.head, call.room = fields, False, 2 * call.limit + _SLACK
        answer = HTTPResponse(
            Body(lines, end, call.limit),
            status=status,
            version=11 if minor else 10,
            preload_content=preload,
            decode_content=False,
            request_method=method,
        )
        if preload and (end.closing or self._surplus(lines)):
            self.close()
        return answer

    def _surplus(self, lines: io.BufferedReader) -> bool:
        """Whether bytes came after the answer: the next answer here would not be the next call's."""
        sock = self.sock
        assert isinstance(sock, BoundedSocket)
        sock.paused = True  # the look into the buffer must not wait for more
        try:
            return bool(lines.peek(1))
        finally:
            sock.paused = False

    def close(self) -> None:
        sock, self._lines, self._asked = self.sock, None, None
        super().close()
        if isinstance(sock, BoundedSocket):
            sock.raw.close()


class SecureConnection(Connection, HTTPSConnection):
    """The same over TLS."""

    def connect(self) -> None:
        # The certificate is for the name, not for the address that is tried. Behind a proxy it is for the tunnel's end.
        if self.server_hostname is None and self.proxy is None:
            self.server_hostname = self.host
        super().connect()


class Idle:
    """Connections that are not in use, in the place of a urllib3 pool's queue.

    A deque's operations are atomic, so there is no lock that another thread could hold while the process forks.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: deque[Connection] = deque()

    def get(self, block: bool = False, timeout: float | None = None) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Connection | None, block: bool = False) -> None:
        if connection is None or connection.is_closed:
            return
        if len(self._idle) < self._most:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


def _literal(address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> str:
    """A socket's address as text that needs no look-up."""
    text = str(address[0])
    scope = address[3] if len(address) == 4 else 0
    return f"{text}%{scope}" if scope and "%" not in text else text


def _written(method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    lines = [f"{method} {target} HTTP/1.1\r\n", *[f"{name}: {value}\r\n" for name, value in headers.items()]]
    if body is not None or method.upper() not in _BODILESS:
        lines.append(f"content-length: {len(body or b'')}\r\n")
    head = "".join(lines).encode("latin-1")
    if not head.count(b"\r") == head.count(b"\n") == len(lines):
        raise ValueError("A header has a line break in it.")
    return b"".join((head, b"\r\n", body or b""))
