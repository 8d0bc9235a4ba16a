"""The time that ``govern_server`` adds to one tools/call of an MCP server."""

from __future__ import annotations

import sys
from pathlib import Path

from .added import add_added, add_base, added_group
from .report import Group
from .rounds import HERE, Worker, race

SERVER = HERE / "contestants" / "mcp_server.py"
FACES = {
    "memory": "mcp, in memory",
    "stdio": "mcp, stdio",
    "fastmcp": "fastmcp, in memory",
}


def mcp(folder: Path, seconds: float) -> Group:
    """Every kind of server, with and without governance."""
    contestants: dict[str, Worker] = {}
    for face in FACES:
        contestants[f"{face} ungoverned"] = _client(face)
        contestants[f"{face} governed"] = _client(face, folder / face)
    timings = race(contestants, seconds)
    group = added_group(
        "mcp",
        "One tools/call of an MCP server, ungoverned and governed by govern_server",
        "Each with its own client, kept open; decided in the server's process, with durability 'process'.",
    )
    for face, said in FACES.items():
        bare = timings[f"{face} ungoverned"]
        add_base(group, f"{said}: ungoverned", bare)
        add_added(group, f"{said}: governed", timings[f"{face} governed"], bare)
    return group


def _client(face: str, *folder: Path) -> Worker:
    if face == "fastmcp":
        return Worker("fastmcp_call", *folder)
    if face == "stdio":
        return Worker("mcp_call", "stdio", sys.executable, SERVER, *folder)
    return Worker("mcp_call", "memory", *folder)
