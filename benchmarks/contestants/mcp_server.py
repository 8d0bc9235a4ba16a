"""An MCP server of one tool, as written with the official SDK. Run as a program it uses stdio. Usage: [FOLDER].

With a folder for its records, ``govern_server`` governs it.
"""

from __future__ import annotations

import sys

from mcp.server.mcpserver import MCPServer


def refund(order_id: str, amount: int, note: str) -> str:
    """Pay for an order back."""
    return f"paid {order_id}"


def make(folder: str | None) -> MCPServer:
    """Return the server; governed if there is a folder."""
    server = MCPServer("bench", log_level="WARNING")
    server.tool()(refund)
    if folder is not None:
        from ascend_guard_mcp import govern_server
        from plane import control_plane

        govern_server(server, control_plane=control_plane(folder, "process"))
    return server


if __name__ == "__main__":
    make(*sys.argv[1:] or [None]).run()
