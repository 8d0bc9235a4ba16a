"""The head and the body of an answer, read from a stream of lines.

http.client reads heads with the email package. That costs as much as all the rest of a call, and accepts heads that two
readers can understand differently.

Rules (promise 1: an answer that is cut, malformed or huge is an error, never a decision):

1. A head is accepted only if RFC 9112 allows it (sections 4 and 5): each line ends with CRLF, no line is folded, each name
   is a token. It has at most 99 header lines of at most 64 KiB, as many as http.client accepts.
2. The end of a body must be clear. Two lengths, a length beside a coding, and any coding other than ``chunked`` are refused
   (RFC 9112, section 6.3).
3. A body that ends early is an error, never an answer. So is one that is larger than the limit, or compressed.
4. No pattern goes over the same text twice, so hostile lines cost no more time than their length.
"""

from __future__ import annotations

import http.client
import io
import re
from typing import NamedTuple

from ascend_guard.bounded_socket import TooLarge

_LINE = 64 << 10  # bytes a line may have, with its end
_LINES = 99  # header lines
_PIECE = 64 << 10  # bytes that are read at once: a buffer of this size is allocated for each read

_STATUS = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?\r\n")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*+([^\r\n\0]*)\r\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*+(?:;[^\r\n]*)?\r\n")


class AnswerRefused(Exception):
    """An answer whose body is not read. The message completes a sentence that begins with the server's name."""


class Framing(NamedTuple):
    """Where the body of an answer ends.

    Args:
        length: bytes of the body; None if its chunks or the end of the connection say.
        chunked: whether it comes in chunks.
        closing: whether the connection cannot be used after it.
    """

    length: int | None
    chunked: bool
    closing: bool


def read_head(lines: io.BufferedIOBase) -> tuple[int, int, dict[str, str]]:
    """The head of one answer, read line by line and no further.

    Returns:
        The minor version of HTTP/1, the status, and the headers by lower-case name; several of one name are joined by
        a comma.

    Raises:
        http.client.RemoteDisconnected: the connection ended before the head did.
        http.client.HTTPException: it is not a head, or not one that rule 1 accepts.
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


def framing(method: str, minor: int, status: int, fields: dict[str, str], limit: float) -> Framing:
    """Where the body ends, from the head alone.

    Args:
        method: of the request.
        minor: version of HTTP/1.
        status: of the answer.
        fields: its headers.
        limit: bytes the body may have.

    Raises:
        AnswerRefused: the body is compressed.
        TooLarge: its length is more than the limit.
        http.client.HTTPException: its end is not clear.
    """
    coding, length = fields.get("transfer-encoding"), fields.get("content-length")
    if fields.get("content-encoding", "").lower() not in ("", "identity") or (
        coding is not None and coding.lower() != "chunked"
    ):
        raise AnswerRefused("answered with a compressed body, which was not asked for.")
    if status < 200 or not (length is None or (length.isascii() and length.isdigit())):
        raise http.client.HTTPException("no final answer, or no length")
    if coding is not None and length is not None:
        raise http.client.HTTPException("two ends")
    bodiless = method == "HEAD"
    empty = bodiless or status in (204, 304)
    if length is not None and not empty and (len(length) > 18 or int(length) > limit):
        raise TooLarge
    chunked = coding is not None and not bodiless
    wish = fields.get("connection", "").lower()
    return Framing(
        length=None if chunked else 0 if empty else None if length is None else int(length),
        chunked=chunked,
        closing="close" in wish
        or not (minor or "keep-alive" in wish)
        or (coding is None and length is None and not empty),
    )


class Body(io.BufferedIOBase):
    """The body of one answer, as a file that ends where the body does.

    Args:
        lines: what follows the head.
        end: where the body ends.
        limit: bytes it may have.
    """

    def __init__(self, lines: io.BufferedReader, end: Framing, limit: float) -> None:
        self._lines = lines
        self._chunked = end.chunked
        self._left = end.length  # bytes of the body, or of the current chunk
        self._room = limit

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, or all."""
        left = float("inf") if size is None or size < 0 else size
        parts: list[bytes] = []
        while left > 0 and (part := self.read1(int(min(left, _PIECE)))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def read1(self, size: int = -1) -> bytes:
        """The bytes that are there, or the next ones to come; none at the end.

        Raises:
            http.client.IncompleteRead: the connection ended before the body did.
            http.client.HTTPException: what should be a chunk is not one.
            TooLarge: the body is larger than the limit.
        """
        if self.closed:
            return b""
        if self._chunked and not self._left:
            self._left = self._next_chunk(first=self._left is None)
        if self._left == 0:
            self.close()
            return b""
        most = _PIECE if size < 0 else min(size, _PIECE)
        part = self._lines.read1(most if self._left is None else min(most, self._left))
        if self._left is None:
            if not part:
                self.close()
        elif not part:
            raise http.client.IncompleteRead(b"", self._left)
        else:
            self._left -= len(part)
        self._room -= len(part)
        if self._room < 0:
            raise TooLarge
        return part

    def _next_chunk(self, *, first: bool) -> int:
        """The length of the next chunk; 0 after the last one and its trailers."""
        if not first:
            end = self._lines.read(2)
            if len(end) < 2:
                raise http.client.IncompleteRead(b"")
            if end != b"\r\n":
                raise http.client.HTTPException("chunk")
        line = self._lines.readline(_LINE + 1)
        match = _CHUNK.fullmatch(line)
        if match is None:
            raise (
                http.client.HTTPException("chunk")
                if line.endswith(b"\n")
                else http.client.IncompleteRead(b"")
            )
        size = int(match[1], 16)
        while not size and self._lines.readline(_LINE + 1) not in (b"\r\n", b""):
            pass
        return size


def _line(lines: io.BufferedIOBase) -> str:
    line = lines.readline(_LINE + 1)
    if len(line) > _LINE:
        raise http.client.LineTooLong("line")
    if not line.endswith(b"\n"):
        raise http.client.RemoteDisconnected("")
    return line.decode("latin-1")
