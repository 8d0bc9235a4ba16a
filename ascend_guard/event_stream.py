"""Server-sent events out of a stream of bytes (WHATWG HTML, "Server-sent events"), for the client's feed and the MCP proxy.

A line is ended by LF, CR LF or CR, however the stream is cut into chunks. An event without the empty line at its end has not
been said. The bytes of each event stay as they are beside what they mean, so that a proxy can hand them on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class TooLarge(ValueError):
    """An event has more bytes than its reader takes."""


class Event(NamedTuple):
    """One event, or a comment.

    Attributes:
        raw: its bytes, its end included.
        name: ``message`` unless it says otherwise.
        data: its lines of data, joined by line breaks; None when it has none.
        id: what to resume after, when it says.
        retry: milliseconds to wait before resuming, when it says.
    """

    raw: bytes
    name: str
    data: bytes | None
    id: str | None
    retry: int | None

    @property
    def message(self) -> bytes | None:
        """The JSON message that it carries, on one line; None when it carries none."""
        return one_line(self.data) if self.name == "message" and self.data else None

    def saying(self, data: bytes) -> bytes:
        """The bytes of the same event with other data."""
        kept = [line for line in self.raw.splitlines() if line and not line.startswith(b"data")]
        return b"\n".join([*kept, b"data: " + data]) + b"\n\n"


class Events:
    """Cuts a stream into events.

    Args:
        most: bytes that one event may have.
        heard: called for each whole line. What is cut off in the middle is no sign of life: it may be the very news that
            nobody should miss.
    """

    def __init__(self, most: float = math.inf, heard: Callable[[], None] = lambda: None) -> None:
        self._most = most
        self._heard = heard
        self._begun = self._halved = False
        self._line = bytearray()
        self._next()

    def _next(self) -> None:
        self._raw = bytearray()
        self._name = ""
        self._data: list[bytes] = []
        self._id: str | None = None
        self._retry: int | None = None

    @property
    def rest(self) -> bytes:
        """Bytes of an event that has not ended."""
        return bytes(self._raw + self._line)

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that end in this chunk.

        Raises:
            TooLarge: an event has more than ``most`` bytes.
        """
        if self._halved and chunk.startswith(b"\n"):  # the second half of a line's end
            self._raw += b"\n"
            chunk, self._halved = chunk[1:], False
        if chunk:
            self._halved = chunk.endswith(b"\r")
        self._line += chunk
        if b"\n" in chunk or b"\r" in chunk:
            lines = self._line.splitlines(keepends=True)
            self._line = bytearray() if chunk.endswith((b"\n", b"\r")) else lines.pop()
            for line in lines:
                event = self._read(line)
                if event is not None:
                    yield event
        self._limit()

    def _limit(self) -> None:
        if len(self._raw) + len(self._line) > self._most:
            raise TooLarge

    def _read(self, line: bytearray) -> Event | None:
        """Take in a whole line; the event that it ends."""
        self._heard()
        self._raw += line
        self._limit()
        text = bytes(line.rstrip(b"\r\n"))
        if not self._begun:
            text, self._begun = text.removeprefix(_BYTE_ORDER_MARK), True
        if not text:
            data = b"\n".join(self._data) if self._data else None
            event = Event(bytes(self._raw), self._name or "message", data, self._id, self._retry)
            self._next()
            return event
        field, _, value = text.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        elif field == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif field == b"retry" and value.isdigit():
            self._retry = int(value)
        return None


def one_line(raw: bytes) -> bytes:
    """JSON on one line: outside of text a line break is a blank, and inside there is none."""
    return raw.replace(b"\r", b" ").replace(b"\n", b" ")
