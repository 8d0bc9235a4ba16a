"""One deadline, and one measure of bytes, for everything that a request waits for and reads.

urllib3's time-outs are per read, so a server that drips a byte a second could hold a call for ever. These connections set
what is left of the call's time before each wait, and look at an answer's head before its body is read. They write and
read heads themselves: http.client's way through the email package costs as much as all the rest of a call, and accepts more.
"""

from __future__ import annotations

import http.client
import io
import queue
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from urllib3 import HTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LONGEST = 86_400.0
"""Seconds a call may take at most: poll(2) counts milliseconds in an int."""

_HEAD = 8 << 20  # bytes; a head may have 99 lines of 64 KiB, and any number of interim ones come before it
_LINE = 64 << 10  # bytes a line of a head may have, with its end
_LINES = 99  # header lines, as many as http.client reads
_SLACK = 64 << 10  # bytes of framing that a short chunked body may have
_GRAIN = 0.001  # seconds by which a wait may outlast its deadline: less is not worth telling the system

# Neither can go back over a line more than once, whatever is in it. RFC 9112, sections 4 and 5.
_STATUS = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?\r\n")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*+([^\r\n\0]*)\r\n")

_BODILESS = frozenset({"GET", "HEAD", "DELETE", "TRACE", "OPTIONS", "CONNECT"})  # need not say "no body"


class AnswerRefused(Exception):
    """An answer that is not read to its end; what is wrong with it follows the server's name."""


