"""An MCP server with everything in it, by the official library: over standard input and output, or HTTP."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import SamplingMessage, TextContent
from pydantic import BaseModel, Field


class Answer(BaseModel):
    """What is asked of the user."""

    ok: bool


class Shop:
    """The server, and what its tools did."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Any]] = []
        self.started = threading.Event()
        self.headers: list[dict[str, str]] = []
        self.mcp = mcp = MCPServer("shop")

        @mcp.tool()
        async def refund(
            amount: int, to: Annotated[str, Field(json_schema_extra={"x-mcp-header": "To"})] = "ann"
        ) -> str:
            """Give money back."""
            self.done.append(("refund", {"amount": amount, "to": to}))
            return f"{amount} to {to}"

        @mcp.tool()
        async def drop_table(table: str) -> str:
            """Lose data."""
            self.done.append(("drop_table", table))
            return "dropped"

        @mcp.tool()
        async def get_progress(ctx: Context) -> str:
            """Report on the way."""
            for step in (1, 2, 3):
                await ctx.report_progress(step, 3, f"step {step}")
            return "done"

        @mcp.tool()
        async def get_opinion(ctx: Context) -> str:
            """Ask the client's model."""
            message = SamplingMessage(role="user", content=TextContent(type="text", text="well?"))
            said = await ctx.session.create_message([message], max_tokens=10)
            return said.content.text  # type: ignore[union-attr]

        @mcp.tool()
        async def get_consent(ctx: Context) -> str:
            """Ask the user."""
            said = await ctx.elicit("really?", Answer)
            return said.action

        @mcp.tool()
        async def slow() -> str:
            """Takes its time."""
            self.started.set()
            await asyncio.sleep(600)
            return "late"

        @mcp.tool()
        async def fails() -> str:
            """Does not work."""
            raise ValueError("the till is closed")

        @mcp.resource("shop://stock")
        def stock() -> str:
            """What there is."""
            return "7 chairs"

        @mcp.prompt()
        def greeting(name: str) -> str:
            """What to say."""
            return f"Hello {name}"


@contextmanager
def shop_by_http(**options: Any) -> Iterator[tuple[Shop, str]]:
    """The server on a free port, in a thread of this process; with it its URL."""
    shop = Shop()
    app = shop.mcp.streamable_http_app(host="127.0.0.1", **options)

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            shop.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await app(scope, receive, send)

    with by_http(noting) as url:
        yield shop, f"{url}/mcp"


@contextmanager
def by_http(app: Any) -> Iterator[str]:
    """An application on a free port, in a thread of this process."""
    import socket

    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1, lifespan="auto")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


if __name__ == "__main__":
    Shop().mcp.run("stdio")
    sys.exit(0)
