"""One tools/call of a FastMCP server by its own client, in memory. Usage: [FOLDER]; with a folder it is governed."""

from __future__ import annotations

import sys

from ascend_guard_mcp import govern_server
from fastmcp import Client, FastMCP
from mcp_server import refund
from plane import arguments, control_plane
from serving import answer, run

server: FastMCP = FastMCP("bench")
server.tool(refund)
if sys.argv[1:]:
    govern_server(server, control_plane=control_plane(sys.argv[1], "process"))


async def main() -> None:
    async with Client(server) as client:

        async def call(number: int) -> None:
            result = await client.call_tool("refund", arguments(number))
            assert result.data == f"paid order-{number}", result

        await answer(call)


run(main())
