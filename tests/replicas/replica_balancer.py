"""A load balancer as plain as they come: connections in turn, to the next one when a replica refuses."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress


class Balancer:
    """Passes TCP connections on, each to one replica until either side ends it.

    Args:
        ports: asked for each connection: where the replicas listen now, on 127.0.0.1.
    """

    def __init__(self, ports: Callable[[], Sequence[int]]) -> None:
        self._ports = ports
        self._turn = 0
        self._loop = asyncio.new_event_loop()
        self._listening = self._loop.run_until_complete(asyncio.start_server(self._pass, "127.0.0.1", 0))
        self.port: int = self._listening.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where clients go."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._listening.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turn += 1
        ports = self._ports()
        for position in range(len(ports)):
            try:
                there = await asyncio.open_connection(
                    "127.0.0.1", ports[(self._turn + position) % len(ports)]
                )
            except OSError:
                continue
            ways = [_one_way(reader, there[1]), _one_way(there[0], writer)]
            await asyncio.wait(map(asyncio.ensure_future, ways), return_when="FIRST_COMPLETED")
            there[1].transport.abort()
            break
        writer.transport.abort()


async def _one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        await asyncio.sleep(0.01)  # what was passed on last is on its way


@contextmanager
def balancer(ports: Callable[[], Sequence[int]]) -> Iterator[Balancer]:
    """One that ends with the block."""
    running = Balancer(ports)
    try:
        yield running
    finally:
        running.close()
