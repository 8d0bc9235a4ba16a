"""Run a server: uvicorn around the application, with a shutdown that open streams cannot delay."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable, Iterator

import uvicorn

from ascend_guard.errors import ConfigurationError

from .app import Server
from .requests.connection_limits import Doors, room_for_connections
from .requests.connections import READ_ON, Bounds, Connection

GRACE = 10
"""Seconds for requests in progress when the server is asked to stop."""


def serve(
    server: Server,
    host: str,
    port: int,
    ready: Callable[[str], None],
    started: Callable[[uvicorn.Server], None] | None = None,
) -> None:
    """Serve until a signal stops it, or ``should_exit`` is set on the object passed to ``started``.

    Args:
        server: the replica.
        host: the address to listen on.
        port: 0 takes a free one.
        ready: called with the server's address once it listens and has read its database.
        started: called with the web server before that.

    Raises:
        ConfigurationError: it cannot listen on the address.
    """
    with _bound(host, port) as listening:
        bound = listening.getsockname()
        name = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        config = Bounds(
            server.app,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=GRACE,
            server_header=False,
            proxy_headers=False,
            lifespan="on",
            interface="asgi3",
            http=Connection,
            ws="none",  # only ``Protocol`` may parse a request for a WebSocket
            backlog=1024,
        )
        settings = server.services.settings
        config.notices, config.refused = server.notices, deque()
        config.doors = Doors(server.notices, room_for_connections(), settings.connections_per_address)
        web = _Uvicorn(config, server, lambda: ready(f"http://{name}:{bound[1]}"))
        if started is not None:
            started(web)
        web.run([listening])


class _Uvicorn(uvicorn.Server):
    config: Bounds

    def __init__(self, config: Bounds, server: Server, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._served = server
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        refused = self.config.refused
        for _ in range(min(READ_ON, len(refused))):
            refused.popleft().read_on()
        if counter % 10 == 0:  # once a second
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.look(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._served.change_feed.close()  # uvicorn waits for connections to end, and a stream never ends
        await super().shutdown(sockets)


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By name: without it asyncio does not recognise TCP, and Nagle's algorithm delays small answers.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise ConfigurationError(
            f"Cannot listen on {host} port {port} ({error}). Choose another with --host and --port; --port 0 takes a free "
            f"one."
        ) from error
    try:
        yield listening
    finally:
        listening.close()
