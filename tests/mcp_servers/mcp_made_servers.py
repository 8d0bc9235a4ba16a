"""The same shop as every kind of server; run as a program, it serves one of them on stdio."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
from ascend_guard_mcp import govern_server
from mcp_world import TOOLS, World

Tool = Callable[..., Awaitable[str]]

SCHEMA = {
    "type": "object",
    "properties": {"order": {"type": "string"}, "amount": {"type": "integer"}},
    "required": ["order", "amount"],
}


def bodies(world: World) -> dict[str, Tool]:
    """The shop's tools: each notes that it ran, then does what it is called."""

    def make(name: str) -> Tool:
        async def tool(order: str, amount: int) -> str:
            world.journal.note(name, order=order, amount=amount)
            if name == "boom":
                raise ValueError("it went wrong")
            if name == "slow":
                await anyio.sleep(30)
            return f"{name} {order} {amount}"

        tool.__name__ = name
        tool.__doc__ = f"The shop's {name}."
        return tool

    return {name: make(name) for name in TOOLS}


def ungoverned(kind: str, world: World, **made: Any) -> Any:
    """A server with the shop's tools."""
    tools = bodies(world)
    if kind == "mcp-2-low":
        return _low_2(tools)
    if kind == "mcp-1-low":
        return _low_1(tools)
    home, name = {
        "mcp-2-high": ("mcp.server.mcpserver", "MCPServer"),
        "mcp-1-high": ("mcp.server.fastmcp", "FastMCP"),
        "fastmcp-4": ("fastmcp", "FastMCP"),
        "fastmcp-3": ("fastmcp", "FastMCP"),
    }[kind]
    server = getattr(import_module(home), name)("shop", **made)
    for tool, function in tools.items():
        server.tool(name=tool)(function)
    return server


def governed(kind: str, world: World, wait: float = 20, **options: Any) -> Any:
    """The same server, governed."""
    return govern_server(ungoverned(kind, world), wait=wait, control_plane=world.plane, **options)


def answer_2(tools: dict[str, Tool]) -> Callable[..., Awaitable[Any]]:
    """A low-level server's handler of ``tools/call``, as mcp 2.x wants it."""
    types = import_module("mcp.types")

    async def call(context: Any, params: Any) -> Any:
        text = await tools[params.name](**(params.arguments or {}))
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)])

    return call


async def nothing_listed(context: Any, params: Any) -> Any:
    """A low-level server's handler of ``tools/list``, for one that has nothing to say."""
    return import_module("mcp.types").ListToolsResult(tools=[])


def _low_2(tools: dict[str, Tool]) -> Any:
    types = import_module("mcp.types")

    async def listed(context: Any, params: Any) -> Any:
        return types.ListToolsResult(
            tools=[types.Tool(name=name, description=name, input_schema=SCHEMA) for name in tools]
        )

    return import_module("mcp.server.lowlevel").Server(
        "shop", on_list_tools=listed, on_call_tool=answer_2(tools)
    )


def _low_1(tools: dict[str, Tool]) -> Any:
    types = import_module("mcp.types")
    server = import_module("mcp.server.lowlevel").Server("shop")

    @server.list_tools()
    async def listed() -> list[Any]:
        return [types.Tool(name=name, description=name, inputSchema=SCHEMA) for name in tools]

    @server.call_tool()
    async def call(name: str, arguments: dict[str, Any]) -> list[Any]:
        return [types.TextContent(type="text", text=await tools[name](**arguments))]

    return server


def _serve_stdio(server: Any) -> None:
    if hasattr(server, "run_stdio_async"):
        more = {"show_banner": False} if type(server).__module__.startswith("fastmcp") else {}
        anyio.run(lambda: server.run_stdio_async(**more))
        return
    stdio_server = import_module("mcp.server.stdio").stdio_server

    async def serve() -> None:
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    anyio.run(serve)


if __name__ == "__main__":
    _serve_stdio(governed(sys.argv[1], World(Path(sys.argv[2]))))
