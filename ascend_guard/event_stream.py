"""Parse server-sent events from a stream of bytes (WHATWG HTML, "Server-sent events"), for client and MCP proxy.

A line ends with LF, CR LF or CR, however the stream is cut into chunks. An event without the empty line at its end is not
delivered. Each event keeps its raw bytes beside its parsed fields, so that a proxy can pass them on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class TooLarge(ValueError):
    """An event has more bytes than the limit."""


class Event(NamedTuple):
    """One event, or a comment.

    Attributes:
        raw: its bytes, including its end.
        name: by default ``message``.
        data: its lines of data, joined by line breaks; None if it has none.
        id: the event id to resume after, or None.
        retry: milliseconds to wait before resuming, or None.
    """

    raw: bytes
    name: str
    data: bytes | None
    id: str | None
    retry: int | None

    @property
    def message(self) -> bytes | None:
        """The JSON message in the event, on one line; None if it has none."""
        return one_line(self.data) if self.name == "message" and self.data else None

    def saying(self, data: bytes) -> bytes:
        """Return the bytes of the same event with other data."""
        kept = [line for line in self.raw.splitlines() if line and not line.startswith(b"data")]
        return b"\n".join([*kept, b"data: " + data]) + b"\n\n"


class Events:
    """Splits a stream into events.

    Args:
        most: the most bytes of one event.
        heard: called for each whole line. An incomplete line is no sign of life, because it may be an event that must
            not be missed.
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
        """The bytes of an event that has not ended."""
        return bytes(self._raw + self._line)

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that end in this chunk.

        Raises:
            TooLarge: an event has more than ``most`` bytes.
        """
        if self._halved and chunk.startswith(b"\n"):  # the second byte of a line end
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
        """Read a whole line; return the event that it ends, or None."""
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
    """Return JSON on one line: outside of strings a line break becomes a blank, and strings contain none."""
    return raw.replace(b"\r", b" ").replace(b"\n", b" ")
