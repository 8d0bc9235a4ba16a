"""The HTTP server of the reverse proxy."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager

from ascend_guard.errors import ConfigurationError

from .governed_calls import Log
from .options import is_loopback
from .reverse_proxy import Reverse
from .stdio_session import signals

_GRACE = 3


async def listen(app: Reverse, host: str, port: int, log: Log) -> int:
    """Serve until a signal stops it.

    Args:
        app: the proxy.
        host: the address to listen on.
        port: 0 takes a free one.
        log: receives lines for people; the first says where it listens.

    Returns:
        The exit status.

    Raises:
        ConfigurationError: it cannot listen on the address.
    """
    import uvicorn

    class Quiet(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            yield  # ours set what follows

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        lifespan="off",
        interface="asgi3",
        ws="none",
    )
    server = Quiet(config)
    stopped = asyncio.Event()
    with _bound(host, port) as listening:
        name = f"[{host}]" if ":" in host else host
        serving = asyncio.create_task(server.serve([listening]))
        stopping = asyncio.create_task(stopped.wait())
        try:
            with signals(stopped):
                log(f"listening on http://{name}:{listening.getsockname()[1]}{app.path}")
                if not is_loopback(host):
                    log("this is plain HTTP to other machines: put a proxy with TLS in front of it")
                await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            app.ending.set()  # open streams would prevent it from ending
            server.should_exit = True
            try:
                await serving
            finally:
                await app.close()
    return 0


@contextmanager
def _bound(host: str, port: int) -> Generator[socket.socket, None, None]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By name: without it asyncio does not recognise TCP, and Nagle's algorithm delays every answer by 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"Cannot listen on {host} port {port} ({error}). Choose another with --listen."
        ) from error
    try:
        yield listening
    finally:
        listening.close()