class RequestProgress:
    """One request on its way: how long it may still take, how much it may still read, how far it got."""

    __slots__ = (
        "armed",
        "began",
        "deadline",
        "fields",
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
        self.armed = float("inf")
        self.fields: dict[str, str] = {}

    def left(self) -> float:
        if self.silence is not None and not self.head:
            return self.silence
        left = self.deadline - time.monotonic()
        if not left > 0:
            raise TimeoutError
        return left

    def arm(self, sock: socket.socket) -> None:
        """Let the next wait on the call's socket, which has at most what was set last, take what is left."""
        left = self.left()
        if not 0 <= self.armed - left <= _GRAIN:
            sock.settimeout(left)
            self.armed = left

    def taken(self) -> float:
        return time.monotonic() - self.began

    def over(self) -> bool:
        return not time.monotonic() < self.deadline


current: ContextVar[RequestProgress] = ContextVar("ascend_guard_client_call")


class _Timed(io.RawIOBase):
    """A socket's bytes, for as long and as many as the call still allows."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, call: RequestProgress) -> None:
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
        call.arm(self._sock)
        count: int = self._raw.readinto(buffer) or 0
        if not count and call.head:
            raise http.client.RemoteDisconnected("")  # a line that is cut is none, not even in a proxy's head
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

    def __init__(self, sock: socket.socket, *, method: str | None = None) -> None:
        super().__init__(sock, method=method)
        self._bodiless = method == "HEAD"
        self._call = call = current.get()
        call.sock, call.room, call.surplus = sock, _HEAD, False
        self.fp = _Buffered(_Timed(self.fp.detach(), sock, call))

    def begin(self) -> None:
        call = self._call
        minor, status, fields = read_head(self.fp)
        while status == 100:
            minor, status, fields = read_head(self.fp)
        coding, length = fields.get("transfer-encoding"), fields.get("content-length")
        if fields.get("content-encoding", "").lower() not in ("", "identity") or (
            coding is not None and coding.lower() != "chunked"
        ):
            raise AnswerRefused("answered with a compressed body, which was not asked for.")
        if status < 200 or not (length is None or (length.isascii() and length.isdigit())):
            raise http.client.HTTPException
        if coding is not None and length is not None:
            raise http.client.HTTPException  # two ends: what follows the nearer one is not ours to guess
        empty = status in (204, 304) or self._bodiless
        if length is not None and (len(length) > 18 or (int(length) > call.limit and not empty)):
            raise _too_large(call.limit)
        call.fields = fields
        self.code = self.status = status
        self.version = 11 if minor else 10
        self.chunked, self.chunk_left = coding is not None, None
        self.length = 0 if empty else None if length is None else int(length)
        wish = fields.get("connection", "").lower()
        self.will_close = (
            "close" in wish
            or not (minor or "keep-alive" in wish)
            or (self.length is None and not self.chunked)
            # A stream's socket is shut down by another thread: it must never be another call's.
            or call.silence is not None
        )
        call.head = False
        call.room = 2 * call.limit + _SLACK

    def read(self, amt: int | None = None) -> bytes:
        data = super().read(amt)
        if len(data) > self._call.limit:
            raise _too_large(self._call.limit)
        return data


def read_head(lines: io.BufferedIOBase) -> tuple[int, int, dict[str, str]]:
    """The head of one answer, read line by line and no further.

    Returns:
        The minor version of HTTP/1, the status, and the headers by lower-case name; several of one name are joined by
        a comma.

    Raises:
        http.client.HTTPException: it is none, or it can be read in more than one way: a folded or overlong line, a line
            end other than CRLF, a name that is no token, too many headers.
    """
    match = _STATUS.fullmatch(_line(lines))
    if match is None:
        raise http.client.BadStatusLine("")
    fields: dict[str, str] = {}
    for _ in range(_LINES + 1):
        line = _line(lines)
        if line == "\r\n":
            return int(match[1]), int(match[2]), fields
        field = _FIELD.fullmatch(line)
        if field is None:
            break
        name, value = field[1].lower(), field[2]
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    raise http.client.HTTPException("headers")


def _line(lines: io.BufferedIOBase) -> str:
    line = lines.readline(_LINE + 1)
    if len(line) > _LINE:
        raise http.client.LineTooLong("line")
    return line.decode("latin-1")


def _written(method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """A request in one piece: it goes in one packet where it fits, which wakes the server once."""
    lines = [f"{method} {target} HTTP/1.1\r\n", *[f"{name}: {value}\r\n" for name, value in headers.items()]]
    if body is not None or method.upper() not in _BODILESS:
        lines.append(f"content-length: {len(body or b'')}\r\n")
    head = "".join(lines).encode("latin-1")
    if not head.count(b"\r") == head.count(b"\n") == len(lines):
        raise ValueError("A header has a line break in it.")
    return b"".join((head, b"\r\n", body or b""))


class Connection(HTTPConnection):
    """A connection whose every wait ends with the call. The bodies of its requests are bytes, or none."""

    response_class = _Response
    call: RequestProgress | None = None
    _asked: tuple[str, bool] | None = None
    _answer: _Response | None = None

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

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        preload_content: bool = True,
        **options: Any,
    ) -> None:
        if self._answer is not None and not self._answer.isclosed():
            raise http.client.CannotSendRequest
        self.call = call = current.get()
        if self.sock is None:
            self.connect()
        assert self.sock is not None
        data = _written(method, url, headers or {}, body)
        self._asked = method, preload_content
        call.arm(self.sock)
        call.sent = True
        self.sock.sendall(data)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        if self._asked is None or self.sock is None:
            raise http.client.ResponseNotReady
        (method, preload), self._asked = self._asked, None
        answer = _Response(self.sock, method=method)
        try:
            answer.begin()
        except BaseException:
            answer.close()
            raise
        if answer.will_close:
            self.close()  # the answer keeps the socket until it is read
        else:
            self._answer = answer
        return HTTPResponse(
            answer,
            # Its end is all that urllib3 wants of a head: who asked finds the rest in the call.
            {} if answer.length is None else {"content-length": str(answer.length)},
            status=answer.status,
            version=answer.version,
            original_response=answer,
            preload_content=preload,
            decode_content=False,
            request_method=method,
        )

    def send(self, data: Any) -> None:
        """What a tunnel is asked for with."""
        self.sock.settimeout(current.get().left())
        super().send(data)

    def close(self) -> None:
        answer, self._answer, self._asked = self._answer, None, None
        super().close()
        if answer is not None:
            answer.close()


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


def _resolve(host: str, port: int, call: RequestProgress) -> list[tuple[Any, ...]]:
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


def _too_large(limit: float) -> AnswerRefused:
    return AnswerRefused(f"answered with more than {limit:,.0f} bytes.")
