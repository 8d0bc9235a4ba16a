"""One deadline, and one measure of bytes, for everything that a request waits for and reads.

urllib3's time-outs are per read, so a server that drips a byte a second could hold a call for ever. These connections set
what is left of the call's time before each wait, and look at an answer's head before its body is read.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import threading
import time
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.response import assert_header_parsing

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LONGEST = 86_400.0
"""Seconds a call may take at most: poll(2) counts milliseconds in an int."""

_HEAD = 8 << 20  # bytes; http.client allows 100 header lines of 64 KiB, but any number of interim answers
_SLACK = 64 << 10  # bytes of framing that a short chunked body may have


class Refused(Exception):
    """An answer that is not read to its end; what is wrong with it follows the server's name."""


class Call:
    """One request on its way: how long it may still take, how much it may still read, how far it got."""

    __slots__ = (
        "began",
        "deadline",
        "head",
        "limit",
        "room",
        "seconds",
        "sent",
        "silence",
        "sock",
        "surplus",
    )

    def __init__(self, seconds: float, limit: float, silence: float | None = None) -> None:
        self.seconds = min(seconds, LONGEST)
        self.began = time.monotonic()
        self.deadline = self.began + self.seconds
        self.silence = None if silence is None else min(silence, LONGEST)
        self.limit = limit
        self.room: float = _HEAD
        self.head = True
        self.sent = False
        self.surplus = False
        self.sock: socket.socket | None = None

    def left(self) -> float:
        if self.silence is not None and not self.head:
            return self.silence
        left = self.deadline - time.monotonic()
        if not left > 0:
            raise TimeoutError
        return left

    def taken(self) -> float:
        return time.monotonic() - self.began

    def over(self) -> bool:
        return not time.monotonic() < self.deadline


current: ContextVar[Call] = ContextVar("ascend_guard_client_call")


class _Timed(io.RawIOBase):
    """A socket's bytes, for as long and as many as the call still allows."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, call: Call) -> None:
        self._raw = raw
        self._sock = sock
        self.call = call
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if self.ended:
            return 0
        call = self.call
        self._sock.settimeout(call.left())
        count: int = self._raw.readinto(buffer) or 0
        if not count and call.head:
            raise http.client.RemoteDisconnected("")  # http.client takes the end for the end of the headers
        call.room -= count
        if call.room < 0:
            raise _too_large(call.limit)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Buffered(io.BufferedReader):
    """Notices bytes that came after the answer: the next answer on that connection would not be the next call's."""

    def close(self) -> None:
        if not self.closed:
            raw = self.raw
            assert isinstance(raw, _Timed)
            raw.ended = True
            raw.call.surplus = bool(self.peek(1))
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer read within the call's limits, and refused as soon as its head shows that it must be."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._call = call = current.get()
        call.sock, call.room, call.surplus = sock, _HEAD, False
        self.fp = _Buffered(_Timed(self.fp.detach(), sock, call))

    def begin(self) -> None:
        super().begin()
        call, message = self._call, self.msg
        assert_header_parsing(message)
        codings = message.get("content-encoding", ""), message.get("transfer-encoding", "")
        lengths = set(message.get_all("content-length", ()))
        if codings[0].lower() not in ("", "identity") or codings[1].lower() not in ("", "chunked"):
            raise Refused("answered with a compressed body, which was not asked for.")
        length = lengths.pop() if lengths else "0"
        if self.status < 200 or lengths or not (length.isascii() and length.isdigit()):
            raise http.client.HTTPException
        if codings[1] and "content-length" in message:
            raise http.client.HTTPException  # two ends: what follows the nearer one is not ours to guess
        if len(length) > 18 or (int(length) > call.limit and self.length != 0):
            raise _too_large(call.limit)
        call.head = False
        call.room = 2 * call.limit + _SLACK
        if call.silence is not None:
            # A stream's socket is shut down by another thread: it must never be another call's.
            self.will_close = True

    def read(self, amt: int | None = None) -> bytes:
        data = super().read(amt)
        if len(data) > self._call.limit:
            raise _too_large(self._call.limit)
        return data


class Connection(HTTPConnection):
    """A connection whose every wait ends with the call."""

    response_class = _Response
    call: Call | None = None
    _held: list[bytes] | None = None

    def _new_conn(self) -> socket.socket:
        call = current.get()
        addresses = _resolve(self._dns_host, self.port, call)
        failure: OSError = OSError("no address")
        for tried, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                if self.source_address:
                    sock.bind(self.source_address)
                sock.settimeout(call.left() / (len(addresses) - tried))
                sock.connect(address)
                sock.settimeout(call.left())
                return sock
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
        raise failure

    def _tunnel(self) -> None:
        super()._tunnel()
        self.sock.settimeout(current.get().left())

    def request(self, *args: Any, **options: Any) -> None:
        """Head and body go in one packet where they fit: it wakes the server once."""
        self.call = call = current.get()
        if self.sock is None:
            self.connect()
        held: list[bytes] = []
        self._held = held
        try:
            super().request(*args, **options)
        finally:
            self._held = None
        assert self.sock is not None
        self.sock.settimeout(call.left())
        call.sent = True
        self.sock.sendall(b"".join(held))

    def send(self, data: Any) -> None:
        if self._held is None:
            self.sock.settimeout(current.get().left())
            super().send(data)
        else:
            self._held.append(data)


class SecureConnection(Connection, HTTPSConnection):
    """The same over TLS. The handshake is one wait: the socket's time-out holds for all of it."""


class Idle:
    """Connections nobody uses, as urllib3's pool wants them kept; deque's own operations are atomic."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: deque[Connection] = deque()

    def get(self, block: bool = False, timeout: float | None = None) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Connection | None, block: bool = False) -> None:
        if connection is None:
            return
        if len(self._idle) >= self._most or (connection.call is not None and connection.call.surplus):
            connection.close()
        else:
            connection.call = None
            self._idle.append(connection)

    def qsize(self) -> int:
        return len(self._idle)

    def empty(self) -> None:
        while self._idle:
            self._idle.pop().close()


def _resolve(host: str, port: int, call: Call) -> list[tuple[Any, ...]]:
    """The system's resolver has no deadline; a thread of its own may be left behind."""
    found: queue.SimpleQueue[list[tuple[Any, ...]] | Exception] = queue.SimpleQueue()

    def look() -> None:
        try:
            found.put(list(socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)))
        except Exception as error:
            found.put(error)

    try:
        threading.Thread(target=look, name="ascend-guard-resolver", daemon=True).start()
    except RuntimeError:  # the interpreter is ending, and starts no thread any more
        look()
    try:
        answer = found.get(timeout=call.left())
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _too_large(limit: float) -> Refused:
    return Refused(f"answered with more than {limit:,.0f} bytes.")
