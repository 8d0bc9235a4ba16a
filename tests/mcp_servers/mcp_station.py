"""Real clients, connected to a server in memory, over stdio or over HTTP."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import uvicorn
from mcp_made_servers import governed
from mcp_matrix import KINDS
from mcp_world import World

PROGRAM = Path(__file__).with_name("mcp_made_servers.py")
SHARED = {"PYTHONPATH": str(Path(__file__).parents[1])}
"""Where that program finds the modules that all tests share."""


class Said:
    """What a client was answered."""

    def __init__(self, failed: bool, text: str) -> None:
        self.failed = failed
        self.text = text

    def __repr__(self) -> str:
        return f"Said({self.failed}, {self.text!r})"


class Peer:
    """A connected client, whichever it is."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._raw = getattr(client, "call_tool_mcp", None) or client.call_tool

    async def call(self, tool: str, arguments: dict[str, Any]) -> Said:
        """Call a tool."""
        result = await self._raw(tool, arguments)
        failed = result.is_error if hasattr(result, "is_error") else result.isError
        return Said(bool(failed), " ".join(block.text for block in result.content))

    async def cancel(self) -> None:
        """Tell the server that the latest request is not wanted any more."""
        types, session = import_module("mcp.types"), getattr(self.client, "session", self.client)
        latest = session._request_id - 1
        note = types.CancelledNotification(params=types.CancelledNotificationParams(requestId=latest))
        await session.send_notification(types.ClientNotification(note))

    async def tools(self) -> list[str]:
        """The names of the tools that are listed."""
        listed = await self.client.list_tools()
        return [tool.name for tool in getattr(listed, "tools", listed)]


@asynccontextmanager
async def connected(
    kind: str, target: Any, mode: str = "legacy", *, token: str | None = None
) -> AsyncIterator[Peer]:
    """Connect a client of the same library.

    Args:
        kind: whose client.
        target: a server, a folder to serve a world from over stdio, or a URL.
        mode: see ``Kind.modes``.
        token: what it authenticates with, over HTTP.
    """
    if KINDS[kind].library == "fastmcp":
        opening = _fastmcp(kind, target, mode, token)
    elif KINDS[kind].major == 2:
        opening = _mcp_2(kind, target, mode, token)
    else:
        opening = _mcp_1(kind, target, token)
    async with opening as client:
        yield Peer(client)


def _fastmcp(kind: str, target: Any, mode: str, token: str | None) -> Any:
    fastmcp, transports = import_module("fastmcp"), import_module("fastmcp.client.transports")
    more: dict[str, Any] = {} if token is None else {"auth": token}
    if KINDS[kind].major >= 4:
        more["mode"] = mode
    if isinstance(target, Path):
        target = transports.StdioTransport(
            sys.executable, [str(PROGRAM), kind, str(target)], env=SHARED, keep_alive=False
        )
    return fastmcp.Client(target, **more)


@asynccontextmanager
async def _mcp_2(kind: str, target: Any, mode: str, token: str | None) -> AsyncIterator[Any]:
    mcp = import_module("mcp")
    if isinstance(target, Path):
        target = mcp.StdioServerParameters(
            command=sys.executable, args=[str(PROGRAM), kind, str(target)], env=SHARED
        )
    if token is None:
        async with mcp.Client(target, mode=mode) as client:
            yield client
        return
    over_http = import_module("mcp.client.streamable_http")
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        import_module("mcp.shared._httpx_utils").create_mcp_http_client(headers=headers) as http,
        mcp.Client(over_http.streamable_http_client(target, http_client=http), mode=mode) as client,
    ):
        yield client


@asynccontextmanager
async def _mcp_1(kind: str, target: Any, token: str | None) -> AsyncIterator[Any]:
    mcp = import_module("mcp")
    if isinstance(target, Path):
        parameters = mcp.StdioServerParameters(
            command=sys.executable, args=[str(PROGRAM), kind, str(target)], env=SHARED
        )
        opening = import_module("mcp.client.stdio").stdio_client(parameters)
    elif isinstance(target, str):
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        http = import_module("mcp.shared._httpx_utils").create_mcp_http_client(headers=headers)
        opening = import_module("mcp.client.streamable_http").streamable_http_client(target, http_client=http)
    else:
        low = getattr(target, "_mcp_server", target)
        memory = import_module("mcp.shared.memory")
        async with memory.create_connected_server_and_client_session(low) as session:
            yield session
        return
    async with opening as streams, mcp.ClientSession(streams[0], streams[1]) as session:
        await session.initialize()
        yield session


def application(kind: str, server: Any, **more: Any) -> Any:
    """The server as an ASGI application that answers at ``/mcp``."""
    if KINDS[kind].library == "fastmcp":
        return server.http_app(path="/mcp", **more)
    if kind != "mcp-1-low":
        return server.streamable_http_app(**more)
    applications, routing = import_module("starlette.applications"), import_module("starlette.routing")
    manager = import_module("mcp.server.streamable_http_manager").StreamableHTTPSessionManager(server, **more)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with manager.run():
            yield

    class Endpoint:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await manager.handle_request(scope, receive, send)

    return applications.Starlette(routes=[routing.Route("/mcp", Endpoint())], lifespan=lifespan)


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an application on a free port; its URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.should_exit = True
        thread.join(10)


class Station:
    """A governed server, and a client that stays connected to it, on an event loop of their own.

    Attributes:
        world: what the server does and is asked about.
    """

    def __init__(self, kind: str, mode: str, transport: str, folder: Path) -> None:
        self.kind, self.mode, self.transport = kind, mode, transport
        self.world = World(folder)
        self._ready: Future[Peer] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="station")
        self._thread.start()
        self.peer = self._ready.result(20)

    async def _work(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        try:
            if self.transport == "http":
                with served(application(self.kind, governed(self.kind, self.world))) as url:
                    await self._stay(url)
            elif self.transport == "stdio":
                await self._stay(self.world.folder)
            else:
                await self._stay(governed(self.kind, self.world))
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _stay(self, target: Any) -> None:
        async with connected(self.kind, target, self.mode) as peer:
            self._ready.set_result(peer)
            await self._over.wait()

    def begin(self, tool: str, arguments: dict[str, Any]) -> Future[Said]:
        """Call a tool, and go on meanwhile."""
        return asyncio.run_coroutine_threadsafe(self.peer.call(tool, arguments), self._loop)

    def close(self) -> None:
        """Leave, and look whether the audit trail is whole."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self.world.close()
