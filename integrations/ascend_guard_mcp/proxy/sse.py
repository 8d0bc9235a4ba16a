"""Server-sent events out of a stream of bytes, which stay as they are beside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_BLANK = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_BREAK = re.compile(rb"\r\n|\n|\r")


class Event(NamedTuple):
    """One event.

    Attributes:
        raw: its bytes, its end included.
        kind: ``message`` unless it says otherwise.
        data: its data on one line; None when it has none.
        id: what to resume after, when it says.
        retry: milliseconds to wait before resuming, when it says.
    """

    raw: bytes
    kind: str
    data: bytes | None
    id: str | None
    retry: int | None

    @property
    def message(self) -> bytes | None:
        """The message it carries, on one line; None when it carries none."""
        return self.data if self.kind == "message" and self.data else None

    def saying(self, data: bytes) -> bytes:
        """The same event with other data."""
        kept = [line for line in _BREAK.split(self.raw) if line and not line.startswith(b"data")]
        return b"\n".join([*kept, b"data: " + data]) + b"\n\n"


class Events:
    """Cuts a stream into events."""

    def __init__(self) -> None:
        self._left = b""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that end in this chunk."""
        looked = max(0, len(self._left) - 3)
        self._left += chunk
        begin = 0
        for end in _BLANK.finditer(self._left, looked):
            yield _event(self._left[begin : end.end()])
            begin = end.end()
        self._left = self._left[begin:]

    @property
    def rest(self) -> bytes:
        """Bytes of an event that has not ended."""
        return self._left


def one_line(raw: bytes) -> bytes:
    """JSON on one line: outside of text a line break is a blank, and inside there is none."""
    return raw.replace(b"\r", b" ").replace(b"\n", b" ")


def _event(raw: bytes) -> Event:
    kind, identity, retry = "message", None, None
    data: list[bytes] = []
    for line in _BREAK.split(raw.removeprefix(b"\xef\xbb\xbf")):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value.decode("utf-8", "replace") or "message"
        elif name == b"id" and b"\0" not in value:
            identity = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit():
            retry = int(value)
    return Event(raw, kind, b" ".join(data) if data else None, identity, retry)
