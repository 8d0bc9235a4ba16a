"""One tools/call by the official client. Usage: memory [FOLDER], or: stdio COMMAND ARGUMENT...

In memory it calls ``mcp_server.py``, governed if there is a folder; over stdio the server that the command starts.
"""

from __future__ import annotations

import sys

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.types import TextContent
from plane import arguments
from serving import answer, run

how, *rest = sys.argv[1:]


def reached() -> Client:
    if how == "stdio":
        return Client(StdioServerParameters(command=rest[0], args=rest[1:]))
    from mcp_server import make

    return Client(make(*rest or [None]))


async def main() -> None:
    async with reached() as client:

        async def call(number: int) -> None:
            result = await client.call_tool("refund", arguments(number))
            (content,) = result.content
            assert isinstance(content, TextContent)
            assert content.text == f"paid order-{number}", content

        await answer(call)


run(main())
