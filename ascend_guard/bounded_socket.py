"""A socket on which no wait outlasts a deadline, and from which no more is read than a number of bytes.

A socket's own time-out holds for one wait, so a peer that sends one byte a second could keep its reader waiting for ever.
The client's transport and the sender of webhooks read through this module.

Rules:

1. Before each wait, the socket's time-out becomes the time that is left. When none is left, the wait does not begin.
2. No more bytes are read than the bounds have room for. What follows is an error, not the end of the data.
3. Several addresses share the time that is left: one that does not answer leaves time for the next.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

A = TypeVar("A")
C = TypeVar("C")

_GRAIN = (
    0.001  # seconds by which a wait may outlast its deadline: a smaller difference is not worth a system call
)


class TooLarge(Exception):
    """The peer sent more bytes than the bounds have room for."""


class Bounds:
    """What an exchange may still take.

    Args:
        deadline: a moment of ``time.monotonic``.
        room: bytes that may be read.
    """

    __slots__ = ("deadline", "room")

    def __init__(self, deadline: float, room: float) -> None:
        self.deadline = deadline
        self.room = room

    def left(self) -> float:
        """Seconds that the next wait may last.

        Raises:
            TimeoutError: none.
        """
        left = self.deadline - time.monotonic()
        if not left > 0:
            raise TimeoutError
        return left


class BoundedSocket(io.RawIOBase):
    """A connected socket, with what ``http.client`` and urllib3 use of one.

    Args:
        raw: the socket, with or without TLS. Closing it remains its owner's part.
        bounds: of the current exchange. They can be replaced for the next one.
    """

    def __init__(self, raw: socket.socket, bounds: Bounds) -> None:
        self.raw = raw
        self.bounds = bounds
        self.paused = False
        self._armed = float("inf")

    def sendall(self, data: ReadableBuffer) -> None:
        """Send all of it before the deadline."""
        self.arm()
        self.raw.sendall(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Receive what is there, or wait for it; 0 at the end, and while ``paused``.

        Raises:
            TimeoutError: the deadline has passed.
            TooLarge: there is no room left.
        """
        if self.paused:
            return 0
        bounds = self.bounds
        most = min(memoryview(buffer).nbytes, bounds.room)
        if most < 1:
            raise TooLarge
        self.arm()
        count = self.raw.recv_into(buffer, int(most))
        bounds.room -= count
        return count

    def makefile(self, mode: str = "rb") -> io.BufferedReader:
        """A reader with a buffer."""
        return io.BufferedReader(self)

    def settimeout(self, seconds: float | None) -> None:
        """Nothing: the bounds decide how long a wait may last."""

    def fileno(self) -> int:
        return self.raw.fileno()

    def shutdown(self, how: int = socket.SHUT_RDWR) -> None:
        """End both directions; a thread that waits here wakes."""
        # SSLSocket's own shutdown would make a read that is going on in another thread continue without TLS.
        socket.socket.shutdown(self.raw, how)

    def arm(self) -> None:
        """Let the next wait on the raw socket last no longer than what is left."""
        left = self.bounds.left()
        if not 0 <= self._armed - left <= _GRAIN:
            self.raw.settimeout(left)
            self._armed = left

    def close(self) -> None:
        """Nothing. ``http.client`` closes a socket while its answer is still read; the owner closes the raw socket."""


def first_reachable(
    addresses: Sequence[A],
    bounds: Bounds,
    connect: Callable[[A, float], C],
    unreachable: tuple[type[Exception], ...] = (OSError,),
) -> C:
    """Connect to the first of several addresses that can be reached.

    Args:
        addresses: in the order in which they are tried.
        bounds: of all attempts together.
        connect: takes an address and the seconds that the attempt may last.
        unreachable: errors after which the next address is tried.

    Raises:
        TimeoutError: the deadline has passed.
        Exception: the last attempt's error.
    """
    failure: Exception = OSError("no address")
    for tried, address in enumerate(addresses):
        try:
            return connect(address, bounds.left() / (len(addresses) - tried))
        except unreachable as error:
            failure = error
    raise failure
