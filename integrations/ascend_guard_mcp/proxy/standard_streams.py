"""This process's own standard input and output, without stopping the event loop.

Each has a daemon thread: a descriptor that others share must not be made non-blocking, files and terminals cannot be
polled in the same way, and a client that stopped reading must not prevent this process from ending.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

_CHUNK = 65536
_AHEAD = 16


class Lines:
    """Splits a stream of bytes into lines; a line longer than ``most`` is returned truncated, so that its reader
    refuses it.

    Args:
        most: the most bytes of a line.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._line = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that end in this chunk, without their line feeds."""
        *ended, rest = chunk.split(b"\n")
        lines = []
        for piece in ended:
            self._add(piece)
            lines.append(bytes(self._line))
            self._line.clear()
        self._add(rest)
        return lines

    def _add(self, piece: bytes) -> None:
        self._line += piece[: max(0, self._most + 1 - len(self._line))]

    def end(self) -> list[bytes]:
        """Return the rest without a line feed."""
        return [bytes(self._line)] if self._line else []


class Reading:
    """Reads a descriptor.

    Args:
        descriptor: the descriptor.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self._room = threading.Semaphore(_AHEAD)
        threading.Thread(target=self._work, name="mcp-proxy-input", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._room.acquire()
            try:
                chunk = os.read(self._descriptor, _CHUNK)
            except OSError:
                chunk = b""
            try:
                self._loop.call_soon_threadsafe(self._arrived.put_nowait, chunk)
            except RuntimeError:  # the loop has ended
                return
            if not chunk:
                return

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield each piece, until the other end closes."""
        while chunk := await self._arrived.get():
            self._room.release()
            yield chunk


class Writing:
    """Writes to a descriptor, one message after the other.

    Args:
        descriptor: to write to.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="mcp-proxy-output", daemon=True).start()

    async def write(self, data: bytes) -> None:
        """Write all of this. Raises ``OSError`` when the other end is closed."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.put((data, done))
        await done

    def _work(self) -> None:
        while True:
            data, done = self._waiting.get()
            failure: OSError | None = None
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._descriptor, view) :]
            except OSError as error:
                failure = error
            try:
                self._loop.call_soon_threadsafe(_finish, done, failure)
            except RuntimeError:  # the loop has ended
                return


def _finish(done: asyncio.Future[None], failure: OSError | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)


async def pump(chunks: AsyncIterator[bytes], most: int, take: Callable[[bytes], Awaitable[None]]) -> None:
    """Pass on each line of a stream in turn.

    Args:
        chunks: the stream.
        most: the most bytes of a line; a longer one is passed on truncated, one byte too long.
        take: receives the line without its line feed.
    """
    lines = Lines(most)
    async for chunk in chunks:
        for line in lines.feed(chunk):
            await take(line)
    for line in lines.end():
        await take(line)
